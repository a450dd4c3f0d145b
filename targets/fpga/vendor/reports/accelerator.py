"""`report_accelerator_utilization`: what the kernels of a linked design use, apart from their platform.

`v++ --link` writes it as `kernel_util_<state>.rpt`, and hls4ml's VitisUnified copies that. Layout: Vitis
2019.2 to 2025.2 (UG1393).
"""

from __future__ import annotations

import re
from typing import Any

from targets.fpga.vendor.reports.model import RESOURCES, HardwareReport
from targets.fpga.vendor.reports.text import Text, count, number, tables
from targets.fpga.vendor.reports.vivado import all_sections, header, memory, report_of, stage_of

TITLE = re.compile(r"Accelerator Utilization Design Information\s*$")
#: BRAM counts tiles of 36 Kbit; a device without URAM has no column for it
_COLUMNS = {"LUT": "lut", "LUTAsMem": "lut_memory", "REG": "ff", "URAM": "uram", "DSP": "dsp"}
#: rows that are no kernels
_PLATFORM, _BUDGET, _USED = "Platform", "User Budget", "Used Resources"


def read_accelerator(text: Text) -> HardwareReport:
    """Kernels without the platform. `top` names them; `available` is of the whole device.

    Raises:
        ArtifactError: cut off, or without the table of such a report.
    """
    head = header(text)
    all_sections(text)
    table = next((table for table in tables(text) if table.labels[:2] == ("Name", "LUT")), None)
    if table is None:
        raise text.cut_off("there is no table of system utilization")
    rows = {}
    kernels: list[dict[str, Any]] = []
    for line, cells in table.rows:
        name = cells[0].strip()
        used = _resources(text, table.labels, line, cells)
        if name in (_PLATFORM, _BUDGET, _USED, "Unused Resources"):
            rows[name] = used
        else:
            level = (len(cells[0]) - len(cells[0].lstrip()) - 1) // 3  # three blanks a level
            kernels.append({"name": name, "level": max(level, 0), **used})
    if missing := [name for name in (_PLATFORM, _BUDGET, _USED) if name not in rows]:
        raise text.damaged(table.line, f"the table has no row {missing[0]!r}")
    available = {name: _sum(rows[_PLATFORM].get(name), rows[_BUDGET].get(name)) for name in RESOURCES}
    found = report_of(
        text,
        {**head, "Design": " + ".join(row["name"] for row in kernels if row["level"] == 0)},
        "accelerator",
        stage_of(head.get("Design State")),
        rows[_USED],
        {name: total for name, total in available.items() if total is not None},
        kernels,
    )
    return found


def _resources(text: Text, labels: tuple[str, ...], line: int, cells: tuple[str, ...]) -> dict[str, Any]:
    """Of one row: `14453 [ 20.48%]`, the share of the budget in brackets."""
    found: dict[str, Any] = {}
    for label, cell in zip(labels, cells, strict=True):
        if label == "BRAM":
            found.update(memory(text, line, number(cell, text, line)))
        elif label in _COLUMNS:
            found[_COLUMNS[label]] = count(cell, text, line)
    return found


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second
