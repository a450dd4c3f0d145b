"""Residual networks as fixed-point networks: the same function, types of the sums, and the way to Verilog."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.core.registry import TARGETS
from bench.errors import Unavailable
from bench.steps.fixed.to_fixed import ToFixedParams
from targets.fpga.branches import plain_layers, refused
from targets.fpga.fixed import FixedPoint, FixedType
from targets.fpga.layers import INPUT
from tests.tiny import TRAIN, Blobs, built, made, residual, residual_dense, run, step
from tests.unit.test_fixed_layers import shaken

pytestmark = pytest.mark.tf
X = Blobs().load().test.x
tools = pytest.mark.skipif(
    shutil.which("g++") is None or shutil.which("iverilog") is None, reason="needs g++ and iverilog"
)
SIMULATED = (step("to_hls"), step("compile_hls"), step("to_rtl", multipliers=3))


def functional(body: Callable[[Any, Any], Any]) -> Any:
    from bench.formats.keras_env import load

    keras = load().keras
    given = keras.layers.Input((4, 4, 2), name="x")
    return keras.Model(given, body(keras.layers, given))


# ---------------------------------------------------------------- the network


@pytest.mark.parametrize("build", [residual, residual_dense])
def test_plain_layers_are_the_same_function(build: Callable[[], Any]) -> None:
    model = shaken(build())
    plain = plain_layers(model)
    np.testing.assert_allclose(plain(X).numpy(), model(X, training=False).numpy(), rtol=1e-4, atol=1e-4)
    kinds = {type(layer).__name__ for layer in plain.layers}
    assert kinds <= {"InputLayer", "Conv2D", "Activation", "Add", "AveragePooling2D", "Flatten", "Dense"}
    assert plain.input_names == [INPUT]
    assert all(layer.activation.__name__ == "linear" for layer in plain.layers if layer.name == "conv_0")


def test_a_network_in_a_row_is_as_good() -> None:
    from bench.formats.keras import load_float
    from targets.fpga.layers import in_a_row

    model = load_float(made("tiny_cnn", TRAIN).path)
    np.testing.assert_array_equal(plain_layers(model)(X).numpy(), in_a_row(model)(X).numpy())


REFUSED: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "three branches": (
        lambda k, x: k.Add(name="sum")([x, k.ReLU()(x), k.Conv2D(2, 1)(x)]),
        r"'sum' \(Add\) does not add two different branches",
    ),
    "twice the same": (lambda k, x: k.Add(name="sum")([x, x]), r"'sum' \(Add\) does not add two different"),
    "two shapes": (
        lambda k, x: k.Add(name="sum")([x, k.Conv2D(1, 1)(x)]),
        r"'sum' \(Add\) does not add two different branches of one shape",
    ),
    "another join": (
        lambda k, x: k.Concatenate(name="both")([x, k.ReLU()(x)]),
        r"'both' \(Concatenate\) joins branches; only Add is known",
    ),
    "used twice": (
        lambda k, x: _twice(k.Conv2D(2, 1, name="shared"), x),
        r"'shared' \(Conv2D\) is used twice",
    ),
    "norm of a shared layer": (
        lambda k, x: _normalized(k, k.Conv2D(2, 1, name="conv")(x)),
        r"'norm' \(BatchNormalization\) follows a layer that others take, too",
    ),
    "norm of a sum": (
        lambda k, x: k.BatchNormalization(name="norm")(k.Add()([x, k.Conv2D(2, 1)(x)])),
        r"'norm' \(BatchNormalization\) does not follow a layer that it can be folded into",
    ),
    "softmax": (
        lambda k, x: k.Add()([x, k.Conv2D(2, 1, activation="softmax", name="end")(x)]),
        r"'end' \(Conv2D\) ends in softmax",
    ),
    "two outputs": (lambda k, x: [x, k.ReLU()(x)], r"it has 1 inputs and 2 outputs"),
}


def _twice(layer: Any, x: Any) -> Any:
    return layer(layer(x))


def _normalized(k: Any, x: Any) -> Any:
    return k.Add()([k.BatchNormalization(name="norm")(k.Dropout(0.1)(x)), x])


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_converted_is_named(case: str) -> None:
    body, told = REFUSED[case]
    model = functional(body)
    with pytest.raises(Unavailable, match=rf"there is no fixed-point design of this network: .*{told}"):
        plain_layers(model)


def test_a_norm_is_folded_into_a_layer_that_comes_after_a_norm() -> None:
    """Each into its own, although the layer before the second one is a normalization."""

    def body(k: Any, x: Any) -> Any:
        inner = k.BatchNormalization()(k.Conv2D(2, 1)(x))
        return k.Add()([x, k.BatchNormalization()(k.Dropout(0.5)(k.Conv2D(2, 1)(inner)))])

    model = shaken(functional(body))
    assert refused(model) is None
    x = np.random.default_rng(2).normal(size=(3, 4, 4, 2)).astype(np.float32)
    np.testing.assert_allclose(plain_layers(model)(x).numpy(), model(x, training=False).numpy(), atol=1e-5)


# ---------------------------------------------------------------- the step


def test_sums_get_types_that_hold_them() -> None:
    from bench.steps.fixed.to_fixed_branches import types_with_sums

    network = plain_layers(shaken(residual_dense()))
    types = types_with_sums(network, 40 * X, ToFixedParams(bits=12))
    result = types.layers["sum"].result
    assert result is not None and (result.bits, result.rounding, result.overflow) == (12, "RND", "SAT")
    from targets.fpga.qkeras_network import profile

    sums = profile(network, 40 * X)["sum"]
    assert result.high >= sums.max() > result.high / 2 or result.low <= sums.min() < result.low / 2
    fixed = types_with_sums(network, X, ToFixedParams(bits=32, integer=16, rounding="TRN", overflow="WRAP"))
    assert str(fixed.layers["sum"].result) == "fixed<32,16>"


def test_costs_count_what_goes_into_each_layer() -> None:
    """The convolution past conv_2 takes sum_1's type, not that of the layer that stands before it."""
    from bench.steps.fixed.cost import input_types
    from bench.steps.fixed.to_fixed_branches import counted, types_with_sums

    network = plain_layers(shaken(residual()))
    types = types_with_sums(network, X, ToFixedParams(bits=9))
    wide = FixedType(13, 5, False, "RND", "SAT")
    layers = {**types.layers, "relu_1": type(types.layers["relu_1"])(result=wide)}
    row, row_types = counted(network, FixedPoint("post_training", types.input, layers))
    found = input_types(row, row_types)
    assert found["conv_kept"] == found["conv_2"] == wide
    assert {found[name].bits for name in ("conv_0", "conv_1", "conv_3", "logits")} == {9}
    names = [layer.name for layer in row.layers if not layer.name.endswith(" takes")]
    assert sorted(names) == ["conv_0", "conv_1", "conv_2", "conv_3", "conv_kept", "logits"]


