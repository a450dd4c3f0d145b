"""The tidy frame: one row per cell and metric, and rows aggregated over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.core.intervals import paired_difference, wilson
from bench.core.results import SIZE_FACTS
from bench.errors import StoreError
from bench.report.frames.seeds import Interval, mean_interval, paired_interval
from bench.report.metrics import COLUMNS, METRICS, NOT_MEASURED, NOT_YET, scope_order
from bench.report.records import board, fpga
from bench.report.records.fpga import MEASURED
from bench.report.records.read import (
    BASELINE,
    MEASURE,
    Cell,
    Outcome,
    SweepData,
    outcome_of,
    read_sweep,
    sweep_names,
    uncollected,
)
from bench.report.records.scores import Scores
from bench.timing.statistics import LatencySummary, summarise

if TYPE_CHECKING:
    import pandas as pd

#: The same few counts come up in many cells, and the interval is found by bisection.
_paired_difference = lru_cache(maxsize=4096)(paired_difference)
SOURCES = "sources"
COUNTS = ("seed", "n", "seeds_failed")


class Row(NamedTuple):
    """One row of the frame; None is a missing number."""

    sweep: str
    model: str
    variant: str
    target: str
    seed: int | None
    metric: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    scope: str = ""
    origin: str = ""
    stage: str = ""
    n: int | None = None
    status: str = "ok"
    missing: str = ""
    failed_step: str = ""
    seeds_failed: int | None = None
    verdict: str = ""
    comparison: str = ""
    tool: str = ""
    first_difference: str = ""
    caveat: str = ""
    reason: str = ""


def frame(results: str | Path = "results", sweep: str | None = None) -> pd.DataFrame:
    """Everything known about a sweep (all sweeps if None) as one tidy pandas frame.

    Columns and metrics: `bench.report.metrics`. Rows with a seed hold one cell; rows without hold
    the mean over the seeds. A cell without a number (failed, skipped, not applicable) has a row for
    accuracy, file size and latency with its status and reason.

    Raises:
        StoreError: no such sweep, or the results folder cannot be read.
    """
    names = [sweep] if sweep is not None else sweep_names(results)
    with uncollected():
        found = sweep_frame(*(read_sweep(results, name) for name in names))
    # Where it came from, for `compare`, which needs more than the frame holds.
    found.attrs[SOURCES] = [[str(results), name] for name in names]
    return found


def read_csv(path: str | Path) -> pd.DataFrame:
    """A frame that was written as report.csv.

    Raises:
        StoreError: it is no such file.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(COUNTS, "Int64"))
        missing = [name for name in COLUMNS if name not in table]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        texts = [name for name in COLUMNS if name not in ("value", "low", "high", *COUNTS)]
        table = table.astype(dict.fromkeys(texts, "string")).fillna(dict.fromkeys(texts, ""))
        return table.astype(dict.fromkeys(("value", "low", "high"), float))[list(COLUMNS)]
    except (ValueError, OSError) as error:
        raise StoreError(
            f"not a report.csv of this version ({error})",
            where=str(path),
            mend="If an older version wrote it, write the report again: bench report SWEEP.",
        ) from error


def sweep_frame(*sweeps: SweepData) -> pd.DataFrame:
    """The tidy frame of sweeps that were already read."""
    return as_frame(row for data in sweeps for row in rows(data))


def as_frame(found: Iterable[Row]) -> pd.DataFrame:
    """Rows as a frame with fixed columns and types (floats for numbers, nullable integers for counts)."""
    import pandas as pd

    columns = list(zip(*found, strict=True)) or [()] * len(COLUMNS)
    table: dict[str, Any] = {}
    for name, values in zip(COLUMNS, columns, strict=True):
        if name in ("value", "low", "high"):
            table[name] = np.array([math.nan if v is None else v for v in values], dtype=float)
        elif name in COUNTS:
            table[name] = pd.array(list(values), dtype="Int64")
        else:
            table[name] = pd.array(list(values), dtype="string" if not values else None)
    return pd.DataFrame(table, columns=list(COLUMNS))


def rows(data: SweepData) -> Iterator[Row]:
    """Rows of one sweep: per seed, then aggregated, cell by cell in the order of the sweep."""
    latencies = {keys: summaries(data, keys) for keys in data.rounds}
    for cells in data.by_model().values():
        baselines = {(c.target, c.seed): c for c in cells if c.variant == BASELINE}
        scores = Scores()
        groups: dict[tuple[str, str], list[Cell]] = {}
        for cell in cells:
            groups.setdefault((cell.variant, cell.target), []).append(cell)
        for group in groups.values():
            found: list[Row] = []
            for cell in group:
                baseline = baselines.get((cell.target, cell.seed))
                found += _accuracy_rows(data, cell, baseline, scores)
                found += _size_rows(data, cell, baseline)
                found += _latency_rows(data, cell, latencies)
                found += _device_rows(data, cell)
            yield from found
            yield from _aggregate(found, _paired(group, baselines, scores))


