"""Plans: tasks shared between cells, states, reasons, measurement groups, manifest."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.core import versions as fingerprint
from bench.core.cells import Chain, Protocol, Sweep
from bench.core.records import Record
from bench.errors import BenchError, ConfigError
from bench.run.plan import make_plan
from bench.run.tasks import Plan, Task
from bench.store.store import Store
from tests import toy


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toy.activate(monkeypatch, tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def states(plan: Plan) -> dict[str, int]:
    return {state: len(plan.of_state(state)) for state in ("cached", "run", "failed", "skipped")}


#: the least that a report relies on
LEAST = {"evaluate": {"n": 1, "errors": 0}, "measure": {"reference": "baseline", "entries": {}}}


def finish(plan: Plan, store: Store, task: Task, status: Any = "ok", content: bytes = b"") -> None:
    """Put down a record as the worker would."""
    result: dict[str, Any] = dict(LEAST.get(task.kind, {}))
    if task.kind == "build" and status == "ok":
        folder = store.temporary()
        (folder / "model").write_bytes(task.key.encode() + content)
        result["artifact"] = task.digest = store.add_artifact(folder)
    inputs = {key: plan.tasks[key].digest for key in task.inputs}
    reason = None if status == "ok" else "it broke"
    store.write(Record(task.kind, task.key, status, task.task, result, inputs, reason, started="2025"))


def finish_all(sweep: Sweep, store: Store) -> Plan:
    plan = make_plan(sweep, store)
    for task in plan.tasks.values():
        finish(plan, store, task)
    return make_plan(sweep, store)


def build(plan: Plan, step: str, seed: int = 0) -> Task:
    return next(t for t in plan.tasks.values() if t.task.get("step") == step and t.task["seed"] == seed)


def test_shared_steps_are_planned_once(store: Store) -> None:
    plan = make_plan(toy.sweep(), store)
    # Per seed: train, prune, quantize, distill and 4 evaluations; 2 rounds for the first seed.
    assert plan.summary()["tasks"] == {"build": {"run": 8}, "evaluate": {"run": 8}, "measure": {"run": 2}}
    assert not store.root.exists()
    order = list(plan.tasks)
    assert all(
        order.index(key) < order.index(task.key) for task in plan.tasks.values() for key in task.inputs
    )


def test_a_teacher_is_an_input_of_the_steps_that_learn_from_one(store: Store) -> None:
    plan = make_plan(toy.sweep(seeds=1), store)
    distill = build(plan, "toy_distill")
    assert distill.task["parent"] is None
    assert distill.inputs == (build(plan, "toy_train").key,) == (distill.task["teacher"],)
    assert build(plan, "toy_prune").task["teacher"] is None


def test_a_group_is_measured_together_in_each_round(store: Store) -> None:
    plan = make_plan(toy.sweep(), store)
    rounds = [task for task in plan.tasks.values() if task.kind == "measure"]
    assert [task.task["round"] for task in rounds] == [0, 1]
    names = {entry["name"] for entry in rounds[0].task["entries"]}
    assert names == {"baseline", "pruned", "quantized", "distilled"}
    assert all(task.device == "host" and task.task["seed"] == 0 for task in rounds)


def test_without_rounds_nothing_is_measured(store: Store) -> None:
    plan = make_plan(toy.sweep(protocol=Protocol.preset("off")), store)
    assert not any(task.kind == "measure" for task in plan.tasks.values())


def test_what_is_on_record_is_done(store: Store) -> None:
    plan = finish_all(toy.sweep(), store)
    assert states(plan) == {"cached": 18, "run": 0, "failed": 0, "skipped": 0}
    forced = make_plan(toy.sweep(), store, force=True)
    assert states(forced)["run"] == 18
    assert sum(len(known) for known in forced.seconds.values()) == 18  # the estimate knows what they took


def test_a_changed_parameter_changes_only_what_depends_on_it(store: Store) -> None:
    finish_all(toy.sweep(seeds=1), store)
    chains = toy.variants()
    chains["quantized"] = Chain((*chains["quantized"].steps[:2], toy.step("quantize", bits=4)))
    run = make_plan(toy.sweep(chains, seeds=1), store).of_state("run")
    assert sorted(task.kind for task in run) == ["build", "evaluate", "measure", "measure"]


def test_files_that_are_gone_are_made_again_only_if_something_needs_them(store: Store) -> None:
    finish_all(toy.sweep(seeds=1), store)
    shutil.rmtree(store.root / "artifacts")
    plan = make_plan(toy.sweep(seeds=1), store)
    assert states(plan)["run"] == 0
    # A new variant on the pruned network: that, and what it is made of, but not the rest.
    chains = toy.variants()
    chains["new"] = Chain((*chains["quantized"].steps[:2], toy.step("quantize", bits=4)))
    sweep = toy.sweep(chains, seeds=1, protocol=Protocol.preset("off"))
    plan = make_plan(sweep, store)
    run = [task.task.get("step", task.kind) for task in plan.of_state("run")]
    assert sorted(run) == ["evaluate", "toy_prune", "toy_quantize", "toy_train"]


def test_a_rebuilt_artifact_that_differs_makes_what_depends_on_it_stale(store: Store) -> None:
    plan = finish_all(toy.sweep(seeds=1), store)
    finish(plan, store, build(plan, "toy_prune"), content=b"different this time")
    plan = make_plan(toy.sweep(seeds=1), store)
    stale = [(task.kind, task.task.get("step")) for task in plan.of_state("run")]
    assert ("build", "toy_quantize") in stale and ("build", "toy_prune") not in stale
    assert ("build", "toy_distill") not in stale


def test_a_failure_is_not_tried_again_unless_asked_for(store: Store) -> None:
    plan = make_plan(toy.sweep(seeds=1), store)
    finish(plan, store, build(plan, "toy_train"))
    finish(plan, store, build(plan, "toy_prune"), "failed")
    plan = make_plan(toy.sweep(seeds=1), store)
    assert [task.reason for task in plan.of_state("failed")] == ["it broke"]
    quantize = build(plan, "toy_quantize")
    assert quantize.state == "skipped"
    assert quantize.reason == f"needs {build(plan, 'toy_prune').label}, which failed: it broke"
    # What follows a skipped task names the first cause, not the chain of consequences.
    last = next(t for t in plan.tasks.values() if quantize.key in t.inputs and t.kind == "evaluate")
    assert last.reason == quantize.reason
    assert all(task.state == "run" for task in plan.tasks.values() if task.kind == "measure")
    again = make_plan(toy.sweep(seeds=1), store, retry_failed=True)
    assert states(again)["failed"] == states(again)["skipped"] == 0


def test_a_timeout_counts_as_a_failure(store: Store) -> None:
    plan = make_plan(toy.sweep(seeds=1), store)
    finish(plan, store, build(plan, "toy_train"), "timeout")
    assert states(make_plan(toy.sweep(seeds=1), store))["failed"] == 1


def test_a_damaged_record_is_planned_again_and_mentioned(store: Store) -> None:
    plan = finish_all(toy.sweep(seeds=1), store)
    path = store.record_path("build", build(plan, "toy_quantize").key)
    path.write_text("{")
    fresh = Store(store.root)
    assert build(make_plan(toy.sweep(seeds=1), fresh), "toy_quantize").state == "run"
    assert fresh.corrupt == [str(path)]


def test_a_record_that_reports_cannot_rely_on_is_planned_again(store: Store) -> None:
    plan = finish_all(toy.sweep(), store)
    task = next(task for task in plan.tasks.values() if task.kind == "evaluate")
    path = store.record_path(task.kind, task.key)
    path.write_text(path.read_text().replace('"errors": 0', '"errors": 2'))  # of one item
    found = make_plan(toy.sweep(), store)
    assert [task.key for task in found.of_state("run")] == [task.key]
    assert path.exists(), "it is replaced when the task is done"


def test_records_of_this_very_run_count_even_with_force(store: Store) -> None:
    finish_all(toy.sweep(seeds=1), store)
    assert states(make_plan(toy.sweep(seeds=1), store, force=True, since="2024"))["run"] == 0
    assert states(make_plan(toy.sweep(seeds=1), store, force=True, since="2026"))["cached"] == 0


# -- what cannot run here ------------------------------------------------------------------------


def test_a_missing_package_skips_the_cell_and_what_only_it_needs(store: Store) -> None:
    chains = {
        "baseline": Chain((toy.step("train"),)),
        "needy": Chain((toy.step("train", epochs=3), toy.step("needy"))),
    }
    plan = make_plan(toy.sweep(chains, seeds=1), store)
    assert build(plan, "toy_needy").state == "skipped"
    needy = next(cell for cell in plan.cells if cell.cell.variant == "needy")
    assert needy.skipped == "step 'toy_needy' needs no_such_package_anywhere, which is not installed"
    trains = [task for task in plan.tasks.values() if task.task.get("step") == "toy_train"]
    assert sorted((task.task["params"]["epochs"], task.state) for task in trains) == [
        (3, "skipped"),
        (20, "run"),
    ]
    assert plan.summary()["skipped"][needy.skipped][0] == needy.cell.label
    assert all(task.state == "run" for task in plan.tasks.values() if task.kind == "measure")
    plan.require_runnable()


def test_tflite_without_litert_runs_with_tensorflows_own(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.sweep import load_sweep

    sweep = load_sweep("digits", only=("*/baseline/tflite",), quick=True)
    everything = fingerprint.installed
    monkeypatch.setattr(fingerprint, "installed", lambda name: name != "ai_edge_litert" and everything(name))
    plan = make_plan(sweep, store)
    assert "to_tflite" in {task.task.get("step") for task in plan.tasks.values()}
    assert states(plan)["skipped"] == 0


@pytest.mark.parametrize("variable", ["TOY_NO_DATA", "TOY_NO_TARGET"])
def test_without_data_or_target_nothing_is_runnable(
    store: Store, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "it is not here; get it there")
    plan = make_plan(toy.sweep(), store)
    assert states(plan)["run"] == 0
    with pytest.raises(BenchError, match="nothing in this sweep can run here: it is not here; get it there"):
        plan.require_runnable()


def test_without_data_a_finished_sweep_is_still_finished(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_all(toy.sweep(), store)
    monkeypatch.setenv("TOY_NO_DATA", "gone")
    plan = make_plan(toy.sweep(), store)
    assert states(plan)["cached"] == 18
    plan.require_runnable()


def test_cells_that_do_not_exist_keep_their_reason(store: Store) -> None:
    sweep = toy.sweep(seeds=1)
    odd = replace(sweep.cells[0], variant="odd", chain=None, not_applicable="toys are never odd")
    plan = make_plan(replace(sweep, cells=(*sweep.cells, odd)), store)
    assert plan.summary()["not_applicable"] == {"toys are never odd": [odd.label]}
    with pytest.raises(BenchError, match="never odd"):
        make_plan(replace(sweep, cells=(odd,)), store).require_runnable()


def test_the_plan_does_not_trust_its_chains(store: Store) -> None:
    with pytest.raises(ConfigError, match="toy/broken/toy/seed0"):
        make_plan(toy.sweep({"broken": Chain((toy.step("prune"),))}), store)


def test_the_sweep_sets_time_limits(store: Store) -> None:
    plan = make_plan(toy.sweep(timeouts={"build": 5.0}), store)
    limits = {task.kind: task.timeout for task in plan.tasks.values()}
    assert limits["build"] == 5.0 and limits["evaluate"] > 5.0
    # They are no part of the keys.
    assert set(plan.tasks) == set(make_plan(toy.sweep(), store).tasks)


def test_the_manifest_leads_to_all_records(store: Store) -> None:
    plan = make_plan(toy.sweep(), store)
    manifest = plan.manifest("now", "machine")
    cell = next(c for c in manifest["cells"] if c["variant"] == "distilled" and c["seed"] == 0)
    assert [plan.tasks[key].task["step"] for key in cell["build_keys"]] == ["toy_distill"]
    assert [plan.tasks[key].task["step"] for key in cell["teacher_keys"]] == ["toy_train"]
    assert plan.tasks[cell["evaluate_key"]].task["artifact"] == cell["build_keys"][-1]
    assert [plan.tasks[key].task["round"] for key in cell["measure_keys"]] == [0, 1]
    assert cell["format"] == "toy"
    store.write_manifest(manifest)
    assert store.read_manifest("toy")["cells"] == manifest["cells"]
