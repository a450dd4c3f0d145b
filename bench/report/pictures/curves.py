"""Curves over a parameter that a sweep varied: sparsity, bits, temperature, reuse factor, …"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from bench.report.frames import formats
from bench.report.frames.view import ModelView, Number
from bench.report.metrics import METRICS
from bench.report.pictures.labels import Entry, legend, legend_room
from bench.report.pictures.style import (
    INK,
    WIDTH,
    Plan,
    accuracy_label,
    look,
    panel,
    round_numbers,
    slug,
    tick_text,
)
from bench.report.records.read import BASELINE, Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: What is drawn beside the accuracy: the first of which the points have two values.
COSTS = (
    *("cycles", "dsp", "lut", "ebops", "weight_bits", "kernel_latency"),
    *("gzip_bytes", "latency_p50", "file_bytes"),
)


#: More curves than this are not named in a legend; the colours are those of all pictures.
NAMED = 7
#: More values of a parameter than this are not all named on the axis; a curve of more points is pixels also
#: in the SVG and PDF, and without bars.
TICKS, PIXELS = 10, 100
STYLES = ("-", "--", ":", "-.")
#: A cost that changes by less than this share along a curve is none to be shown.
CHANGE = 0.01


@dataclass(frozen=True)
class Curve:
    """One variant (or one target) over the parameter: (value of it, number). marker: if not the variant's."""

    name: str
    colour: str
    accuracy: tuple[tuple[float, Number], ...]
    cost: tuple[tuple[float, Number], ...]
    marker: str = ""


@dataclass(frozen=True)
class Curves:
    parameter: str
    curves: tuple[Curve, ...]
    accuracy: str
    cost: str
    scale: formats.Scale
    baseline: float


Point = tuple[float, str, str]  # value of the parameter, variant, target


def plans(view: ModelView, cells: Sequence[Cell], prefix: str) -> Iterator[Plan]:
    """One picture for each parameter of variants (on the primary target) and of targets."""
    for parameter, series in grids(view, cells, [view.primary]).items():
        targets = list(dict.fromkeys(t.partition("[")[0] for points in series.values() for _, _, t in points))
        for target in targets:
            chosen = {
                name: points
                for name, points in series.items()
                if points[0][2].partition("[")[0] == target and len({x for x, _, _ in points}) > 1
            }
            if chosen:
                yield from _plan(view, parameter, target, chosen, prefix)


def _plan(
    view: ModelView, parameter: str, target: str, series: dict[str, list[Point]], prefix: str
) -> Iterator[Plan]:
    points = [point for one in series.values() for point in one]
    metric, place = _cost(view, points)
    curves = []
    for name, one in series.items():
        scored = tuple((x, n) for x, v, t in one if (n := _known(view.get(v, t, "accuracy"))) is not None)
        costs = tuple((x, n) for x, v, t in one if (n := _number(view, v, t, metric, place)) is not None)
        if len(scored) > 1 or len(costs) > 1:
            curves.append(Curve(name, look(name).colour, scored, costs))
    if not curves:
        return
    scale = formats.scale_for(
        METRICS[metric].unit if metric else "1", [n.value for curve in curves for _, n in curve.cost]
    )
    simulated = any(t in view.simulated for _, _, t in points)
    title = (
        METRICS[metric].title + (f", {', '.join(filter(None, place))}" if any(place) else "")
        if metric
        else ""
    )
    data = Curves(
        parameter,
        tuple(curves),
        accuracy_label(target, simulated),
        f"{title} / {scale.unit}" if scale.unit else title,
        scale,
        view.value(BASELINE, points[0][2], "accuracy"),
    )
    seeds = len(view.seeds)
    bars = f"Bars: 95 % intervals over {seeds} seeds." if seeds > 1 else "One seed: bars over the test items."
    if any(len(c.accuracy) > PIXELS for c in curves):
        bars += f" None on curves of more than {PIXELS} points."
    if len([c for c in curves if c.accuracy]) and math.isfinite(data.baseline):
        bars += " Dashed: accuracy of the baseline."
    told = "; ".join(
        f"{c.name}: " + ", ".join(f"{x:g} gives {100 * n.value:.2f} %" for x, n in c.accuracy) for c in curves
    )
    yield Plan(
        f"{prefix}-curve-{slug(parameter)}-{slug(target)}",
        view.model,
        f"accuracy{f' and {METRICS[metric].title}' if metric else ''} by {parameter}, {target}",
        f"{view.model}: accuracy{f' and {title}' if title else ''} by {parameter}. {told}.",
        bars,
        data,
        paint,
        (WIDTH, 2.68 + above(curves)),
    )


