"""Logic synthesis with yosys, and its cells in the words of vendors' reports."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.errors import StepError
from targets.fpga import guard
from targets.fpga.parts import BOARDS
from targets.fpga.rtl.verilog import TOP

CHILD = Path(__file__).with_name("synthesis_child.py")
CELLS, TIMING = "cells.json", "timing.txt"
LutMapping = Literal["thorough", "quick"]
#: look-up tables that a cell occupies, beside LUT1 to LUT6 and INV (AMD UG474, UG574)
MEMORY_LUTS = {
    **{"RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8},
    **{"RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4, "RAM512X1S": 8},
    **{"RAM32X2S": 2, "RAM64X8SW": 8, "RAM32M16": 8, "RAM64M8": 8},
}
SHIFT_LUTS = {"SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1}
#: cells that are none of what is counted: wide multiplexers have a place of their own, the rest is paper
_OTHERS = re.compile(r"MUXF[789]|CARRY[48]|\$scopeinfo|GND|VCC|I?BUF\w*|OBUF\w*")
_FLIP_FLOP = re.compile(r"(FD[RSCP]E|LD[CP]E)(_1)?")
_RAM = re.compile(r"RAMB(18|36)E[12]")
_DSP = re.compile(r"DSP48E[12]")


@dataclass(frozen=True)
class Synthesis:
    """What yosys made of a design.

    Attributes:
        used: lut, ff, dsp, bram18, uram as vendors' tools count them after synthesis.
        cells: by name. detail: look-up tables by size and use, carry chains.
        logic_delay_ns: of the slowest path without any routing: no clock can be faster, real ones are
            much slower. None where it is not known.
    """

    version: str
    used: dict[str, int]
    detail: dict[str, Any]
    cells: dict[str, int]
    logic_delay_ns: float | None
    seconds: float
    peak_bytes: int


def family_of(board: str) -> str:
    """What yosys calls the device family of a board."""
    return "xc7" if BOARDS[board].startswith("xc7") else "xcup"


def synthesize(
    sources: Path,
    out: Path,
    board: str,
    *,
    seconds: float,
    memory_bytes: float,
    mapping: LutMapping = "thorough",
) -> Synthesis:
    """Synthesize the Verilog in folder `sources`; counts and delays are left in the folder `out`.

    Args:
        mapping: to look-up tables; `quick` takes half the time of designs of many adders, and 2 to 3 % more
            of them.

    Raises:
        StepError: it crashed, reached a limit, or gave cells that are not known here.
    """
    names = sorted(path.name for path in sources.glob("*.v") if path.name != "test_bench.v")
    told = [str((out / name).resolve()) for name in (CELLS, TIMING)]
    arguments = [family_of(board), TOP, *told, mapping, *names]
    with tempfile.TemporaryDirectory(prefix="bench-yosys-") as place:
        log = Path(place) / "yosys.log"
        ended = guard.run(
            [sys.executable, "-I", str(CHILD), *arguments],
            folder=sources,
            log=log,
            environment={**os.environ, "TMPDIR": place},
            seconds=seconds,
            memory_bytes=memory_bytes,
        )
        if ended.limit:
            most = f"{seconds:g} s" if ended.limit == "time" else f"{memory_bytes / 1e9:g} GB of memory"
            raise StepError(f"yosys was ended: it took more than {most}")
        if ended.error or ended.code != 0:
            raise StepError(f"yosys failed: {ended.error or _why(log, ended.code)}")
    version, cells = read_cells(out / CELLS)
    used, detail = count(cells)
    timing = out / TIMING
    delay = read_delay(timing.read_text()) if timing.exists() else None
    return Synthesis(version, used, detail, cells, delay, ended.seconds, ended.peak_bytes)


def read_cells(path: Path) -> tuple[str, dict[str, int]]:
    """Version of yosys, and how many cells of each kind.

    Raises:
        StepError: it is no such file.
    """
    try:
        text = path.read_text()
        told = json.loads(text[text.index("{") :])
        version = re.search(r"Yosys (\S+)", told["creator"])
        cells = {str(name): int(n) for name, n in told["design"]["num_cells_by_type"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StepError(f"yosys wrote no counts of cells ({error})") from error
    return (version.group(1) if version else "unknown"), cells


def count(cells: Mapping[str, int]) -> tuple[dict[str, int], dict[str, Any]]:
    """Resources, and what they are made of.

    Raises:
        StepError: a cell that is not known: nothing may be left out of a sum.
    """
    used = dict.fromkeys(("lut", "ff", "dsp", "bram18", "uram"), 0)
    sizes: dict[str, int] = {}
    detail: dict[str, Any] = {"lut_memory": 0, "lut_shift": 0, "carry": 0, "mux": 0}
    for name, n in cells.items():
        if re.fullmatch(r"LUT[1-6]|INV", name):
            sizes[name] = n
            used["lut"] += n
        elif name in MEMORY_LUTS or name in SHIFT_LUTS:
            part = n * (MEMORY_LUTS | SHIFT_LUTS)[name]
            detail["lut_memory" if name in MEMORY_LUTS else "lut_shift"] += part
            used["lut"] += part
        elif _FLIP_FLOP.fullmatch(name):
            used["ff"] += n
        elif _DSP.fullmatch(name):
            used["dsp"] += n
        elif found := _RAM.fullmatch(name):
            used["bram18"] += n * (2 if found.group(1) == "36" else 1)
        elif re.fullmatch(r"URAM288(_BASE)?", name):
            used["uram"] += n
        elif not _OTHERS.fullmatch(name):
            raise StepError(f"yosys used a cell that is not known here: {n} {name}")
        if name.startswith("CARRY"):
            detail["carry"] += n
        if name.startswith("MUXF"):
            detail["mux"] += n
    return used, {"lut_by_size": dict(sorted(sizes.items())), **detail}


def read_delay(text: str) -> float | None:
    """Nanoseconds of the slowest path in what `sta` prints; None where it knew no flip-flop's delays."""
    if re.search(r"Module 'FD\w+' has no timing arcs", text):
        return None
    found = re.search(r"Latest arrival time in '\S+' is (\d+)", text)
    return int(found.group(1)) / 1000 if found else None


def _why(log: Path, code: int | None) -> str:
    if code is not None and code < 0:
        return f"ended by signal {-code}"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line] or lines[-1:] or [f"code {code}"]
    return errors[0][:300]
