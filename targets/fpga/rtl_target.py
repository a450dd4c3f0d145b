"""Verilog as a target: cycles of the simulated hardware, without any vendor tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from bench.cells import StepSpec
from bench.errors import ArtifactError
from bench.scoring.agreement import compare
from targets.base import Target, TargetOptions
from targets.fpga.csim import CsimRunner, Hls4ml, Hls4mlOptions
from targets.fpga.parts import BOARDS
from targets.fpga.rtl import simulators

DESCRIPTION, OUTPUTS = "rtl.json", "rtl_outputs.npy"


class RtlOptions(TargetOptions):
    """See `ToRtlParams` and `SynthesizeRtlParams`. synthesize: also count what the design takes of the
    board's device, for which pyosys is needed."""

    style: Literal["sequential"] = "sequential"
    multipliers: int = Field(default=8, ge=1, le=4096, strict=True)
    clock_mhz: float = Field(default=100.0, gt=0, le=2000)
    vectors: int = Field(default=1000, ge=2, le=1_000_000, strict=True)
    synthesize: bool = True
    board: str = "pynq-z2"

    @field_validator("board")
    @classmethod
    def _known(cls, board: str) -> str:
        if board not in BOARDS:
            raise ValueError(f"unknown board {board!r}; known: {', '.join(BOARDS)}")
        return board


class RtlRunner(CsimRunner):
    """The C simulation that scores the whole test set, and what the Verilog gave for the first inputs of
    it: without those being equal there is no such artifact."""

    def __init__(self, artifact: Path) -> None:
        super().__init__(artifact)
        path = artifact / DESCRIPTION
        try:
            self.about: dict[str, Any] = json.loads(path.read_text())
            self.outputs = np.load(artifact / OUTPUTS, allow_pickle=False)
            shape = (int(self.about["vectors"]), self.simulator.outputs)
            if self.outputs.shape != shape or self.outputs.dtype != np.float64:
                raise ValueError(f"outputs of {self.outputs.shape} instead of {shape}")
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise ArtifactError(f"not a simulated design ({error})", where=str(path)) from error

    def describe(self) -> dict[str, Any]:
        known = ("style", "multipliers", "simulator", "simulator_version", "vectors")
        return {**super().describe(), "rtl": {name: self.about.get(name) for name in known}}

    def agreement(self) -> list[dict[str, Any]]:
        """The C simulation's chain, and its last link: the RTL's outputs against the C simulation's."""
        chain = super().agreement()
        if not chain or self._last is None:
            return chain
        found = compare(self._last[1][: len(self.outputs)], self.outputs.astype(np.float32))
        return [*chain, {"of": "rtl", "against": "csim", **found.to_json(), "first_layer": None}]


class Rtl(Target):
    """Verilog of the network, equal to its C simulation in all bits: its cycles, observed."""

    name: ClassVar[str] = "rtl"
    format: ClassVar[str] = "rtl"
    starts_from: ClassVar[str | None] = "fixed"
    Options: ClassVar[type[TargetOptions]] = RtlOptions
    scopes: ClassVar[tuple[str, ...]] = ()
    modules: ClassVar[tuple[str, ...]] = ("hls4ml",)

    def finish(self, options: Any) -> tuple[StepSpec, ...]:
        from bench.steps.synthesize_rtl import SynthesizeRtlParams
        from bench.steps.to_rtl import ToRtlParams

        chosen = RtlOptions(**options)
        rtl = ToRtlParams(
            style=chosen.style,
            multipliers=chosen.multipliers,
            vectors=chosen.vectors,
            clock_mhz=chosen.clock_mhz,
        )
        synthesis = SynthesizeRtlParams(board=chosen.board)
        # The C simulation is that of target hls4ml with its usual options, and built only once.
        csim = Hls4ml().finish(Hls4mlOptions().model_dump(mode="json"))
        steps = (*csim, StepSpec("to_rtl", rtl.model_dump(mode="json")))
        if not chosen.synthesize:
            return steps
        return (*steps, StepSpec("synthesize_rtl", synthesis.model_dump(mode="json")))

    def unavailable(self) -> str | None:
        return Hls4ml().unavailable() or (None if simulators.available() else simulators.NEEDED)

    def open(self, artifact: Path, options: Any = None) -> RtlRunner:
        return RtlRunner(artifact)
