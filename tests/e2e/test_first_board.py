"""docs/first_board.md, step by step on the emulated board, as somebody would who reads it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import report
from bench.errors import Unavailable
from targets.pynq.environment import board_python

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "first_board.md"
BLOCK = re.compile(
    r"(?:<!-- (?P<how>not run|file): (?P<what>.+?) -->\n)?^```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.M | re.S
)


def steps() -> Iterator[tuple[str, str]]:
    """(file name or "", its text or a command), in the page's order."""
    for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        if match["how"] == "not run" or match["kind"] == "sh":
            continue
        if match["kind"] == "yaml":
            assert match["how"] == "file", "a sweep file needs its name"
            yield match["what"], match["body"]
        else:
            yield from (("", line[2:]) for line in match["body"].splitlines() if line.startswith("$ "))


@pytest.mark.tf
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_page_step_by_step(tmp_path: Path) -> None:
    try:
        python = board_python()
    except Unavailable as error:
        pytest.skip(error.what)
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "BENCH_BOARDS": str(tmp_path / "boards.json"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"), "BENCH_BOARD_PYTHON": python,
    }  # fmt: skip
    said: dict[str, str] = {}
    for name, text in steps():
        if name:
            (tmp_path / name).write_text(text, encoding="utf-8")
            continue
        words = [
            {"targets/pynq": str(ROOT / "targets" / "pynq")}.get(word, word) for word in shlex.split(text)
        ]
        programs = {"bench": [sys.executable, "-m", "bench"], ".venv-board/bin/python": [python]}
        done = subprocess.run(
            [*programs[words[0]], *words[1:]],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        said[text] = done.stdout
    assert "NO" not in said["bench board check emulated"]
    for sweep, boards in (("first_board", 2), ("carried", 2)):
        rows = report.frame(tmp_path / "results", sweep)
        links = rows[(rows.scope == "board vs csim") & (rows.metric == "mismatches") & rows.seed.notna()]
        assert len(links) == boards and set(links.value) == {0} and set(links.origin) == {"simulated"}
    assert "desk" in said["bench board ls"] and "xilinx@192.168.2.99" in said["bench board ls"]
