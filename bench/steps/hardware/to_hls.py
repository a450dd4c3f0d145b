"""From a network with fixed-point types to an hls4ml project, and to a program that simulates it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from bench.core.step import Check, Step, StepContext, StepOutcome
from bench.formats.keras import MODEL_FILE, load_float
from bench.formats.keras_env import without_autograph
from bench.steps.keras.training import prepare
from targets.fpga.fixed import REFERENCE_FILE, TYPES_FILE, FixedPoint
from targets.fpga.parameters import ToHlsParams


class ToHls(Step):
    """Write the C++ project of a network with fixed-point types (hls4ml)."""

    name = "to_hls"
    Params = ToHlsParams
    takes = "fixed"
    gives = "hls"
    needs = ("tensorflow", "tf_keras", "hls4ml")

    @without_autograph
    def run(self, context: StepContext) -> StepOutcome:
        from targets.fpga.hls.convert import Conversion, convert, graph_facts

        assert context.parent is not None
        prepare(context.seed)
        params: ToHlsParams = context.params
        model, types = load_float(context.parent.path), FixedPoint.load(context.parent.path)
        io_type = params.io_type
        if io_type == "auto":
            kinds = {type(layer).__name__ for layer in model.layers}
            io_type = "io_stream" if kinds & {"Conv1D", "Conv2D"} else "io_parallel"
        how = Conversion(**{**params.model_dump(), "io_type": io_type})
        graph = convert(model, types, how, context.out / "project")
        for name in (MODEL_FILE, TYPES_FILE, REFERENCE_FILE):
            shutil.copyfile(context.parent.path / name, context.out / name)
        layers = graph_facts(graph)
        facts = {**vars(how), "hls_layers": layers, "project_bytes": _bytes(context.out / "project")}
        return StepOutcome(facts, (types_check(types, layers),))


class CompileHls(Step):
    """Compile the project's C simulation with g++: bit for bit what the hardware computes."""

    name = "compile_hls"
    takes = "hls"
    gives = "csim"
    needs = ()
    tools = ("g++",)

    def run(self, context: StepContext) -> StepOutcome:
        from targets.fpga.hls.simulator import compile_project

        assert context.parent is not None
        for name in (MODEL_FILE, TYPES_FILE, REFERENCE_FILE):
            shutil.copyfile(context.parent.path / name, context.out / name)
        facts = compile_project(context.parent.path / "project", context.out)
        return StepOutcome(facts)


def types_check(types: FixedPoint, layers: list[dict[str, Any]]) -> Check:
    """hls4ml gave each tensor the type that was asked for: it falls back to others without a word."""
    wrong = []
    found = {layer["name"]: layer for layer in layers}
    for name, own in types.layers.items():
        layer = found.get(name)
        if layer is None:
            if own != type(own)():
                wrong.append(f"{name} is not in the design")
            continue
        for part, wanted in vars(own).items():
            if wanted is not None and part in layer and layer[part] != str(wanted):
                wrong.append(f"{name} {part} is {layer[part]}, not {wanted}")
    return Check("types as asked", not wrong, "; ".join(wrong) or f"in {len(types.layers)} layers")


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
