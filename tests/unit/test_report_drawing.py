"""Pictures by two processes: the same as by one, errors as they were, nothing left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.report import frame, write_report
from bench.report.pictures import drawing
from bench.report.pictures.drawing import Drawing, fork_is_safe
from bench.report.records.read import frozen
from tests.synthetic import KINDS, build

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")
PARENT = os.getpid()
PLANS = list(range(8))


def slow(plan: int) -> tuple[bytes, ...]:
    """Slow enough for both processes to take part; the PNG tells who drew it."""
    time.sleep(0.03)
    return f"ä{plan}".encode(), str(os.getpid()).encode()


def test_both_processes_draw_and_the_order_is_kept() -> None:
    with Drawing(PLANS, slow, fork=True) as work:
        found = work.finish()
    assert [svg for svg, _ in found] == [f"ä{n}".encode() for n in PLANS]
    assert len({png for _, png in found}) == 2 and str(os.getpid()).encode() in {png for _, png in found}


def test_an_error_of_the_child_is_raised_in_the_parent() -> None:
    def draw(plan: int) -> tuple[bytes, ...]:
        time.sleep(0.02)
        if plan in (0, 1):  # whoever begins meets one of them
            raise ValueError(f"no ink for {plan}")
        return b"", b""

    with pytest.raises(ValueError, match="no ink for"), Drawing(PLANS, draw, fork=True) as work:
        work.finish()
    assert work._child == 0  # ended, not left behind


def test_an_error_that_only_the_child_meets_costs_nothing_but_time() -> None:
    def draw(plan: int) -> tuple[bytes, ...]:
        time.sleep(0.02)
        if os.getpid() != PARENT:
            raise MemoryError
        return str(plan).encode(), b""

    with Drawing(PLANS, draw, fork=True) as work:
        assert [svg for svg, _ in work.finish()] == [str(n).encode() for n in PLANS]


def test_what_a_killed_child_leaves_half_is_drawn_again() -> None:
    def draw(plan: int) -> tuple[bytes, ...]:
        time.sleep(0.02)
        if os.getpid() != PARENT and plan > 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return str(plan).encode(), b"x" * 100_000

    with Drawing(PLANS, draw, fork=True) as work:
        assert [svg for svg, _ in work.finish()] == [str(n).encode() for n in PLANS]


@pytest.mark.parametrize("wide", [True, False], ids=["no contents", "half a head"])
def test_a_picture_that_is_not_whole_does_not_count(wide: bool) -> None:
    work = Drawing(PLANS, slow, fork=False)
    work._results = os.memfd_create("test")
    lengths = drawing._LENGTH.pack(1) + drawing._LENGTH.pack(3)
    whole = drawing._HEAD.pack(2, 2) + lengths + b"a" + b"bcd"
    os.write(work._results, whole + drawing._HEAD.pack(5, 2) + lengths[: len(lengths) if wide else -1] + b"")
    work._numbers = os.open(os.devnull, os.O_RDONLY)
    with subprocess.Popen(["true"]) as child:
        work._child = child.pid
        assert work._of_child() == {2: (b"a", b"bcd")}


def test_leaving_early_ends_the_child_and_closes_its_files() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    def endless(plan: int) -> tuple[bytes, ...]:
        time.sleep(60)
        return slow(plan)

    with Drawing(PLANS, endless, fork=True) as work:
        child = work._child
        assert child
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    with Drawing(PLANS, slow, fork=True) as work:
        work.finish()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_no_fork_beside_threads_or_tensorflow_or_on_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in drawing.THREADED:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    alone = threading.active_count() == 1
    assert fork_is_safe() == alone
    with monkeypatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda _: {0})
        assert not fork_is_safe()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tensorflow", sys)
        assert not fork_is_safe()
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert not fork_is_safe()
    finally:
        end.set()
        thread.join()


def test_where_no_process_is_to_be_had_one_draws_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", fail)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with Drawing(PLANS, slow, fork=True) as work:
        found = work.finish()
    assert {png for _, png in found} == {str(os.getpid()).encode()}
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_few_pictures_need_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "fork_is_safe", lambda: True)
    with Drawing(PLANS[:3], slow) as work:
        assert work._child == 0
    with Drawing(PLANS[:4], slow) as work:
        assert work._child != 0


def test_reports_are_the_same_with_and_without_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: KINDS[name] for name in ("baseline", "pruned", "fiq")}
    build(tmp_path, models=("a", "b"), variants=few, seeds=(0,), items=50)
    found = []
    for safe in (True, False):
        monkeypatch.setattr(drawing, "fork_is_safe", lambda safe=safe: safe)
        written = write_report(tmp_path, "synthetic", tmp_path / str(safe))
        found.append({name: path.read_bytes() for name, path in written.items()})
    assert found[0] == found[1] and len([name for name in found[0] if name.endswith(".svg")]) == 18


def test_garbage_collection_is_as_it_was(tmp_path: Path) -> None:
    build(tmp_path, variants={"baseline": KINDS["baseline"]}, seeds=(0,), items=50)
    gc.unfreeze()
    for turn in (gc.enable, gc.disable):
        turn()
        was = gc.isenabled(), gc.get_freeze_count()
        frame(tmp_path)
        write_report(tmp_path, "synthetic")
        assert (gc.isenabled(), gc.get_freeze_count()) == was
    gc.enable()
    gc.freeze()
    with frozen():
        pass
    assert gc.get_freeze_count() > 0  # somebody else's stay frozen
    gc.unfreeze()
