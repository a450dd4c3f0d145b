"""From the rounds of one group to numbers with intervals and a verdict on how far to trust them.

All values of a `LatencySummary` are in seconds; those of the rounds' JSON in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from bench.core.intervals import (
    Interval,
    bootstrap,
    coverage,
    mcnemar,
    mean_sd,
    paired_difference,
    wilson,
)
from bench.core.records import TWIN
from bench.core.results import RoundResult, ScopeTimes
from bench.timing.samples import pooled_percentiles, throughput
from bench.timing.verdicts import Reason, Verdict, disturbances_of, judge, versus_reference

__all__ = [
    "Interval",
    "LatencySummary",
    "bootstrap",
    "coverage",
    "mcnemar",
    "mean_sd",
    "paired_difference",
    "summarise",
    "wilson",
]

Comparison = Literal["faster", "slower", "same", "unclear"]


@dataclass(frozen=True)
class LatencySummary:
    """Latency of one artifact in one scope over all rounds. Durations in seconds per call.

    Attributes:
        p50: median of the rounds' medians, with its bootstrap interval over rounds (`low`, `high`;
            None below 3 rounds).
        confidence: probability that such an interval covers the true median whatever the
            distribution: 0.75 with 3 rounds, 0.9375 with 5. None without interval.
        p90, p95, p99: of all single calls of all rounds; None below 64, 130, 662 of them, and where
            blocks were timed.
        fastest: the shortest sample; mean: mean of the rounds' means.
        rounds: that gave a number; n: samples in them; block: calls per sample (above 1: marked).
        ratio: median over rounds of p50 / the reference's p50 in the same round; below 1 is faster.
        aa_gap: the A/A twin's distance from the reference, as a share (0.02 = 2 %); differences
            within it are noise. None without twin.
        verdict_vs_baseline: whether it is faster or slower than the reference beyond doubt; None for
            the reference itself.
        load, first_call: seconds, medians over rounds.
        throughput: calls per second, median over rounds (with loop overhead).
        verdict: how far to trust all this; `reasons` say why it is not `ok`.
        round_medians: seconds, by round, for plots.
    """

    scope: str
    p50: float
    low: float | None
    high: float | None
    confidence: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    fastest: float
    mean: float
    n: int
    rounds: int
    block: int
    reference: str
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    aa_gap: float | None
    verdict_vs_baseline: Comparison | None
    load: float | None
    first_call: float | None
    throughput: float
    throughput_low: float | None
    throughput_high: float | None
    verdict: Verdict
    reasons: tuple[str, ...]
    round_medians: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def summarise(rounds: Sequence[RoundResult]) -> dict[str, dict[str, LatencySummary]]:
    """Name -> scope -> summary, from the results of all rounds of one group.

    Artifacts without a single good round are absent; the A/A twin is not an artifact, it is in
    every summary's `aa_gap`.
    """
    rounds = [one for one in rounds if one.entries]
    if not rounds:
        return {}
    reference = rounds[0].reference
    names = list(dict.fromkeys(name for one in rounds for name in one.entries if name != TWIN))
    summaries: dict[str, dict[str, LatencySummary]] = {}
    gaps: dict[str, float | None] = {}
    disturbed = disturbances_of(rounds)
    for name in names:
        scopes = dict.fromkeys(scope for one in rounds for scope in _scopes(one, name))
        if scopes:
            for scope in scopes:
                if scope not in gaps:
                    gaps[scope] = aa_gap(rounds, scope)
            summaries[name] = {
                scope: _summary(rounds, name, scope, reference, gaps[scope], disturbed) for scope in scopes
            }
    return summaries


def round_ratios(rounds: Sequence[RoundResult], name: str, scope: str) -> list[float]:
    """Median of `name` over median of the reference, for each round that has both."""
    ratios = []
    for one in rounds:
        own = _scopes(one, name).get(scope)
        base = _scopes(one, one.reference).get(scope)
        if own and base and base.median_ns > 0:
            ratios.append(own.median_ns / base.median_ns)
    return ratios


def aa_gap(rounds: Sequence[RoundResult], scope: str) -> float | None:
    """How far apart two loadings of the same file came out, as a share; None without a twin.

    The end of the interval of twin/reference that is farther from 1, in either direction; where too
    few rounds give an interval, the round that is farthest.
    """
    ratios = round_ratios(rounds, TWIN, scope)
    if not ratios:
        return None
    interval = bootstrap(ratios)
    ends = ratios if interval.low is None or interval.high is None else [interval.low, interval.high]
    return float(np.exp(max(abs(np.log(end)) for end in ends)) - 1)


def _summary(
    rounds: Sequence[RoundResult],
    name: str,
    scope: str,
    reference: str,
    gap: float | None,
    disturbed: Sequence[Reason],
) -> LatencySummary:
    good = [one for one in rounds if scope in _scopes(one, name)]
    windows = [_scopes(one, name)[scope] for one in good]
    medians = [window.median_ns / 1e9 for window in windows]
    p50 = bootstrap(medians)
    rate = bootstrap([throughput(window) for window in windows])
    ratios = round_ratios(rounds, name, scope)
    ratio = bootstrap(ratios) if ratios else None
    verdict, reasons = judge(windows, [one.entries.get(name) for one in rounds], gap, disturbed)
    tail = {q: _seconds(value) for q, value in pooled_percentiles(windows).items()}
    return LatencySummary(
        scope=scope,
        p50=p50.value,
        low=p50.low,
        high=p50.high,
        confidence=coverage(medians, p50),
        p90=tail[0.9],
        p95=tail[0.95],
        p99=tail[0.99],
        fastest=min(window.min_ns for window in windows) / 1e9,
        mean=float(np.mean([window.mean_ns for window in windows])) / 1e9,
        n=sum(window.n for window in windows),
        rounds=len(windows),
        block=max(window.block for window in windows),
        reference=reference,
        ratio=ratio.value if ratio else None,
        ratio_low=ratio.low if ratio else None,
        ratio_high=ratio.high if ratio else None,
        aa_gap=gap,
        verdict_vs_baseline=None if name == reference else versus_reference(ratio, gap),
        load=_middle([one.entries[name].load_ns for one in good]),
        first_call=_middle([one.entries[name].first_call_ns for one in good]),
        throughput=rate.value,
        throughput_low=rate.low,
        throughput_high=rate.high,
        verdict=verdict,
        reasons=tuple(reasons),
        round_medians=tuple(medians),
    )


def _scopes(one: RoundResult, name: str) -> dict[str, ScopeTimes]:
    entry = one.entries.get(name)
    return {} if entry is None or entry.error else entry.scopes


def _middle(values: Sequence[float | None]) -> float | None:
    """Median in seconds of those that are known, which are in ns."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) / 1e9 if known else None


def _seconds(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9
