"""One training loop for all steps: Adam on minibatches, whole epochs inside one TensorFlow function.

Keras' `fit` spends tens of milliseconds an epoch on callbacks and iterators; the networks here
need less than that for the epoch itself. The loop is bit-reproducible for a seed on one machine.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import Field

from bench.core.step import StepContext, StepParams
from bench.errors import ConfigError, StepError, did_you_mean
from bench.formats.keras_env import load, make_deterministic
from bench.steps.keras.facts import Frozen
from models.base import Budget, Data, Model, Split


class TrainingParams(StepParams):
    """Training budget of a step; None means the model's own budget for it."""

    epochs: int | None = Field(default=None, ge=1, le=100_000)
    batch_size: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0, le=10)

    def budget(self, default: Budget) -> Budget:
        names = ("epochs", "batch_size", "learning_rate")
        return replace(default, **{n: getattr(self, n) for n in names if getattr(self, n) is not None})

    def fine_tuning(self, model: Model) -> Budget:
        """The budget of a fine-tuning step: all its epochs, so that all variants get the same."""
        return replace(self.budget(model.finetune), patience=None)


class SoftTargets(TrainingParams):
    """A fine-tuning step that may go on learning from the teacher."""

    distill: bool = False
    temperature: float = Field(default=4.0, gt=0, le=100)
    alpha: float = Field(default=0.9, ge=0, le=1)


@dataclass(frozen=True)
class Distillation:
    """Teacher logits (n_train, classes); `alpha` weights the teacher's loss."""

    logits: np.ndarray
    temperature: float
    alpha: float


@dataclass(frozen=True)
class History:
    """What happened in one training; `seconds` of wall time, losses are means over the last epoch."""

    epochs_run: int
    steps: int
    seconds: float
    loss: float
    val_accuracy: float

    def facts(self) -> dict[str, Any]:
        return {
            "epochs_run": self.epochs_run,
            "train_steps": self.steps,
            "train_seconds": round(self.seconds, 4),
            "train_loss": self.loss,
            "val_accuracy": self.val_accuracy,
        }


def prepare(seed: int) -> None:
    """Seed everything and ask for reproducible operations on one thread (builds run side by side)."""
    # The thread count of a process that has already run an operation cannot be changed any more.
    with contextlib.suppress(RuntimeError):
        make_deterministic(seed, threads=1)
    make_deterministic(seed)
    load().keras.backend.reset_uids()  # names of networks count up in a process, and end up in files


def fresh_network(model: Model, name: str, seed: int) -> Any:
    """An untrained network: the same initial weights for the same seed, whatever came before.

    Raises:
        ConfigError: the model has no network of that name.
    """
    wanted = model.teacher if name == "teacher" else name
    if wanted not in model.networks:
        raise ConfigError(
            f"model {model.name!r} has no network {wanted!r}", mend=did_you_mean(wanted, model.networks)
        )
    prepare(seed)
    return model.networks[wanted]()


def predict(model: Any, x: np.ndarray, batch: int = 1024) -> np.ndarray:
    """Logits (n, classes), float32, of x (n, *input_shape)."""
    if not len(x):
        return np.zeros((0, model.output_shape[-1]), np.float32)
    parts = [np.asarray(model(x[i : i + batch], training=False)) for i in range(0, len(x), batch)]
    return np.concatenate(parts)


def accuracy(model: Any, split: Split) -> float:
    """Share of right classes."""
    return float(np.mean(predict(model, split.x).argmax(axis=1) == split.y))


def soft_targets(context: StepContext, teacher: Frozen, params: Any) -> Distillation:
    """The teacher's logits over the training split, with the step's temperature and alpha."""
    return Distillation(predict(teacher.model, context.data.train.x), params.temperature, params.alpha)


def optional_teacher(context: StepContext) -> tuple[Frozen | None, Distillation | None]:
    """The teacher of a fine-tuning step if its parameters ask for one.

    Raises:
        StepError: `distill` is set and the chain has no teacher.
    """
    if not context.params.distill:
        return None, None
    if context.teacher is None:
        raise StepError("distill: true needs a teacher, and this chain has none", mend="Give it `teacher:`.")
    teacher = Frozen.open(context.teacher)
    return teacher, soft_targets(context, teacher, context.params)


def cross_entropy(labels: Any, logits: Any) -> Any:
    """Mean cross entropy of logits (n, classes) with labels (n,)."""
    tf, _ = load()
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))


