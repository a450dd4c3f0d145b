"""Names of rows and legends: what has room, and what is done where there is none."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from bench.report.pictures.style import WIDTH, clean
from bench.report.records.read import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: About the width of a character, inches, for one point of its size.
CHARACTER = 0.0078


def rows(axes: Axes, names: Sequence[str], size: float = 8) -> None:
    """Names down the left side, the first at the top; rows are at 0, -1, -2, …

    Names that have no room are smaller, and in the end without their middle.
    """
    axes.set_ylim(-len(names) + 0.4, 0.6)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    box, whole = axes.get_position(), axes.figure.get_size_inches()[0]  # type: ignore[union-attr]
    room = whole * box.x0 - 0.1
    longest = max((len(name) for name in names), default=0)
    if longest:
        size = max(SMALLEST, min(size, room / (CHARACTER * longest)))
    fits = max(8, int(room / (CHARACTER * size)))
    left = -0.06 / (whole * box.width)
    for place, name in enumerate(names):
        axes.text(
            *(left, -place, shortened(clean(name), fits)),
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=size,
        )


#: Points: nothing smaller can be read.
SMALLEST = 5.5


def shortened(text: str, most: int) -> str:
    """`distilled_qap[spars…, style=parallel`: beginnings and ends tell variants and options apart."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


#: More rows than this are no picture.
ROWS = 60


def fewer(names: Sequence[str], front: Collection[str]) -> tuple[list[str], str]:
    """The names that are shown, in their order, and words for the caption where some are left out.

    Args:
        names: variants, perhaps with options after a comma.
        front: variants that are kept before others, as is the baseline.
    """
    if len(names) <= ROWS:
        return list(names), ""
    kept = sorted(names, key=lambda name: _variant(name) not in (BASELINE, *front))[:ROWS]
    told = f" {ROWS} of {len(names):,} rows: the baseline, the Pareto front of size, and the first others."
    return [name for name in names if name in set(kept)], told


def _variant(name: str) -> str:
    return name.partition(", ")[0]


def room_for(names: Sequence[str], size: float = 8) -> float:
    """Inches that the longest name takes, about."""
    return min(2.6, 0.2 + max((len(name) for name in names), default=0) * size * 0.0083)


#: A line of a legend, inches.
LINE = 0.18


class Entry(NamedTuple):
    """Of a legend. `hollow o` is a marker without filling; with a style a piece of the line is shown, too."""

    name: str
    colour: str
    marker: str
    style: str = ""


def legend_room(entries: Sequence[Entry]) -> float:
    """Inches above axes that a legend and the title take."""
    return 0.62 + LINE * (len(_lines(entries)) - 1)


def _lines(entries: Sequence[Entry]) -> list[list[Entry]]:
    """As many in a line as have room in the picture."""
    lines: list[list[Entry]] = [[]]
    for entry in entries:
        if lines[-1] and _wide([*lines[-1], entry]) > WIDTH - 0.2:
            lines.append([])
        lines[-1].append(entry)
    return lines


def _wide(entries: Sequence[Entry]) -> float:
    return sum(0.28 + 8 * CHARACTER * len(e.name) + (2 * LINE if e.style else 0) for e in entries)


def legend(figure: Figure, axes: Axes, entries: Sequence[Entry]) -> None:
    """Above the axes, from their left end or further left where it is long."""
    width, height = figure.get_size_inches()
    box = axes.get_position()
    lines = _lines(entries)
    start = max(0.1, min(box.x0 * width, width - 0.1 - max(map(_wide, lines))))
    for place, line in enumerate(lines):
        x, y = start, height * box.y1 + 0.14 + LINE * (len(lines) - 1 - place)
        for entry in line:
            hollow, left = entry.marker.startswith("hollow "), x
            if entry.style:
                x += LINE
                axes.plot(
                    *([(x - LINE) / width, (x + LINE) / width], [y / height] * 2),
                    color=entry.colour,
                    linestyle=entry.style,
                    linewidth=1.2,
                    transform=figure.transFigure,
                    clip_on=False,
                )
            axes.scatter(
                *([x / width], [y / height]),
                transform=figure.transFigure,
                clip_on=False,
                s=36,
                marker=entry.marker.removeprefix("hollow "),
                facecolors="none" if hollow else entry.colour,
                edgecolors=entry.colour,
            )
            aside = x + (LINE if entry.style else 0) + 0.09
            figure.text(aside / width, y / height, clean(entry.name), va="center", fontsize=8)
            x = left + _wide([entry])
