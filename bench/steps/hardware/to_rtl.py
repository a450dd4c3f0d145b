"""From a network and its C simulation to Verilog that gives the same bits, simulated cycle by cycle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.step import Check, Step, StepContext, StepOutcome
from bench.core.versions import lacking, version
from bench.errors import StepError
from bench.formats.keras import load_float
from bench.formats.keras_env import without_autograph
from bench.steps.keras.training import prepare
from targets.fpga.branches import parents
from targets.fpga.fixed import FixedPoint
from targets.fpga.hls.simulator import Simulator
from targets.fpga.parameters import ToRtlParams
from targets.fpga.rtl import simulators
from targets.fpga.rtl.network import design
from targets.fpga.rtl.parallel import Parallel, parallel
from targets.fpga.rtl.simulate import Simulation, simulate
from targets.fpga.rtl.stages import Add, AveragePool, Design, MaxPool, Multiply, numbers

VERILOG, DESCRIPTION, OUTPUTS = "verilog", "rtl.json", "rtl_outputs.npy"
VERSION = 1


class ToRtl(Step):
    """Write the network as Verilog and hold its simulation against the C simulation, bit for bit."""

    name = "to_rtl"
    Params = ToRtlParams
    takes = "csim"
    gives = "rtl"
    needs = ("tensorflow", "tf_keras")
    limits = ("time_limit_s",)

    def identity(self, params: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"simulators": {one.name: one.version for one in simulators.available()}}
        return found | ({"da4ml": version("da4ml")} if params.get("style") == "parallel" else {})

    def unavailable(self, params: Mapping[str, Any]) -> str | None:
        if params.get("style") == "parallel" and (reason := lacking("da4ml", "0.6")):
            return f"{reason}, which makes the adders of style parallel: uv sync --inexact --extra rtl"
        return simulators.unavailable()

    def timeout(self, params: Mapping[str, Any]) -> float | None:
        return float(params["time_limit_s"]) + 2 * simulators.COMPILE_LIMIT

    @without_autograph
    def run(self, context: StepContext) -> StepOutcome:
        assert context.parent is not None
        prepare(context.seed)
        params: ToRtlParams = context.params
        parent = context.parent.path
        row, csim = load_float(parent), Simulator.open(parent)
        network = design(row, FixedPoint.load(parent), params.multipliers)
        made: Design | Parallel = network
        if params.style == "parallel":
            made = parallel(network, params.cutoff, params.lut_limit)
        x = context.data.test.x
        if params.vectors:
            x = x[: affordable(made, min(params.vectors, len(x)))]
        expected = csim.run(x)
        verilog = context.out / VERILOG
        verilog.mkdir()
        found = simulate(made, x, verilog, expected=expected, limit=params.time_limit_s)
        differing = np.flatnonzero((found.outputs != expected).any(axis=1))
        if differing.size:
            at = int(differing[0])
            layer = first_layer(network, made, row, csim, x[at : at + 1], context)
            raise StepError(
                f"RTL and C simulation differ in {differing.size} of {len(x)} inputs, the first is number "
                f"{at}; first layer that differs there: {layer}"
            )
        shutil.copytree(parent, context.out, dirs_exist_ok=True)
        np.save(context.out / OUTPUTS, found.outputs, allow_pickle=False)
        facts = facts_of(made, found, params)
        described = json.dumps({"version": VERSION, **facts["rtl"]}, indent=1)
        (context.out / DESCRIPTION).write_text(described + "\n")
        return StepOutcome(facts, checks(made, found))


def affordable(network: Design | Parallel, wanted: int) -> int:
    """How many of the wanted inputs are simulated within the budget; two at least, for the interval."""
    best = 0
    for one in simulators.available():
        n = wanted
        while n > 2 and one.seconds(network.cycles(n), network.lanes) > simulators.BUDGET:
            n = max(2, min(n - 1, int(n * 0.9)))
        best = max(best, n)
    return best or wanted


_KINDS: dict[type, str] = {
    Multiply: "multiply",
    MaxPool: "max_pool",
    AveragePool: "average_pool",
    Add: "add",
}


def _described(network: Design | Parallel) -> dict[str, Any]:
    if isinstance(network, Parallel):
        return {
            "cutoff": network.cutoff,
            "pipeline_stages": len(network.pipeline.solutions),
            "adders": network.adders,
            "luts_by_da4ml": network.luts,
            "da4ml": version("da4ml"),
        }
    stages = [
        {
            "name": stage.name,
            "kind": _KINDS[type(stage)],
            "taps": stage.taps,
            "outputs": stage.outputs,
            "positions": stage.window.positions,
            "cycles": stage.cycles,
            "multipliers": stage.multipliers if isinstance(stage, Multiply) else 0,
            "sum_bits": stage.sum.bits if isinstance(stage, Multiply) else None,
        }
        for stage in network.stages
    ]
    most = [stage.multipliers for stage in network.stages if isinstance(stage, Multiply)]
    return {"multipliers": max(most, default=0), "multipliers_in_all": network.lanes, "stages": stages}


def facts_of(network: Design | Parallel, found: Simulation, params: ToRtlParams) -> dict[str, Any]:
    """What the record keeps: the design, what was compared, and the hardware's cycles for reports."""
    period = 1000.0 / params.clock_mhz
    rtl = {
        "style": params.style,
        "simulator": found.simulator[0],
        "simulator_version": found.simulator[1],
        "vectors": len(found.outputs),
        "cycles": found.latency,
        "interval": found.interval,
        **_described(network),
    }
    hardware = {
        "origin": "simulated",
        "cycles": {
            "cycles_min": found.latency,
            "cycles_max": found.latency,
            "interval_min": found.interval,
            "interval_max": found.interval,
            "clock_target_ns": period,
        },
    }
    return {"rtl": rtl, "hardware": hardware}


