"""Structured pruning: whole filters and neurons are removed, and a smaller dense network is built.

No living library does this for Keras 2. The L1 norm of its kernel ranks a filter (Li et al. 2017,
arXiv 1608.08710). Networks are chains of the layers in `_PASS`, Dense, Conv2D and BatchNormalization.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import Field

from bench.core.step import Check, Step, StepContext, StepOutcome
from bench.errors import StepError
from bench.formats.keras import clone, save_model
from bench.formats.keras_env import load, without_autograph
from bench.steps.keras.facts import Frozen, finish
from bench.steps.keras.training import TrainingParams, fit, predict, prepare

#: layers that treat each channel (last axis) alike and apart
_PASS = (
    "InputLayer",
    "ReLU",
    "Activation",
    "Dropout",
    "MaxPooling2D",
    "AveragePooling2D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "ZeroPadding2D",
)
_SIZE = {"Dense": "units", "Conv2D": "filters"}


class PruneFiltersParams(TrainingParams):
    """`fraction` of each hidden layer's filters or neurons that is removed."""

    fraction: float = Field(default=0.5, gt=0, lt=1)


class PruneFilters(Step):
    """Remove the weakest filters of each hidden layer, then fine-tune what is left."""

    name = "prune_filters"
    Params = PruneFiltersParams
    takes = "keras"
    gives = "keras"

    @without_autograph
    def run(self, context: StepContext) -> StepOutcome:
        assert context.parent is not None
        prepare(context.seed)
        params: PruneFiltersParams = context.params
        parent = Frozen.open(context.parent)
        kept = choose(parent.model, params.fraction)
        model = rebuild(parent.model, kept)
        equal = equality_check(model, masked(parent.model, kept), context.seed)
        history = fit(model, context.data, params.fine_tuning(context.model), context.seed)
        save_model(model, context.out)
        facts = {**history.facts(), "widths": {name: len(keep) for name, keep in kept.items()}}

        def claims(saved: Any) -> Iterable[Check]:
            yield widths_check(saved, parent.model, params.fraction)

        return finish(context, predict, model, facts, [parent.check("parent"), equal], claims)


def chain(model: Any) -> list[Any]:
    """The layers of a network in the order of the data.

    Raises:
        StepError: it branches, or has a layer that this step does not know.
    """
    layers = list(model.layers)
    for before, layer in pairwise(layers):
        if layer.input is not before.output:
            raise StepError(f"layer {layer.name!r}: filters are removed from chains of layers only")
    for layer in layers:
        kind = type(layer).__name__
        if kind not in (*_PASS, *_SIZE, "Flatten", "BatchNormalization"):
            raise StepError(f"layer {layer.name!r}: filters cannot be removed around a {kind} layer")
        config = layer.get_config()
        if config.get("data_format", "channels_last") != "channels_last" or config.get("groups", 1) != 1:
            raise StepError(f"layer {layer.name!r}: only channels-last convolutions without groups")
        if kind == "Activation" and config["activation"] == "softmax" and layer is not layers[-1]:
            raise StepError(f"layer {layer.name!r}: softmax mixes channels")
    return layers


def _hidden(layers: list[Any]) -> list[Any]:
    hidden = [layer for layer in layers if type(layer).__name__ in _SIZE][:-1]
    if not hidden:
        raise StepError("no hidden layer to remove filters from")
    return hidden


def width(count: int, fraction: float) -> int:
    """How many of `count` filters are left: at least one."""
    return max(1, round(count * (1.0 - fraction)))


def choose(model: Any, fraction: float) -> dict[str, np.ndarray]:
    """Indices of the filters to keep, in ascending order, by name of each hidden layer."""
    kept = {}
    for layer in _hidden(chain(model)):
        kernel = layer.kernel.numpy()
        norms = np.abs(kernel).sum(axis=tuple(range(kernel.ndim - 1)))
        strongest = np.argsort(-norms, kind="stable")[: width(norms.size, fraction)]
        kept[layer.name] = np.sort(strongest)
    return kept


def _inputs(layers: list[Any], kept: Mapping[str, np.ndarray]) -> dict[str, np.ndarray | None]:
    """For each layer, which of its input channels are left (None: all)."""
    found: dict[str, np.ndarray | None] = {}
    keep: np.ndarray | None = None
    for layer in layers:
        found[layer.name] = keep
        kind = type(layer).__name__
        if kind in _SIZE:
            keep = kept.get(layer.name)
        elif kind == "Flatten" and keep is not None:
            shape = layer.input_shape[1:]
            places, channels = int(np.prod(shape[:-1])), int(shape[-1])
            keep = (np.arange(places)[:, None] * channels + keep[None, :]).ravel()
    return found


def rebuild(model: Any, kept: Mapping[str, np.ndarray]) -> Any:
    """A smaller network with only the kept filters, and the weights that belong to them."""
    _, keras = load()
    layers = chain(model)
    inputs = _inputs(layers, kept)
    smaller = keras.Sequential([keras.layers.Input(model.input_shape[1:])], name=model.name)
    for layer in layers:
        kind = type(layer).__name__
        if kind == "InputLayer":
            continue
        config = layer.get_config()
        if layer.name in kept:
            config[_SIZE[kind]] = len(kept[layer.name])
        copy = type(layer).from_config(config)
        smaller.add(copy)
        weights, keep = layer.get_weights(), inputs[layer.name]
        if kind in _SIZE:
            if keep is not None:
                weights[0] = np.take(weights[0], keep, axis=-2)
            if layer.name in kept:
                weights = [np.take(array, kept[layer.name], axis=-1) for array in weights]
        elif weights and keep is not None:  # BatchNormalization: everything is per channel
            weights = [np.take(array, keep, axis=-1) for array in weights]
        copy.set_weights(weights)
    return smaller


def masked(model: Any, kept: Mapping[str, np.ndarray]) -> Any:
    """A copy of full size in which no layer reads the removed channels."""
    copy = clone(model)
    layers = chain(copy)
    for layer in layers:
        keep = _inputs(layers, kept)[layer.name]
        if type(layer).__name__ in _SIZE and keep is not None:
            weights = layer.get_weights()
            left = np.zeros_like(weights[0])
            left[..., keep, :] = weights[0][..., keep, :]
            layer.set_weights([left, *weights[1:]])
    return copy


def equality_check(model: Any, full: Any, seed: int) -> Check:
    """The smaller network gives what the masked one gives, on random inputs."""
    x = np.random.default_rng(seed).normal(size=(32, *full.input_shape[1:])).astype(np.float32)
    want = predict(full, x)
    gap = float(np.max(np.abs(predict(model, x) - want)) / max(1.0, float(np.max(np.abs(want)))))
    return Check("equals masked network", gap < 1e-4, f"largest relative difference {gap:.2g}")


def widths_check(saved: Any, parent: Any, fraction: float) -> Check:
    """Each hidden layer of the saved network has the width that was asked for."""
    now = {layer.name: layer.kernel.shape[-1] for layer in _hidden(chain(saved))}
    want = {layer.name: width(layer.kernel.shape[-1], fraction) for layer in _hidden(chain(parent))}
    smaller = saved.count_params() < parent.count_params()
    detail = f"{saved.count_params()} of {parent.count_params()} parameters; widths {now}"
    return Check("filters removed", now == want and smaller, detail)
