"""Reports of Vivado: utilization (flat and hierarchical), timing summary, power.

Layouts: Vivado 2018.3 to 2025.2 (UG906, UG907), 7 series, UltraScale+ and Versal. The state of the design
is read in the report; the name of the file says nothing.
"""

from __future__ import annotations

import re
from typing import Any

from bench.errors import ArtifactError
from targets.fpga.vendor.reports.model import HardwareReport, Number, Stage, Value
from targets.fpga.vendor.reports.text import Table, Text, count, number, tables

#: resource by the site type; the second row of a name in a report repeats the first
_SITES = {
    "Slice LUTs": "lut",
    "CLB LUTs": "lut",
    "LUT as Logic": "lut_logic",
    "LUT as Memory": "lut_memory",
    "Slice Registers": "ff",
    "CLB Registers": "ff",
    "Registers": "ff",
    "Block RAM Tile": "bram36",
    "DSPs": "dsp",
    "DSP Slices": "dsp",
    "URAM": "uram",
    "URAMs": "uram",
}
_HIERARCHY = {
    "Total LUTs": "lut",
    "Logic LUTs": "lut_logic",
    "FFs": "ff",
    "URAM": "uram",
    "DSP48 Blocks": "dsp",
    "DSP Blocks": "dsp",
    "DSP Slices": "dsp",
}
_POWER = {
    "Total On-Chip Power (W)": "power_total_w",
    "Dynamic (W)": "power_dynamic_w",
    "Device Static (W)": "power_static_w",
    "Junction Temperature (C)": "junction_c",
}
_PACKAGE = re.compile(r"[a-z]{2,4}\d{3,4}")


def header(text: Text) -> dict[str, str]:
    """The box at the top, `| Design : top` and so on; empty if there is none."""
    found: dict[str, str] = {}
    for line in text.lines[:40]:
        match = re.match(r"\| ([A-Z][A-Za-z ]*?) *: +(.*?)\s*$", line)
        if match:
            found.setdefault(match[1], match[2])
    return found


def normal_part(name: str | None, speed: str | None = None) -> str | None:
    """`xc7z020clg400-1` for `xc7z020-clg400-1`, `7z020clg400-1`, and `7z020-clg400` with speed `-1`."""
    if not name:
        return None
    device, *rest = name.strip().lower().split("-")
    if re.match(r"\d[a-z]", device):
        device = f"xc{device}"
    if rest and _PACKAGE.fullmatch(rest[0]):
        device += rest.pop(0)
    if not rest and speed and re.match(r"-\d", speed):
        rest = [speed.split()[0][1:].lower()]
    return "-".join([device, *rest])


def read_utilization(text: Text) -> HardwareReport:
    """`report_utilization`, flat or `-hierarchical`. Hierarchical ones do not say what is available.

    Raises:
        ArtifactError: cut off, or without the tables of such a report.
    """
    head = header(text)
    all_sections(text)
    found = list(tables(text))
    stage = stage_of(head.get("Design State"))
    values: dict[str, Value] = {}
    available: dict[str, int | None] = {}
    modules: list[dict[str, Any]] = []
    for table in found:
        if table.column("Site Type") == 0 and table.column("Used") is not None:
            _sites(text, table, values, available)
        elif table.labels[:2] == ("Instance", "Module") and "Total LUTs" in table.labels:
            modules = _hierarchy(text, table)
        elif table.labels == ("Ref Name", "Used") and table.title.endswith("Black Boxes"):
            values["black_boxes"] = sum(count(row[1], text, line) or 0 for line, row in table.rows)
    if modules:
        tops = [row for row in modules if row["level"] == 0]
        if len(tops) != 1:
            raise text.damaged(0, f"the hierarchy has {len(tops)} rows at its top, not one")
        values = {**{name: tops[0][name] for name in tops[0] if name not in ("name", "level")}, **values}
    if "lut" not in values:
        raise ArtifactError(
            "a utilization report that says nothing of look-up tables, in tables that are not known here",
            where=text.at(0),
            mend="Let `report_utilization` write it, without -pblocks or -slr.",
        )
    kind = "synthesis" if stage == "synth" else "utilization"
    return report_of(text, head, kind, stage, values, available, modules)


def read_power(text: Text) -> HardwareReport:
    """`report_power`. Watts; modules with their dynamic power.

    Raises:
        ArtifactError: cut off, or without the tables of such a report.
    """
    head = header(text)
    all_sections(text)
    values: dict[str, Value] = {}
    modules = []
    for table in tables(text):
        if not table.labels:
            for line, row in table.rows:
                name = row[0].strip()
                if name in _POWER:
                    values.setdefault(_POWER[name], _float(number(row[1], text, line)))
                elif name == "Confidence Level":
                    level = row[1].strip()
                    values.setdefault("power_confidence", level if level.isalpha() else None)
        elif table.labels == ("Name", "Power (W)"):
            modules = [
                {"name": row[0].strip(), "level": _level(row[0]), "power_w": number(row[1], text, line)}
                for line, row in table.rows
            ]
    if "power_total_w" not in values:
        raise text.cut_off("there is no total power")
    return report_of(text, head, "power", stage_of(head.get("Design State")), values, {}, modules)


