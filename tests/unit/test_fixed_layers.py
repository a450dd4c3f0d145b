"""Networks in a row: the same function as the network they are made of, or a refusal that says why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.errors import Unavailable
from targets.fpga.layers import INPUT, in_a_row, unsupported

pytestmark = pytest.mark.tf


def layers() -> Any:
    from bench.formats.keras_env import load

    return load().keras.layers


def sequential(shape: tuple[int, ...], *stack: Any) -> Any:
    from bench.formats.keras_env import load

    return load().keras.Sequential([layers().Input(shape, name="x"), *stack])


def shaken(model: Any) -> Any:
    """Weights and statistics as a training leaves them: none is 0 or 1."""
    rng = np.random.default_rng(5)
    for layer in model.layers:
        made = [rng.normal(size=w.shape) * 0.4 for w in layer.get_weights()]
        if type(layer).__name__ == "BatchNormalization":
            names = [weight.name for weight in layer.weights]
            made = [np.abs(w) + 0.3 if "variance" in n else w + 0.2 for n, w in zip(names, made, strict=True)]
        layer.set_weights(made)
    return model


def normal(**given: Any) -> Any:
    return layers().BatchNormalization(**given)


def networks() -> dict[str, Any]:
    k = layers()
    return {
        "dense": lambda: sequential((5,), k.Dense(4, activation="relu"), k.Dropout(0.5), k.Dense(3)),
        "no bias": lambda: sequential(
            (5,), k.Dense(4, use_bias=False, activation="relu"), k.Dense(3, use_bias=False)
        ),
        "norm after dense": lambda: sequential(
            (5,), k.Dense(4), normal(), k.ReLU(), k.Dense(3), k.Dropout(0.2), normal()
        ),
        "norm without bias, scale, centre": lambda: sequential(
            (5,),
            *(k.Dense(4, use_bias=False), normal(scale=False), k.Activation("relu")),
            *(k.Dense(4), normal(center=False, epsilon=0.1), k.ReLU()),
            *(k.Dense(4), normal(scale=False, center=False), k.Dense(3)),
        ),
        "conv same": lambda: sequential(
            (7, 6, 2),
            *(k.Conv2D(3, (3, 2), padding="same", use_bias=False), normal(), k.ReLU()),
            *(k.MaxPooling2D(2), k.Conv2D(4, 2, strides=2, activation="relu"), k.Flatten(), k.Dense(3)),
        ),
        "conv valid, average": lambda: sequential(
            (9, 8, 1),
            *(k.Conv2D(3, 3, strides=(2, 1), activation="relu"), k.AveragePooling2D((2, 3), strides=1)),
            *(k.Conv2D(2, 1), normal(), k.Flatten(), k.Dense(4)),
        ),
        "one dimension": lambda: sequential(
            (12,),
            *(k.Reshape((6, 2)), k.Conv1D(3, 3, padding="same"), normal(), k.Activation("relu")),
            *(k.MaxPooling1D(2), k.Conv1D(2, 2), k.AveragePooling1D(2), k.Flatten(), k.Dense(2)),
        ),
        "linear activation": lambda: sequential((5,), k.Dense(4), k.Activation("linear"), k.Dense(3)),
        "relu at the end": lambda: sequential((5,), k.Dense(3), k.ReLU()),
    }


NAMES = ["dense", "no bias", "norm after dense", "norm without bias, scale, centre", "conv same"]
NAMES += ["conv valid, average", "one dimension", "linear activation", "relu at the end"]


@pytest.mark.parametrize("name", NAMES)
def test_same_function(name: str) -> None:
    model = shaken(networks()[name]())
    before = [weight.copy() for weight in model.get_weights()]
    row = in_a_row(model)
    x = np.random.default_rng(1).normal(size=(40, *model.input_shape[1:])).astype(np.float32)
    expected = np.asarray(model(x, training=False))
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(np.asarray(row(x, training=False)), expected, rtol=1e-4, atol=1e-5)
    for old, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    kinds = [type(layer).__name__ for layer in row.layers]
    assert not {"Dropout", "BatchNormalization", "ReLU"} & set(kinds)
    for layer in row.layers:
        if type(layer).__name__ in ("Dense", "Conv1D", "Conv2D"):
            assert layer.activation.__name__ == "linear" and layer.use_bias
    assert row.input_names == [INPUT]


def test_every_case_is_tried() -> None:
    assert list(networks()) == NAMES


def test_activations_are_layers_of_their_own() -> None:
    k = layers()
    model = sequential(
        (5,),
        *(k.Dense(4, activation="relu", name="one"), k.Dense(4, name="two"), k.ReLU(name="r")),
        *(k.Dense(4, name="three"), k.Activation("relu", name="own"), k.Dense(3, name="logits")),
    )
    names = [layer.name for layer in in_a_row(model).layers]
    assert names == ["one", "one_relu", "two", "r", "three", "own_relu", "logits"]


def test_names_become_identifiers() -> None:
    k = layers()
    model = sequential(
        (5,),
        *(
            k.Dense(4, name="a.b-c"),
            k.Dense(4, name="input"),
            k.Dense(4, name="1st"),
            k.Dense(3, name="p/q>r"),
        ),
        *(k.Dense(3, name="output"), k.Dense(2, name=".x")),
    )
    names = [layer.name for layer in in_a_row(shaken(model)).layers]
    assert names == ["a_b_c", "layer_input", "layer_1st", "p_q_r", "layer_output", "layer__x"]
    assert all(name.isidentifier() and name.isascii() for name in names)


# ---------------------------------------------------------------- refusals


def functional(join: Any) -> Any:
    from bench.formats.keras_env import load

    keras = load().keras
    x = keras.layers.Input((5,), name="x")
    return keras.Model(x, join(x))


def branch(x: Any) -> Any:
    k = layers()
    return k.Dense(2)(k.Add(name="the_sum")([k.Dense(4)(x), k.Dense(4)(x)]))


def twice(x: Any) -> Any:
    shared = layers().Dense(5, name="shared")
    return shared(shared(x))


def two_inputs() -> Any:
    from bench.formats.keras_env import load

    keras = load().keras
    ends = [keras.layers.Input((3,)), keras.layers.Input((3,))]
    return keras.Model(ends, keras.layers.Dense(2)(keras.layers.Concatenate()(ends)))


def two_outputs() -> Any:
    return functional(lambda x: [layers().Dense(2)(x), layers().Dense(2)(x)])


def image(*stack: Any) -> Any:
    return sequential((6, 6, 4), *stack, layers().Flatten(), layers().Dense(2))


REFUSED: dict[str, tuple[Any, str]] = {
    "softmax": (
        lambda k: sequential((5,), k.Dense(3, activation="softmax", name="end")),
        r"'end' \(Dense\) ends in softmax.*leave softmax to the host",
    ),
    "softmax of its own": (
        lambda k: sequential((5,), k.Dense(3), k.Activation("softmax", name="probabilities")),
        r"'probabilities' \(Activation\) ends in softmax",
    ),
    "softmax layer": (
        lambda k: sequential((5,), k.Dense(3), k.Softmax(name="soft")),
        r"'soft' \(Softmax\) is of a kind",
    ),
    "tanh": (
        lambda k: sequential((5,), k.Dense(3, activation="tanh", name="bent")),
        r"'bent' \(Dense\) has the activation function 'tanh'",
    ),
    "depthwise": (
        lambda k: image(k.DepthwiseConv2D(3, name="deep")),
        r"'deep' \(DepthwiseConv2D\) is of a kind",
    ),
    "branch": (lambda k: functional(branch), r"'the_sum' \(Add\) joins or is used twice"),
    "shared": (lambda k: functional(twice), r"'shared' \(Dense\) joins or is used twice"),
    "two inputs": (lambda k: two_inputs(), r"it has 2 inputs and 1 outputs"),
    "two outputs": (lambda k: two_outputs(), r"it has 1 inputs and 2 outputs"),
    "dilated": (lambda k: image(k.Conv2D(2, 2, dilation_rate=2, name="wide")), r"'wide' .* is dilated"),
    "dilated in one direction": (
        lambda k: image(k.Conv2D(2, 2, dilation_rate=(1, 2), name="wide")),
        r"'wide' .* is dilated",
    ),
    "groups": (lambda k: image(k.Conv2D(4, 2, groups=2, name="parts")), r"'parts' .* has groups"),
    "norm first": (lambda k: sequential((5,), normal(name="norm"), k.Dense(2)), r"'norm' .* does not follow"),
    "norm after relu": (
        lambda k: sequential((5,), k.Dense(3, activation="relu"), normal(name="norm"), k.Dense(2)),
        r"'norm' .* does not follow",
    ),
    "norm after norm": (
        lambda k: sequential((5,), k.Dense(3), normal(), normal(name="norm"), k.Dense(2)),
        r"'norm' .* does not follow",
    ),
    "norm over another axis": (
        lambda k: sequential((4, 4, 1), k.Conv2D(4, 1), normal(axis=1, name="norm"), k.Flatten(), k.Dense(2)),
        r"'norm' .* is over another axis",
    ),
    "norm after pooling": (
        lambda k: image(k.Conv2D(2, 2), k.MaxPooling2D(), normal(name="norm")),
        r"'norm' .* does not follow",
    ),
    "relu6": (
        lambda k: sequential((5,), k.Dense(3), k.ReLU(6.0, name="six")),
        r"'six' .* not the plain ReLU",
    ),
    "leaky": (
        lambda k: sequential((5,), k.Dense(3), k.ReLU(negative_slope=0.1, name="leak")),
        r"'leak' .* not the plain ReLU",
    ),
    "threshold": (
        lambda k: sequential((5,), k.Dense(3), k.ReLU(threshold=0.5, name="late")),
        r"'late' .* not the plain ReLU",
    ),
    "recurrent": (lambda k: sequential((5, 2), k.LSTM(3, name="memory")), r"'memory' \(LSTM\) is of a kind"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_refused_with_the_layers_name(name: str) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(Unavailable, match=f"no fixed-point design of this network: .*{reason}"):
        in_a_row(make(layers()))


def test_what_is_supported_has_no_reason() -> None:
    assert unsupported(networks()["conv same"]()) is None


@pytest.mark.parametrize(("first", "second", "name"), [("a-b", "a_b", "a_b"), ("a", "a_relu", "a_relu")])
def test_names_that_become_the_same_are_refused(first: str, second: str, name: str) -> None:
    k = layers()
    model = sequential((5,), k.Dense(4, activation="relu", name=first), k.Dense(3, name=second))
    with pytest.raises(Unavailable, match=f"'{name}'"):
        in_a_row(model)