def test_to_fixed_says_why_it_does_not_take_it(tmp_path: Any) -> None:
    from tests.tiny import RESIDUAL

    with pytest.raises(Unavailable, match=r"'sum_1' \(Add\) joins or is used twice"):
        run("to_fixed", tmp_path, model=RESIDUAL, parent=made("tiny_residual", TRAIN))


# ---------------------------------------------------------------- the way to Verilog


@tools
@pytest.mark.parametrize("model", ["tiny_residual", "tiny_residual_mlp"])
@pytest.mark.parametrize(
    "params",
    [{"bits": 10}, {"bits": 20, "integer": 10, "rounding": "TRN", "overflow": "WRAP", "accum": "same"}],
)
def test_verilog_is_the_c_simulation(model: str, params: dict[str, Any]) -> None:
    _, outcome = built(model, TRAIN, step("to_fixed_branches", **params), *SIMULATED)
    told = outcome.facts["rtl"]
    assert all(check.passed for check in outcome.checks) and told["vectors"] == len(X)
    sums = [stage["name"] for stage in told["stages"] if stage["kind"] == "add"]
    assert sums == (["sum_1", "sum_2"] if model == "tiny_residual" else ["sum"])


@tools
def test_fixed_point_network_is_near_the_float_one() -> None:
    artifact = made("tiny_residual", TRAIN, step("to_fixed_branches", bits=10), *SIMULATED[:2])
    runner = TARGETS.get("hls4ml").open(artifact.path, None)
    runner.predict(X)
    (link,) = runner.agreement()
    assert (link["of"], link["against"]) == ("csim", "float")
    assert link["n"] == len(X) and link["mismatches"] <= 3


@tools
def test_a_wrong_sum_names_its_layer(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The first layer that differs is told by name, past a branch, too."""
    from bench.errors import StepError
    from targets.fpga.rtl import verilog
    from tests.tiny import RESIDUAL

    right = verilog.add

    def wrong(name: str, stage: Any) -> str:
        text = right(name, stage)
        return text.replace("sum <= ", "sum <= 1 + ") if stage.name == "sum_2" else text

    monkeypatch.setattr(verilog, "add", wrong)
    parent = made("tiny_residual", TRAIN, step("to_fixed_branches", bits=10), *SIMULATED[:2])
    with pytest.raises(StepError, match=r"differ in \d+ of 64 inputs.* differs there: sum_2 \(output \d+\)"):
        run("to_rtl", tmp_path / "out", model=RESIDUAL, parent=parent)
