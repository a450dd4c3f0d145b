"""The two families of networks that the reference models are made of. They give logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from bench.formats.keras_env import load


def mlp(inputs: int, hidden: Sequence[int], classes: int, *, dropout: float = 0.0) -> Callable[[], Any]:
    """A builder of `inputs-hidden[0]-…-classes`, Dense with ReLU.

    Args:
        dropout: after each hidden layer.
    """

    def build() -> Any:
        _, keras = load()
        layers = [keras.layers.Input((inputs,), name="input")]
        for number, units in enumerate(hidden, 1):
            layers.append(keras.layers.Dense(units, activation="relu", name=f"dense_{number}"))
            if dropout:
                layers.append(keras.layers.Dropout(dropout, name=f"dropout_{number}"))
        layers.append(keras.layers.Dense(classes, name="logits"))
        return keras.Sequential(layers)

    return build


def cnn(
    shape: tuple[int, int, int],
    filters: Sequence[int],
    hidden: Sequence[int],
    classes: int,
    *,
    padding: str = "valid",
    dropout: float = 0.0,
    flat: bool = False,
) -> Callable[[], Any]:
    """A builder of blocks (Conv2D 3×3 with ReLU, max pooling 2×2), then Dense layers with ReLU.

    Args:
        shape: height, width, channels.
        dropout: before each Dense layer.
        flat: whether its input is the image as one row, (height × width × channels,).
    """

    def build() -> Any:
        _, keras = load()
        layers = [keras.layers.Input((math.prod(shape),) if flat else shape, name="input")]
        if flat:
            layers.append(keras.layers.Reshape(shape, name="image"))
        for number, count in enumerate(filters, 1):
            layers += [
                keras.layers.Conv2D(count, 3, padding=padding, activation="relu", name=f"conv_{number}"),
                keras.layers.MaxPooling2D(name=f"pool_{number}"),
            ]
        layers.append(keras.layers.Flatten(name="flatten"))
        for number, units in enumerate(hidden, 1):
            if dropout:
                layers.append(keras.layers.Dropout(dropout, name=f"dropout_{number}"))
            layers.append(keras.layers.Dense(units, activation="relu", name=f"dense_{number}"))
        if dropout:
            layers.append(keras.layers.Dropout(dropout, name="dropout_logits"))
        layers.append(keras.layers.Dense(classes, name="logits"))
        return keras.Sequential(layers)

    return build
