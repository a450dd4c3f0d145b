"""From cells to tasks: what there is to do, what is done already, what cannot be done here and why.

Nothing runs and TensorFlow is not imported. Whether a task is done is decided again when its turn
comes, with the digests its inputs have by then (`settle`).
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from shutil import which
from typing import Any

from bench.core import versions as fingerprint
from bench.core.cells import CellSpec, StepSpec, Sweep
from bench.core.registry import DATASETS, MODELS, STEPS, TARGETS
from bench.run import keys
from bench.run.judge import Judge
from bench.run.tasks import CellPlan, Plan, Task
from bench.store.store import Store
from bench.sweep.chains import check_chain

#: seconds after which a task is ended, unless the sweep says otherwise
TIMEOUTS = {"build": 7200.0, "evaluate": 1800.0, "measure": 1800.0}
HEAVY = "tensorflow"


def make_plan(
    sweep: Sweep,
    store: Store,
    *,
    retry_failed: bool = False,
    force: bool = False,
    since: str | None = None,
    packing: bool = False,
) -> Plan:
    """Plan a sweep.

    Args:
        retry_failed: plan what is on record as failed again.
        force: plan everything again, whatever is on record.
        since: with one of these, records started at or after this time count all the same (they
            are of this very run).
        packing: for `bench board pack`: whether boards can be reached from here does not matter.

    Raises:
        ConfigError: a chain's steps do not fit together.
    """
    collecting = gc.isenabled()
    gc.disable()  # a quarter of the time with 30,000 records, and there are no cycles to find
    try:
        plan = _Planner(sweep, packing).plan()
        judge = Judge(store, retry_failed=retry_failed, force=force, since=since)
        for task in plan.tasks.values():
            judge.predict(task, plan.tasks)
            if judge.record is not None and judge.record.status == "ok":
                plan.seconds.setdefault(task.cost, []).append(judge.record.seconds)
    finally:
        if collecting:
            gc.enable()
    _narrow(plan)
    _demand(plan, store)
    return plan


class _Planner:
    """Builds the tasks of a sweep; tasks shared by cells are made once."""

    def __init__(self, sweep: Sweep, packing: bool = False) -> None:
        self.sweep, self.packing = sweep, packing
        self.tasks: dict[str, Task] = {}
        self.timeouts = TIMEOUTS | sweep.timeouts
        self._builds: dict[Any, str] = {}
        self._checked: set[Any] = set()

    def plan(self) -> Plan:
        cells = [CellPlan(cell) for cell in self.sweep.cells]
        for plan in cells:
            if plan.cell.chain is not None:
                self._cell(plan)
        groups: dict[str, list[CellPlan]] = {}
        for plan in cells:
            cell = plan.cell
            if plan.build_keys and cell.measured and TARGETS.get(cell.target).scopes:
                group = keys.canonical([cell.model, cell.target, cell.options, cell.seed])
                groups.setdefault(group, []).append(plan)
        # Rounds outermost: what drifts over minutes hits every group.
        for number in range(self.sweep.protocol.rounds):
            for members in groups.values():
                self._round(number, members)
        return Plan(self.sweep, self.tasks, cells)

    def _cell(self, plan: CellPlan) -> None:
        cell, chain = plan.cell, plan.cell.chain
        assert chain is not None
        target = TARGETS.get(cell.target)
        shape = (tuple(s.step for s in chain.steps), tuple(s.step for s in chain.teacher), target.format)
        if shape not in self._checked:
            check_chain(chain, target.format, where=cell.label)
            self._checked.add(shape)
        if chain.teacher:
            plan.teacher_keys = self._chain(cell, chain.teacher, None)
        plan.build_keys = self._chain(cell, chain.steps, (plan.teacher_keys or (None,))[-1])
        artifact = plan.build_keys[-1]
        if not target.evaluates:
            return
        own, beside = target.finish(cell.options), target.reference(cell.options)
        if beside:
            steps = (*chain.steps[: len(chain.steps) - len(own)], *beside)
            plan.reference_keys = self._chain(cell, steps, (plan.teacher_keys or (None,))[-1])
        reference = (plan.reference_keys or (None,))[-1]
        key = keys.evaluate_key(cell.model, cell.seed, cell.target, cell.options, artifact, reference)
        plan.evaluate_key = key
        if key not in self.tasks:
            what = {"target": cell.target, "options": cell.options, "artifact": artifact}
            what |= {"reference": reference} if reference else {}
            board = target.board(cell.options)
            self.tasks[key] = Task(
                "evaluate",
                key,
                {"kind": "evaluate", "model": cell.model, "seed": cell.seed, **what},
                (artifact, *filter(None, (reference,))),
                f"{cell.model}/seed{cell.seed}: evaluate {cell.variant} on {cell.target_label}",
                device=f"board {board}" if board else "",
                heavy=HEAVY in target.modules,
                timeout=self.timeouts["evaluate"],
                blocked=self._no_target(cell) or _no_data(cell.model),
            )

    def _no_target(self, cell: CellSpec) -> str | None:
        if self.packing and TARGETS.get(cell.target).board(cell.options):
            return None
        return _unavailable(TARGETS, cell.target) or TARGETS.get(cell.target).refuses(cell.options)

    def _chain(self, cell: CellSpec, steps: Sequence[StepSpec], teacher: str | None) -> tuple[str, ...]:
        found: list[str] = []
        parent: str | None = None
        label = ""
        for spec in steps:
            step = STEPS.get(spec.step)
            from_teacher = teacher if step.teacher != "no" else None
            label = f"{label} > {spec.step}" if label else spec.step
            params = keys.canonical(spec.params)
            memo = (
                cell.model,
                cell.seed,
                spec.step,
                params,
                parent,
                from_teacher,
            )
            key = self._builds.get(memo)
            if key is None:
                key = self._builds[memo] = keys.build_key(
                    cell.model, cell.seed, spec.step, spec.params, parent, from_teacher
                )
                task = {"step": spec.step, "params": spec.params, "parent": parent, "teacher": from_teacher}
                self.tasks[key] = Task(
                    "build",
                    key,
                    {"kind": "build", "model": cell.model, "seed": cell.seed, **task},
                    tuple(k for k in (parent, from_teacher) if k is not None),
                    f"{cell.model}/seed{cell.seed}: {label} ({cell.variant})",
                    heavy=HEAVY in step.needs,
                    timeout=self._timeout(spec),
                    blocked=_no_step(spec) or _no_data(cell.model),
                )
            found.append(key)
            parent = key
        return tuple(found)

    def _timeout(self, spec: StepSpec) -> float:
        """Of a build: the step's own limit (its clean-up included) before the usual one; never more
        than the sweep says."""
        own = STEPS.get(spec.step).timeout(spec.params)
        return self.timeouts["build"] if own is None else min(own, self.sweep.timeouts.get("build", own))

    def _round(self, number: int, members: Sequence[CellPlan]) -> None:
        cell = members[0].cell
        who = f"{cell.model}/seed{cell.seed}"
        entries = [(plan.cell.variant, plan.build_keys[-1]) for plan in members]
        protocol, machine = self.sweep.protocol, machine_id()
        key = keys.measure_key(
            cell.model, cell.seed, cell.target, cell.options, protocol, number, entries, machine
        )
        for plan in members:
            plan.measure_keys.append(key)
        self.tasks[key] = Task(
            "measure",
            key,
            {
                "kind": "measure",
                "model": cell.model,
                "seed": cell.seed,
                "target": cell.target,
                "options": cell.options,
                "protocol": asdict(protocol),
                "round": number,
                "entries": [{"name": name, "artifact": artifact} for name, artifact in entries],
                "machine": machine,
            },
            tuple(dict.fromkeys(artifact for _, artifact in entries)),
            f"{who}: measure {len(entries)} on {cell.target_label}, round {number + 1}",
            device=TARGETS.get(cell.target).device,
            heavy=HEAVY in TARGETS.get(cell.target).modules,
            timeout=self.timeouts["measure"],
            blocked=self._no_target(cell) or _no_data(cell.model),
        )


def _narrow(plan: Plan) -> None:
    """Skip cells that cannot run here, and the tasks that only they need."""
    wanted: set[str] = set()
    unwanted: dict[str, str] = {}
    for cell in plan.cells:
        if not cell.build_keys:
            continue
        own = (*cell.teacher_keys, *cell.build_keys, *cell.reference_keys)
        own += (cell.evaluate_key,) if cell.evaluate_key else ()
        blocked = [
            task.blocked for key in own if (task := plan.tasks[key]).state == "skipped" and task.blocked
        ]
        if blocked:
            cell.skipped = blocked[0]
            unwanted.update(dict.fromkeys((*own, *cell.measure_keys), cell.skipped))
        else:
            wanted.update((*own, *cell.measure_keys))
    for key, reason in unwanted.items():
        if key not in wanted and plan.tasks[key].state == "run":
            task = plan.tasks[key]
            task.state, task.reason, task.blocked, task.digest = "skipped", reason, reason, None


def _demand(plan: Plan, store: Store) -> None:
    """Rebuild what is on record but whose files are gone, where something that runs needs them."""
    for task in reversed(list(plan.tasks.values())):
        if task.state != "run":
            continue
        for key in task.inputs:
            build = plan.tasks[key]
            if build.state == "cached" and not store.has_artifact(build.digest or ""):
                build.state, build.reason, build.rebuild = "run", "its files are gone", True


@cache
def machine_id() -> str:
    from bench.timing import machine

    return str(machine.identity()["id"])


def _no_step(spec: StepSpec) -> str | None:
    step = STEPS.get(spec.step)
    missing = [package for package in step.needs if not fingerprint.usable(package)]
    missing += [tool for tool in step.tools if which(tool) is None]
    if missing:
        return f"step {spec.step!r} needs {', '.join(missing)}, which is not installed"
    return step.unavailable(spec.params)


def _no_data(model: str) -> str | None:
    return _unavailable(DATASETS, MODELS.get(model).dataset)


def _unavailable(registry: Any, name: str) -> str | None:
    reason: str | None = registry.get(name).unavailable()
    return reason
