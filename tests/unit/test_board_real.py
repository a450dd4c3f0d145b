"""Cells on a real board, as far as that goes without one: everything is as it would be (ssh, agent, job for
real hardware, wall clock, records called `measured`), but pynq finds the emulated fabric (`pretend_board`).

TFLite models run on this machine's own runtime, as they would on the board's.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.records import Record
from bench.core.registry import DATASETS, TARGETS
from bench.errors import StepError, Unavailable
from bench.run.on_board import run_on_board
from bench.store.store import Store
from bench.workflows.offline_boards import take_in, write
from models.base import Split
from targets.pynq.agent_file import agent_path
from targets.pynq.checks import check_board
from targets.pynq.emulated import hwh
from targets.pynq.environment import board_python
from targets.pynq.exchange.items import DMA
from targets.pynq.inventory import Board, add, get
from tests.loopback import ROOT, Loopback, loopback
from tests.tflite_maker import CLASSES, FEATURES, dense
from tests.unit.test_board_sweeps import simulation

pytestmark = pytest.mark.skipif(
    shutil.which("ssh") is None, reason="the OpenSSH client is missing: apt-get install openssh-client"
)
FACTOR = 0.5
#: what the vendor's reports say of the design
HARDWARE = {
    "timing": {"clock_estimate_ns": 7.1, "wns_ns": 0.4},
    "cycles": {
        "clock_target_ns": 10.0, "cycles_max": 90, "interval_min": 64, "interval_max": 70, "source": "csynth",
    },
}  # fmt: skip


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    monkeypatch.setenv("BENCH_BOARDS", str(tmp_path / "boards.json"))
    with loopback(tmp_path / "board") as found:
        yield found


def python_there(server: Loopback, runs: str) -> str:
    """The board's Python, with a lock and sensors of its own."""
    path = server.home / "board-python"
    path.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && exec "{sys.executable}" "$@"\n'
        f'BOARD=Pynq-Z2 exec {runs} "$@" --lock "$HOME/lock" --hwmon "$HOME/hwmon"\n'
    )
    path.chmod(0o755)
    return str(path)


def desk(server: Loopback, runs: str, **more: Any) -> Board:
    """A real board in the inventory."""
    board = Board(
        "desk", f"xilinx@127.0.0.1:{server.port}",
        **{"board": "pynq-z2", "sudo": False, "python": python_there(server, runs), **more},
        ssh_options=server.options(),
    )  # fmt: skip
    add(board, replace=True)
    return board


class Cell:
    """An evaluate task in a store."""

    def __init__(self, folder: Path, target: str) -> None:
        self.store = Store(folder / "results")
        options = TARGETS.get(target).Options(board="desk", preset="quick").model_dump(mode="json")
        self.task: dict[str, Any] = {
            "kind": "evaluate", "model": "digits_mlp", "seed": 0, "target": target, "options": options,
        }  # fmt: skip
        self.inputs: dict[str, str] = {}

    def build(self, role: str, fill: Callable[[Path], Any], **facts: Any) -> None:
        """An artifact, as the build that the task names for `role`."""
        out = self.store.temporary()
        fill(out)
        digest, key = self.store.add_artifact(out), hashlib.sha256(role.encode()).hexdigest()
        self.store.write(Record("build", key, "ok", {"kind": "build"}, {"artifact": digest, "facts": facts}))
        self.task[role], self.inputs[key] = key, digest

    def spec(self) -> dict[str, Any]:
        key = hashlib.sha256(json.dumps(self.task).encode()).hexdigest()
        return {"key": key, "task": self.task, "inputs": self.inputs, "timeout": 200.0}

    def run(self) -> tuple[dict[str, Any], Record]:
        spec = self.spec()
        record = Record("evaluate", spec["key"], "ok", self.task)
        return run_on_board(spec, self.store, record), record


# -- overlays ----------------------------------------------------------------------------------------


@pytest.fixture
def runs() -> str:
    try:
        return f'"{board_python()}" "{ROOT / "tests" / "pretend_board.py"}"'
    except Unavailable as error:
        pytest.skip(error.what)


