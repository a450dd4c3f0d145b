"""Runs a sweep: tasks whose inputs are settled, side by side; measurements alone, at the end.

All state is in the store. A run that is killed at any moment is continued by the next one, and two
runs on one store share the work: whoever has a task's claim does it, the other takes its record.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench.core.cells import Sweep
from bench.core.records import Record
from bench.errors import StoreError
from bench.run.engines.local import Executor, Exit, LocalEngine, log_tail
from bench.run.judge import Judge
from bench.run.plan import machine_id, make_plan
from bench.run.progress import Reporter, reporter_for
from bench.run.tasks import Plan, Task
from bench.run.worker import NO_STORE, now
from bench.store.store import Store

#: how often tasks that another process does are looked at, and the display is redrawn
POLL_SECONDS = 0.25


@dataclass
class RunSummary:
    """What came of a run. `failed`, `skipped`: (label, reason) of tasks.

    Attributes:
        ran: tasks that this run did (ok or not); cached: those it found done.
        interrupted: name of the signal that ended it, or None.
    """

    sweep: str
    ran: int = 0
    cached: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: str | None = None
    stopped: bool = False

    @property
    def exit_code(self) -> int:
        """0 all done; 1 something failed; 130/143 ended by Ctrl-C or SIGTERM."""
        if self.interrupted:
            return 128 + int(signal.Signals[self.interrupted])
        return 1 if self.failed else 0

    def text(self) -> str:
        parts = [f"{self.ran} tasks run", f"{self.cached} done already"]
        parts += [
            f"{len(found)} {name}"
            for name, found in (("failed", self.failed), ("skipped", self.skipped))
            if found
        ]
        lines = [f"{self.sweep}: {', '.join(parts)}, {self.seconds:.1f} s"]
        lines += [f"  failed: {label}: {reason}" for label, reason in self.failed]
        if self.interrupted or self.stopped:
            lines.append("Stopped. What is finished is kept: run the same command again to go on.")
        elif self.failed:
            lines.append("`--retry-failed` tries what failed again.")
        return "\n".join(lines)


def run_sweep(
    sweep: Sweep,
    store: Store,
    *,
    jobs: int | None = None,
    retry_failed: bool = False,
    force: bool = False,
    fail_fast: bool = False,
    reporter: Reporter | None = None,
    engine: Executor | None = None,
    planner: Callable[..., Plan] | None = None,
) -> RunSummary:
    """Run what is not done yet and write the manifest.

    Args:
        jobs: builds and evaluations at once; the number of cores if not given.
        fail_fast: stop at the first failure.
        engine: the local one if not given.
        planner: what says what there is to do, called as `make_plan` is; that if not given.

    Raises:
        ConfigError: chains that do not fit. BenchError: nothing in the sweep can run here.
        StoreError: the results folder cannot be read or written; what is finished is kept.
    """
    reporter, planner = reporter or reporter_for(), planner or make_plan
    begun, since = time.monotonic(), now()
    plan = planner(sweep, store, retry_failed=retry_failed, force=force)
    plan.require_runnable()
    measures = any(task.kind == "measure" for task in plan.tasks.values())
    store.write_manifest(plan.manifest(since, machine_id() if measures else None))
    jobs = jobs or cores()
    summary = RunSummary(sweep.name)
    judge = Judge(store, retry_failed=retry_failed, force=force, since=since)
    run = _Run(plan, store, judge, engine, jobs, fail_fast, reporter, summary)
    reporter.begin(plan, jobs)
    try:
        with run.signals():
            # Again where files turned out to be gone that something needed.
            while run.go() and not run.stopping:
                if run.stalled > 1:
                    raise StoreError("artifacts vanish as soon as they are made", where=str(store.root))
                run.restart(planner(sweep, store, retry_failed=retry_failed, force=force, since=since))
    finally:
        run.close()
        store.tidy()
        summary.seconds = time.monotonic() - begun
        run.summarise()
        reporter.end(summary)
    return summary


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Run:
    def __init__(
        self,
        plan: Plan,
        store: Store,
        judge: Judge,
        engine: Executor | None,
        jobs: int,
        fail_fast: bool,
        reporter: Reporter,
        summary: RunSummary,
    ) -> None:
        self.store, self.judge, self.jobs, self.fail_fast = store, judge, jobs, fail_fast
        self.reporter, self.summary = reporter, summary
        self.engine = engine
        self.ran: set[str] = set()
        self.stopping = False
        self.stalled = 0
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.running: dict[str, tuple[Task, Future[Exit], float]] = {}
        self._host = ExitStack()
        self._exclusive: bool | None = None
        self._announced = False
        self.mentioned = 0
        self.restart(plan)

    def restart(self, plan: Plan) -> None:
        self.plan = plan
        self.open = dict(plan.tasks)
        self.elsewhere: set[str] = set()
        self.deferred: set[str] = set()
        self.stalled += 1
        self._mention_corrupt()

    # -- the loop --------------------------------------------------------------------------------

    def go(self) -> bool:
        """Run until nothing is left; returns whether something waits for files that are gone."""
        while self.open and not self.stopping:
            left = len(self.open)
            self._start_ready()
            if self.running or self.elsewhere:
                self._wait()
            elif len(self.open) == left:
                break  # the rest is deferred, or waits for what is
        while self.running:
            self._wait()
        return bool(self.deferred)

    def _start_ready(self) -> None:
        """Settle what is settled by its record, start what may start. Inputs come before what needs
        them, so one pass reaches all that is done already."""
        for task in list(self.open.values()):
            if self.stopping or self._measuring():
                return
            if task.key in self.running or task.key in self.deferred:
                continue
            if not task.device and self._full():
                continue  # a board does not wait for this host's builds
            if not any(key in self.open for key in task.inputs) and self._may_start(task):
                self._take(task)

    def _full(self) -> bool:
        return sum(not task.device for task, _, _ in self.running.values()) >= self.jobs

    def _measuring(self) -> bool:
        return any(task.device == "host" for task, _, _ in self.running.values())

    def _may_start(self, task: Task) -> bool:
        """Nothing runs on this host beside a measurement on it; one at a time on other devices."""
        if task.device == "host":
            builds = any(not other.device and other.key not in self.deferred for other in self.open.values())
            return not self.running and not builds
        return not task.device or all(other.device != task.device for other, _, _ in self.running.values())

    def _take(self, task: Task) -> None:
        """Settle a task by its record, or start it if nobody else does it."""
        if self.judge.settle(task, self.plan.tasks) != "run":
            return self._close_task(task)
        if any(not self._present(key) for key in task.inputs):
            self.deferred.add(task.key)
            return None
        if not self._hold_host(task) or not self.store.claims.acquire(task.key):
            self.elsewhere.add(task.key)
            return None
        self.elsewhere.discard(task.key)
        # Another process may have done it between the look and the claim.
        if self.judge.settle(task, self.plan.tasks) != "run":
            self.store.claims.release(task.key)
            return self._close_task(task)
        return self._submit(task)

    def _present(self, key: str) -> bool:
        build = self.plan.tasks[key]
        return build.digest is None or self.store.artifact(build.digest) is not None

    def _submit(self, task: Task) -> None:
        if self.engine is None:
            self.engine = LocalEngine(self.store)
        spec = {
            "kind": task.kind,
            "key": task.key,
            "store": str(self.store.root.resolve()),
            "task": task.task,
            "inputs": {key: self.plan.tasks[key].digest for key in task.inputs},
            "timeout": task.timeout,
            "heavy": task.heavy,
            "fresh": task.kind == "measure",
        }
        if task.kind == "measure" and not self._announced:
            self._announced = True
            waiting = (t.kind == "measure" and t.state == "run" for t in self.open.values())
            self.reporter.measuring(sum(waiting))
        try:
            future = self.engine.submit(spec)
        except BaseException:
            self.store.claims.release(task.key)
            raise
        self.running[task.key] = (task, future, time.monotonic())
        self.ran.add(task.key)
        self.stalled = 0
        self.reporter.started(task)
        future.add_done_callback(lambda _: self.events.put(task.key))

    def _wait(self) -> None:
        try:
            # Blocks without waking up while this machine measures.
            event = self.events.get(timeout=None if self._measuring() else POLL_SECONDS)
        except queue.Empty:
            self.reporter.tick()
            return
        if isinstance(event, signal.Signals):
            self._interrupt(event)
        elif event in self.running:
            self._finish(event)

    def _finish(self, key: str) -> None:
        task, future, begun = self.running.pop(key)
        seconds = time.monotonic() - begun
        try:
            end = future.result()
            if end.code == NO_STORE:
                self.store.check_writable()
                last = log_tail(self.store.log_path(key)).strip().splitlines()
                raise StoreError(last[-1] if last else "cannot be written", where=str(self.store.root))
            if self.stopping and end.code != 0:
                self.ran.discard(key)
                return  # ended by us: as if it had not been started
            if end.code != 0:
                self._record_death(task, end, seconds)
            self.judge.settle(task, self.plan.tasks)
            if task.state == "run":  # the record vanished or is damaged
                raise StoreError("a record that was just written is not there", where=str(self.store.root))
        finally:
            self.store.claims.release(key)
        self._close_task(task, seconds)

    def _record_death(self, task: Task, end: Exit, seconds: float) -> None:
        log = self.store.log_path(task.key)
        self.store.write(
            Record(
                task.kind,
                task.key,
                "timeout" if end.timeout else "failed",
                task.task,
                inputs={key: self.plan.tasks[key].digest for key in task.inputs},
                reason=end.reason(log, task.timeout),
                traceback=log_tail(log) or None,
                started=now(),
                seconds=seconds,
            )
        )

    def _close_task(self, task: Task, seconds: float = 0.0) -> None:
        self.open.pop(task.key, None)
        self.elsewhere.discard(task.key)
        self._mention_corrupt()
        self.reporter.finished(task, seconds)
        if task.state == "failed" and self.fail_fast and task.key in self.ran:
            self._stop()

    # -- the host, signals, the end -----------------------------------------------------------

    def _hold_host(self, task: Task) -> bool:
        """Share this host while building, have it alone while measuring; False if it must wait."""
        alone = task.device == "host"
        if self._exclusive is alone:
            return True
        if self.running:
            return not alone
        self._host.close()
        self._exclusive = None
        if not self._host.enter_context(self.store.claims.host(exclusive=alone)):
            self._host.close()
            return False
        self._exclusive = alone
        return True

    def _mention_corrupt(self) -> None:
        for path in self.store.corrupt[self.mentioned :]:
            self.reporter.message(f"{path}: damaged, set aside; its task is done again")
        self.mentioned = len(self.store.corrupt)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the run in good order, a second one at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: object) -> None:
            if self.summary.interrupted:
                os._exit(128 + number)  # the servers see their input end, and end the tasks
            self.summary.interrupted = signal.Signals(number).name
            self.events.put(signal.Signals(number))

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupt(self, number: signal.Signals) -> None:
        self.reporter.message(
            f"{number.name}: ending {len(self.running)} running tasks; finished work is kept."
        )
        self._stop()

    def _stop(self) -> None:
        self.stopping = self.summary.stopped = True
        assert self.engine is not None or not self.running
        for _, future, _ in self.running.values():
            if self.engine is not None:
                self.engine.cancel(future)

    def close(self) -> None:
        if self.engine is not None:
            self.engine.shutdown()
        self.store.claims.close()
        self._host.close()

    def summarise(self) -> None:
        self.summary.ran = len(self.ran)
        for task in self.plan.tasks.values():
            if task.key in self.open:
                continue
            if task.state == "failed":
                self.summary.failed.append((task.label, task.reason or ""))
            elif task.state == "skipped":
                self.summary.skipped.append((task.label, task.reason or ""))
            elif task.key not in self.ran:
                self.summary.cached += 1
