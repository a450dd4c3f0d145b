"""Networks with sums of two branches (residual networks) that can become fixed-point hardware.

What a single layer may be is said by `targets.fpga.layers`; here they need not be in a row.
"""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np

from bench.errors import Unavailable
from bench.formats.keras_env import load
from targets.fpga.layers import ARITHMETIC, INPUT, _folded, _identifier, activation_of, unsupported

_LEFT_OUT = ("InputLayer", "Dropout")


def parents(layer: Any) -> list[str]:
    """Names of the layers whose outputs a Keras layer takes."""
    tensors = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor._keras_history.layer.name for tensor in tensors]


def refused(model: Any) -> str | None:
    """Why a Keras network cannot be converted, naming the first layer in the way; None if it can."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        return unsupported(model)
    for layer in model.layers:
        where = f"layer {layer.name!r} ({type(layer).__name__})"
        if type(layer).__name__ in _LEFT_OUT:
            continue
        if len(layer._inbound_nodes) > 1:
            return f"{where} is used twice"
        if type(layer).__name__ == "Add":
            names = parents(layer)
            if len(names) != 2 or names[0] == names[1] or len({tuple(s) for s in layer.input_shape}) > 1:
                return f"{where} does not add two different branches of one shape"
            continue
        if isinstance(layer.input, list):
            return f"{where} joins branches; only Add is known"
        row = [layer]
        if type(layer).__name__ == "BatchNormalization":
            before = _folded_into(model, layer)
            if before is not None and _uses(model)[before.name] > 1:
                return f"{where} follows a layer that others take, too: it cannot be folded in"
            row = [layer] if before is None else [before, layer]
        if reason := unsupported(SimpleNamespace(inputs=model.inputs, outputs=model.outputs, layers=row)):
            return reason
    return None


def _uses(model: Any) -> Counter[str]:
    """How many layers take each layer's output, dropout looked through."""
    uses = Counter(name for layer in model.layers for name in parents(layer) if name != layer.name)
    for layer in reversed(model.layers):
        if type(layer).__name__ == "Dropout":
            uses[parents(layer)[0]] += uses[layer.name] - 1
    return uses


def _folded_into(model: Any, layer: Any) -> Any:
    """The layer before a normalization, dropout looked through, if it can be folded into that."""
    before = next((one for one in model.layers if one.name == parents(layer)[0]), None)
    if type(before).__name__ == "Dropout":
        return _folded_into(model, before)
    return before if type(before).__name__ in ARITHMETIC else None


def plain_layers(model: Any) -> Any:
    """The same function as a network of stock layers: activation functions as layers of their own
    (`dense_1_relu`), batch normalization folded in, no dropout. It is `in_a_row` with branches.

    Raises:
        Unavailable: a layer that cannot be converted, by name.
    """
    reason = refused(model)
    if reason:
        raise Unavailable(f"there is no fixed-point design of this network: {reason}")
    _, keras = load()
    given = keras.layers.Input(tuple(model.input_shape[1:]), name=INPUT)
    made = {model.input_names[0]: given}  # output of each layer of `model`
    names = {layer.name: _identifier(layer.name) for layer in model.layers}
    weights: dict[str, list[np.ndarray]] = {}
    for layer in model.layers:
        kind, name = type(layer).__name__, names[layer.name]
        if kind == "InputLayer":
            continue
        values = [made[parent] for parent in parents(layer)]
        x = values if kind == "Add" else values[0]
        if kind == "BatchNormalization":
            folded = names[_folded_into(model, layer).name]
            weights[folded] = _folded(layer, weights[folded])
        elif kind not in ("Dropout", "Activation", "ReLU"):
            config = {**layer.get_config(), "name": name}
            config.pop("batch_input_shape", None)
            if kind in ARITHMETIC:
                config |= {"activation": "linear", "use_bias": True, "kernel_regularizer": None}
                config |= {"kernel_initializer": "zeros"}  # weights follow
                kernel, *bias = (np.asarray(w) for w in layer.get_weights())
                weights[name] = [kernel, bias[0] if bias else np.zeros(kernel.shape[-1], kernel.dtype)]
            x = type(layer).from_config(config)(x)
        if activation_of(layer) == "relu":
            x = keras.layers.Activation("relu", name=name if kind == "ReLU" else f"{name}_relu")(x)
        made[layer.name] = x
    try:
        network = keras.Model(given, made[model.output_names[0]])
    except ValueError as error:  # two layers of one name
        raise Unavailable(f"there is no fixed-point design of this network: {error}") from error
    for name, arrays in weights.items():
        network.get_layer(name).set_weights(arrays)
    return network
