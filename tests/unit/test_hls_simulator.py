"""The compiled C simulation: bit for bit QKeras, and a clear word where it cannot run."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.step import Artifact
from bench.errors import ArtifactError, StepError, Unavailable
from targets.fpga.fixed import FixedPoint
from targets.fpga.hls import simulator as module
from targets.fpga.hls.simulator import DESCRIPTION, PROGRAM, Simulator, compile_project
from tests.tiny import QAT, TRAIN, Blobs, copied, made, step

COMPILE = step("compile_hls")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def fixed(model: str) -> Artifact:
    return made(model, TRAIN, QAT)


def csim(model: str, **how: Any) -> Artifact:
    return made(model, TRAIN, QAT, step("to_hls", **how), COMPILE)


def inputs(n: int = 300) -> np.ndarray:
    """The test split and what is outside the inputs' usual range."""
    rng = np.random.default_rng(6)
    more = rng.uniform(-0.5, 2.5, (n - 64, 8, 8, 1)).astype(np.float32)
    return np.concatenate([Blobs().load().test.x, more])


def qkeras_layers(artifact: Artifact, x: np.ndarray) -> tuple[list[str], dict[str, np.ndarray]]:
    """Names of the design's layers and the outputs of QKeras' layers."""
    from bench.formats.keras import load_float
    from targets.fpga.qkeras_network import build, profile

    row = load_float(artifact.path)
    return [layer.name for layer in row.layers], profile(build(row, FixedPoint.load(artifact.path)), x)


DESIGNS: dict[str, tuple[str, dict[str, Any]]] = {
    "mlp": ("tiny_mlp", {}),
    "mlp shared multipliers": ("tiny_mlp", {"strategy": "resource", "reuse_factor": 4}),
    "cnn stream": ("tiny_cnn", {"io_type": "io_stream"}),
    "cnn parallel, shared": ("tiny_cnn", {"io_type": "io_parallel", "reuse_factor": 6}),
}


@needs_compiler
@pytest.mark.tf
@pytest.mark.parametrize("name", list(DESIGNS))
def test_same_bits_as_qkeras_in_every_layer(name: str) -> None:
    model, how = DESIGNS[name]
    artifact, x = csim(model, **how), inputs()
    simulator = Simulator.open(artifact.path)
    names, expected = qkeras_layers(artifact, x)
    outputs = simulator.run(x)
    np.testing.assert_array_equal(outputs, expected["logits_quantizer"])
    assert outputs.dtype == np.float64 and len(np.unique(outputs.argmax(axis=1))) > 1
    traced_outputs, traced = simulator.trace(x[60:100])
    np.testing.assert_array_equal(traced_outputs, outputs[60:100])
    assert len(traced) >= len(names) - 1  # hls4ml lays out no Flatten
    for layer, values in traced.items():
        end = expected.get(layer + "_quantizer", expected[layer])
        np.testing.assert_array_equal(values, end[60:100].reshape(40, -1), err_msg=layer)
    assert {"logits", *(n for n in names if n.endswith("_relu"))} <= set(traced)


# ---------------------------------------------------------------- running it


@pytest.fixture(scope="module")
def mlp() -> Artifact:
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    return csim("tiny_mlp")


