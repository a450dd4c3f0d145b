"""What is saved and recorded of a network with fixed-point types, whichever step made it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bench.core.step import Check, StepContext, StepOutcome
from bench.formats.keras import load_float, save_model
from bench.steps.fixed.cost import cost, layer_facts
from bench.steps.keras.facts import describe
from targets.fpga.fixed import FixedPoint, Reference, inputs_digest


def finish_fixed(
    context: StepContext,
    row: Any,
    types: FixedPoint,
    weights: Mapping[str, list[np.ndarray]],
    logits: dict[str, np.ndarray],
    facts: dict[str, Any],
    checks: Iterable[Check],
) -> StepOutcome:
    """Save network, types and reference outputs; facts and checks of what was saved.

    Args:
        row: network in a row; gets `weights`.
        weights: kernel and bias by layer, on the grids of `types`.
        logits: of the networks that this one stands for, over the test split, first to last.
    """
    for name, arrays in weights.items():
        row.get_layer(name).set_weights(arrays)
    save_model(row, context.out)
    types.save(context.out)
    Reference(inputs_digest(context.data.test.x), logits).save(context.out)
    again = load_float(context.out)
    off = [
        f"{name}.{part}"
        for name, own in types.layers.items()
        for part, type_, array in zip(
            ("weight", "bias"), (own.weight, own.bias), again.get_layer(name).get_weights(), strict=False
        )
        if type_ is not None and not type_.holds(array)
    ]
    detail = f"not on their grid: {', '.join(off)}" if off else f"in {len(weights)} layers as read back"
    everything = {
        **describe(again),
        "layers": layer_facts(again, types),
        "cost": cost(again, types),
        "types": {"input": str(types.input)} | {n: t.to_json() for n, t in types.layers.items()},
        **facts,
    }
    return StepOutcome(everything, (*checks, Check("fixed-point weights", not off, detail)))
