"""Verilog as a target: cycles of the simulated hardware, without any vendor tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from bench.core.agreement import compare
from bench.core.cells import StepSpec
from bench.errors import ArtifactError
from targets.base import Target, TargetOptions
from targets.fpga.hls4ml_target import CsimRunner, Hls4ml, Hls4mlOptions
from targets.fpga.parameters import OnPart, RtlOfOneStyle, SynthesizeRtlParams, ToRtlParams, parameters
from targets.fpga.parts import device_of
from targets.fpga.rtl import simulators

DESCRIPTION, OUTPUTS = "rtl.json", "rtl_outputs.npy"


class RtlOptions(RtlOfOneStyle, OnPart, TargetOptions):
    """synthesize: also count what the design takes of the board's device, for which pyosys is needed.
    time_limit_s: for the simulation, and for the synthesis."""

    time_limit_s: float = Field(default=1800.0, ge=1, le=86_400)
    synthesize: bool = True


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
        known = ("style", "multipliers", "cutoff", "simulator", "simulator_version", "vectors")
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
        chosen = RtlOptions(**options)
        # The estimate is of style parallel alone; the sequential one is the same for every board.
        most = device_of(chosen.board).lut if chosen.lut_limit is None else chosen.lut_limit
        lut_limit = most if chosen.style == "parallel" else 0
        rtl = parameters(ToRtlParams, chosen, lut_limit=lut_limit)
        synthesis = parameters(SynthesizeRtlParams, chosen)
        # The C simulation is that of target hls4ml with its usual options, and built only once.
        csim = Hls4ml().finish(Hls4mlOptions().model_dump(mode="json"))
        steps = (*csim, StepSpec("to_rtl", rtl.model_dump(mode="json")))
        if not chosen.synthesize:
            return steps
        return (*steps, StepSpec("synthesize_rtl", synthesis.model_dump(mode="json")))

    def unavailable(self) -> str | None:
        return Hls4ml().unavailable() or simulators.unavailable()

    def open(self, artifact: Path, options: Any = None) -> RtlRunner:
        return RtlRunner(artifact)
