"""Cells of one name in two runs that were not made alike: other steps, parameters, code or data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.core.records import Record
from bench.report.notes import lineage
from bench.report.records.read import Cell

Place = tuple[str, str, str, int]
OTHER_CODE = "same steps and parameters, other code or data"


def made_otherwise(old: Mapping[Place, Cell], new: Mapping[Place, Cell]) -> str:
    """What was made otherwise: `pruned (prune: sparsity 0.75 → 0.8); fiq, qat (same steps …)`.

    Args:
        old, new: cells by model, variant, target and seed.

    Returns:
        "" if all cells that both runs have were made alike, as far as their records tell.
    """
    found: dict[str, dict[str, None]] = {}
    models = {place[0] for place in old.keys() & new.keys()}
    for place, before in old.items():
        after = new.get(place)
        if after is None or None in before.builds or None in after.builds:
            continue
        keys = [[record.key for record in cell.builds if record] for cell in (before, after)]
        if keys[0] != keys[1]:
            name = place[1] if len(models) == 1 else f"{place[0]}/{place[1]}"
            found.setdefault(_how(before, after), {})[name] = None
    return "; ".join(f"{', '.join(names)} ({how})" for how, names in found.items())


def _how(before: Cell, after: Cell) -> str:
    for chains in ((before.builds, after.builds), (before.teacher, after.teacher)):
        steps = [[_step(record) for record in records] for records in chains]
        if steps[0] != steps[1]:
            return " → ".join(" > ".join(chain) or "no teacher" for chain in steps)
    told = []
    for one, two in zip((*before.teacher, *before.builds), (*after.teacher, *after.builds), strict=True):
        change = _changed(_params(one), _params(two))
        if change:
            told.append(f"{_step(one)}: {change}")
    return "; ".join(dict.fromkeys(told)) or OTHER_CODE


def _step(record: Record | None) -> str:
    return str(record.task.get("step")) if record else "?"


def _params(record: Record | None) -> dict[str, Any]:
    params = record.task.get("params") if record else None
    return params if isinstance(params, dict) else {}


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(f"{n} {lineage.value(old.get(n))} → {lineage.value(new.get(n))}" for n in names)
