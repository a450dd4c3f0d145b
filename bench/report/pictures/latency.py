"""How the times of single calls are distributed, for each variant, beside the A/A noise band."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.core.results import Entry, RoundResult, ScopeTimes
from bench.report.frames import formats
from bench.report.frames.view import ModelView, size_front
from bench.report.pictures.labels import fewer, room_for, rows
from bench.report.pictures.style import GREY, INK, WIDTH, Plan, log_ticks, look, panel, slug
from bench.report.records.read import BASELINE, Cell, Rounds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Points of an outline, and the share of the calls that each side leaves out.
POINTS, TAIL = 64, 0.01


@dataclass(frozen=True)
class Spread:
    """One variant's calls: outline as (time, height of 0 to 1), medians of the rounds; times in s."""

    name: str
    outline: tuple[tuple[float, float], ...]
    median: float
    rounds: tuple[float, ...]
    noisy: bool


@dataclass(frozen=True)
class Spreads:
    """All variants on one target; `gap` is the A/A gap as a share, NaN where it is not known."""

    variants: tuple[Spread, ...]
    label: str
    scale: formats.Scale
    gap: float


def plans(view: ModelView, cells: Sequence[Cell], timed: Rounds, prefix: str) -> Iterator[Plan]:
    """One picture for each measured target, in its narrowest scope."""
    groups: dict[str, tuple[str, ...]] = {}
    for cell in cells:
        if timed.get(cell.measure_keys):
            groups.setdefault(cell.target, cell.measure_keys)
    for target, keys in groups.items():
        scope = next(iter(view.scopes(target)), None)
        if scope is None:
            continue
        rounds = [record.round for record in timed[keys] if record.status == "ok"]
        found = [
            spread
            for variant, number in view.known(target, "latency_p50", scope)
            if (spread := _spread(rounds, variant, scope, bool(number.verdict))) is not None
        ]
        kept, told = fewer([one.name for one in found], size_front(view))
        found = [one for one in found if one.name in set(kept)]
        if len(found) < 2:
            continue
        scale = formats.scale_for("s", [one.median for one in found])
        blocks = any(window.block > 1 for one in rounds for window in _windows(one.entries.values(), scope))
        what = "one call, mean of a block of calls" if blocks else "one call"
        label = f"time of {what} ({target}, {scope}) / {scale.unit}"
        spreads = Spreads(tuple(found), label, scale, view.noise(target, scope))
        title = f"latency, {target}"
        yield Plan(
            f"{prefix}-latency-{slug(target)}",
            view.model,
            title,
            _description(view.model, title, spreads),
            _caption(len(rounds), spreads) + told,
            spreads,
            paint,
            (WIDTH, 1.07 + 0.27 * len(found)),
        )


def _description(model: str, title: str, data: Spreads) -> str:
    told = ", ".join(
        f"{one.name} {formats.plain(one.median * data.scale.factor)} {data.scale.unit}"
        for one in data.variants
    )
    return f"{model}: {title}. Medians: {told}."


def _caption(rounds: int, data: Spreads) -> str:
    parts = [
        f"Outline: all samples of {rounds} rounds but the fastest and slowest {TAIL:.0%}; line: median of "
        "the rounds' medians, dots: the rounds."
    ]
    if math.isfinite(data.gap):
        parts.append(f"Band: A/A gap, ±{data.gap:.1%} around the baseline; what lies within is noise.")
    if any(one.noisy for one in data.variants):
        parts.append("Pale: noisy or unstable.")
    return " ".join(parts)


def _windows(entries: Iterable[Entry], scope: str) -> list[ScopeTimes]:
    return [entry.scopes[scope] for entry in entries if not entry.error and scope in entry.scopes]


def _spread(rounds: Sequence[RoundResult], variant: str, scope: str, noisy: bool) -> Spread | None:
    windows = _windows((one.entries[variant] for one in rounds if variant in one.entries), scope)
    if not windows:
        return None
    medians = tuple(window.median_ns / 1e9 for window in windows)
    return Spread(variant, _outline(windows), float(np.median(medians)), medians, noisy)


def _outline(windows: Sequence[ScopeTimes]) -> tuple[tuple[float, float], ...]:
    """Density over the logarithm of the time, all windows together, tails cut off."""
    ratio = windows[0].histogram.ratio
    parts = [(w.histogram.first, w.histogram.counts.array()) for w in windows]
    start = min(first for first, _ in parts)
    pooled = np.zeros(max(first + counts.size for first, counts in parts) - start, np.int64)
    for first, counts in parts:
        pooled[first - start : first - start + counts.size] += counts
    cumulative = np.cumsum(pooled)
    low, high = np.searchsorted(cumulative, [q * cumulative[-1] for q in (TAIL, 1 - TAIL)])
    kept = pooled[low : high + 1]
    # No finer than can be seen, and never finer than the bins.
    step = max(1, math.ceil(kept.size / POINTS))
    kept = np.pad(kept, (0, -kept.size % step)).reshape(-1, step).sum(axis=1)
    times = ratio ** (start + low + step * (np.arange(kept.size) + 0.5)) / 1e9
    heights = kept / max(1, int(kept.max()))
    return tuple((float(f"{t:.4g}"), round(float(h), 3)) for t, h in zip(times, heights, strict=True))


def paint(figure: Figure, data: Spreads) -> None:
    from matplotlib.collections import LineCollection, PolyCollection

    names = [one.name for one in data.variants]
    axes = panel(figure, left=room_for(names), top=0.46, xlabel=data.label, grid="x")
    factor = data.scale.factor
    ends = [t for one in data.variants for t in (one.outline[0][0], one.outline[-1][0], *one.rounds)]
    log_ticks(axes, min(ends) * factor / 1.03, max(ends) * factor * 1.03)
    rows(axes, names)
    baseline = next((one for one in data.variants if one.name == BASELINE), None)
    if baseline is not None and math.isfinite(data.gap):
        middle, half = math.log10(baseline.median * factor), math.log10(1 + data.gap)
        axes.axvspan(middle - half, middle + half, color=GREY, alpha=0.25, linewidth=0, zorder=0)
        axes.text(middle, 0.62, "A/A noise", fontsize=7, ha="center", va="bottom")
    shapes, medians, dots, colours = [], [], [], []
    for place, one in enumerate(data.variants):
        floor = -place - 0.3
        top = [(math.log10(t * factor), floor + 0.72 * h) for t, h in one.outline]
        shapes.append([(top[0][0], floor), *top, (top[-1][0], floor)])
        x = math.log10(one.median * factor)
        medians.append([(x, floor - 0.08), (x, floor + 0.78)])
        dots += [(math.log10(t * factor), floor - 0.08) for t in one.rounds]
        colours.append((look(one.name).colour, 0.25 if one.noisy else 0.6))
    solid = [colour for colour, _ in colours]
    axes.add_collection(
        PolyCollection(shapes, facecolors=colours, edgecolors=solid, linewidths=0.7), autolim=False
    )
    axes.add_collection(LineCollection(medians, colors=INK, linewidths=1.3, zorder=4), autolim=False)
    axes.scatter([x for x, _ in dots], [y for _, y in dots], s=5, color=INK, linewidths=0, zorder=4)
