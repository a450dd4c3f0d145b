"""`job.json`, the description of a job, field by field.

Nothing that is not known here is allowed in it: the job's id covers it, and the agent acts on it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from bench.errors import ArtifactError
from targets.pynq.exchange.archive import DTYPES
from targets.pynq.printable import one_line

SCHEMA = 1
MAX_JSON = 32 << 20
MAX_ITEMS = 1000

#: As in `targets.pynq.agent.job`. Of an item: `model/variant/seed0`.
ID = r"^[A-Za-z0-9][A-Za-z0-9_.,=+@-]*(/[A-Za-z0-9_.,=+@-]+){0,8}$"
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}$"

Sha = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ItemId = Annotated[str, StringConstraints(pattern=ID, max_length=200)]
Name = Annotated[str, StringConstraints(pattern=NAME)]
FileName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,4}$")
]
Word = Annotated[str, StringConstraints(max_length=200)]
DataFile = Annotated[str, StringConstraints(pattern=r"^data/[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}\.npy$")]
WireType = Literal["float32", "int8", "int16", "int32"]
Count = Annotated[int, Field(ge=0, le=1 << 40)]
Positive = Annotated[float, Field(gt=0)]


class Part(BaseModel):
    """A part of the file: strict types, nothing unknown, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Protocol(Part):
    """How latency is measured; times in seconds."""

    preset: Literal["full", "quick", "mlperf"]
    warmup_calls: Count
    calls: Annotated[int, Field(ge=1, le=10_000_000)]
    batches: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1 << 24)], ...], Field(strict=False, max_length=64)
    ]
    windows: Annotated[int, Field(ge=1, le=1000)] = 5
    window_seconds: Annotated[float, Field(gt=0, lt=3600)] = 10.0
    timeout_seconds: Annotated[float, Field(gt=0, lt=3600)] = 5.0


class Interface(Part):
    """How the kernel is reached, and what travels."""

    style: Literal["axis_dma", "m_axi"]
    dma: Word | None = None
    kernel: Word | None = None
    inputs: Annotated[int, Field(ge=1, le=1 << 26)]
    outputs: Annotated[int, Field(ge=1, le=1 << 26)]
    input_dtype: WireType
    output_dtype: WireType
    input_type: Word | None = None
    output_type: Word | None = None


class Cycles(Part):
    """Of one inference."""

    latency: Count
    interval: Count
    source: Literal["csynth", "cosim", "rtl"]


class Sanity(Part):
    """What the reports of the build say."""

    clock_estimate_ns: float | None = None
    clock_target_ns: float | None = None
    wns_ns: float | None = None
    part: Word | None = None


class Item(Part):
    """One thing to measure. `files`: sha256 by name. `data`, `expected`: names in the job's `data`."""

    id: ItemId
    kind: Literal["overlay", "tflite"]
    files: dict[FileName, Sha]
    data: Name
    interface: Interface | None = None
    expected: Name | None = None
    clock_mhz: Positive | None = None
    cycles: Cycles | None = None
    sanity: Sanity = Sanity()
    exact: bool = True

    @model_validator(mode="after")
    def _complete(self) -> Item:
        wanted = {"overlay": {"overlay.bit", "overlay.hwh"}, "tflite": {"model.tflite"}}[self.kind]
        if missing := sorted(wanted - set(self.files)):
            raise ValueError(f"{self.id}: {', '.join(missing)} is missing")
        if self.kind == "overlay" and (self.interface is None or self.clock_mhz is None):
            raise ValueError(f"{self.id}: an overlay needs interface and clock_mhz")
        if ".." in self.id or any(".." in name for name in self.files):
            raise ValueError(f"{self.id}: '..' in a name")
        return self


class Data(Part):
    """An array of the job."""

    file: DataFile
    sha256: Sha
    dtype: Word
    shape: Annotated[tuple[Count, ...], Field(strict=False, max_length=4)]

    @model_validator(mode="after")
    def _known(self) -> Data:
        if self.dtype not in DTYPES.values():
            raise ValueError(f"{self.file}: dtype {self.dtype}")
        return self


class Job(Part):
    """The whole file. `job` is its id: sha256 of the canonical JSON of everything else."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    job: Sha
    created: Word
    board: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    emulated: bool
    protocol: Protocol
    items: Annotated[tuple[Item, ...], Field(strict=False, min_length=1, max_length=MAX_ITEMS)]
    data: dict[Name, Data]
    labels: dict[Name, DataFile] = {}

    @model_validator(mode="after")
    def _hangs_together(self) -> Job:
        ids = [item.id for item in self.items]
        if len(set(ids)) != len(ids):
            raise ValueError("two items have one id")
        wanted = {name for item in self.items for name in (item.data, item.expected) if name is not None}
        if missing := sorted((wanted | set(self.labels)) - set(self.data)):
            raise ValueError(f"no data {', '.join(missing)}")
        if len({entry.file for entry in self.data.values()}) != len(self.data):
            raise ValueError("two data have one file")
        return self

    def item(self, name: str) -> Item | None:
        return next((item for item in self.items if item.id == name), None)


def canonical(value: Any) -> bytes:
    """The same bytes for the same JSON, here and on the board."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def id_of(value: dict[str, Any]) -> str:
    """Id of a job from everything else in its file."""
    return hashlib.sha256(canonical({key: item for key, item in value.items() if key != "job"})).hexdigest()


def parse_job(data: bytes, where: str) -> Job:
    """Check the text of `job.json`.

    Raises:
        ArtifactError: not such a file, of another version, changed since, or a field is wrong.
    """
    try:
        value = json.loads(data)
        found = Job.model_validate_json(data)
        if id_of(value) != found.job:
            raise ValueError("it was changed after it was written (its id is another)")
    except ValidationError as error:
        raise ArtifactError(
            first_of(error), where=where, mend="Make the job again: bench board pack."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"not a job ({one_line(str(error), 200)})",
            where=where,
            mend="Make the job again: bench board pack.",
        ) from error
    return found


def first_of(error: ValidationError) -> str:
    """The first complaint: which field, and what."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    place = ".".join(str(part) for part in found[0]["loc"])
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return one_line(f"{place + ': ' if place else ''}{found[0]['msg']}{more}")
