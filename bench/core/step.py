"""What a step is. A step turns one artifact into another and checks what its name claims.

Modules of steps are imported while planning, on machines without TensorFlow: heavy imports belong
inside `run`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from models.base import Data, Model


class StepParams(BaseModel):
    """Parameters of a step: JSON values, all with defaults; every field is part of the key."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Artifact:
    """Immutable files of one format in a folder of their own.

    Attributes:
        path: the folder. Format `keras`: `model.keras`; `tflite`: `model.tflite`;
            `fixed`, `csim`: see `targets.fpga.fixed` and `targets.fpga.hls.simulator`; `hls`: `project/`;
            `overlay`: see `targets.fpga.vendor.products`.
        digest: sha256 over the files' names and contents.
        facts: what the steps that made it recorded of it.
    """

    path: Path
    format: str
    digest: str
    facts: dict[str, Any]


@dataclass(frozen=True)
class Check:
    """One claim of the step's name, looked at in what it made."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class StepContext:
    """All that a step may use.

    Attributes:
        parent: the artifact before it in the chain; None for a first step.
        teacher: the teacher's artifact; None where the chain has none.
        out: an empty folder that becomes the artifact.
    """

    model: Model
    params: Any
    seed: int
    parent: Artifact | None
    teacher: Artifact | None
    out: Path

    @cached_property
    def data(self) -> Data:
        from bench.core.registry import DATASETS

        return DATASETS.get(self.model.dataset).load()


@dataclass(frozen=True)
class StepOutcome:
    """Facts (JSON values) and checks of the new artifact. A check that did not pass fails the task."""

    facts: dict[str, Any] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()


class Step(ABC):
    """One transformation.

    Attributes:
        takes: format of the parent, None for a step that starts a chain.
        gives: format of the artifact it makes.
        teacher: whether it learns from the chain's teacher.
        needs: import names of packages that it cannot do without.
        tools: programs that must be on PATH; their versions are in the facts of what they made.
        limits: parameters that bound a run and decide nothing of what it makes: not part of the key.
    """

    name: ClassVar[str]
    Params: ClassVar[type[StepParams]] = StepParams
    takes: ClassVar[str | None]
    gives: ClassVar[str]
    teacher: ClassVar[Literal["no", "optional", "required"]] = "no"
    needs: ClassVar[tuple[str, ...]] = ("tensorflow", "tf_keras")
    tools: ClassVar[tuple[str, ...]] = ()
    limits: ClassVar[tuple[str, ...]] = ()

    def identity(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What else decides what it makes, for the key: versions of tools that are no packages."""
        return {}

    def unavailable(self, params: Mapping[str, Any]) -> str | None:
        """Why it cannot run here with these parameters, with the mend, or None. Runs nothing long."""
        return None

    def timeout(self, params: Mapping[str, Any]) -> float | None:
        """Seconds after which a run is ended, where it has a limit of its own."""
        return None

    @abstractmethod
    def run(self, context: StepContext) -> StepOutcome:
        """Write the artifact's files into `context.out`.

        Raises:
            StepError: it could not be done, and why.
        """
