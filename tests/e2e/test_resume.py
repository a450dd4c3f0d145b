"""Runs that are killed, interrupted or run twice at once, with real processes and the toy plugin."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import termios
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.core.records import Record
from bench.run.engines.local import python
from bench.store.store import Store
from tests import toy

SEEDS, TASKS = 2, 17
#: see kill_points. The first file that a run writes is its manifest, then comes a record for each task; an
#: artifact is renamed, a record and the manifest replace; claims are linked. Eight builds and evaluations
#: each come before the one measurement.
KILL_POINTS = {
    "builds": "half:1 fsync:1 replace:1 link:1 unlink:1 rename:1 half:2 fsync:3 replace:2 rename:2 link:3 "
    "fsync:5 unlink:4 half:3 replace:3",
    "measurement": f"half:{TASKS + 1} link:1 half:2 fsync:3 replace:2 fsync:4",
}


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(Path(__file__).parents[2])
    return toy.activate(monkeypatch, tmp_path)


def start(folder: Path, seconds: float = 0.0, **environment: str) -> subprocess.Popen[bytes]:
    """The run in a process group of its own, as a shell would start it."""
    return subprocess.Popen(
        python("tests.e2e.toy_run", str(folder), str(seconds), str(SEEDS)),
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def records(folder: Path) -> dict[str, Record]:
    store = Store(folder)
    found: dict[str, Record] = {}
    for kind in ("build", "evaluate", "measure"):
        for key in store.keys(kind):
            record = store.read(kind, key)
            assert record is not None, "a half-written record"
            found[key] = record
    assert store.corrupt == []
    return found


def what(line: dict[str, Any]) -> tuple[Any, ...]:
    return (line["step"], line["seed"], line["parent"])


def built(found: dict[str, Record]) -> set[tuple[Any, ...]]:
    """The builds that are on record, in the words of the log."""
    return {
        (r.task["step"], r.task["seed"], r.inputs.get(r.task["parent"] or ""))
        for r in found.values()
        if r.kind == "build"
    }


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_gone(pids: set[int]) -> None:
    deadline = time.monotonic() + 20
    while left := {pid for pid in pids if alive(pid)}:
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.02)


def finish(folder: Path) -> str:
    process = start(folder)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors.decode()
    assert not list(folder.rglob("*.claim"))
    return errors.decode()


def kinds(folder: Path) -> Counter[str]:
    return Counter(path.parts[-3] for path in (folder / "records").rglob("*.json"))


#: when to kill: at the first task, between builds, with evaluations about, while measuring
MOMENTS: dict[str, Callable[[Path, Path], bool]] = {
    "first task": lambda folder, log: bool(toy.executions(log)),
    "some builds": lambda folder, log: kinds(folder)["build"] >= 3,
    "an evaluation": lambda folder, log: kinds(folder)["evaluate"] >= 1,
    "measuring": lambda folder, log: any(line["threads"] is None for line in toy.executions(log)),
}


@pytest.mark.parametrize(
    ("moment", "group"),
    [("first task", False), ("some builds", True), ("an evaluation", False), ("measuring", True)],
)
def test_a_killed_run_goes_on_where_it_was(log: Path, tmp_path: Path, moment: str, group: bool) -> None:
    folder = tmp_path / "results"
    process = start(folder)
    wait_for(lambda: MOMENTS[moment](folder, log), process)
    (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert_gone({line["pid"] for line in toy.executions(log)})
    before = records(folder)
    assert {record.status for record in before.values()} <= {"ok"}, "a kill is no failure"
    lines = len(toy.executions(log))
    finish(folder)
    after = records(folder)
    assert len(after) == TASKS and {record.status for record in after.values()} == {"ok"}
    # Nothing lost: what was on record has not been touched. Nothing twice: it was not begun again.
    assert all(after[key] == record for key, record in before.items())
    later = toy.executions(log)[lines:]
    assert not built(before) & {what(line) for line in later if line["event"] == "begin"}
    assert len([line for line in later if line["event"] == "end"]) == 8 - len(built(before))


def test_a_run_killed_again_and_again_gets_there(log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    for number in range(4):
        process = start(folder)
        wait_for(lambda goal=4 * number + 1: sum(kinds(folder).values()) >= goal, process)  # type: ignore[misc]
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    finish(folder)
    found = records(folder)
    assert len(found) == TASKS and {record.status for record in found.values()} == {"ok"}


@pytest.mark.parametrize("points", KILL_POINTS.values(), ids=KILL_POINTS)
def test_a_run_killed_in_the_middle_of_what_it_writes_goes_on(log: Path, tmp_path: Path, points: str) -> None:
    """One folder, killed at one point after the other."""
    folder = tmp_path / "results"
    known: dict[str, Record] = {}
    for number, point in enumerate(points.split()):
        process = start(
            folder,
            BENCH_PLUGINS="tests.toy,tests.e2e.kill_points",
            KILL_AT=point,
            KILL_COUNT=str(tmp_path / f"count{number}"),
        )
        _, errors = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, f"not killed at {point}\n{errors.decode()}"
        assert_gone({line["pid"] for line in toy.executions(log)})
        found = records(folder)  # none is half-written
        assert {record.status for record in found.values()} <= {"ok"}, "a kill is no failure"
        assert found.items() >= known.items(), f"lost or done again after {point}"
        known = found
    finish(folder)
    found, store = records(folder), Store(folder)
    assert len(found) == TASKS and found.items() >= known.items()
    digests = {record.result["artifact"] for record in found.values() if record.kind == "build"}
    assert digests == {path.name for path in (folder / "artifacts").iterdir()}
    assert all(store.artifact(digest) for digest in digests)


def test_two_runs_share_the_work(log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    both = [start(folder, seconds=0.3) for _ in range(2)]
    errors = [process.communicate(timeout=240)[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert len(records(folder)) == TASKS
    begun = Counter(what(line) for line in toy.executions(log) if line["event"] == "begin")
    assert len(begun) == 8 and set(begun.values()) == {1}
    ran = [int(text.split(" tasks run")[0].rsplit(" ", 1)[-1]) for text in errors]
    assert sum(ran) == TASKS and min(ran) > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_in_good_order(log: Path, tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "results"
    process = start(folder, seconds=1.0)
    wait_for(lambda: kinds(folder)["build"] >= 1, process)
    os.killpg(process.pid, number)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors.decode()
    assert "run the same command again to go on" in errors.decode()
    assert_gone({line["pid"] for line in toy.executions(log)})
    assert {record.status for record in records(folder).values()} == {"ok"}
    assert not list(folder.rglob("*.claim"))


def test_a_terminal_shows_what_runs_and_ctrl_c_ends_it(log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    leader, follower = os.openpty()
    narrow, wide = (struct.pack("HHHH", 20, columns, 0, 0) for columns in (30, 120))
    fcntl.ioctl(leader, termios.TIOCSWINSZ, narrow)
    # A session of its own whose terminal is this one, as in a shell.
    command = ["setsid", "--ctty", *python("tests.e2e.toy_run", str(folder), "1.0", str(SEEDS))]
    environment = {**os.environ, "TERM": "xterm"}
    process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    shown = bytearray()

    def until(text: bytes) -> None:
        while text not in shown:
            try:
                part = os.read(leader, 4096)
            except OSError:  # how a terminal ends on Linux
                part = b""
            assert part, f"{text!r} was not shown: {shown!r}"
            shown.extend(part)

    until(f"of {TASKS} tasks done".encode())
    until(b"toy_train")
    fcntl.ioctl(leader, termios.TIOCSWINSZ, wide)
    os.write(leader, b"\x03")
    until(b"SIGINT: ending")
    until(b"run the same command again to go on.")
    assert process.wait(60) == 130
    os.close(leader)
    assert_gone({line["pid"] for line in toy.executions(log)})


def test_a_second_interrupt_ends_it_at_once(log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    process = start(folder, seconds=30)
    wait_for(lambda: bool(toy.executions(log)), process)
    # Stopped, so that both are there when it goes on: the second must not wait for the first.
    os.kill(process.pid, signal.SIGSTOP)
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGCONT)
    process.communicate(timeout=60)
    assert process.returncode in (130, 143)
    assert_gone({line["pid"] for line in toy.executions(log)})


def test_a_finished_sweep_is_over_at_once(log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    finish(folder)
    before = log.read_text()
    text = finish(folder)
    assert f"0 tasks run, {TASKS} done already" in text
    assert log.read_text() == before
