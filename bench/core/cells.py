"""What a sweep file comes down to: a list of cells, each with the chain of steps that makes its artifact.

`bench.sweep` writes these, `bench.run.plan` turns them into tasks with keys. Nothing here imports
TensorFlow, a model or a target.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Params = dict[str, Any]


@dataclass(frozen=True)
class StepSpec:
    """One step of a chain with all its parameters (defaults filled in), JSON values only."""

    step: str
    params: Params = field(default_factory=dict)


@dataclass(frozen=True)
class Chain:
    """Steps from nothing to an artifact.

    Attributes:
        steps: the steps in order; the first takes no parent.
        teacher: the chain that makes the teacher; empty where no step learns from one. Its
            artifact is a second parent of every step in `steps` that declares `teacher`.
    """

    steps: tuple[StepSpec, ...]
    teacher: tuple[StepSpec, ...] = ()


@dataclass(frozen=True)
class CellSpec:
    """One (model, variant, target, seed) of a sweep.

    Attributes:
        target: registered name of the target (`tflite`).
        options: all options of the target (`{"threads": 1, "xnnpack": true}`), defaults filled in.
        target_label: what reports show, `tflite` or `tflite[threads=2]` where options differ from
            the target's defaults.
        chain: how its artifact is made; None where the variant does not exist on this target.
        not_applicable: why `chain` is None.
        measured: whether latency is asked for (first seed only unless the sweep says otherwise).
        summary: what the variant is, one sentence.
    """

    model: str
    variant: str
    target: str
    target_label: str
    options: Params
    seed: int
    chain: Chain | None
    not_applicable: str | None = None
    measured: bool = True
    summary: str = ""

    @property
    def label(self) -> str:
        return f"{self.model}/{self.variant}/{self.target_label}/seed{self.seed}"


@dataclass(frozen=True)
class Protocol:
    """How latency is measured (docs/latency.md). All of it is part of the measurement's key."""

    name: str = "full"
    rounds: int = 5
    warmup_seconds: float = 0.5
    warmup_calls: int = 10
    min_samples: int = 50
    min_seconds: float = 1.0

    @classmethod
    def preset(cls, name: str) -> Protocol:
        """`full`, `quick`, `mlperf` (5 windows of 10 s, median throughput) or `off` (no rounds)."""
        presets = {
            "full": cls(),
            "quick": cls("quick", rounds=3, warmup_seconds=0.2, min_seconds=0.3),
            "mlperf": cls("mlperf", rounds=5, min_seconds=10.0),
            "off": cls("off", rounds=0),
        }
        return presets[name]


@dataclass(frozen=True)
class Sweep:
    """A whole sweep, checked and expanded.

    Attributes:
        config: the sweep file as written, after checking (kept in the manifest).
        timeouts: seconds by kind of task (`build`, `evaluate`, `measure`), where the sweep says so.
        quick: a smoke run with capped epochs; reports must say so.
    """

    name: str
    cells: tuple[CellSpec, ...]
    protocol: Protocol
    config: Params
    source: str = ""
    title: str = ""
    timeouts: dict[str, float] = field(default_factory=dict)
    quick: bool = False