def overlay(cell: Cell, server: Loopback, folder: Path) -> None:
    """What the vendor's tools would build, its C simulation, and the fabric that has it."""
    x = DATASETS.get("digits").load().test.x

    def built(out: Path) -> None:
        bit, handoff = hwh.write_overlay(folder / "built", dma=DMA, kernel="hier_0/network_axi_0")
        (out / "overlay").mkdir()
        for path in (bit, handoff):
            shutil.copyfile(path, out / "overlay" / f"digits{path.suffix}")

    cell.build("artifact", built, hardware=HARDWARE)
    cell.build("reference", lambda out: simulation(out, x, FACTOR))
    wire = {"input_dtype": "float32", "output_dtype": "float32"}
    bits = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in (
        ("built", folder / "built" / "overlay.bit"), ("loopback", folder / "echo" / "overlay.bit"),
    ) if path.is_file()}  # fmt: skip
    told = {"interface": {"inputs": 64, "outputs": 10, **wire}, "factor": FACTOR, "bits": [bits["built"]]}
    (server.home / "pretend.json").write_text(json.dumps({**told, "loopback": bits.get("loopback")}))


def test_an_overlay_on_a_real_board(runs: str, server: Loopback, tmp_path: Path) -> None:
    """Built by the vendor's tools, measured by the board's clock, held against the C simulation."""
    echo, _ = hwh.write_overlay(tmp_path / "echo", dma=DMA, kernel="hier_0/fifo_0", what="loopback")
    desk(server, runs, loopback=str(echo))
    cell = Cell(tmp_path, "pynq")
    overlay(cell, server, tmp_path)
    result, record = cell.run()
    told = result["board"]
    assert told["origin"] == "measured" and not told["board"]["emulated"] and told["refused"] == []
    assert (told["board"]["says"], told["board"]["part"]) == ("Pynq-Z2", "7z020clg400")
    assert record.environment["agent"]["pynq"].startswith(("3.", "4."))
    links = {(link["of"], link["against"]): link for link in result["agreement"]}
    last = links["board", "csim"]
    assert last["mismatches"] == 0 and last["bit_exact"] == last["n"] == result["n"] == 359
    # the least interval of the reports is the bound that execute is held against
    assert told["cycles"] == {"latency": 90, "interval": 64, "source": "csynth"}
    checks = {check["name"]: check["passed"] for check in told["sanity"]}
    assert {checks[name] for name in ("clock", "slack", "clock_estimate", "cycles_bound", "outputs")} == {
        True
    }
    assert told["phases"]["execute"]["n"] == told["protocol"]["calls"] == 200
    assert told["protocol"]["warmup_calls"] == 20 and told["fabric_clock_mhz"] == pytest.approx(100.0)
    assert told["loopback"]["execute"]["n"] == 200 and told["loopback"]["execute"]["p50"] > 0


def test_an_overlay_for_another_board(runs: str, server: Loopback, tmp_path: Path) -> None:
    """It is never loaded: the part in its header is not that of the kind of board."""
    desk(server, runs, board="zcu102")
    cell = Cell(tmp_path, "pynq")
    overlay(cell, server, tmp_path)
    with pytest.raises(StepError, match="the bitstream is for 7z020clg400, the board has zu9eg"):
        cell.run()


def test_a_broken_loopback_costs_the_baseline_only(runs: str, server: Loopback, tmp_path: Path) -> None:
    echo, _ = hwh.write_overlay(tmp_path / "echo", dma=DMA, soc=hwh.ULTRASCALE)
    desk(server, runs, loopback=str(echo))
    cell = Cell(tmp_path, "pynq")
    overlay(cell, server, tmp_path)
    told = cell.run()[0]["board"]
    (refused,) = told["refused"]
    assert refused["name"] == "loopback" and "the loopback is for zu9eg" in refused["reason"]
    assert told["loopback"] is None and told["phases"]["execute"]["n"] == 200


