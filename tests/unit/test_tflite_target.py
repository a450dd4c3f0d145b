"""Running .tflite files: right numbers, scales in and out, nothing but the runtime in the timed call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bench.errors import ArtifactError, StepError, Unavailable
from targets import tflite
from targets.tflite import Port, Tflite, TfliteOptions, TfliteRunner
from tests.tflite_maker import dense, logits

pytest.importorskip("ai_edge_litert")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(50, 8)).astype(np.float32)


def opened(folder: Path, content: bytes, **options: Any) -> TfliteRunner:
    (folder / "model.tflite").write_bytes(content)
    return Tflite().open(folder, TfliteOptions(**options))


@pytest.mark.parametrize("xnnpack", [True, False])
def test_float_file_gives_its_numbers(tmp_path: Path, x: np.ndarray, xnnpack: bool) -> None:
    runner = opened(tmp_path, dense(), xnnpack=xnnpack)
    np.testing.assert_allclose(runner.predict(x), logits(x), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("xnnpack", [True, False])
def test_all_ways_to_run_give_the_same_bits(tmp_path: Path, x: np.ndarray, dtype: str, xnnpack: bool) -> None:
    runner = opened(tmp_path, dense(dtype), xnnpack=xnnpack)
    together = runner.predict(x)
    assert together.dtype == np.float32
    for i in range(len(x)):
        np.testing.assert_array_equal(runner.end_to_end(x[i : i + 1])[0], together[i])
        runner.prepare(x[i : i + 1])
        runner.invoke()
        stored = runner._get(runner.output.index)
        np.testing.assert_array_equal(runner.output.to_real(stored)[0], together[i])


def test_int8_file_is_fed_and_read_by_its_scales(tmp_path: Path, x: np.ndarray) -> None:
    found = opened(tmp_path, dense("int8")).predict(x)
    steps = np.clip(np.rint(x / np.float32(0.1) - 3), -128, 127)
    seen = (steps + 3) * 0.1
    assert np.abs(found - logits(seen)).max() <= 0.25 / 2 + 1e-5
    assert len(np.unique(found)) > 10


def port(**details: Any) -> Port:
    base = {"index": 0, "shape": np.array([1, 4]), "dtype": np.int8, "quantization": (0.5, 10)}
    return Port({**base, **details}, "input", "file")


def test_inputs_are_rounded_and_clipped() -> None:
    x = np.array([[0.24, 0.26, 1000.0, -1000.0]], np.float32)
    stored = port().to_stored(x)
    assert stored.dtype == np.int8
    assert stored.tolist() == [[10, 11, 127, -128]]
    assert port().to_real(stored).tolist() == [[0.0, 0.5, 58.5, -69.0]]


def test_uint8_and_int16() -> None:
    x = np.array([[-100.0, 0.0, 0.5, 1e6]], np.float32)
    assert port(dtype=np.uint8).to_stored(x).tolist() == [[0, 10, 11, 255]]
    assert port(dtype=np.int16, quantization=(0.5, 0)).to_stored(x).tolist() == [[-200, 0, 1, 32767]]


@pytest.mark.parametrize(
    ("details", "message"),
    [
        ({"quantization": (0.0, 0)}, "int8 input has no scale"),
        ({"dtype": np.int32}, "its input is int32"),
        ({"shape": np.array([2, 4])}, "first dimension must be 1"),
        ({"shape": np.array([], np.int32)}, "first dimension must be 1"),
    ],
)
def test_inputs_that_cannot_be_fed(details: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        port(**details)


def test_int8_without_scale_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        opened(tmp_path, dense("int8", scaled=False), xnnpack=False)


def test_a_wrong_shape_is_named(tmp_path: Path) -> None:
    runner = opened(tmp_path, dense())
    with pytest.raises(StepError, match=r"shape \[5, 9\], the file wants \['n', 8\]"):
        runner.predict(np.zeros((5, 9), np.float32))
    with pytest.raises(StepError, match="shape"):
        runner.prepare(np.zeros((2, 8), np.float32))


def test_describe_tells_what_ran(tmp_path: Path) -> None:
    about = opened(tmp_path, dense("int8"), threads=2).describe()
    assert (about["runtime"], about["threads"], about["xnnpack"]) == ("ai_edge_litert", 2, True)
    assert about["version"][0].isdigit()
    assert (about["ops"], about["ops_delegated"]) == (1, 1)
    assert about["input"] == {
        "dtype": "int8",
        "shape": [1, 8],
        "scale": pytest.approx(0.1),
        "zero_point": -3,
    }
    assert about["output"]["scale"] == 0.25
    plain = opened(tmp_path, dense(), xnnpack=False).describe()
    assert (plain["xnnpack"], plain["ops"], plain["ops_delegated"]) == (False, 1, 0)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_interpreter_gets_as_many_threads_as_the_record_says(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    real = tflite.runtime()

    def interpreter(**arguments: Any) -> Any:
        given.append(arguments["num_threads"])
        return real.interpreter(**arguments)

    monkeypatch.setattr(tflite, "runtime", lambda: real._replace(interpreter=interpreter))
    assert opened(tmp_path, dense(), threads=threads).describe()["threads"] == threads
    assert given == [threads]


def test_the_timed_call_is_the_runtime_s_own(tmp_path: Path) -> None:
    runner = opened(tmp_path, dense())
    assert runner.invoke.__func__ is type(runner._interpreter).invoke  # type: ignore[attr-defined]


def test_close_gives_the_interpreter_back(tmp_path: Path) -> None:
    import weakref

    runner = opened(tmp_path, dense())
    gone = weakref.ref(runner._interpreter)
    runner.close()
    assert gone() is None


@pytest.mark.parametrize("options", [{"threads": 0}, {"threads": "2"}, {"thread": 1}, {"xnnpack": 1}])
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TfliteOptions(**options)


def test_no_runtime_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite, "find_spec", lambda name: None)
    reason = Tflite().unavailable()
    assert reason is not None and "ai-edge-litert" in reason
    monkeypatch.setattr(tflite, "find_spec", lambda name: object() if name == "tensorflow" else None)
    assert Tflite().unavailable() is None


def test_no_runtime_when_opening(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import bench.formats.keras_env

    def absent() -> Any:
        raise Unavailable("tensorflow is not installed")

    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setattr(bench.formats.keras_env, "load", absent)
    tflite.runtime.cache_clear()
    try:
        with pytest.raises(Unavailable, match="no TFLite runtime"):
            opened(tmp_path, dense())
    finally:
        tflite.runtime.cache_clear()


def test_files_that_do_not_load(tmp_path: Path) -> None:
    content = dense()
    for bad in (b"", b"x" * 100, content[: len(content) // 2], content[:-40], content[:8] + b"\xff" * 200):
        with pytest.raises(ArtifactError):
            opened(tmp_path, bad)
    with pytest.raises(ArtifactError, match="no such file"):
        Tflite().open(tmp_path / "absent.tflite")


def test_a_hostile_file_never_takes_the_process_with_it(tmp_path: Path) -> None:
    """Truncated and changed files, loaded and run in one process: it must live to the end."""
    code = """