def _base(data: SweepData, cell: Cell) -> tuple[str, str, str, str, int]:
    return data.name, cell.model, cell.variant, cell.target, cell.seed


def _missing(data: SweepData, cell: Cell, metric: str, outcome: Outcome) -> Row:
    unit = METRICS[metric].unit
    return Row(
        *_base(data, cell),
        metric,
        unit=unit,
        status=outcome.status,
        missing=outcome.missing,
        failed_step=outcome.step,
        reason=outcome.reason,
    )


def _accuracy_rows(data: SweepData, cell: Cell, baseline: Cell | None, scores: Scores) -> Iterator[Row]:
    outcome = cell.evaluate_outcome
    if not outcome.ok or cell.evaluate is None:
        yield _missing(data, cell, "accuracy", outcome)
        return
    base, origin = _base(data, cell), fpga.origin_of(cell)
    n, errors = cell.evaluate.score.n, cell.evaluate.score.errors
    low, high = wilson(errors, n)
    yield Row(*base, "accuracy", 1 - errors / n, 1 - high, 1 - low, "1", origin=origin, n=n)
    yield Row(*base, "errors", errors, n * low, n * high, "1", origin=origin, n=n)
    if baseline is None or cell.variant == BASELINE:
        return
    pair = scores.pair(cell, baseline, "correct")
    if pair is not None:
        gained, lost = int((pair[0] & ~pair[1]).sum()), int((~pair[0] & pair[1]).sum())
        delta = _paired_difference(lost, gained, n)
        yield Row(*base, "accuracy_delta", *delta, "1", origin=origin, n=n)
    same = scores.pair(cell, baseline, "predictions")
    if same is not None:
        differ = int((same[0] != same[1]).sum())
        low, high = wilson(differ, n)
        yield Row(*base, "agreement", 1 - differ / n, 1 - high, 1 - low, "1", origin=origin, n=n)


def _size_rows(data: SweepData, cell: Cell, baseline: Cell | None) -> Iterator[Row]:
    design = fpga.is_design(cell)
    if not cell.build_outcome.ok:
        yield _missing(data, cell, "weight_bits" if design else "file_bytes", cell.build_outcome)
        return
    if design:
        yield _missing(data, cell, "file_bytes", fpga.no_file(cell))
    base, facts = _base(data, cell), fpga.size_facts(cell)
    for name in SIZE_FACTS:
        value = facts.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            yield Row(*base, name, float(value), unit=METRICS[name].unit, origin=MEASURED)
    if baseline is None or cell.variant == BASELINE:
        return
    for size, ratio in (("file_bytes", "file_ratio"), ("gzip_bytes", "gzip_ratio")):
        mine, other = facts.get(size), baseline.facts.get(size)
        if mine and other:
            yield Row(*base, ratio, other / mine, unit="1", origin=MEASURED)


def _device_rows(data: SweepData, cell: Cell) -> Iterator[Row]:
    if not cell.build_outcome.ok:
        return
    base = _base(data, cell)
    found = [*fpga.cost(cell), *fpga.hardware(cell)]
    if cell.evaluate_outcome.ok:
        found += [*fpga.agreement(cell), *board.findings(cell)]
    for one in found:
        status = "skipped" if one.value is None else "ok"
        yield Row(
            *base,
            one.metric,
            one.value,
            unit=METRICS[one.metric].unit,
            scope=one.scope,
            origin=one.origin,
            stage=one.stage,
            n=one.n,
            status=status,
            tool=one.tool,
            first_difference=one.first_difference,
            caveat=one.caveat,
            reason=one.reason,
        )


def summaries(data: SweepData, keys: tuple[str, ...]) -> dict[str, dict[str, LatencySummary]]:
    """Latency of one measured group: name -> scope -> summary; empty where no round is there."""
    good = [record.round for record in data.rounds[keys] if record.status == "ok"]
    return summarise(good) if good else {}


def _latency_outcome(data: SweepData, cell: Cell) -> Outcome:
    """Why a cell that was to be measured has no latency."""
    if not cell.build_outcome.ok:
        return cell.build_outcome
    if cell.entry.get("skipped"):
        return Outcome("skipped", str(cell.entry["skipped"]))
    records = data.rounds.get(cell.measure_keys, [])
    for record in records:
        if record.status != "ok":
            return outcome_of(MEASURE, record)
        entry = record.round.entries.get(cell.variant)
        if entry and entry.error:
            return Outcome("failed", f"{MEASURE}: {entry.error}", step=MEASURE)
    return Outcome("skipped", NOT_MEASURED, NOT_YET)


