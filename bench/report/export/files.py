"""The frame and the timings for other programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.records import TWIN, Record
from bench.core.results import ScopeTimes
from bench.errors import StoreError, Unavailable
from bench.report import written
from bench.report.frames.tidy import frame
from bench.report.records.read import SweepData, read_sweep
from bench.report.write import write_file


def csv(results: str | Path, sweep: str | None, out: str | Path) -> Path:
    """The tidy frame as CSV."""
    text = written.csv(frame(results, sweep))
    return _write(Path(out), text.encode())


def parquet(results: str | Path, sweep: str | None, out: str | Path) -> Path:
    """The tidy frame as Parquet.

    Raises:
        Unavailable: pyarrow is not installed.
    """
    import io

    table = frame(results, sweep)
    table.attrs.clear()  # paths of this machine are nobody else's concern
    buffer = io.BytesIO()
    try:
        table.to_parquet(buffer, index=False, engine="pyarrow")
    except ImportError as error:
        raise Unavailable(
            "pyarrow is not installed",
            mend="Install the extra: uv sync --extra parquet (or pip install 'edge-bench[parquet]').",
        ) from error
    return _write(Path(out), buffer.getvalue())


def pytest_benchmark_json(results: str | Path, sweep: str, out: str | Path) -> Path:
    """Latencies in the format of pytest-benchmark, which `pytest-benchmark compare` reads.

    One benchmark for each model, variant, target, scope and measured seed, with the samples of all
    rounds together; the group is model, target and scope.
    """
    import json

    data = read_sweep(results, sweep)
    benchmarks = [one for keys, records in data.rounds.items() for one in _group(data, keys, records)]
    created = str(data.manifest.get("created") or "1970-01-01T00:00:00")
    timed = (record.round.machine for record in data.measured() if record.status == "ok")
    machine: dict[str, Any] = next((found for found in timed if found), {})
    value = {
        "machine_info": {"node": str(machine.get("id", "")), **machine},
        "commit_info": {"id": "", "dirty": False, "project": "edge-bench", "branch": ""},
        "benchmarks": benchmarks,
        "datetime": created,
        "version": "5.0.0",
    }
    return _write(Path(out), json.dumps(value, indent=1, allow_nan=False).encode())


def _write(out: Path, content: bytes) -> Path:
    """Whole under its name or not at all; but what is no plain file (`-o /dev/stdout`, a pipe, a link) is
    written to: a file put in its place would take a device away from the whole machine."""
    if not out.is_symlink() and (out.is_file() or not out.exists()):
        return write_file(out, content)
    try:
        out.write_bytes(content)
    except OSError as error:
        raise StoreError(f"cannot be written ({error.strerror})", where=str(out)) from error
    return out


def _group(data: SweepData, keys: tuple[str, ...], records: Sequence[Record]) -> list[dict[str, Any]]:
    cell = next((cell for cell in data.cells if cell.measure_keys == keys), None)
    rounds = [record.round for record in records if record.status == "ok"]
    if cell is None:
        return []
    names = dict.fromkeys(name for one in rounds for name in one.entries if name != TWIN)
    found = []
    for name in names:
        windows: dict[str, list[ScopeTimes]] = {}
        for one in rounds:
            for scope, times in one.entries[name].scopes.items() if name in one.entries else ():
                windows.setdefault(scope, []).append(times)
        for scope, parts in windows.items():
            group = f"{cell.model} {cell.target} {scope}"
            full = f"{data.name}/{cell.model}/{name}/{cell.target}/{scope}/seed{cell.seed}"
            found.append(
                {
                    "group": group,
                    "name": f"{name}[{cell.target}-{scope}]",
                    "fullname": full,
                    "params": {"variant": name, "target": cell.target, "scope": scope, "seed": cell.seed},
                    "param": f"{cell.target}-{scope}",
                    "extra_info": {"sweep": data.name, "model": cell.model, "origin": "measured"},
                    "options": {"timer": "perf_counter_ns", "warmup": True},
                    "stats": _stats(parts),
                }
            )
    return found


def _stats(windows: Sequence[ScopeTimes]) -> dict[str, Any]:
    """pytest-benchmark's statistics, seconds, over all samples. Quartiles and outliers come from the
    histograms (to within 0.25 %)."""
    n = sum(window.n for window in windows)
    mean = sum(window.n * window.mean_ns for window in windows) / n
    # Variance of all samples: within the windows and between them.
    square = sum(
        (window.n - 1) * (window.sd_ns or 0.0) ** 2 + window.n * (window.mean_ns - mean) ** 2
        for window in windows
    )
    sd = math.sqrt(square / (n - 1)) if n > 1 else 0.0
    ratio = windows[0].histogram.ratio
    values, counts = [], []
    for window in windows:
        own = window.histogram.counts.array()
        values.append(ratio ** (window.histogram.first + np.arange(own.size) + 0.5))
        counts.append(own)
    value, count = np.concatenate(values), np.concatenate(counts).astype(np.int64)
    order = np.argsort(value)
    value, count = value[order], count[order]
    shortest, longest = (
        float(min(window.min_ns for window in windows)),
        float(max(window.max_ns for window in windows)),
    )
    cumulative = np.cumsum(count)
    q1, median, q3 = (
        float(np.clip(value[np.searchsorted(cumulative, math.ceil(q * cumulative[-1]))], shortest, longest))
        for q in (0.25, 0.5, 0.75)
    )
    fence = 1.5 * (q3 - q1)
    iqr_outliers = int(count[(value < q1 - fence) | (value > q3 + fence)].sum())
    sd_outliers = int(count[(value < mean - sd) | (value > mean + sd)].sum())
    inside = value[(value >= q1 - fence) & (value <= q3 + fence) & (count > 0)]
    seconds = {
        "min": shortest,
        "max": longest,
        "mean": mean,
        "stddev": sd,
        "median": median,
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "ld15iqr": float(inside.min()),
        "hd15iqr": float(inside.max()),
        "total": mean * n,
    }
    return {
        **{name: number / 1e9 for name, number in seconds.items()},
        "rounds": n,
        "iqr_outliers": iqr_outliers,
        "stddev_outliers": sd_outliers,
        "outliers": f"{sd_outliers};{iqr_outliers}",
        "ops": 1e9 / mean if mean else 0.0,
        "iterations": int(max(window.block for window in windows)),
    }