def grids(
    view: ModelView, cells: Sequence[Cell], targets: Sequence[str]
) -> dict[str, dict[str, list[Point]]]:
    """Parameter -> name of the curve -> points. A curve has all other parameters in common.

    Args:
        targets: on which curves over the parameters of variants are.
    """
    found: dict[str, dict[str, list[Point]]] = {}
    for target in targets:
        usual = {cell.variant: cell for cell in reversed(cells) if cell.target == target}
        for name, curves in _of_variants(view.variants, target).items():
            for rest, points in curves.items():
                # The plain variant is on the curve too, at the value that it was made with.
                plain = _made_with(usual.get(rest), name)
                if plain is not None and all(x != plain for x, _, _ in points):
                    points.append((plain, rest, target))
                label = rest if len(targets) == 1 else f"{rest}, {target}"
                found.setdefault(name, {})[label] = points
    options = {cell.target: cell.entry.get("options") for cell in reversed(cells)}
    shown = {name for target in view.targets for name, v in _parsed(target)[1].items() if _is_number(v)}
    for target in view.targets:
        params = _parsed(target)[1]
        # An option that has its usual value is not in the label.
        for name in sorted(shown):
            value = params.get(name, (options.get(target) or {}).get(name))
            if not _is_number(value):
                continue
            rest = _label("", {k: v for k, v in params.items() if k != name}).strip("[]")
            for variant in view.variants:
                label = f"{variant}, {rest}" if rest else variant
                _add(found, name, label, (float(value), variant, target))
    return {
        name: {label: sorted(points) for label, points in curves.items()} for name, curves in found.items()
    }


def _of_variants(variants: Sequence[str], target: str) -> dict[str, dict[str, list[Point]]]:
    found: dict[str, dict[str, list[Point]]] = {}
    for variant in variants:
        base, params = _parsed(variant)
        for name, value in params.items():
            if _is_number(value):
                rest = _label(base, {k: v for k, v in params.items() if k != name})
                _add(found, name, rest, (float(value), variant, target))
    return found


def _add(found: dict[str, dict[str, list[Point]]], name: str, label: str, point: Point) -> None:
    found.setdefault(name, {}).setdefault(label, []).append(point)


def _parsed(label: str) -> tuple[str, dict[str, float | str]]:
    """`qat[bits=4,symmetric=true]` -> `qat`, {bits: 4.0, symmetric: "true"}."""
    base, _, rest = label.partition("[")
    params: dict[str, float | str] = {}
    for part in rest.rstrip("]").split(","):
        name, equals, text = part.strip().partition("=")
        if equals:
            params[name] = _value(text)
    return base, params


def _value(text: str) -> float | str:
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def _label(base: str, params: Mapping[str, float | str]) -> str:
    parts = (f"{k}={v if isinstance(v, str) else format(v, 'g')}" for k, v in params.items())
    return base + (f"[{','.join(parts)}]" if params else "")


def _made_with(cell: Cell | None, name: str) -> float | None:
    """Value of a parameter in the chain of a cell, the last step's."""
    for record in reversed(cell.builds if cell is not None else []):
        value = (record.task.get("params") or {}).get(name) if record is not None else None
        if _is_number(value):
            return float(value)
    return None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _known(number: Number | None) -> Number | None:
    return number if number is not None and number.known else None


def _cost(view: ModelView, points: Sequence[Point]) -> tuple[str, tuple[str, str, str]]:
    """The first cost that changes visibly along the points, and where it belongs; empty where none does."""
    for metric in COSTS:
        places: dict[tuple[str, str, str], None] = {("", "", ""): None}
        for _, _, target in points:
            # The furthest stage first.
            places |= dict.fromkeys(reversed(view.hardware(target, metric)))
            if metric == "latency_p50":
                places |= {(scope, "", ""): None for scope in view.scopes(target)[:1]}
        for place in places:
            numbers = [_number(view, v, t, metric, place) for _, v, t in points]
            values = [n.value for n in numbers if n is not None]
            if values and max(values) - min(values) > CHANGE * abs(max(values)):
                return metric, place
    return "", ("", "", "")


