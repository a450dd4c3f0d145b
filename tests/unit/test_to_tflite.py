"""Conversion: every mode holds what its name says, and what does not is caught."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.step import Artifact, Check, StepContext, StepOutcome
from bench.errors import StepError
from bench.formats.tflite_reader import inspect_bytes
from bench.steps.tflite import to_tflite
from bench.steps.tflite.tflite_checks import claims
from bench.steps.tflite.to_tflite import (
    ToTflite,
    ToTfliteParams,
    agreement_check,
    calibration_indices,
    has_fake_quantizers,
    run_fresh,
    samples_digest,
)
from models.base import Budget, Data, Model, Split
from tests.tflite_maker import dense, logits

FEATURES, CLASSES = 32, 4


def blobs(n: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(CLASSES, FEATURES))
    y = rng.integers(CLASSES, size=n)
    x = centres[y] + rng.normal(scale=0.7, size=(n, FEATURES))
    return Split(x.astype(np.float32), y.astype(np.int64))


DATA = Data(blobs(600, 1), blobs(100, 2), blobs(200, 3), "made")
BUDGET = Budget(epochs=4, batch_size=50, learning_rate=0.01)


# ---------------------------------------------------------------- calibration samples


def test_calibration_keeps_the_classes_proportions() -> None:
    y = np.repeat([0, 1, 2], [600, 300, 100])
    chosen = calibration_indices(Split(np.zeros((1000, 1), np.float32), y), 100)
    assert np.bincount(y[chosen]).tolist() == [60, 30, 10]
    assert len(set(chosen.tolist())) == 100


def test_calibration_is_the_same_every_time_and_has_a_second_disjoint_part() -> None:
    first, again = calibration_indices(DATA.train, 64), calibration_indices(DATA.train, 64)
    second = calibration_indices(DATA.train, 64, part=1)
    np.testing.assert_array_equal(first, again)
    assert not set(first) & set(second)
    x = DATA.train.x
    assert samples_digest(first, x[first]) == samples_digest(again, x[again])
    assert samples_digest(first, x[first]) != samples_digest(second, x[second])
    assert samples_digest(first, x[first]) != samples_digest(first, x[first] + 1)


def test_calibration_takes_what_there_is() -> None:
    few = Split(np.zeros((5, 1), np.float32), np.array([0, 0, 1, 1, 1]))
    np.testing.assert_array_equal(calibration_indices(few, 100), np.arange(5))
    with pytest.raises(StepError, match="too few"):
        calibration_indices(few, 4, part=1)


# ---------------------------------------------------------------- checks, on files made by hand


def failed(dtype: str, mode: str, **parent: Any) -> set[str]:
    return {check.name for check in claims(inspect_bytes(dense(dtype)), mode, parent) if not check.passed}


def layer(unique: int, elements: tuple[int, ...] = (8, 3), kind: str = "Dense") -> dict[str, Any]:
    return {"name": "dense", "kind": kind, "shape": list(elements), "unique": unique}


def test_files_pass_as_what_they_are() -> None:
    assert failed("float32", "float32", sparsity=0.5, layers=[layer(8)]) == set()
    assert failed("int8", "int8", sparsity=0.5, layers=[layer(8)]) == set()


@pytest.mark.parametrize(
    ("dtype", "mode", "wrong"),
    [
        ("float32", "int8", {"weights", "inputs and outputs", "activations"}),
        ("float32", "static", {"weights", "activations"}),
        ("float32", "16x8", {"weights", "activations"}),
        ("float32", "float16", {"weights"}),
        ("float32", "dynamic", {"weights"}),
        ("int8", "float32", {"weights", "inputs and outputs", "activations"}),
        ("int8", "static", {"inputs and outputs"}),
        ("int8", "16x8", {"inputs and outputs", "activations"}),
    ],
)
def test_files_fail_as_what_they_are_not(dtype: str, mode: str, wrong: set[str]) -> None:
    assert failed(dtype, mode) == wrong


def test_dynamic_without_a_large_kernel_is_no_quantization() -> None:
    (check,) = [c for c in claims(inspect_bytes(dense()), "dynamic", {}) if not c.passed]
    assert "no kernel has 1024 elements (24)" in check.detail


def test_lost_sparsity_is_seen() -> None:
    assert failed("float32", "float32", sparsity=0.75, layers=[layer(8)]) == {"sparsity kept"}
    assert failed("float32", "float32", sparsity=0.51, layers=[layer(8)]) == set()


def test_lost_clusters_are_seen() -> None:
    assert failed("int8", "int8", layers=[layer(7)]) == {"distinct values"}
    folded = [layer(7), layer(1, (3,), "BatchNormalization")]
    assert failed("int8", "int8", layers=folded) == set()


def test_a_file_that_does_not_load_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    x = np.ones((2, 8), np.float32)
    path.write_bytes(dense())
    found = run_fresh(path, x)
    assert not isinstance(found, str)
    np.testing.assert_allclose(found, logits(x), atol=1e-5)
    path.write_bytes(dense()[:-30])
    found = run_fresh(path, x)
    assert isinstance(found, str) and "damaged TFLite file" in found


def test_a_process_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killer = tmp_path / "killer"
    killer.write_text("#!/bin/sh\nkill -SEGV $$\n")
    killer.chmod(0o755)
    monkeypatch.setattr(to_tflite.sys, "executable", str(killer))
    found = run_fresh(tmp_path / "model.tflite", np.ones((1, 8), np.float32))
    assert found == "the process that loaded it died of signal 11"


def test_agreement_bounds() -> None:
    expected = np.eye(4, dtype=np.float32)[np.arange(100) % 4] * 5

    def passed(found: np.ndarray, **params: Any) -> bool:
        return agreement_check(expected, found, ToTfliteParams(**params))[1].passed

    turned = expected.copy()
    turned[:15] = np.roll(turned[:15], 1, axis=1)
    assert passed(expected)
    assert passed(expected + 1e-5) and not passed(expected + 1e-2)
    assert passed(expected + 1e-2, mode="int8")
    assert not passed(turned, mode="int8")
    assert passed(turned, mode="int8", min_agreement=0.8)
    assert not passed(np.full_like(expected, np.nan), mode="int8")
    assert not passed(expected[:, :3], mode="int8")


# ---------------------------------------------------------------- real conversions


@dataclass(frozen=True)
class Parents:
    """Artifacts of one small network: plain, pruned to 75 %, with fake quantizers, too small for dq."""

    plain: Artifact
    pruned: Artifact
    quantized: Artifact
    small: Artifact


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> Parents:
    from bench.formats import keras as keras_io
    from bench.formats.keras_env import load
    from bench.steps.keras import facts
    from bench.steps.keras.qat import start_ranges
    from bench.steps.keras.training import prepare

    prepare(0)
    keras = load().keras

    def trained(*widths: int) -> Any:
        layers: list[Any] = [keras.layers.Input((FEATURES,))]
        for number, width in enumerate(widths):
            layers.append(keras.layers.Dense(width, activation="relu", name=f"hidden{number}"))
        model = keras.Sequential([*layers, keras.layers.Dense(CLASSES, name="logits")])
        # Random features and least squares: a classifier without the seconds of a training.
        hidden = DATA.train.x
        for part in model.layers:
            # Biases of zero would be left out of the file.
            part.bias.assign(np.linspace(0.01, 0.1, part.units))
        for part in model.layers[:-1]:
            hidden = np.maximum(hidden @ part.kernel.numpy() + part.bias.numpy(), 0)
        model.layers[-1].kernel.assign(np.linalg.lstsq(hidden, 4 * np.eye(CLASSES)[DATA.train.y])[0])
        return model

    def saved(model: Any, quantized: Any = None) -> Artifact:
        folder = tmp_path_factory.mktemp("keras")
        if quantized is None:
            keras_io.save_model(model, folder)
        else:
            keras_io.save_quantized(model, quantized, folder)
        return Artifact(folder, "keras", "0" * 64, facts.describe(keras_io.load_float(folder)))

    def thinned(model: Any) -> Any:
        copy = keras_io.clone(model)
        for part in copy.layers:
            kernel = part.kernel.numpy()
            part.kernel.assign(np.where(np.abs(kernel) < np.quantile(np.abs(kernel), 0.75), 0, kernel))
        return copy

    plain = trained(64, 32)
    copy = keras_io.clone(plain)
    quantized = keras_io.quantize(copy)
    quantized(DATA.train.x, training=True)  # ranges of the input and of the kernels
    start_ranges(quantized, copy, DATA.train.x)
    return Parents(saved(plain), saved(thinned(plain)), saved(copy, quantized), saved(trained(16)))


@pytest.fixture
def convert(tmp_path: Path) -> Any:
    def run(parent: Artifact, **params: Any) -> tuple[StepOutcome, Path]:
        model = Model("blobs", "made", "none", {}, BUDGET, BUDGET)
        context = StepContext(model, ToTfliteParams(**params), 0, parent, None, tmp_path)
        vars(context)["data"] = DATA
        return ToTflite().run(context), tmp_path / "model.tflite"

    return run


def failures(outcome: StepOutcome) -> list[Check]:
    return [check for check in outcome.checks if not check.passed]


@pytest.mark.tf
@pytest.mark.parametrize(
    ("mode", "weights", "in_out", "activations"),
    [
        ("float32", {"float32"}, "float32", ["float32"]),
        ("float16", {"float16"}, "float32", ["float32"]),
        ("dynamic", {"int8", "float32"}, "float32", ["float32"]),
        ("static", {"int8"}, "float32", ["int8"]),
        ("int8", {"int8"}, "int8", ["int8"]),
        ("16x8", {"int8"}, "float32", ["int16"]),
    ],
)
def test_modes(
    parents: Parents, convert: Any, mode: str, weights: set[str], in_out: str, activations: list[str]
) -> None:
    outcome, path = convert(parents.plain, mode=mode)
    assert failures(outcome) == []
    names = [check.name for check in outcome.checks]
    assert {"weights", "loads in a fresh process", "agrees with its parent"} <= set(names)
    facts = outcome.facts
    kernels = [tensor for tensor in facts["weights"] if tensor["role"] == "kernel"]
    assert {tensor["dtype"] for tensor in kernels} == weights
    # What is below 1024 elements stays float in `dynamic`, and the facts say so.
    assert mode != "dynamic" or {t["dtype"]: t["shape"] for t in kernels}["float32"] == [4, 32]
    assert facts["input_dtype"] == facts["output_dtype"] == [in_out]
    assert facts["activation_dtypes"] == activations
    assert facts["file_bytes"] == path.stat().st_size
    assert facts["params"] == 32 * 64 + 64 * 32 + 32 * 4 + 64 + 32 + 4
    assert facts["calibration"]["n"] == 256
    assert facts["calibration"]["used_for_ranges"] == (mode in ("static", "int8", "16x8"))
    assert facts["agreement"]["n"] == 256


@pytest.mark.tf
def test_pruned_stays_sparse(parents: Parents, convert: Any) -> None:
    outcome, _ = convert(parents.pruned, mode="int8")
    assert failures(outcome) == []
    assert outcome.facts["sparsity"] >= 0.75
    assert "sparsity kept" in [check.name for check in outcome.checks]


def sparsely(monkeypatch: pytest.MonkeyPatch, *optimizations: str) -> None:
    """Have the converter leave zeros out of the file as well."""
    monkeypatch.setattr(
        to_tflite,
        "optimizations",
        lambda tf, mode: [
            getattr(tf.lite.Optimize, name) for name in (*optimizations, "EXPERIMENTAL_SPARSITY")
        ],
    )


@pytest.mark.tf
def test_zeros_that_are_left_out_of_the_file_count(
    parents: Parents, convert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense_bytes = convert(parents.pruned, mode="float32")[0].facts["file_bytes"]
    sparsely(monkeypatch)
    outcome, _ = convert(parents.pruned, mode="float32")
    assert failures(outcome) == []
    assert {tensor["sparse"] for tensor in outcome.facts["weights"] if tensor["role"] == "kernel"} == {True}
    assert outcome.facts["file_bytes"] < dense_bytes
    assert outcome.facts["sparsity"] == pytest.approx(0.75, abs=0.01)


@pytest.mark.tf
def test_a_sparse_file_that_does_not_load_is_caught(
    parents: Parents, convert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XNNPACK refuses sparse int8 kernels that the converter writes without a word."""
    sparsely(monkeypatch, "DEFAULT")
    outcome, _ = convert(parents.pruned, mode="dynamic")
    (check,) = failures(outcome)
    assert check.name == "loads in a fresh process" and "cannot run this file" in check.detail


