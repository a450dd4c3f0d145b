"""hls4ml's bit-exact C simulation as a target: accuracy and agreement, nothing about time."""

from __future__ import annotations

import itertools
from importlib.metadata import version
from pathlib import Path
from shutil import which
from typing import Any, ClassVar

import numpy as np

from bench.core.agreement import compare
from bench.core.cells import StepSpec
from bench.core.versions import installed
from targets.base import Runner, Target, TargetOptions
from targets.fpga.fixed import FixedPoint, Reference, inputs_digest
from targets.fpga.hls.simulator import Simulator
from targets.fpga.parameters import HlsDesign, ToHlsParams


class Hls4mlOptions(HlsDesign, TargetOptions):
    """How hls4ml writes the design. Nothing of it changes what is computed; simulating what is built
    is the point."""


class CsimRunner(Runner):
    """A compiled C simulation and what it must agree with."""

    def __init__(self, artifact: Path) -> None:
        self.simulator = Simulator.open(artifact)
        self.types = FixedPoint.load(artifact)
        self.reference = Reference.load(artifact)
        self._last: tuple[np.ndarray, np.ndarray] | None = None
        self._one: np.ndarray | None = None

    def describe(self) -> dict[str, Any]:
        return {
            "runtime": "hls4ml C simulation",
            "version": version("hls4ml") if installed("hls4ml") else None,
            "compiler": self.simulator.description.get("compiler"),
            "compiler_version": self.simulator.description.get("compiler_version"),
            "layers": dict(self.simulator.layers),
            "input": {"dtype": str(self.types.input), "shape": [1, self.simulator.inputs]},
            "output": {"dtype": "fixed", "shape": [1, self.simulator.outputs]},
        }

    def predict(self, x: np.ndarray) -> np.ndarray:
        outputs = self.simulator.run(x).astype(np.float32)
        self._last = (x, outputs)
        return outputs

    def prepare(self, x: np.ndarray) -> None:
        self._one = x

    def invoke(self) -> None:
        assert self._one is not None
        self.simulator.run(self._one)

    def end_to_end(self, x: np.ndarray) -> np.ndarray:
        return self.predict(x)

    def agreement(self) -> list[dict[str, Any]]:
        """The chain of agreement over the last inputs predicted, if they are those of the reference:
        each network against the one before it, C simulation last.

        `first_layer` names the first layer that differs, where both ends ought to be equal bit for bit.
        """
        if self._last is None or inputs_digest(self._last[0]) != self.reference.inputs:
            return []
        x, outputs = self._last
        chain = [*self.reference.logits.items(), ("csim", outputs)]
        links = []
        for (against, before), (of, after) in itertools.pairwise(chain):
            found = compare(before, after)
            link = {"of": of, "against": against, **found.to_json(), "first_layer": None}
            if of == "csim" and self.types.source == "qkeras" and found.bit_exact < found.n:
                different = np.flatnonzero((before != after).any(axis=1))
                link["first_layer"] = self._first_layer(x[different[:4]])
            links.append(link)
        return links

    def _first_layer(self, x: np.ndarray) -> str:
        """The first layer, in the network's order, whose outputs differ from QKeras' for inputs x."""
        from bench.formats.keras import load_float
        from targets.fpga.qkeras_network import build, profile

        row = load_float(self.simulator.folder)
        expected = profile(build(row, self.types), x)
        _, traced = self.simulator.trace(x)
        for layer in row.layers:
            own = traced.get(layer.name)
            ends = [name for name in (layer.name + "_quantizer", layer.name) if name in expected]
            if own is not None and not np.array_equal(own, expected[ends[0]].reshape(len(x), -1)):
                return str(layer.name)
        return "none: outputs differ on these inputs in one of two runs only"


class Hls4ml(Target):
    """hls4ml's C simulation on this machine: the outputs of the hardware, not its speed."""

    name: ClassVar[str] = "hls4ml"
    format: ClassVar[str] = "csim"
    starts_from: ClassVar[str | None] = "fixed"
    Options: ClassVar[type[TargetOptions]] = Hls4mlOptions
    scopes: ClassVar[tuple[str, ...]] = ()
    modules: ClassVar[tuple[str, ...]] = ("hls4ml",)

    def finish(self, options: Any) -> tuple[StepSpec, ...]:
        params = ToHlsParams(backend="Vitis", **options).model_dump(mode="json")
        return StepSpec("to_hls", params), StepSpec("compile_hls")

    def unavailable(self) -> str | None:
        if which("g++") is None:
            return "g++ is not installed, which compiles the C simulation: apt-get install g++"
        if not installed("hls4ml"):
            return "hls4ml is not installed: uv sync --extra train (or pip install 'edge-bench[train]')"
        return None

    def open(self, artifact: Path, options: Any = None) -> CsimRunner:
        return CsimRunner(artifact)
