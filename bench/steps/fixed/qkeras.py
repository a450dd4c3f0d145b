"""Quantization-aware training for fixed-point hardware (QKeras), also together with pruning.

What is trained is what is computed: input, weights, activations and logits are rounded to fixed-point
types in the forward pass, so that C simulation of the hardware must give the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from bench.core.step import Check, Step, StepContext, StepOutcome, StepParams
from bench.errors import StepError, did_you_mean
from bench.formats.keras_env import without_autograph
from bench.steps.fixed.fixed_facts import finish_fixed
from bench.steps.keras.facts import Frozen, sparsity
from bench.steps.keras.prune import TOLERANCE, schedule_steps
from bench.steps.keras.sparsify import pruner
from bench.steps.keras.training import SoftTargets, accuracy, fit, optional_teacher, predict, prepare
from targets.fpga.layers import ARITHMETIC, in_a_row
from targets.fpga.qkeras_network import (
    build,
    choose_types,
    lint_check,
    quantized_weights,
    weights_check,
)

#: training inputs that ranges are taken from
CALIBRATION = 2048
Bits = Annotated[int, Field(ge=2, le=16)]


class QkerasParams(SoftTargets):
    """`bits` of the weights, one number for all layers or one for each layer by name.

    activation_bits: as many as `bits` where not given; bias_bits: at least 8; input_bits and
    output_bits: of the network's input and of its logits. sparsity: share of each kernel's weights
    that are pruned while training.
    """

    bits: Bits | dict[str, Bits] = 6
    activation_bits: Bits | dict[str, Bits] | None = None
    bias_bits: Bits | None = None
    input_bits: Bits = 8
    output_bits: Bits = 16
    sparsity: float = Field(default=0.0, ge=0, lt=1)


class QkerasQapParams(QkerasParams):
    sparsity: float = Field(default=0.75, gt=0, lt=1)


class QkerasQat(Step):
    """Train with input, weights, activations and logits rounded to fixed-point numbers."""

    name = "qkeras_qat"
    Params: ClassVar[type[StepParams]] = QkerasParams
    takes = "keras"
    gives = "fixed"
    teacher = "optional"
    needs = ("tensorflow", "tf_keras", "qkeras", "tensorflow_model_optimization")

    @without_autograph
    def run(self, context: StepContext) -> StepOutcome:
        assert context.parent is not None
        prepare(context.seed)
        params: QkerasParams = context.params
        data, budget = context.data, params.fine_tuning(context.model)
        parent = Frozen.open(context.parent)
        row = in_a_row(parent.model)
        types = choose_types(
            row,
            data.train.x[:CALIBRATION],
            bits_of(row, params.bits, ARITHMETIC),
            bits_of(row, params.activation_bits or _widest(params.bits), ("Activation",)),
            bias_bits=params.bias_bits or max(8, _widest(params.bits)),
            input_bits=params.input_bits,
            output_bits=params.output_bits,
        )
        network = build(row, types)
        teacher, distillation = optional_teacher(context)
        after_step = None
        if params.sparsity:
            total = len(data.train) // min(budget.batch_size, len(data.train)) * budget.epochs
            frequency, end = schedule_steps(total)
            kernels = [network.get_layer(name).kernel for name in arithmetic(row)]
            after_step = pruner(kernels, params.sparsity, 0, end, frequency, schedule="polynomial")
        history = fit(network, data, budget, context.seed, distillation=distillation, after_step=after_step)
        weights = quantized_weights(network, types)
        logits = {"float": predict(parent.model, data.test.x), "qkeras": predict(network, data.test.x)}
        checks = [parent.check("parent"), weights_check(network, weights), lint_check(network)]
        checks += [teacher.check("teacher")] if teacher else []
        if params.sparsity:
            checks.append(pruned_check({n: pair[0] for n, pair in weights.items()}, params.sparsity))
        facts = {**history.facts(), "float_val_accuracy": accuracy(parent.model, data.validation)}
        return finish_fixed(context, row, types, weights, logits, facts, checks)


class QkerasQap(QkerasQat):
    """Pruning and quantization-aware training together: the smallest weights become and stay zero."""

    name = "qkeras_qap"
    Params = QkerasQapParams


def arithmetic(row: Any) -> list[str]:
    """Names of the layers that multiply."""
    return [layer.name for layer in row.layers if type(layer).__name__ in ARITHMETIC]


def bits_of(row: Any, given: int | Mapping[str, int], kinds: tuple[str, ...]) -> dict[str, int]:
    """Bits of each layer of some kinds by name; layers that `given` does not name have its largest.

    Raises:
        StepError: `given` names a layer that the network does not have.
    """
    names = [layer.name for layer in row.layers if type(layer).__name__ in kinds]
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, given)
    if wrong := [name for name in given if name not in names]:
        raise StepError(f"bits are given for a layer {wrong[0]!r}", mend=did_you_mean(wrong[0], names))
    return {name: given.get(name, max(given.values())) for name in names}


def _widest(bits: int | Mapping[str, int]) -> int:
    return max(bits.values()) if isinstance(bits, Mapping) else bits


def pruned_check(kernels: Mapping[str, np.ndarray], target: float) -> Check:
    """Each kernel has at least the share of zeros asked for (rounding makes further small ones zero)."""
    reached = {name: sparsity([kernel]) for name, kernel in kernels.items()}
    short = [
        f"{name} {share:.3f}"
        for name, share in reached.items()
        if share < target - max(TOLERANCE, 1.0 / kernels[name].size)
    ]
    detail = f"{sparsity(kernels.values()):.4f} of {target:g}" + (f"; {', '.join(short)}" if short else "")
    return Check("sparsity", bool(kernels) and not short, detail)
