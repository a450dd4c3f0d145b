"""Which classes are taken for which, and where variants disagree with the baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.core.intervals import mcnemar
from bench.report.frames.view import ModelView, size_front
from bench.report.pictures.labels import Entry, fewer, legend, room_for, rows
from bench.report.pictures.style import BLUE, GREY, ORANGE, VERMILION, WIDTH, Plan, panel, slug
from bench.report.records.read import BASELINE, Cell
from bench.report.records.scores import Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: More classes than this are too many for a matrix with numbers.
CLASSES = 20
Matrix = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Confusion:
    """Items by true (rows) and given class: of the baseline, and of another variant less the baseline's."""

    variant: str
    baseline: Matrix
    change: Matrix


@dataclass(frozen=True)
class Disagreement:
    """Of the test items, for each variant: only it is right, only the baseline is, both are wrong and
    differ; and the p-value of McNemar's test."""

    names: tuple[str, ...]
    gained: tuple[int, ...]
    lost: tuple[int, ...]
    other: tuple[int, ...]
    p: tuple[float, ...]
    n: int


def plans(view: ModelView, cells: Sequence[Cell], prefix: str) -> Iterator[Plan]:
    """Of the primary target, for the first seed that the baseline was scored with."""
    target = view.primary
    scored = [c for c in cells if c.target == target and c.evaluate_outcome.ok and c.evaluate is not None]
    baseline = next((c for c in scored if c.variant == BASELINE), None)
    if baseline is None:
        return
    others = {c.variant: c for c in scored if c.seed == baseline.seed and c.variant != BASELINE}
    yield from _disagreement(view, baseline, others, prefix)
    yield from _confusion(view, baseline, others, prefix)


def _disagreement(view: ModelView, baseline: Cell, others: dict[str, Cell], prefix: str) -> Iterator[Plan]:
    scores, found = Scores(), []
    for name, cell in others.items():
        right, classes = (scores.pair(cell, baseline, what) for what in ("correct", "predictions"))
        if right is None or classes is None:
            continue
        gained, lost = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
        other = int((~right[0] & ~right[1] & (classes[0] != classes[1])).sum())
        found.append((name, gained, lost, other, mcnemar(lost, gained)))
    kept, left_out = fewer([one[0] for one in found], size_front(view))
    found = [one for one in found if one[0] in set(kept)]
    if not found or not any(sum(one[1:4]) for one in found):
        return
    assert baseline.evaluate is not None
    n = baseline.evaluate.score.n
    names, gains, losses, both, ps = zip(*found, strict=True)
    data = Disagreement(names, gains, losses, both, ps, n)
    told = ", ".join(f"{name} {gained} gained, {lost} lost" for name, gained, lost, _, _ in found)
    yield Plan(
        f"{prefix}-disagreement",
        view.model,
        f"where variants disagree with the baseline, {baseline.target}",
        f"{view.model}: test items that a variant gets right and the baseline wrong, and the other way "
        f"round: {told}; of {n}.",
        f"Of {n:,} test items, seed {baseline.seed}. p: McNemar's exact test of gained against lost, without "
        f"correction for the number of variants.{left_out}",
        data,
        paint_disagreement,
        (WIDTH, 1.25 + 0.24 * len(found)),
    )


def _confusion(view: ModelView, baseline: Cell, others: dict[str, Cell], prefix: str) -> Iterator[Plan]:
    matrix = _matrix(baseline)
    front = size_front(view)
    chosen = [name for name, _ in view.known(view.primary, "gzip_bytes") if name in front and name in others]
    # The smallest of those that one would choose; where nothing is chosen by size, the last one.
    chosen.sort(key=lambda name: view.value(name, view.primary, "gzip_bytes"))
    name = next(iter(chosen), None) or next(reversed(others), None)
    if matrix is None or name is None:
        return
    other = _matrix(others[name])
    if other is None or other.shape != matrix.shape:
        return
    data = Confusion(name, _tuples(matrix), _tuples(other - matrix))
    wrong = matrix - np.diag(np.diag(matrix))
    true, given = np.unravel_index(int(wrong.argmax()), wrong.shape)
    yield Plan(
        f"{prefix}-confusion-{slug(name)}",
        view.model,
        f"which class is taken for which, {baseline.target}",
        f"{view.model}: confusion matrix of the baseline ({baseline.target}); it most often takes class "
        f"{true} for {given} ({int(wrong.max())} items). Beside it the change that {name} makes.",
        f"Test items of seed {baseline.seed}. Left: grey is right, orange wrong. Right: {name} less "
        "baseline; blue is better (more on the diagonal, less beside it), orange worse.",
        data,
        paint_confusion,
        (WIDTH, 3.75),
    )


