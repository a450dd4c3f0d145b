"""Unpacked outcomes of test items, shared by everything that pairs cells on the same items."""

from __future__ import annotations

import numpy as np

from bench.core.results import Packed
from bench.errors import DamagedResult
from bench.report.records.read import Cell


class Scores:
    """Unpacked bits of evaluate records, kept while one model is worked on."""

    def __init__(self) -> None:
        self._bits: dict[tuple[int, str], np.ndarray | None] = {}

    def array(self, cell: Cell | None, name: str) -> np.ndarray | None:
        """`correct` (bool) or `predictions` (int) of a scored cell, each (items,)."""
        if cell is None or not cell.evaluate_outcome.ok or cell.evaluate is None:
            return None
        key = (id(cell.evaluate), name)
        if key not in self._bits:
            packed: Packed | None = getattr(cell.evaluate.score, name)
            self._bits[key] = _unpacked(packed) if packed else None
        return self._bits[key]

    def pair(self, cell: Cell, baseline: Cell | None, name: str) -> tuple[np.ndarray, np.ndarray] | None:
        """The arrays of a cell and its baseline, where both were scored on the same items."""
        mine, other = self.array(cell, name), self.array(baseline, name)
        if mine is None or other is None or mine.size != other.size:
            return None
        assert cell.evaluate is not None and baseline is not None and baseline.evaluate is not None
        if cell.evaluate.score.labels_sha256 != baseline.evaluate.score.labels_sha256:
            return None
        return mine, other


def _unpacked(packed: Packed) -> np.ndarray | None:
    """None where the data are damaged: then nothing is paired."""
    try:
        return packed.array()
    except DamagedResult:
        return None
