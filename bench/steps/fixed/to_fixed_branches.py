"""Fixed-point types for a trained network with sums of two branches: `to_fixed` for residual networks."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from bench.core.step import Step, StepContext, StepOutcome
from bench.formats.keras_env import without_autograph
from bench.steps.fixed.cost import cost, layer_facts
from bench.steps.fixed.fixed_facts import finish_fixed
from bench.steps.fixed.to_fixed import CALIBRATION, ToFixedParams, post_training_types, pruned_stays
from bench.steps.keras.facts import Frozen
from bench.steps.keras.training import accuracy, predict, prepare
from targets.fpga.branches import parents, plain_layers
from targets.fpga.fixed import FixedPoint, FixedType, LayerTypes, enough_integer
from targets.fpga.layers import ARITHMETIC
from targets.fpga.qkeras_network import profile


class ToFixedBranches(Step):
    """Give a trained float network with residual additions fixed-point weights and activations."""

    name = "to_fixed_branches"
    Params = ToFixedParams
    takes = "keras"
    gives = "fixed"

    @without_autograph
    def run(self, context: StepContext) -> StepOutcome:
        assert context.parent is not None
        prepare(context.seed)
        data = context.data
        parent = Frozen.open(context.parent)
        network = plain_layers(parent.model)
        types = types_with_sums(network, data.train.x[:CALIBRATION], context.params)
        weights = {}
        for layer in network.layers:
            own = types.layers[layer.name]
            if own.weight is not None and own.bias is not None:
                kernel, bias = layer.get_weights()
                pair = (own.weight.quantize(kernel), own.bias.quantize(bias))
                weights[layer.name] = [np.asarray(array, np.float32) for array in pair]
        logits = {"float": predict(parent.model, data.test.x)}
        checks = [parent.check("parent"), pruned_stays(network, weights)]
        for name, arrays in weights.items():
            network.get_layer(name).set_weights(arrays)
        row, row_types = counted(network, types)
        facts = {
            "float_val_accuracy": accuracy(parent.model, data.validation),
            "layers": layer_facts(row, row_types),
            "cost": cost(row, row_types),
        }
        return finish_fixed(context, network, types, weights, logits, facts, checks)


def types_with_sums(network: Any, x: np.ndarray, params: ToFixedParams) -> FixedPoint:
    """Types for inputs like x (n, *input_shape): those of `to_fixed`, and of each sum of branches."""
    types = post_training_types(network, x, params)
    values, layers = profile(network, x), dict(types.layers)
    for layer in network.layers:
        if type(layer).__name__ == "Add":
            seen = enough_integer(values[layer.name], signed=True)
            integer = params.integer if isinstance(params.integer, int) else seen
            layers[layer.name] = LayerTypes(
                result=FixedType(params.bits, integer, True, params.rounding, params.overflow)
            )
    return replace(types, layers=layers)


def counted(network: Any, types: FixedPoint) -> tuple[Any, FixedPoint]:
    """The layers with weights in a row, before each a stand-in with the type of what goes into it: as
    `bench.steps.fixed.cost` counts them."""
    results: dict[str, FixedType] = {}
    layers: list[Any] = []
    own: dict[str, LayerTypes] = {}
    for layer in network.layers:
        given = types.input if layer.name in network.input_names else results[parents(layer)[0]]
        results[layer.name] = types.layers[layer.name].result or given
        if type(layer).__name__ in ARITHMETIC:
            layers += [SimpleNamespace(name=f"{layer.name} takes"), layer]
            own[f"{layer.name} takes"] = LayerTypes(result=given)
            own[layer.name] = types.layers[layer.name]
    return SimpleNamespace(layers=layers), replace(types, layers=own)