def _latency_rows(
    data: SweepData, cell: Cell, latencies: dict[tuple[str, ...], dict[str, dict[str, LatencySummary]]]
) -> Iterator[Row]:
    if fpga.is_design(cell) and not cell.measure_keys:
        yield _missing(
            data, cell, "latency_p50", fpga.no_time(cell) if cell.build_outcome.ok else cell.build_outcome
        )
        return
    if not cell.entry.get("measured"):
        return
    scopes = latencies.get(cell.measure_keys, {}).get(cell.variant)
    if not scopes or not cell.build_outcome.ok:
        if cell.measure_keys or not cell.build_outcome.ok or cell.entry.get("skipped"):
            yield _missing(data, cell, "latency_p50", _latency_outcome(data, cell))
        return
    base = _base(data, cell)
    for place, (scope, found) in enumerate(sorted(scopes.items(), key=lambda item: scope_order(item[0]))):
        yield from _summary_rows(data, cell, scope, found)
        if place == 0:
            for metric, value in (("load_time", found.load), ("first_call", found.first_call)):
                if value is not None:
                    yield Row(*base, metric, value, unit="s", origin=MEASURED, n=found.rounds)


def _summary_rows(data: SweepData, cell: Cell, scope: str, found: LatencySummary) -> Iterator[Row]:
    base = _base(data, cell)
    note = "" if found.verdict == "ok" else f"{found.verdict}: {'; '.join(found.reasons)}"

    unsure = "" if found.verdict == "ok" else found.verdict

    def row(
        metric: str, value: float, low: float | None, high: float | None, n: int, comparison: str = ""
    ) -> Row:
        reason = "; ".join(filter(None, (comparison, note)))
        place = Row(*base, metric, unit=METRICS[metric].unit, scope=scope, origin=MEASURED)
        known = place._replace(value=value, low=low, high=high, n=n)
        return known._replace(verdict=unsure, comparison=comparison, reason=reason)

    yield row("latency_p50", found.p50, found.low, found.high, found.n)
    for name in ("p90", "p95", "p99"):
        value = getattr(found, name)
        if value is not None:
            yield row(f"latency_{name}", value, None, None, found.n)
    if cell.variant == found.reference:
        if found.aa_gap is not None:
            yield row("latency_noise", found.aa_gap, None, None, found.rounds)
    elif found.ratio is not None and found.reference == BASELINE:
        told = found.verdict_vs_baseline or ""
        yield row("latency_ratio", found.ratio, found.ratio_low, found.ratio_high, found.rounds, told)
    if str(data.protocol.get("name")).startswith("mlperf"):  # a changed preset is `mlperf-custom`
        yield row("throughput", found.throughput, found.throughput_low, found.throughput_high, found.n)


def _paired(
    group: list[Cell], baselines: dict[tuple[str, int], Cell], scores: Scores
) -> tuple[float, Interval] | None:
    """Accuracy against the baseline over all seeds that have both, on the same items."""
    differences: list[np.ndarray] = []
    for cell in group:
        if cell.variant == BASELINE:
            return None
        pair = scores.pair(cell, baselines.get((cell.target, cell.seed)), "correct")
        if pair is not None and (not differences or differences[0].size == pair[0].size):
            differences.append(pair[0].astype(np.int8) - pair[1].astype(np.int8))
    return paired_interval(np.stack(differences)) if differences else None


def _aggregate(found: list[Row], paired: tuple[float, Interval] | None) -> Iterator[Row]:
    """Rows without a seed: one for each metric, scope, stage and origin of the group."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in found:
        groups.setdefault((row.metric, row.scope, row.stage), []).append(row)
    special = {metric for metric, scope, stage in groups if scope or stage}
    for (metric, scope, stage), members in groups.items():
        good: dict[str, list[Row]] = {}
        for row in members:
            if row.status == "ok" and row.value is not None:
                good.setdefault(row.origin, []).append(row)
        bad = [row for row in members if row.status != "ok"]
        # A failed seed has no scope; where other seeds have numbers it is told in their rows.
        if not good and (scope or stage or metric not in special):
            yield bad[0]._replace(seed=None)
        if scope or stage:
            bad += [row for row in groups.get((metric, "", ""), ()) if row.status != "ok"]
        for rows_of_one in good.values():
            yield _mean(rows_of_one, bad, paired)


def _mean(good: list[Row], bad: list[Row], paired: tuple[float, Interval] | None) -> Row:
    """One row for the seeds that have the number; tells how many have not."""
    one, metric = good[0], good[0].metric
    if len(good) == 1 and metric not in ("accuracy", "errors", "agreement"):
        value, (low, high), n = one.value, (one.low, one.high), one.n
    elif metric == "accuracy_delta" and paired is not None:
        value, (low, high) = paired
        n = len(good)
    else:
        value, (low, high) = mean_interval([row.value for row in good if row.value is not None])
        n = len(good)
    notes = list(dict.fromkeys(row.reason for row in good if row.reason))
    if bad:
        notes.append(f"{len(bad)} of {len(good) + len(bad)} seeds {bad[0].status}: {bad[0].reason}")
    return one._replace(
        seed=None,
        value=value,
        low=low,
        high=high,
        n=n,
        failed_step=bad[0].failed_step if bad else "",
        seeds_failed=sum(row.status in ("failed", "timeout") for row in bad),
        verdict=next((word for word in ("noisy", "unstable") if any(r.verdict == word for r in good)), ""),
        reason="; ".join(notes),
    )
