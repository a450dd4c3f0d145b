"""What the bytes of the files are: weights by type, and all the rest; what gzip makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report.frames import formats
from bench.report.frames.view import ModelView, size_front
from bench.report.pictures.labels import Entry, fewer, legend, legend_room, room_for, rows
from bench.report.pictures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    WIDTH,
    Plan,
    panel,
)
from bench.report.records.read import Cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REST = "graph, scales, metadata"
_COLOURS = {
    "float32": BLUE,
    "float16": SKY,
    "int16": GREEN,
    "int8": ORANGE,
    "int4": VERMILION,
    "int32": PURPLE,
    "int64": INK,
    REST: GREY,
}


@dataclass(frozen=True)
class Sizes:
    """Bytes by type of weights for each variant, and bytes after gzip (0: not known)."""

    names: tuple[str, ...]
    parts: tuple[tuple[tuple[str, int], ...], ...]
    gzip: tuple[int, ...]
    label: str
    scale: formats.Scale


def plans(view: ModelView, cells: Sequence[Cell], prefix: str) -> Iterator[Plan]:
    """One picture for the primary target, where its files tell of their bytes."""
    target = view.primary
    found: dict[str, Cell] = {}
    for cell in cells:
        if cell.target == target and _parts(cell):
            found.setdefault(cell.variant, cell)
    if len(found) < 2:
        return
    kept, left_out = fewer(list(found), size_front(view))
    found = {name: found[name] for name in kept}
    parts = {name: _parts(cell) for name, cell in found.items()}
    scale = formats.scale_for("bytes", [sum(n for _, n in one) for one in parts.values()])
    zipped = tuple(int(cell.facts.get("gzip_bytes") or 0) for cell in found.values())
    data = Sizes(tuple(found), tuple(parts.values()), zipped, f"size ({target}) / {scale.unit}", scale)
    told = ", ".join(
        f"{name} {formats.plain(sum(n for _, n in one) * scale.factor)} {scale.unit}"
        for name, one in parts.items()
    )
    seed = next(iter(found.values())).seed
    yield Plan(
        f"{prefix}-size-by-type",
        view.model,
        f"size by type, {target}",
        f"{view.model}: size of the files by type of their weights. In all: {told}.",
        f"Bars: bytes of the file as it is deployed (seed {seed}); diamond: the same file after gzip."
        + left_out,
        data,
        paint,
        (WIDTH, 0.58 + legend_room(_legend(data)) + 0.24 * len(found)),
    )


def _parts(cell: Cell) -> tuple[tuple[str, int], ...]:
    """(type, bytes), the largest types first, what is no weight last."""
    facts = cell.facts
    types = facts.get("bytes_by_dtype")
    if not isinstance(types, dict) or not cell.build_outcome.ok:
        return ()
    known = [(str(n), int(b)) for n, b in types.items() if isinstance(b, (int, float)) and b > 0]
    rest = int(facts.get("overhead_bytes") or 0)
    return (*sorted(known, key=lambda item: -item[1]), *([(REST, rest)] if rest > 0 else []))


def paint(figure: Figure, data: Sizes) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    entries = _legend(data)
    axes = panel(figure, left=room_for(data.names), top=legend_room(entries), xlabel=data.label, grid="x")
    rows(axes, data.names)
    factor = data.scale.factor
    boxes, colours = [], []
    for place, parts in enumerate(data.parts):
        start = 0.0
        for kind, count in parts:
            boxes.append(Rectangle((start, -place - 0.33), count * factor, 0.66))
            colours.append(_COLOURS.get(kind, "black"))
            start += count * factor
    axes.set_xlim(0, 1.04 * factor * max(sum(n for _, n in one) for one in data.parts))
    axes.add_collection(PatchCollection(boxes, facecolors=colours, linewidths=0), autolim=False)
    zipped = [(n * factor, -place) for place, n in enumerate(data.gzip) if n]
    if zipped:
        xs, ys = [x for x, _ in zipped], [y for _, y in zipped]
        axes.scatter(xs, ys, s=26, marker="D", facecolors="white", edgecolors=INK, zorder=4)
    legend(figure, axes, entries)


def _legend(data: Sizes) -> list[Entry]:
    kinds = dict.fromkeys(kind for parts in data.parts for kind, _ in parts)
    order = sorted(kinds, key=lambda kind: list(_COLOURS).index(kind) if kind in _COLOURS else 99)
    found = [Entry(kind, _COLOURS.get(kind, "black"), "s") for kind in order]
    return [*found, Entry("after gzip", INK, "hollow D")] if any(data.gzip) else found
