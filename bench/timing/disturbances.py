"""What two states of a machine, before and after a measurement, tell of what disturbed it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from bench.core.results import MachineState

#: share of all CPUs' time: of other processes, and taken by a hypervisor
OTHERS = (0.10, 0.50)
STOLEN = (0.02, 0.10)
#: /proc/stat counts hundredths of seconds: below this many seconds shares mean nothing
_SHORTEST = 1.0


class Disturbance(NamedTuple):
    kind: str
    severity: Literal["noisy", "unstable"]
    text: str


def disturbances(
    before: MachineState | None, after: MachineState | None, cores: int | None = None
) -> list[Disturbance]:
    """What happened between two states of a machine (`machine.state`) that a latency suffers from.

    Args:
        cores: of the machine; without it shares are of one core.
    """
    if not before or not after:
        return []
    found: list[Disturbance] = []
    throttled = _increase(before.throttle_count, after.throttle_count)
    if throttled:
        found.append(Disturbance("throttle", "unstable", "the CPU throttled itself"))
    swapped = _increase(before.swap_pages, after.swap_pages)
    if swapped:
        found.append(Disturbance("swap", "noisy", "memory was swapped"))
    if before.on_battery or after.on_battery:
        found.append(Disturbance("battery", "noisy", "the machine ran on battery"))
    elapsed = after.at - before.at
    start, end = before.cpu_seconds, after.cpu_seconds
    if start and end and elapsed >= _SHORTEST:
        available = elapsed * (cores or 1)
        own = after.own_seconds - before.own_seconds
        others = (end.busy - start.busy - own) / available
        stolen = (end.stolen - start.stolen) / available
        if others > OTHERS[0]:
            severity: Literal["noisy", "unstable"] = "unstable" if others > OTHERS[1] else "noisy"
            text = f"other processes took {others:.0%} of the CPU time"
            found.append(Disturbance("others", severity, text))
        if stolen > STOLEN[0]:
            severity = "unstable" if stolen > STOLEN[1] else "noisy"
            found.append(Disturbance("stolen", severity, f"the hypervisor took {stolen:.0%} of the CPU time"))
    elif not start:
        load = before.load_average
        if load and load[0] > 0.5 * (cores or 1):
            found.append(Disturbance("load", "noisy", f"load average {load[0]:.1f} before the round"))
    return found


def _increase(first: int | None, last: int | None) -> int:
    return 0 if first is None or last is None else last - first
