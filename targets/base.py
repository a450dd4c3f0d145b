"""What a target is: a place where artifacts of one format run. Importable without any runtime."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from bench.core.cells import StepSpec


class TargetOptions(BaseModel):
    """Options of a target: JSON values with defaults; every field is part of the key."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Runner(ABC):
    """One artifact, loaded and ready. Used for accuracy and for latency alike.

    Inputs are float32 as the data set gives them; outputs are float32 logits, de-quantized where
    the artifact's own output is an integer.
    """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What runs it: runtime and version, threads, delegate, operator counts, input/output types."""

    @abstractmethod
    def predict(self, x: np.ndarray) -> np.ndarray:
        """Logits (n, classes) for x (n, *input_shape), one input at a time or in batches."""

    @abstractmethod
    def prepare(self, x: np.ndarray) -> None:
        """Put one input (1, *input_shape) in place for `invoke`; not timed in scope `invoke`."""

    @abstractmethod
    def invoke(self) -> None:
        """Run the network once on the input in place: the timed region of scope `invoke`."""

    def agreement(self) -> list[dict[str, Any]]:
        """How the outputs of the last `predict` agree with those of the networks that the artifact
        stands for: links of a chain, each with the fields of `bench.core.agreement.Agreement`,
        `of`, `against` and `first_layer`. Empty where the artifact says nothing of them."""
        return []

    @abstractmethod
    def end_to_end(self, x: np.ndarray) -> np.ndarray:
        """From a float32 input (1, *input_shape) to float32 logits (1, classes): convert, copy in,
        run, copy out, convert back. The timed region of scope `end_to_end`."""

    def close(self) -> None:  # noqa: B027
        """Give memory back."""


class Target(ABC):
    """A place where artifacts of `format` run.

    Attributes:
        starts_from: format of the variants' chains that it takes, where that is not `format`: the
            steps of `finish` lead from there to `format`.
        evaluates: whether it runs artifacts; where not, a cell's builds are its result.
        scopes: what its latency can cover, in the order of the report's columns; empty where the
            target says nothing about time.
        device: cells of targets with the same device are never measured at the same time.
        modules: import names that `open` needs at run time (for versions in keys and `doctor`).
        also: targets that come with it in a sweep, with those of its options that they have.
    """

    name: ClassVar[str]
    format: ClassVar[str]
    starts_from: ClassVar[str | None] = None
    evaluates: ClassVar[bool] = True
    Options: ClassVar[type[TargetOptions]] = TargetOptions
    scopes: ClassVar[tuple[str, ...]] = ("invoke", "end_to_end")
    device: ClassVar[str] = "host"
    modules: ClassVar[tuple[str, ...]] = ()
    also: ClassVar[tuple[str, ...]] = ()

    def finish(self, options: dict[str, Any]) -> tuple[StepSpec, ...]:
        """Steps that this target puts after a variant's chain, with all their parameters.

        Raises:
            Unavailable: with these options there is no such thing, anywhere.
        """
        return ()

    def reference(self, options: dict[str, Any]) -> tuple[StepSpec, ...]:
        """Steps after a variant's chain to a second artifact, which outputs are held against."""
        return ()

    def board(self, options: dict[str, Any]) -> str | None:
        """Name of the board that it runs on (`bench.run.on_board`); None: this machine."""
        return None

    def identity(self, options: dict[str, Any]) -> dict[str, Any]:
        """What else decides its numbers, for the key: what runs elsewhere, and where."""
        return {}

    def refuses(self, options: dict[str, Any]) -> str | None:
        """Why it cannot run here with these options, with the mend, or None."""
        return None

    @abstractmethod
    def unavailable(self) -> str | None:
        """Why it cannot run here with the mend, or None. Looks for packages without importing them."""

    def check(self, artifact: Path) -> None:  # noqa: B027
        """Look at the artifact's files without running them. `open` does it where nobody has; call it
        first where the time of `open` is taken.

        Raises:
            ArtifactError: truncated or foreign.
        """

    @abstractmethod
    def open(self, artifact: Path, options: Any) -> Runner:
        """Load the artifact in folder (or file) `artifact`.

        Raises:
            ArtifactError: the file is truncated, foreign or cannot run here.
        """
