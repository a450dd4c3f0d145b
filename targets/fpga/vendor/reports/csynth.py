"""Reports of HLS: synthesis estimates (csynth, text and XML).

Layouts: Vivado HLS 2018 to 2020.1, Vitis HLS 2020.2 to 2025.2 (UG902, UG1399).
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

from bench.errors import ArtifactError
from targets.fpga.vendor.reports.model import HardwareReport, Number, Value
from targets.fpga.vendor.reports.text import Table, Text, count, number, tables
from targets.fpga.vendor.reports.vivado import normal_part

CLASSIC = re.compile(r"\s*== (Vivado|Vitis) HLS Report for '(.+)'\s*$")
SUMMARY = re.compile(r"\s*== Synthesis Summary Report of '(.+)'\s*$")
#: resource by its label in reports; BRAM of the summary counts blocks of 18 Kbit too
_COLUMNS = {
    "BRAM_18K": "bram18",
    "BRAM": "bram18",
    "DSP48E": "dsp",
    "DSP": "dsp",
    "FF": "ff",
    "LUT": "lut",
    "URAM": "uram",
}
_LATENCIES = {
    "Best-caseLatency": "cycles_min",
    "Worst-caseLatency": "cycles_max",
    "Interval-min": "interval_min",
    "Interval-max": "interval_max",
}
_UNITS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "ps": 1e-3}
_MAX_DEPTH = 200


def read_classic(text: Text) -> HardwareReport:
    """`<top>_csynth.rpt`.

    Raises:
        ArtifactError: a table is missing, or its columns are not known.
    """
    found = list(tables(text))
    head = next(match for line in text.lines if (match := CLASSIC.match(line)))
    values: dict[str, Value] = {**_clock(text, found), **_latency(text, found)}
    totals = next((table for table in found if _is_totals(table)), None)
    if totals is None:
        raise text.cut_off("there is no table of utilization estimates")
    used = _resources(text, totals, _row(text, totals, "Total"))
    modules = [
        {
            "name": row[0].strip(),
            "level": 1,
            "module": row[1].strip(),
            **_resources(text, table, (line, row)),
        }
        for table in found
        if table.labels[:2] == ("Instance", "Module") and "BRAM_18K" in table.labels
        for line, row in table.rows
        if row[0].strip() != "Total"
    ]
    return HardwareReport(
        **_origin(text),
        tool=f"{head[1]} HLS",
        top=head[2],
        values={**values, **used},
        available=_resources(text, totals, _row(text, totals, "Available")),
        modules=tuple(modules),
    )


def read_summary(text: Text) -> HardwareReport:
    """`csynth.rpt` and `hls_compile.rpt` of Vitis HLS. Their single latency is the worst case.

    Raises:
        ArtifactError: the table is missing, or its columns are not known.
    """
    found = list(tables(text))
    head = next(match for line in text.lines if (match := SUMMARY.match(line)))
    table = next((table for table in found if "Modules & Loops" in table.labels), None)
    if table is None:
        raise text.cut_off("there is no table of performance and resource estimates")
    latency, interval = table.column("Latency (cycles)"), table.column("Interval")
    if latency is None or interval is None:
        raise text.damaged(table.line, f"a table with unknown columns: {', '.join(table.labels)}")
    modules = []
    for line, row in table.rows:
        mark = re.match(r"( *)\+ (.+)", row[0])
        if mark is None:  # a loop
            continue
        modules.append(
            {
                "name": mark[2].strip().rstrip("*"),
                "level": len(mark[1]),
                "cycles_max": count(row[latency], text, line),
                "interval_max": count(row[interval], text, line),
                **_resources(text, table, (line, row)),
            }
        )
    top = next((row for row in modules if row["level"] == 0), None)
    if top is None:
        raise text.damaged(table.line, "the table has no row for the top function")
    own = {name: value for name, value in top.items() if name not in ("name", "level")}
    return HardwareReport(
        **_origin(text),
        tool="Vitis HLS",
        top=head[1],
        values={**_clock(text, found, needed=False), **own},
        available={},
        modules=tuple(row for row in modules if row is not top),
    )


def read_xml(text: Text) -> HardwareReport:
    """`<top>_csynth.xml` and `csynth.xml`.

    Raises:
        ArtifactError: not well-formed, with a document type, or without the parts of such a report.
    """
    content = "\n".join(text.lines)
    unsafe = re.search(r"<!(DOCTYPE|ENTITY)", content, re.IGNORECASE)
    if unsafe:
        raise ArtifactError(
            "it has a document type or entities, which no HLS report has",
            where=text.at(content.count("\n", 0, unsafe.start())),
            mend="Use the file as the tool wrote it.",
        )
    try:
        root = _tree(content)
    except ElementTree.ParseError as error:
        raise text.damaged(error.position[0] - 1, f"damaged or cut off XML ({error})") from error
    parts = {name: root.find(name) for name in ("UserAssignments", "PerformanceEstimates", "AreaEstimates")}
    if root.tag != "profile" or None in parts.values():
        missing = [name for name, part in parts.items() if part is None]
        raise text.damaged(
            0, f"XML of another kind: <{root.tag}> without {', '.join(missing) or 'a profile'}"
        )

    def get(path: str) -> tuple[str, int]:
        tag = path.rpartition("/")[2]
        line = next((i for i, line in enumerate(text.lines) if f"<{tag}>" in line), 0)
        return (root.findtext(path) or "").strip(), line

    latency = "PerformanceEstimates/SummaryOfOverallLatency/"
    estimate = "PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod"
    values: dict[str, Value] = {
        "clock_target_ns": _float(number(*_args(text, get("UserAssignments/TargetClockPeriod")))),
        "clock_estimate_ns": _float(number(*_args(text, get(estimate)))),
    }
    for tag, name in _LATENCIES.items():
        values[name] = count(*_args(text, get(latency + tag)))
    used, available = (
        {
            _COLUMNS[item.tag]: count(*_args(text, get(f"AreaEstimates/{group}/{item.tag}")))
            for item in root.findall(f"AreaEstimates/{group}/*")
            if item.tag in _COLUMNS
        }
        for group in ("Resources", "AvailableResources")
    )
    old = root.find("AreaEstimates/Resources/DSP48E") is not None
    return HardwareReport(
        kind="csynth",
        stage="hls_est",
        file=text.name,
        tool="Vivado HLS" if old else "Vitis HLS" if "dsp" in used else None,
        version=get("ReportVersion/Version")[0] or None,
        part=normal_part(get("UserAssignments/Part")[0]),
        top=get("UserAssignments/TopModelName")[0] or None,
        values={**values, **used},
        available=available,
    )


def _tree(content: str) -> ElementTree.Element:
    """The tree; very deep nesting, which no report has, would cost memory and stack."""
    parser: Any = ElementTree.XMLPullParser(("start", "end"))
    depth = 0
    root: ElementTree.Element | None = None
    for begin in range(0, max(len(content), 1), 1 << 16):
        parser.feed(content[begin : begin + (1 << 16)])
        for event, element in parser.read_events():
            root = element if root is None else root
            depth += 1 if event == "start" else -1
            if depth > _MAX_DEPTH:
                error = ElementTree.ParseError("nested too deeply")
                error.position = (content.count("\n", 0, begin) + 1, 0)
                raise error
    parser.close()
    if root is None:
        raise AssertionError("a document without elements is a parse error")
    return root


def _args(text: Text, found: tuple[str, int]) -> tuple[str, Text, int]:
    return found[0], text, found[1]


def _float(value: Number | None) -> float | None:
    return None if value is None else float(value)


def _origin(text: Text) -> dict[str, Any]:
    """Where a text report comes from: `* Version: 2020.1 (Build …)`, `* Target device: xc7z020-clg400-1`."""
    about = {
        match[1]: match[2]
        for line in text.lines[:60]
        if (match := re.match(r"\s*\* (Version|Target device): +(\S+)\s", line + " "))
    }
    return {
        "kind": "csynth",
        "stage": "hls_est",
        "file": text.name,
        "version": about.get("Version"),
        "part": normal_part(about.get("Target device")),
    }


def _clock(text: Text, found: list[Table], *, needed: bool = True) -> dict[str, Value]:
    """Target and estimate of the (first) clock, ns."""
    table = next((table for table in found if table.labels[:3] == ("Clock", "Target", "Estimated")), None)
    if table is None or not table.rows:
        if needed:
            raise text.cut_off("there is no table of clocks")
        return {}
    line, row = table.rows[0]
    return {
        "clock_target_ns": _period(row[1], text, line),
        "clock_estimate_ns": _period(row[2], text, line),
    }


def _period(cell: str, text: Text, line: int) -> float | None:
    """`5.00 ns`, or `5.00` where the title has the unit."""
    value, _, unit = cell.strip().partition(" ")
    if unit and unit.strip() not in _UNITS:
        raise text.damaged(line, f"{cell.strip()[:40]!r} should be a period")
    found = _float(number(value, text, line))
    return None if found is None else found * _UNITS[unit.strip() or "ns"]


def _latency(text: Text, found: list[Table]) -> dict[str, Value]:
    """Cycles of latency and interval; the absolute latency beside them is rounded, and not read."""
    for table in found:
        clean = [re.sub(r"\s*\(cycles\)\s*", " ", label) for label in table.labels]
        if "Latency min" in clean and "Interval max" in clean and table.title == "* Summary:":
            if len(table.rows) != 1:
                raise text.damaged(table.line, "the table of latency should have one row")
            line, row = table.rows[0]
            names = {
                "cycles_min": "Latency min",
                "cycles_max": "Latency max",
                "interval_min": "Interval min",
                "interval_max": "Interval max",
            }
            return {name: count(row[clean.index(label)], text, line) for name, label in names.items()}
    raise text.cut_off("there is no table of latency")


def _is_totals(table: Table) -> bool:
    names = {row[0].strip() for _, row in table.rows}
    return table.labels[:1] == ("Name",) and {"Total", "Available"} <= names


def _row(text: Text, table: Table, name: str) -> tuple[int, tuple[str, ...]]:
    return next(item for item in table.rows if item[1][0].strip() == name)


def _resources(text: Text, table: Table, row: tuple[int, tuple[str, ...]]) -> dict[str, int | None]:
    line, cells = row
    return {
        _COLUMNS[label]: count(cells[i], text, line)
        for i, label in enumerate(table.labels)
        if label in _COLUMNS
    }
