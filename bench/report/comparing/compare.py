"""Two runs side by side: what changed beyond the noise, and whether they can be compared at all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bench.core.intervals import paired_difference
from bench.report.comparing.provenance import made_otherwise
from bench.report.frames import formats
from bench.report.frames.seeds import paired_interval
from bench.report.frames.tidy import SOURCES
from bench.report.frames.view import ModelView, Number, views
from bench.report.metrics import METRICS, RESOURCES
from bench.report.notes import lineage
from bench.report.notes.machines import differing, machines
from bench.report.records.read import BASELINE, Cell, SweepData, read_sweep
from bench.report.records.scores import Scores

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["better", "worse", "same", "unclear", "not comparable", "added", "removed"]
SIZES = ("file_bytes", "gzip_bytes")
#: Numbers of a design, which the tools give without an interval; less is better.
EXACT = (*RESOURCES, "cycles", "interval")


@dataclass(frozen=True)
class Change:
    """One number in both runs.

    Attributes:
        change: new - old for accuracy, new / old for all else; NaN where one is missing, or both are
            zero.
        low, high: 95 % interval of `change`.
        paired: whether an accuracy was compared item by item.
        verdict: `same` where the interval holds no change, or a latency is inside the A/A gap;
            `unclear` where the measurement is noisy or the interval and the gap disagree.
        note: why there is no number, or what to beware of.
    """

    model: str
    variant: str
    target: str
    metric: str
    scope: str
    old: float
    new: float
    change: float
    low: float
    high: float
    verdict: Verdict
    paired: bool = False
    note: str = ""


@dataclass
class Comparison:
    """All changes, and what to know before believing them. `str()` is the text for a terminal.

    Attributes:
        gone: models of the old run that the new one has not.
    """

    changes: list[Change]
    statements: list[str] = field(default_factory=list)
    latency_comparable: bool = True
    gone: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return text(self)


@dataclass
class _Run:
    views: dict[str, ModelView]
    sweeps: dict[str, SweepData]
    cells: dict[tuple[str, str, str, int], Cell]

    @property
    def machines(self) -> list[dict[str, str]]:
        found = [machine for data in self.sweeps.values() for machine in machines(data)]
        return list({machine.get("id") or str(machine): machine for machine in found}.values())

    @property
    def protocols(self) -> list[dict[str, Any]]:
        return _distinct(data.protocol for data in self.sweeps.values())


def _distinct(items: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({json.dumps(item, sort_keys=True): item for item in items}.values())


def _open(table: pd.DataFrame) -> _Run:
    sweeps = {name: read_sweep(root, name) for root, name in table.attrs.get(SOURCES, ())}
    found = views(table)
    several = len({view.sweep for view in found}) > 1
    cells = {}
    for name, data in sweeps.items():
        for cell in data.cells:
            label = f"{name}/{cell.model}" if several else cell.model
            cells[label, cell.variant, cell.target, cell.seed] = cell
    return _Run({f"{v.sweep}/{v.model}" if several else v.model: v for v in found}, sweeps, cells)


def compare(old: pd.DataFrame, new: pd.DataFrame) -> Comparison:
    """Compare two frames of `bench.report.frame` (or `read_csv`, with less to go by).

    Cells are the same where model, variant and target are; sweeps may have different names if each
    frame holds one sweep. Accuracy is compared on the same test items and seeds where the records
    have them, else by the intervals; latency by the ratio of the medians with the outer ends of both
    intervals, and never better or worse inside either run's A/A gap.
    """
    one, two = _open(old), _open(new)
    result = Comparison([])
    _differences(one, two, result)
    for model in dict.fromkeys([*one.views, *two.views]):
        before, after = one.views.get(model), two.views.get(model)
        if before is None or after is None:
            if after is None:
                result.gone.append(model)
            result.statements.append(f"{model} is only in the {'new' if before is None else 'old'} run.")
            continue
        for variant in dict.fromkeys([*before.variants, *after.variants]):
            for target in dict.fromkeys([*before.targets, *after.targets]):
                result.changes += _cell_changes(model, variant, target, one, two, result.latency_comparable)
    result.statements += _common(result.changes)
    return result


def _common(changes: list[Change]) -> Iterator[str]:
    """The baseline's own latency changed: then it was hardly the variants."""
    for change in changes:
        moved = change.metric == "latency_p50" and change.verdict in ("better", "worse")
        if moved and change.variant == BASELINE:
            yield (
                f"{change.model}: the baseline itself takes {formats.plain(change.change)}× its old time "
                f"on {change.target} ({change.scope}): look at machine and runtime before any variant."
            )


