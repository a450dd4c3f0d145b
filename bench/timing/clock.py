"""The clock that latency is read from, and what it can resolve."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

#: consecutive reads that decide whether the clock is as fine as it says
_READS = 1000
_GIVE_UP = 1_000_000


@dataclass(frozen=True)
class Clock:
    """A monotonic clock.

    Attributes:
        read: now, in whole nanoseconds.
        nominal_ns: the resolution that the system claims, in nanoseconds.
        name: for the record.
    """

    read: Callable[[], int]
    nominal_ns: float
    name: str = "perf_counter"


def system_clock() -> Clock:
    """The finest monotonic clock of this system."""
    return Clock(time.perf_counter_ns, time.get_clock_info("perf_counter").resolution * 1e9)


def resolution_ns(clock: Clock) -> float:
    """What the clock resolves: its nominal resolution, unless two reads one after the other are ever
    equal; then it ticks more coarsely than a read takes, and its smallest step is the resolution."""
    read = clock.read
    smallest, equal = 0, False
    before = read()
    for count in range(_GIVE_UP):
        now = read()
        step = now - before
        before = now
        if step <= 0:
            equal = True
        elif not smallest or step < smallest:
            smallest = step
        if count >= _READS and (smallest or not equal):
            break
    return max(clock.nominal_ns, float(smallest)) if equal else clock.nominal_ns
