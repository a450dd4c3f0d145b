"""The networks that can become fixed-point hardware: layers in a row, activation functions apart."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from bench.errors import Unavailable
from bench.formats.keras_env import load

#: Keras layers that can be converted, activation functions and batch normalization besides
ARITHMETIC = ("Dense", "Conv1D", "Conv2D")
SHAPES = ("MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D", "Flatten", "Reshape")
INPUT = "network_input"


def unsupported(model: Any) -> str | None:
    """Why a Keras network cannot be converted, naming the first layer in the way; None if it can."""
    layers = [layer for layer in model.layers if type(layer).__name__ not in ("InputLayer", "Dropout")]
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        return f"it has {len(model.inputs)} inputs and {len(model.outputs)} outputs; one of each is known"
    before: Any = None
    for layer in layers:
        kind, where = type(layer).__name__, f"layer {layer.name!r} ({type(layer).__name__})"
        if isinstance(layer.input, list) or len(getattr(layer, "_inbound_nodes", ())) > 1:
            return f"{where} joins or is used twice; only layers in a row are known"
        if kind == "BatchNormalization":
            if before not in ARITHMETIC:
                return f"{where} does not follow a layer that it can be folded into"
            if np.atleast_1d(layer.axis).tolist() != [len(layer.input_shape) - 1]:
                return f"{where} is over another axis than the channels"
        elif kind in ARITHMETIC:
            if kind != "Dense" and getattr(layer, "groups", 1) != 1:
                return f"{where} has groups"
            if kind != "Dense" and set(np.atleast_1d(layer.dilation_rate).tolist()) != {1}:
                return f"{where} is dilated"
        elif kind not in (*SHAPES, "Activation", "ReLU"):
            return f"{where} is of a kind that the conversion does not know"
        if kind == "ReLU" and (layer.max_value is not None or layer.negative_slope or layer.threshold):
            return f"{where} is not the plain ReLU"
        name = activation_of(layer)
        if name == "softmax":
            return (
                f"{where} ends in softmax, which hls4ml computes from tables that are not exact: "
                "give logits and leave softmax to the host"
            )
        if name not in ("linear", "relu"):
            return f"{where} has the activation function {name!r}; linear and relu are known"
        before = kind if name == "linear" else name
    return None


def activation_of(layer: Any) -> str:
    """Name of a Keras layer's activation function, `linear` if it has none."""
    if type(layer).__name__ == "ReLU":
        return "relu"
    return str(getattr(getattr(layer, "activation", None), "__name__", "linear"))


def in_a_row(model: Any) -> Any:
    """The same function as a Sequential of stock layers: activation functions as layers of their own
    (`dense_1_relu`), batch normalization folded in, no dropout.

    Raises:
        Unavailable: a layer that cannot be converted, by name.
    """
    reason = unsupported(model)
    if reason:
        raise Unavailable(f"there is no fixed-point design of this network: {reason}")
    _, keras = load()
    made: list[Any] = [keras.layers.Input(tuple(model.input_shape[1:]), name=INPUT)]
    weights: dict[str, list[np.ndarray]] = {}
    last = ""
    for layer in model.layers:
        kind = type(layer).__name__
        if kind in ("InputLayer", "Dropout"):
            continue
        if kind == "BatchNormalization":
            weights[last] = _folded(layer, weights[last])
            continue
        name = _identifier(layer.name)
        if kind not in ("Activation", "ReLU"):
            config = {**layer.get_config(), "name": name}
            if kind in ARITHMETIC:
                config |= {"activation": "linear", "use_bias": True, "kernel_regularizer": None}
                config |= {"kernel_initializer": "zeros"}  # weights follow
                kernel, *bias = (np.asarray(w) for w in layer.get_weights())
                weights[name] = [kernel, bias[0] if bias else np.zeros(kernel.shape[-1], kernel.dtype)]
                last = name
            config.pop("batch_input_shape", None)
            made.append(type(layer).from_config(config))
        if activation_of(layer) == "relu":
            made.append(keras.layers.Activation("relu", name=name if kind == "ReLU" else f"{name}_relu"))
    names = [layer.name for layer in made[1:]]
    if clash := next((name for name in names if names.count(name) > 1), None):
        raise Unavailable(f"two layers of the fixed-point design would have the name {clash!r}")
    network = keras.Sequential(made)
    for name, values in weights.items():
        network.get_layer(name).set_weights(values)
    return network


def _identifier(name: str) -> str:
    """A layer's name as hls4ml can use it in C++."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    return plain if plain[:1].isalpha() and plain not in ("input", "output") else f"layer_{plain}"


def _folded(norm: Any, weights: list[np.ndarray]) -> list[np.ndarray]:
    """Kernel and bias with the batch normalization after them folded in."""
    kernel, bias = weights
    deviation = np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
    gain = (np.asarray(norm.gamma) if norm.scale else 1.0) / deviation
    shift = np.asarray(norm.beta) if norm.center else 0.0
    return [kernel * gain, (bias - np.asarray(norm.moving_mean)) * gain + shift]
