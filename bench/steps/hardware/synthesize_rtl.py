"""From Verilog to what it takes of a device, with yosys: no vendor tool."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import Any

from bench.core import code
from bench.core.step import Check, Step, StepContext, StepOutcome
from bench.core.versions import lacking, version
from bench.steps.hardware.to_rtl import DESCRIPTION
from targets.fpga.parameters import SynthesizeRtlParams
from targets.fpga.parts import device_of, fits, percent
from targets.fpga.rtl.synthesis import LutMapping, synthesize
from targets.fpga.vendor.flow import machine_memory

FOLDER = "synthesis"


class SynthesizeRtl(Step):
    """Count look-up tables, flip-flops, DSP slices and block RAMs of the Verilog after logic synthesis."""

    name = "synthesize_rtl"
    Params = SynthesizeRtlParams
    takes = "rtl"
    gives = "rtl"
    needs = ()
    limits = ("time_limit_s", "memory_limit_gb")

    def identity(self, params: Mapping[str, Any]) -> dict[str, Any]:
        child = code.identity("targets.fpga.rtl.synthesis_child")  # a program of its own
        return {"pyosys": version("pyosys"), "child": child}

    def unavailable(self, params: Mapping[str, Any]) -> str | None:
        reason = lacking("pyosys", "0.70")
        return f"{reason}, which synthesizes the design: uv sync --inexact --extra rtl" if reason else None

    def timeout(self, params: Mapping[str, Any]) -> float | None:
        return float(params["time_limit_s"]) + 300

    def run(self, context: StepContext) -> StepOutcome:
        assert context.parent is not None
        params: SynthesizeRtlParams = context.params
        shutil.copytree(context.parent.path, context.out, dirs_exist_ok=True)
        style = json.loads((context.out / DESCRIPTION).read_text())["style"]
        folder = context.out / FOLDER
        folder.mkdir()
        mapping: LutMapping = "quick" if style == "parallel" else "thorough"
        found = synthesize(
            context.out / "verilog",
            folder,
            params.board,
            seconds=params.time_limit_s,
            memory_bytes=params.memory_limit_gb * 1e9 or 0.9 * machine_memory(),
            mapping=mapping,
        )
        device = device_of(params.board)
        told = {
            "tool": "yosys",
            "tool_version": found.version,
            "mapping": mapping,
            "board": params.board,
            "cells": found.cells,
            **found.detail,
            "seconds": found.seconds,
            "peak_bytes": found.peak_bytes,
        }
        hardware = {
            "origin": "estimated",
            "tool": f"yosys {found.version}",
            "synth": found.used,
            "percent": {"synth": percent(found.used, device)},
            "fits": {"synth": fits(found.used, device)},
            "device": vars(device).copy(),
            # Of the slowest path, with the cells' delays alone: a bound, never a clock that was reached.
            "timing": {"logic_delay_ns": found.logic_delay_ns},
        }
        some = found.used["lut"] > 0 and found.used["ff"] > 0
        detail = f"{found.used['lut']} LUT, {found.used['ff']} FF"
        return StepOutcome(
            {"synthesis": told, "hardware": hardware}, (Check("a design is left", some, detail),)
        )
