"""Every registered target: importable without its runtime, one answer by all ways to run, clear refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bench.core.registry import STEPS, TARGETS
from bench.errors import ArtifactError, BenchError
from targets.base import Runner
from targets.pynq.target import BoardOptions
from tests.tflite_maker import dense

FEATURES, CLASSES = 8, 3
NAMES = TARGETS.names()


def make_tflite(folder: Path) -> None:
    (folder / "model.tflite").write_bytes(dense("int8"))


def make_keras(folder: Path) -> None:
    from bench.formats.keras import save_model
    from bench.formats.keras_env import load

    keras = load().keras
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Input((FEATURES,)), keras.layers.Dense(CLASSES, name="logits")]
    save_model(keras.Sequential(layers), folder)


def make_csim(folder: Path) -> None:
    from tests.tiny import QAT, TRAIN, made, step

    artifact = made("tiny_mlp", TRAIN, QAT, step("to_hls"), step("compile_hls"))
    shutil.copytree(artifact.path, folder, dirs_exist_ok=True)


ARTIFACTS: dict[str, Callable[[Path], None]] = {
    "tflite": make_tflite,
    "keras": make_keras,
    "csim": make_csim,
}
#: artifacts of several files: those that `open` reads, but for programs
FILES = {"csim": ("simulator.json", "fixed_point.json", "reference.npz")}


#: these run on a board only: tests/unit/test_board_sweeps.py
ON_BOARDS = [name for name in NAMES if issubclass(TARGETS.get(name).Options, BoardOptions)]


def cases() -> list[Any]:
    """Targets whose artifacts can be made here."""
    known = [name for name in NAMES if TARGETS.get(name).format in ARTIFACTS and name not in ON_BOARDS]
    marks = {"keras": [pytest.mark.tf], "hls4ml": [pytest.mark.tf, NEEDS_COMPILER]}
    return [pytest.param(name, marks=marks.get(name, [])) for name in known]


NEEDS_COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def sizes(name: str) -> tuple[tuple[int, ...], int]:
    """Shape of one input and number of classes of the artifacts here."""
    return ((8, 8, 1), 4) if TARGETS.get(name).format == "csim" else ((FEATURES,), CLASSES)


def options(name: str) -> Any:
    """Defaults, but the threads that TensorFlow already has in this process."""
    if name != "keras":
        return TARGETS.get(name).Options()
    from bench.formats.keras_env import load
    from targets.keras_cpu import KerasCpuOptions, available_cores

    tf = load().tf
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
    except RuntimeError:
        running = tf.config.threading.get_intra_op_parallelism_threads()
        return KerasCpuOptions(threads=running or available_cores())
    return KerasCpuOptions()


def opened(name: str, folder: Path) -> Runner:
    target = TARGETS.get(name)
    ARTIFACTS[target.format](folder)
    return target.open(folder, options(name))


def inputs(name: str) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(20, *sizes(name)[0])).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_description(name: str) -> None:
    target = TARGETS.get(name)
    assert target.name == name
    assert set(target.scopes) <= {"kernel", "invoke", "end_to_end"}
    assert len(set(target.scopes)) == len(target.scopes)
    assert target.format and target.device and target.modules
    # without scopes it says nothing of time: a simulation, a build or a board
    assert target.scopes or target.starts_from or name in ON_BOARDS
    reason = target.unavailable()
    assert reason is None or reason.strip()


@pytest.mark.parametrize("name", NAMES)
def test_options_are_json_with_defaults_and_no_strangers(name: str) -> None:
    kind = TARGETS.get(name).Options
    values = kind().model_dump()
    assert kind.model_validate(json.loads(json.dumps(values))) == kind()
    with pytest.raises(ValidationError):
        kind.model_validate({"no_such_option": 1})


def test_targets_need_no_runtime_until_they_open() -> None:
    code = (
        "import sys; from bench.core.registry import TARGETS\n"
        "for name in TARGETS.names(): TARGETS.get(name).unavailable(); TARGETS.get(name).Options()\n"
        "heavy = {'tensorflow', 'tf_keras', 'ai_edge_litert.interpreter', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", cases())
def test_all_ways_to_run_agree(name: str, tmp_path: Path) -> None:
    runner, x = opened(name, tmp_path), inputs(name)
    classes = sizes(name)[1]
    before = x.copy()
    together = runner.predict(x)
    assert together.shape == (len(x), classes) and together.dtype == np.float32
    assert len(np.unique(together.argmax(axis=1))) > 1
    for i in range(len(x)):
        one = runner.end_to_end(x[i : i + 1])
        assert one.shape == (1, classes) and one.dtype == np.float32
        np.testing.assert_allclose(one[0], together[i], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(runner.predict(x), together)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", cases())
def test_results_stay_when_the_next_input_runs(name: str, tmp_path: Path) -> None:
    runner, x = opened(name, tmp_path), inputs(name)
    first = runner.end_to_end(x[:1])
    kept = first.copy()
    runner.prepare(x[1:2])
    runner.invoke()
    runner.end_to_end(x[2:3])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("name", cases())
def test_no_inputs_give_no_outputs(name: str, tmp_path: Path) -> None:
    assert opened(name, tmp_path).predict(inputs(name)[:0]).shape == (0, sizes(name)[1])


@pytest.mark.parametrize("name", cases())
def test_wrong_shapes_are_refused(name: str, tmp_path: Path) -> None:
    runner, shape = opened(name, tmp_path), sizes(name)[0]
    wrong = np.zeros((1, shape[0] + 1, *shape[1:]), np.float32)
    timed = bool(TARGETS.get(name).scopes)
    for call in (runner.predict, runner.prepare) if timed else (runner.predict, runner.end_to_end):
        with pytest.raises(BenchError, match=r"\['n', 8\]" if timed else "72 values, .* wants 64"):
            call(wrong)


@pytest.mark.parametrize("name", cases())
def test_describe_says_what_ran(name: str, tmp_path: Path) -> None:
    about = opened(name, tmp_path).describe()
    assert json.loads(json.dumps(about)) == about
    assert about["runtime"] and about["version"][0].isdigit()
    if TARGETS.get(name).scopes:
        assert about["threads"] == options(name).threads
    shape, classes = sizes(name)
    assert about["input"]["shape"] == [1, int(np.prod(shape))] and about["output"]["shape"] == [1, classes]


@pytest.mark.parametrize("name", cases())
def test_artifacts_that_are_none(name: str, tmp_path: Path) -> None:
    target = TARGETS.get(name)
    with pytest.raises(ArtifactError):
        target.open(tmp_path, options(name))
    ARTIFACTS[target.format](tmp_path)
    files = [tmp_path / file for file in FILES.get(target.format, ())] or list(tmp_path.iterdir())
    for file in files:
        content = file.read_bytes()
        for bad in (b"", b"not this", content[: len(content) // 2], content[:-20]):
            file.write_bytes(bad)
            with pytest.raises(ArtifactError, match=file.name):
                target.open(tmp_path, options(name))
        file.write_bytes(content)
    target.open(tmp_path, options(name)).close()


@pytest.mark.parametrize("name", cases())
def test_agreement_is_a_chain_of_comparisons(name: str, tmp_path: Path) -> None:
    runner = opened(name, tmp_path)
    runner.predict(inputs(name))
    assert runner.agreement() == []  # not the inputs of any reference
    if TARGETS.get(name).format == "csim":
        from tests.tiny import Blobs

        runner.predict(Blobs().load().test.x)
        chain = runner.agreement()
        assert chain[-1]["of"] == "csim" and chain[-1]["bit_exact"] == chain[-1]["n"] > 0
        assert [link["against"] for link in chain[1:]] == [link["of"] for link in chain[:-1]]


@pytest.mark.parametrize("name", [name for name in NAMES if TARGETS.get(name).starts_from])
def test_targets_finish_the_chains_that_they_take(name: str) -> None:
    target = TARGETS.get(name)
    options = target.Options(**({"board": "emulated"} if name in ON_BOARDS else {})).model_dump(mode="json")
    specs = target.finish(options)
    now = target.starts_from
    for spec in specs:
        step = STEPS.get(spec.step)
        assert step.takes == now
        assert step.Params(**spec.params).model_dump(mode="json") == spec.params  # complete: part of the key
        now = step.gives
    assert specs and now == target.format


@pytest.mark.parametrize("name", cases())
def test_closed_twice_is_closed(name: str, tmp_path: Path) -> None:
    runner = opened(name, tmp_path)
    runner.close()
    runner.close()
