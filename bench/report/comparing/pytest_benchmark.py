"""Files of pytest-benchmark (`--benchmark-json`) as a tidy frame, for `bench compare`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StoreError
from bench.report.frames.tidy import Row, as_frame
from bench.report.records.fpga import MEASURED

if TYPE_CHECKING:
    import pandas as pd

#: What a foreign benchmark timed is not known: a call of a function that somebody wrote.
SCOPE, TARGET = "pytest", "pytest"
NOTE = "one process: how far it would repeat is not known"
_OWN = ("variant", "target", "scope")


def read_pytest_benchmark(path: str | Path) -> pd.DataFrame:
    """The medians of a file that pytest-benchmark wrote, or `bench export --format pytest-benchmark`.

    Such a file tells of one process, so there are no intervals, and a comparison decides nothing. Benchmarks
    of others have the scope `pytest`; ours come back with theirs.

    Raises:
        StoreError: it is no such file, or damaged.
    """
    try:
        value = json.loads(Path(path).read_bytes())
        if not isinstance(value, dict) or not isinstance(value.get("benchmarks"), list):
            raise ValueError("no list of benchmarks")
        return as_frame(list(_rows(Path(path).stem, value["benchmarks"])))
    except (ValueError, OSError, RecursionError) as error:
        raise StoreError(f"not a file of pytest-benchmark ({error})", where=str(path)) from error


def _rows(name: str, benchmarks: list[Any]) -> Iterator[Row]:
    for place, one in enumerate(benchmarks):
        stats = one.get("stats") if isinstance(one, dict) else None
        full = one.get("fullname") if isinstance(one, dict) else None
        if not isinstance(stats, dict) or not isinstance(full, str) or not full:
            raise ValueError(f"benchmark {place} has no name or no statistics")
        median, rounds = stats.get("median"), stats.get("rounds")
        if isinstance(median, bool) or not isinstance(median, (int, float)) or not 0 < median < math.inf:
            raise ValueError(f"median of {full} is no time")
        if isinstance(rounds, bool) or not isinstance(rounds, int) or not 0 < rounds < 2**63:
            raise ValueError(f"rounds of {full} are no count")
        yield from _both(_place(name, full, one), float(median), rounds)


def _place(name: str, full: str, one: dict[str, Any]) -> tuple[str, str, str, str, str, int]:
    """Sweep, model, variant, target, scope and seed."""
    told, params = one.get("extra_info"), one.get("params")
    if isinstance(told, dict) and isinstance(params, dict):
        sweep, model, seed = told.get("sweep"), told.get("model"), params.get("seed")
        words = [sweep, model, *(params.get(field) for field in _OWN)]
        if all(isinstance(word, str) for word in words) and isinstance(seed, int):
            return (*words, seed)  # type: ignore[return-value]
    group = one.get("group")
    return name, group if isinstance(group, str) and group else "pytest-benchmark", full, TARGET, SCOPE, 0


def _both(place: tuple[str, str, str, str, str, int], median: float, rounds: int) -> tuple[Row, Row]:
    """The row of the seed, and the one that stands for all of them."""
    sweep, model, variant, target, scope, seed = place
    row = Row(
        *(sweep, model, variant, target, seed, "latency_p50", median),
        unit="s",
        scope=scope,
        origin=MEASURED,
        n=rounds,
        reason=NOTE,
    )
    return row, row._replace(seed=None)
