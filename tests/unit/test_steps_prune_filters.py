"""Removing filters: the smaller network is the masked one; what cannot be done is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from bench.errors import StepError
from bench.formats.keras_env import load
from bench.steps.keras.prune_filters import choose, equality_check, masked, rebuild, width
from bench.steps.keras.training import fresh_network
from tests.tiny import CNN

pytestmark = pytest.mark.tf


def lively() -> object:
    """A network with statistics of normalisation and biases that are not 0 and 1."""
    model = fresh_network(CNN, "reference", 0)
    rng = np.random.default_rng(0)
    model.set_weights([np.abs(rng.normal(0.5, 0.3, a.shape)).astype(np.float32) for a in model.get_weights()])
    return model


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.9])
def test_the_smaller_network_equals_the_masked_one(fraction: float) -> None:
    model = lively()
    kept = choose(model, fraction)
    assert {name: len(keep) for name, keep in kept.items()} == {
        "conv_0": width(6, fraction),
        "conv_1": width(8, fraction),
        "dense_0": width(12, fraction),
    }
    assert equality_check(rebuild(model, kept), masked(model, kept), 0).passed
    # The full network says something else, and one wrong filter is seen.
    assert not equality_check(rebuild(model, kept), model, 0).passed
    wrong = {**kept, "conv_1": (kept["conv_1"] + 1) % 8}
    assert not equality_check(rebuild(model, wrong), masked(model, kept), 0).passed


def test_the_strongest_filters_stay() -> None:
    model = fresh_network(CNN, "student", 0)
    kernel, bias = model.get_layer("dense_0").get_weights()
    kernel[:, [1, 4]] *= 100
    model.get_layer("dense_0").set_weights([kernel, bias])
    assert choose(model, 0.66)["dense_0"].tolist() == [1, 4]


def test_a_functional_chain_works_too() -> None:
    _, keras = load()
    layers = keras.layers
    x = first = layers.Input((6, 6, 4), name="input")
    for layer in (
        layers.ZeroPadding2D(name="pad"),
        layers.Conv2D(4, 3, name="conv"),
        layers.GlobalAveragePooling2D(name="pool"),
        layers.Dense(3, name="logits"),
    ):
        x = layer(x)
    model = keras.Model(first, x)
    kept = choose(model, 0.5)
    assert equality_check(rebuild(model, kept), masked(model, kept), 0).passed


def test_what_cannot_be_done_is_refused_by_name() -> None:
    _, keras = load()
    layers = keras.layers

    def refusal(*stack: object) -> str:
        with pytest.raises(StepError) as caught:
            choose(keras.Sequential([layers.Input((8, 8, 4)), *stack, layers.Dense(2, name="out")]), 0.5)
        return str(caught.value)

    assert "'deep'" in refusal(layers.DepthwiseConv2D(3, name="deep"))
    assert "'grouped'" in refusal(layers.Conv2D(4, 3, groups=2, name="grouped"))
    assert "'soft'" in refusal(layers.Dense(4), layers.Activation("softmax", name="soft"))
    assert "no hidden layer" in refusal()
    first = layers.Input((4,))
    left, right = layers.Dense(4, name="left")(first), layers.Dense(4, name="right")(first)
    with pytest.raises(StepError, match="chains of layers"):
        choose(keras.Model(first, layers.Add(name="sum")([left, right])), 0.5)
