"""What a metric is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        unit: SI unit in the frame (`s`, `bytes`, `1`).
        better: which direction is better; None where neither is.
        summary: how rows aggregated over seeds are made.
    """

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower"] | None
    definition: str
    summary: str = "mean over seeds, t interval between seeds"
