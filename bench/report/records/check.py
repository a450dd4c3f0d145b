"""Whether a record holds what reports read from it. One that does not counts as a failed task with that
reason: a damaged file stops no report."""

from __future__ import annotations

import math
from typing import Any

from bench.core.records import Record, unpack
from bench.errors import StoreError
from bench.report.metrics import SIZE_FACTS
from bench.store.store import Store
from bench.timing.verdicts import disturbances_of

#: |first bin| and number of bins of a histogram of durations; 0.5 % wide bins reach 10^21 ns with 10,000.
_BINS = 10_000
_ITEMS = 10**9


def read_checked(store: Store, kind: str, key: str) -> Record | None:
    """A record whose fields reports can rely on; None where there is none.

    Unreadable ones (a newer program wrote them, no access, fields that are not what they should be) come
    as `failed`, with the reason.
    """
    try:
        record = store.read(kind, key)
    except StoreError as error:
        return Record(kind, str(key), "failed", {}, reason=f"its record cannot be read: {error.what}")
    if record is None or record.status != "ok":
        return record
    found = damage(record)
    if found:
        return Record(kind, record.key, "failed", record.task, reason=f"its record is damaged: {found}")
    return record


def damage(record: Record) -> str:
    """What is wrong with an `ok` record; empty where nothing is."""
    try:
        if record.kind in _CHECKS:
            _CHECKS[record.kind](record.result)
    except _Damage as found:
        return str(found)
    return ""


class _Damage(ValueError):
    pass


def _need(holds: bool, what: str) -> None:
    if not holds:
        raise _Damage(what)


def _number(value: Any, least: float = -math.inf) -> bool:
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return known and math.isfinite(value) and value >= least


def _whole(value: Any, least: int, most: int = _ITEMS) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _packed(value: Any, most: int) -> bool:
    return isinstance(value, dict) and _whole(value.get("n"), 0, most) and isinstance(value.get("data"), str)


def _evaluate(result: dict[str, Any]) -> None:
    n = result.get("n")
    _need(_whole(n, 1) and _whole(result.get("errors"), 0, n or 0), "n and errors")
    for name in ("predictions", "correct"):
        packed = result.get(name)
        _need(packed is None or (_packed(packed, _ITEMS) and packed["n"] == n), name)
    table = result.get("confusion")
    if table is not None:
        square = isinstance(table, list) and all(isinstance(r, list) and len(r) == len(table) for r in table)
        _need(square and all(_whole(x, 0) for row in table for x in row), "confusion")


def _measure(result: dict[str, Any]) -> None:
    entries = result.get("entries")
    _need(isinstance(entries, dict) and isinstance(result.get("reference"), str), "entries and reference")
    for name, entry in (entries or {}).items():
        _need(isinstance(entry, dict), f"entry {name}")
        error, scopes = entry.get("error"), entry.get("scopes")
        _need(error is None or isinstance(error, str), f"error of {name}")
        if error:
            continue
        _need(isinstance(scopes, dict), f"scopes of {name}")
        for field in ("load_ns", "first_call_ns"):
            _need(entry.get(field) is None or _number(entry[field], 0), f"{field} of {name}")
        for scope, times in scopes.items():
            _need(_times(times), f"times of {name}, {scope}")
    try:
        disturbances_of([result])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, ZeroDivisionError):
        _need(False, "state_before and state_after")


def _times(times: Any) -> bool:
    if not isinstance(times, dict) or not (_whole(times.get("n"), 1) and _whole(times.get("block"), 1)):
        return False
    histogram, sd, drift = times.get("histogram"), times.get("sd_ns"), times.get("drift")
    return (
        all(_number(times.get(name), 0) for name in ("median_ns", "mean_ns", "min_ns", "max_ns"))
        and (sd is None or _number(sd, 0))
        and (drift is None or _number(drift))
        and _number(times.get("total_seconds"), 1e-12)
        and isinstance(histogram, dict)
        and _whole(histogram.get("first"), -_BINS, _BINS)
        and _number(histogram.get("ratio"), 1 + 1e-6)
        and _packed(histogram.get("counts"), _BINS)
        and _counts(histogram["counts"])
    )


def _counts(packed: dict[str, Any]) -> bool:
    try:
        return int(unpack(packed).sum()) > 0
    except StoreError:
        return False


def _build(result: dict[str, Any]) -> None:
    facts = result.get("facts")
    _need(facts is None or isinstance(facts, dict), "facts")
    for name in SIZE_FACTS:
        value = (facts or {}).get(name)
        _need(value is None or _number(value, 0), name)
    layers = (facts or {}).get("layers")
    _need(layers is None or isinstance(layers, list), "layers")
    checks = result.get("checks")
    _need(
        checks is None or (isinstance(checks, list) and all(isinstance(check, dict) for check in checks)),
        "checks",
    )


#: What boards and meters tell is read field by field (`bench.report.records.board`), and checked there.
_CHECKS = {"evaluate": _evaluate, "measure": _measure, "build": _build}
