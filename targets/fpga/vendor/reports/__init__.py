"""Reports of FPGA tools, found by their content and read by their structure, never by line numbers.

Understood: synthesis estimates of Vivado HLS and Vitis HLS (text, XML and summary), co-simulation,
utilization of Vivado (flat, hierarchical) and of the kernels that Vitis linked, timing summary, power. The
copies that hls4ml's VitisUnified puts into `final_reports` are these under other names. Not read: lists of
transactions (`*.performance.result.transaction.xml`), since one that is cut off cannot be told from a whole
one and the co-simulation report has their minimum and maximum; `*.link_summary`, a log of steps without
numbers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from bench.errors import ArtifactError
from targets.fpga.vendor.reports import accelerator, csynth
from targets.fpga.vendor.reports.combine import merge, problems
from targets.fpga.vendor.reports.cosim import read_cosim
from targets.fpga.vendor.reports.model import HardwareReport
from targets.fpga.vendor.reports.text import Text, read_text
from targets.fpga.vendor.reports.timing import read_timing
from targets.fpga.vendor.reports.vivado import read_power, read_utilization

__all__ = ["HardwareReport", "find_reports", "merge", "problems", "read_report"]

#: A format and the line that only it has. The first that matches wins.
_FORMATS: tuple[tuple[re.Pattern[str], Callable[[Text], HardwareReport]], ...] = (
    (csynth.CLASSIC, csynth.read_classic),
    (csynth.SUMMARY, csynth.read_summary),
    (accelerator.TITLE, accelerator.read_accelerator),
    (re.compile(r"Utilization Design Information\s*$"), read_utilization),
    (re.compile(r"Timing Summary Report\s*$|\| Design Timing Summary\s*$"), read_timing),
    (re.compile(r"Power Report\s*$"), read_power),
    (re.compile(r"\|\s+\|\s+\|\s*Latency ?(\(Clock Cycles\))?\s*\|"), read_cosim),
)
#: How many lines are looked at to tell the format; the title of each stands within the first 200.
_HEAD = 1000
#: Names of reports that are worth opening in a project; the content decides.
_NAMES = re.compile(
    r".*(csynth|cosim|utilization\w*|util|util_\w+|timing\w*|power\w*|vivado_synth|hls_compile)\.(rpt|xml)"
)
#: bounds of a search, far above any real project
_MAX_DEPTH, _MAX_ENTRIES, _MAX_FOUND = 24, 500_000, 5_000


def read_report(path: Path) -> HardwareReport:
    """Read one report, whatever its name.

    Raises:
        ArtifactError: missing, not a report that is known, cut off, damaged, binary or too large.
    """
    text = read_text(path)
    first = next((i for i, line in enumerate(text.lines) if line.strip()), None)
    if first is None:
        raise ArtifactError("it is empty", where=text.name, mend="Let the tool write it again.")
    if text.lines[first].lstrip().startswith("<"):
        return csynth.read_xml(text)
    for line in text.lines[:_HEAD]:
        for pattern, read in _FORMATS:
            if pattern.match(line):
                return read(text)
    raise ArtifactError(
        "no report that is known here",
        where=text.at(first),
        mend="Known: *_csynth.rpt and .xml, *_cosim.rpt, and what report_utilization, "
        "report_accelerator_utilization, report_timing_summary and report_power write.",
    )


def find_reports(folder: Path) -> list[Path]:
    """Reports below a vendor project, sorted: known names with known content. Links are not followed, and
    hidden folders (`.autopilot` is what HLS keeps for itself) left alone.

    Reports of single functions or blocks (out-of-context runs, HLS sub-functions) are left out where the
    report of the whole stands beside them.

    Raises:
        ArtifactError: not a folder, or it holds too many files to look through.
    """
    if not folder.is_dir():
        raise ArtifactError("this is not a folder", where=str(folder))
    found: list[Path] = []
    entries = 0
    for place, names, files in os.walk(folder, followlinks=False):
        depth = len(Path(place).relative_to(folder).parts)
        entries += len(names) + len(files)
        if entries > _MAX_ENTRIES:
            raise ArtifactError(
                f"more than {_MAX_ENTRIES:,} files and folders", where=str(folder), mend="Name the reports."
            )
        names[:] = sorted(
            name
            for name in names
            if depth < _MAX_DEPTH and not name.startswith(".") and not _of_a_block(place, name)
        )
        found += [
            path
            for name in sorted(files)
            if _NAMES.fullmatch(name) and not (path := Path(place, name)).is_symlink() and path.is_file()
        ]
        if len(found) > _MAX_FOUND:
            raise ArtifactError(
                f"more than {_MAX_FOUND} reports", where=str(folder), mend="Name the reports instead."
            )
    return _of_the_whole([path for path in found if _is_known(path)])


def _of_a_block(place: str, folder: str) -> bool:
    """Whether a folder holds a run of a single block, or Vitis' copies of the reports of all such runs."""
    return bool(re.fullmatch(r".+_synth_1", folder)) or (folder == "syn" and Path(place).name == "link")


def _is_known(path: Path) -> bool:
    """Whether the beginning is that of a known format (a damaged report is one: it must be told of)."""
    try:
        with path.open("rb") as stream:
            begin = stream.read(1 << 16).decode("utf-8-sig", "replace")
    except OSError:
        return True
    if begin.lstrip().startswith("<"):
        return "<profile>" in begin
    return any(pattern.match(line) for line in begin.splitlines() for pattern, _ in _FORMATS)


def _of_the_whole(paths: list[Path]) -> list[Path]:
    """Without reports of functions that another HLS report in the same folder lists as its instances."""
    inner: set[tuple[Path, str]] = set()
    for path in paths:
        if re.fullmatch(r".+_csynth\.rpt", path.name):
            try:
                rows = read_report(path).modules
            except ArtifactError:  # it is listed, and whoever reads it is told
                continue
            inner |= {(path.parent, str(row.get("module"))) for row in rows}
    names = {path: re.sub(r"_csynth\.(rpt|xml)$", "", path.name) for path in paths}
    return sorted(path for path in paths if (path.parent, names[path]) not in inner)
