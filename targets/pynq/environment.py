"""The environment of boards (pynq), which the emulated board runs in."""

from __future__ import annotations

import os
from pathlib import Path

from bench.errors import Unavailable

ROOT = Path(__file__).resolve().parents[2]


def board_python() -> str:
    """Python of the environment of boards, for the emulated one. Raises Unavailable."""
    candidates = [Path(named)] if (named := os.environ.get("BENCH_BOARD_PYTHON")) else []
    candidates += [Path.cwd() / ".venv-board/bin/python", ROOT / ".venv-board/bin/python"]
    for path in candidates:
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    raise Unavailable(
        "the environment of boards (pynq) is not set up on this machine",
        where="board emulated",
        mend="`make board` sets it up in .venv-board; or name its Python in BENCH_BOARD_PYTHON.",
    )
