"""What the measurement of one item has at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .drivers import Board
from .job import ItemError, Job
from .power import Energy
from .results import Outcome, Results


class Measurement(NamedTuple):
    """One item, where it runs, and where its numbers go. `hwmon`: None where there are no power rails."""

    job: Job
    item: dict[str, Any]
    board: Board
    work: Path
    results: Results
    hwmon: Path | None
    out: Outcome

    @property
    def value(self) -> dict[str, Any]:
        return self.out.value

    def lay_out(self) -> Path:
        """A folder with the item's files."""
        folder = self.job.lay_out(self.item, self.work / "item")
        self.out.check("files", True, "all files have the sha256 of the job")
        return folder

    def energy(self, seconds: float) -> Energy | None:
        return Energy(self.hwmon, min(5.0, seconds), seconds) if self.hwmon is not None else None

    def phases(self, names: tuple[str, ...], clocks: np.ndarray) -> None:
        """Note the times of single calls.

        Args:
            clocks: (calls, 6) readings in ns; `names`: of the five spans between them, and of the whole.
        """
        for name, ns in zip(names, [*(np.diff(clocks, axis=1).T), clocks[:, 5] - clocks[:, 0]]):
            seconds = ns * 1e-9
            samples = self.results.sample(name, seconds)
            self.value["phases"][name] = {**statistics(seconds), "samples": samples}

    def inputs(self, size: int | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Inputs (n, size) and expected outputs (n, m), if the job has any."""
        job, item = self.job, self.item
        x = job.data(item["data"])
        x = np.ascontiguousarray(x.reshape(len(x), -1), np.float32)
        if not len(x) or (size is not None and x.shape[1] != size):
            raise ItemError(f"the inputs are {list(x.shape)}, the overlay takes {size} values")
        if item.get("expected") is None:
            return x, None
        expected = job.data(item["expected"])
        expected = expected.reshape(len(expected), -1)
        if len(expected) != len(x):
            raise ItemError(f"{len(expected)} expected outputs for {len(x)} inputs")
        return x, expected


def statistics(seconds: np.ndarray) -> dict[str, Any]:
    """Percentiles and the shortest of (n,) times, in seconds."""
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99])
    return {"n": len(seconds), "p50": p50, "p95": p95, "p99": p99, "min": seconds.min(), "unit": "s"}
