"""Groups of columns that the page switches on and off, and why a cell of a column is empty."""

from __future__ import annotations

from bench.core.results import SIZE_FACTS
from bench.report.frames.view import BOARDS, base_name
from bench.report.metrics import COST, HARDWARE, LINKS
from bench.report.metrics_board import BOARD, ENERGY
from bench.report.records.read import BASELINE
from bench.report.tables.column import Column
from bench.report.tables.comparison import Table, TableRow

FAMILIES = ("accuracy", "size", "CPU", "TFLite", "FPGA", "board", "energy")
_OF_METRIC = {
    **dict.fromkeys(("accuracy", "accuracy_delta", "agreement", "errors"), "accuracy"),
    **dict.fromkeys((*SIZE_FACTS, "file_ratio", "gzip_ratio"), "size"),
    **dict.fromkeys((*COST, *LINKS, *HARDWARE), "FPGA"),
    **dict.fromkeys((metric.name for metric in BOARD), "board"),
    **dict.fromkeys((*(metric.name for metric in ENERGY), "energy_model", "power_estimate"), "energy"),
}
_OF_TARGET = {"keras": "CPU", "tflite": "TFLite", **dict.fromkeys(BOARDS, "board")}
#: Metrics that compare with the baseline, so that the baseline has none.
_COMPARED = ("accuracy_delta", "agreement", "file_ratio", "gzip_ratio", "latency_ratio")
_SAMPLES = {"latency_p90": 64, "latency_p95": 130, "latency_p99": 662}


def family(key: str) -> str:
    """One of FAMILIES, of a column's key `metric:target:…`: by its metric, else by where it ran."""
    metric, _, rest = key.partition(":")
    found = _OF_METRIC.get(metric)
    return found or _OF_TARGET.get(base_name(rest.partition(":")[0]), "FPGA")


def families(table: Table) -> list[str]:
    """The families that a table has columns of, in the order of FAMILIES."""
    there = {family(column.key) for column in table.columns}
    return [name for name in FAMILIES if name in there]


def absent(row: TableRow, column: Column) -> str:
    """Why a cell is empty of which nothing was recorded."""
    metric = column.key.partition(":")[0]
    if row.variant == BASELINE and metric in _COMPARED:
        return "this is the baseline that the others are compared with"
    if metric in _SAMPLES:
        return f"no time was taken, or of fewer than {_SAMPLES[metric]} calls"
    if metric in _COMPARED:
        return "the variant or its baseline has no number to compare"
    return "nothing was recorded for this variant"


def empties(table: Table) -> list[tuple[str, str]]:
    """(reason, columns) of all cells without any text."""
    found: dict[str, dict[str, None]] = {}
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if not cell.text:
                name = f"{column.group} {column.title} {column.unit}".strip()
                found.setdefault(cell.reason or absent(row, column), {})[name] = None
    return [(reason, ", ".join(columns)) for reason, columns in found.items()]


def verdicts(table: Table) -> list[tuple[str, str]]:
    """(verdict with its reasons, variants) of all numbers that are marked as not to be trusted."""
    found: dict[str, dict[str, None]] = {}
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell.mark and column.key.startswith("latency_p50"):
                found.setdefault(f"{column.group}: {cell.reason}", {})[row.variant] = None
    return [(reason, ", ".join(variants)) for reason, variants in found.items()]
