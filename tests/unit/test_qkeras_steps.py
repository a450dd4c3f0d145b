"""Training with fixed-point numbers: what the steps' names claim, and what the lecture's switches do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.step import Artifact, Check
from bench.errors import StepError
from bench.steps.fixed import qkeras, qkeras_train
from bench.steps.fixed.qkeras_train import QkerasTrainParams, as_lecture, given_types
from bench.steps.keras.facts import kernels, sparsity
from bench.steps.keras.prune import schedule_steps
from bench.steps.keras.sparsify import pruner
from bench.steps.keras.training import History
from models.base import Budget, Data
from targets.fpga.fixed import FixedPoint, Reference, inputs_digest
from tests.tiny import CNN, MLP, QAT, TRAIN, Blobs, failed, made, run

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def trained() -> Artifact:
    return made("tiny_mlp", TRAIN)


def saved(artifact: Artifact) -> Any:
    from bench.formats.keras import load_float

    return load_float(artifact.path)


@dataclass
class Call:
    """What a training was asked for, and the weights at its start."""

    network: Any
    data: Data
    budget: Budget
    given: dict[str, Any]
    kernels: list[np.ndarray]


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Trainings are only noted: for what does not depend on them."""
    calls: list[Call] = []

    def note(network: Any, data: Data, budget: Budget, seed: int, **given: Any) -> History:
        start = [layer.get_weights()[0] for layer in network.layers if layer.get_weights()]
        calls.append(Call(network, data, budget, given, start))
        return History(0, 0, 0.0, 0.0, 0.0)

    monkeypatch.setattr(qkeras, "fit", note)
    monkeypatch.setattr(qkeras_train, "fit", note)
    return calls


# ---------------------------------------------------------------- qkeras_qat and qkeras_qap


def test_what_is_saved_is_the_network_that_was_scored() -> None:
    """From the files alone: weights on their grids, and the logits over the test split again."""
    from targets.fpga.qkeras_network import build

    artifact = made("tiny_mlp", TRAIN, QAT)
    types, reference = FixedPoint.load(artifact.path), Reference.load(artifact.path)
    row, x = saved(artifact), Blobs().load().test.x
    assert types.source == "qkeras" and reference.inputs == inputs_digest(x)
    assert list(reference.logits) == ["float", "qkeras"]
    np.testing.assert_array_equal(np.asarray(build(row, types)(x)), reference.logits["qkeras"])
    for layer in row.layers:
        own = types.layers[layer.name]
        for type_, array in zip((own.weight, own.bias), layer.get_weights(), strict=False):
            assert type_ is not None and type_.holds(array)
    accuracy = np.mean(reference.logits["qkeras"].argmax(axis=1) == Blobs().load().test.y)
    assert accuracy > 0.8
    assert {layer["weight_bits"] for layer in artifact.facts["layers"]} == {6}
    assert artifact.facts["epochs_run"] == 1


def test_bits_are_given_by_layer(trained: Artifact, tmp_path: Path, untrained: list[Call]) -> None:
    _, outcome = run("qkeras_qat", tmp_path, parent=trained, epochs=1, bits={"dense_0": 3, "logits": 8})
    assert not failed(outcome)
    bits = {layer["name"]: layer["weight_bits"] for layer in outcome.facts["layers"]}
    assert bits == {"dense_0": 3, "dense_1": 8, "logits": 8}
    assert outcome.facts["layers"][0]["unique"] <= 8
    types = outcome.facts["types"]
    assert types["dense_0_relu"]["result"].startswith("ufixed<8,")  # as many as the widest weights
    assert types["dense_0"]["bias"].startswith("fixed<8,")
    with pytest.raises(StepError, match="'dense_7'"):
        run("qkeras_qat", tmp_path / "wrong", parent=trained, epochs=1, bits={"dense_7": 3})


def test_pruned_while_training(trained: Artifact, tmp_path: Path) -> None:
    artifact, outcome = run("qkeras_qap", tmp_path, parent=trained, epochs=2)
    assert not failed(outcome) and "sparsity" in {check.name for check in outcome.checks}
    for kernel in kernels(saved(artifact)).values():
        assert sparsity([kernel]) >= 0.75 - 1 / kernel.size
    assert outcome.facts["cost"]["macs_nonzero"] < 0.3 * outcome.facts["cost"]["macs"]


