"""Verilog as a target: cycles of the simulated hardware, without any vendor tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from bench.core.cells import StepSpec
from bench.errors import ArtifactError
from bench.scoring.agreement import compare
from targets.base import Target, TargetOptions
from targets.fpga.hls4ml_target import CsimRunner, Hls4ml, Hls4mlOptions
from targets.fpga.parts import BOARDS, device_of
from targets.fpga.rtl import simulators

DESCRIPTION, OUTPUTS = "rtl.json", "rtl_outputs.npy"


class RtlOptions(TargetOptions):
    """See `ToRtlParams` and `SynthesizeRtlParams`. lut_limit: None: what the board's device has; 0: any
    number. synthesize: also count what the design takes of the
    board's device, for which pyosys is needed. time_limit_s: for the simulation, and for the synthesis."""

    style: Literal["sequential", "parallel"] = "sequential"
    multipliers: int = Field(default=8, ge=1, le=4096, strict=True)
    cutoff: int = Field(default=5, ge=1, le=1000, strict=True)
    lut_limit: int | None = Field(default=None, ge=0, strict=True)
    clock_mhz: float = Field(default=100.0, gt=0, le=2000)
    vectors: int = Field(default=1000, ge=0, le=1_000_000, strict=True)
    time_limit_s: float = Field(default=1800.0, ge=1, le=86_400)
    synthesize: bool = True
    board: str = "pynq-z2"

    @field_validator("board")
    @classmethod
    def _known(cls, board: str) -> str:
        if board not in BOARDS:
            raise ValueError(f"unknown board {board!r}; known: {', '.join(BOARDS)}")
        return board

    @model_validator(mode="after")
    def _of_one_style(self) -> RtlOptions:
        own = {"sequential": ("multipliers",), "parallel": ("cutoff", "lut_limit")}
        for style, names in own.items():
            for name in names:
                if style != self.style and getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} is an option of style {style}, not of {self.style}")
        return self


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
        from bench.steps.hardware.synthesize_rtl import SynthesizeRtlParams
        from bench.steps.hardware.to_rtl import ToRtlParams

        chosen = RtlOptions(**options)
        # The estimate is of style parallel alone; the sequential one is the same for every board.
        most = device_of(chosen.board).lut if chosen.lut_limit is None else chosen.lut_limit
        lut_limit = most if chosen.style == "parallel" else 0
        rtl = ToRtlParams(
            style=chosen.style,
            multipliers=chosen.multipliers,
            cutoff=chosen.cutoff,
            lut_limit=lut_limit,
            vectors=chosen.vectors,
            clock_mhz=chosen.clock_mhz,
            time_limit_s=chosen.time_limit_s,
        )
        synthesis = SynthesizeRtlParams(board=chosen.board, time_limit_s=chosen.time_limit_s)
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