@pytest.mark.tf
class TestRunning:
    def test_many_processes_give_what_one_gives(self, mlp: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
        simulator, x = Simulator.open(mlp.path), inputs()
        parts: list[int] = []
        run = Simulator._run

        def count(self: Simulator, flat: np.ndarray, *args: Any) -> np.ndarray:
            parts.append(len(flat))
            return run(self, flat, *args)

        monkeypatch.setattr(Simulator, "_run", count)
        one = simulator.run(x, jobs=1)
        assert parts == [300]
        np.testing.assert_array_equal(simulator.run(x, jobs=4), one)
        assert sorted(parts[1:]) == [75] * 4
        np.testing.assert_array_equal(simulator.run(x[:50], jobs=4), one[:50])
        assert parts[5:] == [50]  # too few to be worth a second process
        for i in range(3):
            np.testing.assert_array_equal(simulator.run(x[i : i + 1]), one[i : i + 1])

    def test_no_inputs_give_no_outputs(self, mlp: Artifact) -> None:
        assert Simulator.open(mlp.path).run(inputs()[:0]).shape == (0, 4)

    def test_wrong_sizes(self, mlp: Artifact) -> None:
        simulator = Simulator.open(mlp.path)
        for call in (simulator.run, simulator.trace):
            with pytest.raises(StepError, match="inputs have 56 values, the simulation wants 64"):
                call(inputs()[:2, :7])

    def test_from_another_folder_and_after_a_move(
        self, mlp: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        x = inputs()[:10]
        expected = Simulator.open(mlp.path).run(x)
        copied(mlp, tmp_path / "before")
        (tmp_path / "before").rename(tmp_path / "moved here")
        monkeypatch.chdir(tmp_path)
        simulator = Simulator.open(Path("moved here"))
        np.testing.assert_array_equal(simulator.run(x), expected)
        np.testing.assert_array_equal(simulator.trace(x)[0], expected)

    def test_the_program_stands_alone(self, mlp: Artifact, tmp_path: Path) -> None:
        """Nothing is read but its own folder: no project, no package."""
        place = tmp_path / "alone"
        place.mkdir()
        shutil.copy(mlp.path / PROGRAM, place)
        shutil.copytree(mlp.path / "weights", place / "weights")
        x = inputs()[:3]
        done = subprocess.run([place / PROGRAM], cwd=place, input=x.tobytes(), capture_output=True, env={})
        assert done.returncode == 0
        expected = Simulator.open(mlp.path).run(x)
        np.testing.assert_array_equal(np.frombuffer(done.stdout).reshape(3, 4), expected)

    def test_half_a_frame_is_no_frame(self, mlp: Artifact) -> None:
        for values, frames in ((63, 0), (2 * 64 + 1, 2)):
            done = subprocess.run(
                [mlp.path / PROGRAM], cwd=mlp.path, input=bytes(4 * values), capture_output=True, timeout=60
            )
            assert (done.returncode, len(done.stdout)) == (2, frames * 4 * 8)

    def test_missing_weights_end_it(self, mlp: Artifact, tmp_path: Path) -> None:
        place = copied(mlp, tmp_path / "csim")
        sorted((place / "weights").glob("w*.txt"))[0].unlink()
        with pytest.raises(StepError, match=r"ended with code [^0]"):
            Simulator.open(place).run(inputs()[:3])

    def test_description(self, mlp: Artifact) -> None:
        about = json.loads((mlp.path / DESCRIPTION).read_text())
        assert about["inputs"] == 64 and about["outputs"] == 4 and about["compiler"] == "g++"
        assert about["compiler_version"][0].isdigit()
        assert dict(about["layers"])["dense_0_relu"] == 24
        assert mlp.facts["program_bytes"] == (mlp.path / PROGRAM).stat().st_size


# ---------------------------------------------------------------- a program that misbehaves


def impostor(folder: Path, script: str, **description: Any) -> Simulator:
    """A shell script in the place of the simulator: two inputs, one output."""
    about = {"inputs": 2, "outputs": 1, "layers": [["a", 3]], "compiler": "g++", **description}
    (folder / DESCRIPTION).write_text(json.dumps(about))
    (folder / PROGRAM).write_text("#!/bin/sh\n" + script)
    (folder / PROGRAM).chmod(0o755)
    return Simulator.open(folder)


X = np.zeros((3, 2), np.float32)


def test_impostor_can_be_right(tmp_path: Path) -> None:
    simulator = impostor(tmp_path, "cat")  # 3·2·4 bytes in are 3·1·8 bytes out
    assert simulator.run(X).tolist() == [[0.0]] * 3


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("cat >/dev/null; exit 7", "ended with code 7 after 0 bytes of output (expected 24)"),
        ("kill -SEGV $$", "ended with code -11 after 0 bytes"),
        ("cat >/dev/null; printf 12345678", "ended with code 0 after 8 bytes of output (expected 24)"),
        ("cat; printf 1", "ended with code 0 after 25 bytes of output (expected 24)"),
        ("cat; exit 3", "ended with code 3 after 24 bytes"),
        ("cat >/dev/null; echo first >&2; echo why not >&2; exit 1", "(expected 24): why not"),
    ],
)
def test_crashes_and_lies_are_told(tmp_path: Path, script: str, said: str) -> None:
    with pytest.raises(StepError) as caught:
        impostor(tmp_path, script).run(X)
    assert said in str(caught.value)


