"""Decides from the records whether a task is done."""

from __future__ import annotations

from bench.core.records import Record
from bench.run.tasks import State, Task
from bench.store.store import Store


class Judge:
    """Decides from the records what a task's state is, once its inputs are settled."""

    def __init__(self, store: Store, *, retry_failed: bool, force: bool, since: str | None) -> None:
        self.store = store
        self.retry_failed, self.force, self.since = retry_failed, force, since
        self.record: Record | None = None
        self._known: dict[str, set[str]] = {}

    def settle(self, task: Task, tasks: dict[str, Task]) -> State:
        """Set a task's state, reason and digest from its record and the state of its inputs."""
        self.record = None
        inputs = {key: tasks[key].digest for key in task.inputs}
        if task.state in ("cached", "failed") and task.judged == inputs and not task.rebuild:
            return task.state  # records do not change, so that this still holds
        task.digest, task.judged, task.needs = None, inputs, None
        lacking = [tasks[key] for key in task.inputs if tasks[key].state in ("failed", "skipped")]
        # A round measures what there is; a build and an evaluation need all their inputs.
        if lacking and (task.kind != "measure" or len(lacking) == len(task.inputs)):
            first = lacking[0]
            verb = "failed" if first.state == "failed" else "is skipped"
            # Of a long chain the first task that gave nothing is told, not the one before.
            task.needs = first.needs or f"needs {first.label}, which {verb}: {first.reason}"
            return self._set(task, "skipped", task.needs)
        record = self.store.read(task.kind, task.key)
        # What is damaged is done again.
        self.record = record = None if record is not None and record.damage else record
        if record is not None and record.inputs == inputs and self._counts(record):
            if record.status != "ok":
                return self._set(task, "skipped" if record.status == "skipped" else "failed", record.reason)
            task.digest = record.build.artifact if task.kind == "build" else None
            if not task.rebuild or self.store.has_artifact(task.digest or ""):
                return self._set(task, "cached", None)
        if task.blocked:
            return self._set(task, "skipped", task.blocked)
        if task.kind == "build" and record is not None and record.status == "ok":
            task.digest = record.build.artifact  # what a rebuild will most likely give
        return self._set(task, "run", None)

    def predict(self, task: Task, tasks: dict[str, Task]) -> None:
        """`settle` for planning: spares opening files that the folder's listing lacks."""
        if task.kind not in self._known:
            self._known[task.kind] = self.store.keys(task.kind)
        inputs = [tasks[key] for key in task.inputs]
        unknown = any(build.state == "run" and build.digest is None for build in inputs)
        lacking = any(build.state in ("failed", "skipped") for build in inputs)
        if lacking or (task.key in self._known[task.kind] and not unknown):
            self.settle(task, tasks)
        else:
            self.record = None
            self._set(task, "skipped" if task.blocked else "run", task.blocked)

    def _counts(self, record: Record) -> bool:
        """Whether what is on record is not to be done again."""
        if self.since is not None and record.started >= self.since:
            return True
        return not self.force and (record.status == "ok" or not self.retry_failed)

    @staticmethod
    def _set(task: Task, state: State, reason: str | None) -> State:
        task.state, task.reason = state, reason
        return state
