"""A data set and two networks that train in a blink, for tests of steps and targets."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from bench.core.registry import DATASETS, STEPS
from bench.core.step import Artifact, StepContext, StepOutcome
from models.base import Budget, Data, Dataset, Model, Split

CLASSES = 4


class Blobs(Dataset):
    """8×8 images: one bright quarter a class, with noise. Not real data."""

    name = "tiny_blobs"
    digest = "0" * 64
    input_shape = (8, 8, 1)
    classes = tuple("abcd")
    real = False

    def load(self) -> Data:
        rng = np.random.default_rng(7)
        y = rng.integers(0, CLASSES, 384)
        x = rng.uniform(0, 0.7, (384, 8, 8, 1))
        for i, label in enumerate(y):
            row, column = divmod(int(label), 2)
            x[i, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] += 0.3
        x = np.clip(x, 0, 1).astype(np.float32)
        cut = [slice(0, 256), slice(256, 320), slice(320, 384)]
        train, validation, test = (Split(x[part], y[part]) for part in cut)
        return Data(train, validation, test, "generated")

    def unavailable(self) -> None:
        return None


DATASETS.add("tiny_blobs", "tests.tiny:Blobs")


def dense(*widths: int) -> Any:
    def build() -> Any:
        from bench.formats.keras_env import load

        layers = load().keras.layers
        stack = [layers.Input((8, 8, 1), name="input"), layers.Flatten(name="flatten")]
        stack += [layers.Dense(n, activation="relu", name=f"dense_{i}") for i, n in enumerate(widths)]
        return load().keras.Sequential([*stack, layers.Dense(CLASSES, name="logits")])

    return build


def convolution() -> Any:
    """Everything that prune_filters knows: normalisation, pooling, dropout, a separate ReLU."""
    from bench.formats.keras_env import load

    layers = load().keras.layers
    return load().keras.Sequential(
        [
            layers.Input((8, 8, 1), name="input"),
            layers.Conv2D(6, 3, use_bias=False, name="conv_0"),
            layers.BatchNormalization(name="norm_0"),
            layers.ReLU(name="relu_0"),
            layers.MaxPooling2D(name="pool_0"),
            layers.Conv2D(8, 2, activation="relu", name="conv_1"),
            layers.Dropout(0.1, name="dropout_0"),
            layers.Flatten(name="flatten"),
            layers.Dense(12, activation="relu", name="dense_0"),
            layers.Dense(CLASSES, name="logits"),
        ]
    )


def averages() -> Any:
    """Average pooling over windows of four, which divides by shifting, and of six."""
    from bench.formats.keras_env import load

    layers = load().keras.layers
    return load().keras.Sequential(
        [
            layers.Input((8, 8, 1), name="input"),
            layers.Conv2D(3, 2, padding="same", activation="relu", name="conv_0"),
            layers.AveragePooling2D(name="average_0"),
            layers.Conv2D(2, 2, padding="same", name="conv_1"),
            layers.AveragePooling2D((3, 2), name="average_1"),
            layers.Flatten(name="flatten"),
            layers.Dense(CLASSES, name="logits"),
        ]
    )


def residual() -> Any:
    """Sums of two branches: of an identity, and of a convolution of its own that halves the image."""
    from bench.formats.keras_env import load

    layers = load().keras.layers
    given = layers.Input((8, 8, 1), name="input")
    first = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv_0")(given)
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv_1")(first)
    x = layers.BatchNormalization(name="norm_1")(x)
    x = layers.ReLU(name="relu_1")(layers.Add(name="sum_1")([x, first]))
    kept = layers.Conv2D(5, 1, strides=2, name="conv_kept")(x)
    x = layers.Conv2D(5, 3, strides=2, padding="same", activation="relu", name="conv_2")(x)
    x = layers.Conv2D(5, 3, padding="same", name="conv_3")(x)
    x = layers.Add(name="sum_2")([kept, x])
    x = layers.AveragePooling2D(name="average")(x)
    x = layers.Dense(CLASSES, name="logits")(layers.Flatten(name="flatten")(layers.Dropout(0.1)(x)))
    return load().keras.Model(given, x)


def residual_dense() -> Any:
    from bench.formats.keras_env import load

    layers = load().keras.layers
    given = layers.Input((8, 8, 1), name="input")
    x = layers.Dense(12, activation="relu", name="dense_0")(layers.Flatten(name="flatten")(given))
    inner = layers.Dense(12, activation="relu", name="dense_1")(x)
    x = layers.Add(name="sum")([x, layers.Dense(12, name="dense_2")(inner)])
    return load().keras.Model(given, layers.Dense(CLASSES, name="logits")(x))


BUDGET = Budget(epochs=6, batch_size=32, learning_rate=5e-3, schedule="cosine")
FINETUNE = Budget(epochs=3, batch_size=32, learning_rate=2e-3)
MLP = Model(
    "tiny_mlp",
    "tiny",
    "tiny_blobs",
    {"reference": dense(24, 16), "student": dense(8)},
    BUDGET,
    FINETUNE,
)
CNN = Model(
    "tiny_cnn",
    "tiny",
    "tiny_blobs",
    {"reference": convolution, "student": dense(6)},
    BUDGET,
    FINETUNE,
    kind="cnn",
)
AVERAGES = replace(CNN, name="tiny_averages", networks={**CNN.networks, "reference": averages})
RESIDUAL = replace(CNN, name="tiny_residual", networks={**CNN.networks, "reference": residual})
RESIDUAL_MLP = replace(MLP, name="tiny_residual_mlp", networks={**MLP.networks, "reference": residual_dense})


def run(
    step: str,
    out: Path,
    *,
    model: Model = MLP,
    seed: int = 0,
    parent: Artifact | None = None,
    teacher: Artifact | None = None,
    **params: Any,
) -> tuple[Artifact, StepOutcome]:
    """Run one step as a worker would; gives the artifact and the outcome."""
    out.mkdir(parents=True, exist_ok=True)
    plugin = STEPS.get(step)
    context = StepContext(model, plugin.Params(**params), seed, parent, teacher, out)
    outcome = plugin.run(context)
    return Artifact(out, plugin.gives, "", outcome.facts), outcome


def failed(outcome: StepOutcome) -> list[str]:
    """Names of the checks that did not pass."""
    return [check.name for check in outcome.checks if not check.passed]


def step(name: str, **params: Any) -> tuple[Any, ...]:
    """A step with its parameters, as `made` takes it."""
    return name, *sorted(params.items())


TRAIN, QAT = step("train"), step("qkeras_qat", epochs=1)


def made(model: str, *steps: tuple[Any, ...]) -> Artifact:
    """The artifact at the end of a chain, made once in a run of the tests: copy it before changing it."""
    return built(model, *steps)[0]


@cache
def built(model: str, *steps: tuple[Any, ...]) -> tuple[Artifact, StepOutcome]:
    """As `made`, and what its last step said."""
    *before, (name, *params) = steps
    parent = made(model, *before) if before else None
    folder = Path(tempfile.mkdtemp(prefix="bench-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    models = {known.name: known for known in (MLP, CNN, AVERAGES, RESIDUAL, RESIDUAL_MLP)}
    with not_optimised():
        artifact, outcome = run(name, folder, model=models[model], parent=parent, **dict(params))
    assert not failed(outcome), outcome.checks
    return artifact, outcome


def not_optimised() -> Any:
    """C simulations compiled in half the time to programs that give the same bits."""
    return mock.patch("targets.fpga.hls.simulator.FLAGS", ("-std=c++14", "-O0", "-fno-gnu-unique", "-w"))


def copied(artifact: Artifact, out: Path) -> Path:
    """Its files, to be changed."""
    shutil.copytree(artifact.path, out)
    return out
