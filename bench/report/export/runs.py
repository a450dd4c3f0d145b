"""The cells of a sweep as runs of an experiment tracker: parameters, metrics and tags of each."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bench.core.records import Record
from bench.report.frames.tidy import Row
from bench.report.records.fpga import MEASURED
from bench.report.records.read import Cell, SweepData

#: What trackers allow in names of metrics and parameters (MLflow, up to 250 characters); more than VALUE
#: characters of a parameter and TAG of a tag are refused by MLflow.
_ILLEGAL = re.compile(r"[^A-Za-z0-9_./-]+")
NAME, VALUE, TAG = 250, 6000, 5000


@dataclass(frozen=True)
class Run:
    """One cell.

    Attributes:
        label: `model/variant/target/seed0`, one run of a sweep for each.
        metrics: SI units, as in the tidy frame. Names are those of the frame, then scope, stage, and the
            origin of what was not measured (`cycles.kernel.simulated`); `.low` and `.high` bound the 95 %
            interval.
        status: of the cell: ok, failed, skipped, timeout.
        started, ended: seconds since 1970 of the first task and the last; None where nothing ran.
    """

    label: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    status: str
    started: float | None
    ended: float | None

    @property
    def digest(self) -> str:
        """Of all that a tracker is told: equal digests need no second export."""
        told = [self.label, self.params, self.metrics, self.tags, self.status, self.started, self.ended]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def runs(data: SweepData, numbers: Iterable[Row]) -> Iterator[Run]:
    """One run for each cell, in the order of the sweep.

    Args:
        numbers: all rows of the sweep, from `bench.report.frames.tidy.rows`.
    """
    found: dict[tuple[str, str, str, int], list[Row]] = {}
    for row in numbers:
        if row.seed is not None:
            found.setdefault((row.model, row.variant, row.target, row.seed), []).append(row)
    for cell in data.cells:
        place = (cell.model, cell.variant, cell.target, cell.seed)
        yield _run(data, cell, found.get(place, []))


def _run(data: SweepData, cell: Cell, numbers: list[Row]) -> Run:
    status, reason = _outcome(cell, numbers)
    tags = {"status": status, "reason": reason, "summary": str(cell.entry.get("summary") or "")}
    tags |= _keys(cell) | _tools(data, cell)
    metrics: dict[str, float] = {}
    for row in numbers:
        name = metric_name(row)
        if row.status == "ok" and row.value is not None:
            ends = ((name, row.value), (f"{name}.low", row.low), (f"{name}.high", row.high))
            metrics |= {key: value for key, value in ends if value is not None and math.isfinite(value)}
        else:
            tags[f"status.{name}"] = row.status
        if row.reason:
            tags[f"reason.{name}"] = row.reason
    started, ended = _times(_records(data, cell))
    label = f"{cell.model}/{cell.variant}/{cell.target}/seed{cell.seed}"
    params = {_legal(name): shortened(text, VALUE) for name, text in _params(cell)}
    told = {_legal(name): shortened(text, TAG) for name, text in tags.items() if text}
    return Run(label, params, metrics, told, status, started, ended)


def metric_name(row: Row) -> str:
    """Numbers of different scope, stage or origin have different names."""
    origin = row.origin if row.origin != MEASURED else ""
    return _legal(".".join(filter(None, (row.metric, row.scope, row.stage, origin))))


def _legal(name: str) -> str:
    """A name cut in the middle of nowhere could be another's: it ends in a digest then."""
    legal = _ILLEGAL.sub("_", name)
    if len(legal) <= NAME:
        return legal
    return f"{legal[: NAME - 13]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _outcome(cell: Cell, numbers: Iterable[Row]) -> tuple[str, str]:
    """Of the cell as a whole: it failed where any part of it did."""
    outcome = cell.evaluate_outcome
    if not outcome.ok:
        return outcome.status, outcome.reason
    bad = next((row for row in numbers if row.status in ("failed", "timeout")), None)
    return (bad.status, bad.reason) if bad is not None else ("ok", "")


def _params(cell: Cell) -> Iterator[tuple[str, str]]:
    yield from (("model", cell.model), ("variant", cell.variant), ("seed", str(cell.seed)))
    yield "target", str(cell.entry["target"])
    options = cell.entry.get("options")
    for name, value in (options if isinstance(options, dict) else {}).items():
        yield f"target.{name}", _text(value)
    for prefix, chain in (("", cell.builds), ("teacher.", cell.teacher)):
        steps: dict[str, int] = {}
        for record in chain:
            if record is None:
                continue
            step = str(record.task.get("step"))
            steps[step] = steps.get(step, 0) + 1
            name = prefix + (step if steps[step] == 1 else f"{step}_{steps[step]}")
            params = record.task.get("params")
            for key, value in (params if isinstance(params, dict) else {}).items():
                yield f"{name}.{key}", _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _records(data: SweepData, cell: Cell) -> list[Record]:
    own = [*cell.teacher, *cell.builds, cell.evaluate, cell.energy, *data.rounds.get(cell.measure_keys, [])]
    return [record for record in own if record is not None]


def _keys(cell: Cell) -> dict[str, str]:
    """Keys of the records, and the digest of the artifact."""
    found = {
        "key.teacher": [str(key) for key in cell.entry.get("teacher_keys") or ()],
        "key.build": [str(key) for key in cell.entry.get("build_keys") or ()],
        "key.evaluate": [str(cell.entry.get("evaluate_key") or "")],
        "key.measure": [str(key) for key in cell.measure_keys],
    }
    last = cell.builds[-1] if cell.builds else None
    artifact = last.build.artifact if last is not None and last.status == "ok" else None
    return {name: " ".join(keys) for name, keys in found.items()} | {"artifact": str(artifact or "")}


def _tools(data: SweepData, cell: Cell) -> dict[str, str]:
    """The machine that it was measured on, and the versions of what made and ran it."""
    found: dict[str, dict[str, None]] = {}
    for record in _records(data, cell):
        versions = record.environment.get("versions")
        for name, version in (versions if isinstance(versions, dict) else {}).items():
            found.setdefault(f"version.{name}", {})[str(version)] = None
        machine = record.task.get("machine")
        if machine:
            found.setdefault("machine", {})[str(machine)] = None
    return {name: ", ".join(values) for name, values in found.items()}


def _times(records: Iterable[Record]) -> tuple[float | None, float | None]:
    times = []
    for record in records:
        try:
            start = datetime.fromisoformat(record.started).timestamp()
        except (TypeError, ValueError):
            continue
        times.append((start, start + record.seconds))
    if not times:
        return None, None
    return min(start for start, _ in times), max(end for _, end in times)
