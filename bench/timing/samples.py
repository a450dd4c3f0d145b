"""What is kept of the samples of one scope in one round, `bench.core.results.ScopeTimes`.

Single samples are not kept (a second of a 5 µs network gives 200,000). A histogram with bins 0.5 %
wide keeps every sample to within 0.25 %, so that percentiles of all rounds together can be had later;
a trace of at most 200 samples keeps their order for plots.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.core.packed import pack
from bench.core.results import ScopeTimes

#: width of a histogram bin: bin i holds [RATIO**i, RATIO**(i+1)) nanoseconds
RATIO = 1.005
TRACE_LENGTH = 200
#: Samples (one call each) that a percentile needs: MLPerf's early stopping rule at confidence 0.99
#: (loadgen, early_stopping.cc); 662 is `min_query_count` of its multi-stream scenario.
SAMPLES_FOR = {0.9: 64, 0.95: 130, 0.99: 662}


def scope_times(samples_ns: np.ndarray, block: int, total_seconds: float) -> dict[str, Any]:
    """Condense the samples of one window, in the order they were taken. None is dropped.

    Args:
        samples_ns: (n,) duration of each sample in ns; a sample is `block` calls.
        block: calls per sample. Above 1 the values are means of blocks, which say nothing about
            the slow tail of single calls: upper percentiles are left out.
        total_seconds: wall time of the window, everything in it.

    Returns:
        JSON values of a `ScopeTimes`. `trace` and the histogram's `counts` are packed arrays.
    """
    values = np.asarray(samples_ns, np.float64) / block
    n = len(values)
    wanted = [0.25, 0.5, 0.75]
    if block == 1:
        wanted = [0.05, *wanted, *(q for q, needed in SAMPLES_FOR.items() if n >= needed)]
    quantiles = np.quantile(values, wanted)
    picks = np.linspace(0, n - 1, min(n, TRACE_LENGTH)).round().astype(int)
    return {
        "n": n,
        "block": block,
        "median_ns": _short(np.median(values)),
        "mean_ns": _short(values.mean()),
        "sd_ns": _short(values.std(ddof=1)) if n > 1 else None,
        "min_ns": _short(values.min()),
        "max_ns": _short(values.max()),
        "q": {str(q): _short(value) for q, value in zip(wanted, quantiles, strict=True)},
        "histogram": _histogram(values),
        "trace": pack(values[picks].round().astype(np.int64)),
        "drift": drift(values),
        "total_seconds": total_seconds,
    }


def drift(values: np.ndarray) -> float | None:
    """Median of the last quarter over that of the first, minus 1; None below 8 samples."""
    quarter = len(values) // 4
    if quarter < 2:
        return None
    first = float(np.median(values[:quarter]))
    return round(float(np.median(values[-quarter:])) / first - 1, 5) if first > 0 else None


def throughput(times: ScopeTimes) -> float:
    """Calls per second of a window, loop overhead and all."""
    return float(times.n * times.block / times.total_seconds)


def pooled_percentiles(windows: Sequence[ScopeTimes]) -> dict[float, float | None]:
    """p90, p95 and p99 of all single calls of several windows together, ns, to within 0.25 %.

    None where a window timed blocks of calls, or there are fewer samples than `SAMPLES_FOR` asks.
    """
    if not windows or any(window.block != 1 for window in windows):
        return dict.fromkeys(SAMPLES_FOR)
    parts = [(window.histogram.first, window.histogram.counts.array()) for window in windows]
    start = min(first for first, _ in parts)
    pooled = np.zeros(max(first + len(counts) for first, counts in parts) - start, np.int64)
    for first, counts in parts:
        pooled[first - start : first - start + len(counts)] += counts
    cumulative = np.cumsum(pooled)
    n = int(cumulative[-1])
    shortest = float(min(window.min_ns for window in windows))
    longest = float(max(window.max_ns for window in windows))

    def percentile(q: float) -> float:
        """The smallest value that a share q of the samples does not exceed, as its bin's centre."""
        index = start + int(np.searchsorted(cumulative, math.ceil(q * n)))
        return min(max(math.exp((index + 0.5) * math.log(RATIO)), shortest), longest)

    return {q: percentile(q) if n >= needed else None for q, needed in SAMPLES_FOR.items()}


def _histogram(values: np.ndarray) -> dict[str, Any]:
    # A coarse clock may call a sample 0 ns long; it is counted in the bin of 1 ns.
    bins = np.floor(np.log(np.maximum(values, 1.0)) / math.log(RATIO)).astype(int)
    first = int(bins.min())
    # One preempted call puts a thousand empty bins between itself and the rest: packed.
    return {"ratio": RATIO, "first": first, "counts": pack(np.bincount(bins - first).astype(np.uint32))}


def _short(value: Any) -> float | int:
    """Whole nanoseconds as int, otherwise to 0.01 ns: the files stay small."""
    number = round(float(value), 2)
    return int(number) if number.is_integer() else number
