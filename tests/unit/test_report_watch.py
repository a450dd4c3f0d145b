"""`bench report --watch`: fresh where records changed, silent where this machine is measured on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bench.report.watch as watching
import bench.report.write as writing
from bench.report.live import refreshing, steadied
from bench.report.watch import Pace, Watch
from bench.report.write import Choice
from bench.store.store import Store
from tests.synthetic import KINDS, build

ROOT = Path(__file__).parents[2]
FEW = {name: KINDS[name] for name in ("baseline", "fiq")}
PACE = Pace()


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pictures that were really drawn."""
    names: list[str] = []
    draw = writing.draw

    def noted(plan: Any, formats: Any) -> Any:
        names.append(plan.name)
        return draw(plan, formats)

    monkeypatch.setattr(writing, "draw", noted)
    monkeypatch.setattr("bench.report.pictures.drawing.WORTH_A_CHILD", 10_000)
    return names


def made(root: Path, clock: Time) -> Watch:
    choice = Choice(False, ("svg",))
    return Watch(root, "synthetic", choice=choice, now=clock.now, sleep=clock.sleep)


def small(root: Path, **bend: Any) -> None:
    build(root, variants=FEW, seeds=(0,), targets=("tflite",), items=50, **bend)


def page_of(root: Path) -> bytes:
    return (root / "reports" / "synthetic" / "report.html").read_bytes()


def test_it_is_written_again_only_where_records_changed(
    tmp_path: Path, clock: Time, drawn: list[str]
) -> None:
    small(tmp_path, not_run=("fiq",))
    watch = made(tmp_path, clock)
    assert watch.step() == PACE.look and watch.written == 1
    first, page = len(drawn), page_of(tmp_path)
    assert b"not run yet" in page and b"location.reload" in page
    for _ in range(3):
        watch.step()
    assert watch.written == 1 and len(drawn) == first
    small(tmp_path)
    watch.step()
    assert watch.written == 2 and b"not run yet" not in page_of(tmp_path) and len(drawn) > first


def test_only_pictures_whose_data_changed_are_drawn_again(
    tmp_path: Path, clock: Time, drawn: list[str]
) -> None:
    small(tmp_path)
    watch = made(tmp_path, clock)
    watch.step()
    first = list(drawn)
    (tmp_path / "records" / "build" / "zz").mkdir()  # a record that this sweep does not use
    watch.step()
    assert first and drawn == first and watch.written == 2


def test_a_record_that_is_replaced_is_seen(tmp_path: Path, clock: Time) -> None:
    small(tmp_path)
    watch = made(tmp_path, clock)
    before = watch.signature()
    path = next((tmp_path / "records" / "evaluate").rglob("*.json"))
    time.sleep(0.02)  # the file system's clock
    record = Store(tmp_path).read("evaluate", path.stem)
    assert record is not None
    Store(tmp_path).write(record)
    assert watch.signature() != before


def test_nothing_happens_while_this_machine_is_measured_on(tmp_path: Path, clock: Time) -> None:
    small(tmp_path, not_run=("fiq",))
    watch = made(tmp_path, clock)
    watch.step()
    with Store(tmp_path).claims.host(exclusive=True) as held:
        assert held
        small(tmp_path)
        assert watch.step() == PACE.measuring
        page = page_of(tmp_path)
        assert b"paused while this machine is measured on" in page and b"60000" in page
        for _ in range(100):
            assert watch.step() == PACE.measuring
            clock.sleep(PACE.measuring)
        assert watch.written == 1 and page_of(tmp_path) == page
        watch.finish()
        assert watch.written == 1 and page_of(tmp_path) == steadied(page)
    assert watch.step() == PACE.look and watch.written == 2


