"""What each step's name claims is looked at: take the trap in, and the check fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.step import Artifact
from bench.errors import ConfigError, StepError
from bench.steps.keras import cluster, distill, facts, prune, prune_filters, qat, training
from bench.steps.keras.prune import schedule_steps, sparsity_check, two_of_four_check
from bench.steps.keras.qat import zeros_check
from models.base import Budget
from tests.tiny import CNN, MLP, dense, failed, run


def test_masks_are_updated_in_any_length_of_training() -> None:
    for total in range(1, 3000):
        frequency, end = schedule_steps(total)
        updates = [step for step in range(1, end + 1) if step % frequency == 0]
        # The last update is the one at `end`, where the polynomial is at its target.
        assert updates and updates[-1] == end <= total
        assert len(updates) <= 20 and end <= max(1, total * 2 // 3)


def test_sparsity_is_judged_per_kernel() -> None:
    half = np.array([[0.0, 1.0], [1.0, 0.0]] * 50)
    assert sparsity_check({"a": half}, 0.5).passed
    assert sparsity_check({"a": half}, 0.505).passed
    assert not sparsity_check({"a": half}, 0.52).passed
    assert not sparsity_check({"a": half, "b": np.ones((10, 10))}, 0.5).passed
    assert not sparsity_check({}, 0.5).passed
    # Of six weights, a third cannot be 30 %: one weight of difference is no lie.
    assert sparsity_check({"a": np.array([[0.0, 0.0, 1, 1, 1, 1]])}, 0.30).passed


def test_two_of_four_is_judged_along_the_inputs() -> None:
    kernel = np.ones((4, 3))
    kernel[:2] = 0
    assert two_of_four_check({"a": kernel}).passed
    unstructured = np.ones((8, 1))
    unstructured[:4] = 0  # half are zeros, but not in each block
    assert not two_of_four_check({"a": unstructured}).passed
    assert not two_of_four_check({"a": kernel.T.repeat(4, axis=0)}).passed
    convolution = np.ones((3, 3, 4, 2))
    convolution[:, :, 1:3] = 0
    assert two_of_four_check({"a": convolution}).passed
    assert not two_of_four_check({}).passed


def test_zeros_must_have_been_there() -> None:
    kernel = np.array([[0.0, 0.0, 0.0, 1.0]])
    assert zeros_check({"a": kernel}, 0.75).passed
    assert zeros_check({"a": kernel}, 0.77).passed
    assert not zeros_check({"a": kernel}, 0.78).passed
    assert not zeros_check({"a": kernel}, 0.0).passed  # a parent that was never pruned


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run("train", tmp_path_factory.mktemp("trained"))[0]


@pytest.fixture(scope="module")
def pruned(trained: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    artifact, outcome = run("prune", tmp_path_factory.mktemp("pruned"), parent=trained)
    assert not failed(outcome)
    assert outcome.facts["sparsity"] == pytest.approx(0.75, abs=0.01)
    return artifact


pytestmark = pytest.mark.tf


def test_default_frequency_prunes_nothing_and_is_caught(
    trained: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "schedule_steps", lambda total: (100, 100))
    _, outcome = run("prune", tmp_path, parent=trained)
    assert failed(outcome) == ["sparsity"]
    assert outcome.facts["sparsity"] < 0.1


@pytest.mark.parametrize("step", ["prune", "finetune", "cluster"])
def test_changing_the_parent_in_place_is_caught(
    step: str, trained: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts.Frozen, "copy", lambda self: self.model)
    _, outcome = run(step, tmp_path, parent=trained)
    assert "parent unchanged" in failed(outcome)


def test_a_changed_parent_file_is_caught(trained: Artifact, tmp_path: Path) -> None:
    copy = tmp_path / "model.keras"
    copy.write_bytes((trained.path / "model.keras").read_bytes())
    frozen = facts.Frozen.open(replace(trained, path=tmp_path))
    assert frozen.check("parent").passed
    copy.write_bytes(b"other")
    assert not frozen.check("parent").passed


def test_constant_schedule_reaches_its_target(trained: Artifact, tmp_path: Path) -> None:
    _, outcome = run("prune", tmp_path, parent=trained, schedule="constant", sparsity=0.6, epochs=1)
    assert not failed(outcome)
    assert outcome.facts["sparsity"] == pytest.approx(0.6, abs=0.01)


def test_two_of_four_leaves_out_what_it_does_not_fit(tmp_path: Path) -> None:
    parent, _ = run("train", tmp_path / "parent", model=CNN, epochs=1)
    out = tmp_path / "pruned"
    _, outcome = run("prune", out, model=CNN, parent=parent, pattern="2:4", epochs=1)
    assert not failed(outcome)
    # conv_0 has 1 input channel, conv_1 has 6; the dense layers have 32 and 12 inputs.
    assert outcome.facts["excluded"] == ["conv_0", "conv_1"]
    zeros = {layer["name"]: layer["params"] - layer["nonzero"] for layer in outcome.facts["layers"]}
    assert zeros["dense_0"] >= 32 * 12 // 2
    assert zeros["conv_1"] < 10  # its biases may be zero, its 192 weights are not


def test_unstructured_half_under_the_name_two_of_four_is_caught(
    trained: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrap = prune._wrap

    def unstructured(model: Any, params: prune.PruneParams, total: int) -> Any:
        return wrap(model, params.model_copy(update={"pattern": "unstructured"}), total)

    monkeypatch.setattr(prune, "_wrap", unstructured)
    _, outcome = run("prune", tmp_path, parent=trained, pattern="2:4")
    assert failed(outcome) == ["2:4"]


def test_two_of_four_without_a_fitting_layer_is_an_error(tmp_path: Path) -> None:
    from bench.formats.keras_env import load

    layers = load().keras.layers
    model = load().keras.Sequential(
        [layers.Input((3,)), layers.Dense(6, name="a"), layers.Dense(2, name="b")]
    )
    with pytest.raises(StepError, match="multiple of 4 inputs"):
        prune._wrap(model, prune.PruneParams(pattern="2:4"), 10)


def test_networks_that_cannot_be_pruned_or_quantized_are_refused_in_one_line() -> None:
    from bench.formats.keras_env import load

    layers = load().keras.layers

    def network(*stack: Any) -> Any:
        return load().keras.Sequential([layers.Input((8, 2)), *stack])

    with pytest.raises(StepError, match=r"no layer to prune: none is Dense, Conv1D, Conv2D$"):
        prune._wrap(network(layers.Flatten()), prune.PruneParams(), 10)
    for stack in ([layers.Conv1D(3, 2)], [layers.Dense(3), layers.ELU()]):
        with pytest.raises(StepError, match=r"does not know this network: .+") as caught:
            qat._quantize(network(*stack))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("params", [{"sparsity": 0.75}, {"schedule": "polynomial"}])
def test_two_of_four_is_half_and_nothing_else(params: dict[str, Any]) -> None:
    """A name that says 2:4 and a number that says something else: one of them would be a lie."""
    with pytest.raises(ValueError, match=r"2:4 is sparsity 0\.5 with a constant schedule"):
        prune.PruneParams(pattern="2:4", **params)
    assert prune.PruneParams(pattern="2:4").sparsity == 0.5


def test_quantizers_that_never_saw_data_are_caught(
    trained: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = training.History(0, 0, 0.0, 0.0, 0.0)
    monkeypatch.setattr(qat, "start_ranges", lambda *_: None)
    monkeypatch.setattr(qat, "fit", lambda *_, **__: done)
    _, outcome = run("qat", tmp_path, parent=trained)
    assert failed(outcome) == ["ranges initialised"]


def test_quantizers_start_from_the_networks_own_ranges(trained: Artifact) -> None:
    frozen = facts.Frozen.open(trained)
    plain = frozen.copy()
    model = qat._quantize(plain)
    x = np.random.default_rng(0).uniform(0, 1, (50, 8, 8, 1)).astype(np.float32)
    qat.start_ranges(model, plain, x)
    values = {variable.name: float(np.max(variable.numpy())) for variable in model.weights}
    logits = training.predict(plain, x)
    assert values["quant_logits/post_activation_max:0"] == pytest.approx(max(0, logits.max()), rel=1e-5)
    assert values["quant_logits/post_activation_min:0"] == pytest.approx(min(0, logits.min()), rel=1e-5)
    assert values["quant_dense_0/post_activation_min:0"] == 0.0


def test_lost_zeros_are_caught(pruned: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qat, "zero_keeper", lambda *_: None)
    _, outcome = run("qap", tmp_path, parent=pruned)
    assert failed(outcome) == ["zeros kept"]


def test_qap_keeps_the_zeros_in_the_file(pruned: Artifact, tmp_path: Path) -> None:
    artifact, outcome = run("qap", tmp_path, parent=pruned)
    assert not failed(outcome)
    from bench.formats.keras import load_float

    assert facts.sparsity(facts.kernels(load_float(artifact.path)).values()) >= 0.75 - 0.01


def test_qap_of_a_network_that_is_not_pruned_is_caught(trained: Artifact, tmp_path: Path) -> None:
    assert failed(run("qap", tmp_path, parent=trained, epochs=1)[1]) == ["zeros kept"]


def test_too_many_distinct_values_are_caught(
    trained: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrap = cluster._wrap
    monkeypatch.setattr(cluster, "_wrap", lambda model, clusters: wrap(model, clusters + 5))
    _, outcome = run("cluster", tmp_path, parent=trained, clusters=8, epochs=1)
    assert failed(outcome) == ["clusters"]


def test_a_student_that_is_not_smaller_is_caught(trained: Artifact, tmp_path: Path) -> None:
    wide = replace(MLP, networks={**MLP.networks, "student": dense(24, 16)})
    _, outcome = run("distill", tmp_path, model=wide, teacher=trained, epochs=1)
    assert failed(outcome) == ["student smaller"]
    # Self-distillation says by its network that it is of the same size.
    assert not failed(run("distill", tmp_path, teacher=trained, network="reference", epochs=1)[1])


def test_a_teacher_that_learns_too_is_caught(
    trained: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    open_frozen = facts.Frozen.open

    def remember(artifact: Artifact) -> facts.Frozen:
        opened.append(open_frozen(artifact))
        return opened[-1]

    def fit_both(model: Any, *args: Any, **kwargs: Any) -> training.History:
        teacher = opened[-1].model
        teacher.set_weights([array * 1.01 for array in teacher.get_weights()])
        return training.fit(model, *args, **kwargs)

    monkeypatch.setattr(facts.Frozen, "open", remember)
    monkeypatch.setattr(distill, "fit", fit_both)
    _, outcome = run("distill", tmp_path, teacher=trained, epochs=1)
    assert failed(outcome) == ["teacher unchanged"]


def test_equal_peers_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distill, "PEER_SEED", 0)
    assert failed(run("distill_online", tmp_path, epochs=1)[1]) == ["peers differ"]


def test_the_control_that_stops_early_is_caught(
    trained: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = replace(MLP, finetune=Budget(5, 32, 0.0, patience=1))
    _, outcome = run("finetune", tmp_path / "a", model=impatient, parent=trained)
    assert outcome.facts["epochs_run"] == 5 and not failed(outcome)
    monkeypatch.setattr(training.TrainingParams, "fine_tuning", lambda self, model: model.finetune)
    _, outcome = run("finetune", tmp_path / "b", model=impatient, parent=trained)
    assert failed(outcome) == ["all epochs run"]


def test_a_network_that_does_not_read_back_the_same_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.steps.keras import train

    save = train.save_model

    def lossy(model: Any, folder: Path) -> Path:
        weights = model.get_weights()
        model.set_weights([np.round(array, 1) for array in weights])
        path = save(model, folder)
        model.set_weights(weights)
        return path

    monkeypatch.setattr(train, "save_model", lossy)
    assert failed(run("train", tmp_path, epochs=1)[1]) == ["reloads"]


def test_a_network_that_was_not_trained_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.steps.keras import train

    monkeypatch.setattr(train, "fit", lambda *_, **__: training.History(0, 0, 0.0, 0.0, 0.0))
    assert failed(run("train", tmp_path)[1]) == ["trained"]


def test_filters_left_in_are_caught(
    trained: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = prune_filters.choose
    monkeypatch.setattr(prune_filters, "choose", lambda model, fraction: choose(model, fraction / 2))
    _, outcome = run("prune_filters", tmp_path, parent=trained, epochs=1)
    assert failed(outcome) == ["filters removed"]


def test_a_smaller_network_that_computes_something_else_is_caught(
    trained: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuild = prune_filters.rebuild

    def other(model: Any, kept: Any) -> Any:
        smaller = rebuild(model, kept)
        smaller.set_weights([array * 1.01 for array in smaller.get_weights()])
        return smaller

    monkeypatch.setattr(prune_filters, "rebuild", other)
    _, outcome = run("prune_filters", tmp_path, parent=trained, epochs=1)
    assert failed(outcome) == ["equals masked network"]


def test_unknown_networks_and_missing_teachers_are_named(trained: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'student'"):
        run("train", tmp_path, network="studnet")
    with pytest.raises(StepError, match="needs a teacher"):
        run("prune", tmp_path, parent=trained, distill=True)
    with pytest.raises(StepError, match="needs a teacher"):
        run("distill", tmp_path)
