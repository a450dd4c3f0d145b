"""From Verilog to a placed and routed design, with nextpnr: no vendor tool."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from bench.core.step import Check, Step, StepContext, StepOutcome
from bench.core.versions import version
from bench.formats.keras import load_float
from bench.formats.keras_env import without_autograph
from targets.fpga.fixed import FixedPoint
from targets.fpga.parameters import PlaceRtlParams
from targets.fpga.parts import Device
from targets.fpga.rtl.axi_stream import Stream
from targets.fpga.rtl.network import design
from targets.fpga.rtl.nextpnr import FABRICS, Fabric, Placed, missing, place, tool_version
from targets.fpga.vendor.flow import machine_memory

FOLDER = "placed"


class PlaceRtl(Step):
    """Place and route the Verilog with its AXI4-Stream wrapper: its frequency, what it takes, a bitstream."""

    name = "place_rtl"
    Params = PlaceRtlParams
    takes = "rtl"
    gives = "rtl"
    needs = ("tensorflow", "tf_keras")
    limits = ("time_limit_s", "memory_limit_gb")

    def identity(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {"pyosys": version("pyosys"), "nextpnr": tool_version(FABRICS[str(params["device"])])}

    def unavailable(self, params: Mapping[str, Any]) -> str | None:
        return missing(FABRICS[str(params["device"])])

    def timeout(self, params: Mapping[str, Any]) -> float | None:
        return float(params["time_limit_s"]) + 300

    @without_autograph
    def run(self, context: StepContext) -> StepOutcome:
        assert context.parent is not None
        params: PlaceRtlParams = context.params
        parent, fabric = context.parent.path, FABRICS[params.device]
        network = design(load_float(parent), FixedPoint.load(parent))
        stream = Stream(network.input, network.inputs, network.output, network.outputs, params.parallel)
        folder = context.out / FOLDER
        folder.mkdir()
        found = place(
            parent / "verilog",
            stream,
            folder,
            fabric,
            clock_mhz=params.clock_mhz,
            seed=params.placer_seed,
            seconds=params.time_limit_s,
            memory_bytes=params.memory_limit_gb * 1e9 or 0.9 * machine_memory(),
        )
        shutil.copytree(parent, context.out, dirs_exist_ok=True)
        return StepOutcome(facts_of(found, fabric, params), checks(found))


def facts_of(found: Placed, fabric: Fabric, params: PlaceRtlParams) -> dict[str, Any]:
    """What the record keeps, and the hardware's figures for reports."""
    period, used, there = 1000.0 / params.clock_mhz, found.used, found.available
    shares = {name: 100.0 * used[name] / there[name] for name in used if there[name]}
    hardware = {
        "origin": "estimated",
        # The title of columns: short enough for a terminal.
        "tool": f"{found.tool.partition('.post')[0]} on {fabric.part}, {fabric.unit}",
        "impl": used,
        "percent": {"impl": shares},
        "fits": {"impl": True},
        "device": vars(Device(fabric.part, uram=0, **there)).copy(),
        "timing": {
            "clock_ns": period,
            "wns_ns": period - 1000.0 / found.fmax_mhz,
            "fmax_mhz": found.fmax_mhz,
        },
    }
    told = {
        "tool": found.tool,
        "device": fabric.part,
        "lut_unit": fabric.unit,
        "placer_seed": params.placer_seed,
        "seconds": found.seconds,
        "peak_bytes": found.peak_bytes,
    }
    return {"placement": told, "hardware": hardware}


def checks(found: Placed) -> tuple[Check, ...]:
    some = found.used["lut"] > 0 and found.used["ff"] > 0
    return (Check("a design is left", some, f"{found.used['lut']} LUT, {found.used['ff']} FF"),)
