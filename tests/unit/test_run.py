"""Runs of the toy sweep: failures, retries, interrupts, damaged and vanished files, full disks."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.core.cells import Chain, Protocol, Sweep
from bench.core.records import TWIN, Record
from bench.errors import BenchError, StoreError
from bench.run import worker
from bench.run.engines.local import Exit
from bench.run.progress import PlainReporter
from bench.run.run import RunSummary, run_sweep
from bench.run.tasks import Plan, Task
from bench.store.claims import Claims
from bench.store.store import Store
from tests import toy

OFF = Protocol.preset("off")


class Spy:
    """A reporter that keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.plan: Plan | None = None
        self.order: list[str] = []

    def begin(self, plan: Plan, jobs: int) -> None:
        self.plan = plan

    def started(self, task: Task) -> None:
        self.order.append(task.kind)
        self.events.append(("started", task.label))

    def finished(self, task: Task, seconds: float) -> None:
        self.events.append((task.state, task.label))

    def measuring(self, tasks: int) -> None:
        self.events.append(("measuring", str(tasks)))

    def message(self, text: str) -> None:
        self.events.append(("message", text))

    def tick(self) -> None:
        pass

    def end(self, summary: RunSummary) -> None:
        self.events.append(("end", summary.text()))

    def of(self, name: str) -> list[str]:
        return [what for event, what in self.events if event == name]


class Inline:
    """An engine that runs each task here and now: the logic of runs without processes."""

    def __init__(self) -> None:
        self.specs: list[dict[str, Any]] = []
        self.open = 0

    def submit(self, spec: dict[str, Any]) -> Future[Exit]:
        self.specs.append(spec)
        future: Future[Exit] = Future()
        future.set_result(self.run(spec))
        return future

    def run(self, spec: dict[str, Any]) -> Exit:
        return Exit(worker.run(spec))

    def cancel(self, future: Future[Exit]) -> None: ...
    def shutdown(self) -> None: ...


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return toy.activate(monkeypatch, tmp_path)


