"""Where names stand beside their points: they cover little, and nobody takes one for another point's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

#: left, bottom, right, top
Area = tuple[float, float, float, float]
Spot = tuple[float, float]
#: Points (1/72 inch) that a name may be off; one further off than NEAR has a line to its point.
REACHES, NEAR = (7.0, 15.0, 24.0, 34.0, 46.0, 60.0), 10
SIDES = ((1.0, 0.0), (-1.0, 0.0), (1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0), (0.0, 1.0), (0.0, -1.0))
BETWEEN = tuple((right, up) for right in (0.5, -0.5) for up in (1.0, -1.0)) + tuple(
    (right, up) for right in (1.0, -1.0) for up in (0.5, -0.5)
)
#: What it costs to stand as near to another point as to one's own, partly outside, across a line.
RIVAL, OUTSIDE, ACROSS = 60.0, 50.0, 12.0
#: What it costs more to cover a name or a mark than to cover a bar; half the width of a mark, in points.
HIDDEN, MARK = 8.0, 5.0
#: Points: size of the names' type, the height that a line of it takes, and what is left free beside a name.
SIZE, TALL, GAP = 8.0, 9.5, 4.0
#: Points of a line that are looked at.
STEPS = tuple(k / 8 for k in range(1, 9))


class Place(NamedTuple):
    """Of a name: its area, the alignment, the end of the line to its point (None: it stands beside it)."""

    area: Area
    side: str
    line: Spot | None


@dataclass
class Places:
    """What should not be covered, in pixels.

    Attributes:
        spots: all points; a name goes nearer to its own than to any other.
        taken: bars, then names.
        marks: the areas of all marks.
        frame: what names should not leave.
        unit: pixels of a point (1/72 inch).
    """

    spots: Sequence[Spot]
    taken: list[Area]
    frame: Area
    unit: float
    names: list[Area] = field(default_factory=list)
    lines: list[Spot] = field(default_factory=list)
    marks: list[Area] = field(init=False)

    def __post_init__(self) -> None:
        half = MARK * self.unit
        self.marks = [(x - half, y - half, x + half, y + half) for x, y in self.spots]

    def find(self, width: float, spot: Spot) -> Place:
        """The best place that is left for a name so many pixels wide, which is taken then."""
        best: tuple[float, Place] | None = None
        for reach in REACHES:
            if best is not None and best[0] <= 3 * reach:
                break
            for way in SIDES if reach <= NEAR else SIDES + BETWEEN:
                found = self._try(width, spot, reach, way)
                if best is None or found[0] < best[0]:
                    best = found
        assert best is not None
        place = best[1]
        self.taken.append(place.area)
        self.names.append(place.area)
        if place.line is not None:
            self.lines += _steps(spot, place.line)
        return place

    def _try(self, wide: float, spot: Spot, reach: float, way: tuple[float, float]) -> tuple[float, Place]:
        (x, y), (right, up), unit = spot, way, self.unit
        tall = TALL * unit
        dx, dy = right * reach * unit, up * reach * unit
        left = x + dx - (0 if right > 0 else wide if right < 0 else wide / 2)
        low = y + dy - (tall / 2 if abs(up) < 1 else 0 if up > 0 else tall)
        area = (left, low, left + wide, low + tall)
        own = distance(area, spot) + 3 * unit
        rivals = sum(distance(area, other) < own for other in self.spots if other != spot)
        line = None if reach <= NEAR and not rivals else (x + dx * 0.92, y + dy * 0.92)
        cost = 3 * reach + OUTSIDE * _outside(area, self.frame) + RIVAL * unit * rivals
        cost += sum(overlap(area, other) for other in (*self.taken, *self.marks))
        cost += HIDDEN * sum(overlap(area, other) for other in (*self.names, *self.marks))
        across = sum(_inside(area, step) for step in self.lines)
        if line is not None:
            across += sum(_inside(other, step) for step in _steps(spot, line) for other in self.names)
        side = "left" if right > 0 else "right" if right < 0 else "center"
        return cost + ACROSS * unit * across, Place(area, side, line)


@cache
def _advance(letter: str, bold: bool) -> float:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(weight="bold" if bold else "normal")))
    if not font.get_char_index(ord(letter)):
        return SIZE  # left to the reader's fonts
    font.set_size(SIZE, 72)
    return float(font.load_char(ord(letter)).linearHoriAdvance) / 65536


def width(name: str, bold: bool) -> float:
    """Of a name, in points."""
    return sum(_advance(letter, bold) for letter in name)


def distance(area: Area, spot: Spot) -> float:
    """Of a point from an area; 0 inside."""
    x, y = spot
    return math.hypot(max(area[0] - x, 0.0, x - area[2]), max(area[1] - y, 0.0, y - area[3]))


def overlap(a: Area, b: Area) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    if wide <= 0:
        return 0.0
    tall = min(a[3], b[3]) - max(a[1], b[1])
    return wide * tall if tall > 0 else 0.0


def _inside(area: Area, spot: Spot) -> bool:
    return area[0] <= spot[0] <= area[2] and area[1] <= spot[1] <= area[3]


def _steps(start: Spot, end: Spot) -> list[Spot]:
    return [(start[0] + k * (end[0] - start[0]), start[1] + k * (end[1] - start[1])) for k in STEPS]


def _outside(area: Area, frame: Area) -> float:
    return (
        max(0.0, frame[0] - area[0])
        + max(0.0, area[2] - frame[2])
        + max(0.0, frame[1] - area[1])
        + max(0.0, area[3] - frame[3])
    )