def _differences(old: _Run, new: _Run, result: Comparison) -> None:
    """Statements on machine and protocol; latency is not compared across either."""
    ids = [{machine.get("id", "") for machine in run.machines} for run in (old, new)]
    if ids[0] and ids[1] and ids[0] != ids[1]:
        result.latency_comparable = False
        fields = _changed(old.machines, new.machines) or "only their ids differ"
        result.statements.append(
            f"Measured on different machines ({fields}): the difference of their latencies would say nothing "
            "about the artifacts, so they are not compared (--json has both)."
        )
    for name, run in (("old", old), ("new", new)):
        if len(run.machines) > 1:
            result.statements.append(
                f"The {name} run was itself measured on {len(run.machines)} machines "
                f"({differing(run.machines)}): its latencies are not all comparable with each other."
            )
    if old.protocols and new.protocols and old.protocols != new.protocols:
        # Fewer rounds widen the interval; the medians still estimate the same thing.
        result.statements.append(
            f"Measured by different protocols ({_changed(old.protocols, new.protocols)})."
        )
    if old.sweeps and new.sweeps and (told := _other_versions(old, new)):
        result.statements.append(f"Other versions: {told}.")
    if told := made_otherwise(old.cells, new.cells):
        result.statements.append(f"Made otherwise: {told}.")
    if not (old.sweeps and new.sweeps):
        result.statements.append(
            "Without the records of both runs machines cannot be told apart and accuracy is not paired."
        )


