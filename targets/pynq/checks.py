"""`bench board check`: what a board needs, one by one, each with its mend."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.errors import BenchError
from targets.pynq.inventory import Board
from targets.pynq.printable import one_line
from targets.pynq.transport import Remote

#: free bytes on the board's disk below which a job may not fit
ENOUGH = 512 << 20


@dataclass(frozen=True)
class Check:
    """One check. `passed` None: it is lacking, but not everything needs it."""

    name: str
    passed: bool | None
    detail: str
    mend: str | None = None


def check_board(board: Board, make: Callable[[Board], Remote] = Remote) -> list[Check]:
    """Connect, run `agent.pyz --check` there, and judge what it says. Never raises a BenchError."""
    try:
        facts = make(board).facts()
    except BenchError as error:
        about = getattr(error, "about", "reachable")
        there = [] if about == "reachable" else [Check("reachable", True, board.host or "this machine")]
        return [*there, Check(about, False, error.what, error.mend)]
    return [Check("reachable", True, board.host or "this machine"), *_judge(board, facts)]


def _judge(board: Board, facts: Mapping[str, Any]) -> Iterator[Check]:
    def text(name: str) -> str | None:
        value = facts.get(name)
        return one_line(str(value), 120) if value not in (None, "") else None

    # where they are too old or missing, the agent does not start: `scripts.CHECK` tells that
    for name in ("Python", "numpy"):
        told = text(name.lower())
        mend = None if told else "What answers there is not our agent."
        yield Check(name, told is not None, told or "not told", mend)
    yield _pynq(board, text("pynq"))
    if board.emulated:
        yield Check("TFLite runtime", None, "not used: an emulated board has no processor of its own")
    else:
        yield from _hardware(board, facts, text)
        yield _tflite(text("tflite"), text("machine") or "", _version(text("python") or ""))
    yield _space(facts.get("free_bytes"))
    holder = facts.get("lock")
    if isinstance(holder, Mapping):
        words = ", ".join(
            one_line(f"{key} {holder[key]}", 80) for key in ("user", "job", "since") if key in holder
        )
        yield Check("free to use", False, f"taken: {words or 'by somebody'}", "Wait, or ask whose job it is.")
    else:
        yield Check("free to use", True, "no job is running")


def _pynq(board: Board, version: str | None) -> Check:
    if version is None:
        mend = (
            "Use a PYNQ image (pynq.io), or name its Python: --python /usr/local/share/pynq-venv/bin/python3"
        )
        return Check("pynq", False, "cannot be imported", mend)
    if board.board in ("pynq-z1", "pynq-z2") and _version(version) >= (4,):
        return Check("pynq", False, f"{version} has no Zynq-7000", "pip install 'pynq>=3.0,<4' there.")
    if _version(version) < (3,):
        mend = "Write a newer image (pynq.io): 3.0 to 4.0 are known to work."
        return Check("pynq", None, f"{version}: not known to work", mend)
    return Check("pynq", True, version)


def _tflite(runtime: str | None, machine: str, python: tuple[int, ...]) -> Check:
    """Not every runtime is made for each processor and Python."""
    if runtime is not None:
        return Check("TFLite runtime", True, runtime)
    packages: dict[tuple[str, tuple[int, ...]], str] = {
        ("armv7l", (3, 8)): "tflite-runtime==2.5.0",
        ("armv7l", (3, 10)): "tflite-runtime==2.13.0",  # later ones want a numpy that is not made for it
        ("aarch64", (3, 10)): "ai-edge-litert",
        ("aarch64", (3, 12)): "ai-edge-litert",
    }
    named = packages.get((machine, python[:2]))
    mend = f"There, as root (sudo -i): pip install {named or 'ai-edge-litert (or tflite-runtime)'}"
    if named is None and machine == "armv7l":
        mend = "None is made for its Python: use an image with Python 3.10 (PYNQ 3.0 or 3.1)."
    return Check("TFLite runtime", None, "none: TFLite artifacts are skipped", mend)


def _hardware(board: Board, facts: Mapping[str, Any], text: Callable[[str], str | None]) -> Iterator[Check]:
    root = facts.get("root") is True
    mend = "Add the board without --no-sudo; pynq needs root."
    yield Check("root", root, "yes" if root else "no", None if root else mend)
    xrt = text("XILINX_XRT")
    mend = "source /etc/profile.d/xrt_setup.sh must set XILINX_XRT there."
    yield Check("XRT", xrt is not None, xrt or "XILINX_XRT is not set", None if xrt else mend)
    named = text("board")
    same = named is None or _plain(named) == _plain(board.board)
    mend = f"Add it as what it is: bench board add {board.name} --board KIND --replace"
    yield Check("kind", same if named else None, named or "it does not say", None if same else mend)
    clock = facts.get("clock_mhz")
    known = isinstance(clock, int | float) and not isinstance(clock, bool)
    problems = [one_line(str(item), 200) for item in facts.get("problems") or [] if isinstance(item, str)]
    mend = "; ".join(problems) or "Run bench board check as a user with sudo there."
    yield Check("clock", known, f"{clock:g} MHz" if known else "cannot be read", None if known else mend)
    sensors = facts.get("sensors")
    names = ", ".join(one_line(str(item), 40) for item in sensors) if isinstance(sensors, list) else ""
    mend = "Use an external meter and bench energy."
    yield Check("power rails", True if names else None, names or "none", None if names else mend)


def _space(free: Any) -> Check:
    if not isinstance(free, int) or isinstance(free, bool):
        return Check("space", None, "not told")
    mend = None if free >= ENOUGH else "Delete what is old there, such as edge-bench/jobs/."
    return Check("space", free >= ENOUGH, f"{free / 1e6:,.0f} MB free", mend)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in re.findall(r"\d{1,9}", text)[:3])


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
