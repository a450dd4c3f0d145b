"""Target rtl: from a trained network to Verilog that gives the C simulation's bits, or a failed record."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.registry import STEPS, TARGETS
from bench.core.step import Artifact
from bench.errors import ArtifactError, StepError
from bench.steps.hardware import to_rtl
from targets.fpga.fixed import FixedPoint, FixedType, LayerTypes
from targets.fpga.rtl import pieces, simulators
from targets.fpga.rtl.cast import cast_lines
from targets.fpga.rtl.network import design
from targets.fpga.rtl.simulate import simulate
from targets.fpga.rtl.stages import Cast, Design, Number
from targets.fpga.rtl_target import Rtl, RtlOptions, RtlRunner
from tests.tiny import QAT, TRAIN, Blobs, built, copied, made, not_optimised, run, step

needs_tools = [
    pytest.mark.tf,
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++"),
    pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog"),
]
X = Blobs().load().test.x
CSIM = (TRAIN, QAT, step("to_hls"), step("compile_hls"))
RTL = step("to_rtl", multipliers=3)


def tools(function: Any) -> Any:
    for mark in needs_tools:
        function = mark(function)
    return function


# ---------------------------------------------------------------- what it gives


@tools
@pytest.mark.parametrize("model", ["tiny_mlp", "tiny_cnn"])
def test_network_is_simulated_and_equal(model: str) -> None:
    artifact, outcome = built(model, *CSIM, RTL)
    told, hardware = outcome.facts["rtl"], outcome.facts["hardware"]
    assert told["vectors"] == len(X) and told["multipliers"] == 3
    assert told["simulator"] in ("iverilog", "verilator") and told["simulator_version"][0].isdigit()
    cycles = 63 + sum(stage["cycles"] for stage in told["stages"])
    assert told["cycles"] == hardware["cycles"]["cycles_max"] == cycles > told["interval"] > 64
    assert hardware["origin"] == "simulated"
    assert hardware["cycles"]["clock_target_ns"] == 10
    assert {check.name for check in outcome.checks} == {
        "RTL is the C simulation",
        "cycles as the formula says",
    }
    names = {path.name for path in (artifact.path / "verilog").iterdir()}
    assert {"network.v", "test_bench.v", "inputs.hex", "expected.hex"} <= names
    assert not names & {"simulation", "obj"}


@tools
@pytest.mark.parametrize("rounding", ["TRN", "RND_CONV"])
def test_averages_are_those_of_hls4ml(rounding: str) -> None:
    fixed = step("to_fixed", bits=9, rounding=rounding)
    _, outcome = built("tiny_averages", TRAIN, fixed, step("to_hls"), step("compile_hls"), RTL)
    kinds = [stage["kind"] for stage in outcome.facts["rtl"]["stages"]]
    assert kinds == ["multiply", "average_pool", "multiply", "average_pool", "multiply"]
    assert all(check.passed for check in outcome.checks)


@tools
def test_target_scores_and_ends_the_chain_of_agreement() -> None:
    artifact = made("tiny_mlp", *CSIM, RTL)
    runner = Rtl().open(artifact.path)
    assert runner.agreement() == []
    csim = TARGETS.get("hls4ml").open(made("tiny_mlp", *CSIM).path, None)
    np.testing.assert_array_equal(runner.predict(X), csim.predict(X))
    links = runner.agreement()
    assert [(link["of"], link["against"]) for link in links] == [
        ("qkeras", "float"),
        ("csim", "qkeras"),
        ("rtl", "csim"),
    ]
    assert links[-1]["n"] == links[-1]["bit_exact"] == len(X) and links[-1]["mismatches"] == 0
    about = runner.describe()
    assert json.loads(json.dumps(about)) == about and about["rtl"]["vectors"] == len(X)


@tools
def test_files_run_without_this_project(tmp_path: Path) -> None:
    artifact = made("tiny_mlp", *CSIM, RTL)
    shutil.copytree(artifact.path / "verilog", tmp_path / "verilog")
    command = "iverilog -g2005 -o simulation *.v && vvp -n simulation"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path / "verilog", capture_output=True, text=True, timeout=120
    )
    assert f"PASS: 0 of {4 * len(X)} outputs differ" in done.stdout


# ---------------------------------------------------------------- what it refuses


@tools
@pytest.mark.parametrize("layer, file", [("dense_0", 0), ("logits", -1)])
def test_a_difference_names_vector_and_layer(layer: str, file: int, tmp_path: Path) -> None:
    """One weight of the C simulation with the other sign: now the two are different networks."""
    csim = made("tiny_mlp", *CSIM)
    place = copied(csim, tmp_path / "csim")
    path = sorted((place / "weights").glob("w*.txt"), key=lambda p: int(p.stem[1:]))[file]
    values = [float(text) for text in path.read_text().split(",")]
    values[int(np.argmax(np.abs(values)))] *= -1
    path.write_text(", ".join(f"{value:.10f}" for value in values))
    with pytest.raises(
        StepError, match=rf"differ in \d+ of 64 inputs, the first is number \d+.*: {layer} \(out"
    ):
        run("to_rtl", tmp_path / "out", parent=Artifact(place, "csim", "", csim.facts))


@tools
@pytest.mark.parametrize("place, layer", [(0, "dense_0"), (-1, "logits")])
def test_one_flipped_weight_bit_is_caught(
    place: int, layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flipped(*given: Any) -> Design:
        right = design(*given)
        stages = list(right.stages)
        weights = stages[place].weights.copy()  # type: ignore[union-attr]
        weights.flat[int(np.argmax(np.abs(weights)))] ^= 1
        stages[place] = replace(stages[place], weights=weights)  # type: ignore[call-arg]
        return replace(right, stages=tuple(stages))

    monkeypatch.setattr(to_rtl, "design", flipped)
    with pytest.raises(StepError, match=rf"differ in \d+ of 64 inputs.* differs there: {layer} "):
        run("to_rtl", tmp_path / "out", parent=made("tiny_mlp", *CSIM))


@tools
def test_a_wrong_rounding_mode_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def truncating(source: str, number: Number, cast: Cast, target: str) -> list[str]:
        assert cast.type.rounding == "RND_CONV"
        return cast_lines(source, number, replace(cast, type=replace(cast.type, rounding="TRN")), target)

    monkeypatch.setattr(pieces, "cast_lines", truncating)
    with pytest.raises(StepError, match=r"differ in \d+ of 64 inputs.*: dense_0"):
        run("to_rtl", tmp_path / "out", parent=made("tiny_mlp", *CSIM))


@tools
def test_artifacts_that_are_none(tmp_path: Path) -> None:
    place = copied(made("tiny_mlp", *CSIM, RTL), tmp_path / "rtl")
    for name in ("rtl.json", "rtl_outputs.npy"):
        content = (place / name).read_bytes()
        for bad in (b"", b"[]", content[: len(content) // 2]):
            (place / name).write_bytes(bad)
            with pytest.raises(ArtifactError):
                RtlRunner(place)
        (place / name).unlink()
        with pytest.raises(ArtifactError):
            RtlRunner(place)
        (place / name).write_bytes(content)
    RtlRunner(place)


def test_without_a_simulator_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulators, "available", tuple)
    for reason in (STEPS.get("to_rtl").unavailable({}), Rtl().unavailable()):
        assert reason is not None and "apt-get install" in reason
    assert STEPS.get("to_rtl").identity({}) == {"simulators": {}}


def test_an_old_verilator_alone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "verilator"
    program.write_text("#!/bin/sh\necho Verilator 4.038 2020-07-11\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(simulators, "_version", simulators._version.__wrapped__)
    there = {"verilator": str(program)}
    monkeypatch.setattr(simulators.shutil, "which", there.get)
    assert simulators.available() == ()
    reason = STEPS.get("to_rtl").unavailable({})
    assert reason == f"Verilator 4.038 is too old (5.0 is needed), and {simulators.NEEDED}"


@tools
def test_whole_test_set_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    """No budget cuts it short, and its limit is one of time."""
    monkeypatch.setattr(simulators, "BUDGET", 0.0)
    _, outcome = built("tiny_mlp", *CSIM, step("to_rtl", multipliers=3, vectors=0, time_limit_s=600.0))
    assert outcome.facts["rtl"]["vectors"] == len(X)
    _, outcome = built("tiny_mlp", *CSIM, step("to_rtl", multipliers=3, time_limit_s=600.0))
    assert outcome.facts["rtl"]["vectors"] == 2
    plugin = STEPS.get("to_rtl")
    assert plugin.timeout({"time_limit_s": 7200.0}) > 7200.0  # type: ignore[operator]
    steps = Rtl().finish(RtlOptions(vectors=0, time_limit_s=9.0).model_dump(mode="json"))
    assert [spec.params["time_limit_s"] for spec in steps[2:]] == [9.0, 9.0]
    assert steps[2].params["vectors"] == 0


@tools
def test_simulation_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []

    def slow(self: Any, sources: Any, folder: Path, limit: float | None = None) -> str:
        limits.append(limit)
        raise StepError("vvp did not finish within 1 s")

    monkeypatch.setattr(simulators.Simulator, "run", slow)
    with pytest.raises(StepError, match="did not finish within 1 s"):
        run("to_rtl", tmp_path / "out", parent=made("tiny_mlp", *CSIM), time_limit_s=1.0)
    assert limits == [1.0]


def test_chain_of_the_target_fits() -> None:
    steps = Rtl().finish(RtlOptions(multipliers=2).model_dump(mode="json"))
    assert [spec.step for spec in steps][:3] == ["to_hls", "compile_hls", "to_rtl"]
    assert steps[2].params["multipliers"] == 2
    hls4ml = TARGETS.get("hls4ml")
    assert steps[:2] == hls4ml.finish(hls4ml.Options().model_dump(mode="json"))


def test_large_designs_are_simulated_with_fewer_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.rtl import INPUT, Number, multiply, row, whole_input

    icarus = simulators.Simulator("iverilog", "11.0", 0.5, 0.0004, 10.0, 4.0)
    verilator = simulators.Simulator("verilator", "5.006", 15.0, 0.008, 1.0, 0.05)
    stage = multiply(np.random.default_rng(0), "a", whole_input(784), Number.of(INPUT), 64, p=8)
    network = row(INPUT, stage)
    for there in ((icarus,), (verilator,), (icarus, verilator)):
        monkeypatch.setattr(simulators, "available", lambda there=there: there)
        n = to_rtl.affordable(network, 100_000)
        quickest = min(one.seconds(network.cycles(n), 8) for one in there)
        assert 2 < n < 100_000 and simulators.BUDGET / 2 < quickest <= simulators.BUDGET
        assert to_rtl.affordable(network, 10) == 10


# ---------------------------------------------------------------- against hls4ml, drawn at random


@tools
def test_same_padding_and_stride_are_those_of_hls4ml(tmp_path: Path) -> None:
    """Weights at random, no training: geometry and types as hls4ml's C simulation has them."""
    from bench.formats.keras_env import load
    from targets.fpga.hls.convert import Conversion, convert
    from targets.fpga.hls.simulator import Simulator, compile_project

    keras = load().keras
    layers = keras.layers
    network = keras.Sequential(
        [
            layers.Input((7, 6, 2), name="network_input"),
            layers.Conv2D(3, 3, strides=2, padding="same", name="conv"),
            layers.Activation("relu", name="conv_relu"),
            layers.Conv2D(4, 2, padding="valid", name="second"),
            layers.Flatten(name="flatten"),
            layers.Dense(3, name="logits"),
        ]
    )
    rng, weight, bias = np.random.default_rng(4), FixedType(6, 1), FixedType(8, 2)
    for name in ("conv", "second", "logits"):
        shapes = [array.shape for array in network.get_layer(name).get_weights()]
        values = [
            rng.integers(type_.low / type_.step, type_.high / type_.step, shape, endpoint=True) * type_.step
            for type_, shape in zip((weight, bias), shapes, strict=True)
        ]
        network.get_layer(name).set_weights(values)
    hidden = FixedType(7, 3, False, "RND_CONV", "SAT")
    types = FixedPoint(
        "post_training",
        FixedType(8, 2, True, "RND", "SAT"),
        {
            "conv": LayerTypes(weight, bias),
            "conv_relu": LayerTypes(result=hidden),
            "second": LayerTypes(weight, bias, FixedType(9, 3, True, "RND", "WRAP"), FixedType(14, 5)),
            "flatten": LayerTypes(),
            "logits": LayerTypes(weight, bias, FixedType(16, 7, True, "RND_CONV", "SAT")),
        },
    )
    convert(network, types, Conversion(io_type="io_stream"), tmp_path / "project")
    (tmp_path / "csim").mkdir()
    with not_optimised():
        compile_project(tmp_path / "project", tmp_path / "csim")
    x = rng.normal(size=(40, 7, 6, 2)).astype(np.float32)
    expected = Simulator.open(tmp_path / "csim").run(x)
    made = design(network, types, 3)
    (tmp_path / "verilog").mkdir()
    found = simulate(made, x, tmp_path / "verilog")
    np.testing.assert_array_equal(found.outputs, expected)
    assert len(np.unique(expected)) > 20
    assert (found.latency, found.interval) == (made.latency, made.interval)
