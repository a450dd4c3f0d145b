"""What designs take of their device, in percent, by stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report.frames.view import ModelView, base_name, size_front
from bench.report.metrics import RESOURCES
from bench.report.pictures.labels import Entry, fewer, legend, room_for, rows
from bench.report.pictures.style import BLUE, GREY, ORANGE, SKY, WIDTH, Plan, panel, slug

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Stage -> name, colour, marker: from the roughest estimate to the real netlist.
STAGES = {
    "hls_est": ("HLS estimate", GREY, "hollow o"),
    "synth": ("synthesis", SKY, "s"),
    "impl": ("implementation", BLUE, "D"),
}


@dataclass(frozen=True)
class Resources:
    """Percent of the device: panels are resources; (row, stage, percent) in each."""

    names: tuple[str, ...]
    panels: tuple[tuple[str, tuple[tuple[int, str, float], ...]], ...]


def plans(view: ModelView, prefix: str) -> Iterator[Plan]:
    """One picture for each kind of target, device and origin: what was estimated in different ways is
    never in one."""
    found: dict[tuple[str, str, str], dict[str, list[tuple[str, str, float]]]] = {}
    for target in view.fpga_targets:
        options = target[len(base_name(target)) :].strip("[]")
        for resource in RESOURCES:
            for (device, stage, origin), numbers in view.hardware(target, f"{resource}_share").items():
                if stage not in STAGES:
                    continue
                place = found.setdefault((base_name(target), device, origin), {}).setdefault(resource, [])
                for variant, number in numbers.items():
                    if number.known:
                        row = f"{variant}, {options}" if options else variant
                        place.append((row, stage, 100 * number.value))
    for (target, device, origin), resources in found.items():
        used = {name: points for name, points in resources.items() if any(p for _, _, p in points)}
        names = list(dict.fromkeys(row for points in used.values() for row, _, _ in points))
        names, left_out = fewer(names, size_front(view))
        if not names:
            continue
        used = {name: [one for one in points if one[0] in set(names)] for name, points in used.items()}
        data = Resources(
            tuple(names),
            tuple(
                (RESOURCES[name][0], tuple((names.index(row), stage, p) for row, stage, p in points))
                for name, points in used.items()
            ),
        )
        most = max(p for points in used.values() for _, _, p in points)
        told = ", ".join(RESOURCES[name][1] for name in used)
        limit = " Dotted: all that the device has." if _edge(most) > 100 else ""
        yield Plan(
            f"{prefix}-resources-{slug(target)}-{slug(device)}-{slug(origin)}",
            view.model,
            f"share of {device}, {origin} ({target})",
            f"{view.model}: {told} as percent of {device}, by stage; at most {most:.0f} %.",
            f"{origin.capitalize()} (tools' reports), mean over the seeds." + limit + left_out,
            data,
            paint,
            (WIDTH, 1.2 + 0.24 * len(names)),
        )


def _edge(most: float) -> float:
    """Where the axes end, in percent."""
    return 1.08 * max(most, 5.0)


def paint(figure: Figure, data: Resources) -> None:
    width, gap = figure.get_size_inches()[0], 0.16
    left = room_for(data.names)
    each = (width - left - 0.15 - gap * (len(data.panels) - 1)) / len(data.panels)
    stages = {stage for _, points in data.panels for _, stage, _ in points}
    most = max(p for _, points in data.panels for _, _, p in points)
    edge = _edge(most)
    for number, (title, points) in enumerate(data.panels):
        start = left + number * (each + gap)
        axes = panel(
            figure,
            left=start,
            right=width - start - each,
            top=0.62,
            xlabel=f"{title} / %",
            grid="x",
        )
        rows(axes, data.names if number == 0 else [""] * len(data.names))
        axes.set_xlim(-0.04 * edge, edge)
        axes.locator_params(axis="x", nbins=3)
        if edge > 100:
            axes.axvline(100, color=ORANGE, linewidth=1.1, linestyle=":")
        for stage, (_, colour, marker) in STAGES.items():
            spots = [(p, -row) for row, at, p in points if at == stage]
            if spots:
                hollow = marker.startswith("hollow ")
                axes.scatter(
                    [x for x, _ in spots],
                    [y for _, y in spots],
                    s=30,
                    marker=marker.removeprefix("hollow "),
                    facecolors="none" if hollow else colour,
                    edgecolors=colour,
                    zorder=3,
                    clip_on=False,
                )
        if number == 0:
            legend(figure, axes, [Entry(*look) for stage, look in STAGES.items() if stage in stages])
