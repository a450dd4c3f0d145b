"""Reports of co-simulation: whether the generated RTL gave what C gave, and the cycles it took.

Layouts: Vivado HLS 2018 to 2020.1 and Vitis HLS 2020.2 to 2025.2, which adds a column (UG902, UG1399).
"""

from __future__ import annotations

import re

from targets.fpga.vendor.reports.model import HardwareReport, Value
from targets.fpga.vendor.reports.text import Text, count, tables


def read_cosim(text: Text) -> HardwareReport:
    """`<top>_cosim.rpt` and `hls_cosim.rpt`: the simulated language that has a status.

    Raises:
        ArtifactError: the table is missing, or its columns are not known.
    """
    table = next((table for table in tables(text) if table.labels[:2] == ("RTL", "Status")), None)
    if table is None:
        raise text.cut_off("there is no table of results")
    names = [re.sub(r"\s*\(.*?\)\s*", " ", label) for label in table.labels[2:8]]
    if names != [f"{what} {which}" for what in ("Latency", "Interval") for which in ("min", "avg", "max")]:
        raise text.damaged(table.line, f"a table with unknown columns: {', '.join(table.labels)}")
    rows = [(line, row) for line, row in table.rows if row[1].strip().upper() not in ("NA", "")]
    # A failure in one language is not made good by the other.
    rows.sort(key=lambda item: item[1][1].strip().lower() == "pass")
    values: dict[str, Value] = {"cosim_status": None}
    if rows:
        line, row = rows[0]
        status = row[1].strip().lower()
        if not re.fullmatch("[a-z][a-z -]{1,30}", status):
            raise text.damaged(line, f"{status[:40]!r} should be a status such as Pass or Fail")
        columns = {"cycles_min": 2, "cycles_max": 4, "interval_min": 5, "interval_max": 7}
        values = {name: count(row[place], text, line) for name, place in columns.items()}
        values["cosim_status"] = status
    return HardwareReport("cosim", None, text.name, None, None, None, None, values, {})