import sys
from pathlib import Path
import numpy as np
from bench.errors import BenchError
from targets.tflite import Tflite
from tests.tflite_maker import dense

folder, refused = Path(sys.argv[1]), 0
rng = np.random.default_rng(0)
for dtype in ("float32", "int8"):
    good = dense(dtype)
    bad = [good[:n] for n in range(0, len(good), 7)]
    for _ in range(300):
        changed = bytearray(good)
        for place in rng.integers(8, len(good), 3):
            changed[place] = int(rng.choice([0, 1, 2, 127, 255, int(rng.integers(256))]))
        bad.append(bytes(changed))
    for content in bad:
        (folder / "model.tflite").write_bytes(content)
        try:
            runner = Tflite().open(folder)
            runner.predict(np.zeros((1, *runner.input.shape[1:]), np.float32))
        except BenchError:
            refused += 1
        except ValueError:
            refused += 1
print("refused", refused)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) > 300


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "targets.tflite", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_a_fresh_process_gives_the_same(tmp_path: Path, x: np.ndarray) -> None:
    runner = opened(tmp_path, dense("int8"))
    np.save(tmp_path / "x.npy", x)
    assert run(tmp_path / "model.tflite", tmp_path / "x.npy", tmp_path / "y.npy").returncode == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), runner.predict(x))
    (tmp_path / "model.tflite").write_bytes(b"nothing")
    done = run(tmp_path / "model.tflite", tmp_path / "x.npy", tmp_path / "z.npy")
    assert done.returncode == 1 and "not a TFLite file" in done.stderr


_WITHOUT_LITERT = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec
hidden = ("ai_edge_litert",)
PathFinder.find_spec = classmethod(lambda cls, name, *rest: None if name in hidden else find(name, *rest))
"""


@pytest.mark.tf
def test_a_process_without_litert_gives_the_same(tmp_path: Path, x: np.ndarray) -> None:
    """As if it were not installed at all: neither its interpreter nor its reader of files is there."""
    expected = opened(tmp_path, dense("int8")).predict(x)
    (tmp_path / "sitecustomize.py").write_text(_WITHOUT_LITERT)
    np.save(tmp_path / "x.npy", x)
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [sys.executable, "-c", "import ai_edge_litert"]
    hidden = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert "No module named 'ai_edge_litert'" in hidden.stderr
    done = run(tmp_path / "model.tflite", tmp_path / "x.npy", tmp_path / "y.npy", PYTHONPATH=paths)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)


@pytest.mark.tf
def test_fallback_to_tf_lite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, x: np.ndarray) -> None:
    expected = opened(tmp_path, dense("int8")).predict(x)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    tflite.runtime.cache_clear()
    try:
        runner = opened(tmp_path, dense("int8"))
        about = runner.describe()
        assert (about["runtime"], about["version"][:2]) == ("tf.lite", "2.")
        np.testing.assert_array_equal(runner.predict(x), expected)
    finally:
        tflite.runtime.cache_clear()


def test_mlperf_tiny_files_run(data_dir: Path) -> None:
    for name, shape in (("kws_ref_model", (49, 10, 1)), ("pretrainedResnet_quant", (32, 32, 3))):
        runner = Tflite().open(data_dir / "mlperf-tiny" / f"{name}.tflite")
        low = (runner.input.scale or 1) * -128
        x = np.random.default_rng(0).uniform(low, -low, (3, *shape)).astype(np.float32)
        found = runner.predict(x)
        # Both end in a softmax.
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=0.05)