def divergence(teacher: Any, student: Any, temperature: float) -> Any:
    """T² · KL(softmax(teacher/T) ‖ softmax(student/T)), mean over items, from logits (n, classes).

    Without T² its gradient would shrink as 1/T² (Hinton, Vinyals, Dean 2015, section 2).
    """
    tf, _ = load()
    log_teacher = tf.nn.log_softmax(tf.stop_gradient(teacher) / temperature)
    log_student = tf.nn.log_softmax(student / temperature)
    terms = tf.exp(log_teacher) * (log_teacher - log_student)
    return temperature**2 * tf.reduce_mean(tf.reduce_sum(terms, axis=-1))


def fit(
    model: Any,
    data: Data,
    budget: Budget,
    seed: int,
    *,
    distillation: Distillation | None = None,
    after_step: Callable[[], None] | None = None,
) -> History:
    """Train `model` (it gives logits) on the training split.

    Args:
        after_step: called inside the TensorFlow function after each update of the weights.

    Raises:
        StepError: the loss or a weight is no longer finite.
    """
    tf, _ = load()
    x, y = tf.constant(data.train.x), tf.constant(data.train.y.astype(np.int32))
    soft = tf.constant(distillation.logits) if distillation else None

    def loss_of(rows: Any) -> Any:
        labels = tf.gather(y, rows)
        logits = model(tf.gather(x, rows), training=True)
        loss = cross_entropy(labels, logits)
        if distillation:
            taught = divergence(tf.gather(soft, rows), logits, distillation.temperature)
            loss = distillation.alpha * taught + (1.0 - distillation.alpha) * loss
        return loss + tf.add_n(model.losses) if model.losses else loss

    return optimise([model], loss_of, data, budget, seed, after_step=after_step)


def optimise(
    models: Sequence[Any],
    loss_of: Callable[[Any], Any],
    data: Data,
    budget: Budget,
    seed: int,
    *,
    after_step: Callable[[], None] | None = None,
) -> History:
    """Minimise `loss_of(rows)` (rows: int32 indices of the training split) over all `models`.

    Each epoch is a new shuffle cut into full batches (the rest, fewer than one batch, is left out
    of that epoch). With `budget.patience`, training stops after so many epochs without a lower
    validation loss of the first model and goes back to its best weights.

    Raises:
        StepError: the loss or a weight is no longer finite.
    """
    tf, keras = load()
    start = time.perf_counter()
    batch = min(budget.batch_size, len(data.train))
    steps = len(data.train) // batch
    variables = [variable for model in models for variable in model.trainable_variables]
    rate: Any = budget.learning_rate
    if budget.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps * budget.epochs)
    optimizer = keras.optimizers.Adam(rate, jit_compile=False)
    optimizer.build(variables)

    def step(i: Any, total: Any, order: Any) -> tuple[Any, Any, Any]:
        with tf.GradientTape() as tape:
            loss = loss_of(order[i])
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        if after_step:
            after_step()
        return i + 1, total + loss, order

    def all_steps(order: Any) -> Any:
        done = tf.while_loop(lambda i, *_: i < steps, step, (0, 0.0, order), parallel_iterations=1)
        return done[1] / steps

    epoch = tf.function(all_steps, autograph=False)
    shuffle = np.random.default_rng(seed)
    best, best_weights, waited = math.inf, None, 0
    ran = 0
    for ran in range(1, budget.epochs + 1):
        order = shuffle.permutation(len(data.train))[: steps * batch].reshape(steps, batch)
        loss = float(epoch(tf.constant(order, tf.int32)))
        if not math.isfinite(loss):
            raise StepError(
                f"the loss is {loss} in epoch {ran} of {budget.epochs}",
                mend=f"Lower learning_rate (now {budget.learning_rate:g}).",
            )
        if budget.patience is not None:
            now = _validation_loss(models[0], data.validation)
            waited = 0 if now < best else waited + 1
            if now < best:
                best, best_weights = now, models[0].get_weights()
            if waited >= budget.patience:
                break
    if best_weights is not None:
        models[0].set_weights(best_weights)
    if not all(np.isfinite(array).all() for model in models for array in model.get_weights()):
        raise StepError("a weight is not finite after training", mend="Lower learning_rate.")
    seconds = time.perf_counter() - start
    return History(ran, ran * steps, seconds, loss, accuracy(models[0], data.validation))


def _validation_loss(model: Any, split: Split) -> float:
    logits = predict(model, split.x).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits).sum(axis=1))
    return float(np.mean(log_sum - logits[np.arange(len(split)), split.y]))
