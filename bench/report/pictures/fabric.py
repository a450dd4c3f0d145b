"""What a parameter does to a design: look-up tables and DSP slices against sparsity and bits, cycles against
multipliers and pipeline registers. One curve for each target, so that styles stand side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report.frames.view import ModelView, Number, Place, base_name
from bench.report.metrics import METRICS
from bench.report.pictures import curves
from bench.report.pictures.curves import NAMED, Curve, Point
from bench.report.pictures.labels import legend
from bench.report.pictures.style import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    WIDTH,
    Look,
    Plan,
    look,
    panel,
    round_numbers,
    slug,
    tick_text,
)
from bench.report.records.read import Cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Inches beside a panel, for `100,000`.
MARGIN = 0.84
OF_VARIANTS, OF_TARGETS = ("lut", "dsp"), ("cycles", "lut")
_LOOKS = tuple(
    Look(*one)
    for one in ((ORANGE, "o"), (BLUE, "s"), (GREEN, "^"), (VERMILION, "D"), (PURPLE, "v"), (SKY, "P"))
)


@dataclass(frozen=True)
class Fabric:
    """Two panels over one parameter: label of each, and of each curve the points in both."""

    parameter: str
    labels: tuple[str, str]
    curves: tuple[Curve, ...]


def plans(view: ModelView, cells: Sequence[Cell], prefix: str) -> Iterator[Plan]:
    """One picture for each parameter of variants and of targets, and each kind of target."""
    targets = [target for target in view.fpga_targets if view.hardware(target, "lut")]
    for parameter, series in curves.grids(view, cells, targets).items():
        for kind in dict.fromkeys(base_name(target) for target in targets):
            chosen = {
                name: points
                for name, points in series.items()
                if base_name(points[0][2]) == kind and len({x for x, _, _ in points}) > 1
            }
            yield from _plan(view, parameter, kind, chosen, prefix)


def _plan(
    view: ModelView, parameter: str, kind: str, series: dict[str, list[Point]], prefix: str
) -> Iterator[Plan]:
    varied = any(len({variant for _, variant, _ in points}) > 1 for points in series.values())
    first, second = OF_VARIANTS if varied else OF_TARGETS
    one, other = (_place(view, series, metric) for metric in (first, second))
    if one is None or other is None:
        return
    drawn = {}
    for name, points in series.items():
        numbers = (_numbers(view, points, first, one), _numbers(view, points, second, other))
        if any(len(n) > 1 for n in numbers):
            drawn[name] = numbers
    if not drawn:
        return
    # A variant looks as in all pictures, but where it is on several curves.
    looks = [look(series[name][0][1]) for name in drawn]
    if len(set(looks)) < len(looks):
        looks = [_LOOKS[place % len(_LOOKS)] for place in range(len(drawn))]
    found = [
        Curve(name, own.colour, *numbers, own.marker)
        for (name, numbers), own in zip(drawn.items(), looks, strict=True)
    ]
    labels = (_label(first, one), _label(second, other))
    told = "; ".join(
        f"{c.name}: " + ", ".join(f"{x:g} gives {n.value:,.0f}" for x, n in c.accuracy) for c in found
    )
    yield Plan(
        f"{prefix}-fabric-{slug(parameter)}-{slug(kind)}",
        view.model,
        f"{METRICS[first].title} and {METRICS[second].title} by {parameter}, {kind}",
        f"{view.model}: {labels[0]} by {parameter}. {told}.",
        "Mean over the seeds; no routing." if len(view.seeds) > 1 else "One seed; no routing.",
        Fabric(parameter, labels, tuple(found)),
        paint,
        (WIDTH, 2.68 + curves.above(found)),
    )


def _place(view: ModelView, series: dict[str, list[Point]], metric: str) -> Place | None:
    """The furthest stage of the first design that has one: different stages are never in one panel."""
    for points in series.values():
        for _, _, target in points:
            if places := list(view.hardware(target, metric)):
                return places[-1]
    return None


def _numbers(
    view: ModelView, points: Sequence[Point], metric: str, place: Place
) -> tuple[tuple[float, Number], ...]:
    numbers = ((x, view.hardware(target, metric).get(place, {}).get(v)) for x, v, target in points)
    return tuple((x, number) for x, number in numbers if number is not None and number.known)


def _label(metric: str, place: Place) -> str:
    return ", ".join(filter(None, (METRICS[metric].title, *place[1:])))


def paint(figure: Figure, data: Fabric) -> None:
    width = figure.get_size_inches()[0]
    half = (width - 2 * MARGIN - 0.12) / 2
    top = curves.above(data.curves)
    for place, label in enumerate(data.labels):
        left = MARGIN + place * (half + MARGIN)
        axes = panel(
            figure, top=top, left=left, right=width - left - half, xlabel=data.parameter, ylabel=label
        )
        shown = [(curve, curve.cost if place else curve.accuracy) for curve in data.curves]
        curves.lines(axes, shown, 1)
        values = [number.value for _, points in shown for _, number in points]
        low, high = min(values, default=0), max(values, default=0)
        if low > 0 and high / low >= 20:
            axes.set_yscale("log")
            axes.set_yticks(round_numbers(low, high))
            axes.minorticks_off()
            axes.yaxis.set_major_formatter(lambda value, _: tick_text(value))
        else:
            curves.from_zero(axes, values)
        if place == 0 and len(data.curves) <= NAMED:
            legend(figure, axes, curves.entries(data.curves))
