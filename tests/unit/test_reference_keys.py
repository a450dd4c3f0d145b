"""The committed runs are those of today's code: planning them finds every task done.

Packages, tools and machine are part of a key; they are those of the lock file, and the machine's name is
taken from the committed run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.run import plan
from bench.store.store import Store
from bench.sweep.loader import load_sweep

STORE = Store(Path(__file__).parents[2] / "results" / "reference")
#: the estimate that refused these designs is on record, and what needs them is skipped
REFUSED = {"rtl_models": 36}


def keys_of(cells: list[dict[str, Any]]) -> set[str]:
    lists = ("build_keys", "teacher_keys", "measure_keys")
    found = {key for cell in cells for name in lists for key in cell[name]}
    return found | {cell["evaluate_key"] for cell in cells if cell["evaluate_key"]}


@pytest.mark.parametrize("sweep", STORE.sweeps())
def test_planning_a_committed_sweep_finds_every_cell_done(
    sweep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = STORE.read_manifest(sweep)
    monkeypatch.setattr(plan, "machine_id", lambda: manifest["machine"])
    planned = plan.make_plan(load_sweep(sweep), STORE)
    assert keys_of(planned.manifest("", None)["cells"]) == keys_of(manifest["cells"])
    states = [task.state for task in planned.tasks.values()]
    assert states.count("skipped") == REFUSED.get(sweep, 0)
    assert set(states) <= {"cached", "skipped"}
