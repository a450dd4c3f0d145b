"""TFLite models on the board's processor. With a runtime of ours here; with a real one, over ssh, it is
tests/unit/test_board_real.py."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.pynq.agent import tflite
from tests.board.jobs import Maker, Run, hwmon, run

FAKE_RUNTIME = """
from pathlib import Path
import numpy as np
class Interpreter:
    def __init__(self, model_path, num_threads):
        assert num_threads == 1 and Path(model_path).read_text() == "model"
    def allocate_tensors(self): pass
    def get_input_details(self):
        return [dict(shape=[1, 4, 3], index=0, dtype=np.int8, quantization=(0.0625, 0))]
    def get_output_details(self): return [dict(index=1, dtype=np.int8, quantization=(0.5, 3))]
    def set_tensor(self, index, value):
        assert value.dtype == np.int8 and value.shape == (1, 4, 3)
        self.x = value
    def invoke(self): self.y = (self.x.reshape(1, -1)[:, :3] // 4 + 3).astype(np.int8)
    def get_tensor(self, index): return self.y
"""


def tflite_job(folder: Path, emulated: bool, outputs: int = 3, off: int = 0, **changes: Any) -> Path:
    """`outputs`, `off`: how many are expected, and what is added to them; `changes` of the protocol."""
    maker = Maker(folder, emulated=emulated)
    maker.protocol.update(changes)
    folder.mkdir(exist_ok=True)
    (folder / "model.tflite").write_text("model")
    digest = maker.file(folder / "model.tflite")
    x = maker._inputs()
    raw = (x * 16).reshape(len(x), -1)[:, :outputs].astype(np.int8) // 4 + off
    maker.items.append({
        "id": "tiny/int8/seed0", "kind": "tflite", "files": {"model.tflite": digest},
        "data": "x", "interface": None, "expected": maker.array("e", raw.astype(np.float32) * 0.5),
        "clock_mhz": None, "cycles": None, "sanity": {}, "exact": True,
    })  # fmt: skip
    return maker.write()


@pytest.mark.parametrize("emulated", [False, True])
def test_tflite(emulated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "site" / "tflite_runtime"
    runtime.mkdir(parents=True)
    (runtime / "__init__.py").touch()
    (runtime / "interpreter.py").write_text(FAKE_RUNTIME)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    done = run(tflite_job(tmp_path, emulated), tmp_path, "--lock", str(tmp_path / "lock"), emulator=emulated,
               own_process=True)  # fmt: skip
    item = done.item("tiny/int8/seed0")
    assert (
        done.code == 0 and item["agreement"]["bit_exact"] and item["runtime"] == "tflite_runtime.interpreter"
    )
    if emulated:  # this machine's processor is not the board's
        assert item["phases"] == {} and "no processor of its own" in item["refused"][0]["reason"]
    else:
        assert item["phases"]["execute"]["n"] == 20 and done.result["origin"] == "measured"


def test_no_tflite_runtime(tmp_path: Path) -> None:
    if any(importlib.util.find_spec(name) for name in ("ai_edge_litert", "tflite_runtime", "tensorflow")):
        pytest.skip("there is one")
    done = run(tflite_job(tmp_path, True), tmp_path)
    item = done.item("tiny/int8/seed0")
    assert item["status"] == "skipped" and "pip install tflite-runtime" in item["reason"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[set[int]]]:
    """The runtime above, for jobs in this process; the processors that the agent has bound itself to."""
    space: dict[str, Any] = {}
    exec(FAKE_RUNTIME, space)
    monkeypatch.setattr(tflite, "import_interpreter", lambda: (space["Interpreter"], "ours"))
    bound: list[set[int]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, those: bound.append(those))
    yield bound


def measured(folder: Path, *more: str, **changes: Any) -> Run:
    job = tflite_job(folder, False, **changes)
    return run(job, folder, "--lock", str(folder / "lock"), *more, emulator=False)


def test_windows_and_energy_of_a_model(here: list[set[int]], tmp_path: Path) -> None:
    rails = hwmon(tmp_path / "hwmon", {"ina226": {"power1_input": "3000000"}})
    done = measured(
        tmp_path, "--hwmon", str(rails), preset="mlperf", windows=3, window_seconds=0.2, warmup_calls=7
    )
    item = done.item("tiny/int8/seed0")
    assert item["status"] == "ok" and len(item["windows"]) == 3
    assert all(window["seconds"] >= 0.2 and window["inferences"] > 10 for window in item["windows"])
    energy = item["energy"]
    assert energy["total_of"] == ["ina226/power1"] and energy["inferences"] > 10
    assert energy["total_j"] == pytest.approx(3 * energy["seconds"], rel=0.01)
    assert energy["net_j"] == pytest.approx(0, abs=0.02 * energy["total_j"])
    # one processor for all of it, so that it is not moved in the middle
    assert [len(those) for those in here] == [1]


def test_a_model_on_a_board_without_rails(here: list[set[int]], tmp_path: Path) -> None:
    item = measured(tmp_path, "--hwmon", str(tmp_path / "none")).item("tiny/int8/seed0")
    assert item["status"] == "ok" and item["energy"] is None and item["windows"] == []


def test_outputs_of_a_model_that_differ(here: list[set[int]], tmp_path: Path) -> None:
    item = measured(tmp_path, off=1).item("tiny/int8/seed0")
    assert item["status"] == "failed" and "frames differ" in item["reason"]
    assert item["phases"] == {} and item["accuracy"] is None


def test_a_model_of_another_shape(
    here: list[set[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = measured(tmp_path / "outputs", outputs=2).item("tiny/int8/seed0")
    assert item["reason"] == "outputs are [150, 3], expected [150, 2]" and item["phases"] == {}
    interpreter, _ = tflite.import_interpreter()
    monkeypatch.setattr(interpreter, "get_input_details", lambda self: [{"shape": [1, 5]}])
    item = measured(tmp_path / "inputs").item("tiny/int8/seed0")
    assert item["reason"] == "the inputs have 12 values, the model takes [1, 5]"


@pytest.mark.parametrize("zero", [0, 3, -128])
def test_inputs_are_rounded_as_on_the_host(zero: int) -> None:
    """Halves to even after the zero point is added: `targets.tflite.Port.to_stored`."""
    detail = {"dtype": np.int8, "quantization": (0.5, zero)}
    values = np.array([-1000, 0.25, 0.75, 1.25, -0.25, 1000], np.float32)
    wanted = [-128, *(int(np.rint(v * 2 + zero)) for v in (0.25, 0.75, 1.25, -0.25)), 127]
    assert tflite._quantized(values, detail).tolist() == [max(-128, value) for value in wanted]
    assert tflite._quantized(values, {"dtype": np.float32, "quantization": (0, 0)}) is values
