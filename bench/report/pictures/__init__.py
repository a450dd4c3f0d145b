"""Pictures of one model. Each module makes plans of one kind from the frame and the records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.report.frames.view import ModelView
from bench.report.pictures import agreement, board, curves, fabric, latency, layers, resources, scatter, sizes
from bench.report.pictures.style import FORMATS, Picture, Plan, draw, slug
from bench.report.records.read import Cell, Rounds

__all__ = ["FORMATS", "Picture", "Plan", "draw", "plans", "slug"]


def plans(view: ModelView, cells: Sequence[Cell], rounds: Rounds, prefix: str) -> Iterator[Plan]:
    """All pictures that the data bear, the main ones (accuracy against cost) first.

    Args:
        cells: of the model that the view is of.
        rounds: timed rounds of the whole sweep.
        prefix: what all names begin with.
    """
    yield from scatter.plans(view, prefix)
    yield from latency.plans(view, cells, rounds, prefix)
    yield from sizes.plans(view, cells, prefix)
    yield from layers.plans(view, cells, prefix)
    yield from agreement.plans(view, cells, prefix)
    yield from resources.plans(view, prefix)
    yield from board.plans(view, prefix)
    yield from curves.plans(view, cells, prefix)
    yield from fabric.plans(view, cells, prefix)
