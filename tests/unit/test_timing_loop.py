"""Warm-up, number of samples, blocks and garbage collection, to the nanosecond of a fake clock."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pytest

from bench.core.cells import Protocol
from bench.timing import loop
from bench.timing.clock import resolution_ns, system_clock
from bench.timing.loop import Timer, block_size, gc_frozen, gc_off, time_scope
from tests.timing_fakes import FakeClock

MS, SECOND = 1_000_000, 1_000_000_000
FULL = Protocol.preset("full")


def timer(fake: FakeClock, resolution: float = 1.0) -> Timer:
    return Timer(fake.clock(), resolution, 0.0)


def test_fast_calls_are_warmed_up_and_sampled_by_the_clock() -> None:
    fake = FakeClock()
    times = time_scope(fake.call(MS), [()], timer(fake), FULL)
    assert times["warmup"] == {"calls": 500, "seconds": 0.5}
    assert (times["n"], times["total_seconds"], times["block"]) == (1000, 1.0, 1)
    assert fake.now == 1500 * MS


def test_slow_calls_are_warmed_up_and_sampled_by_number() -> None:
    fake = FakeClock()
    times = time_scope(fake.call(SECOND), [()], timer(fake), FULL)
    assert times["warmup"] == {"calls": 10, "seconds": 10.0}
    assert (times["n"], times["total_seconds"]) == (50, 50.0)


def test_a_scope_after_another_is_warmed_up_by_number_alone() -> None:
    fake = FakeClock()
    assert time_scope(fake.call(MS), [()], timer(fake), FULL, warm=True)["warmup"]["calls"] == 10


def test_one_sample_is_taken_even_if_the_protocol_asks_for_none() -> None:
    fake = FakeClock()
    nothing = Protocol("nothing", 1, 0.0, 0, 0, 0.0)
    times = time_scope(fake.call(MS), [()], timer(fake), nothing)
    assert (times["n"], times["warmup"]["calls"]) == (1, 1)


def test_only_the_call_is_within_a_sample() -> None:
    fake = FakeClock(tick=5)

    def slow_turn() -> Iterator[tuple[int]]:
        while True:
            fake.now += 40_000
            yield (1,)

    samples, _ = loop._samples(fake.call(2000), slow_turn(), fake.clock(), 1, 20, 0.0)
    assert samples.tolist() == [2005] * 20  # one read of 5 ns falls into each


def test_samples_outgrow_their_memory_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_FIRST_CAPACITY", 4)
    fake = FakeClock()
    durations = iter(range(5000, 5037))

    def call() -> None:
        fake.now += next(durations)

    samples, seconds = loop._samples(call, iter([()] * 37), fake.clock(), 1, 37, 0.0)
    assert samples.tolist() == list(range(5000, 5037))
    assert seconds == samples.sum() / 1e9


def test_inputs_are_taken_in_turn() -> None:
    fake, seen = FakeClock(), []

    def call(value: int) -> None:
        seen.append(value)
        fake.now += MS

    time_scope(call, [(1,), (2,), (3,)], timer(fake), Protocol("p", 1, 0.0, 4, 5, 0.0))
    assert seen == [1, 2, 3, 1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize(
    ("ns", "resolution", "block"),
    [
        (1000, 1.0, 1),
        (999, 1.0, 2),
        (400, 1.0, 3),
        (400, 100.0, 250),
        (99_999, 100.0, 2),
        (100_000, 100.0, 1),
    ],
)
def test_blocks_only_below_1000_times_the_resolution(ns: int, resolution: float, block: int) -> None:
    fake = FakeClock()
    times = time_scope(fake.call(ns), [()], timer(fake, resolution), Protocol("p", 1, 0.0, 10, 50, 0.0))
    assert (times["block"], times["n"], times["median_ns"]) == (block, 50, ns)


def test_a_block_of_a_call_that_the_clock_cannot_see_is_doubled_until_it_can() -> None:
    fake = FakeClock(step=1000)
    turn = iter(lambda: (), None)
    block = block_size(fake.call(100), turn, timer(fake, 1000.0), 0.0)
    assert block == 2**14  # 2**13 calls take 819,200 ns, less than 1000 steps of 1000 ns


def test_blocks_take_inputs_in_turn_too() -> None:
    fake, seen = FakeClock(), []

    def call(value: int) -> None:
        seen.append(value)
        fake.now += 500

    times = time_scope(call, [(1,), (2,), (3,)], timer(fake), Protocol("p", 1, 0.0, 1, 2, 0.0))
    assert times["block"] == 2
    assert seen == [1 + i % 3 for i in range(len(seen))]


def test_no_garbage_collection_within_the_window() -> None:
    fake, states = FakeClock(), set()

    def call() -> None:
        states.add(gc.isenabled())
        fake.now += MS

    assert gc.isenabled()
    times = time_scope(call, [()], timer(fake), Protocol("p", 1, 0.0, 1, 3, 0.0))
    assert states == {False}
    assert times["gc_was_enabled"] is True
    assert gc.isenabled()


def test_garbage_collection_is_put_back_as_it_was() -> None:
    gc.disable()
    try:
        with gc_off() as was_enabled:
            assert not was_enabled
        assert not gc.isenabled()
    finally:
        gc.enable()
    with pytest.raises(RuntimeError), gc_off():
        raise RuntimeError
    assert gc.isenabled()


def test_old_objects_are_left_out_of_collections_and_given_back() -> None:
    assert gc.get_freeze_count() == 0
    with pytest.raises(RuntimeError), gc_frozen():
        assert gc.get_freeze_count() > 1000
        raise RuntimeError
    assert gc.get_freeze_count() == 0
    with gc_frozen(), gc_frozen():
        pass
    assert gc.get_freeze_count() == 0
    gc.freeze()
    try:
        with gc_frozen():
            pass
        assert gc.get_freeze_count() > 0  # what the caller froze stays frozen
    finally:
        gc.unfreeze()


def test_resolution_is_nominal_while_reads_differ() -> None:
    assert resolution_ns(FakeClock(tick=30).clock(1.0)) == 1.0


def test_resolution_is_the_smallest_step_where_reads_are_equal() -> None:
    assert resolution_ns(FakeClock(tick=30, step=1000).clock(1.0)) == 1000.0


def test_resolution_is_never_finer_than_nominal() -> None:
    assert resolution_ns(FakeClock(tick=30, step=1000).clock(2000.0)) == 2000.0


def test_overhead_is_what_an_empty_call_takes() -> None:
    found = Timer.examine(FakeClock(tick=7).clock(1.0))
    assert found.to_json() == {"clock": "fake", "resolution_ns": 1.0, "overhead_ns": 7.0}


def test_system_clock_counts_nanoseconds_forward() -> None:
    clock = system_clock()
    reads = np.array([clock.read() for _ in range(100)])
    assert (np.diff(reads) >= 0).all()
    assert reads[-1] > reads[0]
    assert 0 < clock.nominal_ns < MS