def test_a_dense_network_under_the_name_pruned_is_caught(
    trained: Artifact, tmp_path: Path, untrained: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qkeras, "pruner", lambda *_, **__: None)
    _, outcome = run("qkeras_qap", tmp_path, parent=trained, epochs=1)
    assert failed(outcome) == ["sparsity"]


def test_a_trap_in_the_frequency_is_caught(
    trained: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qkeras, "schedule_steps", lambda total: (100, 100))
    _, outcome = run("qkeras_qap", tmp_path, parent=trained, epochs=1)
    assert failed(outcome) == ["sparsity"]


def test_quantizers_that_are_not_the_types_are_caught(
    trained: Artifact, tmp_path: Path, untrained: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    build = qkeras.build

    def auto(row: Any, types: FixedPoint) -> Any:
        network = build(row, types)
        network.get_layer("dense_1").kernel_quantizer_internal.alpha = "auto_po2"
        return network

    monkeypatch.setattr(qkeras, "build", auto)
    _, outcome = run("qkeras_qat", tmp_path, parent=trained, epochs=1)
    assert failed(outcome) == ["exact fixed point"]


def test_weights_off_their_grid_are_caught(
    trained: Artifact, tmp_path: Path, untrained: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = qkeras.quantized_weights

    def latent(network: Any, types: FixedPoint) -> dict[str, list[np.ndarray]]:
        return weights(network, types) | {"dense_1": network.get_layer("dense_1").get_weights()}

    monkeypatch.setattr(qkeras, "quantized_weights", latent)
    _, outcome = run("qkeras_qat", tmp_path, parent=trained, epochs=1)
    assert failed(outcome) == ["weights on the grid", "fixed-point weights"]


def test_a_teacher_is_asked_for_and_left_alone(
    trained: Artifact, tmp_path: Path, untrained: list[Call]
) -> None:
    _, outcome = run("qkeras_qat", tmp_path, parent=trained, teacher=trained, epochs=1, distill=True)
    assert not failed(outcome) and "teacher unchanged" in {check.name for check in outcome.checks}
    soft = untrained[0].given["distillation"]
    np.testing.assert_array_equal(soft.logits, np.asarray(saved(trained)(Blobs().load().train.x)))
    with pytest.raises(StepError, match="needs a teacher"):
        run("qkeras_qat", tmp_path, parent=trained, distill=True)


# ---------------------------------------------------------------- qkeras_train


def rows(*weights: Any) -> Any:
    from bench.formats.keras_env import load
    from targets.fpga.layers import in_a_row

    k = load().keras.layers
    stack = [k.Input((3,), name="x"), k.Dense(4, activation="relu", name="a"), k.Dense(2, name="b")]
    return in_a_row(load().keras.Sequential(stack))


def test_types_are_given_as_qkeras_counts_them() -> None:
    params = QkerasTrainParams(bits=8, integer=3, input_bits=12, input_integer=2)
    types = given_types(rows(), params)
    assert str(types.input) == "fixed<12,3,RND_CONV,SAT>"
    assert types.layers["a"].to_json() == dict.fromkeys(("weight", "bias"), "fixed<8,4,RND_CONV,SAT>")
    assert types.layers["a_relu"].to_json() == {"result": "ufixed<8,3,RND_CONV,SAT>"}
    assert types.layers["b"].to_json()["result"] == "fixed<16,7,RND_CONV,SAT>"


def test_the_lectures_activation_is_no_relu(tmp_path: Path, untrained: list[Call]) -> None:
    given = {"epochs": 1, "network": "student"}
    line, outcome = run("qkeras_train", tmp_path / "line", activation="linear", **given)
    assert not failed(outcome)
    assert [layer.name for layer in saved(line).layers] == ["flatten", "dense_0", "logits"]
    assert outcome.facts["types"]["dense_0"]["result"] == "fixed<8,4,RND_CONV,SAT>"
    assert len(outcome.facts["lint"]) == 1 and "linear" in outcome.facts["lint"][0]
    plain, outcome = run("qkeras_train", tmp_path / "relu", **given)
    assert not failed(outcome) and outcome.facts["lint"] == []
    assert [layer.name for layer in saved(plain).layers] == ["flatten", "dense_0", "dense_0_relu", "logits"]
    assert list(Reference.load(plain.path).logits) == ["qkeras"]


def test_a_network_that_is_not_exact_fails_unless_it_is_the_lectures(
    tmp_path: Path, untrained: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = Check("exact fixed point", False, "a finding")
    monkeypatch.setattr(qkeras_train, "lint_check", lambda network: faulty)
    given = {"epochs": 1, "network": "student"}
    assert failed(run("qkeras_train", tmp_path / "a", **given)[1]) == [faulty.name]
    assert not failed(run("qkeras_train", tmp_path / "b", activation="linear", **given)[1])


@pytest.mark.parametrize("on", ["validation", "test"])
def test_what_it_trains_and_validates_on(on: str, tmp_path: Path, untrained: list[Call]) -> None:
    _, outcome = run("qkeras_train", tmp_path, epochs=1, network="student", validate_on=on)
    whole = Blobs().load()
    assert outcome.facts["validated_on"] == on and outcome.facts["trained_on"] == len(untrained[0].data.train)
    assert len(untrained[0].data.train) == (256 if on == "validation" else 256 + 64)
    expected = whole.validation if on == "validation" else whole.test
    np.testing.assert_array_equal(untrained[0].data.validation.x, expected.x)


def test_as_lecture_leaves_nothing_out_and_the_test_split_alone() -> None:
    whole = Blobs().load()
    found = as_lecture(whole)
    np.testing.assert_array_equal(found.train.x, np.concatenate([whole.train.x, whole.validation.x]))
    np.testing.assert_array_equal(found.train.y, np.concatenate([whole.train.y, whole.validation.y]))
    assert found.validation is whole.test and found.test is whole.test


def test_sigmoid_loss_is_cross_entropy_of_sigmoids_scaled_to_one() -> None:
    from bench.formats.keras_env import load
    from bench.steps.keras.training import cross_entropy

    keras = load().keras
    network = keras.Sequential([keras.layers.Input((3,)), keras.layers.Activation("linear")])
    x = np.array([[0.5, -1.0, 2.0], [3.0, 3.5, -4.0], [-20.0, 0.0, 9.0]], np.float32)
    labels = np.array([0, 1, 2])
    sigmoids = 1 / (1 + np.exp(-x.astype(np.float64)))
    expected = -np.log(sigmoids / sigmoids.sum(axis=1, keepdims=True))[np.arange(3), labels].mean()
    found = float(cross_entropy(labels, qkeras_train._trained(network, "sigmoid")(x)))
    assert found == pytest.approx(expected, rel=1e-5)
    own = keras.losses.CategoricalCrossentropy()(np.eye(3)[labels], sigmoids)  # what the lecture's loss is
    assert found == pytest.approx(float(own), rel=1e-4)
    assert qkeras_train._trained(network, "softmax") is network
    assert found != pytest.approx(float(cross_entropy(labels, x)), rel=0.01)


def test_the_loss_reaches_the_training_and_not_the_network(tmp_path: Path, untrained: list[Call]) -> None:
    """The design has no sigmoid: it is where the loss is taken only."""
    artifact, outcome = run("qkeras_train", tmp_path, epochs=2, network="student", loss="sigmoid")
    assert not failed(outcome)
    x = Blobs().load().test.x
    trained = np.asarray(untrained[0].network(x))
    logits = Reference.load(artifact.path).logits["qkeras"]
    np.testing.assert_allclose(trained, -np.log1p(np.exp(-logits)), rtol=1e-5, atol=1e-6)
    assert [layer.name for layer in saved(artifact).layers][-1] == "logits"


def test_initializer_and_schedule_and_epochs(tmp_path: Path, untrained: list[Call]) -> None:
    model = replace(MLP, budget=Budget(2, 32, 5e-3, schedule="cosine", patience=1))
    for name, given in {
        "a": {},
        "b": {"epochs": 2, "schedule": "constant"},
        "c": {"initializer": "lecun_uniform"},
    }.items():
        run("qkeras_train", tmp_path / name, model=model, network="student", **given)
    plain, given, drawn = untrained
    assert plain.budget == model.budget == drawn.budget
    assert (given.budget.patience, given.budget.schedule, given.budget.epochs) == (None, "constant", 2)
    for before, kernel in zip(plain.kernels, drawn.kernels, strict=True):
        limit = np.sqrt(3 / kernel.shape[0])
        assert 0.9 * limit < np.abs(kernel).max() <= limit and not np.array_equal(before, kernel)


def test_end_step_is_where_the_target_is_reached(tmp_path: Path) -> None:
    given = {"network": "student", "sparsity": 0.2}
    _, outcome = run("qkeras_train", tmp_path / "a", epochs=2, end_step=12, **given)
    assert not failed(outcome) and outcome.facts["trained_sparsity"] == pytest.approx(0.2, abs=0.01)
    # Two epochs of eight updates: an end beyond them is never reached, and that is told.
    _, outcome = run("qkeras_train", tmp_path / "b", epochs=2, end_step=300, **given)
    assert failed(outcome) == ["sparsity"]


# ---------------------------------------------------------------- pruning inside a training loop


def variables(*sizes: int) -> list[Any]:
    from bench.formats.keras_env import load

    rng = np.random.default_rng(3)
    return [load().tf.Variable(rng.normal(size=size).astype(np.float32)) for size in sizes]


def zeros(kernel: Any) -> int:
    return int(np.sum(kernel.numpy() == 0))


@pytest.mark.parametrize("target", [0.2, 0.5, 0.75, 0.9])
def test_final_sparsity_is_exact(target: float) -> None:
    made = variables(*(17, 100, 1000))
    before = [kernel.numpy() for kernel in made]
    project = pruner(made, target, 0, 12, 3, schedule="polynomial")
    for _ in range(12):
        project()
    for kernel, old in zip(made, before, strict=True):
        size = old.size
        assert zeros(kernel) == round(target * size)
        # The smallest are gone, the others as they were.
        kept = kernel.numpy() != 0
        assert np.abs(old[kept]).min() >= np.abs(old[~kept]).max()
        np.testing.assert_array_equal(kernel.numpy()[kept], old[kept])


def test_polynomial_schedule_is_its_formula() -> None:
    (kernel,) = variables(1000)
    project = pruner([kernel], 0.8, 2, 22, 4, schedule="polynomial")
    found = []
    for _ in range(1, 31):
        project()
        found.append(zeros(kernel))
    expected, now = [], 0
    for update in range(1, 31):
        if 2 <= update <= 22 and (update - 2) % 4 == 0:
            progress = (update - 2) / 20
            now = round(1000 * 0.8 * (1 - (1 - progress) ** 3))
        expected.append(now)
    assert found == expected and found[-1] == 800


def test_constant_schedule_is_at_its_target_from_the_beginning() -> None:
    (kernel,) = variables(100)
    project = pruner([kernel], 0.3, 3, 9, 2, schedule="constant")
    found = []
    for _ in range(6):
        project()
        found.append(zeros(kernel))
    assert found == [0, 0, 30, 30, 30, 30]


def test_pruned_weights_stay_zero_and_masks_are_chosen_anew_until_the_end() -> None:
    (kernel,) = variables(40)
    project = pruner([kernel], 0.5, 0, 4, 4, schedule="polynomial")
    rng = np.random.default_rng(0)
    masks = []
    for _ in range(12):
        kernel.assign_add(rng.normal(size=40).astype(np.float32))  # an update of all weights
        project()
        masks.append(kernel.numpy() == 0)
    assert masks[2].sum() == 0 and masks[3].sum() == 20
    for mask in masks[4:]:
        np.testing.assert_array_equal(mask, masks[3])
    (kernel,) = variables(40)
    project = pruner([kernel], 0.5, 0, 8, 1, schedule="constant")
    project()
    first = kernel.numpy() == 0
    kernel.assign(np.where(first, 5.0, 0.1).astype(np.float32))
    project()
    np.testing.assert_array_equal(kernel.numpy() == 0, ~first)  # what is small now


@pytest.mark.parametrize("total", [1, 2, 3, 7, 20, 64, 333])
def test_trainings_of_any_length_reach_the_target(total: int) -> None:
    """tfmot's frequency of 100 would leave all of these but the last at nothing."""
    (kernel,) = variables(60)
    frequency, end = schedule_steps(total)
    project = pruner([kernel], 0.75, 0, end, frequency, schedule="polynomial")
    for _ in range(total):
        project()
    assert zeros(kernel) == 45


def test_in_a_compiled_training_loop(tmp_path: Path) -> None:
    """Counter and masks live inside the TensorFlow function: more than one epoch, and a convolution."""
    _, outcome = run(
        "qkeras_qap", tmp_path, model=CNN, parent=made("tiny_cnn", TRAIN), epochs=2, sparsity=0.6
    )
    assert not failed(outcome)
    assert all(layer["sparsity"] >= 0.6 - 1 / 24 for layer in outcome.facts["layers"])
