"""The engine: how processes end, and that they do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.run import keys
from bench.run.engines.local import Exit, LocalEngine, log_tail, python
from bench.run.worker import DONE
from bench.store.store import Store
from tests import toy


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    toy.activate(monkeypatch, tmp_path)
    return Store(tmp_path / "results")


@pytest.fixture
def engine(store: Store) -> Iterator[LocalEngine]:
    engine = LocalEngine(store)
    yield engine
    engine.shutdown()


def spec(store: Store, **changes: Any) -> dict[str, Any]:
    params = toy.step("train", **changes).params
    task = {"kind": "build", "model": "toy", "seed": 0, "step": "toy_train", "params": params}
    return {
        "kind": "build",
        "key": keys.digest(params),
        "store": str(store.root),
        "task": {**task, "parent": None, "teacher": None},
        "inputs": {},
        "timeout": 60,
    }


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int) -> bool:
    for _ in range(500):
        if not alive(pid):
            return True
        time.sleep(0.02)
    return False


def begun(log: Path) -> int:
    """Process id of the first task that has begun."""
    for _ in range(3000):
        lines = toy.executions(log)
        if lines:
            return int(lines[0]["pid"])
        time.sleep(0.02)
    raise AssertionError("no task began")


def test_tasks_run_in_processes_of_their_own(store: Store, engine: LocalEngine, tmp_path: Path) -> None:
    tasks = [spec(store, epochs=n) for n in (1, 2, 3)]
    ends = [engine.submit(task) for task in tasks]
    assert [end.result(60) for end in ends] == [Exit(DONE)] * 3
    for task in tasks:
        record = store.read("build", task["key"])
        assert record is not None and record.status == "ok" and record.peak_rss and record.seconds > 0
    pids = {line["pid"] for line in toy.executions(tmp_path / "toy.log")}
    assert len(pids) == 3 and os.getpid() not in pids


def test_forks_have_one_thread_each_and_fresh_interpreters_the_environment_as_it_is(
    store: Store, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    for number, fresh in enumerate((False, True)):
        assert engine.submit(spec(store, epochs=number + 1) | {"fresh": fresh}).result(60) == Exit(DONE)
    fork, interpreter = (line for line in toy.executions(tmp_path / "toy.log") if line["event"] == "end")
    assert (fork["threads"], interpreter["threads"]) == ("1", "7")
    assert not fork["tensorflow"] and not interpreter["tensorflow"]
    # Waiters of a future wake up before its callbacks, which tidy up, have run.
    deadline = time.monotonic() + 10
    while list((store.root / "tmp").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list((store.root / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "end", "reason"),
    [
        ("exit", Exit(3), "exit code 3; last line printed: last words before os._exit"),
        (
            "crash",
            Exit(None, signal=signal.SIGSEGV),
            "SIGSEGV; last line printed: last words before the crash",
        ),
    ],
)
def test_a_process_that_dies_leaves_its_signal_and_last_words(
    store: Store, engine: LocalEngine, fault: str, end: Exit, reason: str
) -> None:
    task = spec(store, fault=fault)
    assert (found := engine.submit(task).result(60)) == end
    assert reason in found.reason(store.log_path(task["key"]), 60)
    assert store.read("build", task["key"]) is None


def test_a_task_that_hangs_is_ended_with_all_it_started(
    store: Store, engine: LocalEngine, tmp_path: Path
) -> None:
    task = spec(store, fault="hang") | {"timeout": 1}
    end = engine.submit(task).result(60)
    assert end.timeout and "time limit of 1 s" in end.reason(store.log_path(task["key"]), 1)
    assert gone(begun(tmp_path / "toy.log"))


def test_a_task_can_be_cancelled(store: Store, engine: LocalEngine, tmp_path: Path) -> None:
    future = engine.submit(spec(store, fault="hang"))
    pid = begun(tmp_path / "toy.log")
    engine.cancel(future)
    assert future.result(60).signal == signal.SIGKILL and gone(pid)


def test_tasks_end_with_the_engine(store: Store, engine: LocalEngine, tmp_path: Path) -> None:
    engine.submit(spec(store, fault="hang"))
    pid = begun(tmp_path / "toy.log")
    engine.shutdown()
    assert gone(pid)


def test_tasks_end_when_the_server_is_killed(store: Store, engine: LocalEngine, tmp_path: Path) -> None:
    future = engine.submit(spec(store, fault="hang"))
    pid = begun(tmp_path / "toy.log")
    os.kill(engine._servers["plain"].process.pid, signal.SIGKILL)
    assert gone(pid)
    assert "was killed" in future.result(60).reason(Path("none"), 1)
    # The next task gets a new server.
    assert engine.submit(spec(store)).result(60) == Exit(DONE)


@pytest.mark.tf
def test_heavy_tasks_are_forked_from_a_server_that_has_tensorflow(
    store: Store, engine: LocalEngine, tmp_path: Path
) -> None:
    tasks = [spec(store, epochs=n) | {"heavy": True} for n in (1, 2)]
    assert [engine.submit(task).result(300) for task in tasks] == [Exit(DONE)] * 2
    lines = toy.executions(tmp_path / "toy.log")
    assert all(line["tensorflow"] and line["threads"] == "1" for line in lines)
    assert len({line["pid"] for line in lines}) == 2


def test_a_server_that_cannot_start_fails_its_tasks_and_says_why(store: Store, engine: LocalEngine) -> None:
    from bench.run.engines.local import _Server

    server = engine._servers["plain"] = _Server("no such kind")
    server.process.wait(60)
    for _ in range(2):
        end = engine.submit(spec(store)).result(60)
        assert end.code is None and "no such kind" in (end.error or "")


def test_the_worker_runs_a_spec_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(spec(store)))
    subprocess.run(python("bench.run.worker", str(tmp_path / "spec.json")), check=True, timeout=60)
    assert store.keys("build")


def test_the_end_of_a_long_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("x" * 9000 + "\nthe end")
    assert log_tail(tmp_path / "log").endswith("the end") and len(log_tail(tmp_path / "log")) == 4000
    assert log_tail(tmp_path / "none") == ""
