"""Which machines were measured on, and what tells them apart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.notes.lineage import value
from bench.report.records.read import SweepData

NOT_TOLD = "not told"


def machines(data: SweepData) -> list[dict[str, str]]:
    """Identity of each machine that was measured on, as name -> text.

    Two with one `id` are one machine: what else they tell, such as the last few kB of memory, changes from
    boot to boot.
    """
    found: dict[str, dict[str, str]] = {}
    for record in data.measured():
        identity = record.round.machine if record.status == "ok" else {}
        if identity:
            key = str(identity.get("id") or json.dumps(identity, sort_keys=True))
            found.setdefault(key, {k: value(v) for k, v in identity.items()})
    return list(found.values())


def differing(items: Sequence[Mapping[str, Any]], between: str = " / ") -> str:
    """`cpu A / B, cores 2 / 4`: the fields in which mappings differ, with what each says. Of lists only
    what not all of them have. Empty where they are equal; `id` says nothing."""
    told = []
    for name in dict.fromkeys(name for item in items for name in item):
        values = [item.get(name) for item in items]
        if name != "id" and any(one != values[0] for one in values):
            told.append(f"{name} {between.join(_shown(values))}")
    return ", ".join(told)


def _shown(values: Sequence[Any]) -> list[str]:
    """Each value once, in their order; lists without what they share."""
    lists = [_as_list(one) for one in values]
    if all(one is not None for one in lists):
        common = set.intersection(*({str(x) for x in one} for one in lists if one is not None))
        values = [" ".join(str(x) for x in one or () if str(x) not in common) or "none" for one in lists]
    return list(dict.fromkeys(NOT_TOLD if one is None else str(one) for one in values))


def _as_list(item: Any) -> list[Any] | None:
    if isinstance(item, str) and item.startswith("["):
        try:
            item = json.loads(item)
        except ValueError:
            return None
    return item if isinstance(item, list) else None
