"""Projects of hls4ml: the types that were asked for, the same files every time, and its known traps."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.step import Artifact
from bench.errors import StepError, Unavailable
from bench.steps.hardware.to_hls import types_check
from targets.fpga.fixed import FixedPoint, FixedType, LayerTypes
from tests.tiny import QAT, TRAIN, failed, made, not_optimised, run

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def fixed() -> Artifact:
    return made("tiny_mlp", TRAIN, QAT)


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


HOW: list[dict[str, Any]] = [
    {},
    {"strategy": "resource", "reuse_factor": 4, "io_type": "io_stream"},
    {"backend": "VivadoAccelerator", "board": "pynq-z2"},
]


# hls4ml leaves its list of boards open.
@pytest.mark.filterwarnings("ignore:unclosed file.*supported_boards:ResourceWarning")
@pytest.mark.parametrize("how", HOW, ids=["vitis", "shared", "pynq"])
def test_the_same_files_without_place_or_time(
    how: dict[str, Any], fixed: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, outcome = run("to_hls", tmp_path / "first", parent=fixed, **how)
    assert not failed(outcome)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "time", lambda: 1e9)
    again, _ = run("to_hls", tmp_path / "somewhere else", parent=fixed, **how)
    made_first, made_again = files(first.path), files(again.path)
    assert len(made_first) > 20 and made_first.keys() == made_again.keys()
    assert [name for name, content in made_first.items() if content != made_again[name]] == []
    here = [str(place).encode() for place in (tmp_path, fixed.path, Path.cwd(), Path.home())]
    assert [n for n, content in made_first.items() if any(place in content for place in here)] == []
    year = time.strftime("%Y-%m-", time.gmtime()).encode()
    own = {n: content for n, content in made_first.items() if n.endswith((".yml", ".sh", ".tcl", ".cpp"))}
    assert own and not [n for n, content in own.items() if year in content]


def test_project_is_as_asked(fixed: Artifact, tmp_path: Path) -> None:
    how = {"strategy": "resource", "reuse_factor": 8, "clock_ns": 5.0, "part": "xczu3eg-sbva484-1-e"}
    artifact, outcome = run("to_hls", tmp_path, parent=fixed, **how)
    facts = outcome.facts
    assert {name: facts[name] for name in how} == how and facts["io_type"] == "io_parallel"
    source = (artifact.path / "project" / "firmware" / "parameters.h").read_text()
    assert "nnet::resource" in source and "reuse_factor = 8" in source
    settings = (artifact.path / "project" / "hls4ml_config.yml").read_text()
    assert "xczu3eg-sbva484-1-e" in settings and "ClockPeriod: 5.0" in settings
    for name in ("model.keras", "fixed_point.json", "reference.npz"):
        assert (artifact.path / name).read_bytes() == (fixed.path / name).read_bytes()
    total = sum(len(content) for content in files(artifact.path / "project").values())
    assert facts["project_bytes"] == total


def test_convolutions_are_streamed_unless_said_otherwise(tmp_path: Path) -> None:
    parent = made("tiny_cnn", TRAIN, QAT)
    for given, io_type in (("auto", "io_stream"), ("io_parallel", "io_parallel")):
        _, outcome = run("to_hls", tmp_path / given, parent=parent, io_type=given)
        assert outcome.facts["io_type"] == io_type and not failed(outcome)


# ---------------------------------------------------------------- types


def test_every_tensor_has_its_type(fixed: Artifact, tmp_path: Path) -> None:
    types = FixedPoint.load(fixed.path)
    _, outcome = run("to_hls", tmp_path, parent=fixed)
    design = {layer["name"]: layer for layer in outcome.facts["hls_layers"]}
    assert design["network_input"]["result"] == str(types.input)
    compared = 0
    for name, own in types.layers.items():
        for part, wanted in own.to_json().items():
            # The logits' type is that of the activation that hls4ml keeps behind them.
            ends = [design[n][part] for n in (name, f"{name}_linear") if part in design.get(n, {})]
            assert wanted in ends, (name, part)
            compared += 1
    assert compared == 2 * 3 + 2 + 1


@pytest.mark.parametrize(
    ("layer", "part"), [("dense_0", "weight"), ("logits", "bias"), ("dense_1_relu", "result")]
)
def test_a_type_that_fell_back_is_caught(
    layer: str, part: str, fixed: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from targets.fpga.hls import convert

    configure = convert.configure

    def forget(config: dict[str, Any], *args: Any) -> None:
        configure(config, *args)
        config["LayerName"][layer]["Precision"][part] = "fixed<16,6>"

    monkeypatch.setattr(convert, "configure", forget)
    _, outcome = run("to_hls", tmp_path, parent=fixed)
    assert failed(outcome) == ["types as asked"]
    assert f"{layer} {part} is fixed<16,6>, not" in outcome.checks[0].detail


def test_the_check_of_types_by_hand() -> None:
    w, r = FixedType(6, 1, True, "RND_CONV", "SAT"), FixedType(8, 2, False)
    types = FixedPoint("qkeras", r, {"a": LayerTypes(w, w), "b": LayerTypes(result=r), "flat": LayerTypes()})
    a, b = (
        {"name": "a", "weight": str(w), "bias": str(w), "result": "fixed<20,9>"},
        {"name": "b", "result": str(r)},
    )
    assert types_check(types, [a, b]).passed
    for layers, said in (
        ([a], "b is not in the design"),
        ([a | {"weight": "fixed<6,1>"}, b], "a weight is fixed<6,1>, not fixed<6,1,RND_CONV,SAT>"),
        ([a, b | {"result": "ufixed<8,3>"}], "b result is ufixed<8,3>, not ufixed<8,2>"),
    ):
        check = types_check(types, layers)
        assert not check.passed and check.detail == said


# ---------------------------------------------------------------- refusals


def parts(fixed: Artifact) -> tuple[Any, FixedPoint]:
    from bench.formats.keras import load_float

    return load_float(fixed.path), FixedPoint.load(fixed.path)


def test_a_layer_without_types_is_named(fixed: Artifact, tmp_path: Path) -> None:
    from targets.fpga.hls.convert import Conversion, convert

    model, types = parts(fixed)
    fewer = {name: own for name, own in types.layers.items() if name != "dense_1_relu"}
    with pytest.raises(StepError, match="'dense_1_relu' that has no fixed-point types"):
        convert(model, FixedPoint("qkeras", types.input, fewer), Conversion(), tmp_path / "out")


def test_a_layer_that_hls4ml_does_not_know(tmp_path: Path) -> None:
    from bench.formats.keras_env import load
    from targets.fpga.hls.convert import Conversion, convert

    k = load().keras.layers
    model = load().keras.Sequential(
        [k.Input((4,), name="x"), k.Dense(3, name="a"), k.UnitNormalization(name="strange")]
    )
    types = FixedPoint("qkeras", FixedType(8, 1), {"a": LayerTypes(), "strange": LayerTypes()})
    with pytest.raises(StepError, match=r"hls4ml cannot convert the network: .*UnitNormalization"):
        convert(model, types, Conversion(), tmp_path / "out")


def test_a_backend_that_hls4ml_does_not_have(fixed: Artifact, tmp_path: Path) -> None:
    from targets.fpga.hls.convert import Conversion, convert

    with pytest.raises(StepError, match=r"hls4ml cannot convert the network: (?i:.*nobodys)"):
        convert(*parts(fixed), Conversion(backend="Nobodys"), tmp_path / "out")


# ---------------------------------------------------------------- traps of hls4ml's defaults


def large_sums() -> tuple[Any, np.ndarray]:
    """A network whose sums go beyond 32, with probabilities at its end, and inputs."""
    from bench.formats.keras_env import load

    k = load().keras.layers
    stack = [
        k.Input((16,), name="x"),
        k.Dense(8, activation="relu", name="hidden"),
        k.Dense(4, name="logits"),
    ]
    model = load().keras.Sequential([*stack, k.Activation("softmax", name="probabilities")])
    rng = np.random.default_rng(11)
    kernels = [rng.uniform(0, 12, (16, 8)), rng.normal(0, 0.25, (8, 4))]
    biases = [np.zeros(8), rng.normal(0, 1, 4)]
    model.set_weights([kernels[0], biases[0], kernels[1] - kernels[1].mean(axis=0), biases[1]])
    return model, rng.uniform(0.3, 1, (400, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def by_default(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Outputs of hls4ml's own conversion with its default types, all layers."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    model, x = large_sums()
    import hls4ml

    from targets.fpga.hls.simulator import Simulator, compile_project

    project, out = tmp_path_factory.mktemp("default"), tmp_path_factory.mktemp("csim")
    config = hls4ml.utils.config_from_keras_model(model, granularity="model", backend="Vitis")
    graph = hls4ml.converters.convert_from_keras_model(
        model, hls_config=config, backend="Vitis", output_dir=str(project), project_name="network"
    )
    for layer in graph.get_layers():
        layer.set_attr("trace", True)
    graph.config.trace_output = True
    graph.write()
    with not_optimised():
        compile_project(project, out)
    return Simulator.open(out).trace(x)


def test_softmax_by_default_gives_wrong_probabilities_and_is_refused_here(
    by_default: tuple[np.ndarray, dict[str, np.ndarray]],
) -> None:
    from targets.fpga.layers import in_a_row

    probabilities, layers = by_default
    logits = layers["logits"]  # as the design computes them, whatever they are
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = powers / powers.sum(axis=1, keepdims=True)
    assert np.abs(probabilities - expected).max() > 0.05
    with pytest.raises(Unavailable, match=r"'probabilities' .* leave softmax to the host"):
        in_a_row(large_sums()[0])


def test_sums_by_default_wrap_and_ours_do_not(
    by_default: tuple[np.ndarray, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    from bench.formats.keras_env import load
    from bench.steps.fixed.to_fixed import ToFixedParams, post_training_types
    from targets.fpga.hls import simulator
    from targets.fpga.hls.convert import Conversion, convert
    from targets.fpga.layers import in_a_row
    from targets.fpga.qkeras_network import profile

    model, x = large_sums()
    row = in_a_row(load().keras.Model(model.inputs, model.get_layer("logits").output))
    exact = profile(row, x)
    assert np.mean(exact["hidden"] > 32) > 0.9
    assert by_default[1]["hidden"].max() < 32  # wrapped around
    classes = exact["logits"].argmax(axis=1)
    assert np.mean(by_default[1]["logits"].argmax(axis=1) == classes) < 0.7
    types = post_training_types(row, x, ToFixedParams())
    project, out = tmp_path / "project", tmp_path / "csim"
    convert(row, types, Conversion(), project)
    out.mkdir()
    with not_optimised():
        simulator.compile_project(project, out)
    logits, layers = simulator.Simulator.open(out).trace(x)
    assert np.abs(layers["hidden"] - exact["hidden"]).max() < 0.05
    assert np.mean(logits.argmax(axis=1) == classes) > 0.99
