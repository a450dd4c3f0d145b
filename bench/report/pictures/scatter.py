"""Accuracy against size, latency and the cost of a design, with Pareto front and error bars."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bench.report.frames import formats
from bench.report.frames.view import SAME_COST, ModelView, Number, candidates, latency_front, pareto
from bench.report.metrics import METRICS
from bench.report.pictures.labels import shortened
from bench.report.pictures.placing import GAP, SIZE, Area, Places, width
from bench.report.pictures.style import INK, Plan, accuracy_label, clean, log_ticks, look, panel, slug
from bench.report.records.read import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Of more points only the front and the baseline have a name and bars: there is no room for more.
NAMED = 60
#: Letters of a name that have room beside a point wherever it is.
LETTERS = 48
#: Of fewer points none is left out of the axis.
CROWD = 8
#: More points than this are pixels also in the SVG and PDF.
PIXELS = 500


@dataclass(frozen=True)
class Point:
    name: str
    cost: Number
    accuracy: Number
    noisy: bool


@dataclass(frozen=True)
class Scatter:
    """Points, names of those on the front, label and unit of the cost, target of the accuracy."""

    points: tuple[Point, ...]
    front: frozenset[str]
    label: str
    scale: formats.Scale
    target: str
    simulated: bool

    @property
    def named(self) -> set[str]:
        names = {point.name for point in self.points}
        return names if len(names) <= NAMED else names & {BASELINE, *self.front}

    @cached_property
    def below(self) -> frozenset[str]:
        """Points so far below the others that these would lie in one heap: drawn at the lower edge.

        Never one of the front, nor the baseline.
        """
        values = sorted((p.accuracy.value for p in self.points), reverse=True)
        if len(values) < CROWD:
            return frozenset()
        spread = max(values[0] - values[len(values) // 2], 0.001)
        shown = [p.accuracy.value for p in self.points if p.name in {BASELINE, *self.front}]
        bound = min([values[0] - 4 * spread, *shown])
        below = frozenset(p.name for p in self.points if p.accuracy.value < bound)
        # The intervals of the others may take the axis down to it, and then its own further.
        while True:
            bottom, _ = self.accuracies(below)
            out = frozenset(p.name for p in self.points if p.name in below and p.accuracy.value < bottom)
            if out == below:
                return below
            below = out

    def accuracies(self, below: frozenset[str]) -> tuple[float, float]:
        """Ends of the axis, as fractions: it holds the points and their bars, but for those `below` it."""
        named = self.named  # the others have no bars
        ends = [
            end
            for p in self.points
            for end in (p.accuracy.value, *((p.accuracy.low, p.accuracy.high) if p.name in named else ()))
            if math.isfinite(end) and p.name not in below
        ]
        bottom, top = min(ends), min(max(ends), 1.0)
        space = max(0.08 * (top - bottom), 0.0005)
        return bottom - space, top + space


def plans(view: ModelView, prefix: str) -> Iterator[Plan]:
    """Accuracy against gzip size, against latency on each target, and against the cost of designs for
    FPGAs (EBOPs, else weight bits). None for fewer than two points."""
    target = view.primary
    points = _points(view, target, "gzip_bytes", "")
    if len(points) > 1:
        title, label = "accuracy against size", f"gzip size ({target})"
        yield _plan(
            view, f"{prefix}-accuracy-size", title, target, points, _cheapest(view, points), "bytes", label
        )
    for place in view.targets:
        for scope in view.scopes(place)[:1]:
            points = _points(view, place, "latency_p50", scope)
            if len(points) > 1:
                title = f"accuracy against latency, {place}"
                label = f"latency, median of one call ({place}, {scope})"
                front = latency_front(view, place, scope)
                name = f"{prefix}-accuracy-latency-{slug(place)}"
                yield _plan(view, name, title, place, points, front, "s", label)
    for metric in ("ebops", "weight_bits"):
        costs = [place for place in view.distinct(metric) if place in view.fpga_targets]
        costs = [place for place in costs if len(_points(view, place, metric, "")) > 1]
        drawn: list[object] = []
        for place in costs:
            points, named = _points(view, place, metric, ""), METRICS[metric].title
            # A board runs the networks that are simulated: the same points, unless something went wrong.
            spots = [(point.name, point.cost.value, point.accuracy.value) for point in points]
            if spots in drawn:
                continue
            drawn.append(spots)
            title = f"accuracy against {named}, {place}"
            name = f"{prefix}-accuracy-{slug(named)}-{slug(place)}"
            yield _plan(view, name, title, place, points, _cheapest(view, points), "1", named)
        if costs:
            break


def _plan(
    view: ModelView,
    name: str,
    title: str,
    target: str,
    points: list[Point],
    front: set[str],
    unit: str,
    label: str,
) -> Plan:
    scale = formats.scale_for(unit, [point.cost.value for point in points])
    label += f" / {scale.unit}" if scale.unit else ""
    best = ", ".join(point.name for point in points if point.name in front)
    told = f"{view.model}: {title}; {len(points)} variants. On the Pareto front: {best or 'none'}."
    data = Scatter(tuple(points), frozenset(front), label, scale, target, target in view.simulated)
    return Plan(name, view.model, title, told, _caption(data), data, paint, main=True)


def _caption(data: Scatter) -> str:
    seeds = {p.accuracy.seeds for p in data.points if math.isfinite(p.accuracy.low)}
    parts = []
    if seeds:
        over = [f"over {n} seeds" for n in sorted(seeds - {1}, reverse=True)]
        over += ["over the test items (one seed)"] if 1 in seeds else []
        parts.append(f"Bars: 95 % intervals, of the accuracy {' or '.join(over)}.")
    else:
        parts.append("No intervals: there is one number of each.")
    parts.append("Ringed and joined: the Pareto front; controls take no part in it.")
    if data.below:
        parts.append("At the lower edge, with its accuracy: a point below the axis.")
    if len(data.named) < len(data.points):
        parts.append(f"Named and with bars: these and the baseline, of {len(data.points):,} variants.")
    if any(p.noisy for p in data.points):
        parts.append("Hollow: a latency that is noisy or unstable, not on the front.")
    return " ".join(parts)


def _cheapest(view: ModelView, points: list[Point]) -> set[str]:
    """Pareto members of accuracy against cost."""
    deployable = candidates(view)
    return pareto(
        [(p.name, p.cost.value, p.accuracy.value) for p in points if p.name in deployable], SAME_COST
    )


def _points(view: ModelView, target: str, metric: str, scope: str) -> list[Point]:
    scored = dict(view.known(target, "accuracy"))
    return [
        Point(variant, number, scored[variant], bool(number.verdict))
        for variant, number in view.known(target, metric, scope)
        if variant in scored and number.value > 0
    ]


def paint(figure: Figure, data: Scatter) -> None:
    axes = panel(
        figure, left=0.8, right=0.24, xlabel=data.label, ylabel=accuracy_label(data.target, data.simulated)
    )
    factor = data.scale.factor
    _limits(axes, data, factor)
    bottom, top = axes.get_ylim()
    edge = bottom + 0.03 * (top - bottom)
    spots = [
        (math.log10(p.cost.value * factor), edge if p.name in data.below else p.accuracy.value * 100)
        for p in data.points
    ]
    _bars(axes, data, spots, factor)
    _marks(axes, data.points, spots)
    line = _front_line(axes, data, spots)
    _labels(figure, axes, data, spots, line)


def _bars(axes: Axes, data: Scatter, spots: list[tuple[float, float]], factor: float) -> None:
    """Intervals as lines: one collection for all. Those off the front are paler, so that it stands out."""
    from matplotlib.collections import LineCollection

    lines, colours, named = [], [], data.named
    for point, (x, y) in zip(data.points, spots, strict=True):
        if point.name not in named:
            continue
        cost, accuracy = point.cost, point.accuracy
        colour = (look(point.name).colour, 1.0 if point.name in data.front else 0.45)
        left, right = _ends(cost)
        if left < right:
            lines.append([(math.log10(left * factor), y), (math.log10(right * factor), y)])
            colours.append(colour)
        if math.isfinite(accuracy.low) and math.isfinite(accuracy.high) and point.name not in data.below:
            lines.append([(x, 100 * accuracy.low), (x, 100 * accuracy.high)])
            colours.append(colour)
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=0.8, zorder=3), autolim=False)


def _marks(axes: Axes, points: tuple[Point, ...], spots: list[tuple[float, float]]) -> None:
    """Points, one collection for each marker. A hollow mark is a latency that is not to be trusted."""
    by_marker: dict[str, list[int]] = {}
    for index, point in enumerate(points):
        by_marker.setdefault(look(point.name).marker, []).append(index)
    for marker, members in by_marker.items():
        colours = [look(points[i].name).colour for i in members]
        axes.scatter(
            [spots[i][0] for i in members],
            [spots[i][1] for i in members],
            s=34,
            marker=marker,
            edgecolors=colours,
            facecolors=["none" if points[i].noisy else c for i, c in zip(members, colours, strict=True)],
            linewidths=1.0,
            zorder=4,
            rasterized=len(points) > PIXELS,
        )


def _ends(cost: Number) -> tuple[float, float]:
    """Of its interval; the value itself where there is none."""
    known = math.isfinite(cost.low) and math.isfinite(cost.high) and cost.low > 0
    return (cost.low, cost.high) if known else (cost.value, cost.value)


def _limits(axes: Axes, data: Scatter, factor: float) -> None:
    xs = [end * factor for point in data.points for end in _ends(point.cost)]
    room = max(1.25, (max(xs) / min(xs)) ** 0.07)
    log_ticks(axes, min(xs) / room, max(xs) * room)
    bottom, top = data.accuracies(data.below)
    axes.set_ylim(100 * bottom, 100 * top)


def _front_line(
    axes: Axes, data: Scatter, spots: list[tuple[float, float]]
) -> list[tuple[float, float, float]]:
    """Draw the front; returns its level parts as (from, to, height) in data coordinates."""
    members = sorted(spot for p, spot in zip(data.points, spots, strict=True) if p.name in data.front)
    if not members:
        return []
    xs, ys = zip(*members, strict=True)
    edge = axes.get_xlim()[1]
    axes.step([*xs, edge], [*ys, ys[-1]], where="post", color=INK, linewidth=0.9, alpha=0.6, zorder=2)
    axes.scatter(xs, ys, s=120, facecolors="none", edgecolors=INK, linewidths=0.9, zorder=2)
    return list(zip(xs, [*xs[1:], edge], ys, strict=True))


def _labels(
    figure: Figure,
    axes: Axes,
    data: Scatter,
    places: list[tuple[float, float]],
    line: list[tuple[float, float, float]],
) -> None:
    """Names beside their points, each where it covers least of what is already there."""
    from matplotlib.collections import LineCollection

    chosen = data.named
    kept = [(p, place) for p, place in zip(data.points, places, strict=True) if p.name in chosen]
    points = [point for point, _ in kept]
    spots = axes.transData.transform([place for _, place in kept])
    box = axes.get_window_extent()
    unit = figure.dpi / 72
    taken: list[Area] = []
    for point, (x, _) in zip(points, spots, strict=True):
        if point.name in data.below:
            continue
        ends = [end * 100 for end in (point.accuracy.low, point.accuracy.high) if math.isfinite(end)]
        if ends:
            bottom, top = (float(axes.transData.transform((0, end))[1]) for end in ends)
            taken.append((x - unit, bottom, x + unit, top))
    for point, (_, y) in zip(points, spots, strict=True):
        (left, _), (right, _) = axes.transData.transform(
            [(math.log10(end * data.scale.factor), 0) for end in _ends(point.cost)]
        )
        taken.append((left, y - unit, right, y + unit))
    for start, end, height in line:
        (x0, y0), (x1, _) = axes.transData.transform([(start, height), (end, height)])
        taken.append((x0 + 6 * unit, y0 - unit, x1, y0 + unit))
    frame = (box.x0, box.y0, box.x1, box.y1)
    free = Places([(x, y) for x, y in spots], taken, frame, unit)
    leaders, colours = [], []
    for index in sorted(range(len(points)), key=lambda i: (points[i].name not in data.front, i)):
        point, (x, y) = points[index], spots[index]
        name = shortened(clean(point.name), LETTERS)
        if point.name in data.below:
            name += f" ↓ {100 * point.accuracy.value:.1f} %"
        bold = point.name in data.front
        area, side, line_end = free.find((width(name, bold) + GAP) * unit, (x, y))
        at = (area[0] if side == "left" else area[2] if side == "right" else x, (area[1] + area[3]) / 2)
        axes.text(
            *(*axes.transData.inverted().transform(at), name),
            ha=side,
            va="center",
            fontsize=SIZE,
            fontweight="bold" if bold else "normal",
            zorder=5,
        )
        if line_end is not None:
            leaders.append(axes.transData.inverted().transform([(x, y), line_end]))
            colours.append(look(point.name).colour)
    axes.add_collection(LineCollection(leaders, colors=colours, linewidths=0.6, zorder=1), autolim=False)
