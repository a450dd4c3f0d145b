"""Zeros and bits of the weights, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.report.frames.view import ModelView, size_front
from bench.report.pictures.labels import fewer, room_for, rows
from bench.report.pictures.style import BLUE, INK, ORANGE, WIDTH, Plan, clean, panel, slug
from bench.report.records import fpga
from bench.report.records.read import Cell
from bench.report.records.weights import BITS, dicts, number, tensors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: More layers than this have no number in each field.
NUMBERED = 12
#: More names of layers than this are set aslant.
LEVEL = 3

#: (layer, share of zeros, bits); NaN where it is not known
Layer = tuple[str, float, float]


@dataclass(frozen=True)
class Layers:
    """Fields are rows of variants, columns of layers; NaN where a network has no such layer."""

    names: tuple[str, ...]
    layers: tuple[str, ...]
    zeros: tuple[tuple[float, ...], ...]
    bits: tuple[tuple[float, ...], ...]


def plans(view: ModelView, cells: Sequence[Cell], prefix: str) -> Iterator[Plan]:
    """For the primary target, and for the first one with designs for FPGAs."""
    for target in dict.fromkeys([view.primary, *view.fpga_targets[:1]]):
        found: dict[str, list[Layer]] = {}
        seed = 0
        for cell in cells:
            if cell.target == target and cell.variant not in found and (layers := _layers(cell)):
                found[cell.variant], seed = layers, cell.seed
        kept, told = fewer(list(found), size_front(view))
        found = {name: found[name] for name in kept}
        names = _columns(list(found.values()))
        if len(found) < 2 or not names:
            continue
        by_name = [{name: (zeros, bits) for name, zeros, bits in layers} for layers in found.values()]
        nothing = (math.nan, math.nan)
        data = Layers(
            tuple(found),
            tuple(names),
            tuple(tuple(one.get(name, nothing)[0] for name in names) for one in by_name),
            tuple(tuple(one.get(name, nothing)[1] for name in names) for one in by_name),
        )
        yield Plan(
            f"{prefix}-layers-{slug(target)}",
            view.model,
            f"zeros and bits of the weights by layer, {target}",
            f"{view.model}: share of zeros and bits of the kernels of {', '.join(names)} ({target}), for "
            f"{', '.join(found)}. The numbers stand in the lineage of each variant.",
            f"Kernels without biases where the file tells them apart (seed {seed}). Empty: no such layer."
            + told,
            data,
            paint,
            (WIDTH, 0.65 + _below(names) + 0.24 * len(found)),
        )


def _below(layers: Sequence[str]) -> float:
    """Inches that the names of the layers take below the fields."""
    return 0.3 if len(layers) <= LEVEL else 0.55


def _columns(networks: Sequence[Sequence[Layer]]) -> list[str]:
    """Layers of all networks, in the order of the one that has most of them."""
    largest = max(networks, key=len, default=[])
    return list(dict.fromkeys(name for layers in (largest, *networks) for name, _, _ in layers))


def _layers(cell: Cell) -> list[Layer]:
    """What the artifact tells of its layers, in the order of the network."""
    if not cell.build_outcome.ok:
        return []
    fixed = dicts(fpga.fixed_facts(cell).get("layers"))
    if fixed:
        return [(str(one.get("name")), _zeros(one), number(one.get("weight_bits"))) for one in fixed]
    kernels = [one for one in tensors(cell) if one.role == "kernel"]
    if kernels:
        return [(one.layer, one.zeros, one.bits) for one in kernels]
    bits = float(BITS["float32"])
    return [(str(one.get("name")), _zeros(one), bits) for one in dicts(cell.facts.get("layers"))]


def _zeros(layer: dict[str, Any]) -> float:
    if "sparsity" in layer:
        return number(layer["sparsity"])
    params, nonzero = number(layer.get("params")), number(layer.get("nonzero"))
    return 1 - nonzero / params if params else math.nan


def paint(figure: Figure, data: Layers) -> None:
    left, width = room_for(data.names), figure.get_size_inches()[0]
    half = (width - left - 0.24) / 2
    below = _below(data.layers)
    shares = panel(figure, left=left, right=width - left - half, top=0.58, bottom=below, grid="")
    widths = panel(figure, left=left + half + 0.12, top=0.58, bottom=below, grid="")
    rows(shares, data.names)
    rows(widths, [""] * len(data.names))
    percent = [[100 * x for x in line] for line in data.zeros]
    _fields(figure, shares, data.layers, percent, 100, ORANGE, "zeros / %")
    _fields(figure, widths, data.layers, data.bits, 32, BLUE, "bits of a weight")


def _fields(
    figure: Figure,
    axes: Axes,
    layers: Sequence[str],
    values: Sequence[Sequence[float]],
    most: float,
    colour: str,
    title: str,
) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    boxes, colours = [], []
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            if math.isnan(value):
                continue
            share = min(1.0, value / most)
            boxes.append(Rectangle((column - 0.47, -row - 0.45), 0.94, 0.9))
            colours.append((colour, 0.06 + 0.56 * share))
            if len(layers) <= NUMBERED:
                size = 7 if len(layers) <= 6 else 5.5
                axes.text(
                    column, -row, f"{value:.1f}".removesuffix(".0"), ha="center", va="center", fontsize=size
                )
    axes.add_collection(PatchCollection(boxes, facecolors=colours, linewidths=0), autolim=False)
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    for column, layer in enumerate(layers):
        axes.text(
            *(column, -0.02, clean(layer)),
            transform=axes.get_xaxis_transform(),
            ha="right" if len(layers) > LEVEL else "center",
            va="top",
            rotation=30 if len(layers) > LEVEL else 0,
            rotation_mode="anchor",
            fontsize=7,
        )
    height = figure.get_size_inches()[1]
    box = axes.get_position()
    figure.text(box.x0, box.y1 + 0.07 / height, title, fontsize=8, color=INK)
