"""Cells of a sweep on the emulated board: planned, run by the real agent.

The C simulation is a small program, so that no TensorFlow is needed. What runs the agent needs the
environment of boards (`make test` sets it up).
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core import code
from bench.core.records import Record
from bench.core.registry import DATASETS, MODELS, STEPS, TARGETS
from bench.core.step import Artifact, StepContext
from bench.errors import ConfigError, StepError, Unavailable
from bench.run import keys
from bench.run.on_board import run_on_board
from bench.run.plan import make_plan
from bench.run.tasks import Plan
from bench.store.store import Store
from bench.sweep.loader import parse_sweep
from targets.fpga.fixed import FixedPoint, FixedType, Reference, inputs_digest
from targets.pynq.environment import board_python
from targets.pynq.exchange.items import item_id
from targets.pynq.exchange.job_file import ID
from targets.pynq.inventory import Board, add, get

SWEEP = """
sweep: boards
models: [digits_mlp]
variants: [ptq, qat]
targets: [hls4ml, {pynq: {board: %s, preset: quick}}]
seeds: 1
protocol: off
"""
#: as hls4ml's C simulation of a network 64 -> 10: float32 frames in, float64 frames out, on a grid of 1/64
PROGRAM = f"""#!{sys.executable}
import struct, sys
factor = float(open("weights/w.txt").read())
while len(data := sys.stdin.buffer.read(4 * 64)) == 4 * 64:
    x = struct.unpack("<64f", data)
    y = [round(factor * 64 * sum(x[k::10])) / 64 for k in range(10)]
    sys.stdout.buffer.write(struct.pack("<10d", *y))
    sys.stdout.buffer.flush()
"""


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCH_BOARDS", str(tmp_path / "boards.json"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def environment() -> None:
    try:
        board_python()
    except Unavailable as error:
        pytest.skip(error.what)


def plan(board: str, store: Path) -> Plan:
    return make_plan(parse_sweep(SWEEP % board), Store(store))


# -- planning --------------------------------------------------------------------------------------


def test_a_board_is_a_device_and_the_simulation_is_shared(tmp_path: Path) -> None:
    found = plan("emulated", tmp_path)
    tasks = [task for task in found.tasks.values() if task.task.get("target") == "pynq"]
    assert len(tasks) == 3 and {task.device for task in tasks} == {"board emulated"}
    built = {cell.cell.target: cell.build_keys for cell in found.cells if cell.cell.variant == "qat"}
    assert built["pynq"][:-1] == built["hls4ml"]  # the very simulation that is scored on the host
    reasons = {cell.cell.not_applicable for cell in found.cells if cell.cell.target == "pynq_tflite"}
    assert len(reasons) == 1 and "no processor of its own" in str(reasons.pop())


def test_no_environment_skips_the_cells_and_says_how_to_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BENCH_BOARD_PYTHON", raising=False)
    monkeypatch.setattr("targets.pynq.environment.ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    skipped = [cell.skipped for cell in plan("emulated", tmp_path).cells if cell.cell.target == "pynq"]
    assert len(skipped) == 3 and all("make board" in str(reason) for reason in skipped)


def test_boards_that_are_not_there_or_not_named(tmp_path: Path) -> None:
    """The sweep file's line is told, and the inventory."""
    with pytest.raises(ConfigError, match="Did you mean 'emulated'") as error:
        plan("emulatd", tmp_path)
    assert error.value.where == "sweep:5: targets[1].pynq.board" and "'emulatd'" in error.value.what
    assert str(tmp_path / "boards.json") in str(error.value)
    with pytest.raises(ConfigError, match="which board") as error:
        plan('""', tmp_path)
    assert str(error.value.where).startswith("sweep:5: ")
    with pytest.raises(ConfigError, match="which board") as error:
        parse_sweep(SWEEP.replace("{pynq: {board: %s, preset: quick}}", "pynq"))
    assert str(error.value.where).startswith("sweep:5: ")
    (tmp_path / "boards.json").write_text("{")
    with pytest.raises(ConfigError, match="not an inventory") as error:
        plan("emulated", tmp_path)
    assert str(error.value.where).startswith("sweep:5: ")


