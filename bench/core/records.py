"""The record: one JSON file that tells the outcome of one task. Its fields, and old versions of it.

A record is written once and never changed. Kinds and what their `task` and `result` hold:

`build` - one step of a chain was run.
    task: {kind, model, seed, step, params, parent: key|null, teacher: key|null}
    result: {artifact: digest, format, facts: {...}, checks: [{name, passed, detail}]}
`evaluate` - an artifact was scored on the whole test set through a target.
    task: {kind, model, seed, target, options, artifact: key}
    result: {n, errors, accuracy, confusion: [[int]], predictions: packed, correct: packed bits,
             runtime: {...}, labels_sha256}
`measure` - one round of one group of artifacts was timed.
    task: {kind, model, seed, target, options, protocol, round, entries: [{name, artifact: key}], machine}
    result: {machine: {identity}, state_before, state_after, order: [name], runtime,
             timer: {resolution_ns, overhead_ns},
             entries: {name: {load_ns, first_call_ns, error|null, scopes: {invoke: ScopeTimes, ...}}}}
    The second loading of the baseline (A/A twin) is the entry `baseline@twin`.
`energy` - no task: what a power meter saw while an evaluated cell ran (`bench energy --into`).
    task: {kind, sweep, cell, evaluate: key, trace: {file, sha256}}
    result: `targets.pynq.meters.energy.EnergyReport.to_json()`; inputs: those of the evaluate record
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from bench.errors import OtherVersion, StoreError

SCHEMA_VERSION = 1
Status = Literal["ok", "failed", "skipped", "timeout"]
STATUSES: tuple[Status, ...] = ("ok", "failed", "skipped", "timeout")
#: kinds of tasks, and with what else there are records of
TASKS = ("build", "evaluate", "measure")
KINDS = (*TASKS, "energy")
TWIN = "baseline@twin"

#: version found in a file -> function that lifts its JSON object by one version
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


def energy_key(evaluate: str) -> str:
    """Key of the energy record that belongs to an evaluate record."""
    return hashlib.sha256(f"energy {evaluate}".encode()).hexdigest()


@dataclass
class Record:
    """Outcome of one task.

    Attributes:
        inputs: digest of each input artifact by its build key, as it was when the task ran. A
            record whose inputs have changed since is stale.
        reason: why not ok (one line); None when ok.
        traceback: tail of the error's traceback, for `failed`.
        seconds: wall time of the task; peak_rss: bytes.
        environment: versions of the tools that mattered, and the code's fingerprint.
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


def pack(values: np.ndarray) -> dict[str, Any]:
    """A small integer or boolean array (n,) as JSON: zlib + base64, dtype and n beside it."""
    array = np.ascontiguousarray(values)
    raw = np.packbits(array).tobytes() if array.dtype == bool else array.tobytes()
    data = base64.b64encode(zlib.compress(raw, 9)).decode("ascii")
    return {"encoding": "zlib+base64", "dtype": str(array.dtype), "n": int(array.size), "data": data}


def unpack(packed: dict[str, Any]) -> np.ndarray:
    """The array that `pack` was given.

    Raises:
        StoreError: the data are not what the header says.
    """
    try:
        n = int(packed["n"])
        dtype = np.dtype(packed["dtype"])
        if dtype.kind not in "bui":
            raise ValueError(f"dtype {dtype}")
        limit = (n + 7) // 8 if dtype.kind == "b" else n * dtype.itemsize
        inflate = zlib.decompressobj()
        raw = inflate.decompress(base64.b64decode(packed["data"], validate=True), limit + 1)
        if len(raw) != limit:
            raise ValueError(f"{len(raw)} bytes instead of {limit}")
        if dtype.kind == "b":
            return np.unpackbits(np.frombuffer(raw, np.uint8), count=n).astype(bool)
        return np.frombuffer(raw, dtype)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise StoreError(f"packed array is damaged ({error})") from error