def _number(
    view: ModelView, variant: str, target: str, metric: str, place: tuple[str, str, str]
) -> Number | None:
    if not metric:
        return None
    designs = view.hardware(target, metric)
    if designs:
        return _known(designs.get(place, {}).get(variant))
    return _known(view.get(variant, target, metric, place[0]))


def paint(figure: Figure, data: Curves) -> None:
    width = figure.get_size_inches()[0]
    both = any(curve.cost for curve in data.curves)
    half = (width - 0.68 - 0.12 - 0.78) / 2
    label, top = data.parameter, above(data.curves)
    one = panel(
        figure, top=top, right=width - 0.68 - half if both else 0.12, xlabel=label, ylabel=data.accuracy
    )
    if math.isfinite(data.baseline) and any(curve.accuracy for curve in data.curves):
        one.axhline(100 * data.baseline, color=INK, linewidth=0.9, linestyle="--")
    lines(one, [(curve, curve.accuracy) for curve in data.curves], 100)
    low, high = one.get_ylim()
    one.set_ylim(low, min(high, 100 + 0.04 * (100 - low)))  # an interval may go on, an accuracy not
    if both:
        two = panel(figure, top=top, left=0.68 + half + 0.78, xlabel=label, ylabel=data.cost)
        lines(two, [(curve, curve.cost) for curve in data.curves], data.scale.factor)
        from_zero(two, [data.scale.factor * n.value for curve in data.curves for _, n in curve.cost])
    if len(data.curves) <= NAMED:
        legend(figure, one, entries(data.curves))


def entries(curves: Sequence[Curve]) -> list[Entry]:
    """Of a legend."""
    # A lone curve of its colour needs no line to be known by.
    alike = len({c.colour for c in curves}) < len(curves)
    return [
        Entry(c.name, c.colour, c.marker or look(c.name).marker, STYLES[place % len(STYLES)] if alike else "")
        for place, c in enumerate(curves)
    ]


def above(curves: Sequence[Curve]) -> float:
    """Inches above the panels: the title, and the legend where there is one."""
    return legend_room(entries(curves)) if len(curves) <= NAMED else 0.34


def from_zero(axes: Axes, values: Sequence[float]) -> None:
    """An axis that begins at zero, with room for a whole marker there."""
    top = 1.08 * max([*values, 1e-12])
    axes.set_ylim(-0.03 * top, top)
    axes.yaxis.set_major_formatter(lambda value, _: tick_text(value))


def lines(axes: Axes, curves: Sequence[tuple[Curve, Sequence[tuple[float, Number]]]], factor: float) -> None:
    values = [x for _, points in curves for x, _ in points]
    logarithmic = bool(values) and min(values) > 0 and max(values) / min(values) >= 8
    for place, (curve, points) in enumerate(curves):
        if not points:
            continue
        # Side by side, so that no bar hides another.
        aside = 0.012 * (place - (len(curves) - 1) / 2)
        shift = aside * (max(values) - min(values))
        xs = [x * (max(values) / min(values)) ** aside if logarithmic else x + shift for x, _ in points]
        ys = [factor * n.value for _, n in points]
        bars = [
            [factor * max(0.0, end) if math.isfinite(end) else 0.0 for end in ends]
            for ends in zip(*((n.value - n.low, n.high - n.value) for _, n in points), strict=True)
        ]
        many = len(points) > PIXELS
        drawn = axes.errorbar(
            *(xs, ys, None if many else bars),
            color=curve.colour,
            marker=curve.marker or look(curve.name).marker,
            markersize=5,
            linewidth=1.2,
            linestyle=STYLES[place % len(STYLES)],
            elinewidth=0.8,
        )
        for artist in drawn.get_children() if many else ():
            artist.set_rasterized(True)
    if logarithmic:
        axes.set_xscale("log", base=2)
        ticks = sorted(set(values))
        if len(ticks) > TICKS:
            ticks = round_numbers(ticks[0], ticks[-1])
        axes.set_xticks(ticks, [tick_text(x) for x in ticks])
        axes.minorticks_off()
