"""QKeras networks: quantizers that are the hardware's types, and a lint that finds what is not exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.errors import StepError
from bench.steps.fixed.qkeras import bits_of, pruned_check
from targets.fpga.fixed import FixedPoint, FixedType, LayerTypes
from targets.fpga.layers import in_a_row
from targets.fpga.qkeras_network import (
    MODES,
    build,
    choose_types,
    lint,
    lint_check,
    profile,
    quantized_weights,
    quantizer,
    weights_check,
)

pytestmark = pytest.mark.tf

VALUES = np.concatenate(
    [
        np.random.default_rng(2).normal(size=500) * 3,
        np.arange(-40, 40) / 16,
        np.arange(-64, 64) / 512,
        [1e6, -1e6, 0.0],
    ]
).astype(np.float32)


def keras() -> Any:
    from bench.formats.keras_env import load

    return load().keras


@pytest.fixture(scope="module")
def row() -> Any:
    k = keras().layers
    stack = [k.Input((6, 6, 1), name="x"), k.Conv2D(3, 3, activation="relu", name="conv")]
    stack += [k.Flatten(name="flat"), k.Dense(8, activation="relu", name="dense"), k.Dense(4, name="logits")]
    model = keras().Sequential(stack)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) * 0.4 for w in model.get_weights()])
    return in_a_row(model)


X = np.random.default_rng(4).uniform(0, 1, (60, 6, 6, 1)).astype(np.float32)


def chosen(row: Any, weights: Any = 6, activations: Any = 6, **given: Any) -> FixedPoint:
    return choose_types(
        row,
        X,
        bits_of(row, weights, ("Dense", "Conv2D")),
        bits_of(row, activations, ("Activation",)),
        **{"bias_bits": 8, "input_bits": 8, "output_bits": 16, **given},
    )


# ---------------------------------------------------------------- quantizers


@pytest.mark.parametrize("bits", [2, 3, 6, 8, 12, 16])
@pytest.mark.parametrize("integer", [-6, -3, -1, 0, 1, 2, 5, 9])
def test_quantizers_are_the_types(bits: int, integer: int) -> None:
    for signed in (True, False):
        type_ = FixedType(bits, integer, signed, *MODES)
        x = VALUES[np.abs(VALUES) < 2**23 * type_.step]  # float32 has no more digits
        np.testing.assert_array_equal(np.asarray(quantizer(type_)(x)), type_.quantize(x))
    relu = FixedType(bits, integer, False, *MODES)
    np.testing.assert_array_equal(np.asarray(quantizer(relu, relu=True)(x)), relu.quantize(x))


def test_qkeras_itself_fails_below_zero_integer_bits() -> None:
    """Why there are quantizers of our own: its power of two is one of integers."""
    quantizer(FixedType(6, 1, True, *MODES))  # imports in the right order
    import qkeras

    np.testing.assert_array_equal(
        np.asarray(qkeras.quantized_bits(6, 1, alpha=1)(VALUES)),
        FixedType(6, 2, True, *MODES).quantize(VALUES),
    )
    with pytest.raises(Exception, match=r"negative|integer|power"):
        qkeras.quantized_bits(6, -2, alpha=1)(VALUES)
    with pytest.raises(Exception, match=r"negative|integer|power"):
        qkeras.quantized_relu(6, -2)(VALUES)


@pytest.mark.parametrize("text", ["fixed<8,1>", "fixed<8,1,RND,SAT>", "fixed<8,1,RND_CONV,WRAP>"])
def test_types_that_qkeras_does_not_have(text: str) -> None:
    with pytest.raises(StepError, match=r"QKeras has no quantizer for fixed<8,1"):
        quantizer(FixedType.parse(text))


def test_relu_with_a_sign_is_no_relu() -> None:
    with pytest.raises(StepError, match="after ReLU"):
        quantizer(FixedType(8, 1, True, *MODES), relu=True)


def test_stock_quantizers_have_as_many_bits() -> None:
    import qkeras

    for relu in (False, True):
        stock = quantizer(FixedType(7, -2, False, *MODES), relu=relu, stock=True)
        assert type(stock) is (qkeras.quantized_relu if relu else qkeras.quantized_bits)
        assert (stock.bits, stock.integer) == (7, 0)
    assert quantizer(FixedType(7, 3, True, *MODES), stock=True).integer == 2


# ---------------------------------------------------------------- the network built


def all_quantizers(network: Any) -> list[Any]:
    found = []
    for layer in network.layers:
        found += [layer.quantizer] if hasattr(layer, "quantizer") else []
        found += list(getattr(layer, "get_quantizers", list)()) if hasattr(layer, "kernel") else []
    return found


def test_built_network_rounds_everything_with_alpha_one(row: Any) -> None:
    types = chosen(row)
    network = build(row, types)
    found = all_quantizers(network)
    assert len(found) == 2 * 3 + 2 + 2  # weights and biases of three layers, two ReLUs, input and logits
    assert all(q is not None and getattr(q, "alpha", 1) == 1 for q in found)
    assert sum(hasattr(q, "alpha") for q in found) == 8
    assert lint(network) == [] and lint_check(network).passed


def test_built_network_gives_values_of_the_types_only(row: Any) -> None:
    types = chosen(row)
    network = build(row, types)
    seen = profile(network, X * 1.3 - 0.1)
    assert types.input.holds(seen["network_input_quantizer"])
    for name, own in types.layers.items():
        if own.result is not None:
            values = seen[name + "_quantizer" if name == "logits" else name]
            assert own.result.holds(values) and np.ptp(values) > 0


def test_wide_types_give_the_float_network(row: Any) -> None:
    types = chosen(row, 16, 16, bias_bits=16, input_bits=16, output_bits=24)
    np.testing.assert_allclose(np.asarray(build(row, types)(X)), np.asarray(row(X)), atol=2e-3)


def test_logits_have_one_integer_bit_more_than_was_seen(row: Any) -> None:
    logits = profile(row, X)["logits"]
    result = chosen(row).layers["logits"].result
    assert result is not None and result.signed and result.bits == 16
    top = float(np.abs(logits).max())
    assert result.high / 4 < top <= result.high / 2 + result.step


@pytest.mark.parametrize("scale", [1 / 8, 8.0])
def test_input_and_relus_have_the_integer_bits_that_they_need(row: Any, scale: float) -> None:
    """`quantized_relu(bits)` alone ends at one, however large the sums are."""
    x = (scale * X).astype(np.float32)
    bits = {layer.name: 8 for layer in row.layers}
    types = choose_types(row, x, bits, bits, bias_bits=16, input_bits=16, output_bits=24)
    values = profile(row, x)
    ranges = [(types.layers[name].result, values[name]) for name in ("conv_relu", "dense_relu")]
    for result, seen in [(types.input, x), *ranges]:
        assert result is not None and not result.signed
        # Next to nothing is cut off, and not half of the range is left empty.
        assert np.quantile(seen, 0.99) <= result.high and seen.max() > result.high / 2
    assert (types.layers["conv_relu"].result.integer > 0) == (scale > 1)  # type: ignore[union-attr]


def test_input_below_zero_has_a_sign(row: Any) -> None:
    assert not chosen(row).input.signed
    bits = {layer.name: 6 for layer in row.layers}
    types = choose_types(row, X - 0.5, bits, bits, bias_bits=8, input_bits=8, output_bits=16)
    assert types.input.signed and types.input.bits == 8


def test_bits_per_layer(row: Any) -> None:
    types = chosen(row, {"conv": 3, "logits": 8}, {"conv_relu": 4})
    bits = {name: own.weight.bits for name, own in types.layers.items() if own.weight}
    assert bits == {"conv": 3, "dense": 8, "logits": 8}  # not named: the largest
    after = {name: own.result.bits for name, own in types.layers.items() if own.result}
    assert after == {"conv_relu": 4, "dense_relu": 4, "logits": 16}
    assert all(own.bias.bits == 8 for own in types.layers.values() if own.bias)


def test_bits_of_a_layer_that_is_not_there(row: Any) -> None:
    with pytest.raises(StepError, match=r"'dnese'[\s\S]*Did you mean 'dense'"):
        bits_of(row, {"dnese": 4}, ("Dense",))
    with pytest.raises(StepError, match="'conv'"):  # of another kind
        bits_of(row, {"conv": 4}, ("Dense",))


def test_given_integer_bits_are_kept(row: Any) -> None:
    types = chosen(row, weight_integer=3)
    for own in types.layers.values():
        if own.weight is not None and own.bias is not None:
            assert own.weight.integer == own.bias.integer == 3


# ---------------------------------------------------------------- weights


def test_weights_are_what_qkeras_computes_with(row: Any) -> None:
    types = chosen(row, 4)
    network = build(row, types)
    weights = quantized_weights(network, types)
    assert list(weights) == ["conv", "dense", "logits"]
    assert weights_check(network, weights).passed
    for name, (kernel, bias) in weights.items():
        own = types.layers[name]
        assert own.weight is not None and own.weight.holds(kernel) and np.unique(kernel).size <= 16
        assert own.bias is not None and own.bias.holds(bias)


def test_a_weight_that_differs_is_caught(row: Any) -> None:
    types = chosen(row)
    network = build(row, types)
    weights = quantized_weights(network, types)
    for part in (0, 1):
        changed = {name: [array.copy() for array in arrays] for name, arrays in weights.items()}
        changed["dense"][part].flat[3] += types.layers["dense"].weight.step  # type: ignore[union-attr]
        check = weights_check(network, changed)
        assert not check.passed and check.detail == "different in dense"
    assert not weights_check(network, {}).passed


def test_another_quantizer_than_the_types_is_caught(row: Any) -> None:
    types = chosen(row)
    network = build(row, types)
    wrong = FixedPoint(types.source, types.input, dict(types.layers))
    coarse = types.layers["conv"].weight
    assert coarse is not None
    other = FixedType(coarse.bits - 1, coarse.integer, True, *MODES)
    wrong.layers["conv"] = LayerTypes(other, types.layers["conv"].bias)  # type: ignore[index]
    assert weights_check(network, quantized_weights(network, wrong)).detail == "different in conv"


def test_pruned_check_is_per_kernel() -> None:
    half = np.array([[0.0, 1.0], [1.0, 0.0]] * 50)
    assert pruned_check({"a": half}, 0.5).passed and pruned_check({"a": half}, 0.505).passed
    assert pruned_check({"a": half}, 0.2).passed  # rounding may make more
    assert not pruned_check({"a": half}, 0.52).passed
    found = pruned_check({"a": np.zeros((10, 10)), "b": np.ones((10, 10))}, 0.4)
    assert not found.passed and "b 0.000" in found.detail and "a " not in found.detail
    assert not pruned_check({}, 0.0).passed


# ---------------------------------------------------------------- lint


def network(*stack: Callable[[Any, Any], Any]) -> Any:
    """A hand-made QKeras network."""
    k = keras().layers
    import qkeras

    return keras().Sequential([k.Input((4,), name="x"), *(make(k, qkeras) for make in stack)])


def rounded(name: str, text: str) -> Callable[[Any, Any], Any]:
    return lambda k, q: q.QActivation(eval_quantizer(text), name=name)


def eval_quantizer(text: str) -> Any:
    import qkeras
    from qkeras.quantizers import get_quantizer

    return get_quantizer(text) if "(" in text else getattr(qkeras, text)()


def dense(name: str, kernel: str = "quantized_bits(6,0,alpha=1)") -> Callable[[Any, Any], Any]:
    return lambda k, q: q.QDense(
        3,
        name=name,
        kernel_quantizer=eval_quantizer(kernel),
        bias_quantizer=eval_quantizer("quantized_bits(6,0,alpha=1)"),
    )


IN = rounded("in", "quantized_bits(8,0,alpha=1)")
OUT = rounded("out", "quantized_bits(16,6,alpha=1)")
RELU = rounded("relu", "quantized_relu(6,2)")
BITS = "quantized_bits(6,2,alpha=1)"


def test_a_good_network_has_no_findings() -> None:
    good = network(IN, dense("a"), RELU, dense("b"), OUT)
    assert lint(good) == [] and lint_check(good).passed
    # Rounded to the sum's type first, rectified then: no straight line.
    assert lint(network(IN, dense("a"), rounded("sum", BITS), RELU, dense("b"), OUT)) == []


FAULTY: dict[str, tuple[tuple[Any, ...], str]] = {
    "alpha auto_po2": (
        (IN, dense("a", "quantized_bits(6,0,alpha='auto_po2')"), RELU, dense("b"), OUT),
        r"^layer 'a': quantized_bits has alpha = 'auto_po2'; set alpha=1$",
    ),
    # QKeras makes alpha=None of a kernel quantizer to auto_po2
    "no alpha": (
        (IN, dense("a", "quantized_bits(6,0)"), RELU, dense("b"), OUT),
        r"^layer 'a': quantized_bits has alpha = .*; set alpha=1$",
    ),
    "alpha of an activation": (
        (IN, dense("a"), RELU, dense("b"), rounded("out", "quantized_bits(16,6,alpha='auto')")),
        r"^layer 'out': quantized_bits has alpha = 'auto'",
    ),
    "no alpha of an activation": (
        (rounded("in", "quantized_bits(8,0)"), dense("a"), OUT),
        r"^layer 'in': quantized_bits has alpha = None; set alpha=1$",
    ),
    "alpha two": (
        (IN, dense("a", "quantized_bits(6,0,alpha=2.0)"), OUT),
        r"^layer 'a': quantized_bits has alpha = 2.0",
    ),
    "float input": ((dense("a"), RELU, dense("b"), OUT), r"^the input has no quantizer"),
    "float logits": ((IN, dense("a"), RELU, dense("b")), r"^the logits have no quantizer"),
    "straight line": (
        (IN, dense("a"), rounded("line", BITS), dense("b"), OUT),
        r"^layer 'line' is linear \(quantized_bits\)",
    ),
    "float layer": (
        (IN, dense("a"), RELU, lambda k, q: k.Dense(3, name="plain"), OUT),
        r"^layer 'plain' is Dense, not QDense: its weights are floats$",
    ),
    "softmax inside": (
        (IN, lambda k, q: q.QDense(3, activation="softmax", name="end"), OUT),
        r"^layer 'end' ends in softmax: leave it to the host$",
    ),
    "sigmoid": (
        (IN, dense("a"), lambda k, q: k.Activation("sigmoid", name="s"), OUT),
        r"^layer 's' ends in sigmoid: leave it to the host$",
    ),
    "softmax layer": (
        (IN, dense("a"), lambda k, q: k.Softmax(name="soft"), OUT),
        r"^layer 'soft' ends in softmax: leave it to the host$",
    ),
}


@pytest.mark.parametrize("name", list(FAULTY))
def test_each_fault_is_found(name: str) -> None:
    stack, finding = FAULTY[name]
    faulty = network(*stack)
    found = lint(faulty)
    assert len(found) == 1
    import re

    assert re.search(finding, found[0]), found
    check = lint_check(faulty)
    assert not check.passed and check.detail == found[0]


def test_findings_add_up() -> None:
    bad = network(dense("a", "quantized_bits(6,0,alpha='auto')"), rounded("line", BITS), dense("b"))
    assert len(lint(bad)) == 4
    assert len(lint(keras().Sequential([keras().layers.Input((4,))]))) == 2
