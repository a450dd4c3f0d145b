"""From a compiled C simulation to an overlay for the emulated board, with the simulation as its kernel.

The artifact is the folder of format `csim` with `overlay/overlay.bit`, `overlay/overlay.hwh` and
`board_item.json` (`targets.pynq.exchange.items`).
"""

from __future__ import annotations

import shutil

from bench.core.step import Check, Step, StepContext, StepOutcome
from targets.fpga.hls.simulator import DESCRIPTION, PROGRAM, WEIGHTS, Simulator
from targets.fpga.parameters import EmulateOverlayParams
from targets.fpga.vendor.overlay_files import read_bit, read_hwh, strangers
from targets.pynq.emulated import hwh
from targets.pynq.exchange import items


class EmulateOverlay(Step):
    """Write bit and hwh of an overlay for the emulated board; hardware never takes them."""

    name = "emulate_overlay"
    Params = EmulateOverlayParams
    takes = "csim"
    gives = "overlay"
    needs = ()

    def run(self, context: StepContext) -> StepOutcome:
        assert context.parent is not None
        params: EmulateOverlayParams = context.params
        shutil.copytree(context.parent.path, context.out, dirs_exist_ok=True)
        simulator = Simulator.open(context.out)
        kernel = items.digest_of(
            [context.out / PROGRAM, context.out / DESCRIPTION, *sorted((context.out / WEIGHTS).iterdir())]
        )
        dma = kernel_name = None
        if params.style == "axis_dma":
            dma, kernel_name = items.DMA, "hier_0/kernel_0"
        else:
            kernel_name = "kernel_0"
        bit, handoff = hwh.write_overlay(
            context.out / items.OVERLAY,
            style=params.style,
            dma=dma or "",
            kernel=kernel_name,
            clock_mhz=params.clock_mhz,
            soc=hwh.soc_of(params.part),
            what=kernel,
        )
        described = {
            "interface": items.interface(simulator, params.style, dma, kernel_name),
            "clock_mhz": params.clock_mhz,
            "sanity": {"part": read_bit(bit).part},
        }
        items.save(context.out, described)
        wrong = strangers(read_bit(bit), read_hwh(handoff))
        facts = {"emulated": True, "kernel": "csim", "style": params.style, "kernel_sha256": kernel}
        return StepOutcome(facts, (Check("bit and hwh of one design", not wrong, "; ".join(wrong) or "yes"),))
