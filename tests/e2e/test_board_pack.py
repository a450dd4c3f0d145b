"""A sweep packed for a board without a network: its records are those of a run that reaches the board."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import report
from bench.errors import Unavailable
from targets.pynq.agent_file import PACKAGE
from targets.pynq.environment import board_python

ROOT = Path(__file__).parents[2]
SWEEP = """
sweep: carried
models: [digits_mlp]
variants: [ptq]
targets: [{pynq: {board: emulated, preset: quick}}]
seeds: 1
protocol: off
"""
#: of a record: when and how long it was worked on, and by which process
OF_THE_RUN = ("started", "seconds", "peak_rss")


def bench(folder: Path, results: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BENCH_BOARDS": str(folder / "boards.json")}
    environment["XDG_CACHE_HOME"] = str(folder / "cache")
    return subprocess.run(
        [sys.executable, "-m", "bench", "--results", results, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=900,
    )  # fmt: skip


def evaluations(results: Path) -> dict[str, dict[str, Any]]:
    found = {path.stem: json.loads(path.read_text()) for path in results.glob("records/evaluate/*/*.json")}
    return {key: {k: v for k, v in record.items() if k not in OF_THE_RUN} for key, record in found.items()}


@pytest.mark.tf
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_records_are_those_of_a_direct_run(tmp_path: Path) -> None:
    try:
        python = board_python()
    except Unavailable as error:
        pytest.skip(error.what)
    (tmp_path / "carried.yaml").write_text(SWEEP, encoding="utf-8")
    packed = bench(tmp_path, "a", "board", "pack", "carried.yaml", "--quick", "-o", "job.tar.gz")
    assert packed.returncode == 0, packed.stdout + packed.stderr
    assert "2 items for emulated" in packed.stdout and not evaluations(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b", ignore=shutil.ignore_patterns("boards"))

    board = tmp_path / "board"
    board.mkdir()
    for name in ("job.tar.gz", "agent.pyz"):
        shutil.move(tmp_path / name, board / name)
    done = subprocess.run(
        [python, "agent.pyz", "job.tar.gz", "--emulator", str(PACKAGE.parent)],
        cwd=board, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    taken = bench(tmp_path, "a", "board", "import", "board/result.tar.gz")
    assert taken.returncode == 0 and "2 records (2 ok)" in taken.stdout, taken.stdout + taken.stderr

    direct = bench(tmp_path, "b", "run", "carried.yaml", "--quick")
    assert direct.returncode == 0, direct.stdout + direct.stderr
    carried, straight = evaluations(tmp_path / "a"), evaluations(tmp_path / "b")
    assert len(carried) == 2 and carried == straight
    assert {record["result"]["board"]["origin"] for record in carried.values()} == {"modelled"}
    rows = [report.frame(tmp_path / name, "carried-quick") for name in "ab"]
    assert rows[0].equals(rows[1])

    again = bench(tmp_path, "a", "run", "carried.yaml", "--quick")
    assert again.returncode == 0 and "0 tasks run" in again.stderr, again.stderr
    nothing = bench(tmp_path, "a", "board", "pack", "carried.yaml", "--quick", "-o", "job.tar.gz")
    assert (
        nothing.returncode == 2 and "on record" in nothing.stderr and not (tmp_path / "job.tar.gz").exists()
    )
