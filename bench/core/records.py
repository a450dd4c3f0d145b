"""The record: one JSON file that tells the outcome of one task. Its fields, and old versions of it.

A record is written once and never changed. Its `result` is described by `bench.core.results`, its `task` is:

`build` - one step of a chain was run: {kind, model, seed, step, params, parent: key|null, teacher: key|null}
`evaluate` - an artifact was scored on the whole test set through a target:
    {kind, model, seed, target, options, artifact: key}
`measure` - one round of one group of artifacts was timed:
    {kind, model, seed, target, options, protocol, round, entries: [{name, artifact: key}], machine}
`energy` - no task: what a power meter saw while an evaluated cell ran (`bench energy --into`):
    {kind, sweep, cell, evaluate: key, trace: {file, sha256}}; inputs: those of the evaluate record
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

from bench.core.results import (
    BuildResult,
    EnergyResult,
    EvaluateResult,
    Evaluation,
    Result,
    RoundResult,
    parsed,
)
from bench.errors import DamagedResult, OtherVersion, StoreError

SCHEMA_VERSION = 2
Status = Literal["ok", "failed", "skipped", "timeout"]
_R = TypeVar("_R", bound=Result)
STATUSES: tuple[Status, ...] = ("ok", "failed", "skipped", "timeout")
#: kinds of tasks, and with what else there are records of
TASKS = ("build", "evaluate", "measure")
KINDS = (*TASKS, "energy")
TWIN = "baseline@twin"


def _name_data(value: dict[str, Any]) -> dict[str, Any]:
    """Version 1 told in one text where the data came from and, by its first word, whether they are real."""
    environment = value.get("environment")
    if isinstance(environment, dict) and isinstance(source := environment.get("data"), str):
        data = {"source": source, "real": not source.startswith("generated")}
        value = {**value, "environment": {**environment, "data": data}}
    return {**value, "schema_version": 2}


#: version found in a file -> function that lifts its JSON object by one version
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _name_data}


def energy_key(evaluate: str) -> str:
    """Key of the energy record that belongs to an evaluate record."""
    return hashlib.sha256(f"energy {evaluate}".encode()).hexdigest()


@dataclass
class Record:
    """Outcome of one task.

    Attributes:
        inputs: digest of each input artifact by its build key, as it was when the task ran. A
            record whose inputs have changed since is stale.
        result: as it is in the file; code reads `build`, `evaluation`, `score`, `round` or `energy`.
        reason: why not ok (one line); None when ok.
        traceback: tail of the error's traceback, for `failed`.
        seconds: wall time of the task; peak_rss: bytes.
        environment: versions of the tools that mattered; data: {source, real}, where some were read.
    """

    kind: str
    key: str
    status: Status
    task: dict[str, Any]
    result: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str | None] = field(default_factory=dict)
    reason: str | None = None
    traceback: str | None = None
    started: str = ""
    seconds: float = 0.0
    peak_rss: int | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @cached_property
    def parsed(self) -> Result:
        """Raises DamagedResult where a field of the result is missing or is not what it should be."""
        return parsed(self.kind, self.result, complete=self.status == "ok")

    @property
    def damage(self) -> str:
        """What is wrong with the result of an `ok` record; empty where nothing is."""
        try:
            return "" if self.status != "ok" or self.parsed is not None else "no result"
        except DamagedResult as error:
            return error.what

    @property
    def build(self) -> BuildResult:
        return self._parsed_as(BuildResult)

    @property
    def evaluation(self) -> Evaluation:
        """What is known of an evaluation, failed ones included."""
        return self._parsed_as(Evaluation)

    @property
    def score(self) -> EvaluateResult:
        return self._parsed_as(EvaluateResult)

    @property
    def round(self) -> RoundResult:
        return self._parsed_as(RoundResult)

    @property
    def energy(self) -> EnergyResult:
        return self._parsed_as(EnergyResult)

    def _parsed_as(self, kind: type[_R]) -> _R:
        result = self.parsed
        if not isinstance(result, kind):
            raise TypeError(f"a {self.status} {self.kind} record has no {kind.__name__}")
        return result

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: object, where: str) -> Record:
        """Read a decoded JSON object of any known version.

        Raises:
            OtherVersion: from a newer version of the program, or one too old.
            StoreError: it is not a record.
        """
        if not isinstance(value, dict):
            raise StoreError("not a record (a JSON object was expected)", where=where)
        version = value.get("schema_version")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise StoreError("not a record (no schema_version)", where=where)
        if version > SCHEMA_VERSION:
            raise OtherVersion(
                f"written by a newer version (schema {version}, this program knows {SCHEMA_VERSION})",
                where=where,
                mend="Update this program, or use another results folder.",
            )
        while version < SCHEMA_VERSION:
            if version not in UPGRADES:
                raise OtherVersion(
                    f"written by a version too old to be read (schema {version})",
                    where=where,
                    mend="Use another results folder, or the program that wrote it.",
                )
            value = UPGRADES[version](value)
            version += 1
        known = cls.__dataclass_fields__
        missing = [name for name in ("kind", "key", "status", "task") if name not in value]
        if missing or value.get("status") not in STATUSES or value.get("kind") not in KINDS:
            raise StoreError(f"not a record (missing or wrong: {missing or 'kind/status'})", where=where)
        for name, kind in _TYPES.items():
            if name in value and not isinstance(value[name], kind):
                raise StoreError(f"field {name!r} is not a {kind.__name__}", where=where)
        return cls(**{name: item for name, item in value.items() if name in known})


_TYPES = {"task": dict, "result": dict, "inputs": dict, "environment": dict, "key": str}
