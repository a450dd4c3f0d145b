"""The programs that simulate Verilog: which is there, which is the faster one for a design."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.errors import StepError, Unavailable

COMPILE_LIMIT, RUN_LIMIT = 600.0, 1800.0
#: older ones of Verilator know no delays
VERILATOR = 5
#: what the simulation of a design may take by estimate; with more vectors fewer are checked
BUDGET = 45.0
NEEDED = "Icarus Verilog is not installed, which simulates the design: apt-get install iverilog"


@dataclass(frozen=True)
class Simulator:
    """An installed simulator.

    Attributes:
        start, build: seconds until it runs, and for each multiplier or adder, by experience. cycle, lane:
            microseconds for each clock cycle, and for each multiplier or adder in it.
    """

    name: str
    version: str
    start: float
    build: float
    cycle: float
    lane: float

    def seconds(self, cycles: int, lanes: int) -> float:
        """What a simulation takes, by estimate."""
        return self.start + lanes * self.build + cycles * (self.cycle + lanes * self.lane) * 1e-6

    def run(self, sources: Sequence[str], folder: Path, limit: float | None = None) -> str:
        """Compile the test bench and run it in `folder`, for `limit` seconds at most.

        Returns what it printed.

        Raises:
            StepError: it does not compile, crashes or takes too long.
        """
        limit = RUN_LIMIT if limit is None else limit
        if self.name == "verilator":
            command = ["verilator", "--binary", "--timing", "-Wno-lint", "-Wno-fatal", "--Mdir", "obj"]
            command += ["--top-module", "test_bench", "-o", "simulation", *sources]
            execute(command, folder, COMPILE_LIMIT)
            said = execute([str(folder.resolve() / "obj" / "simulation")], folder, limit)
            shutil.rmtree(folder / "obj")
            return said
        execute(["iverilog", "-g2005", "-o", "simulation", *sources], folder, COMPILE_LIMIT)
        said = execute(["vvp", "-n", "simulation"], folder, limit)
        (folder / "simulation").unlink()
        return said


def available() -> tuple[Simulator, ...]:
    """Those that are installed and not too old: Icarus Verilog, and Verilator."""
    found = []
    if shutil.which("iverilog") and shutil.which("vvp"):
        found.append(Simulator("iverilog", _version("iverilog", "-V"), 0.5, 0.0004, 10.0, 4.0))
    if shutil.which("verilator"):
        version = _version("verilator", "--version")
        if int(version.partition(".")[0] or 0) >= VERILATOR:
            found.append(Simulator("verilator", version, 15.0, 0.008, 1.0, 0.05))
    return tuple(found)


def unavailable() -> str | None:
    """Why nothing can be simulated here, with the mend, or None."""
    if available():
        return None
    if shutil.which("verilator"):
        old = _version("verilator", "--version")
        return f"Verilator {old} is too old ({VERILATOR}.0 is needed), and {NEEDED}"
    return NEEDED


def choose(cycles: int, lanes: int, name: str | None = None) -> Simulator:
    """The one that is done first, or the one of this name.

    Raises:
        Unavailable: there is none.
    """
    there = [one for one in available() if name in (None, one.name)]
    if not there:
        what, _, mend = (unavailable() or NEEDED).partition(": ")
        raise Unavailable(what, mend=mend)
    return min(there, key=lambda one: one.seconds(cycles, lanes))


@cache
def _version(program: str, option: str) -> str:
    try:
        done = subprocess.run([program, option], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"(?:version|Verilator) (\d+[\d.]*)", done.stdout)
    return found.group(1) if found else ""


def execute(command: list[str], folder: Path, limit: float) -> str:
    """Run a program in `folder`, for `limit` seconds at most; returns what it printed. Raises StepError."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=limit
        )
    except subprocess.TimeoutExpired:
        raise StepError(f"{name} did not finish within {limit:g} s") from None
    except OSError as error:
        raise StepError(f"{name} cannot be started: {error}") from error
    if done.returncode < 0:
        raise StepError(f"{name} was ended by signal {-done.returncode} (out of memory?)")
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "rror" in line] or done.stderr.splitlines()
        lines = lines or done.stdout.splitlines() or ["no message"]
        raise StepError(f"{name} failed (code {done.returncode}): {lines[0][:300]}")
    return done.stdout