def test_no_measurement_starts_while_a_report_is_made(
    tmp_path: Path, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(tmp_path)
    held: list[tuple[bool, bool]] = []

    def look(*_: Any, **__: Any) -> None:
        for alone in (True, False):
            with Store(tmp_path).claims.host(exclusive=alone) as free:
                held.append((alone, free))

    monkeypatch.setattr(watching, "write_report", look)
    made(tmp_path, clock).step()
    assert held == [(True, False), (False, True)]
    with Store(tmp_path).claims.host(exclusive=True) as free:
        assert free


def test_it_rests_longer_than_it_works(tmp_path: Path, clock: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    small(tmp_path, not_run=("fiq",))
    monkeypatch.setattr(watching, "write_report", lambda *_, **__: clock.sleep(10))
    watch = made(tmp_path, clock)
    watch.step()
    for number in range(60):
        folder = tmp_path / "records" / "build" / f"x{number}"
        folder.mkdir()  # something new at every look
        seconds = watch.step()
        assert seconds is not None
        clock.sleep(seconds)
    worked = clock.slept.count(10)
    assert worked == watch.written and 1 < worked <= 1 + clock.seconds / (10 * (1 + PACE.rest))


def test_it_ends_by_itself_when_nobody_works_any_more(tmp_path: Path, clock: Time) -> None:
    small(tmp_path)
    made(tmp_path, clock).run()
    assert PACE.idle < sum(clock.slept) < 2 * PACE.idle
    page = page_of(tmp_path)
    assert b"location.reload" not in page and steadied(page) == page


def test_it_stays_while_somebody_has_a_task(tmp_path: Path, clock: Time) -> None:
    small(tmp_path)
    watch, claims = made(tmp_path, clock), Store(tmp_path).claims
    assert claims.acquire("a" * 64)
    try:
        for _ in range(200):
            assert watch.step() == PACE.look
            clock.sleep(PACE.look)
    finally:
        claims.close()
    watch.run()


def test_an_interrupt_leaves_a_whole_page_of_the_last_records(
    tmp_path: Path, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(tmp_path, not_run=("fiq",))
    watch = made(tmp_path, clock)

    def interrupted(seconds: float) -> None:
        small(tmp_path)
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "_sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        watch.run()
    page = page_of(tmp_path)
    assert (
        b"location.reload" not in page and b"not run yet" not in page and page.rstrip().endswith(b"</html>")
    )
    assert not list((tmp_path / "reports").rglob(".*"))


def test_before_the_sweep_is_planned_it_waits(tmp_path: Path, clock: Time) -> None:
    watch = made(tmp_path, clock)
    assert watch.step() == PACE.look and watch.written == 0
    small(tmp_path)
    watch.step()
    assert watch.written == 1


def test_a_reload_is_put_in_once_and_taken_out_without_a_trace() -> None:
    page = b"<html><head></head><body><header></header></body></html>"
    live = refreshing(refreshing(page, 5, "Live."), 60, "Paused.")
    assert live.count(b"location.reload") == 1 and b"60000" in live and b"Live." not in live
    assert b'content="60"' in live and steadied(live) == page


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A real (toy) sweep in a process of its own."""
    environment = {
        **os.environ,
        "BENCH_PLUGINS": "tests.toy",
        "TOY_LOG": str(tmp_path / "log"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "tests.e2e.toy_run", str(tmp_path / "results"), "0.3", "2"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, text=True) as process:
        yield process
        process.kill()


def test_a_real_sweep_is_followed_to_its_end(tmp_path: Path, running: subprocess.Popen[str]) -> None:
    command = [sys.executable, "-m", "bench", "--results", str(tmp_path / "results"), "report", "toy"]
    with subprocess.Popen(
        [*command, "--watch", "--pictures", "main", "--formats", "svg"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as watch:
        assert watch.stderr is not None and "watching toy" in watch.stderr.readline()
        assert "written" in watch.stderr.readline()
        live = (tmp_path / "results" / "reports" / "toy" / "report.html").read_bytes()
        assert running.wait(200) == 0
        watch.send_signal(signal.SIGINT)
        assert watch.wait(100) == 130
    page = (tmp_path / "results" / "reports" / "toy" / "report.html").read_bytes()
    assert b"location.reload" in live
    assert b"location.reload" not in page and b"not run yet" not in page and b"quantized" in page