@pytest.fixture
def store(log: Path, tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def run(sweep: Sweep, store: Store, **options: Any) -> tuple[RunSummary, Spy, Inline]:
    spy, engine = Spy(), Inline()
    found = run_sweep(sweep, Store(store.root), reporter=spy, **({"engine": engine} | options))
    return found, spy, engine


def records(store: Store) -> list[Record]:
    found = [store.read(kind, key) for kind in ("build", "evaluate", "measure") for key in store.keys(kind)]
    return [record for record in found if record is not None]


def steps(log: Path) -> list[str]:
    return [f"{line['step']}/{line['seed']}" for line in toy.executions(log) if line["event"] == "begin"]


def test_a_sweep_runs_once(store: Store, log: Path) -> None:
    summary, spy, _ = run(toy.sweep(), store)
    assert (summary.ran, summary.cached, summary.failed, summary.exit_code) == (18, 0, [], 0)
    assert {record.status for record in records(store)} == {"ok"} and len(records(store)) == 18
    # Measurements start when everything else is done.
    assert spy.order == [kind for kind in spy.order if kind != "measure"] + ["measure"] * 2
    measured = next(record for record in records(store) if record.kind == "measure")
    assert set(measured.result["entries"]) == {"baseline", "pruned", "quantized", "distilled", TWIN}
    assert measured.result["machine"]["id"] == measured.task["machine"]
    assert store.read_manifest("toy")["machine"] == measured.task["machine"]
    before = log.read_text()
    again, _, engine = run(toy.sweep(), store)
    assert (again.ran, again.cached, again.exit_code) == (0, 18, 0)
    assert engine.specs == [] and log.read_text() == before


def test_a_finished_sweep_starts_no_process(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run(toy.sweep(), store)

    def no_process(*_: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("subprocess.Popen", no_process)
    monkeypatch.setattr("os.fork", no_process)
    assert run(toy.sweep(), store, engine=None)[0].exit_code == 0


def test_records_tell_where_the_data_came_from(store: Store) -> None:
    run(toy.sweep(seeds=1, protocol=OFF), store)
    found = [r for r in records(store) if r.kind == "evaluate" or r.task["step"] == "toy_train"]
    assert len(found) == 5 and all(
        record.environment["data"] == {"source": "generated", "real": False} for record in found
    )


def test_parents_digests_are_in_the_record(store: Store) -> None:
    run(toy.sweep(seeds=1, protocol=OFF), store)
    prune = next(record for record in records(store) if record.task.get("step") == "toy_prune")
    parent = store.read("build", prune.task["parent"])
    assert parent is not None and prune.inputs == {prune.task["parent"]: parent.result["artifact"]}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("error", "the toy is broken\n  Mend it."),
        ("bug", "ZeroDivisionError: a bug in a step"),
        ("memory", "out of memory"),
        ("check", "check 'honest' failed: label is true"),
        ("nan", "the result is not JSON: Out of range float values are not JSON compliant"),
        ("link", "an artifact may hold files and folders only"),
        ("empty", "an artifact without files"),
    ],
)
def test_a_failing_cell_is_kept_and_the_others_go_on(store: Store, fault: str, reason: str) -> None:
    chains = toy.variants()
    chains["pruned"] = Chain((toy.step("train"), toy.step("prune", fault=fault)))
    chains["more"] = Chain((*chains["pruned"].steps, toy.step("quantize")))
    summary, _, _ = run(toy.sweep(chains, seeds=1), store)
    assert summary.exit_code == 1 and len(summary.failed) == 1
    assert reason in summary.failed[0][1]
    failed = next(record for record in records(store) if record.status == "failed")
    assert reason in (failed.reason or "") and "Traceback" in (failed.traceback or "")
    assert "artifact" not in failed.result
    # What needs it is skipped, says so, and leaves no record.
    assert len(summary.skipped) == 3
    assert all(why.startswith(f"needs {summary.failed[0][0]}, which failed: ") for _, why in summary.skipped)
    assert summary.ran == len(records(store)) == 10
    measured = next(record for record in records(store) if record.kind == "measure")
    assert measured.status == "ok" and None in measured.inputs.values()
    assert not (store.root / "tmp").exists() or list((store.root / "tmp").iterdir()) == []


def test_what_a_machine_lacks_is_skipped(store: Store) -> None:
    chains = {"baseline": Chain((toy.step("train", fault="unavailable"),))}
    summary, _, _ = run(toy.sweep(chains, seeds=1), store)
    assert records(store)[0].status == "skipped"
    assert ("no toy shop is near" in summary.skipped[0][1]) and summary.exit_code == 0


def test_mended_failures_run_with_retry_and_the_rounds_are_measured_again(
    store: Store, log: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "toy.broken"
    broken.write_text("toy_prune")
    assert run(toy.sweep(), store)[0].exit_code == 1
    broken.unlink()
    done = steps(log)
    assert run(toy.sweep(), store)[0].ran == 0 and steps(log) == done
    summary, _, engine = run(toy.sweep(), store, retry_failed=True)
    assert summary.exit_code == 0
    assert steps(log)[len(done) :].count("toy_prune/0") == 1 and "toy_train/0" not in steps(log)[len(done) :]
    # prune, quantize and both evaluations for two seeds, and the two rounds that had lacked them.
    assert sorted(spec["kind"] for spec in engine.specs) == ["build"] * 4 + ["evaluate"] * 4 + ["measure"] * 2
    assert run(toy.sweep(), store)[0].cached == 18


def test_force_does_everything_once_more(store: Store, log: Path) -> None:
    run(toy.sweep(), store)
    summary, _, _ = run(toy.sweep(), store, force=True)
    assert summary.ran == 18 and summary.exit_code == 0
    assert all(steps(log).count(step) == 2 for step in set(steps(log)))


def test_fail_fast_stops_at_the_first_failure(store: Store, tmp_path: Path) -> None:
    (tmp_path / "toy.broken").write_text("toy_train")
    summary, spy, engine = run(toy.sweep(), store, fail_fast=True, jobs=1)
    assert len(engine.specs) == 1 and summary.exit_code == 1
    assert "run the same command again" in spy.of("end")[0]


def test_damaged_records_and_artifacts_are_set_aside_and_made_again(store: Store) -> None:
    run(toy.sweep(seeds=1), store)
    prune = next(record for record in records(store) if record.task.get("step") == "toy_prune")
    quantize = next(record for record in records(store) if record.task.get("step") == "toy_quantize")
    store.record_path("build", quantize.key).write_text("{")
    (store.root / "artifacts" / prune.result["artifact"] / "weights.npy").write_bytes(b"damaged")
    summary, spy, engine = run(toy.sweep(seeds=1), store)
    assert summary.exit_code == 0
    # The damage of the artifact is found when it is needed, in the middle of the run.
    assert [spec["task"]["step"] for spec in engine.specs] == ["toy_prune", "toy_quantize"]
    assert len(spy.of("message")) == 2 and all("damaged, set aside" in text for text in spy.of("message"))
    again = next(record for record in records(store) if record.task.get("step") == "toy_prune")
    assert again.result["artifact"] == prune.result["artifact"]


def test_a_rebuild_with_other_files_renews_what_depends_on_it(store: Store) -> None:
    chains = {
        "baseline": Chain((toy.step("train", noise=True),)),
        "pruned": Chain((toy.step("train", noise=True), toy.step("prune"))),
    }
    sweep = toy.sweep(chains, seeds=1, protocol=OFF)
    run(sweep, store)
    shutil.rmtree(store.root / "artifacts")
    store.record_path(
        "build", next(r.key for r in records(store) if r.task.get("step") == "toy_prune")
    ).unlink()
    summary, _, engine = run(sweep, store)
    assert summary.exit_code == 0
    assert [spec["task"].get("step", spec["kind"]) for spec in engine.specs] == [
        "toy_train",
        "evaluate",
        "toy_prune",
        "evaluate",
    ]


class Dying(Inline):
    def __init__(self, end: Exit) -> None:
        super().__init__()
        self.end = end

    def run(self, spec: dict[str, Any]) -> Exit:
        return self.end


@pytest.mark.parametrize(
    ("end", "status", "reason"),
    [
        (Exit(3), "failed", "exit code 3"),
        (Exit(None, signal=signal.SIGKILL), "failed", "out of memory?"),
        (Exit(None, signal=signal.SIGKILL, timeout=True), "timeout", "time limit of 9 s"),
        (Exit(None, error="tensorflow cannot be used here: x"), "failed", "cannot be used here"),
    ],
)
def test_a_process_that_died_gets_its_record_from_the_run(
    store: Store, end: Exit, status: str, reason: str
) -> None:
    sweep = toy.sweep({"baseline": Chain((toy.step("train"),))}, seeds=1, timeouts={"build": 9.0})
    summary, _, _ = run(sweep, store, engine=Dying(end))
    (record,) = records(store)
    assert record.status == status and reason in (record.reason or "")
    assert summary.exit_code == 1 and len(summary.skipped) == 3


def test_nothing_runnable_is_an_error_and_leaves_the_last_manifest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(toy.sweep(seeds=1, protocol=OFF), store)
    before = store.read_manifest("toy")
    monkeypatch.setenv("TOY_NO_DATA", "no data here")
    with pytest.raises(BenchError, match="nothing in this sweep can run here: no data here"):
        run(toy.sweep(seeds=2, protocol=OFF), store, force=True)
    assert store.read_manifest("toy") == before


def test_the_manifest_is_there_before_the_first_task_ends(store: Store) -> None:
    class Looking(Inline):
        def run(self, spec: dict[str, Any]) -> Exit:
            assert len(store.read_manifest("toy")["cells"]) == 4
            return super().run(spec)

    assert run(toy.sweep(seeds=1, protocol=OFF), store, engine=Looking())[0].exit_code == 0


# -- the results folder --------------------------------------------------------------------------


def test_a_full_disk_ends_the_run_with_the_path_and_keeps_what_is_done(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Filling(Inline):
        def run(self, spec: dict[str, Any]) -> Exit:
            if len(self.specs) > 3:
                monkeypatch.setattr(os, "fsync", no_space)
            return super().run(spec)

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match=r"results.*No space left on device"):
        run(toy.sweep(), store, engine=Filling(), jobs=1)
    monkeypatch.undo()
    assert len(records(store)) == 3 and not list(store.root.rglob("*.claim"))


def test_a_disk_too_full_for_an_artifact_but_not_for_a_record_is_no_failure(store: Store) -> None:
    chains = {"baseline": Chain((toy.step("train"),)), "large": Chain((toy.step("train", fault="full"),))}
    with pytest.raises(StoreError, match=r"model\.keras: cannot be written \(No space left on device\)"):
        run(toy.sweep(chains, seeds=1, protocol=OFF), store, jobs=1, engine=None)
    assert {record.status for record in records(store)} == {"ok"}


def test_a_results_folder_that_cannot_be_written(log: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    engine = Inline()
    with pytest.raises(StoreError, match="Not a directory"):
        run_sweep(toy.sweep(), Store(tmp_path / "file"), reporter=Spy(), engine=engine)
    assert engine.specs == []


@pytest.mark.parametrize("what", ["records", "artifacts"])
def test_what_vanishes_as_soon_as_it_is_written_ends_the_run(store: Store, what: str) -> None:
    """Somebody empties the folder meanwhile: an end with a message, not the same work for ever."""

    class Vanishing(Inline):
        def run(self, spec: dict[str, Any]) -> Exit:
            assert len(self.specs) < 20
            end = super().run(spec)
            shutil.rmtree(store.root / what)
            return end

    chains = {"baseline": Chain((toy.step("train"), toy.step("prune")))}
    with pytest.raises(StoreError, match="a record that was just written is not there"):
        run(toy.sweep(chains, seeds=1, protocol=OFF), store, engine=Vanishing(), jobs=1)
    assert not list(store.root.rglob("*.claim"))


def test_what_killed_runs_left_is_removed_by_the_next(store: Store) -> None:
    left = store.temporary()
    os.utime(left, (0, 0))
    run(toy.sweep(seeds=1, protocol=OFF), store)
    assert not left.exists()


# -- several runs at once, signals ---------------------------------------------------------------


def test_what_another_process_holds_is_waited_for(store: Store) -> None:
    """A claim that is held by someone; the record appears; nothing is done twice."""
    sweep = toy.sweep({"baseline": Chain((toy.step("train"),))}, seeds=1, protocol=OFF)
    other = Store(store.root)
    key = next(iter(make_keys(sweep, store)))
    assert other.claims.acquire(key)
    spec: dict[str, Any] = {}

    def finish() -> None:
        worker.run(spec)
        other.claims.release(key)

    plan = make_keys(sweep, store)
    spec.update(kind="build", key=key, store=str(store.root), task=plan[key].task, inputs={})
    timer = threading.Timer(0.5, finish)
    timer.start()
    summary, _, engine = run(sweep, store)
    timer.join()
    assert [made["kind"] for made in engine.specs] == ["evaluate"] and summary.exit_code == 0
    other.claims.close()


def make_keys(sweep: Sweep, store: Store) -> dict[str, Task]:
    from bench.run.plan import make_plan

    return make_plan(sweep, store).tasks


def test_builds_wait_while_another_process_measures_here(store: Store) -> None:
    sweep = toy.sweep({"baseline": Chain((toy.step("train"),))}, seeds=1, protocol=OFF)
    released = threading.Event()

    class Watching(Inline):
        def run(self, spec: dict[str, Any]) -> Exit:
            assert released.is_set()
            return super().run(spec)

    hold = store.claims.host(exclusive=True)
    assert hold.__enter__()

    def release() -> None:
        released.set()
        hold.__exit__(None, None, None)

    timer = threading.Timer(0.5, release)
    timer.start()
    assert run(sweep, store, engine=Watching())[0].exit_code == 0
    timer.join()


def test_an_interrupt_keeps_what_is_finished_and_says_how_to_go_on(store: Store, log: Path) -> None:
    class Interrupted(Inline):
        def run(self, spec: dict[str, Any]) -> Exit:
            if len(self.specs) == 3:
                os.kill(os.getpid(), signal.SIGINT)
                return Exit(None, signal=signal.SIGKILL)
            return super().run(spec)

    before = signal.getsignal(signal.SIGINT)  # a shell starts what runs in its background with it ignored
    summary, spy, _ = run(toy.sweep(), store, engine=Interrupted(), jobs=1)
    assert summary.exit_code == 130
    assert len(records(store)) == summary.ran == 2  # the one that was ended has left none
    assert "run the same command again" in spy.of("end")[0]
    assert signal.getsignal(signal.SIGINT) is before
    summary, _, _ = run(toy.sweep(), store)
    assert summary.exit_code == 0 and summary.cached == 2
    assert all(steps(log).count(step) == 1 for step in set(steps(log)))


def test_the_order_of_builds_is_the_order_of_the_sweep(store: Store, log: Path) -> None:
    run(toy.sweep(), store, jobs=1)
    assert steps(log)[:2] == ["toy_train/0", "toy_train/1"]


class Slow(Inline):
    """Tasks take a moment; keeps what ran whenever one was started."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[str] = []
        self.seen: list[list[str]] = []

    def submit(self, spec: dict[str, Any]) -> Future[Exit]:
        future: Future[Exit] = Future()
        what = self.name(spec)
        self.running.append(what)
        self.seen.append(list(self.running))

        def finish() -> None:
            end = self.run(spec)
            self.running.remove(what)
            future.set_result(end)

        threading.Timer(0.05, finish).start()
        return future

    def name(self, spec: dict[str, Any]) -> str:
        return str(spec["kind"])


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_so_many_tasks_at_once_as_jobs_and_measurements_alone(store: Store, jobs: int) -> None:
    engine = Slow()
    assert run(toy.sweep(seeds=3), store, engine=engine, jobs=jobs)[0].exit_code == 0
    assert max(map(len, engine.seen)) == jobs
    measuring = [kinds for kinds in engine.seen if "measure" in kinds]
    assert measuring == [["measure"]] * toy.TINY.rounds


def test_a_measurement_waits_for_boards_and_each_board_has_one_task(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Talking to a board is work of this host, too; builds go on beside it."""
    monkeypatch.setattr(
        toy.ToyTarget, "board", lambda _, options: "desk" if options["threads"] == 2 else None
    )

    class WithBoard(Slow):
        def name(self, spec: dict[str, Any]) -> str:
            options = spec["task"].get("options") or {}
            return "board" if options.get("threads") == 2 else super().name(spec)

        def run(self, spec: dict[str, Any]) -> Exit:
            if self.name(spec) == "board":
                time.sleep(0.1)  # still there when the builds are done
                scored = {"n": 1, "errors": 0}
                store.write(Record("evaluate", spec["key"], "ok", spec["task"], scored, spec["inputs"]))
                return Exit(0)
            return super().run(spec)

    here, there = toy.sweep(seeds=4), toy.sweep(seeds=2, options={"threads": 2})
    on_board = tuple(replace(cell, target_label="toy[2]", measured=False) for cell in there.cells)
    engine = WithBoard()
    both = replace(here, cells=here.cells + on_board)
    assert run(both, store, engine=engine, jobs=2)[0].exit_code == 0
    assert any("board" in kinds and len(kinds) > 1 for kinds in engine.seen), engine.seen
    assert all(kinds.count("board") <= 1 for kinds in engine.seen)
    assert [kinds for kinds in engine.seen if "measure" in kinds] == [["measure"]] * toy.TINY.rounds


def test_a_claim_is_given_back_as_soon_as_its_task_is_done(store: Store) -> None:
    class Looking(Inline):
        def run(self, spec: dict[str, Any]) -> Exit:
            assert [path.stem for path in store.root.rglob("*.claim")] == [spec["key"]]
            return super().run(spec)

    assert run(toy.sweep(seeds=1), store, engine=Looking(), jobs=1)[0].exit_code == 0


def test_what_was_done_between_the_look_and_the_claim_is_not_done_again(
    store: Store, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = toy.sweep({"baseline": Chain((toy.step("train"),))}, seeds=1, protocol=OFF)
    acquire = Claims.acquire

    def late(claims: Claims, key: str) -> bool:
        task = make_keys(sweep, store)[key]
        if task.kind == "build" and not steps(log):  # another process is quicker
            worker.run(
                {"kind": "build", "key": key, "store": str(store.root), "task": task.task, "inputs": {}}
            )
        return acquire(claims, key)

    monkeypatch.setattr(Claims, "acquire", late)
    summary, _, engine = run(sweep, store)
    assert summary.exit_code == 0 and steps(log) == ["toy_train/0"]
    assert [spec["kind"] for spec in engine.specs] == ["evaluate"]
    assert not list(store.root.rglob("*.claim"))


# -- with processes ------------------------------------------------------------------------------


def test_the_local_engine_runs_a_sweep_without_tensorflow(store: Store, log: Path) -> None:
    chains = {
        "baseline": Chain((toy.step("train"),)),
        "crashing": Chain((toy.step("train"), toy.step("prune", fault="crash"))),
        "hanging": Chain((toy.step("train"), toy.step("prune", fault="hang"))),
    }
    sweep = replace(toy.sweep(chains, seeds=1, timeouts={"build": 3.0}), protocol=replace(toy.TINY, rounds=1))
    spy = Spy()
    summary = run_sweep(sweep, store, reporter=spy, jobs=2)
    reasons = sorted(reason for _, reason in summary.failed)
    assert "time limit of 3 s" in reasons[0] and "SIGSEGV" in reasons[1]
    assert spy.of("measuring") == ["1"]
    lines = toy.executions(log)
    assert not any(line["tensorflow"] for line in lines)
    assert os.getpid() not in {line["pid"] for line in lines}
    assert sorted(record.status for record in records(store)) == ["failed", "ok", "ok", "ok", "timeout"]


def test_plain_lines_of_a_run(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    chains = {"baseline": Chain((toy.step("train"),)), "bad": Chain((toy.step("train", fault="error"),))}
    run_sweep(toy.sweep(chains, seeds=1, protocol=OFF), store, reporter=PlainReporter(), engine=Inline())
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("toy: 4 tasks to run, 0 done already")
    assert any("FAILED: the toy is broken" in line for line in lines)
    assert any("evaluate bad on toy: SKIPPED: needs " in line for line in lines)
    assert any(line.startswith("toy: 3 tasks run, 0 done already, 1 failed, 1 skipped") for line in lines)
