"""A table that is too wide, as several below each other."""

from __future__ import annotations

from collections.abc import Callable

from bench.report.tables.comparison import MAIN, Table
from bench.report.tables.fpga import is_hardware


def blocks(table: Table, fits: Callable[[Table], bool], most: int, *, fill: bool = False) -> list[Table]:
    """At most `most` tables that fit: the most important columns, then the main ones that are left.

    Those of hardware, which have a table of their own, are only in the first. A column that does not
    even fit alone makes a table all the same.

    Args:
        fill: put less important columns where a more important one has no room.
    """
    found: list[Table] = []
    left = table
    while left.columns and len(found) < most:
        block = _widest(left, fits, fill)
        found.append(block)
        taken = {column.key for column in block.columns}
        left = left.narrowed(
            lambda column, taken=taken: (  # type: ignore[misc]
                column.key not in taken and column.priority <= MAIN and not is_hardware(column)
            )
        )
    return found or [table]


def _widest(table: Table, fits: Callable[[Table], bool], fill: bool) -> Table:
    """Columns that fit together, the most important first, in the order of the table."""
    if fits(table):
        return table
    taken: set[str] = set()
    block = table
    for column in sorted(table.columns, key=lambda column: column.priority):
        wanted = taken | {column.key}
        tried = table.narrowed(lambda one, wanted=wanted: one.key in wanted)  # type: ignore[misc]
        if not taken or fits(tried):
            taken, block = wanted, tried
        elif not fill:
            break
    return block
