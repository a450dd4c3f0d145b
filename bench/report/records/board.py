"""What records of boards and meters tell: phases, batches, their fit, register accesses, clock, energy.

All of it has the origin of the record: `modelled` on the emulated board, `measured` on a real one. A meter's
energies are a record of their own (`bench energy --into`). What is missing gives no row; what the agent
refused gives one that says why.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from bench.report.records.fpga import MEASURED, MODELLED, Finding, finite, part_of
from bench.report.records.read import Cell

#: what the agent times, in the order in which it happens; titles of columns and bars
PHASES = {
    "load": "load",
    "encode": "encode",
    "copy_in": "copy in",
    "execute": "execute",
    "copy_out": "copy out",
    "decode": "decode",
    "end_to_end": "end to end",
}
#: scope of the times of a batch
BATCH = "batch "
VIRTUAL = "modelled: virtual time of the emulated board, not to be compared with measured times"
#: of a modelled time: how many cycles the kernel takes is not the design's
PLACEHOLDER_CYCLES = "placeholder_cycles"
NO_RAILS = "the board has no power rails: measure with a meter and `bench energy --into`"
#: the agent's names of what it refused, and the metric and scope that this is here
_REFUSED = {
    "phases": ("phase_p50", "end_to_end"),
    "throughput": ("batch_time", ""),
    "fit": ("call_overhead", "end_to_end"),
    "windows": ("window_throughput", ""),
    "energy": ("energy", ""),
    "loopback": ("loopback_time", ""),
}
_REFUSED_BATCH = "throughput_batch_"


def findings(cell: Cell) -> Iterator[Finding]:
    """Rows of a cell that ran on a board, and of the meter that watched it."""
    yield from _of_meter(cell)
    told = board_part(cell)
    origin = told.get("origin")
    if origin not in (MEASURED, MODELLED):
        return
    caveat = _caveat(told) if origin == MODELLED else ""
    note = VIRTUAL if origin == MODELLED else ""
    if caveat:
        note += "; the cycles of its kernel are a placeholder, not the design's"
    for one in (*_phases(told), *_batches(told), *_accesses(told), *_loopback(told)):
        yield one._replace(origin=origin, reason=note, caveat=caveat)
    clock = finite(told.get("fabric_clock_mhz"))
    if clock is not None:
        yield Finding("fabric_clock", clock * 1e6, "", origin)
    yield from (one._replace(origin=origin) for one in (*_energy(told, origin), *_refused(told)))


def board_part(cell: Cell) -> dict[str, Any]:
    """What a board told of a cell; empty where it ran on none."""
    return cell.evaluate.evaluation.board if cell.evaluate is not None else {}


def _caveat(told: dict[str, Any]) -> str:
    """Whether the kernel that was modelled takes as long as the design would."""
    checks = told.get("sanity")
    unknown = any(
        isinstance(check, dict) and check.get("name") == "cycles_bound" and check.get("passed") is None
        for check in (checks if isinstance(checks, list) else ())
    )
    return PLACEHOLDER_CYCLES if unknown else ""


def _phases(told: dict[str, Any]) -> Iterator[Finding]:
    for phase in PHASES:
        found = part_of(part_of(told, "phases"), phase)
        n = finite(found.get("n"))
        # One load has no percentiles.
        for name in ("p50", "p95", "p99") if n is not None and n > 1 else ("p50",):
            value = finite(found.get(name))
            if value is not None:
                yield Finding(f"phase_{name}", value, phase, n=int(n) if n is not None else None)


def _batches(told: dict[str, Any]) -> Iterator[Finding]:
    rows = told.get("throughput")
    for row in rows if isinstance(rows, list) else ():
        if not isinstance(row, dict):
            continue
        frames, seconds = finite(row.get("batch")), row.get("seconds")
        known = [value for one in (seconds or ()) if (value := finite(one)) is not None and value > 0]
        if frames and known:
            median, scope = statistics.median(known), f"{BATCH}{frames:g}"
            yield Finding("batch_time", median, scope, n=len(known))
            yield Finding("batch_throughput", frames / median, scope, n=len(known))
    for name, scope in (("fit", "end_to_end"), ("fit_execute", "execute")):
        fit = part_of(told, name)
        for metric, key in (("call_overhead", "a_s"), ("time_per_inference", "b_s"), ("fit_r2", "r2")):
            value = finite(fit.get(key))
            if value is not None:
                yield Finding(metric, value, scope)
    windows = told.get("windows")
    rates = [
        rate
        for one in (windows if isinstance(windows, list) else ())
        if isinstance(one, dict) and (rate := finite(one.get("per_second"))) is not None
    ]
    if rates:
        yield Finding("window_throughput", statistics.median(rates), n=len(rates))


def _accesses(told: dict[str, Any]) -> Iterator[Finding]:
    for path in ("lean", "stock"):
        found = part_of(part_of(told, "register_accesses"), path)
        reads, writes = finite(found.get("reads")), finite(found.get("writes"))
        if reads is not None and writes is not None:
            yield Finding("register_accesses", reads + writes, path)


def _loopback(told: dict[str, Any]) -> Iterator[Finding]:
    found = part_of(told, "loopback")
    execute = part_of(found, "execute")
    n, median = finite(execute.get("n")), finite(execute.get("p50"))
    above = finite(found.get("execute_above_loopback_s"))
    count = int(n) if n is not None else None
    if median is not None:
        yield Finding("loopback_time", median, n=count)
    if above is not None:
        yield Finding("above_loopback", above, n=count)


def _energy(told: dict[str, Any], origin: str) -> Iterator[Finding]:
    """Of the rails that the board measures itself."""
    found = part_of(told, "energy")
    if not found:
        if origin == MEASURED and part_of(told, "board").get("sensors") == []:
            yield Finding("energy", None, reason=NO_RAILS)
        return
    named = found.get("total_of") or sorted(part_of(found, "rails"))
    scope = f"rails {', '.join(str(name) for name in named)}"
    total, seconds, samples = (finite(found.get(name)) for name in ("total_j", "seconds", "samples"))
    power = total / seconds if total is not None and seconds else None
    yield from _energies(
        scope,
        int(samples) if samples is not None else None,
        finite(found.get("total_j_per_inference")),
        finite(found.get("net_j_per_inference")),
        power,
        finite(part_of(found, "idle").get("watt")),
        finite(found.get("rate_hz")),
    )


def _of_meter(cell: Cell) -> Iterator[Finding]:
    """Of a meter's trace that was taken into the results folder."""
    if cell.energy is None or cell.evaluate is None or cell.energy.status != "ok":
        return
    trace = cell.energy.energy
    windows = [window for window in trace.windows if window.inferences]
    powers = [window.power_w for window in windows if window.power_w is not None]
    yield from _energies(
        f"{trace.meter}, {', '.join(trace.rails or ())}",
        len(windows),
        trace.median_j_per_inference,
        trace.median_net_j_per_inference,
        statistics.median(powers) if powers else None,
        trace.idle.power_w if trace.idle else None,
        trace.achieved_rate_hz,
    )


def _energies(
    scope: str,
    n: int | None,
    total: float | None,
    net: float | None,
    power: float | None,
    idle: float | None,
    rate: float | None,
) -> Iterator[Finding]:
    named = ("energy", "energy_net", "power_busy", "power_idle", "energy_rate")
    for metric, value in zip(named, (total, net, power, idle, rate), strict=True):
        if value is not None:
            yield Finding(metric, value, scope, n=n)
    if total is not None and net is None:
        yield Finding("energy_net", None, scope, reason="no idle window was measured")


def _refused(told: dict[str, Any]) -> Iterator[Finding]:
    rows = told.get("refused")
    for row in rows if isinstance(rows, list) else ():
        if not isinstance(row, dict):
            continue
        name, why = str(row.get("name")), str(row.get("reason") or "refused")
        if name.startswith(_REFUSED_BATCH):
            yield Finding("batch_throughput", None, BATCH + name.removeprefix(_REFUSED_BATCH), reason=why)
        elif name in _REFUSED:
            metric, scope = _REFUSED[name]
            yield Finding(metric, None, scope, reason=why)