def test_the_check_of_a_real_board(runs: str, server: Loopback, tmp_path: Path) -> None:
    (server.home / "hwmon" / "hwmon0").mkdir(parents=True)
    for name, text in (("name", "ina226"), ("power1_input", "2500000")):
        (server.home / "hwmon" / "hwmon0" / name).write_text(text)
    board = desk(server, runs)
    (server.home / "pretend.json").write_text(
        json.dumps({"interface": {"inputs": 1, "outputs": 1}, "factor": 1, "bits": []})
    )
    found = {check.name: check for check in check_board(board)}
    assert found["clock"].passed and found["clock"].detail == "50 MHz"
    assert found["power rails"].detail == "ina226/power1" and found["pynq"].passed and found["kind"].passed
    assert found["XRT"].passed is False and "xrt_setup.sh" in (found["XRT"].mend or "")


# -- TFLite ------------------------------------------------------------------------------------------


@pytest.fixture
def split(monkeypatch: pytest.MonkeyPatch) -> Split:
    """Inputs half a step of the int8 input's scale beside its grid, where it matters how one rounds."""
    rng = np.random.default_rng(5)
    x = ((rng.integers(-100, 100, (300, FEATURES)) + 0.5) * np.float32(0.1)).astype(np.float32)
    found = Split(x, rng.integers(0, CLASSES, 300))
    for module in ("run.on_board", "workflows.offline_boards"):
        monkeypatch.setattr(f"bench.{module}.test_of", lambda task: found)
    return found


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_tflite_model_on_the_boards_processor(
    dtype: str, server: Loopback, split: Split, tmp_path: Path
) -> None:
    pytest.importorskip("ai_edge_litert")
    desk(server, f'"{sys.executable}"')
    cell = Cell(tmp_path, "pynq_tflite")
    cell.build("artifact", lambda out: (out / "model.tflite").write_bytes(dense(dtype)))
    result, record = cell.run()
    told = result["board"]
    assert told["origin"] == "measured" and told["refused"] == [] and told["cycles"] is None
    (link,) = result["agreement"]
    assert (link["of"], link["against"], link["n"]) == ("board", "tflite", 300)
    assert link["mismatches"] == 0 and link["bit_exact"] == 300
    assert set(told["phases"]) == {
        *("load", "encode", "copy_in", "execute", "copy_out", "decode", "end_to_end")
    }
    for name, phase in told["phases"].items():
        assert phase["n"] == (1 if name == "load" else told["protocol"]["calls"] == 200 and 200), name
        assert 0 < phase["p50"] <= phase["p95"] <= phase["p99"], name
    kept = cell.store.root / "boards" / f"{record.key}.tar.gz"
    assert kept.is_file() and record.environment["agent"]["python"]


def test_a_model_that_is_carried_to_a_board_without_a_network(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ai_edge_litert")
    monkeypatch.setenv("BENCH_BOARDS", str(tmp_path / "boards.json"))
    add(Board("desk", None, "pynq-z2"))
    cell = Cell(tmp_path, "pynq_tflite")
    cell.build("artifact", lambda out: (out / "model.tflite").write_bytes(dense("int8")))
    (place := tmp_path / "there").mkdir()
    write(cell.store, "boards", "desk", "quick", [cell.spec()], place / "job.tar.gz")
    command = [sys.executable, str(agent_path()), "job.tar.gz", "--lock", "lock", "--hwmon", "none"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = take_in(place / "result.tar.gz", cell.store).records
    assert record.status == "ok" and record.result["board"]["origin"] == "measured"
    (link,) = record.result["agreement"]
    assert (link["against"], link["mismatches"], link["bit_exact"]) == ("tflite", 0, 300)
    assert record.result["board"]["phases"]["execute"]["n"] == 200


def test_a_board_without_a_runtime_skips_the_cell(server: Loopback, split: Split, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for name in ("ai_edge_litert", "tflite_runtime", "tensorflow"):
        (hidden / f"{name}.py").write_text("raise ImportError\n")
    desk(server, f'env PYTHONPATH="{hidden}" "{sys.executable}"')
    cell = Cell(tmp_path, "pynq_tflite")
    cell.build("artifact", lambda out: (out / "model.tflite").write_bytes(dense()))
    with pytest.raises(Unavailable, match="no TFLite runtime: pip install tflite-runtime"):
        cell.run()
    assert get("desk").host is not None
