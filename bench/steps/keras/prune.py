"""Magnitude pruning of single weights (tensorflow-model-optimization), stripped before it is saved."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from bench.core.step import Check, Step, StepContext, StepOutcome
from bench.errors import StepError
from bench.formats.keras import save_model
from bench.formats.keras_env import load, load_tfmot, without_autograph
from bench.steps.keras.facts import PRUNABLE, Frozen, finish, kernels, sparsity
from bench.steps.keras.training import SoftTargets, fit, optional_teacher, predict, prepare

TOLERANCE = 0.01
_UPDATES = 20


class PruneParams(SoftTargets):
    """`sparsity` of each kernel at the end; `2:4` is two zeros in each four along the inputs (50 %)."""

    sparsity: float = Field(default=0.75, gt=0, lt=1)
    schedule: Literal["polynomial", "constant"] = "polynomial"
    pattern: Literal["unstructured", "2:4"] = "unstructured"

    @model_validator(mode="before")
    @classmethod
    def _half_is_what_two_of_four_gives(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("pattern") == "2:4":
            values = {"sparsity": 0.5, "schedule": "constant", **values}
            if values["sparsity"] != 0.5 or values["schedule"] != "constant":
                raise ValueError("pattern 2:4 is sparsity 0.5 with a constant schedule, nothing else")
        return values


class Prune(Step):
    """Kernels of dense and convolution layers, the last layer too; biases are left alone."""

    name = "prune"
    Params = PruneParams
    takes = "keras"
    gives = "keras"
    teacher = "optional"
    needs = ("tensorflow", "tf_keras", "tensorflow_model_optimization")

    @without_autograph
    def run(self, context: StepContext) -> StepOutcome:
        assert context.parent is not None
        prepare(context.seed)
        params: PruneParams = context.params
        data, budget = context.data, params.fine_tuning(context.model)
        parent = Frozen.open(context.parent)
        teacher, distillation = optional_teacher(context)
        total = len(data.train) // min(budget.batch_size, len(data.train)) * budget.epochs
        wrapped, excluded = _wrap(parent.copy(), params, total)
        history = fit(wrapped, data, budget, context.seed, distillation=distillation)
        model = _strip(wrapped)
        save_model(model, context.out)
        checks = [parent.check("parent")] + ([teacher.check("teacher")] if teacher else [])
        facts = {**history.facts(), "pattern": params.pattern, "excluded": excluded}

        def claims(saved: Any) -> Iterable[Check]:
            found = {name: kernel for name, kernel in kernels(saved).items() if name not in excluded}
            yield sparsity_check(found, params.sparsity)
            if params.pattern == "2:4":
                yield two_of_four_check(found)

        return finish(context, predict, model, facts, checks, claims)


def schedule_steps(total: int) -> tuple[int, int]:
    """(frequency, end) so that masks are updated ≤ 20 times in the first two thirds of `total` steps.

    tfmot updates masks only where (step − begin) % frequency == 0, and its default of 100 leaves a
    short training at 0 % without a word: `end` is a multiple of `frequency` and never above `total`.
    """
    window = max(1, total * 2 // 3)
    updates = min(_UPDATES, window)
    frequency = window // updates
    return frequency, frequency * updates


def _wrap(model: Any, params: PruneParams, total_steps: int) -> tuple[Any, list[str]]:
    """The network with pruning wrappers around its own layers, and the layers that 2:4 does not fit."""
    _, keras = load()
    tfmot = load_tfmot().sparsity.keras
    frequency, end = schedule_steps(total_steps)
    extra: dict[str, Any] = {}
    if params.pattern == "2:4":
        schedule = tfmot.ConstantSparsity(0.5, begin_step=0, frequency=1)
        extra["sparsity_m_by_n"] = (2, 4)
    elif params.schedule == "constant":
        schedule = tfmot.ConstantSparsity(params.sparsity, begin_step=0, end_step=end, frequency=frequency)
    else:
        schedule = tfmot.PolynomialDecay(0.0, params.sparsity, 0, end, power=3, frequency=frequency)
    found = kernels(model)
    fits = {name for name, k in found.items() if params.pattern != "2:4" or k.shape[-2] % 4 == 0}
    if not fits:
        raise StepError(
            f"no layer to prune: none is {', '.join(PRUNABLE)} with a multiple of 4 inputs"
            if params.pattern == "2:4"
            else f"no layer to prune: none is {', '.join(PRUNABLE)}"
        )

    def wrap(layer: Any) -> Any:
        if layer.name not in fits:
            return layer
        return tfmot.prune_low_magnitude(layer, pruning_schedule=schedule, **extra)

    wrapped = keras.models.clone_model(model, clone_function=wrap)
    for layer in _wrappers(wrapped):
        layer.pruning_step.assign(0)  # -1 means "not started"; each training step adds one
    return wrapped, sorted(set(found) - fits)


def _strip(wrapped: Any) -> Any:
    for layer in _wrappers(wrapped):
        layer.pruning_obj.weight_mask_op()  # the last update came after the last masking
    return load_tfmot().sparsity.keras.strip_pruning(wrapped)


def _wrappers(model: Any) -> list[Any]:
    return [layer for layer in model.layers if hasattr(layer, "pruning_step")]


def sparsity_check(found: dict[str, np.ndarray], target: float) -> Check:
    """Each kernel has the share of zeros that was asked for, within 1 point (or one weight)."""
    reached = {name: sparsity([kernel]) for name, kernel in found.items()}
    wrong = [
        f"{name} {share:.3f}"
        for name, share in reached.items()
        if abs(share - target) > max(TOLERANCE, 1.0 / found[name].size)
    ]
    detail = f"{sparsity(found.values()):.4f} of {target:g}" + (f"; {', '.join(wrong)}" if wrong else "")
    return Check("sparsity", bool(found) and not wrong, detail)


def two_of_four_check(found: dict[str, np.ndarray]) -> Check:
    """Each four consecutive inputs of each output have at least two zeros."""
    wrong = []
    for name, kernel in found.items():
        blocks = np.moveaxis(kernel, -2, -1).reshape(-1, 4)
        if (np.count_nonzero(blocks, axis=1) > 2).any():
            wrong.append(name)
    detail = f"not in {', '.join(wrong)}" if wrong else f"in {len(found)} layers"
    return Check("2:4", bool(found) and not wrong, detail)
