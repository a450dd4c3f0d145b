"""What records of FPGA targets tell: cost in fixed point, agreement along the chain, hardware by stage.

The facts come from the steps of a cell's chain (`cost`, `layers`, `hardware`), the agreement from its
evaluate record. Everything may be missing: then there is no number, or one line that says why.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from bench.report.metrics import RESOURCES, STAGES
from bench.report.records.read import Cell, Outcome

MEASURED, SIMULATED, ESTIMATED, MODELLED = "measured", "simulated", "estimated", "modelled"
ORIGINS = (MEASURED, SIMULATED, ESTIMATED, MODELLED)
#: Artifacts of these formats are a design that no hardware runs: types, C++ source, its C simulation.
DESIGNS = frozenset({"fixed", "hls", "csim", "rtl"})
NO_TIME = Outcome.not_applicable("C simulation says nothing about time")
NO_FILE = Outcome.not_applicable("C++ source and its simulation: their size says nothing about the hardware")
#: The same of a design whose RTL was simulated.
NO_CALL = Outcome.not_applicable("nothing ran on hardware: see cycles, and the kernel's latency at a clock")
NO_BINARY = Outcome.not_applicable("Verilog: its size says nothing about the hardware, see LUT, FF and DSP")


class Finding(NamedTuple):
    """One row of the frame, without the cell it belongs to."""

    metric: str
    value: float | None
    scope: str = ""
    origin: str = MEASURED
    stage: str = ""
    n: int | None = None
    reason: str = ""
    tool: str = ""
    first_difference: str = ""
    caveat: str = ""


def is_design(cell: Cell) -> bool:
    """Whether a cell is a design that was only simulated."""
    return cell.entry.get("format") in DESIGNS


def no_time(cell: Cell) -> Outcome:
    """Why a design has no measured latency."""
    return NO_CALL if cell.entry.get("format") == "rtl" else NO_TIME


def no_file(cell: Cell) -> Outcome:
    """Why a design has no size in bytes."""
    return NO_BINARY if cell.entry.get("format") == "rtl" else NO_FILE


def origin_of(cell: Cell) -> str:
    """How the outputs of a cell were got. An emulated board's are those of the simulation behind it."""
    return SIMULATED if is_design(cell) or _emulated(cell) else MEASURED


def _emulated(cell: Cell) -> bool:
    board = cell.evaluate.evaluation.board if cell.evaluate is not None else {}
    return part_of(board, "board").get("emulated") is True


def finite(value: Any) -> float | None:
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def part_of(facts: dict[str, Any], name: str) -> dict[str, Any]:
    found = facts.get(name)
    return found if isinstance(found, dict) else {}


def fixed_facts(cell: Cell) -> dict[str, Any]:
    """Facts of the step that made the fixed-point network; empty where there is none."""
    return next((facts for facts in reversed(cell.chain_facts) if part_of(facts, "cost")), {})


def size_facts(cell: Cell) -> dict[str, Any]:
    """Facts that become rows of size: those of the artifact, or of the network that a design computes."""
    facts = fixed_facts(cell)
    if not facts:
        return {} if is_design(cell) else cell.facts
    layers = [layer for layer in facts.get("layers") or () if isinstance(layer, dict)]
    cost = part_of(facts, "cost")
    counted = sum(finite(layer.get("params")) or 0.0 for layer in layers) or None
    params = facts.get("params", counted)
    nonzero = facts.get("params_nonzero", cost.get("weights_nonzero"))
    found = {
        "payload_bits": cost.get("weight_bits"),
        "params": params,
        "params_nonzero": nonzero,
        "sparsity": facts.get("sparsity"),
        "sparsity_all": facts.get("sparsity_all"),
    }
    if found["sparsity_all"] is None and params and finite(nonzero) is not None:
        found["sparsity_all"] = 1 - nonzero / params
    # What runs on hardware has a file of its own.
    return found if is_design(cell) else found | cell.facts


def cost(cell: Cell) -> Iterator[Finding]:
    """Cost of the fixed-point network, counted in it; its energy is a model."""
    found = part_of(fixed_facts(cell), "cost")
    for name in ("macs", "bops", "ebops", "weight_bits"):
        value = finite(found.get(name))
        if value is not None:
            yield Finding(name, value)
    if found:
        energy, source = finite(found.get("energy_pj")), str(found.get("energy_source") or "")
        if energy is not None:
            yield Finding("energy_model", energy * 1e-12, origin=MODELLED, reason=source)
        else:
            yield Finding("energy_model", None, origin=MODELLED, reason=source or "no energy was modelled")


def agreement(cell: Cell) -> Iterator[Finding]:
    """Links of the chain from the float network to the simulated design, in their order."""
    for link in cell.evaluate.evaluation.agreement if cell.evaluate is not None else ():
        scope, ends = f"{link.of} vs {link.against}", {link.of, link.against}
        simulated = bool({"csim", "rtl"} & ends)
        origin = origin_of(cell) if "board" in ends else SIMULATED if simulated else MEASURED
        yield Finding("mismatches", link.mismatches, scope, origin, n=link.n)
        if link.bit_exact is not None:
            first = link.first_layer or ""
            reason = f"outputs differ from layer {first} on" if first else ""
            exact = link.bit_exact / link.n
            yield Finding("bit_exact", exact, scope, origin, n=link.n, reason=reason, first_difference=first)
        for name, value in (("max_abs_diff", link.max_abs_diff), ("sqnr", link.sqnr_db)):
            if value is not None:
                yield Finding(name, value, scope, origin, n=link.n)


