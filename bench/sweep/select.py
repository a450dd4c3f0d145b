"""Choosing cells by their labels: `bench run digits --only 'pruned*'`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from bench.core.cells import CellSpec
from bench.errors import ConfigError, did_you_mean
from bench.sweep.document import Given
from bench.sweep.problems import Problems


def matcher(pattern: str) -> re.Pattern[str]:
    """`*` and `?` are wild, everything else is meant literally (names have brackets)."""
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(char, re.escape(char)) for char in pattern))


def matches(cell: CellSpec, pattern: str) -> bool:
    """Whether a pattern names the cell: its whole label `model/variant/target/seed0`, the beginning
    of it, or (a pattern without `/`) any one part of it."""
    wanted = matcher(pattern)
    parts = cell.label.split("/")
    if "/" not in pattern:
        return any(wanted.fullmatch(part) for part in parts)
    return any(wanted.fullmatch("/".join(parts[:n])) for n in range(2, len(parts) + 1))


def choose(cells: tuple[CellSpec, ...], patterns: Sequence[str]) -> tuple[CellSpec, ...]:
    """Cells that any pattern names; all without patterns.

    Raises:
        ConfigError: a pattern names nothing.
    """
    if not patterns:
        return cells
    for pattern in patterns:
        if not any(matches(cell, pattern) for cell in cells):
            parts = {part for cell in cells for part in cell.label.split("/")}
            raise ConfigError(
                f"--only {pattern!r} names no cell of the sweep",
                mend=did_you_mean(pattern.split("/")[-1], parts),
            )
    return tuple(cell for cell in cells if any(matches(cell, pattern) for pattern in patterns))


def leave_out(
    cells: tuple[CellSpec, ...], patterns: Sequence[Given], seeds: Sequence[int], problems: Problems
) -> tuple[CellSpec, ...]:
    """The cells without those that the sweep file's `leave_out` names.

    Where other seeds stay, those named are gone; where a whole row of a target goes, its cells say why.

    Args:
        seeds: of the file; the cells may be of others, or of fewer.
    """
    for pattern in patterns:
        if not any(matches(replace(cell, seed=seed), pattern.value) for cell in cells for seed in seeds):
            problems.add(pattern.path, f"{pattern.value!r} names no cell of the sweep")
    if not patterns:
        return cells
    out = {cell.label for cell in cells if any(matches(cell, pattern.value) for pattern in patterns)}
    stay = {(c.model, c.variant, c.target_label) for c in cells if c.label not in out}
    reason = "left out by the sweep file"
    return tuple(
        cell if cell.label not in out else replace(cell, chain=None, not_applicable=reason)
        for cell in cells
        if cell.label not in out or (cell.model, cell.variant, cell.target_label) not in stay
    )


def with_baselines(
    cells: tuple[CellSpec, ...], chosen: tuple[CellSpec, ...], baseline: str
) -> tuple[CellSpec, ...]:
    """The chosen cells, and the baselines that they are compared with, in the sweep's order."""
    if len(chosen) == len(cells):
        return cells
    labels = {cell.label for cell in chosen}
    groups = {(cell.model, cell.target_label, cell.seed) for cell in chosen}
    return tuple(
        cell
        for cell in cells
        if cell.label in labels
        or (cell.variant == baseline and (cell.model, cell.target_label, cell.seed) in groups)
    )
