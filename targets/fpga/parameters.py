"""Parameters of the steps to hardware, and the parts of them that targets take as options.

A choice is declared once, here: the step's parameters and the options of every target that ends with the step
inherit it, so that a design's options are grids of its target.
"""

from __future__ import annotations

from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, Field, field_validator, model_validator

from bench.core.step import StepParams
from targets.base import TargetOptions
from targets.fpga.parts import BOARDS
from targets.fpga.rtl.nextpnr import FABRICS
from targets.fpga.vendor.flow import WITH_BITSTREAM, Limits, Stages, machine_memory

#: share of this machine's memory that a build may take where no limit is given
MEMORY_SHARE = 0.9
PART = r"^[A-Za-z0-9-]{4,40}$"
BOARD = r"^[A-Za-z0-9_-]{2,40}$"
ZYNQ_7020 = "xc7z020clg400-1"
P = TypeVar("P", bound=StepParams)


def parameters(kind: type[P], options: TargetOptions, **more: Any) -> P:
    """A step's parameters: those that a target has as options of the same name, and `more`."""
    shared = kind.model_fields.keys() & type(options).model_fields.keys() - more.keys()
    return kind(**{name: getattr(options, name) for name in shared}, **more)


class HlsDesign(BaseModel):
    """How hls4ml writes a design. io_type: `auto` is io_stream where there are convolutions (all of an image
    at once would need a multiplier for each pixel), else io_parallel."""

    io_type: Literal["auto", "io_parallel", "io_stream"] = "auto"
    strategy: Literal["latency", "resource"] = "latency"
    reuse_factor: int = Field(default=1, ge=1, le=1_000_000, strict=True)


class ToHlsParams(HlsDesign, StepParams):
    """How hls4ml writes the project."""

    backend: Literal["Vitis", "Vivado", "VivadoAccelerator", "VitisUnified"] = "Vitis"
    clock_ns: float = Field(default=10.0, gt=0.1, le=1000)
    part: str = Field(default=ZYNQ_7020, pattern=PART)
    board: str | None = Field(default=None, pattern=BOARD)


class VendorStages(BaseModel):
    """Which of the vendor's tools do what, and how long.

    bitstream: place, route and write a bitstream; without, and for Vivado and Vitis, an IP core only.
    csim, cosim, vsynth: also simulate in C, simulate the RTL, synthesize the RTL alone in Vivado.
    memory_limit_gb: of all its processes together; 0 is nine tenths of this machine's.
    force: build what is estimated not to fit.
    """

    backend: Literal["VivadoAccelerator", "Vivado", "Vitis", "VitisUnified"] = "VivadoAccelerator"
    bitstream: bool = True
    csim: bool = False
    cosim: bool = False
    vsynth: bool = False
    time_limit_s: float = Field(default=21_600.0, ge=1, le=30 * 86_400)
    memory_limit_gb: float = Field(default=0.0, ge=0, le=10_000)
    force: bool = False


class BuildOverlayParams(VendorStages, StepParams):
    """A project's part, clock and reuse factor are those it was written with (`to_hls`)."""

    def stages(self) -> Stages:
        bitstream = self.bitstream and self.backend in WITH_BITSTREAM
        return Stages(bitstream, self.csim, self.cosim, self.vsynth)

    def limits(self) -> Limits:
        given = self.memory_limit_gb * 1e9
        return Limits(self.time_limit_s, given or MEMORY_SHARE * machine_memory())


class RtlDesign(BaseModel):
    """How our Verilog is written and simulated.

    multipliers: of each dense or convolution layer (P), in style sequential. cutoff: additions between two
    registers, at most, in style parallel. vectors: inputs of the test split that are simulated, fewer where
    that would take longer than about a minute; 0: all of them, however long it takes. clock_mhz: what cycles
    are turned into seconds with.
    """

    style: Literal["sequential", "parallel"] = "sequential"
    multipliers: int = Field(default=8, ge=1, le=4096, strict=True)
    cutoff: int = Field(default=5, ge=1, le=1000, strict=True)
    vectors: int = Field(default=1000, ge=0, le=1_000_000, strict=True)
    clock_mhz: float = Field(default=100.0, gt=0, le=2000)


class RtlOfOneStyle(RtlDesign):
    """Options of a target that ends in Verilog. lut_limit: None: what the device has; 0: any number."""

    lut_limit: int | None = Field(default=None, ge=0, strict=True)

    @model_validator(mode="after")
    def _of_one_style(self) -> Self:
        own = {"sequential": ("multipliers",), "parallel": ("cutoff", "lut_limit")}
        for style, names in own.items():
            for name in names:
                if style != self.style and getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} is an option of style {style}, not of {self.style}")
        return self


class ToRtlParams(RtlDesign, StepParams):
    """lut_limit: look-up tables that style parallel may take by estimate, 0: any number. time_limit_s: for
    the simulation."""

    lut_limit: int = Field(default=0, ge=0, strict=True)
    time_limit_s: float = Field(default=1800.0, ge=1, le=86_400)


class OnPart(BaseModel):
    """board: whose device family the design is made of, and is compared with."""

    board: str = "pynq-z2"

    @field_validator("board")
    @classmethod
    def _known(cls, board: str) -> str:
        if board not in BOARDS:
            raise ValueError(f"unknown board {board!r}; known: {', '.join(BOARDS)}")
        return board


class SynthesizeRtlParams(OnPart, StepParams):
    """memory_limit_gb: 0 is nine tenths of this machine's."""

    time_limit_s: float = Field(default=1800.0, ge=1, le=86_400)
    memory_limit_gb: float = Field(default=0.0, ge=0, le=10_000)


class Placement(BaseModel):
    """device: what it is placed on. clock_mhz: what is asked for. placer_seed: placements differ by some
    percent."""

    device: str = "lfe5u-85f"
    clock_mhz: float = Field(default=50.0, gt=0, le=2000)
    placer_seed: int = Field(default=1, ge=1, le=2**31 - 1, strict=True)

    @field_validator("device")
    @classmethod
    def _known(cls, device: str) -> str:
        if device not in FABRICS:
            raise ValueError(f"unknown device {device!r}; known: {', '.join(FABRICS)}")
        return device


class PlaceRtlParams(Placement, StepParams):
    """parallel: whether the design is of style parallel. memory_limit_gb: 0 is nine tenths of all."""

    parallel: bool = False
    time_limit_s: float = Field(default=3600.0, ge=1, le=86_400)
    memory_limit_gb: float = Field(default=0.0, ge=0, le=10_000)


class EmulateRtlOverlayParams(StepParams):
    """part: whose processing system the board has. clock_mhz: of the fabric."""

    part: str = Field(default=ZYNQ_7020, pattern=PART)
    clock_mhz: float = Field(default=100.0, gt=1, le=1000)


class EmulateOverlayParams(EmulateRtlOverlayParams):
    """style: how the kernel is reached: axis_dma (hls4ml's VivadoAccelerator), m_axi (VitisUnified)."""

    style: Literal["axis_dma", "m_axi"] = "axis_dma"
