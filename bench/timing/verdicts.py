"""How far a latency can be trusted, and whether two differ. Thresholds stand here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from bench.core.intervals import MIN_VALUES, Interval
from bench.core.results import Entry, RoundResult, ScopeTimes
from bench.timing.disturbances import Disturbance, disturbances

Verdict = Literal["ok", "noisy", "unstable"]
#: how bad, and why
Reason = tuple[Verdict, str]
_ORDER: tuple[Verdict, ...] = ("ok", "noisy", "unstable")

#: above the first noisy, above the second unstable. Spread and drift as torch.utils.benchmark and
#: pyperf draw the lines (10 %, 25 %); the gap of one file with itself is held to less.
SPREAD = (0.10, 0.25)
DRIFT = (0.10, 0.25)
AA_GAP = (0.05, 0.15)


def judge(
    windows: Sequence[ScopeTimes],
    entries: Sequence[Entry | None],
    gap: float | None,
    disturbed: Sequence[Reason],
) -> tuple[Verdict, list[str]]:
    """Verdict on one artifact in one scope, and the reasons that it is not `ok`.

    Args:
        windows: of the rounds that gave a number.
        entries: the artifact's entry in each round.
        gap: the group's A/A gap; disturbed: `disturbances_of` its rounds.
    """
    found: list[Reason] = []

    def grade(value: float, limits: tuple[float, float], text: str) -> None:
        if value > limits[0]:
            found.append(("unstable" if value > limits[1] else "noisy", text))

    medians = [window.median_ns for window in windows]
    middle = float(np.median(medians))
    spread = (max(medians) - min(medians)) / middle if middle > 0 else 0.0
    grade(spread, SPREAD, f"rounds differ by {spread:.0%}")
    drift = max((abs(window.drift or 0.0) for window in windows), default=0.0)
    grade(drift, DRIFT, f"drift of {drift:.0%} within a round")
    if gap is None:
        found.append(("noisy", "no A/A twin: the noise floor is unknown"))
    else:
        grade(gap, AA_GAP, f"A/A gap of {gap:.1%}: one file timed twice differs by that much")
    errors = [entry.error for entry in entries if entry and entry.error]
    if errors:
        found.append(("noisy", f"failed in {len(errors)} of {len(entries)} rounds: {errors[0]}"))
    if len(windows) < MIN_VALUES:
        found.append(("noisy", f"{len(windows)} round(s): too few for an interval"))
    found += disturbed
    verdict: Verdict = max((severity for severity, _ in found), key=_ORDER.index, default="ok")
    return verdict, [text for _, text in found]


def disturbances_of(rounds: Sequence[RoundResult]) -> list[Reason]:
    """The worst disturbance of each kind, and in how many rounds there was one.

    Args:
        rounds: with `state_before`, `state_after` and `machine` where known.
    """
    kinds: dict[str, list[Disturbance]] = {}
    for one in rounds:
        cores = one.machine.get("cores")
        for item in disturbances(one.state_before, one.state_after, cores):
            kinds.setdefault(item.kind, []).append(item)
    found: list[Reason] = []
    for items in kinds.values():
        worst = max(items, key=lambda item: _ORDER.index(item.severity))
        found.append((worst.severity, f"{worst.text} (in {len(items)} of {len(rounds)} rounds)"))
    return found


def versus_reference(
    ratio: Interval | None, gap: float | None
) -> Literal["faster", "slower", "same", "unclear"]:
    """Whether an artifact is faster or slower than the reference.

    Only an interval that lies wholly beyond the A/A gap counts as a difference, and only one that
    lies wholly within a gap that is itself small counts as none. With k rounds and nothing but
    noise, all k ratios come out beyond the twin's k on one side with probability at most
    2 / (2^k C(2k, k)): 1.3 % at 3 rounds, 0.02 % at 5.
    """
    if ratio is None or ratio.low is None or ratio.high is None or gap is None:
        return "unclear"
    if ratio.high < 1 / (1 + gap):
        return "faster"
    if ratio.low > 1 + gap:
        return "slower"
    if gap <= AA_GAP[0] and ratio.low >= 1 / (1 + gap) and ratio.high <= 1 + gap:
        return "same"
    return "unclear"
