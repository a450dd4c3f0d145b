"""A fixed-point network trained from fresh weights with QKeras, as the lecture's demo does it.

`activation: linear`, `loss: sigmoid` and `validate_on: test` are what the demo does and what is wrong
with it: a `quantized_bits` activation is a straight line, not a ReLU; sigmoid outputs under a
categorical cross entropy; and validation on the test set, with nothing held out. They are here so
that the effect can be shown, and reports say so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from bench.core.step import Step, StepContext, StepOutcome, StepParams
from bench.formats.keras_env import load, without_autograph
from bench.steps.fixed.fixed_facts import finish_fixed
from bench.steps.fixed.qkeras import Bits, arithmetic, pruned_check
from bench.steps.keras.facts import sparsity
from bench.steps.keras.prune import schedule_steps
from bench.steps.keras.sparsify import pruner
from bench.steps.keras.training import TrainingParams, fit, fresh_network, predict, prepare
from models.base import Data, Split
from targets.fpga.fixed import FixedPoint, FixedType, LayerTypes
from targets.fpga.layers import in_a_row
from targets.fpga.qkeras_network import (
    MODES,
    build,
    lint,
    lint_check,
    quantized_weights,
    weights_check,
)


class QkerasTrainParams(TrainingParams):
    """Types are given, not chosen; integer bits are counted as QKeras counts them, without the sign.

    schedule: of the learning rate; None: the model's.
    end_step: update of the weights at which `sparsity` is reached; None: two thirds of the training.
    initializer: `network` is what the model's networks have.
    validate_on: `validation` is the model's own split; `test` also trains on the validation split.
    """

    network: str = "reference"
    schedule: Literal["constant", "cosine"] | None = None
    bits: Bits = 8
    integer: int = Field(default=0, ge=0, le=15)
    activation: Literal["relu", "linear"] = "relu"
    activation_bits: Bits = 8
    activation_integer: int = Field(default=3, ge=0, le=15)
    input_bits: Bits = 16
    input_integer: int = Field(default=5, ge=0, le=15)
    output_bits: Bits = 16
    output_integer: int = Field(default=6, ge=0, le=15)
    sparsity: float = Field(default=0.0, ge=0, lt=1)
    end_step: int | None = Field(default=None, ge=1)
    initializer: Literal["network", "lecun_uniform"] = "network"
    loss: Literal["softmax", "sigmoid"] = "softmax"
    validate_on: Literal["validation", "test"] = "validation"


class QkerasTrain(Step):
    """Train a fixed-point network from fresh weights, pruning on the way if asked to."""

    name = "qkeras_train"
    Params: ClassVar[type[StepParams]] = QkerasTrainParams
    takes = None
    gives = "fixed"
    needs = ("tensorflow", "tf_keras", "qkeras", "tensorflow_model_optimization")

    @without_autograph
    def run(self, context: StepContext) -> StepOutcome:
        params: QkerasTrainParams = context.params
        plain = fresh_network(context.model, params.network, context.seed)
        prepare(context.seed)
        row = in_a_row(_linear(plain) if params.activation == "linear" else plain)
        if params.initializer == "lecun_uniform":
            _initialize(row, context.seed)
        types = given_types(row, params)
        network = build(row, types)
        budget = params.budget(context.model.budget_of(params.network))
        if params.epochs is not None:
            budget = replace(budget, patience=None)
        if params.schedule is not None:
            budget = replace(budget, schedule=params.schedule)
        data = context.data if params.validate_on == "validation" else as_lecture(context.data)
        after_step = None
        if params.sparsity:
            total = len(data.train) // min(budget.batch_size, len(data.train)) * budget.epochs
            frequency, end = schedule_steps(total)
            if params.end_step is not None:
                end, frequency = params.end_step, min(frequency, params.end_step)
            kernels = [network.get_layer(name).kernel for name in arithmetic(row)]
            after_step = pruner(kernels, params.sparsity, 0, end, frequency, schedule="polynomial")
        history = fit(_trained(network, params.loss), data, budget, context.seed, after_step=after_step)
        weights = quantized_weights(network, types)
        latent = [np.asarray(network.get_layer(name).kernel) for name in arithmetic(row)]
        findings = lint(network)
        checks = [weights_check(network, weights)]
        if params.activation != "linear":
            checks.append(lint_check(network))
        if params.sparsity:
            checks.append(pruned_check({name: pair[0] for name, pair in weights.items()}, params.sparsity))
        facts: dict[str, Any] = {
            **history.facts(),
            "network": params.network,
            "validated_on": params.validate_on,
            "trained_on": len(data.train),
            "trained_sparsity": sparsity(latent),
            "lint": findings,
        }
        logits = {"qkeras": predict(network, context.data.test.x)}
        return finish_fixed(context, row, types, weights, logits, facts, checks)


def as_lecture(data: Data) -> Data:
    """Everything but the test split to train on, and the test split to validate on."""
    x = np.concatenate([data.train.x, data.validation.x])
    y = np.concatenate([data.train.y, data.validation.y])
    return Data(Split(x, y), data.test, data.test, data.source)


def given_types(row: Any, params: QkerasTrainParams) -> FixedPoint:
    """The table of types that the parameters spell out."""
    weight = FixedType(params.bits, params.integer + 1, True, *MODES)
    relu = params.activation == "relu"
    hidden = FixedType(params.activation_bits, params.activation_integer + (not relu), not relu, *MODES)
    logits = FixedType(params.output_bits, params.output_integer + 1, True, *MODES)
    layers: dict[str, LayerTypes] = {}
    names = arithmetic(row)
    for layer in row.layers:
        if layer.name in names:
            straight = hidden if not relu else None
            result = logits if layer.name == names[-1] else straight
            layers[layer.name] = LayerTypes(weight, weight, result)
        else:
            layers[layer.name] = LayerTypes(result=hidden if type(layer).__name__ == "Activation" else None)
    return FixedPoint("qkeras", FixedType(params.input_bits, params.input_integer + 1, True, *MODES), layers)


def _linear(model: Any) -> Any:
    """The network without its activation functions."""
    _, keras = load()

    def straight(layer: Any) -> Any:
        config = layer.get_config()
        if "activation" in config:
            config["activation"] = "linear"
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=straight)
    copy.set_weights(model.get_weights())
    return copy


def _initialize(row: Any, seed: int) -> None:
    """Kernels anew from LeCun's uniform distribution, biases zero."""
    rng = np.random.default_rng(seed)
    for name in arithmetic(row):
        kernel, bias = row.get_layer(name).get_weights()
        limit = np.sqrt(3.0 / (kernel.size // kernel.shape[-1]))
        drawn = rng.uniform(-limit, limit, kernel.shape).astype(np.float32)
        row.get_layer(name).set_weights([drawn, np.zeros_like(bias)])


def _trained(network: Any, loss: str) -> Any:
    """The network whose softmax cross entropy is the loss. Cross entropy of sigmoids that are scaled
    to a sum of one is that of the logarithms of the sigmoids."""
    if loss == "softmax":
        return network
    tf, keras = load()
    outputs = keras.layers.Activation(tf.math.log_sigmoid, name="log_sigmoid")(network.outputs[0])
    return keras.Model(network.inputs, outputs)
