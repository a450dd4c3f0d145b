"""What the record of each kind of task holds: one model for each, checked when it is written and when it
is read. Fields that are not named here are kept as they came."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bench.core.packed import unpack
from bench.errors import DamagedResult

_ITEMS = 10**9
#: |first bin| and number of bins of a histogram of durations; 0.5 % wide bins reach 10^21 ns with 10,000.
_BINS = 10_000

Count = Annotated[int, Field(strict=True, ge=0, le=_ITEMS)]
Several = Annotated[int, Field(strict=True, ge=1, le=_ITEMS)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Length = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]
#: facts of a build that become numbers of a report, where they are there
SIZE_FACTS = (
    "file_bytes",
    "gzip_bytes",
    "payload_bits",
    "params",
    "params_nonzero",
    "sparsity",
    "sparsity_all",
    "int8_share",
    "overhead_bytes",
)


class _Model(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Packed(_Model):
    """A small array (n,) as `bench.core.packed.pack` writes it."""

    n: Count
    dtype: str = ""
    encoding: str = ""
    data: str

    def array(self) -> np.ndarray:
        """Raises DamagedResult where the data are not what the header says."""
        return unpack(self.model_dump())


class CheckResult(_Model):
    """A claim that a step checked of what it made."""

    name: str = ""
    passed: bool = False
    detail: str = ""


class BuildResult(_Model):
    """One step of a chain. Without artifact where a check failed: the facts help to see why.

    Attributes:
        artifact: digest of its folder; format: what is in it.
    """

    artifact: str | None = None
    format: str = ""
    facts: dict[str, Any] = {}
    checks: tuple[CheckResult, ...] = ()

    @field_validator("facts")
    @classmethod
    def _sizes_are_numbers(cls, facts: dict[str, Any]) -> dict[str, Any]:
        for name in SIZE_FACTS:
            value = facts.get(name)
            if value is not None and not _is_size(value):
                raise ValueError(f"{name} is no number")
        if not isinstance(facts.get("layers", []), (list, type(None))):
            raise ValueError("layers is no list")
        return facts


def _is_size(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, (int, float)) and 0 <= value < math.inf


class Link(_Model):
    """How far the outputs of two ends of the chain agree, over n test items.

    Attributes:
        of, against: the ends, such as `csim` and `qkeras`.
        mismatches: items with another class; bit_exact: items whose outputs are equal, bit by bit.
        first_layer: the first layer whose outputs differ.
    """

    of: str
    against: str
    n: Several
    mismatches: Count
    bit_exact: Count | None = None
    max_abs_diff: Length | None = None
    sqnr_db: Finite | None = None
    first_layer: str | None = None


class Evaluation(_Model):
    """What is known of an artifact that a target ran, whether it could be scored or not.

    Attributes:
        agreement: links of the chain, in their order.
        board: what a board told (`bench.report.records.board`); hardware: what a simulation did.
    """

    runtime: dict[str, Any] = {}
    agreement: tuple[Link, ...] = ()
    board: dict[str, Any] = {}
    hardware: dict[str, Any] = {}


class EvaluateResult(Evaluation):
    """An artifact's score on the whole test set.

    Attributes:
        confusion: rows true class, columns predicted.
        predictions: class of each item; correct: bits.
    """

    n: Several
    errors: Count
    accuracy: Finite | None = None
    confusion: tuple[tuple[Count, ...], ...] | None = None
    predictions: Packed | None = None
    correct: Packed | None = None
    labels_sha256: str = ""

    @model_validator(mode="after")
    def _is_of_n_items(self) -> EvaluateResult:
        if self.errors > self.n:
            raise ValueError("more errors than items")
        for name in ("predictions", "correct"):
            packed = getattr(self, name)
            if packed is not None and packed.n != self.n:
                raise ValueError(f"{name} of other items")
        if any(len(row) != len(self.confusion or ()) for row in self.confusion or ()):
            raise ValueError("confusion is not square")
        return self


class Histogram(_Model):
    """Bin i + first holds the durations in [ratio^(i + first), ratio^(i + first + 1)) ns."""

    ratio: Annotated[float, Field(strict=True, gt=1 + 1e-6, allow_inf_nan=False)]
    first: Annotated[int, Field(strict=True, ge=-_BINS, le=_BINS)]
    counts: Packed

    @field_validator("counts")
    @classmethod
    def _counts_something(cls, counts: Packed) -> Packed:
        if counts.n > _BINS or int(counts.array().sum()) <= 0:
            raise ValueError("nothing is counted")
        return counts


class ScopeTimes(_Model):
    """Samples of one scope in one round, condensed by `bench.timing.samples`: ns per call."""

    n: Several
    block: Several
    median_ns: Length
    mean_ns: Length
    min_ns: Length
    max_ns: Length
    sd_ns: Length | None = None
    q: dict[str, Length] = {}
    histogram: Histogram
    trace: Packed | None = None
    drift: Finite | None = None
    total_seconds: Annotated[float, Field(strict=True, ge=1e-12, allow_inf_nan=False)]


class Entry(_Model):
    """One artifact in one round: its times, or the error that it met."""

    load_ns: Length | None = None
    first_call_ns: Length | None = None
    error: str | None = None
    runtime: dict[str, Any] = {}
    scopes: dict[str, ScopeTimes] = {}

    @model_validator(mode="after")
    def _is_something(self) -> Entry:
        if not self.error and "scopes" not in self.model_fields_set:
            raise ValueError("neither scopes nor an error")
        return self


class CpuSeconds(_Model):
    busy: Finite
    stolen: Finite


class MachineState(_Model):
    """A machine before or after a round (`bench.timing.machine.state`). What it does not tell is None.

    Attributes:
        at: seconds of a monotonic clock; cpu_seconds: of all CPUs since boot, own_seconds: of this process.
    """

    at: Finite = 0.0
    own_seconds: Finite = 0.0
    cpu_seconds: CpuSeconds | None = None
    load_average: tuple[Finite, ...] | None = None
    throttle_count: Count | None = None
    swap_pages: Annotated[int, Field(strict=True, ge=0)] | None = None
    on_battery: bool | None = None


class RoundResult(_Model):
    """One timed round of a group of artifacts (`bench.timing.rounds.run_round`).

    Attributes:
        reference: what ratios refer to; its second loading is the entry `bench.core.records.TWIN`.
        order: in which they were timed; runtime: what all entries have in common.
    """

    reference: str
    entries: dict[str, Entry]
    order: tuple[str, ...] = ()
    runtime: dict[str, Any] = {}
    runtime_load_ns: Length | None = None
    timer: dict[str, Any] = {}
    machine: dict[str, Any] = {}
    state_before: MachineState | None = None
    state_after: MachineState | None = None


class EnergyWindow(_Model):
    inferences: Count | None = None
    power_w: Finite | None = None


class IdleWindow(_Model):
    power_w: Finite | None = None


class EnergyResult(_Model):
    """What a power meter saw of a cell: `targets.pynq.meters.energy.EnergyReport`; J, W, Hz."""

    meter: str | None = None
    rails: tuple[str, ...] | None = None
    windows: tuple[EnergyWindow, ...] = ()
    idle: IdleWindow | None = None
    median_j_per_inference: Finite | None = None
    median_net_j_per_inference: Finite | None = None
    achieved_rate_hz: Finite | None = None


class NoResult(_Model):
    """Of a round or a meter's trace that failed."""


Result = BuildResult | Evaluation | RoundResult | EnergyResult | NoResult
#: kind of record -> its result, and what a record that is not `ok` may hold of it
_RESULTS: dict[str, tuple[type[Result], type[Result]]] = {
    "build": (BuildResult, BuildResult),
    "evaluate": (EvaluateResult, Evaluation),
    "measure": (RoundResult, NoResult),
    "energy": (EnergyResult, NoResult),
}


def parsed(kind: str, value: dict[str, Any], *, complete: bool = True) -> Result:
    """A result out of JSON values.

    Args:
        complete: of an `ok` record: everything that a report relies on is there.

    Raises:
        DamagedResult: a field is missing, or is not what it should be.
    """
    whole, part = _RESULTS[kind]
    try:
        return (whole if complete else part).model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DamagedResult(f"{place}: {first['msg']}" if place else str(first["msg"])) from None