def test_no_program(tmp_path: Path) -> None:
    simulator = impostor(tmp_path, "cat")
    (tmp_path / PROGRAM).write_bytes(b"\x7fELF nothing")
    with pytest.raises(StepError, match="cannot be started"):
        simulator.run(X)
    (tmp_path / PROGRAM).unlink()
    with pytest.raises(ArtifactError, match="the simulator is not there"):
        Simulator.open(tmp_path)


def test_a_program_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RUN_LIMIT", 0.3)
    simulator = impostor(tmp_path, "exec sleep 30")
    start = time.monotonic()
    with pytest.raises(StepError, match="C simulation did not finish within 0 s"):
        simulator.run(X)
    assert time.monotonic() - start < 10


def test_descriptions_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=DESCRIPTION):
        Simulator.open(tmp_path)
    impostor(tmp_path, "cat")
    path = tmp_path / DESCRIPTION
    content = path.read_bytes()
    value = json.loads(content)
    changes: list[dict[str, Any]] = [
        {"inputs": 0},
        {"outputs": -1},
        {"inputs": "many"},
        {"layers": [["a", 0]]},
    ]
    changes += [{"layers": [["a"]]}, {"layers": None}, {"outputs": None}]
    bad = [b"", b"[]", b"\xff", content[: len(content) // 2], content[:-1]]
    bad += [json.dumps(value | change).encode() for change in changes]
    bad += [json.dumps({k: v for k, v in value.items() if k != key}).encode() for key in ("inputs", "layers")]
    for wrong in bad:
        path.write_bytes(wrong)
        with pytest.raises(ArtifactError, match="not a compiled C simulation"):
            Simulator.open(tmp_path)


# ---------------------------------------------------------------- compiling


@pytest.fixture(scope="module")
def project() -> Path:
    return made("tiny_mlp", TRAIN, QAT, step("to_hls")).path / "project"


@pytest.mark.tf
class TestCompiling:
    def test_without_a_compiler(self, project: Path, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match=r"g\+\+-of-nobody is not installed"):
            compile_project(project, tmp_path, compiler="g++-of-nobody")
        assert not list(tmp_path.iterdir())

    @needs_compiler
    def test_the_compilers_first_error_is_shown(self, project: Path, tmp_path: Path) -> None:
        copy, out = tmp_path / "project", tmp_path / "out"
        shutil.copytree(project, copy)
        out.mkdir()
        source = copy / "firmware" / "network.cpp"
        source.write_text('#include "not_there.h"\n' + source.read_text())
        with pytest.raises(StepError, match=r"g\+\+ failed \(code 1\): .*network.cpp:1:.*not_there.h"):
            compile_project(copy, out)
        assert not list(out.iterdir())

    @pytest.mark.parametrize(
        ("script", "said"),
        [
            ("kill -KILL $$", "was ended by signal 9 (out of memory?)"),
            ("exit 4", "failed (code 4): no message"),
            ("echo so it goes >&2; exit 1", "failed (code 1): so it goes"),
            ("exec sleep 30", "did not finish within 1 s"),
        ],
    )
    def test_compilers_that_fail(
        self, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
    ) -> None:
        compiler = tmp_path / "my-g++"
        compiler.write_text(f'#!/bin/sh\n[ "$1" = -dumpfullversion ] && exit 0\n{script}\n')
        compiler.chmod(0o755)
        monkeypatch.setattr(module, "COMPILE_LIMIT", 1.0)
        out = tmp_path / "out"
        out.mkdir()
        with pytest.raises(StepError) as caught:
            compile_project(project, out, compiler=str(compiler))
        assert said in str(caught.value) and not list(out.iterdir())

    def test_no_project(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match="not an hls4ml project"):
            compile_project(tmp_path, tmp_path)

    def test_two_outputs_are_not_known(self, project: Path, tmp_path: Path) -> None:
        copy = tmp_path / "project"
        shutil.copytree(project, copy)
        bridge = copy / "network_bridge.cpp"
        head, double, tail = bridge.read_text().partition("void network_double(")
        line = next(line for line in tail.splitlines() if "convert_data<" in line)
        bridge.write_text(head + double + tail.replace(line, line + "\n" + line, 1))
        with pytest.raises(ArtifactError, match="3 inputs and outputs found"):
            compile_project(copy, tmp_path)