def hardware(cell: Cell) -> Iterator[Finding]:
    """Resources, clock, cycles and power of the design; a later step's numbers replace an earlier one's."""
    sources = [(facts, ESTIMATED) for facts in cell.chain_facts]
    if cell.evaluate is not None and cell.evaluate.status == "ok":
        sources.append(({"hardware": cell.evaluate.score.hardware}, SIMULATED))
    found: dict[tuple[str, str, str, str], Finding] = {}
    for facts, usual in sources:
        if told := part_of(facts, "hardware"):
            named = told.get("origin", facts.get("origin"))
            origin = named if named in ORIGINS else usual
            for one in (*_resources(told, origin), *_timing(told, origin)):
                found[one.metric, one.scope, one.stage, one.origin] = one
    return iter([*found.values(), *_at_asked_clock(list(found.values()))])


def _at_asked_clock(found: Iterable[Finding]) -> Iterator[Finding]:
    """Kernel latency of simulated RTL at the clock asked for, unless its logic alone takes longer, or the
    placed and routed design does."""
    simulated = {one.metric: one.value for one in found if one.origin == SIMULATED}
    bound = next((one.value for one in found if one.metric == "clock_bound"), None)
    cycles, period = simulated.get("cycles"), simulated.get("clock_target")
    fmax = next((one.value for one in found if one.metric == "fmax"), None)
    if cycles is None or period is None or "kernel_latency" in simulated:
        return
    if fmax is not None and fmax * period < 1 - 1e-9:
        reason = f"placed and routed it reaches {fmax / 1e6:.1f} MHz, asked for were {1e-6 / period:g}"
        yield Finding("kernel_latency", None, "kernel", SIMULATED, reason=reason)
        return
    if bound is not None and bound > period:
        reason = (
            f"the slowest path takes {bound * 1e9:.2f} ns without routing, "
            f"a cycle of the clock asked for {period * 1e9:.2f} ns"
        )
        yield Finding("kernel_latency", None, "kernel", SIMULATED, reason=reason)
        return
    yield Finding("kernel_latency", cycles * period, "kernel", SIMULATED)


def _resources(told: dict[str, Any], origin: str) -> Iterable[Finding]:
    """Numbers by stage. Shares and whether it fits name the device as their scope."""
    device = str(part_of(told, "device").get("name") or "device")
    tool = str(told.get("tool") or "")
    made_by = f"by {tool}" if tool else ""
    percent, fits = part_of(told, "percent"), part_of(told, "fits")
    for stage in STAGES:
        used, shares = part_of(told, stage), part_of(percent, stage)
        for name in RESOURCES:
            value, share = finite(used.get(name)), finite(shares.get(name))
            if value is not None:
                yield Finding(name, value, "", origin, stage, reason=made_by, tool=tool)
            if share is not None:
                yield Finding(f"{name}_share", share / 100, device, origin, stage)
        if stage in fits:
            known = isinstance(fits[stage], bool)
            reason = "" if known else "not all resources of the design or the device are known"
            yield Finding("fits", float(fits[stage]) if known else None, device, origin, stage, reason=reason)


def _timing(told: dict[str, Any], origin: str) -> Iterable[Finding]:
    cycles, timing, power = (part_of(told, name) for name in ("cycles", "timing", "power"))
    # Timing and power are those of the furthest netlist there is.
    netlist = next((stage for stage in ("impl", "synth") if part_of(told, stage)), "impl")
    nanoseconds = 1e-9
    confidence = power.get("power_confidence")
    told_by = f"confidence: {confidence}" if confidence else ""
    for metric, value, factor, scope, stage, reason in (
        ("cycles", cycles.get("cycles_max"), 1.0, "kernel", "", ""),
        ("interval", cycles.get("interval_max"), 1.0, "kernel", "", ""),
        ("kernel_latency", told.get("kernel_latency_s"), 1.0, "kernel", "", ""),
        ("clock_target", cycles.get("clock_target_ns"), nanoseconds, "", "", ""),
        ("clock_bound", timing.get("logic_delay_ns"), nanoseconds, "", netlist, ""),
        ("clock", timing.get("clock_estimate_ns"), nanoseconds, "", "hls_est", ""),
        ("clock", timing.get("clock_ns"), nanoseconds, "", netlist, ""),
        ("fmax", timing.get("fmax_mhz"), 1e6, "", netlist, ""),
        ("slack", timing.get("wns_ns"), nanoseconds, "", netlist, ""),
        ("power_estimate", power.get("power_total_w"), 1.0, "", netlist, told_by),
    ):
        number = finite(value)
        if number is not None:
            yield Finding(metric, number * factor, scope, origin, stage, reason=reason)