def checks(network: Design | Parallel, found: Simulation) -> tuple[Check, ...]:
    """Equal to the C simulation (a difference does not get this far), and as fast as the formula says."""
    n = len(found.outputs)
    seen, told = (found.last - found.first[0]).tolist(), network.ends(n)
    at = next((i for i in range(n) if seen[i] != told[i]), n - 1)
    detail = f"outputs of input {at} are complete after {seen[at]} cycles, by the formula {told[at]}"
    return (
        Check("RTL is the C simulation", True, f"{n} of {n} inputs equal in all bits"),
        Check("cycles as the formula says", seen == told, detail),
    )


def first_layer(
    network: Design, made: Design | Parallel, row: Any, csim: Simulator, x: np.ndarray, context: StepContext
) -> str:
    """The first layer whose outputs differ from the C simulation's for one input x."""
    folder = context.out / "trace"
    folder.mkdir()
    if isinstance(made, Parallel):
        stages = [_beginning(network, made.cutoff, n + 1, x, folder) for n in range(len(network.stages))]
    else:
        stages = simulate(made, x, folder, trace=True).stages
    _, traced = csim.trace(x)
    for names, values in zip(layers_of(network, row), stages, strict=True):
        known = [name for name in names if name in traced]
        if known and not np.array_equal(traced[known[-1]].ravel(), values.ravel()):
            return f"{names[0]} (output {int(np.argmax(traced[known[-1]].ravel() != values.ravel()))})"
    return "none: they differ only among other inputs"


def _beginning(network: Design, cutoff: int, count: int, x: np.ndarray, folder: Path) -> np.ndarray:
    """Outputs of the first `count` layers, made as a pipeline of their own."""
    part = replace(
        network,
        stages=network.stages[:count],
        output=list(numbers(network))[count],
        outputs=network.stages[count - 1].outputs,
        sources=network.sources[:count],
    )
    place = folder / str(count)
    place.mkdir()
    return simulate(parallel(part, cutoff), x, place).outputs


def layers_of(network: Design, row: Any) -> list[list[str]]:
    """Names of the layers that each stage computes: its own, and activation functions after it."""
    found = {stage.name: [stage.name] for stage in network.stages}
    within: dict[str, str] = {}  # stage whose result a layer's output is
    for layer in row.layers:
        own = layer.name in found
        within[layer.name] = layer.name if own else within.get(parents(layer)[0], "")
        if not own and type(layer).__name__ == "Activation":
            found[within[layer.name]].append(layer.name)
    return list(found.values())
