"""QKeras networks made of a plain network and a table of fixed-point types, and back.

QKeras counts integer bits without the sign: `quantized_bits(8, 0)` is `fixed<8,1>`. Every quantizer
has alpha = 1: with any other, the layer's values are no fixed-point numbers of its type any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from bench.core.step import Check
from bench.errors import StepError
from bench.formats.keras_env import load
from targets.fpga.fixed import FixedPoint, FixedType, LayerTypes, best_integer, enough_integer
from targets.fpga.layers import ARITHMETIC, INPUT

#: QKeras rounds half to even and saturates
MODES = ("RND_CONV", "SAT")
_LAYERS = {"Dense": "QDense", "Conv1D": "QConv1D", "Conv2D": "QConv2D"}
_SUFFIX = "_quantizer"


@cache
def _quantizers() -> tuple[Any, Any]:
    """quantized_bits and quantized_relu that know any number of integer bits.

    QKeras 0.9 computes 2**integer with integers, which fails below zero. Scaling by a power of two
    before and after is exact.
    """
    load()
    import qkeras

    class quantized_bits(qkeras.quantized_bits):  # type: ignore[misc]
        def __call__(self, x: Any) -> Any:
            scale = 2.0**self.integer
            plain = qkeras.quantized_bits(self.bits, 0, keep_negative=self.keep_negative, alpha=1)
            return plain(x / scale) * scale

    class quantized_relu(qkeras.quantized_relu):  # type: ignore[misc]
        def __call__(self, x: Any) -> Any:
            scale = 2.0**self.integer
            return qkeras.quantized_relu(self.bits, 0)(x / scale) * scale

    return quantized_bits, quantized_relu


def quantizer(type_: FixedType, *, relu: bool = False, stock: bool = False) -> Any:
    """The QKeras quantizer that rounds to a type.

    Args:
        relu: rectify, too.
        stock: of QKeras' own classes, which QTools asks for: with as many bits, and no integer bits
            where the type has a negative number of them.

    Raises:
        StepError: QKeras has none: it rounds half to even and saturates, and its ReLU has no sign.
    """
    if (type_.rounding, type_.overflow) != MODES or (relu and type_.signed):
        raise StepError(f"QKeras has no quantizer for {type_}{' after ReLU' if relu else ''}")
    bits, relu_bits = _quantizers()
    integer = type_.integer - type_.signed
    if stock:
        import qkeras

        bits, relu_bits, integer = qkeras.quantized_bits, qkeras.quantized_relu, max(0, integer)
    if relu:
        return relu_bits(type_.bits, integer)
    return bits(type_.bits, integer, keep_negative=type_.signed, alpha=1)


def build(row: Any, types: FixedPoint, *, stock: bool = False) -> Any:
    """The QKeras network of a network in a row (`targets.fpga.layers.in_a_row`), with its weights.

    Args:
        stock: see `quantizer`.
    """
    _, keras = load()
    import qkeras

    layers: list[Any] = [
        keras.layers.Input(tuple(row.input_shape[1:]), name=INPUT),
        qkeras.QActivation(quantizer(types.input, stock=stock), name=INPUT + _SUFFIX),
    ]
    for layer in row.layers:
        own = types.layers[layer.name]
        kind = type(layer).__name__
        if kind in ARITHMETIC:
            assert own.weight is not None and own.bias is not None
            config = {**layer.get_config(), "kernel_quantizer": quantizer(own.weight, stock=stock)}
            config["bias_quantizer"] = quantizer(own.bias, stock=stock)
            config.pop("batch_input_shape", None)
            layers.append(getattr(qkeras, _LAYERS[kind])(**config))
            if own.result is not None:
                layers.append(
                    qkeras.QActivation(quantizer(own.result, stock=stock), name=layer.name + _SUFFIX)
                )
        elif kind == "Activation":
            assert own.result is not None
            layers.append(qkeras.QActivation(quantizer(own.result, relu=True, stock=stock), name=layer.name))
        else:
            config = layer.get_config()
            config.pop("batch_input_shape", None)
            layers.append(type(layer).from_config(config))
    network = keras.Sequential(layers)
    for layer in row.layers:
        if layer.get_weights():
            network.get_layer(layer.name).set_weights(layer.get_weights())
    return network


def quantized_weights(network: Any, types: FixedPoint) -> dict[str, list[np.ndarray]]:
    """Kernel and bias of each layer as the hardware holds them: the trained values on their grids."""
    found = {}
    for name, own in types.layers.items():
        if own.weight is not None and own.bias is not None:
            kernel, bias = network.get_layer(name).get_weights()
            pair = (own.weight.quantize(kernel), own.bias.quantize(bias))
            found[name] = [np.asarray(array, np.float32) for array in pair]
    return found


def weights_check(network: Any, weights: Mapping[str, list[np.ndarray]]) -> Check:
    """QKeras' own quantizers give the same values as the types that the hardware gets."""
    wrong = []
    for name, arrays in weights.items():
        layer = network.get_layer(name)
        for array, q, latent in zip(arrays, layer.get_quantizers(), layer.get_weights(), strict=True):
            if not np.array_equal(np.asarray(q(latent)), array):
                wrong.append(name)
    detail = f"different in {', '.join(wrong)}" if wrong else f"the same in {len(weights)} layers"
    return Check("weights on the grid", bool(weights) and not wrong, detail)


