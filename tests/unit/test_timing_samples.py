"""What is kept of samples, and what can be had from it again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench.core.packed import unpack
from bench.core.results import ScopeTimes
from bench.timing.samples import RATIO, SAMPLES_FOR, drift, pooled_percentiles, scope_times, throughput


def window(values: np.ndarray, block: int = 1) -> ScopeTimes:
    return ScopeTimes.model_validate(scope_times(values, block, 1.0))


def test_summary_of_known_samples() -> None:
    times = scope_times(np.array([3000, 1000, 2000, 10000]), 1, 0.5)
    assert times["median_ns"] == 2500
    assert times["mean_ns"] == 4000
    assert times["sd_ns"] == pytest.approx(4082.48)  # sqrt((1 + 9 + 4 + 36) / 3) thousand
    assert (times["min_ns"], times["max_ns"], times["n"]) == (1000, 10000, 4)
    assert unpack(times["trace"]).tolist() == [3000, 1000, 2000, 10000]
    assert throughput(ScopeTimes.model_validate(times)) == 8.0


def test_it_is_json_and_small_even_with_an_outlier() -> None:
    values = np.random.default_rng(0).lognormal(9, 0.1, 200_000)
    values[77] = 1e8
    assert len(json.dumps(scope_times(values, 1, 1.0), allow_nan=False)) < 6000


def test_a_single_sample_has_no_deviation_and_no_drift() -> None:
    times = scope_times(np.array([5000]), 1, 1.0)
    assert times["sd_ns"] is None
    assert times["drift"] is None


def test_no_sample_is_dropped_from_the_histogram() -> None:
    values = np.random.default_rng(1).lognormal(8, 1, 5000).astype(int)
    times = scope_times(values, 1, 1.0)
    counts = unpack(times["histogram"]["counts"])
    assert counts.sum() == 5000
    edges = RATIO ** (times["histogram"]["first"] + np.arange(len(counts) + 1))
    assert edges[0] <= values.min() * 1.0001
    assert values.max() < edges[-1] * 1.0001


def test_zero_long_samples_of_a_coarse_clock_are_counted() -> None:
    times = scope_times(np.array([0, 0, 1000]), 1, 1.0)
    assert unpack(times["histogram"]["counts"]).sum() == 3
    assert times["histogram"]["first"] == 0


def test_trace_keeps_order_and_ends() -> None:
    trace = unpack(scope_times(np.arange(1000, 6000), 1, 1.0)["trace"])
    assert len(trace) == 200
    assert (trace[0], trace[-1]) == (1000, 5999)
    assert (np.diff(trace) > 0).all()


def test_drift_compares_last_quarter_with_first() -> None:
    assert drift(np.array([100.0] * 50 + [110.0] * 50)) == pytest.approx(0.1)
    assert drift(np.ones(7)) is None
    assert drift(np.zeros(100)) is None


@pytest.mark.parametrize(("q", "needed"), list(SAMPLES_FOR.items()))
def test_percentiles_need_their_samples(q: float, needed: int) -> None:
    assert {0.9: 64, 0.95: 130, 0.99: 662}[q] == needed
    few = [window(np.full(needed - 1, 1000))]
    assert pooled_percentiles(few)[q] is None
    assert str(q) not in few[0].q
    assert pooled_percentiles([*few, window(np.array([1000]))])[q] == 1000
    assert scope_times(np.full(needed, 1000), 1, 1.0)["q"][str(q)] == 1000


def test_pooled_percentiles_are_those_of_all_samples_to_a_quarter_percent() -> None:
    generator = np.random.default_rng(2)
    windows = [generator.lognormal(9 + shift, 0.3, 4000 + 500 * shift) for shift in range(3)]
    found = pooled_percentiles([window(values) for values in windows])
    for q, value in found.items():
        exact = np.quantile(np.concatenate(windows), q, method="inverted_cdf")
        assert value == pytest.approx(exact, rel=0.0026)


def test_blocks_have_no_percentiles() -> None:
    block = window(np.full(1000, 4000), block=4)
    assert (block.median_ns, block.block) == (1000, 4)
    assert set(block.q) == {"0.25", "0.5", "0.75"}
    single = window(np.full(1000, 1000))
    assert set(pooled_percentiles([block, single]).values()) == {None}
    assert pooled_percentiles([]) == {0.9: None, 0.95: None, 0.99: None}
    assert throughput(block) == 4000.0