def _matrix(cell: Cell) -> np.ndarray | None:
    """(classes, classes) of counts, rows true; None where the record has none that can be shown."""
    assert cell.evaluate is not None
    confusion = cell.evaluate.score.confusion
    shown = confusion is not None and 2 <= len(confusion) <= CLASSES
    return np.asarray(confusion, dtype=np.int64) if shown else None


def _tuples(matrix: np.ndarray) -> Matrix:
    return tuple(tuple(int(n) for n in line) for line in matrix)


def paint_disagreement(figure: Figure, data: Disagreement) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    axes = panel(
        figure,
        left=room_for(data.names),
        right=0.85,
        top=0.62,
        xlabel="test items: lost to the left, gained or merely different to the right",
        grid="x",
    )
    rows(axes, data.names)
    boxes, colours = [], []
    for place, (gained, lost, other) in enumerate(zip(data.gained, data.lost, data.other, strict=True)):
        for start, wide, colour in ((-lost, lost, VERMILION), (0, gained, BLUE), (gained, other, GREY)):
            boxes.append(Rectangle((start, -place - 0.33), wide, 0.66))
            colours.append(colour)
        p = data.p[place]
        axes.text(
            *(1.02, -place, f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"),
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=7,
            fontweight="bold" if p < 0.05 else "normal",
        )
    right = max(g + o for g, o in zip(data.gained, data.other, strict=True))
    span = max(1, right + max(data.lost))
    axes.set_xlim(-max(data.lost) - 0.04 * span, right + 0.04 * span)
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.10g}")
    axes.add_collection(PatchCollection(boxes, facecolors=colours, linewidths=0), autolim=False)
    axes.axvline(0, color=GREY, linewidth=0.8)
    legend(
        figure,
        axes,
        [
            Entry("only the baseline is right", VERMILION, "s"),
            Entry("only the variant", BLUE, "s"),
            Entry("both wrong, other class", GREY, "s"),
        ],
    )


def paint_confusion(figure: Figure, data: Confusion) -> None:
    width = figure.get_size_inches()[0]
    half = (width - 0.62 - 0.5) / 2
    one = panel(
        figure,
        left=0.5,
        right=width - 0.5 - half,
        top=0.55,
        grid="",
        xlabel="class given",
        ylabel="true class",
    )
    two = panel(figure, left=0.5 + half + 0.5, top=0.55, grid="", xlabel="class given")
    _matrix_panel(figure, one, data.baseline, "baseline", signed=False)
    _matrix_panel(figure, two, data.change, f"{data.variant} − baseline", signed=True)


def _matrix_panel(figure: Figure, axes: Axes, matrix: Matrix, title: str, *, signed: bool) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    size = len(matrix)
    off = [abs(n) for i, line in enumerate(matrix) for j, n in enumerate(line) if signed or i != j]
    most = max(max(off), 1)
    boxes, colours = [], []
    for row, line in enumerate(matrix):
        for column, count in enumerate(line):
            if count == 0:
                continue
            better = (count > 0) == (row == column)
            colour = (BLUE if better else ORANGE) if signed else GREY if row == column else ORANGE
            strength = 0.3 if not signed and row == column else 0.08 + 0.72 * min(1, abs(count) / most)
            boxes.append(Rectangle((column - 0.5, row - 0.5), 1, 1))
            colours.append((colour, strength))
            text = f"{count:+d}".replace("-", "−") if signed else f"{count}"
            axes.text(column, row, text, ha="center", va="center", fontsize=6 if size <= 10 else 4)
    axes.add_collection(PatchCollection(boxes, facecolors=colours, linewidths=0), autolim=False)
    axes.set_xlim(-0.5, size - 0.5)
    axes.set_ylim(size - 0.5, -0.5)
    axes.set_xticks(range(size))
    axes.set_yticks(range(size))
    axes.tick_params(length=0, labelsize=7 if size <= 10 else 5)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(GREY)
    box, height = axes.get_position(), figure.get_size_inches()[1]
    figure.text(box.x0, box.y1 + 0.05 / height, title, fontsize=8)