def lint(network: Any) -> list[str]:
    """What keeps a QKeras network from being an exact fixed-point design, one sentence a finding.

    Every quantizer has alpha = 1, the input and the logits are quantized, activations are real
    (a `quantized_bits` after a hidden layer is a straight line with clipped ends, no ReLU), and no
    softmax or sigmoid is left in the network.
    """
    findings = []
    kinds = [type(layer).__name__ for layer in network.layers]
    inner = [layer for layer in network.layers if type(layer).__name__ != "InputLayer"]
    if not inner or type(inner[0]).__name__ != "QActivation":
        findings.append("the input has no quantizer: begin with QActivation(quantized_bits(..., alpha=1))")
    if not inner or type(inner[-1]).__name__ != "QActivation":
        findings.append("the logits have no quantizer: end with QActivation(quantized_bits(..., alpha=1))")
    for position, layer in enumerate(network.layers):
        kind = kinds[position]
        if kind in ARITHMETIC:
            findings.append(f"layer {layer.name!r} is {kind}, not {_LAYERS[kind]}: its weights are floats")
        for q in _quantizers_of(layer):
            alpha = getattr(q, "alpha", 1)
            if alpha is None or isinstance(alpha, str) or float(np.max(np.abs(np.asarray(alpha) - 1.0))) != 0:
                findings.append(
                    f"layer {layer.name!r}: {type(q).__name__} has alpha = {alpha!r}; set alpha=1"
                )
        name = getattr(getattr(layer, "activation", None), "__name__", "")
        if name in ("softmax", "sigmoid", "tanh") or kind in ("Softmax",):
            findings.append(f"layer {layer.name!r} ends in {name or 'softmax'}: leave it to the host")
        hidden = kind == "QActivation" and position > 0 and layer is not inner[0] and layer is not inner[-1]
        if hidden and type(layer.quantizer).__name__ == "quantized_bits" and not _before_relu(inner, layer):
            findings.append(f"layer {layer.name!r} is linear (quantized_bits); a ReLU is quantized_relu(...)")
    return findings


def lint_check(network: Any) -> Check:
    findings = lint(network)
    return Check("exact fixed point", not findings, "; ".join(findings) or "every quantizer has alpha = 1")


def _before_relu(inner: list[Any], layer: Any) -> bool:
    after = inner[inner.index(layer) + 1]
    return type(getattr(after, "quantizer", None)).__name__ == "quantized_relu"


def _quantizers_of(layer: Any) -> Iterable[Any]:
    if type(layer).__name__ == "QActivation":
        return [layer.quantizer]
    return [q for q in getattr(layer, "get_quantizers", list)() if q is not None]


def profile(row: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    """Output of each layer of a network in a row, by name, for inputs x (n, *input_shape)."""
    _, keras = load()
    found = keras.Model(row.inputs, {layer.name: layer.output for layer in row.layers})(x, training=False)
    return {name: np.asarray(value) for name, value in found.items()}


def choose_types(
    row: Any,
    x: np.ndarray,
    weight_bits: Mapping[str, int],
    activation_bits: Mapping[str, int],
    *,
    bias_bits: int,
    input_bits: int,
    output_bits: int,
    weight_integer: int | None = None,
) -> FixedPoint:
    """Types with the least squared error over the weights, and over the activations for inputs x.

    Args:
        weight_bits, activation_bits: by layer name.
        weight_integer: integer bits of all weights and biases, the sign included; None: chosen.
    """
    values = profile(row, x)
    layers: dict[str, LayerTypes] = {}
    last = row.layers[-1].name
    for layer in row.layers:
        kind, name = type(layer).__name__, layer.name
        types = LayerTypes()
        if kind in ARITHMETIC:
            kernel, bias = layer.get_weights()
            types = LayerTypes(
                _type(kernel, weight_bits[name], weight_integer), _type(bias, bias_bits, weight_integer)
            )
        elif kind == "Activation":
            bits = activation_bits[name]
            types = LayerTypes(
                result=FixedType(bits, best_integer(values[name], bits, signed=False), False, *MODES)
            )
        if name == last:
            # Logits clipped at the edge of their range would tie: one bit more than seen.
            integer = enough_integer(values[name], signed=True) + 1
            types = replace(types, result=FixedType(output_bits, integer, True, *MODES))
        layers[name] = types
    signed = bool(x.min() < 0)
    integer = best_integer(x, input_bits, signed=signed)
    return FixedPoint("qkeras", FixedType(input_bits, integer, signed, *MODES), layers)


def _type(values: np.ndarray, bits: int, integer: int | None) -> FixedType:
    if integer is None:
        integer = best_integer(values, bits, signed=True)
    return FixedType(bits, integer, True, *MODES)
