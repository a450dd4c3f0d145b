"""A finished (or half finished) sweep out of the results folder: manifest, and the records of each cell."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.core.records import Record, energy_key
from bench.errors import StoreError
from bench.report.metrics import NO_SUCH_NUMBER, NOT_APPLICABLE, NOT_RUN, NOT_YET
from bench.store.store import Store

BASELINE = "baseline"
#: how a latency's step is called where it gave none
MEASURE = "measure"
#: Timed rounds of each measured group, by the group's keys.
Rounds = dict[tuple[str, ...], list[Record]]


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection meanwhile: among very many new objects that all stay it finds nothing,
    again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextmanager
def frozen() -> Iterator[None]:
    """Meanwhile garbage collection passes over what is there already."""
    # Somebody else's frozen objects stay so.
    mine = gc.get_freeze_count() == 0
    if mine:
        gc.freeze()
    try:
        yield
    finally:
        if mine:
            gc.unfreeze()


@dataclass(frozen=True)
class Outcome:
    """Whether one part of a cell (build, evaluate, measure) is there, else why not.

    Attributes:
        missing: `not_applicable` or `not_run`, else empty.
        step: the step that gave nothing, where one did not.
    """

    status: str
    reason: str
    missing: str = ""
    step: str = ""

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @classmethod
    def not_applicable(cls, why: str) -> Outcome:
        """There can be no such number."""
        return cls("skipped", NOT_APPLICABLE + why, NO_SUCH_NUMBER)


OK = Outcome("ok", "")
PENDING = Outcome("skipped", NOT_RUN, NOT_YET)


def outcome_of(step: str, record: Record) -> Outcome:
    """Of a record that is not ok: `step: what is wrong. How to mend it.`, whose two lines become one."""
    what, _, mend = (record.reason or record.status).rpartition("\n  ")
    stop = "" if what.endswith((".", ":", "!", "?")) else "."
    return Outcome(record.status, f"{step}: {what}{stop} {mend}" if what else f"{step}: {mend}", step=step)


@dataclass(eq=False)
class Cell:
    """One cell of the manifest with its records; None where a record is not (yet) there."""

    entry: dict[str, Any]
    builds: list[Record | None] = field(default_factory=list)
    teacher: list[Record | None] = field(default_factory=list)
    evaluate: Record | None = None
    energy: Record | None = None

    @property
    def model(self) -> str:
        return str(self.entry["model"])

    @property
    def variant(self) -> str:
        return str(self.entry["variant"])

    @property
    def target(self) -> str:
        return str(self.entry.get("target_label") or self.entry["target"])

    @property
    def seed(self) -> int:
        return int(self.entry["seed"])

    @property
    def measure_keys(self) -> tuple[str, ...]:
        return tuple(self.entry.get("measure_keys") or ())

    @property
    def facts(self) -> dict[str, Any]:
        """Facts of the artifact; empty where it was not built."""
        last = self.builds[-1] if self.builds else None
        return last.build.facts if last is not None and last.status == "ok" else {}

    @cached_property
    def chain_facts(self) -> list[dict[str, Any]]:
        """Facts of each step of the chain that went well, in their order."""
        return [r.build.facts for r in self.builds if r is not None and r.status == "ok"]

    @cached_property
    def build_outcome(self) -> Outcome:
        reason = self.entry.get("not_applicable")
        if reason:
            return Outcome.not_applicable(str(reason))
        for record in (*self.teacher, *self.builds):
            if record is None:
                # A cell that was never meant to be built says so; otherwise its turn has not come.
                skipped = self.entry.get("skipped")
                return Outcome("skipped", str(skipped)) if skipped else PENDING
            if record.status != "ok":
                return outcome_of(str(record.task.get("step", "build")), record)
        return OK

    @cached_property
    def evaluate_outcome(self) -> Outcome:
        if not self.build_outcome.ok:
            return self.build_outcome
        if self.entry.get("skipped"):
            return Outcome("skipped", str(self.entry["skipped"]))
        if "evaluate_key" in self.entry and self.entry["evaluate_key"] is None:
            return Outcome.not_applicable("it was built, and nothing here runs it")
        if self.evaluate is None:
            return PENDING
        if self.evaluate.status != "ok":
            return outcome_of("evaluate", self.evaluate)
        return OK


@dataclass(eq=False)
class SweepData:
    """One sweep with all its records. Cells are in the order of the sweep file."""

    name: str
    manifest: dict[str, Any]
    cells: list[Cell]
    rounds: Rounds

    @property
    def title(self) -> str:
        return str(self.manifest.get("title") or self.name)

    @property
    def protocol(self) -> dict[str, Any]:
        """Fields of the protocol of its measurements; empty where the manifest does not tell."""
        found = self.manifest.get("protocol")
        return found if isinstance(found, dict) else {}

    def by_model(self) -> dict[str, list[Cell]]:
        models: dict[str, list[Cell]] = {}
        for cell in self.cells:
            models.setdefault(cell.model, []).append(cell)
        return models

    def measured(self) -> Iterator[Record]:
        for records in self.rounds.values():
            yield from records


def sweep_names(results: Path | str) -> list[str]:
    """Sweeps that have a manifest in the results folder."""
    return Store(Path(results)).sweeps() if Path(results).is_dir() else []


RUN_AGAIN = "Run the sweep again: what is on record is not done again."


#: fields of a cell that may be missing or null -> their types
_OPTIONAL: dict[str, type] = {
    **dict.fromkeys(("target_label", "format", "summary", "skipped", "not_applicable", "evaluate_key"), str),
    **dict.fromkeys(("build_keys", "teacher_keys", "measure_keys"), list),
    "options": dict,
}


def read_checked(store: Store, kind: str, key: str) -> Record | None:
    """A record whose result reports can rely on; None where there is none.

    Damaged ones, and those that cannot be read (a newer program wrote them, no access), come as
    `failed`, with the reason.
    """
    try:
        record = store.read(kind, key)
    except StoreError as error:
        return Record(kind, str(key), "failed", {}, reason=f"its record cannot be read: {error.what}")
    if record is not None and record.damage:
        return Record(
            kind, record.key, "failed", record.task, reason=f"its record is damaged: {record.damage}"
        )
    return record


def _is_cell(entry: object) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("seed"), int):
        return False
    if not all(isinstance(entry.get(name), str) for name in ("model", "variant", "target")):
        return False
    given = {name: entry[name] for name in _OPTIONAL if entry.get(name) is not None}
    if not all(isinstance(value, _OPTIONAL[name]) for name, value in given.items()):
        return False
    return all(isinstance(key, str) for value in given.values() if isinstance(value, list) for key in value)


def read_sweep(results: Path | str, name: str) -> SweepData:
    """Read one sweep.

    Raises:
        StoreError: there is no such sweep, or its manifest cannot be read.
    """
    store = Store(Path(results))
    manifest = store.read_manifest(name)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("cells"), list):
        raise StoreError(
            f"no sweep {name!r}", where=str(results), mend=f"There are: {', '.join(store.sweeps())}."
        )
    cache: dict[tuple[str, str], Record | None] = {}

    def read(kind: str, key: str) -> Record | None:
        if (kind, key) not in cache:
            cache[kind, key] = read_checked(store, kind, key)
        return cache[kind, key]

    cells = []
    rounds: Rounds = {}
    metered = store.keys("energy")
    for entry in manifest["cells"]:
        if not _is_cell(entry):
            raise StoreError("a cell of its manifest is damaged", where=f"{results}: {name}", mend=RUN_AGAIN)
        cell = Cell(entry)
        cell.builds = [read("build", key) for key in entry.get("build_keys") or ()]
        cell.teacher = [read("build", key) for key in entry.get("teacher_keys") or ()]
        if entry.get("evaluate_key"):
            cell.evaluate = read("evaluate", entry["evaluate_key"])
            key = energy_key(entry["evaluate_key"])
            energy = read("energy", key) if key in metered else None
            # A trace of an artifact that has been made anew since is not of this one.
            if energy is not None and cell.evaluate is not None and energy.inputs == cell.evaluate.inputs:
                cell.energy = energy
        if cell.measure_keys and cell.measure_keys not in rounds:
            found = [read("measure", key) for key in cell.measure_keys]
            rounds[cell.measure_keys] = [record for record in found if record is not None]
        cells.append(cell)
    return SweepData(name, manifest, cells, rounds)
