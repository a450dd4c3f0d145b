"""Reports from records alone: the tidy frame, tables, pictures, the page, comparison, export.

No TensorFlow in here, and nothing heavy before it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.report.comparing.compare import compare
    from bench.report.comparing.pytest_benchmark import read_pytest_benchmark
    from bench.report.frames.tidy import frame, read_csv
    from bench.report.tables.text import comparison_table
    from bench.report.write import write_report

_PLACES = {
    "compare": "bench.report.comparing.compare",
    "read_csv": "bench.report.frames.tidy",
    "read_pytest_benchmark": "bench.report.comparing.pytest_benchmark",
    "frame": "bench.report.frames.tidy",
    "comparison_table": "bench.report.tables.text",
    "write_report": "bench.report.write",
}
__all__ = ["compare", "comparison_table", "frame", "read_csv", "read_pytest_benchmark", "write_report"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PLACES[name]), name)
