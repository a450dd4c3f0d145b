"""Adds a made-up board (`pynq[board=…]`) to a sweep of `tests.synthetic.build`, as its agent tells of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.store.store import Store
from tests.synthetic_fpga import add_fpga

DESK, EMULATED = "pynq[board=desk]", "pynq[board=emulated]"
#: µs of the phases of one call, `load` aside
PHASES = {"encode": 10, "copy_in": 40, "execute": 500, "copy_out": 40, "decode": 10}
#: µs: overhead of a call, time of an inference in a large batch
A, B = 590.0, 10.0
RAIL = "ina260_u14/power1"


def phase(micro: float, n: int = 5000) -> dict[str, Any]:
    return {
        "n": n,
        "p50": micro * 1e-6,
        "p95": 1.1 * micro * 1e-6,
        "p99": 1.2 * micro * 1e-6,
        "min": 0.9 * micro * 1e-6,
        "unit": "s",
    }


def told(origin: str = "measured", factor: float = 1.0, **changes: Any) -> dict[str, Any]:
    """`result.board` of an evaluate record; all times ×`factor`, `changes` replace fields."""
    emulated = origin == "modelled"
    phases = {name: phase(micro * factor) for name, micro in PHASES.items()}
    phases |= {"load": phase(9e4 * factor, 1), "end_to_end": phase((A + B) * factor)}
    rows = []
    for n in (1, 4, 16, 256):
        seconds = [1e-6 * factor * (A + B * n) * (1 + wobble) for wobble in (-0.001, 0.0, 0.3)]
        rows.append({"batch": n, "seconds": seconds, "execute_seconds": seconds})
    return {
        "origin": origin,
        "board": {
            "name": "pynq-z2",
            "emulated": emulated,
            "part": "7z020clg400",
            "sensors": [] if emulated else [RAIL],
        },
        "agent": {"version": "1.0.0", "pynq": "3.1.2", "python": "3.10.4", "sha256": "0" * 64},
        "fabric_clock_mhz": 100.0,
        "phases": phases,
        "register_accesses": {"lean": {"reads": 1.0, "writes": 2.0}, "stock": {"reads": 14.0, "writes": 6.0}},
        "throughput": rows,
        "fit": {"a_s": A * factor * 1e-6, "b_s": B * factor * 1e-6, "r2": 0.9999},
        "fit_execute": {"a_s": 490e-6 * factor, "b_s": 9e-6 * factor, "r2": 0.999},
        "loopback": {"execute": phase(400 * factor), "bytes": 256, "execute_above_loopback_s": 1e-4 * factor},
        "windows": [{"seconds": 10.0, "inferences": 16_000 + k, "per_second": 1600.0 + k} for k in range(5)],
        "energy": None if emulated else energy(),
        "sanity": [{"name": "cycles_bound", "passed": None if emulated else True, "detail": ""}],
        "refused": [],
        **changes,
    }


def energy() -> dict[str, Any]:
    """2.5 W while 10,000 inferences were made in 5 s, 2 W idle."""
    return {
        "rails": {RAIL: {"watt": 2.5, "idle_watt": 2.0}, "ina260_u14/aux": {"watt": 1.0, "idle_watt": 1.0}},
        "total_of": [RAIL],
        "rate_hz": 48.5,
        "samples": 243,
        "idle": {"seconds": 5.0, "watt": 2.0, "rate_hz": 48.6},
        "seconds": 5.0,
        "inferences": 10_000,
        "total_j": 12.5,
        "total_j_per_inference": 1.25e-3,
        "net_j": 2.5,
        "net_j_per_inference": 0.25e-3,
    }


def add_board(
    root: Path,
    label: str = DESK,
    boards: Mapping[str, dict[str, Any]] | None = None,
    usual: dict[str, Any] | None = None,
    **more: Any,
) -> None:
    """Cells of a board.

    Args:
        boards: `told` by variant; usual: of the others. more: of `add_fpga`.
    """
    add_fpga(root, targets=(label,), format_="overlay", **more)
    usual = usual or told("modelled" if label == EMULATED else "measured")

    def edit(cell: dict[str, Any], result: dict[str, Any]) -> None:
        result["board"] = (boards or {}).get(cell["variant"], usual)
        n = result["n"]
        last = {"of": "board", "against": "csim", "n": n, "mismatches": 0, "bit_exact": n}
        result["agreement"] = [*result["agreement"], last]

    edit_cells(root, label, edit)


def edit_cells(root: Path, label: str, edit: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Rewrite the results of all evaluate records of a target."""
    store = Store(root)
    for path in sorted((root / "sweeps").glob("*.json")):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            if cell["target_label"] == label and cell["evaluate_key"]:
                record = store.read("evaluate", cell["evaluate_key"])
                assert record is not None
                edit(cell, record.result)
                store.write(record)