def _changed(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> str:
    """`cpu A → B, cores 2 → 4`; where a run has several of either, all that differs between any two."""
    alone = len(old) == len(new) == 1
    return differing([*old, *new], " → " if alone else " / ")


def _other_versions(old: _Run, new: _Run) -> str:
    """`tensorflow 2.20.0 → 2.21.0`; packages that only one run names are no difference."""
    before, after = (
        {name: text for data in run.sweeps.values() for name, text in lineage.versions(data).items()}
        for run in (old, new)
    )
    names = (name for name in before if after.get(name, before[name]) != before[name])
    return ", ".join(f"{name} {before[name]} → {after[name]}" for name in names)


def _cell_changes(
    model: str, variant: str, target: str, old: _Run, new: _Run, latency: bool
) -> Iterator[Change]:
    before, after = old.views[model], new.views[model]
    scopes = dict.fromkeys([*before.scopes(target), *after.scopes(target)])
    wanted = [("accuracy", ""), *((size, "") for size in SIZES), *(("latency_p50", s) for s in scopes)]
    for metric, scope in wanted:
        one, two = before.get(variant, target, metric, scope), after.get(variant, target, metric, scope)
        if not (one is not None and one.known) and not (two is not None and two.known):
            continue
        place = (model, variant, target, metric, scope)
        if one is None or two is None or not one.known or not two.known:
            missing = one if two is not None and two.known else two
            verdict: Verdict = "added" if missing is one else "removed"
            first, second = (n.value if n is not None and n.known else math.nan for n in (one, two))
            note = missing.reason if missing is not None else ""
            yield Change(*place, first, second, math.nan, math.nan, math.nan, verdict, note=note)
        elif metric == "accuracy":
            yield _accuracy(place, one, two, old, new)
        elif metric in SIZES:
            yield _exact(place, one, two)
        else:
            gaps = [v.noise(target, scope) for v in (before, after)]
            yield _latency(place, one, two, gaps, latency)
    for metric in EXACT:
        designs, others = before.hardware(target, metric), after.hardware(target, metric)
        for where in designs:  # the same scope, stage and origin: nothing else is comparable
            was, now = designs[where].get(variant), others.get(where, {}).get(variant)
            if was is not None and now is not None and was.known and now.known:
                yield _exact((model, variant, target, metric, ", ".join(filter(None, where))), was, now)


def _exact(place: tuple[str, str, str, str, str], one: Number, two: Number) -> Change:
    """Bytes and counts: every difference is one."""
    verdict: Verdict = "same" if two.value == one.value else "better" if two.value < one.value else "worse"
    ratio = two.value / one.value if one.value else math.inf if two.value else math.nan
    return Change(*place, one.value, two.value, ratio, math.nan, math.nan, verdict)


def _accuracy(
    place: tuple[str, str, str, str, str], one: Number, two: Number, old: _Run, new: _Run
) -> Change:
    model, variant, target = place[:3]
    scores, differences = Scores(), []
    seeds = [seed for (m, v, t, seed) in old.cells if (m, v, t) == (model, variant, target)]
    for seed in seeds:
        first, second = (run.cells.get((model, variant, target, seed)) for run in (old, new))
        if first is None or second is None:
            continue
        pair = scores.pair(second, first, "correct")
        if pair is not None:
            differences.append(pair[0].astype(np.int8) - pair[1].astype(np.int8))
    if differences:
        if len(differences) == 1:
            only = differences[0]
            found = paired_difference(int((only < 0).sum()), int((only > 0).sum()), only.size)
            assert found.low is not None and found.high is not None
            change, low, high = found.value, found.low, found.high
        else:
            change, (low, high) = paired_interval(np.stack(differences))
        note = ""
    else:
        change = two.value - one.value
        half = math.hypot(
            *(max(n.high - n.value, n.value - n.low) for n in (one, two)),
            *(_item_half(run.views[model], variant, target) for run in (old, new)),
        )
        low, high = change - half, change + half
        note = "not paired: other test items, or no records"
    verdict: Verdict = (
        "unclear" if math.isnan(low) else "better" if low > 0 else "worse" if high < 0 else "same"
    )
    return Change(*place, one.value, two.value, change, low, high, verdict, bool(differences), note)


def _item_half(view: ModelView, variant: str, target: str) -> float:
    """Half the interval that the choice of test items gives; the one over several seeds, who share them,
    does not know of it. With one seed it is that seed's own interval already."""
    seeds = [view.seed(variant, target, "accuracy", "", seed) for seed in view.seeds]
    halves = [(n.high - n.low) / 2 for n in seeds if n is not None and n.known and math.isfinite(n.low)]
    return sum(halves) / len(halves) if len(halves) > 1 else 0.0


def _latency(
    place: tuple[str, str, str, str, str], one: Number, two: Number, gaps: list[float], comparable: bool
) -> Change:
    ratio, low, high = two.value / one.value, two.low / one.high, two.high / one.low
    gap = max((gap for gap in gaps if math.isfinite(gap)), default=0.0)
    inside = 1 / (1 + gap) <= ratio <= 1 + gap
    note = ", ".join(f"{name} {n.verdict}" for name, n in (("old", one), ("new", two)) if n.verdict)
    verdict: Verdict
    if not comparable:
        verdict = "not comparable"
    elif note or math.isnan(low) or math.isnan(high):
        verdict = "unclear"
    elif inside or low <= 1 <= high:
        verdict = "same"
    else:
        verdict = "better" if ratio < 1 else "worse"
    return Change(*place, one.value, two.value, ratio, low, high, verdict, note=note)


def text(comparison: Comparison) -> str:
    """What changed, one line each; what did not is only counted."""
    lines = [*comparison.statements]
    told = [c for c in comparison.changes if c.verdict not in ("same", "not comparable")]
    rows = [("", "model", "variant", "target", "number", "old", "new", "change")]
    for change in told:
        rows.append((_SIGNS[change.verdict], change.model, change.variant, change.target, *_shown(change)))
    if told:
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        if lines:
            lines.append("")
        for row in rows:
            cells = [
                cell.rjust(width) if place in (5, 6) else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        lines.append("")
    counts: dict[str, int] = {}
    for change in comparison.changes:
        counts[change.verdict] = counts.get(change.verdict, 0) + 1
    summary = ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()))
    lines.append(
        f"{len(comparison.changes)} numbers compared: {summary}." if counts else "Nothing to compare."
    )
    if counts.get("better", 0) + counts.get("worse", 0):
        lines.append("Intervals are 95 %: about one in twenty unchanged numbers shows up as changed.")
    return "\n".join(lines)


_SIGNS: dict[str, str] = {"better": "+", "worse": "-", "unclear": "?", "added": "new", "removed": "gone"}


def _shown(change: Change) -> tuple[str, str, str, str]:
    """Number, old, new and change as text."""
    note = f"  ({change.note})" if change.note else ""
    if change.metric == "accuracy":
        old, new = (f"{100 * x:.2f} %" if math.isfinite(x) else "" for x in (change.old, change.new))
        points = formats.plus_minus(*(100 * x for x in (change.change, change.low, change.high)), sign=True)
        return "accuracy", old, new, (f"{points} points" if math.isfinite(change.change) else "") + note
    unit = METRICS[change.metric].unit
    scale = formats.scale_for(unit, (x for x in (change.old, change.new) if math.isfinite(x)))
    old, new = (
        f"{formats.plain(x * scale.factor)} {scale.unit}" if math.isfinite(x) else ""
        for x in (change.old, change.new)
    )
    metric = METRICS[change.metric]
    name = change.scope if metric.unit == "s" else f"{metric.title} {change.scope}".strip()
    ratio = (
        formats.bracketed(change.change, change.low, change.high, "×") if math.isfinite(change.change) else ""
    )
    return name, old, new, ratio + note
