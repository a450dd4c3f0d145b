"""Intervals and tests against values from the literature, by hand, and by brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.intervals import (
    Interval,
    Z,
    bootstrap,
    coverage,
    mcnemar,
    mean_sd,
    paired_difference,
    wilson,
)


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(count: int, n: int, low: float, high: float) -> None:
    assert wilson(count, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson(n - count, n) == pytest.approx((1 - high, 1 - low), abs=5e-5)


@pytest.mark.parametrize(("count", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_of_no_proportion(count: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson(count, n)


def test_wilson_ends_at_0_and_1() -> None:
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0


@pytest.mark.parametrize(
    ("b", "c", "p"),
    [
        (1, 9, 22 / 1024),  # 2 (1 + 10) / 2^10
        (12, 2, 212 / 16384),  # 2 (1 + 14 + 91) / 2^14
        (0, 5, 1 / 16),
        (0, 0, 1.0),
        (4, 4, 1.0),
        (3, 4, 1.0),
    ],
)
def test_mcnemar_by_hand(b: int, c: int, p: float) -> None:
    assert mcnemar(b, c) == pytest.approx(p, rel=1e-12)
    assert mcnemar(c, b) == mcnemar(b, c)


def test_mcnemar_of_thousands_does_not_overflow() -> None:
    # Normal approximation with continuity correction.
    z = (abs(5200 - 4800) - 1) / math.sqrt(10_000)
    assert mcnemar(4800, 5200) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.01)
    with pytest.raises(ValueError, match="negative"):
        mcnemar(-1, 3)


def brute_score(b: int, c: int, n: int, delta: float) -> float:
    """Tango's statistic with the constrained likelihood maximised on a grid."""
    low, high = max(0.0, -delta), (1 - delta) / 2
    q = np.linspace(low, high, 400_001)[1:-1]
    rest = n - b - c
    likelihood = rest * np.log(1 - 2 * q - delta)
    likelihood += (b * np.log(q) if b else 0) + (c * np.log(q + delta) if c else 0)
    best = q[np.argmax(likelihood)]
    return (c - b - n * delta) / math.sqrt(n * (2 * best + delta - delta * delta))


@pytest.mark.parametrize(("b", "c", "n"), [(2, 12, 50), (12, 2, 50), (5, 6, 1000), (1, 30, 10_000)])
def test_paired_difference_inverts_the_score_test(b: int, c: int, n: int) -> None:
    value, low, high = paired_difference(b, c, n)
    assert low is not None and high is not None
    assert value == (c - b) / n
    assert low < value < high
    assert brute_score(b, c, n, low) == pytest.approx(Z, abs=2e-3)
    assert brute_score(b, c, n, high) == pytest.approx(-Z, abs=2e-3)


def test_paired_difference_at_the_ends() -> None:
    # All discordant on one side is a Wilson interval of n/n, turned into a difference: 2 p - 1.
    everything = paired_difference(0, 10, 10)
    assert everything.high == pytest.approx(1.0)
    assert everything.low == pytest.approx(2 * wilson(10, 10)[0] - 1)
    none = paired_difference(0, 0, 50)
    assert none.value == 0
    assert none.low == pytest.approx(-(none.high or 0))
    mirrored = paired_difference(12, 2, 50)
    assert mirrored.low == pytest.approx(-(paired_difference(2, 12, 50).high or 0))
    with pytest.raises(ValueError, match="b = 30"):
        paired_difference(30, 30, 50)


def test_no_interval_of_one_or_two_values() -> None:
    assert bootstrap([5.0]) == (5.0, None, None)
    assert bootstrap([5.0, 7.0]) == (6.0, None, None)
    with pytest.raises(ValueError, match="no values"):
        bootstrap([])


def test_bootstrap_of_three_and_five_is_the_range() -> None:
    # P(median of a resample is the smallest) = 7/27 of 3, 0.058 of 5: both above 2.5 %.
    assert bootstrap([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    assert bootstrap([3.0, 1.0, 2.0, 9.0, 4.0]) == (3.0, 1.0, 9.0)


def test_bootstrap_of_eight_leaves_the_ends_out() -> None:
    assert bootstrap([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1000.0]) == (4.5, 2.0, 7.0)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 20).map(float), min_size=3, max_size=5))
def test_bootstrap_is_exact(values: list[float]) -> None:
    draws = np.array(list(itertools.product(values, repeat=len(values))))
    medians = np.sort(np.median(draws, axis=1))
    n = len(medians)
    low, high = medians[math.ceil(0.025 * n - 1e-9) - 1], medians[math.ceil(0.975 * n - 1e-9) - 1]
    assert bootstrap(values) == pytest.approx((np.median(values), low, high))


def test_bootstrap_draws_are_the_same_every_time() -> None:
    values = np.random.default_rng(3).normal(100, 1, 20).tolist()
    first, second = bootstrap(values), bootstrap(values)
    assert first == second
    assert first.low is not None and first.high is not None
    assert min(values) < first.low < first.value < first.high < max(values)


def test_bootstrap_of_another_statistic() -> None:
    found = bootstrap([1.0, 2.0, 6.0], lambda samples: samples.mean(axis=1))
    # 1/27 = 3.7 % of the resamples are 1, 1, 1 and as many are 6, 6, 6.
    assert found == pytest.approx((3.0, 1.0, 6.0))


@pytest.mark.parametrize(("k", "probability"), [(3, 0.75), (4, 0.875), (5, 0.9375)])
def test_coverage_of_the_range(k: int, probability: float) -> None:
    values = [float(i) for i in range(k)]
    assert coverage(values, bootstrap(values)) == probability


def test_coverage_between_order_statistics() -> None:
    values = [float(i) for i in range(1, 9)]
    assert coverage(values, Interval(4.5, 2.0, 7.0)) == 1 - 18 / 256  # B is neither 0, 1, 7 nor 8
    assert coverage([1.0], Interval(1.0)) is None


def test_mean_sd() -> None:
    mean, sd = mean_sd([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])
    assert mean == 5.0
    assert sd == pytest.approx(math.sqrt(32 / 7))
    assert mean_sd([3.0]) == (3.0, None)
    with pytest.raises(ValueError, match="no values"):
        mean_sd([])
