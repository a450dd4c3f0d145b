"""Intervals and tests, numpy and standard library only. Level is 95 % throughout."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np

Z = 1.959963984540054
#: below this many values no interval is given
MIN_VALUES = 3
_EXACT_UP_TO = 8
_RESAMPLES = 10_000


class Interval(NamedTuple):
    """A value and its 95 % interval; `low` and `high` are None where too little is known."""

    value: float
    low: float | None = None
    high: float | None = None


def bootstrap(
    values: Sequence[float], statistic: Callable[[np.ndarray], np.ndarray] | None = None
) -> Interval:
    """A statistic (default: median) and its percentile bootstrap interval.

    All resamples are enumerated for up to 8 values; beyond that 10,000 are drawn (seed 0).

    Below 3 values there is no interval. For the median of 3 to 5 values it is [min, max]: no
    bootstrap can give a wider one. What that is worth, `coverage` tells: 75 % at 3, 94 % at 5.

    Args:
        statistic: gives (m,) for samples (m, k), whose rows are sorted.
    """
    k = len(values)
    if k == 0:
        raise ValueError("no values")
    if statistic is None and MIN_VALUES <= k <= _EXACT_UP_TO and k % 2:
        # The median of an odd number of values is one of them: which are the ends depends on k alone.
        low, high = _ends_of_odd(k)
        in_order = sorted(map(float, values))
        return Interval(in_order[k // 2], in_order[low], in_order[high])
    return _bootstrap(np.sort(np.asarray(values, float)), statistic or _row_medians)


def _bootstrap(ordered: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> Interval:
    value = float(statistic(ordered[np.newaxis])[0])
    if len(ordered) < MIN_VALUES:
        return Interval(value)
    draws, weights = _resamples(len(ordered))
    results = statistic(ordered[draws])
    order = np.argsort(results, kind="stable")
    cumulative = np.cumsum(weights[order])
    # The smallest result that 2.5 % (97.5 %) of the resamples do not exceed; the slack takes up the
    # rounding of the sum.
    low, high = np.searchsorted(cumulative, (0.025 - 1e-12, 0.975 - 1e-12))
    return Interval(value, float(results[order[low]]), float(results[order[high]]))


@cache
def _ends_of_odd(k: int) -> tuple[int, int]:
    """Positions of the interval's ends among k values in order."""
    _, low, high = _bootstrap(np.arange(k, dtype=float), _row_medians)
    assert low is not None and high is not None
    return int(low), int(high)


def _row_medians(samples: np.ndarray) -> np.ndarray:
    k = samples.shape[1]
    middle: np.ndarray = (samples[:, (k - 1) // 2] + samples[:, k // 2]) / 2
    return middle


@lru_cache(maxsize=32)
def _resamples(k: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (m, k), rows sorted, and the probability of each (m,)."""
    if k <= _EXACT_UP_TO:
        draws = list(combinations_with_replacement(range(k), k))
        return np.array(draws), np.array([_ways(draw, k) for draw in draws], float) / float(k) ** k
    drawn = np.sort(np.random.default_rng(0).integers(0, k, (_RESAMPLES, k)), axis=1)
    return drawn, np.full(_RESAMPLES, 1 / _RESAMPLES)


def coverage(values: Sequence[float], interval: Interval) -> float | None:
    """Probability that an interval of this kind covers the true median of what the values are drawn
    from, whatever that is; None without interval.

    With [low, high] reaching from the i-th to the j-th smallest of k values it is P(i <= B < j),
    B binomial(k, 1/2) (David and Nagaraja, Order Statistics, 7.1).
    """
    if interval.low is None or interval.high is None:
        return None
    k = len(values)
    first = sum(value < interval.low for value in values) + 1
    last = sum(value <= interval.high for value in values)
    return float(sum(math.comb(k, b) for b in range(first, last)) / 2**k)


def _ways(draw: tuple[int, ...], k: int) -> int:
    """Ordered resamples that hold these values."""
    ways = math.factorial(k)
    for i in set(draw):
        ways //= math.factorial(draw.count(i))
    return ways


def wilson(count: int, n: int) -> tuple[float, float]:
    """95 % score interval of the proportion count/n (Wilson, JASA 22, 1927).

    Raises:
        ValueError: n is 0 or count is not within 0…n.
    """
    if n <= 0 or not 0 <= count <= n:
        raise ValueError(f"{count} of {n} is no proportion")
    p, z2 = count / n, Z * Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    low = 0.0 if count == 0 else centre - half
    high = 1.0 if count == n else centre + half
    return low, high


def mcnemar(b: int, c: int) -> float:
    """Exact two-sided p that items which only one of two classifiers gets right (b: only the first,
    c: only the second) are as likely to be either's (McNemar, Psychometrika 12, 1947; binomial)."""
    n = b + c
    if min(b, c) < 0:
        raise ValueError("counts cannot be negative")
    if b == c:
        return 1.0
    term = total = 1
    for i in range(min(b, c)):
        term = term * (n - i) // (i + 1)
        total += term
    # The quotient of two integers is exact to the last bit, also where 2**n is no float.
    return float(min(1.0, 2 * total / 2**n))


def paired_difference(b: int, c: int, n: int) -> Interval:
    """Difference of two accuracies on the same n items, second minus first: (c - b)/n.

    b items only the first gets right, c only the second. Score interval of Tango (Statistics in
    Medicine 17, 1998): it is the McNemar statistic inverted and holds for small counts too.
    """
    if min(b, c) < 0 or n <= 0 or b + c > n:
        raise ValueError(f"b = {b}, c = {c} of n = {n}")
    difference = (c - b) / n

    def score(delta: float) -> float:
        """Standardised distance of the observed difference from `delta`; falls with delta."""
        linear = -(c + b) + (2 * n - c + b) * delta
        constant = -b * delta * (1 - delta)
        q = (math.sqrt(max(linear * linear - 8 * n * constant, 0.0)) - linear) / (4 * n)
        variance = n * (2 * q + delta * (1 - delta))
        distance = c - b - n * delta
        return 0.0 if distance == 0 else distance / math.sqrt(max(variance, 1e-300))

    def solve(target: float, low: float, high: float) -> float:
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if score(middle) > target else (low, middle)
        return (low + high) / 2

    return Interval(difference, solve(Z, -1.0, difference), solve(-Z, difference, 1.0))


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); no deviation of a single value."""
    if not values:
        raise ValueError("no values")
    array = np.asarray(values, float)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None
