"""What a run shows while it runs: lines for logs and pipes, a live display on a terminal.

While measurements run nothing is redrawn: a busy parent would be in the numbers.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from bench.run.run import RunSummary
    from bench.run.tasks import Plan, Task

#: how many tasks of a kind must have finished before a time is foretold from them
ENOUGH = 3
#: windows that one file gets in one round of measurement: those of `invoke` and of `end_to_end`
WINDOWS = 2


class Reporter(Protocol):
    """Told of everything that happens, from one thread."""

    def begin(self, plan: Plan, jobs: int) -> None: ...
    def started(self, task: Task) -> None: ...
    def finished(self, task: Task, seconds: float) -> None:
        """A task ran or was found done: see `task.state` and `task.reason`."""

    def measuring(self, tasks: int) -> None:
        """From now on only measurements run, so many of them."""

    def message(self, text: str) -> None: ...
    def tick(self) -> None:
        """Called a few times a second, except while measuring."""

    def end(self, summary: RunSummary) -> None: ...


class Estimate:
    """Time left, from what tasks of the same cost class took; none before enough have finished."""

    def __init__(self, seconds: dict[tuple[str, ...], list[float]]) -> None:
        self._seen: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for cost, values in seconds.items():
            for value in values:
                self.learn(cost, value)

    def learn(self, cost: tuple[str, ...], seconds: float) -> None:
        kind, _, what = cost
        for known in (cost, (kind, "", what), (kind, "", "")):
            self._seen[known].append(seconds)

    def of(self, task: Task) -> float | None:
        """Seconds of a task like this one.

        Of measurements none of which was seen, what the protocol prescribes: its windows last that
        long whatever runs in them. None: nobody can know yet.
        """
        kind, _, what = task.cost
        for known in (task.cost, (kind, "", what)):
            if self._seen[known]:
                return statistics.median(self._seen[known])
        if kind == "measure" and "protocol" in task.task:
            protocol = task.task["protocol"]
            file = protocol["warmup_seconds"] + WINDOWS * protocol["min_seconds"]
            return float(file * (1 + len(task.task["entries"])))  # one more: the A/A twin
        all_of_kind = self._seen[kind, "", ""]
        return statistics.median(all_of_kind) if len(all_of_kind) >= ENOUGH else None

    def left(self, tasks: Iterable[Task], jobs: int, spent: Mapping[str, float]) -> float | None:
        """Seconds until the tasks are done: measurements one after the other, the rest `jobs` at once.

        Args:
            spent: seconds that those which run have run, by key.

        Returns:
            None as long as nobody can know.
        """
        together = alone = 0.0
        for task in tasks:
            whole = self.of(task)
            if whole is None:
                return None
            seconds = max(0.0, whole - spent.get(task.key, 0.0))
            if task.device:
                alone += seconds
            else:
                together += seconds
        return together / max(1, jobs) + alone


def duration(seconds: float) -> str:
    """`3 s`, `2 min 05 s`, `1 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class _Counting:
    """What both displays know."""

    def __init__(self) -> None:
        self.total = self.done = self.jobs = 0
        self.left: dict[str, Task] = {}
        self.running: dict[str, tuple[Task, float]] = {}
        self.estimate = Estimate({})
        self.is_measuring = False

    def begin(self, plan: Plan, jobs: int) -> None:
        self.jobs = jobs
        self.estimate = Estimate(plan.seconds)
        self.left = {task.key: task for task in plan.of_state("run")}
        self.total, self.done = len(self.left), 0

    def started(self, task: Task) -> None:
        self.running[task.key] = (task, time.monotonic())
        if task.key not in self.left:  # it was thought to be done
            self.left[task.key] = task
            self.total += 1

    def _count(self, task: Task, seconds: float) -> bool:
        """Whether it had been counted as work to do."""
        if self.running.pop(task.key, None) and task.state == "cached":
            self.estimate.learn(task.cost, seconds)
        if self.left.pop(task.key, None) is None:
            return False
        self.done += 1
        return True

    def eta(self, after: str = "") -> str:
        """`, about 2 min 05 s`; nothing as long as nobody can know."""
        now = time.monotonic()
        spent = {key: now - since for key, (_, since) in self.running.items()}
        seconds = self.estimate.left(self.left.values(), self.jobs, spent)
        return "" if seconds is None else f", about {duration(seconds)}{after}"


class PlainReporter(_Counting):
    """One line an event, for logs and pipes."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        super().__init__()
        self._stream = stream

    def begin(self, plan: Plan, jobs: int) -> None:
        super().begin(plan, jobs)
        cached = len(plan.of_state("cached"))
        if self.total:
            self.message(f"{plan.sweep.name}: {self.total} tasks to run, {cached} done already{self.eta()}")

    def finished(self, task: Task, seconds: float) -> None:
        ran = task.key in self.running
        counted = self._count(task, seconds)
        if counted or ran:
            head = f"[{self.done}/{self.total}] {task.label}"
            if task.state == "cached":
                self.message(f"{head}: {seconds:.1f} s" if ran else f"{head}: done by another process")
            else:
                self.message(f"{head}: {task.state.upper()}: {task.reason}")

    def measuring(self, tasks: int) -> None:
        self.message(f"measuring alone on this machine: {tasks} rounds{self.eta()}")

    def message(self, text: str) -> None:
        print(text, file=self._stream or sys.stderr, flush=True)

    def tick(self) -> None:
        pass

    def end(self, summary: RunSummary) -> None:
        self.message(summary.text())


class LiveReporter(_Counting):
    """What runs, what is left and for how long; errors stay above it."""

    def __init__(self, console: Any = None) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live

        self.console = console or Console(stderr=True)
        self._live = Live(console=self.console, auto_refresh=False, transient=True)

    def begin(self, plan: Plan, jobs: int) -> None:
        super().begin(plan, jobs)
        if self.total:
            self._live.start()

    def started(self, task: Task) -> None:
        super().started(task)
        self._draw()

    def finished(self, task: Task, seconds: float) -> None:
        counted = self._count(task, seconds)
        if counted and task.state != "cached":
            self.message(f"{task.state.upper()} {task.label}\n  {task.reason}")
        self._draw()

    def measuring(self, tasks: int) -> None:
        self.is_measuring = True
        self._live.stop()
        self.message(f"Measuring alone on this machine: {tasks} rounds{self.eta()}. Nothing is redrawn now.")

    def message(self, text: str) -> None:
        from rich.text import Text

        self.console.print(Text(text))

    def tick(self) -> None:
        self._draw()

    def end(self, summary: RunSummary) -> None:
        self._live.stop()
        self.message(summary.text())

    def _draw(self) -> None:
        if self.is_measuring or not self._live.is_started:
            return
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for task, since in self.running.values():
            table.add_row(Text(task.label), Text(duration(time.monotonic() - since)))
        head = Text(f"{self.done} of {self.total} tasks done{self.eta(' left')}")
        bar = Table.grid()  # alone, a bar does not end its line
        bar.add_row(ProgressBar(total=max(1, self.total), completed=self.done, width=40))
        self._live.update(Group(head, bar, table), refresh=True)


def reporter_for(stream: IO[str] | None = None) -> Reporter:
    """The live display on a terminal, lines elsewhere."""
    stream = stream or sys.stderr
    return LiveReporter() if stream.isatty() else PlainReporter(stream)
