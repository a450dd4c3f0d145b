"""What a board's time goes into: phases of one call, and the time of a batch with its straight line.

One picture holds one target and one origin, which its title names: modelled times of the emulated board are
never beside measured ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report.frames import formats
from bench.report.frames.view import ModelView
from bench.report.pictures.labels import Entry, legend, room_for, rows
from bench.report.pictures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    SKY,
    WIDTH,
    Plan,
    clean,
    look,
    panel,
    round_numbers,
    slug,
)
from bench.report.records.board import BATCH, PHASES
from bench.report.records.fpga import MODELLED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: parts of one call, in their order
COLOURS = {"encode": SKY, "copy_in": BLUE, "execute": ORANGE, "copy_out": GREEN, "decode": GREY}
WHOLE = "end_to_end"
VIRTUAL = " Modelled: virtual time of the emulated board, no measurement."


@dataclass(frozen=True)
class Calls:
    """Seconds of the phases of one call, and of the whole; rows are variants."""

    names: tuple[str, ...]
    parts: tuple[tuple[tuple[str, float], ...], ...]
    whole: tuple[float, ...]
    scale: formats.Scale
    label: str


@dataclass(frozen=True)
class Line:
    """Times of batches of some variants that take the same: (batch, seconds), and t = a + b·N."""

    names: tuple[str, ...]
    points: tuple[tuple[float, float], ...]
    a: float
    b: float


@dataclass(frozen=True)
class Batches:
    lines: tuple[Line, ...]
    scale: formats.Scale
    label: str
    variants: int


def plans(view: ModelView, prefix: str) -> Iterator[Plan]:
    """Two pictures for each target and origin, where the records bear them."""
    for target in view.targets:
        origins = {place[2] for place in view.hardware(target, "phase_p50")}
        for origin in sorted(origins):
            name = f"{slug(target)}-{slug(origin)}"
            calls = _calls(view, target, origin)
            if calls is not None:
                yield _phases_plan(view, f"{prefix}-board-phases-{name}", target, origin, calls)
            batches = _batches(view, target, origin)
            if batches is not None:
                yield _batch_plan(view, f"{prefix}-board-batch-{name}", target, origin, batches)


def _known(view: ModelView, target: str, metric: str, scope: str, origin: str) -> dict[str, float]:
    numbers = view.hardware(target, metric).get((scope, "", origin), {})
    return {variant: number.value for variant, number in numbers.items() if number.known}


def _calls(view: ModelView, target: str, origin: str) -> Calls | None:
    whole = _known(view, target, "phase_p50", WHOLE, origin)
    parts = {phase: _known(view, target, "phase_p50", phase, origin) for phase in COLOURS}
    names = [v for v in view.variants if v in whole and all(v in found for found in parts.values())]
    if not names:
        return None
    scale = formats.scale_for("s", [whole[name] for name in names])
    return Calls(
        tuple(names),
        tuple(tuple((phase, parts[phase][name]) for phase in COLOURS) for name in names),
        tuple(whole[name] for name in names),
        scale,
        f"time of one call, {origin} ({target}) / {scale.unit}",
    )


def _phases_plan(view: ModelView, name: str, target: str, origin: str, data: Calls) -> Plan:
    told = ", ".join(
        f"{variant} {formats.plain(whole * data.scale.factor)} {data.scale.unit}"
        for variant, whole in zip(data.names, data.whole, strict=True)
    )
    title = f"phases of one call, {origin}, {target}"
    caption = (
        "Bars: medians of the phases at batch 1, one after the other; diamond: median of the whole call."
        + (VIRTUAL if origin == MODELLED else "")
    )
    return Plan(
        *(name, view.model, title, f"{view.model}: {title}. Whole calls: {told}.", caption, data),
        paint_calls,
        (WIDTH, 1.2 + 0.24 * len(data.names)),
    )


def _batches(view: ModelView, target: str, origin: str) -> Batches | None:
    intercept = _known(view, target, "call_overhead", WHOLE, origin)
    slope = _known(view, target, "time_per_inference", WHOLE, origin)
    series: dict[str, list[tuple[float, float]]] = {}
    scopes = [scope for scope, _, kind in view.hardware(target, "batch_time") if kind == origin and scope]
    for scope in sorted(scopes, key=lambda scope: float(scope.removeprefix(BATCH))):
        for variant, seconds in _known(view, target, "batch_time", scope, origin).items():
            series.setdefault(variant, []).append((float(scope.removeprefix(BATCH)), seconds))
    names = [v for v in view.variants if len(series.get(v, ())) > 1 and v in intercept and v in slope]
    if not names:
        return None
    alike: dict[tuple[object, ...], list[str]] = {}
    for variant in names:
        shown = (intercept[variant], slope[variant], *(t for _, t in series[variant]))
        alike.setdefault(tuple(formats.plain(value * 1e9) for value in shown), []).append(variant)
    lines = [
        Line(tuple(same), tuple(series[same[0]]), intercept[same[0]], slope[same[0]])
        for same in alike.values()
    ]
    scale = formats.scale_for("s", [seconds for line in lines for _, seconds in line.points])
    label = f"time of a batch, {origin} / {scale.unit}"
    return Batches(tuple(lines), scale, label, len(names))


def _batch_plan(view: ModelView, name: str, target: str, origin: str, data: Batches) -> Plan:
    title = f"time against batch, {origin}, {target}"
    told = "; ".join(f"{', '.join(line.names)}: {equation(line, data)}" for line in data.lines)
    caption = "Dots: median time of a call with a batch of N, end to end; lines: the fit t = a + b·N." + (
        VIRTUAL if origin == MODELLED else ""
    )
    height = max(3.3, 0.86 + 0.34 * len(data.lines))
    return Plan(
        *(name, view.model, title, f"{view.model}: {title}. {told}.", caption, data),
        paint_batches,
        (WIDTH, height),
    )


def equation(line: Line, data: Batches) -> str:
    """`t = 17.1 µs + 1.08 µs · N`, in the same units for all lines."""
    parts = []
    for value, others in ((line.a, [one.a for one in data.lines]), (line.b, [one.b for one in data.lines])):
        scale = formats.scale_for("s", others)
        parts.append(f"{formats.plain(value * scale.factor)} {scale.unit}")
    return f"t = {parts[0]} + {parts[1]} · N"


def paint_calls(figure: Figure, data: Calls) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    axes = panel(figure, left=room_for(data.names), top=0.62, xlabel=data.label, grid="x")
    rows(axes, data.names)
    factor = data.scale.factor
    boxes, colours = [], []
    ends = [whole * factor for whole in data.whole]
    for place, parts in enumerate(data.parts):
        start = 0.0
        for phase, seconds in parts:
            boxes.append(Rectangle((start, -place - 0.33), seconds * factor, 0.66))
            colours.append(COLOURS[phase])
            start += seconds * factor
        ends.append(start)
    axes.set_xlim(0, 1.04 * max(ends))
    axes.add_collection(PatchCollection(boxes, facecolors=colours, linewidths=0), autolim=False)
    spots = [whole * factor for whole in data.whole]
    axes.scatter(
        spots, [-n for n in range(len(spots))], s=26, marker="D", facecolors="white", edgecolors=INK, zorder=4
    )
    phases = [Entry(PHASES[phase], colour, "s") for phase, colour in COLOURS.items()]
    legend(figure, axes, [*phases, Entry("whole call", INK, "hollow D")])


def paint_batches(figure: Figure, data: Batches) -> None:
    width, height = figure.get_size_inches()
    room = 2.3
    axes = panel(figure, right=room, xlabel="batch N", ylabel=data.label)
    factor = data.scale.factor
    batches = sorted({n for line in data.lines for n, _ in line.points})
    times = [seconds * factor for line in data.lines for _, seconds in line.points]
    axes.set_xscale("log", base=2)
    axes.set_xticks(batches, [f"{n:g}" for n in batches])
    low, high = 0.8 * min(times), 1.25 * max(times)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    ticks = round_numbers(low, high)
    axes.set_yticks(ticks, [f"{tick:,.10g}" for tick in ticks])
    axes.minorticks_off()
    steps = [batches[0] * (batches[-1] / batches[0]) ** (k / 60) for k in range(61)]
    top = height - 0.44
    for place, line in enumerate(data.lines):
        shown = look(line.names[0])
        fit = [(n, (line.a + line.b * n) * factor) for n in steps]
        fit = [(n, t) for n, t in fit if t > 0 and math.isfinite(t)]
        axes.plot([n for n, _ in fit], [t for _, t in fit], color=shown.colour, linewidth=1.2)
        axes.scatter(
            [n for n, _ in line.points],
            [t * factor for _, t in line.points],
            s=30,
            marker=shown.marker,
            facecolors=shown.colour,
            edgecolors="white",
            zorder=4,
        )
        x, y = width - room + 0.18, top - 0.34 * place
        axes.scatter(
            *([x / width], [y / height]),
            transform=figure.transFigure,
            clip_on=False,
            s=30,
            marker=shown.marker,
            color=shown.colour,
        )
        figure.text((x + 0.12) / width, y / height, clean(_named(line, data)), va="center", fontsize=8)
        below = (y - 0.14) / height
        figure.text((x + 0.12) / width, below, equation(line, data), va="center", fontsize=7, color=GREY)


def _named(line: Line, data: Batches) -> str:
    if len(line.names) == data.variants and data.variants > 2:
        return f"all {data.variants} variants"
    shown = ", ".join(line.names[:2])
    return shown if len(line.names) < 3 else f"{shown} and {len(line.names) - 2} more"
