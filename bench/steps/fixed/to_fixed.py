"""Fixed-point types for a trained float network: the post-training way to hardware."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from bench.core.step import Check, Step, StepContext, StepOutcome, StepParams
from bench.formats.keras_env import without_autograph
from bench.steps.fixed.fixed_facts import finish_fixed
from bench.steps.keras.facts import Frozen
from bench.steps.keras.training import accuracy, predict, prepare
from targets.fpga.fixed import FixedPoint, FixedType, LayerTypes, enough_integer
from targets.fpga.layers import ARITHMETIC, in_a_row
from targets.fpga.qkeras_network import profile

#: training inputs that ranges are taken from
CALIBRATION = 2048


class ToFixedParams(StepParams):
    """`integer`: bits left of the point for everything, the sign included, or `profile`: for each
    tensor the fewest that hold every weight, and every activation of 2,048 training inputs.

    rounding, overflow: of activations and inputs. accum: of the sums: `auto` loses nothing, `same`
    is the type of the results.
    """

    bits: int = Field(default=16, ge=2, le=64)
    integer: int | Literal["profile"] = "profile"
    rounding: Literal["TRN", "RND", "RND_CONV"] = "RND"
    overflow: Literal["WRAP", "SAT"] = "SAT"
    accum: Literal["auto", "same"] = "auto"

    @model_validator(mode="after")
    def _integer_within_bits(self) -> ToFixedParams:
        if isinstance(self.integer, int) and not 0 <= self.integer <= self.bits:
            raise ValueError(f"integer must be between 0 and bits ({self.bits})")
        return self


class ToFixed(Step):
    """Give a trained float network fixed-point weights and activations."""

    name = "to_fixed"
    Params = ToFixedParams
    takes = "keras"
    gives = "fixed"

    @without_autograph
    def run(self, context: StepContext) -> StepOutcome:
        assert context.parent is not None
        prepare(context.seed)
        data = context.data
        parent = Frozen.open(context.parent)
        row = in_a_row(parent.model)
        types = post_training_types(row, data.train.x[:CALIBRATION], context.params)
        weights = {}
        for layer in row.layers:
            own = types.layers[layer.name]
            if own.weight is not None and own.bias is not None:
                kernel, bias = layer.get_weights()
                pair = (own.weight.quantize(kernel), own.bias.quantize(bias))
                weights[layer.name] = [np.asarray(array, np.float32) for array in pair]
        logits = {"float": predict(parent.model, data.test.x)}
        checks = [parent.check("parent"), pruned_stays(row, weights)]
        facts = {"float_val_accuracy": accuracy(parent.model, data.validation)}
        return finish_fixed(context, row, types, weights, logits, facts, checks)


def post_training_types(row: object, x: np.ndarray, params: ToFixedParams) -> FixedPoint:
    """Types of a network in a row for inputs like x (n, *input_shape)."""
    modes = (params.rounding, params.overflow)

    def wide(values: np.ndarray) -> FixedType:
        integer = params.integer if isinstance(params.integer, int) else enough_integer(values, signed=True)
        return FixedType(params.bits, integer, True, *modes)

    values = profile(row, x)
    layers = {}
    for layer in row.layers:  # type: ignore[attr-defined]
        kind, result = type(layer).__name__, wide(values[layer.name])
        if kind in ARITHMETIC:
            kernel, bias = (np.asarray(array) for array in layer.get_weights())
            weight, bias_type = (
                replace(wide(a), rounding="RND_CONV", overflow="SAT") for a in (kernel, bias)
            )
            accum = result if params.accum == "same" else None
            layers[layer.name] = LayerTypes(weight, bias_type, result, accum)
        elif kind == "Activation":
            layers[layer.name] = LayerTypes(result=result)
        else:
            layers[layer.name] = LayerTypes()
    return FixedPoint("post_training", wide(x), layers)


def pruned_stays(row: object, weights: dict[str, list[np.ndarray]]) -> Check:
    """What was zero is zero: rounding adds zeros and takes none."""
    lost = [
        name
        for name, (kernel, _) in weights.items()
        if np.any(kernel[row.get_layer(name).get_weights()[0] == 0])  # type: ignore[attr-defined]
    ]
    return Check("zeros kept", not lost, f"lost in {', '.join(lost)}" if lost else f"{len(weights)} layers")
