"""The training loop: reproducible, the same start for all variants, the loss that the name says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.step import Artifact
from bench.errors import StepError
from bench.formats.keras_env import load
from bench.steps.keras import training
from bench.steps.keras.training import Distillation, accuracy, divergence, fit, fresh_network
from models.base import Budget, Data, Split
from tests.tiny import MLP, Blobs, failed, run

pytestmark = pytest.mark.tf
SHORT = Budget(epochs=2, batch_size=32, learning_rate=5e-3)


@pytest.fixture(scope="module")
def data() -> Data:
    return Blobs().load()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run("train", tmp_path_factory.mktemp("trained"))[0]


def weights(data: Data, budget: Budget = SHORT, distillation: Distillation | None = None) -> np.ndarray:
    model = fresh_network(MLP, "student", 3)
    fit(model, data, budget, 3, distillation=distillation)
    return np.concatenate([array.ravel() for array in model.get_weights()])


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    files = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        run("train", tmp_path / name, seed=seed, epochs=2)
        files.append((tmp_path / name / "model.keras").read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_all_variants_of_a_network_start_equal(trained: Artifact, tmp_path: Path) -> None:
    def start(step: str, seed: int = 0, teacher: Artifact | None = None, **params: object) -> object:
        folder = tmp_path / f"{step}{len(list(tmp_path.iterdir()))}"
        outcome = run(step, folder, seed=seed, teacher=teacher, epochs=1, **params)[1]
        return outcome.facts["initial_weights_sha256"]

    alone = start("train", network="student")
    assert start("distill", teacher=trained) == alone
    assert start("distill_online") == alone
    assert start("train", seed=1, network="student") != alone
    reference = trained.facts["initial_weights_sha256"]
    assert start("distill", teacher=trained, network="reference") == reference


def test_learns(trained: Artifact) -> None:
    assert trained.facts["val_accuracy"] > 0.8
    assert trained.facts["epochs_run"] == 6 and trained.facts["train_steps"] == 48


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0, 8.0, 20.0])
def test_the_gradient_of_the_soft_loss_does_not_shrink_with_temperature(temperature: float) -> None:
    tf, _ = load()
    rng = np.random.default_rng(0)
    teacher = tf.constant(rng.normal(0, 2, (64, 10)).astype(np.float32))
    student = tf.Variable(rng.normal(0, 2, (64, 10)).astype(np.float32))

    def norm(t: float) -> float:
        with tf.GradientTape() as tape:
            loss = divergence(teacher, student, t)
        return float(tf.norm(tape.gradient(loss, student)))

    # Without T² this ratio is about 1/T²: 0.06 at T = 4.
    assert 0.5 < norm(temperature) / norm(4.0) < 2.0


def test_divergence_is_taken_from_logits_and_not_through_the_teacher() -> None:
    tf, _ = load()
    teacher, student = tf.Variable([[2.0, 0.0]]), tf.Variable([[0.0, 0.0]])
    with tf.GradientTape() as tape:
        loss = divergence(teacher, student, 2.0)
    p = np.exp([1.0, 0.0]) / np.exp([1.0, 0.0]).sum()
    assert float(loss) == pytest.approx(4 * float(np.sum(p * np.log(p / 0.5))), rel=1e-5)
    of_teacher, of_student = tape.gradient(loss, [teacher, student])
    assert of_teacher is None
    np.testing.assert_allclose(of_student.numpy(), 2.0 * (0.5 - p)[None], rtol=1e-5)


def test_alpha_weights_the_teachers_loss(data: Data) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(len(data.train), 4)).astype(np.float32)
    shuffled = replace(data, train=Split(data.train.x, rng.permutation(data.train.y)))
    only_teacher = Distillation(logits, 4.0, 1.0)
    np.testing.assert_array_equal(
        weights(data, distillation=only_teacher), weights(shuffled, distillation=only_teacher)
    )
    only_labels = Distillation(logits, 4.0, 0.0)
    np.testing.assert_allclose(weights(data, distillation=only_labels), weights(data), atol=1e-6)


def test_a_loss_that_is_not_finite_is_an_error_with_a_mend(data: Data) -> None:
    hot = Budget(epochs=3, batch_size=32, learning_rate=1e30)
    with pytest.raises(StepError, match=r"the loss is (nan|inf) in epoch \d of 3\n.*learning_rate"):
        weights(data, hot)


def test_weights_that_are_not_finite_are_an_error(data: Data) -> None:
    # One step: its loss is computed before the update that spoils the weights.
    one = Budget(epochs=1, batch_size=256, learning_rate=float("inf"))
    with pytest.raises(StepError, match="weight is not finite"):
        weights(data, one)


def test_patience_goes_back_to_the_best_weights(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []
    loss_of = training._validation_loss

    def remember(*arguments: Any) -> float:
        losses.append(loss_of(*arguments))
        return losses[-1]

    monkeypatch.setattr(training, "_validation_loss", remember)
    model = fresh_network(MLP, "student", 0)
    budget = Budget(epochs=60, batch_size=32, learning_rate=0.3, patience=3)
    history = fit(model, data, budget, 0)
    assert history.epochs_run == len(losses) < 60
    assert min(losses) < min(losses[-3:])  # it did stop after its best epoch
    assert loss_of(model, data.validation) == min(losses)
    assert accuracy(model, data.validation) == history.val_accuracy


def test_neither_test_set_nor_validation_set_is_learnt_from(data: Data) -> None:
    broken = Split(np.full_like(data.test.x, np.nan), data.test.y)
    other = replace(data, test=broken, validation=Split(data.validation.x[::-1], data.validation.y))
    np.testing.assert_array_equal(weights(data), weights(other))


def test_a_batch_larger_than_the_data_is_the_data(data: Data) -> None:
    assert np.isfinite(weights(data, replace(SHORT, batch_size=100_000))).all()


def test_a_teacher_teaches_through_pruning_and_quantization(trained: Artifact, tmp_path: Path) -> None:
    student, _ = run("distill", tmp_path / "student", teacher=trained)
    pruned, outcome = run(
        "prune", tmp_path / "pruned", parent=student, teacher=trained, distill=True, sparsity=0.5
    )
    assert not failed(outcome) and "teacher unchanged" in {check.name for check in outcome.checks}
    _, outcome = run("qap", tmp_path / "qap", parent=pruned, teacher=trained, distill=True)
    assert not failed(outcome) and "teacher unchanged" in {check.name for check in outcome.checks}
    # A teacher in the chain that the step was not told to use changes nothing.
    silent = [
        run("prune", tmp_path / f"s{i}", parent=student, teacher=t)[0] for i, t in enumerate((None, trained))
    ]
    assert len({(a.path / "model.keras").read_bytes() for a in silent}) == 1
