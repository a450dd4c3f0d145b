"""Learning from another network: from a trained teacher, or from a peer that learns at the same time."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from bench.core.step import Check, Step, StepContext, StepOutcome
from bench.errors import StepError
from bench.formats.keras import save_model
from bench.formats.keras_env import load, without_autograph
from bench.steps.keras.facts import Frozen, finish, weights_digest
from bench.steps.keras.training import (
    TrainingParams,
    accuracy,
    cross_entropy,
    divergence,
    fit,
    fresh_network,
    optimise,
    predict,
    soft_targets,
)

#: peers differ from each other in their initial weights only
PEER_SEED = 10_000


class DistillParams(TrainingParams):
    """`alpha` weights the teacher's loss: alpha·T²·KL + (1 − alpha)·cross entropy."""

    network: str = "student"
    temperature: float = Field(default=4.0, gt=0, le=100)
    alpha: float = Field(default=0.9, ge=0, le=1)


class Distill(Step):
    """A fresh network taught by the chain's teacher (Hinton, Vinyals, Dean 2015, arXiv 1503.02531)."""

    name = "distill"
    Params = DistillParams
    takes = None
    gives = "keras"
    teacher = "required"

    @without_autograph
    def run(self, context: StepContext) -> StepOutcome:
        if context.teacher is None:
            raise StepError("a student needs a teacher, and this chain has none", mend="Give it `teacher:`.")
        params: DistillParams = context.params
        student = fresh_network(context.model, params.network, context.seed)
        initial = weights_digest(student)
        teacher = Frozen.open(context.teacher)
        distillation = soft_targets(context, teacher, params)
        budget = params.budget(context.model.budget_of(params.network))
        history = fit(student, context.data, budget, context.seed, distillation=distillation)
        save_model(student, context.out)
        facts = {
            **history.facts(),
            "network": params.network,
            "initial_weights_sha256": initial,
            "teacher_params": int(teacher.model.count_params()),
            "teacher_val_accuracy": accuracy(teacher.model, context.data.validation),
        }
        checks = [teacher.check("teacher"), size_check(params.network, student, teacher.model)]
        return finish(context, predict, student, facts, checks)


def size_check(network: str, student: Any, teacher: Any) -> Check:
    """A network called student is smaller than its teacher (self-distillation calls it otherwise)."""
    small, large = int(student.count_params()), int(teacher.count_params())
    passed = small < large if network == "student" else small <= large
    return Check("student smaller", passed, f"{small} parameters, its teacher {large}")


class OnlineParams(TrainingParams):
    """`peers` networks of one kind learn together; the first is kept."""

    network: str = "student"
    peers: int = Field(default=2, ge=2, le=8)
    temperature: float = Field(default=1.0, gt=0, le=100)


class DistillOnline(Step):
    """Deep mutual learning (Zhang et al. 2018, arXiv 1706.00384): cross entropy + mean KL to the peers."""

    name = "distill_online"
    Params = OnlineParams
    takes = None
    gives = "keras"

    @without_autograph
    def run(self, context: StepContext) -> StepOutcome:
        params: OnlineParams = context.params
        # The kept peer comes last, so that the random state is what any other step's fresh network has.
        seeds = [context.seed + PEER_SEED * i for i in range(params.peers)]
        peers = [fresh_network(context.model, params.network, seed) for seed in reversed(seeds)][::-1]
        initial = weights_digest(peers[0])
        different = len({weights_digest(peer) for peer in peers}) == len(peers)
        data = context.data
        tf, _ = load()
        x, y = tf.constant(data.train.x), tf.constant(data.train.y.astype(np.int32))

        def loss_of(rows: Any) -> Any:
            inputs, labels = tf.gather(x, rows), tf.gather(y, rows)
            logits = [peer(inputs, training=True) for peer in peers]
            losses = [loss for peer in peers for loss in peer.losses]
            for i, own in enumerate(logits):
                others = [divergence(z, own, params.temperature) for j, z in enumerate(logits) if j != i]
                losses += [cross_entropy(labels, own), tf.add_n(others) / len(others)]
            return tf.add_n(losses)

        budget = params.budget(context.model.budget_of(params.network))
        history = optimise(peers, loss_of, data, budget, context.seed)
        save_model(peers[0], context.out)
        facts = {
            **history.facts(),
            "network": params.network,
            "initial_weights_sha256": initial,
            "peers_val_accuracy": [accuracy(peer, data.validation) for peer in peers],
        }
        detail = f"{len(peers)} peers" + ("" if different else " that start equal")
        return finish(context, predict, peers[0], facts, [Check("peers differ", different, detail)])
