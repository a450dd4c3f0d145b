"""What a run shows: lines, the live display, estimates of the time left."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bench.run.plan import make_plan
from bench.run.progress import Estimate, LiveReporter, PlainReporter, duration, reporter_for
from bench.run.run import RunSummary
from bench.run.tasks import Plan, Task
from bench.store.store import Store
from tests import toy


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plan:
    toy.activate(monkeypatch, tmp_path)
    return make_plan(toy.sweep(), Store(tmp_path / "results"))


def settle(task: Task, state: str, reason: str | None = None) -> Task:
    task.state, task.reason = state, reason  # type: ignore[assignment]
    return task


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (125, "2 min 05 s"), (4800, "1 h 20 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def of_kind(plan: Plan, kind: str, **task: object) -> Task:
    """The plan's first task of a kind, told otherwise."""
    found = next(task for task in plan.tasks.values() if task.kind == kind)
    return replace(found, task={**found.task, **task})


def test_estimates_use_the_nearest_that_is_known(plan: Plan) -> None:
    estimate = Estimate({("build", "toy", "toy_train"): [4.0, 6.0]})
    train = of_kind(plan, "build", step="toy_train")
    assert estimate.of(train) == 5.0
    assert estimate.of(of_kind(plan, "build", model="other", step="toy_train")) == 5.0
    other = of_kind(plan, "build", step="new")
    assert estimate.of(other) is None  # two are too few to tell of another step
    estimate.learn(("build", "toy", "toy_prune"), 100.0)
    assert estimate.of(other) == 6.0  # the median of all builds


def test_measurements_never_seen_take_what_their_protocol_says(plan: Plan) -> None:
    protocol = {"warmup_seconds": 0.5, "min_seconds": 2.0}
    measure = of_kind(plan, "measure", entries=[{"name": "a"}, {"name": "b"}], protocol=protocol)
    estimate = Estimate({})
    assert estimate.of(measure) == 3 * (0.5 + 2 * 2.0)  # two files and the twin, two scopes
    estimate.learn(measure.cost, 14.0)
    assert estimate.of(measure) == 14.0


def test_time_left_counts_cores_for_builds_but_not_for_measurements(plan: Plan) -> None:
    tasks = list(plan.tasks.values())
    estimate = Estimate({task.cost: [10.0] for task in tasks})
    assert estimate.left(tasks, 1, {}) == 180.0
    assert estimate.left(tasks, 4, {}) == 16 * 10 / 4 + 20
    # What runs is counted by what is left of it, never below nothing.
    assert estimate.left(tasks, 1, {tasks[0].key: 4.0, tasks[1].key: 99.0}) == 166.0
    assert Estimate({}).left(tasks, 1, {}) is None


def test_no_time_is_foretold_before_enough_is_known(plan: Plan) -> None:
    stream = io.StringIO()
    reporter = PlainReporter(stream)
    reporter.begin(plan, jobs=2)
    assert stream.getvalue() == "toy: 18 tasks to run, 0 done already\n"
    plan.seconds = {task.cost: [10.0] for task in plan.tasks.values()}
    reporter.begin(plan, jobs=2)
    assert stream.getvalue().endswith("0 done already, about 1 min 40 s\n")


def test_lines_tell_what_happened_and_errors_at_once(plan: Plan) -> None:
    stream = io.StringIO()
    reporter = PlainReporter(stream)
    reporter.begin(plan, jobs=2)
    first, second, third = list(plan.tasks.values())[:3]
    for task in (first, second):
        reporter.started(task)
    reporter.finished(settle(first, "cached"), 1.25)
    reporter.finished(settle(second, "failed", "it broke"), 2.0)
    reporter.finished(settle(third, "skipped", "needs that"), 0.0)
    assert stream.getvalue().splitlines()[1:] == [
        f"[1/18] {first.label}: 1.2 s",
        f"[2/18] {second.label}: FAILED: it broke",
        f"[3/18] {third.label}: SKIPPED: needs that",
    ]


def test_what_was_done_before_is_not_listed(plan: Plan) -> None:
    for task in plan.tasks.values():
        settle(task, "cached")
    stream = io.StringIO()
    reporter = PlainReporter(stream)
    reporter.begin(plan, jobs=2)
    for task in plan.tasks.values():
        reporter.finished(task, 0.0)
    assert stream.getvalue() == ""


def live(plan: Plan) -> tuple[LiveReporter, io.StringIO]:
    stream = io.StringIO()
    plan.seconds = {task.cost: [10.0] for task in plan.tasks.values()}
    reporter = LiveReporter(Console(file=stream, force_terminal=True, width=100))
    reporter.begin(plan, jobs=2)
    return reporter, stream


def test_the_display_shows_what_runs_and_keeps_errors(plan: Plan) -> None:
    reporter, stream = live(plan)
    first = next(iter(plan.tasks.values()))
    reporter.started(first)
    reporter.tick()
    assert (
        first.label in stream.getvalue() and "0 of 18 tasks done, about 1 min 40 s left" in stream.getvalue()
    )
    reporter.finished(settle(first, "failed", "[bold]it[/bold] broke"), 1.0)
    assert "[bold]it[/bold] broke" in stream.getvalue()  # markup in a message is text
    reporter.end(RunSummary("toy", ran=1, failed=[(first.label, "it broke")]))
    assert "toy: 1 tasks run" in stream.getvalue() and "--retry-failed" in stream.getvalue()


def test_the_bar_has_a_line_of_its_own(plan: Plan) -> None:
    reporter, stream = live(plan)
    first = next(iter(plan.tasks.values()))
    reporter.started(first)
    assert not any("━" in line and first.label in line for line in stream.getvalue().splitlines())


def test_nothing_is_drawn_while_measuring(plan: Plan) -> None:
    reporter, stream = live(plan)
    reporter.measuring(2)
    before = stream.getvalue()
    measure = next(task for task in plan.tasks.values() if task.kind == "measure")
    reporter.started(measure)
    reporter.tick()
    reporter.finished(settle(measure, "cached"), 1.0)
    assert stream.getvalue() == before
    reporter.end(RunSummary("toy"))


def test_a_pipe_gets_lines_and_a_terminal_the_display() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(reporter_for(io.StringIO()), PlainReporter)
    assert isinstance(reporter_for(Terminal()), LiveReporter)


def test_the_summary_of_an_interrupted_run_says_how_to_go_on() -> None:
    text = RunSummary("toy", ran=3, cached=2, interrupted="SIGINT").text()
    assert "3 tasks run, 2 done already" in text and "run the same command again to go on" in text
    assert RunSummary("toy", interrupted="SIGINT").exit_code == 130
    assert RunSummary("toy", interrupted="SIGTERM").exit_code == 143
    assert RunSummary("toy", failed=[("a", "b")]).exit_code == 1
    assert RunSummary("toy", skipped=[("a", "b")]).exit_code == 0
