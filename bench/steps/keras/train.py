"""Training from scratch, and the control that only trains longer."""

from __future__ import annotations

from bench.core.step import Check, Step, StepContext, StepOutcome
from bench.formats.keras import save_model
from bench.formats.keras_env import without_autograph
from bench.steps.keras.facts import Frozen, finish, weights_digest
from bench.steps.keras.training import TrainingParams, fit, fresh_network, predict, prepare


class TrainParams(TrainingParams):
    """`network`: which of the model's networks; `teacher` means the one named by `Model.teacher`."""

    network: str = "reference"


class Train(Step):
    """Fresh weights from the seed, trained for the model's budget."""

    name = "train"
    Params = TrainParams
    takes = None
    gives = "keras"

    @without_autograph
    def run(self, context: StepContext) -> StepOutcome:
        params: TrainParams = context.params
        model = fresh_network(context.model, params.network, context.seed)
        initial = weights_digest(model)
        budget = params.budget(context.model.budget_of(params.network))
        history = fit(model, context.data, budget, context.seed)
        save_model(model, context.out)
        changed = weights_digest(model) != initial
        check = Check("trained", changed, "weights differ from the initial ones" if changed else "no change")
        facts = {**history.facts(), "network": params.network, "initial_weights_sha256": initial}
        return finish(context, predict, model, facts, [check])


class Finetune(Step):
    """The trained network, trained on for the fine-tuning budget and nothing else."""

    name = "finetune"
    Params = TrainingParams
    takes = "keras"
    gives = "keras"

    @without_autograph
    def run(self, context: StepContext) -> StepOutcome:
        assert context.parent is not None
        prepare(context.seed)
        params: TrainingParams = context.params
        budget = params.fine_tuning(context.model)
        parent = Frozen.open(context.parent)
        model = parent.copy()
        history = fit(model, context.data, budget, context.seed)
        save_model(model, context.out)
        same = history.epochs_run == budget.epochs
        checks = [
            parent.check("parent"),
            Check("all epochs run", same, f"{history.epochs_run} of {budget.epochs}"),
        ]
        return finish(context, predict, model, history.facts(), checks)
