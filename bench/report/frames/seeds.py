"""Intervals over seeds, for the report. No interval is invented where one number stands alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Interval = tuple[float, float]
NONE: Interval = (math.nan, math.nan)

# 97.5 % quantile of Student's t for 1..30 degrees of freedom.
_T95 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip
_Z95 = 1.959964


def t95(df: float) -> float:
    """97.5 % quantile of Student's t. Degrees of freedom are rounded down (wider interval).

    Above 30 by the Cornish-Fisher expansion (Abramowitz and Stegun 26.7.5).
    """
    if df < 1:
        return math.nan
    if df < 31:
        return _T95[int(df) - 1]
    z = _Z95
    return z + (z**3 + z) / (4 * df) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)


def mean_interval(values: Sequence[float]) -> tuple[float, Interval]:
    """Mean and its 95 % t interval; no interval from fewer than two values."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, NONE
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    half = t95(len(values) - 1) * sd / math.sqrt(len(values))
    return mean, (mean - half, mean + half)


def paired_interval(differences: np.ndarray) -> tuple[float, Interval]:
    """Mean difference of two classifiers over seeds and items, with a 95 % interval.

    Both seeds and items are samples, crossed: the variance is that of the seeds' means over the
    number of seeds plus that of the items' means over the number of items (Owen 2007, an upper
    bound), degrees of freedom after Satterthwaite.

    Args:
        differences: (seeds, items), correct(variant) - correct(baseline), in {-1, 0, 1}.
    """
    seeds, items = differences.shape
    mean = float(differences.mean())
    if items < 2:
        return mean, NONE
    by_item = float(differences.mean(axis=0).var(ddof=1)) / items
    by_seed = float(differences.mean(axis=1).var(ddof=1)) / seeds if seeds > 1 else 0.0
    variance = by_item + by_seed
    if variance == 0:
        # No item ever told them apart: exact binomial bound for none of n, not a width of zero.
        half = 1 - 0.025 ** (1 / items)
        return mean, (mean - half, mean + half)
    df = variance**2 / (by_item**2 / (items - 1) + (by_seed**2 / (seeds - 1) if seeds > 1 else 0.0))
    half = t95(df) * math.sqrt(variance)
    return mean, (mean - half, mean + half)
