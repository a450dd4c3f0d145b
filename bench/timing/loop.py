"""The timed loop: warm-up, then one window of samples. Nothing here knows what it times."""

from __future__ import annotations

import gc
import math
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np

from bench.core.cells import Protocol
from bench.timing.clock import Clock, resolution_ns
from bench.timing.samples import scope_times

Call = Callable[..., object]
#: arguments of the calls, used in turn
Inputs = Sequence[tuple[Any, ...]]

#: one call shorter than this many times the clock's resolution is timed in blocks
BLOCK_BELOW = 1000
_RECENT = 31
_FIRST_CAPACITY = 1 << 16


@dataclass(frozen=True)
class Timer:
    """A clock and what was found out about it.

    Attributes:
        overhead_ns: median of samples of a call that does nothing: what every sample holds besides
            the call. Recorded, never subtracted.
    """

    clock: Clock
    resolution_ns: float
    overhead_ns: float

    @classmethod
    def examine(cls, clock: Clock) -> Timer:
        """Find out resolution and overhead. Takes about a millisecond."""
        with gc_off():
            window = _samples(_nothing, cycle([()]), clock, 1, 1000, 0.0)[0]
        return cls(clock, resolution_ns(clock), float(np.median(window)))

    def to_json(self) -> dict[str, Any]:
        return {
            "clock": self.clock.name,
            "resolution_ns": self.resolution_ns,
            "overhead_ns": self.overhead_ns,
        }


@contextmanager
def gc_off() -> Iterator[bool]:
    """No garbage collection inside; the state before is given and put back."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield was_enabled
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def gc_frozen() -> Iterator[None]:
    """What exists now is left out of the collections inside, so that they look at little.

    Below an imported TensorFlow one full collection takes tenths of a second, and there are two of
    them for every artifact.
    """
    frozen_before = gc.get_freeze_count() > 0
    if not frozen_before:
        gc.collect()
        gc.freeze()
    try:
        yield
    finally:
        if not frozen_before:
            gc.unfreeze()


def time_scope(
    call: Call, inputs: Inputs, timer: Timer, protocol: Protocol, *, warm: bool = False
) -> dict[str, Any]:
    """Warm up, then sample `call` until there are enough samples and enough time has passed.

    Args:
        call: what is timed; called with each of `inputs` in turn.
        inputs: tuples of arguments; `[()]` for a call without any.
        warm: the same runner was timed just before: warm up by `protocol.warmup_calls` alone.
    """
    turn = cycle(inputs)
    with gc_off() as gc_was_enabled:
        warmup = warm_up(call, turn, timer.clock, protocol, seconds=0 if warm else protocol.warmup_seconds)
        block = block_size(call, turn, timer, warmup.typical_ns)
        samples, seconds = _samples(
            call, turn, timer.clock, block, protocol.min_samples, protocol.min_seconds
        )
    return {
        **scope_times(samples, block, seconds),
        "warmup": {"calls": warmup.calls, "seconds": warmup.seconds},
        "gc_was_enabled": gc_was_enabled,
    }


@dataclass(frozen=True)
class Warmup:
    """What the warm-up did; `typical_ns` is the median of its last calls."""

    calls: int
    seconds: float
    typical_ns: float


def warm_up(
    call: Call, turn: Iterator[tuple[Any, ...]], clock: Clock, protocol: Protocol, *, seconds: float
) -> Warmup:
    """Call until both `seconds` and `protocol.warmup_calls` are reached; at least once."""
    read = clock.read
    recent: deque[int] = deque(maxlen=_RECENT)
    least, wanted_ns = max(1, protocol.warmup_calls), seconds * 1e9
    calls = 0
    start = end = read()
    while calls < least or end - start < wanted_ns:
        arguments = next(turn)
        before = read()
        call(*arguments)
        end = read()
        recent.append(end - before)
        calls += 1
    return Warmup(calls, (end - start) / 1e9, float(np.median(recent)))


def block_size(call: Call, turn: Iterator[tuple[Any, ...]], timer: Timer, typical_ns: float) -> int:
    """1 where one call is long enough for the clock, otherwise calls per sample, doubled until the
    shortest of three blocks is."""
    enough = BLOCK_BELOW * timer.resolution_ns
    if typical_ns >= enough:
        return 1
    block = 2 if typical_ns <= 0 else max(2, math.ceil(enough / typical_ns))
    while _samples(call, turn, timer.clock, block, 3, 0.0)[0].min() < enough:
        block *= 2
    return block


def _samples(
    call: Call,
    turn: Iterator[tuple[Any, ...]],
    clock: Clock,
    block: int,
    min_samples: int,
    min_seconds: float,
) -> tuple[np.ndarray, float]:
    """Samples in ns (n,) of `block` calls each, and the window's wall time in seconds."""
    read = clock.read
    # Plain integers in memory that is there already: no object of a sample outlives its turn, and
    # what little the bookkeeping costs lies between the samples, not in them.
    kept = array("q", bytes(8 * _FIRST_CAPACITY))
    capacity, n, least, wanted_ns = _FIRST_CAPACITY, 0, max(1, min_samples), min_seconds * 1e9
    start = end = read()
    while n < least or end - start < wanted_ns:
        if n == capacity:
            kept.frombytes(bytes(8 * capacity))
            capacity *= 2
        if block == 1:
            arguments = next(turn)
            before = read()
            call(*arguments)
            end = read()
        else:
            several = list(islice(turn, block))
            before = read()
            for arguments in several:
                call(*arguments)
            end = read()
        kept[n] = end - before
        n += 1
    return np.frombuffer(kept, np.int64, n).copy(), (end - start) / 1e9


def _nothing() -> None:
    pass
