"""A task, and a plan: the tasks of a sweep in the order in which they can run."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from bench.core.cells import CellSpec, Sweep
from bench.core.records import TASKS
from bench.core.registry import TARGETS
from bench.errors import BenchError

State = Literal["cached", "run", "failed", "skipped"]


@dataclass
class Task:
    """One build, evaluation or round of measurement.

    Attributes:
        task: what its record says about it (`bench.core.records`).
        inputs: keys of the builds whose artifacts it needs.
        label: for people.
        device: where it runs alone; "" if it may run beside others.
        heavy: whether it runs inside TensorFlow.
        blocked: why it cannot run on this machine.
        rebuild: its files are gone and needed, so that its record does not stand for them.
        judged: digests of the inputs with which `state` was decided.
        state, reason: `cached` a valid record is there; `run`; `failed` a failure is on record and
            is not tried again; `skipped` it cannot run here, or needs something that failed.
        needs: what gave nothing that it needs, in words; None where nothing did.
        digest: of its artifact, as far as known (builds).
    """

    kind: str
    key: str
    task: dict[str, Any]
    inputs: tuple[str, ...]
    label: str
    device: str = ""
    heavy: bool = False
    timeout: float = 0.0
    blocked: str | None = None
    rebuild: bool = False
    judged: dict[str, str | None] | None = None
    state: State = "run"
    reason: str | None = None
    needs: str | None = None
    digest: str | None = None

    @property
    def cost(self) -> tuple[str, ...]:
        """Tasks of the same cost class take about as long."""
        what = self.task.get("step") or self.task.get("target", "")
        return (self.kind, str(self.task["model"]), str(what))


@dataclass
class CellPlan:
    """A cell with the keys of its tasks."""

    cell: CellSpec
    build_keys: tuple[str, ...] = ()
    teacher_keys: tuple[str, ...] = ()
    reference_keys: tuple[str, ...] = ()
    evaluate_key: str | None = None
    measure_keys: list[str] = field(default_factory=list)
    skipped: str | None = None


@dataclass
class Plan:
    """All tasks, inputs before what needs them, and the cells they serve."""

    sweep: Sweep
    tasks: dict[str, Task]
    cells: list[CellPlan]
    seconds: dict[tuple[str, ...], list[float]] = field(default_factory=dict)

    def of_state(self, state: State) -> list[Task]:
        return [task for task in self.tasks.values() if task.state == state]

    def summary(self) -> dict[str, Any]:
        """Counts by kind and state, and what is skipped or failed with reasons.

        `{"tasks": {kind: {state: n}}, "cells": n, "not_applicable": {reason: [cell]},
        "skipped": {reason: [cell or task]}, "failed": {reason: [task]}}`
        """
        counts = Counter((task.kind, task.state) for task in self.tasks.values())
        skipped: dict[str, list[str]] = {}
        failed: dict[str, list[str]] = {}
        inapplicable: dict[str, list[str]] = {}
        for plan in self.cells:
            if plan.cell.chain is None:
                inapplicable.setdefault(plan.cell.not_applicable or "", []).append(plan.cell.label)
            elif plan.skipped:
                skipped.setdefault(plan.skipped, []).append(plan.cell.label)
        for task in self.tasks.values():
            if task.state == "skipped" and task.reason not in skipped:
                skipped.setdefault(task.reason or "", []).append(task.label)
            elif task.state == "failed":
                failed.setdefault(task.reason or "", []).append(task.label)
        return {
            "tasks": {kind: {s: n for (k, s), n in counts.items() if k == kind} for kind in TASKS},
            "cells": len(self.cells),
            "not_applicable": inapplicable,
            "skipped": skipped,
            "failed": failed,
        }

    def require_runnable(self) -> None:
        """Raises BenchError if no cell of the sweep can run here."""
        if not any(plan.cell.chain is not None and plan.skipped is None for plan in self.cells):
            reasons = {plan.skipped or plan.cell.not_applicable or "" for plan in self.cells}
            raise BenchError(
                f"nothing in this sweep can run here: {'; '.join(sorted(reasons)) or 'it has no cells'}",
                where=self.sweep.source or self.sweep.name,
                mend="`bench doctor` says what is missing.",
            )

    def manifest(self, created: str, machine: str | None) -> dict[str, Any]:
        """What the report needs to find the records (`Store.write_manifest`)."""
        sweep = self.sweep
        return {
            "sweep": sweep.name,
            "title": sweep.title,
            "source": sweep.source,
            "config": sweep.config,
            "quick": sweep.quick,
            "created": created,
            "protocol": asdict(sweep.protocol),
            "machine": machine,
            "cells": [
                {
                    "model": plan.cell.model,
                    "variant": plan.cell.variant,
                    "summary": plan.cell.summary,
                    "target": plan.cell.target,
                    "target_label": plan.cell.target_label,
                    "format": TARGETS.get(plan.cell.target).format,
                    "options": plan.cell.options,
                    "seed": plan.cell.seed,
                    "measured": plan.cell.measured,
                    "not_applicable": plan.cell.not_applicable,
                    "skipped": plan.skipped,
                    "build_keys": list(plan.build_keys),
                    "teacher_keys": list(plan.teacher_keys),
                    "evaluate_key": plan.evaluate_key,
                    "measure_keys": plan.measure_keys,
                }
                for plan in self.cells
            ],
        }
