"""From simulated Verilog to an overlay for the emulated board, with the simulation itself as its kernel.

The kernel is the design behind its AXI4-Stream wrapper, compiled to one program (`targets.fpga.rtl.served`)
that gives words and the cycles that they took. The codes of fixed-point numbers travel, in words of 32 bits.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.core.step import Check, Step, StepContext, StepOutcome
from bench.formats.keras import load_float
from bench.formats.keras_env import without_autograph
from bench.steps.hardware.to_rtl import DESCRIPTION, VERILOG
from targets.fpga.fixed import FixedPoint
from targets.fpga.parameters import EmulateRtlOverlayParams
from targets.fpga.rtl import simulators
from targets.fpga.rtl.axi_stream import WRAPPER, Stream, wrapper
from targets.fpga.rtl.network import design
from targets.fpga.rtl.served import compile_server
from targets.fpga.vendor.overlay_files import read_bit, read_hwh, strangers
from targets.pynq.emulated import hwh
from targets.pynq.exchange import items

#: of the artifact `rtl`, what only its own test bench needs
ITS_BENCH = ("test_bench.v", "inputs.hex", "expected.hex")
#: passes of the test set that a board makes by and large: all frames, and the batches
PASSES = 2


class EmulateRtlOverlay(Step):
    """Write bit and hwh of an overlay for the emulated board, and the design's simulation behind it."""

    name = "emulate_rtl_overlay"
    Params = EmulateRtlOverlayParams
    takes = "rtl"
    gives = "overlay"
    needs = ("tensorflow", "tf_keras")

    def identity(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {"simulators": {one.name: one.version for one in simulators.available()}}

    def unavailable(self, params: Mapping[str, Any]) -> str | None:
        return simulators.unavailable()

    @without_autograph
    def run(self, context: StepContext) -> StepOutcome:
        assert context.parent is not None
        params: EmulateRtlOverlayParams = context.params
        parent = context.parent.path
        about = json.loads((parent / DESCRIPTION).read_text())
        network = design(load_float(parent), FixedPoint.load(parent), int(about.get("multipliers") or 1))
        stream = replace(Stream.of(network), together=about["style"] == "parallel")
        shutil.copytree(parent, context.out, dirs_exist_ok=True)
        kernel = context.out / items.RTL_KERNEL
        shutil.copytree(parent / VERILOG, kernel, ignore=shutil.ignore_patterns(*ITS_BENCH))
        (kernel / f"{WRAPPER}.v").write_text(wrapper(stream))
        simulator = simulators.choose(network.cycles(PASSES * len(context.data.test.x)), network.lanes)
        compile_server(simulator, kernel)
        digest = items.digest_of(sorted(kernel.glob("*.v")) + sorted(kernel.glob("*.hex")))
        bit, handoff = hwh.write_overlay(
            context.out / items.OVERLAY,
            dma=items.DMA,
            kernel="hier_0/kernel_0",
            clock_mhz=params.clock_mhz,
            soc=hwh.soc_of(params.part),
            what=digest,
        )
        described = {
            "interface": items.stream_interface(stream),
            "clock_mhz": params.clock_mhz,
            "sanity": {"part": read_bit(bit).part},
            "kernel": "rtl",
            "cycles": {"latency": about["cycles"], "interval": about["interval"], "source": "rtl"},
        }
        items.save(context.out, described)
        wrong = strangers(read_bit(bit), read_hwh(handoff))
        facts = {"emulated": True, "kernel": "rtl", "style": "axis_dma", "kernel_sha256": digest}
        facts |= {"simulator": simulator.name, "simulator_version": simulator.version}
        return StepOutcome(facts, (Check("bit and hwh of one design", not wrong, "; ".join(wrong) or "yes"),))