@pytest.mark.tf
@pytest.mark.parametrize("mode", ["static", "int8"])
def test_quantization_aware_networks_need_no_samples(parents: Parents, convert: Any, mode: str) -> None:
    outcome, _ = convert(parents.quantized, mode=mode)
    assert failures(outcome) == []
    assert outcome.facts["fake_quantized"] is True
    assert outcome.facts["int8_share"] == 1.0
    assert outcome.facts["calibration"]["used_for_ranges"] is False
    assert outcome.facts["input_dtype"] == ["int8" if mode == "int8" else "float32"]


@pytest.mark.tf
def test_quantization_aware_without_default_is_caught(
    parents: Parents, convert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_tflite, "optimizations", lambda tf, mode: [])
    outcome, _ = convert(parents.quantized, mode="static")
    assert {check.name for check in failures(outcome)} == {"weights", "activations"}


@pytest.mark.tf
def test_quantization_aware_in_a_float_mode_is_refused(parents: Parents, convert: Any) -> None:
    for mode in ("float32", "dynamic", "float16", "16x8"):
        with pytest.raises(StepError, match="trained with int8 quantizers"):
            convert(parents.quantized, mode=mode)


@pytest.mark.tf
def test_dynamic_on_a_small_network_is_not_true(parents: Parents, convert: Any) -> None:
    outcome, _ = convert(parents.small, mode="dynamic")
    (check,) = failures(outcome)
    assert check.name == "weights" and "no kernel has 1024 elements" in check.detail


