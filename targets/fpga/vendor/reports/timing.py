"""`report_timing_summary` of Vivado (UG906): slack, whether the constraints are met, clocks."""

from __future__ import annotations

import re
from typing import Any

from targets.fpga.vendor.reports.model import HardwareReport, Number, Stage, Value
from targets.fpga.vendor.reports.text import Text, number
from targets.fpga.vendor.reports.vivado import header, report_of, stage_of

_SECTIONS = ("Design Timing Summary", "Clock Summary", "Intra Clock Table", "Inter Clock Table")
_SLACKS = {"WNS(ns)": "wns_ns", "TNS(ns)": "tns_ns", "WHS(ns)": "whs_ns", "THS(ns)": "ths_ns"}
_FAILING = ("TNS Failing Endpoints", "THS Failing Endpoints", "TPWS Failing Endpoints")
_CLOCK = re.compile(r"( *)(\S+) +\{[^}]*\} +([\d.]+) +([\d.]+) *$")


def read_timing(text: Text) -> HardwareReport:
    """The timing summary. Times in ns; negative slack means that a constraint is not met.

    Raises:
        ArtifactError: cut off, or without the sections of such a report.
    """
    head = header(text)
    places: dict[str, int] = {}
    for section in _SECTIONS:
        place = text.find(rf"\| {section}\s*$")
        if place is None or place + 1 >= len(text.lines):
            raise text.cut_off(f"section {section!r} is missing")
        places[section] = place
    summary = _rows(text, places["Design Timing Summary"])
    if len(summary) != 1:
        raise text.damaged(places["Design Timing Summary"], "the design timing summary should have one row")
    line, cells = summary[0]
    row = {label: number(cell, text, line) for label, cell in cells.items()}
    failing = [int(found) for label in _FAILING if (found := row.get(label)) is not None]
    values: dict[str, Value] = {name: _float(row.get(label)) for label, name in _SLACKS.items()}
    values["failing_endpoints"] = sum(failing) if failing else None
    values["timing_met"] = _met(text, places)
    clocks = _clocks(text, places)
    values["clock_ns"] = _main_clock(text, places, clocks)
    stage = stage_of(head.get("Design State")) if "Design State" in head else _routing(text)
    return report_of(text, head, "timing", stage, values, {}, clocks)


def _rows(text: Text, section: int) -> list[tuple[int, dict[str, str]]]:
    """Rows under the line of dashes that follows the section's labels, with the number of their line."""
    dashes = text.find(r" *-+(  +-+)+ *$", start=section + 3)
    if dashes is None:
        raise text.cut_off("a table of the summary is missing")
    labels = re.split(r"  +", text.lines[dashes - 1].strip())
    rows: list[tuple[int, dict[str, str]]] = []
    for line in range(dashes + 1, len(text.lines)):
        if not text.lines[line].strip():
            return rows
        cells = text.lines[line].split()
        if len(cells) != len(labels):
            raise text.damaged(line, f"a row of a table of {len(labels)} columns is damaged")
        rows.append((line, dict(zip(labels, cells, strict=True))))
    raise text.cut_off("its last table has no end")


def _met(text: Text, places: dict[str, int]) -> bool | None:
    """What Vivado says. None without constraints, or where it says nothing."""
    for line in text.lines[places["Design Timing Summary"] : places["Clock Summary"]]:
        if line.startswith("All user specified timing constraints are met"):
            return True
        if line.startswith("Timing constraints are not met"):
            return False
    return None


def _clocks(text: Text, places: dict[str, int]) -> list[dict[str, Any]]:
    found = []
    for line in range(places["Clock Summary"], places["Intra Clock Table"]):
        match = _CLOCK.fullmatch(text.lines[line])
        if match:
            found.append(
                {
                    "name": match[2],
                    "level": len(match[1]) // 2,
                    "period_ns": _float(number(match[3], text, line)),
                    "frequency_mhz": _float(number(match[4], text, line)),
                }
            )
    return found


def _main_clock(text: Text, places: dict[str, int], clocks: list[dict[str, Any]]) -> float | None:
    """The period, ns, of the only clock, or of the one with most setup endpoints."""
    if len(clocks) < 2:
        return clocks[0]["period_ns"] if clocks else None
    periods = {clock["name"]: clock["period_ns"] for clock in clocks}
    most: dict[str, int] = {}
    for line in range(places["Intra Clock Table"] + 1, places["Inter Clock Table"]):
        cells = text.lines[line].split()
        # name, WNS, TNS, failing, endpoints, …; a clock without setup paths has fewer columns
        if len(cells) == 13 and cells[0] in periods:
            endpoints = number(cells[4], text, line)
            most[cells[0]] = int(endpoints) if endpoints is not None else 0
    best = [name for name in most if most[name] == max(most.values())]
    return periods[best[0]] if len(best) == 1 else None


def _routing(text: Text) -> Stage | None:
    """Reports before 2022 do not name the state; the nets of their paths do."""
    for line in text.lines:
        match = re.match(r" +net \(fo=\d+, (\w+)\)", line)
        if match:
            return "impl" if match[1] == "routed" else "synth" if match[1] == "unplaced" else None
    return None


def _float(value: Number | None) -> float | None:
    return None if value is None else float(value)