def test_a_real_board_takes_what_the_vendor_tools_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(Board("desk", "xilinx@192.168.2.99", "pynq-z2"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    found = plan("desk", tmp_path)
    cell = next(c for c in found.cells if c.cell.target == "pynq" and c.cell.variant == "qat")
    steps = [found.tasks[key].task["step"] for key in cell.build_keys]
    assert steps[-2:] == ["to_hls", "build_overlay"] and cell.evaluate_key is not None
    reference = found.tasks[cell.evaluate_key].task["reference"]
    simulated = next(c for c in found.cells if c.cell.target == "hls4ml" and c.cell.variant == "qat")
    assert reference == simulated.build_keys[-1] == cell.reference_keys[-1]
    if shutil.which("vivado") is None:
        assert "vivado" in str(cell.skipped).lower()
    models = [c for c in found.cells if c.cell.target == "pynq_tflite"]
    assert {c.cell.variant for c in models if c.evaluate_key} == {"baseline", "ptq", "qat"}


def test_a_board_without_a_block_design(tmp_path: Path) -> None:
    add(Board("ultra", "xilinx@192.168.2.99", "ultra96-v2"))
    reasons = {c.cell.not_applicable for c in plan("ultra", tmp_path).cells if c.cell.target == "pynq"}
    assert len(reasons) == 1 and "no block design for ultra96-v2" in str(reasons.pop())


def test_the_key_knows_board_protocol_and_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(**changes: Any) -> str:
        options = TARGETS.get("pynq").Options(**{"board": "emulated", **changes}).model_dump(mode="json")
        return keys.evaluate_key("digits_mlp", 0, "pynq", options, "0" * 64)

    add(Board("far", "me@there", "pynq-z2", emulated=True))
    found = {key(), key(preset="quick"), key(board="far")}
    identity = code.identity
    monkeypatch.setattr(
        code, "identity", lambda *of: "another agent" if "targets.pynq.agent.timing" in of else identity(*of)
    )
    found.add(key())
    add(Board("far", "me@there", "zcu102", emulated=True), replace=True)
    found.add(key(board="far"))
    assert len(found) == 5


@pytest.mark.parametrize("label", ["digits_mlp/qat[bits=8]/x", "..//..", "ä/ß", "-a/.b", "a" * 500])
def test_ids_are_those_that_the_agent_takes(label: str) -> None:
    found = item_id(label, "0123456789ab" * 5)
    assert re.fullmatch(ID, found) and ".." not in found and len(found) <= 200


# -- running ---------------------------------------------------------------------------------------


def simulation(folder: Path, x: np.ndarray, factor: float) -> None:
    """An artifact of format `csim`."""
    (folder / "weights").mkdir(parents=True)
    (folder / "weights" / "w.txt").write_text(str(factor))
    (folder / "simulator").write_text(PROGRAM)
    (folder / "simulator").chmod(0o755)
    about = {"inputs": 64, "outputs": 10, "layers": [], "compiler": "none"}
    (folder / "simulator.json").write_text(json.dumps(about))
    (folder / "model.keras").write_bytes(b"network")
    FixedPoint("post_training", FixedType(16, 8)).save(folder)
    flat = x.reshape(len(x), -1).astype(np.float64)
    exact = factor * np.stack([flat[:, k::10].sum(axis=1) for k in range(10)], 1)
    Reference(inputs_digest(x), {"float": exact.astype(np.float32)}).save(folder)


class Bench:
    """A store with emulated overlays, and tasks that run them."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "results")
        self.folder = folder
        self.x = DATASETS.get("digits").load().test.x

    def spec(
        self, factor: float = 0.5, preset: str = "quick", style: str = "axis_dma", board: str = "emulated"
    ) -> dict[str, Any]:
        number = sum(1 for _ in self.folder.glob("csim*"))
        made = self.folder / f"csim{number}"
        simulation(made, self.x, factor)
        out = self.store.temporary()
        step = STEPS.get("emulate_overlay")
        parent = Artifact(made, "csim", "0" * 64, {})
        params = step.Params(style=style, part=get(board).device_part)
        context = StepContext(MODELS.get("digits_mlp"), params, 0, parent, None, out)
        outcome = step.run(context)
        assert all(check.passed for check in outcome.checks)
        digest = self.store.add_artifact(out)
        build = f"{number:064x}"
        self.store.write(Record("build", build, "ok", {"kind": "build"}, {"artifact": digest}))
        options = TARGETS.get("pynq").Options(board=board, preset=preset).model_dump(mode="json")
        task = {
            "kind": "evaluate", "model": "digits_mlp", "seed": 0, "target": "pynq", "options": options,
            "artifact": build,
        }  # fmt: skip
        key = sha256(f"{number}".encode()).hexdigest()
        return {"kind": "evaluate", "key": key, "task": task, "inputs": {build: digest}, "timeout": 300.0}

    def run(self, spec: dict[str, Any]) -> tuple[dict[str, Any], Record]:
        record = Record("evaluate", spec["key"], "ok", spec["task"])
        return run_on_board(spec, self.store, record), record


@pytest.fixture
def bench(tmp_path: Path, environment: None) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("style", ["axis_dma", "m_axi"])
def test_a_cell_on_the_emulated_board(bench: Bench, style: str) -> None:
    spec = bench.spec(style=style)
    result, record = bench.run(spec)
    told = result["board"]
    assert told["origin"] == "modelled" and told["board"]["emulated"] and told["agent"]["pynq"]
    assert [(link["of"], link["against"]) for link in result["agreement"]] == [
        ("csim", "float"),
        ("board", "csim"),
    ]
    last = result["agreement"][-1]
    assert last["mismatches"] == 0 and last["bit_exact"] == last["n"] == len(bench.x) == result["n"]
    assert set(told["phases"]) == {
        *("load", "encode", "copy_in", "execute", "copy_out", "decode", "end_to_end")
    }
    assert told["phases"]["execute"]["n"] == 200 and "samples" not in told["phases"]["execute"]
    assert told["fabric_clock_mhz"] == pytest.approx(100.0, rel=1e-4) and told["fit"]["b_s"] > 0
    lean = told["register_accesses"]["lean"]
    assert 0 < lean["reads"] + lean["writes"] <= 3
    assert (bench.store.root / "boards" / f"{spec['key']}.tar.gz").is_file()
    assert record.environment["agent"]["sha256"] == told["agent"]["sha256"]
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize("kind, part", [("zcu102", "zu9eg"), ("kv260", "zu9eg"), ("pynq-z1", "7z020")])
def test_emulated_boards_of_other_kinds(kind: str, part: str, bench: Bench) -> None:
    """Their processing system is that of the family; so is the part in the bitstream."""
    add(Board("other", None, kind, emulated=True))
    found = plan("other", bench.folder)
    steps = [task.task for task in found.tasks.values() if task.task.get("step") == "emulate_overlay"]
    assert {step["params"]["part"] for step in steps} == {get("other").device_part}
    told = bench.run(bench.spec(board="other"))[0]["board"]
    assert told["board"]["part"].removeprefix("xc").startswith(part) and told["refused"] == []
    assert told["fabric_clock_mhz"] == pytest.approx(100.0, rel=1e-4)


def test_a_failed_item_keeps_what_is_known(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMULATED_FAULTS", "missing_flush")
    spec = bench.spec()
    record = Record("evaluate", spec["key"], "ok", spec["task"])
    with pytest.raises(StepError, match="differ from the C simulation"):
        run_on_board(spec, bench.store, record)
    told = record.result["board"]
    assert told["phases"]["load"]["n"] == 1 and "execute" not in told["phases"]
    assert {refused["name"] for refused in told["refused"]} >= {"accuracy"}
    # the fault is gone: the next try measures again
    monkeypatch.delenv("EMULATED_FAULTS")
    assert bench.run(spec)[0]["agreement"][-1]["mismatches"] == 0


def test_a_clock_other_than_asked_is_a_failure(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMULATED_FAULTS", "clock=1200")
    with pytest.raises(StepError, match="MHz were asked for"):
        bench.run(bench.spec())
