"""Verilog placed and routed with open tools, as a target: rows of its own beside those of target `rtl`."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from bench.core.cells import StepSpec
from targets.base import TargetOptions
from targets.fpga.rtl.nextpnr import FABRICS, missing
from targets.fpga.rtl_target import Rtl, RtlOptions


class NextpnrOptions(TargetOptions):
    """See `RtlOptions` and `PlaceRtlParams`. lut_limit: None: what the device has; 0: any number."""

    device: str = "lfe5u-85f"
    style: Literal["sequential", "parallel"] = "sequential"
    multipliers: int = Field(default=8, ge=1, le=4096, strict=True)
    cutoff: int = Field(default=5, ge=1, le=1000, strict=True)
    lut_limit: int | None = Field(default=None, ge=0, strict=True)
    clock_mhz: float = Field(default=50.0, gt=0, le=2000)
    vectors: int = Field(default=1000, ge=2, le=1_000_000, strict=True)
    placer_seed: int = Field(default=1, ge=1, le=2**31 - 1, strict=True)

    @field_validator("device")
    @classmethod
    def _known(cls, device: str) -> str:
        if device not in FABRICS:
            raise ValueError(f"unknown device {device!r}; known: {', '.join(FABRICS)}")
        return device

    @model_validator(mode="after")
    def _of_one_style(self) -> NextpnrOptions:
        self.rtl()
        return self

    def rtl(self) -> RtlOptions:
        """Options of the Verilog that is placed."""
        names = ("style", "multipliers", "cutoff", "lut_limit", "clock_mhz", "vectors")
        given = {name: getattr(self, name) for name in names}
        if self.style == "parallel" and self.lut_limit is None:
            given["lut_limit"] = FABRICS[self.device].luts
        return RtlOptions(synthesize=False, **given)


class Nextpnr(Rtl):
    """Verilog of the network, placed and routed on a device whose tools are open."""

    name: ClassVar[str] = "nextpnr"
    Options: ClassVar[type[TargetOptions]] = NextpnrOptions

    def finish(self, options: Any) -> tuple[StepSpec, ...]:
        from bench.steps.hardware.place_rtl import PlaceRtlParams

        chosen = NextpnrOptions(**options)
        params = PlaceRtlParams(
            device=chosen.device,
            parallel=chosen.style == "parallel",
            clock_mhz=chosen.clock_mhz,
            placer_seed=chosen.placer_seed,
        )
        verilog = super().finish(chosen.rtl().model_dump(mode="json"))
        return (*verilog, StepSpec("place_rtl", params.model_dump(mode="json")))

    def refuses(self, options: Any) -> str | None:
        return missing(FABRICS[NextpnrOptions(**options).device])
