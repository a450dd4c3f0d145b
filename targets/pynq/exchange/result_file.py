"""`result.json`, what a board says of a job, field by field.

Fields that are not known here are left out (a newer agent may say more); those that are known must be of
their type. Texts are made printable. Times in seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)

from bench.errors import ArtifactError
from targets.pynq.exchange.job_file import Count, ItemId, Sha, first_of
from targets.pynq.printable import one_line, printable

SAMPLE = r"^samples/[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}\.npy$"

Text = Annotated[str, StringConstraints(max_length=100_000), AfterValidator(printable)]
Short = Annotated[str, StringConstraints(max_length=1000), AfterValidator(one_line)]
Sample = Annotated[str, StringConstraints(pattern=SAMPLE)]
Seconds = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    """A part of the file: strict types, more is left out, no NaN."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


class Agent(Part):
    """What ran on the board."""

    version: Short
    sha256: Sha
    python: Short
    numpy: Short | None = None
    pynq: Short | None = None
    os: Short | None = None
    kernel: Short | None = None
    machine: Short | None = None


class Board(Part):
    """Where it ran. `says`: what the board itself names its kind."""

    name: Short
    emulated: bool
    part: Short | None = None
    sensors: tuple[Short, ...] = Field((), strict=False, max_length=1000)
    says: Short | None = None


class Phase(Part):
    """Times of one phase, a call each; `samples` holds them all."""

    n: Annotated[int, Field(ge=1, le=100_000_000)]
    p50: Seconds
    p95: Seconds
    p99: Seconds
    min: Seconds
    unit: Literal["s"]
    samples: Sample | None = None


class Throughput(Part):
    """End-to-end seconds of whole batches; `execute_seconds`: of the execute phase."""

    batch: Annotated[int, Field(ge=1)]
    seconds: tuple[Seconds, ...] = Field(strict=False, max_length=1_000_000)
    execute_seconds: tuple[Seconds, ...] = Field((), strict=False, max_length=1_000_000)


class Fit(Part):
    """t = a + b·N: `a_s` is the overhead of a call, `b_s` the sustained time of an inference."""

    a_s: float
    b_s: float
    r2: float | None = None


class Accuracy(Part):
    """`errors` of `n`; None without labels."""

    n: Count
    errors: Count | None
    predictions: Sample | None = None


class Agreement(Part):
    """Outputs that differ from the C simulation's."""

    n: Count
    mismatches: Count
    bit_exact: bool
    frames: Count | None = None
    frames_mismatched: Count | None = None
    outputs: Sample | None = None


class Idle(Part):
    """A window without work."""

    seconds: Seconds
    watt: float
    rate_hz: float | None = None


class Energy(Part):
    """Of the rails that the board measures itself.

    Attributes:
        total_of: rails whose sum the totals are. rate_hz: achieved. seconds, inferences: of the busy window.
        net_j, net_j_per_inference: with the idle power taken off.
    """

    rails: dict[Short, Any]
    total_of: tuple[Short, ...] = Field((), strict=False, max_length=1000)
    rate_hz: Annotated[float, Field(gt=0)]
    samples: Count | None = None
    idle: Idle | None = None
    seconds: Annotated[float, Field(gt=0)] | None = None
    inferences: Count | None = None
    total_j: float
    total_j_per_inference: float | None = None
    net_j: float | None = None
    net_j_per_inference: float | None = None


class Check(Part):
    """A sanity check of the agent; `passed` None: it could not be made."""

    name: Short
    passed: bool | None
    detail: Text = ""


class Refused(Part):
    """A number that is not given, and why."""

    name: Short
    reason: Text


class Accesses(Part):
    """Register accesses of one inference."""

    reads: Annotated[float, Field(ge=0)]
    writes: Annotated[float, Field(ge=0)]


class ItemResult(Part):
    """What came of one item of the job."""

    status: Literal["ok", "failed", "timeout", "skipped"]
    reason: Text | None = None
    fabric_clock_mhz: Annotated[float, Field(gt=0)] | None = None
    bitstream_loaded: bool | None = None
    phases: dict[Short, Phase] = {}
    register_accesses: dict[Short, Accesses | None] | None = None
    throughput: tuple[Throughput, ...] = Field((), strict=False, max_length=1000)
    fit: Fit | None = None
    fit_execute: Fit | None = None
    loopback: dict[str, Any] | None = None
    windows: tuple[dict[str, Any], ...] = Field((), strict=False, max_length=1000)
    accuracy: Accuracy | None = None
    agreement: Agreement | None = None
    energy: Energy | None = None
    sanity: tuple[Check, ...] = Field((), strict=False, max_length=1000)
    refused: tuple[Refused, ...] = Field((), strict=False, max_length=1000)

    def samples(self) -> list[str]:
        """The arrays that it speaks of."""
        named = [phase.samples for phase in self.phases.values()]
        named += [self.accuracy.predictions] if self.accuracy else []
        named += [self.agreement.outputs] if self.agreement else []
        return [name for name in named if name is not None]


class ResultFile(Part):
    """The whole file. `finished` None: the job was interrupted."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    job: Sha
    agent: Agent
    board: Board
    started: Short
    finished: Short | None = None
    origin: Literal["measured", "modelled"]
    items: dict[ItemId, ItemResult]

    @field_validator("items")
    @classmethod
    def _not_too_many(cls, items: dict[str, ItemResult]) -> dict[str, ItemResult]:
        if len(items) > 1000:
            raise ValueError("more items than any job has")
        return items


def parse_result(data: bytes, where: str) -> ResultFile:
    """Check the text of `result.json`.

    Raises:
        ArtifactError: not such a file, of another version, or a field is wrong.
    """
    try:
        found = ResultFile.model_validate_json(data)
    except ValidationError as error:
        raise ArtifactError(
            first_of(error), where=where, mend="Fetch it again, or measure again with this version's agent."
        ) from error
    if found.board.emulated != (found.origin == "modelled"):
        raise ArtifactError(
            f"its origin is {found.origin}, its board {'' if found.board.emulated else 'not '}emulated",
            where=where,
            mend="Measure again: times of an emulated board are never measured ones.",
        )
    return found
