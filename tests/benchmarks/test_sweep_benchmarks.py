"""How long a whole sweep takes, cold and with nothing left to do (pytest-benchmark; no limits here)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.tf]

#: the cells of CPU and TFLite alone, and all: C simulation and Verilog besides
PARTS = {"cpu": ("--only", "keras", "--only", "tflite"), "all": ()}


def run(folder: Path, part: str) -> str:
    """`bench run digits`; what it says of the tasks."""
    command = [sys.executable, "-m", "bench", "--results", str(folder), "run", "digits", *PARTS[part]]
    return subprocess.run(command, check=True, capture_output=True, text=True).stderr


@pytest.mark.parametrize("part", PARTS)
def test_digits(benchmark: Any, tmp_path: Path, part: str) -> None:
    said = benchmark.pedantic(run, args=(tmp_path, part), rounds=1)
    assert " 0 done already" in said


def test_digits_with_nothing_left_to_do(benchmark: Any, tmp_path: Path) -> None:
    run(tmp_path, "cpu")
    said = benchmark.pedantic(run, args=(tmp_path, "cpu"), rounds=3)
    assert " 0 tasks run" in said
