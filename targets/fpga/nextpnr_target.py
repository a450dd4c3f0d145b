"""Verilog placed and routed with open tools, as a target: rows of its own beside those of target `rtl`."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from bench.core.cells import StepSpec
from targets.base import TargetOptions
from targets.fpga.parameters import Placement, PlaceRtlParams, RtlOfOneStyle, parameters
from targets.fpga.rtl.nextpnr import FABRICS, missing
from targets.fpga.rtl_target import Rtl, RtlOptions


class NextpnrOptions(Placement, RtlOfOneStyle, TargetOptions):
    """Options of target `rtl`, and of the placement."""

    # Placed designs are simulated at least once back to back.
    vectors: int = Field(default=1000, ge=2, le=1_000_000, strict=True)

    def rtl(self) -> RtlOptions:
        """Options of the Verilog that is placed."""
        given = {name: getattr(self, name) for name in RtlOfOneStyle.model_fields}
        if self.style == "parallel" and self.lut_limit is None:
            given["lut_limit"] = FABRICS[self.device].luts
        return RtlOptions(synthesize=False, **given)


class Nextpnr(Rtl):
    """Verilog of the network, placed and routed on a device whose tools are open."""

    name: ClassVar[str] = "nextpnr"
    Options: ClassVar[type[TargetOptions]] = NextpnrOptions

    def finish(self, options: Any) -> tuple[StepSpec, ...]:
        chosen = NextpnrOptions(**options)
        params = parameters(PlaceRtlParams, chosen, parallel=chosen.style == "parallel")
        verilog = super().finish(chosen.rtl().model_dump(mode="json"))
        return (*verilog, StepSpec("place_rtl", params.model_dump(mode="json")))

    def refuses(self, options: Any) -> str | None:
        return missing(FABRICS[NextpnrOptions(**options).device])