def report_of(
    text: Text,
    head: dict[str, str],
    kind: str,
    stage: Stage | None,
    values: dict[str, Value],
    available: dict[str, int | None],
    modules: list[dict[str, Any]],
) -> HardwareReport:
    tool = re.match(r"(\w+) v\.?(\d{4}\.\d+(?:\.\d+)?)", head.get("Tool Version", ""))
    return HardwareReport(
        kind=kind,
        stage=stage,
        file=text.name,
        tool=tool[1] if tool else None,
        version=tool[2] if tool else None,
        part=normal_part(head.get("Device"), head.get("Speed File")),
        top=head.get("Design"),
        values=values,
        available=available,
        modules=tuple(modules),
        state=head.get("Design State"),
    )


def stage_of(state: str | None) -> Stage | None:
    """Of `Design State`. One that is optimized but not placed counts as synthesized: hls4ml's
    `vivado_synth.tcl` reports it then (Vivado 2025.2 says so; 2020.1 still said Synthesized). One that is
    placed or routed in part is neither.
    """
    known = (state or "").lower()
    if known.startswith(("synthesized", "optimized")):
        return "synth"
    if re.search(r"\b(fully )?(placed|routed)\b|postplace|postroute", known) and "partial" not in known:
        return "impl"
    return None


def all_sections(text: Text) -> None:
    """Every section of the table of contents must come, or the file is cut off."""
    start = text.find("Table of Contents")
    if start is None:
        return
    i = start + 2
    while i < len(text.lines) and (section := re.match(r"(\d+(\.\d+)*)\.? \S", text.lines[i])):
        number_, place = re.escape(section[1]), i
        found = text.find(rf"{number_}\.? \S", start=_end_of_contents(text, place))
        if found is None or not text.lines[found + 1 : found + 2] or text.lines[found + 1][:2] != "--":
            raise text.cut_off(f"section {text.lines[i].strip()!r} is missing")
        i += 1


def _end_of_contents(text: Text, line: int) -> int:
    while line < len(text.lines) and text.lines[line].strip():
        line += 1
    return line


def _sites(text: Text, table: Table, values: dict[str, Value], available: dict[str, int | None]) -> None:
    used, there = table.column("Used"), table.column("Available")
    for line, row in table.rows:
        name = _SITES.get(row[0].strip().rstrip("*"))
        if used is None or name is None or name in values:
            continue
        total = count(row[there], text, line) if there is not None else None
        if name == "bram36":
            tiles = number(row[used], text, line)
            values.update(memory(text, line, tiles))
            available["bram18"] = None if total is None else 2 * total
        else:
            values[name] = count(row[used], text, line)
            if name in ("lut", "ff", "dsp", "uram"):
                available[name] = total


def memory(text: Text, line: int, tiles: Number | None) -> dict[str, Value]:
    """A tile of 36 Kbit is two blocks of 18 Kbit; one of them alone is half a tile."""
    if tiles is not None and (tiles < 0 or 2 * tiles != int(2 * tiles)):
        raise text.damaged(line, f"{tiles} should be a number of tiles or half tiles")
    if tiles is None:
        return {"bram36": None, "bram18": None}
    return {"bram36": int(tiles) if tiles == int(tiles) else tiles, "bram18": int(2 * tiles)}


def _hierarchy(text: Text, table: Table) -> list[dict[str, Any]]:
    rows = []
    for line, row in table.rows:
        cells = dict(zip(table.labels, row, strict=True))
        found: dict[str, Any] = {"name": row[0].strip(), "level": _level(row[0])}
        for label, name in _HIERARCHY.items():
            if label in cells:
                found[name] = count(cells[label], text, line)
        for names, total in ((("LUTRAMs", "SRLs"), "lut_memory"), (("RAMB36", "RAMB18"), "bram36")):
            if all(name in cells for name in names):
                first, second = (count(cells[name], text, line) for name in names)
                if total == "bram36":
                    tiles = None if first is None or second is None else first + second / 2
                    found.update(memory(text, line, tiles))
                else:
                    found[total] = None if first is None or second is None else first + second
        rows.append(found)
    return rows


def _level(cell: str) -> int:
    """Names are indented by one blank, and two more for each level."""
    return max(len(cell) - len(cell.lstrip()) - 1, 0) // 2


def _float(value: Number | None) -> float | None:
    return None if value is None else float(value)
