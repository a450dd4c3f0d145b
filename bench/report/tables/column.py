"""What a column of the comparison table is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        priority: lower is kept longer where there is little room.
        definition: what the number is, with scope and origin.
        unit: shown unit.
    """

    key: str
    group: str
    title: str
    unit: str
    definition: str
    priority: int
