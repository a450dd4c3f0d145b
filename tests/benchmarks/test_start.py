"""What the command line and sweep files cost: figures, nothing is asserted about time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.sweep import load_sweep, parse_sweep
from tests import toy
from tests.tflite_maker import dense


def test_help(benchmark: Any) -> None:
    """`bench --help`"""
    command = [sys.executable, "-m", "bench", "--help"]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=5)


@pytest.mark.slow
def test_measure_two_files(benchmark: Any, tmp_path: Path) -> None:
    """`bench measure a.tflite b.tflite`: five rounds, as a user gets them."""
    pytest.importorskip("ai_edge_litert")
    files = [tmp_path / "a.tflite", tmp_path / "b.tflite"]
    for file, dtype in zip(files, ("float32", "int8"), strict=True):
        file.write_bytes(dense(dtype))
    command = [sys.executable, "-m", "bench", "measure", *map(str, files)]
    done = benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=1)
    assert b"b.tflite" in done.stdout


def test_load_shipped_sweep(benchmark: Any) -> None:
    assert benchmark.pedantic(lambda: load_sweep("fashion_mnist"), rounds=5).cells


def test_expand_10_000_cells(benchmark: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A sweep file with a grid of 1,666 variants, 2 targets and 3 seeds."""
    toy.activate(monkeypatch, tmp_path)
    data = {
        "models": ["toy"],
        "targets": [{"toy": {"threads": [1, 2]}}],
        "variants": [
            {"name": "baseline", "trunk": ["toy_train"]},
            {
                "name": "pruned",
                "trunk": ["toy_train", {"toy_prune": {"sparsity": [n / 1666 for n in range(1666)]}}],
            },
        ],
    }
    assert len(benchmark.pedantic(lambda: parse_sweep(data), rounds=3).cells) == 10_002