@pytest.mark.tf
def test_a_file_of_another_network_does_not_agree(
    parents: Parents, convert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = to_tflite.convert

    def shuffled(model: Any, mode: Any, samples: np.ndarray, **rest: Any) -> bytes:
        last = model.layers[-1]
        last.kernel.assign(np.roll(last.kernel.numpy(), 1, axis=1))
        content = real(model, mode, samples, **rest)
        last.kernel.assign(np.roll(last.kernel.numpy(), -1, axis=1))
        return content

    monkeypatch.setattr(to_tflite, "convert", shuffled)
    outcome, _ = convert(parents.plain, mode="float32")
    assert [check.name for check in failures(outcome)] == ["agrees with its parent"]


@pytest.mark.tf
def test_a_broken_file_is_a_failed_check(
    parents: Parents, convert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_tflite, "run_fresh", lambda path, x: "does not load")
    outcome, _ = convert(parents.plain, mode="float32")
    assert failures(outcome) == [Check("loads in a fresh process", False, "does not load")]


@pytest.mark.tf
def test_the_same_parent_gives_the_same_bytes(parents: Parents, convert: Any) -> None:
    first = convert(parents.plain, mode="int8")[1].read_bytes()
    assert convert(parents.plain, mode="int8")[1].read_bytes() == first


@pytest.mark.tf
def test_stability_of_calibration_is_recorded(parents: Parents, convert: Any) -> None:
    outcome, _ = convert(parents.plain, mode="int8", calibration=200, stability=True)
    assert outcome.facts["stability"]["n"] == 200
    assert outcome.facts["stability"]["mismatches"] < 20
    assert "stability" not in convert(parents.plain, mode="dynamic", stability=True)[0].facts


@pytest.mark.tf
def test_what_the_converter_refuses_is_one_message(
    parents: Parents, convert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.formats.keras_env import load

    tf, _ = load()

    def refuse(*_: Any) -> Any:
        raise ValueError("no such operator\nmany more lines")

    monkeypatch.setattr(tf.lite.TFLiteConverter, "from_concrete_functions", refuse)
    with pytest.raises(StepError, match=r"refuses this network in mode 'int8': no such operator$"):
        convert(parents.plain, mode="int8")


@pytest.mark.tf
def test_fake_quantizers_are_found(parents: Parents) -> None:
    from bench.formats.keras import load_model

    assert has_fake_quantizers(load_model(parents.quantized.path))
    assert not has_fake_quantizers(load_model(parents.plain.path))
