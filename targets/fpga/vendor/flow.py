"""How a written hls4ml project is built: its settings, the vendor's commands in their order, a script."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from bench.errors import ArtifactError, StepError
from targets.fpga.guard import Ended, run
from targets.fpga.vendor.tools import LAST_Y2K22, Y2K22, Tool

#: backends whose projects end in a bitstream; the others end in an IP core
WITH_BITSTREAM = ("VivadoAccelerator", "VitisUnified")
VIVADO_FAMILY = ("Vivado", "VivadoAccelerator")
_SETTING = re.compile(r'^\s*set\s+(\w+)\s+"?([^"\n]*?)"?\s*$', re.MULTILINE)
_NO_BOARD = ("[Board 49-71]", "Invalid board part")
_Y2K22_SIGNS = ("bad lexical cast", "is an invalid argument. Please specify an integer value")


@dataclass(frozen=True)
class Stages:
    """What is done beside C synthesis and export.

    Attributes:
        bitstream: block design, placed, routed and written as a bitstream.
        csim, cosim: C simulation and simulation of the RTL with the project's test bench.
        vsynth: synthesis of the exported RTL alone, for its resources.
    """

    bitstream: bool
    csim: bool = False
    cosim: bool = False
    vsynth: bool = False


@dataclass(frozen=True)
class Project:
    """Settings of a project as its `project.tcl` has them."""

    name: str
    backend: str
    part: str
    clock_ns: float | None
    partition_limit: int

    @property
    def top(self) -> str:
        """Name of the top function, that of the reports of C synthesis."""
        return f"{self.name}_axi" if self.backend == "vivadoaccelerator" else self.name

    def reports(self, folder: Path) -> list[Path]:
        """Reports of the whole design where hls4ml's scripts let the tools write them. A search would
        also find those of every function and block, hundreds in large designs."""
        hls, run = f"{self.name}_prj/solution1", f"{self.name}_vivado_accelerator/*.runs/impl_1"
        patterns = (
            f"{hls}/syn/report/{self.top}_csynth.xml",
            f"{hls}/syn/report/{self.top}_csynth.rpt",
            f"{hls}/sim/report/{self.top}_cosim.rpt",
            "vivado_synth.rpt",
            "util.rpt",
            *(f"{run}/*_{kind}.rpt" for kind in ("timing_summary_*routed", "timing_summary_postroute_*")),
            *(f"{run}/*_{kind}.rpt" for kind in ("utilization_placed", "power_routed")),
        )
        found = {path for pattern in patterns for path in folder.glob(pattern)}
        return sorted(path for path in found if path.is_file() and not path.is_symlink())

    @classmethod
    def read(cls, folder: Path) -> Project:
        """Raises ArtifactError: no project.tcl of hls4ml is there."""
        path = folder / "project.tcl"
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(f"not a project that hls4ml wrote ({error})", where=str(path)) from error
        said = dict(_SETTING.findall(text))
        if "project_name" not in said or "part" not in said:
            raise ArtifactError("not a project.tcl of hls4ml (no project_name, no part)", where=str(path))
        clock, limit = said.get("clock_period", ""), said.get("maximum_size", "")
        return cls(
            said["project_name"],
            said.get("backend", "").lower(),
            said["part"],
            float(clock) if re.fullmatch(r"\d+(\.\d+)?", clock) else None,
            int(limit) if limit.isdecimal() else 4096,
        )


def commands(backend: str, stages: Stages, hls: str) -> list[list[str]]:
    """The vendor's commands, to be run in the project's folder one after the other.

    Args:
        hls: program for HLS: vivado_hls, vitis-run or vitis_hls.
    """
    if hls == "vivado_hls":
        made = [[hls, "-f", "build_prj.tcl", " ".join(f"{k}={v}" for k, v in _options(stages).items())]]
    elif hls == "vitis-run":
        made = [[hls, "--tcl", "build_prj.tcl", "--mode", "hls"]]
    else:
        made = [[hls, "-f", "build_prj.tcl"]]
    if stages.vsynth:
        made.append(["vivado", "-mode", "batch", "-source", "vivado_synth.tcl"])
    if stages.bitstream:
        made.append(["vivado", "-mode", "batch", "-source", "design.tcl"])
    return made


def _options(stages: Stages) -> dict[str, int]:
    """Switches of build_prj.tcl. Synthesis in Vivado is a command of its own, so that its end is seen."""
    return {
        "reset": 1,
        "csim": int(stages.csim),
        "synth": 1,
        "cosim": int(stages.cosim),
        "validation": int(stages.csim and stages.cosim),
        "export": 1,
        "vsynth": 0,
        "fifo_opt": 0,
    }


def prepare(project: Path, backend: str, stages: Stages) -> None:
    """Write the switches where the backend reads them from a file."""
    if backend not in VIVADO_FAMILY:
        rows = "".join(f"    {name} {value}\n" for name, value in _options(stages).items())
        (project / "build_opt.tcl").write_text(f"array set opt {{\n{rows}}}\n")


@dataclass(frozen=True)
class Limits:
    """For all commands of a build together: seconds, and bytes of memory at any moment."""

    seconds: float
    memory_bytes: float


def machine_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def build(
    project: Path,
    backend: str,
    stages: Stages,
    tools: Sequence[Tool],
    limits: Limits,
    log: Path,
    tell: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Run the vendor's commands in `project`; returns what each took.

    Raises:
        StepError: one failed, hung, or took too much memory; with the last lines of the log.
    """
    known = {tool.name: tool for tool in tools}
    prepare(project, backend, stages)
    left, took = limits.seconds, []
    for arguments in commands(backend, stages, tools[0].name):
        tool = known[arguments[0]]
        with log.open("a") as stream:
            stream.write(f"$ {' '.join(map(quote, arguments))}\n")
        ended = run(
            [str(tool.path), *arguments[1:]],
            folder=project,
            log=log,
            environment=tool.environment(),
            seconds=left,
            memory_bytes=limits.memory_bytes,
            tell=tell,
        )
        if ended.code != 0 or ended.limit:
            raise _failure(arguments, tool, ended, limits, log)
        left -= ended.seconds
        took.append(
            {"command": arguments, "seconds": round(ended.seconds, 3), "peak_bytes": ended.peak_bytes}
        )
    return took


