"""Cells on the emulated board with Verilog as the kernel: planned, and run by the real agent."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.core.records import Record
from bench.core.registry import MODELS, TARGETS
from bench.run.on_board import run_on_board
from bench.run.plan import make_plan
from bench.store.store import Store
from bench.sweep.loader import parse_sweep
from targets.pynq.inventory import Board, add
from tests.tiny import QAT, TRAIN, Blobs, built, step
from tests.unit.test_board_sweeps import environment, own_settings

__all__ = ["environment", "own_settings"]

MODELS.add("tiny_mlp", "tests.tiny:MLP")
SWEEP = """
sweep: boards
models: [digits_mlp]
variants: [qat]
targets: [rtl, {pynq: {board: %s, kernel: rtl, backend: %s}}]
seeds: 1
protocol: off
"""


def test_the_verilog_is_that_of_target_rtl(tmp_path: Path) -> None:
    found = make_plan(parse_sweep(SWEEP % ("emulated", "VivadoAccelerator")), Store(tmp_path))
    cells = {cell.cell.target: cell for cell in found.cells if cell.cell.variant == "qat"}
    keys = cells["pynq"].build_keys
    assert [found.tasks[key].task["step"] for key in keys[-2:]] == ["to_rtl", "emulate_rtl_overlay"]
    assert keys[-2] in cells["rtl"].build_keys and "kernel=rtl" in cells["pynq"].cell.target_label


@pytest.mark.parametrize("board, backend", [("desk", "VivadoAccelerator"), ("emulated", "VitisUnified")])
def test_only_behind_a_dma_of_an_emulated_board(board: str, backend: str, tmp_path: Path) -> None:
    add(Board("desk", "xilinx@192.168.2.99", "pynq-z2"))
    found = make_plan(parse_sweep(SWEEP % (board, backend)), Store(tmp_path))
    reasons = {cell.cell.not_applicable for cell in found.cells if cell.cell.target == "pynq"}
    assert len(reasons) == 1 and "kernel: rtl is for emulated boards" in str(reasons.pop())


@pytest.mark.tf
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog")
def test_a_cell_gives_the_c_simulations_bits_in_the_rtls_cycles(environment: None, tmp_path: Path) -> None:
    chain = (TRAIN, QAT, step("to_hls"), step("compile_hls"), step("to_rtl"))
    rtl = built("tiny_mlp", *chain)[1].facts["rtl"]
    artifact, outcome = built("tiny_mlp", *chain, step("emulate_rtl_overlay"))
    assert outcome.facts["kernel"] == "rtl"
    store = Store(tmp_path / "results")
    out = store.temporary()
    shutil.copytree(artifact.path, out, dirs_exist_ok=True)
    digest, build = store.add_artifact(out), "0" * 64
    store.write(Record("build", build, "ok", {"kind": "build"}, {"artifact": digest}))
    options = TARGETS.get("pynq").Options(board="emulated", preset="quick", kernel="rtl")
    task = {
        "kind": "evaluate", "model": "tiny_mlp", "seed": 0, "target": "pynq",
        "options": options.model_dump(mode="json"), "artifact": build,
    }  # fmt: skip
    spec = {"key": "1" * 64, "task": task, "inputs": {build: digest}, "timeout": 300.0}
    record = Record("evaluate", spec["key"], "ok", task)
    result = run_on_board(spec, store, record)
    told, last = result["board"], result["agreement"][-1]
    assert last["of"] == "board" and last["mismatches"] == 0
    assert last["bit_exact"] == last["n"] == len(Blobs().load().test.x)
    assert told["origin"] == "modelled"
    cycles = {"latency": rtl["cycles"], "interval": rtl["interval"], "source": "rtl"}
    assert told["cycles"] == cycles
    execute, checks = told["phases"]["execute"], {check["name"]: check for check in told["sanity"]}
    assert execute["min"] >= rtl["cycles"] / 100e6 and checks["cycles_bound"]["passed"] is True
    assert told["fit_execute"]["b_s"] == pytest.approx(rtl["interval"] / 100e6, rel=0.25)
    assert np.isfinite(result["accuracy"])