def _failure(arguments: Sequence[str], tool: Tool, ended: Ended, limits: Limits, log: Path) -> StepError:
    text = log.read_text(errors="replace") if log.exists() else ""
    if ended.error:
        how, mend = f"could not be started: {ended.error}", None
    elif ended.limit == "time":
        how = f"was ended: the build took longer than its time limit of {limits.seconds:g} s"
        mend = "Give it more with time_limit_s (--time-limit), or a smaller design."
    elif ended.limit == "memory":
        how = (
            f"was ended: its processes held {ended.peak_bytes / 1e9:.2f} GB of memory, more than the limit "
            f"of {limits.memory_bytes / 1e9:.2f} GB"
        )
        mend = "Give it more with memory_limit_gb (--memory-limit), or a smaller design."
    elif ended.limit or (ended.code or 0) < 0:
        how = f"was killed (signal {-(ended.code or 0)}; out of memory?)"
        mend = "`--retry-failed` tries again."
    else:
        how, mend = f"failed (exit code {ended.code})", None
    if tool.name == "vivado_hls" or (tool.version or "9") <= LAST_Y2K22:
        mend = Y2K22 if any(sign in text for sign in _Y2K22_SIGNS) else mend
    if any(sign in text for sign in _NO_BOARD):
        mend = (
            "Install the board files of the board (into data/boards/board_files of the Vivado installation)."
        )
    last = _last_lines(text)
    told = f"; last lines of its log: {' | '.join(last)}" if last else ""
    return StepError(f"{arguments[0]} ({' '.join(arguments[1:4])}) {how}{told}", mend=mend)


def _last_lines(text: str, count: int = 3) -> list[str]:
    """The last errors of a log, or its last lines."""
    lines = [line.strip()[:300] for line in text.splitlines() if line.strip() and not line.startswith("$ ")]
    errors = [line for line in lines if re.match(r"(CRITICAL WARNING|ERROR|FATAL)\b", line)]
    return (errors or lines)[-count:]


def script(backend: str, stages: Stages) -> str:
    """A shell script that builds the project in the folder `project` beside it."""
    lines = ["#!/bin/sh", "# Builds the project beside this script with the vendor's tools on PATH."]
    lines += ["set -eu", 'cd "$(dirname "$0")/project"']
    if backend in VIVADO_FAMILY:
        lines += [_line(arguments) for arguments in commands(backend, stages, "vivado_hls")]
    else:
        newer, *rest = commands(backend, stages, "vitis-run")
        older = commands(backend, stages, "vitis_hls")[0]
        lines += ["if command -v vitis-run >/dev/null 2>&1; then", f"    {_line(newer)}", "else"]
        lines += [f"    {_line(older)}", "fi", *map(_line, rest)]
    return "\n".join([*lines, 'echo "Finished. Take the result in with: bench import-build FOLDER"', ""])


def _line(arguments: Sequence[str]) -> str:
    return " ".join(quote(item) for item in arguments)
