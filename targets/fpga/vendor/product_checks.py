"""Whether a finished vendor project is what was asked for: every product looked at, none believed."""

from __future__ import annotations

from typing import Any

from bench.core.step import Check
from targets.fpga.vendor.flow import Stages
from targets.fpga.vendor.overlay_files import same_part, strangers
from targets.fpga.vendor.products import Products
from targets.fpga.vendor.reports import merge


def checks(found: Products, stages: Stages, *, part: str | None, top: str | None) -> tuple[Check, ...]:
    """Every product looked at. `part`, `top`: what was asked for; None if that is not known."""
    merged = merge(found.reports)
    made = [
        Check(
            "reports readable", not _unread_reports(found), _unread_reports(found) or f"{len(found.reports)}"
        )
    ]
    made.append(_synthesis(found, part, top))
    if stages.vsynth:
        there = any(report.stage == "synth" for report in found.reports)
        made.append(
            Check("synthesis in Vivado", there, "report of use found" if there else "no report of use")
        )
    if stages.cosim:
        status = merged["cycles"].get("cosim_status")
        made.append(Check("co-simulation", status == "pass", f"status {status}"))
    if stages.bitstream:
        made += [_bitstream(found, part), _handoff(found), _implemented(found), _timing(found, merged, part)]
    else:
        name = found.ip.relative_to(found.folder).as_posix() if found.ip else "none was exported"
        made.append(Check("IP core", found.ip is not None, name))
    return tuple(made)


def _unread_reports(found: Products) -> str:
    return "; ".join(f"{name}: {why}" for name, why in found.unread.items() if "." in name)


def _synthesis(found: Products, part: str | None, top: str | None) -> Check:
    name = "C synthesis"
    known = [report for report in found.reports if report.kind == "csynth"]
    if not known:
        return Check(name, False, "there is no report of C synthesis (csynth.xml)")
    if top is not None and not any(report.top == top for report in known):
        return Check(name, False, f"its report is of {known[0].top}, not of {top}")
    for report in known:
        if part and report.part and not same_part(report.part, part):
            return Check(name, False, f"its report is for {report.part}, not for {part}")
    return Check(name, True, f"report of {top or known[0].top}")


def _bitstream(found: Products, part: str | None) -> Check:
    name = "bitstream"
    if found.bit is None:
        return Check(name, False, "there is no .bit file, however the tools ended")
    if found.header is None:
        return Check(name, False, found.unread.get("bitstream", "it cannot be read"))
    if part and not same_part(found.header.part, part):
        return Check(name, False, f"it is for {found.header.part}, not for {part}")
    return Check(name, True, f"{found.header.design} for {found.header.part}, {found.header.length:,} bytes")


def _handoff(found: Products) -> Check:
    name = "hardware handoff"
    if found.handoff is None:
        return Check(name, False, found.unread.get("handoff", "there is no .hwh file for the bitstream"))
    if found.header is None:
        return Check(name, False, "there is no bitstream that it could belong to")
    wrong = strangers(found.header, found.handoff)
    return Check(name, not wrong, "; ".join(wrong) or f"of {found.handoff.name}, as the bitstream")


def _implemented(found: Products) -> Check:
    there = any(
        report.kind in ("utilization", "synthesis") and report.stage == "impl" for report in found.reports
    )
    return Check("report of use", there, "placed or routed" if there else "none of the placed design")


def _timing(found: Products, merged: dict[str, Any], part: str | None) -> Check:
    name, timing = "timing met", merged["timing"]
    for report in found.reports:
        if report.kind != "timing":
            continue
        if found.header and report.top and report.top != found.header.design:
            return Check(
                name, False, f"the timing report is of {report.top}, the bit of {found.header.design}"
            )
        if part and report.part and not same_part(report.part, part):
            return Check(name, False, f"the timing report is for {report.part}, not for {part}")
    if timing.get("stage") != "impl":
        return Check(name, False, "there is no timing report of the routed design")
    wns, tns, whs = (timing.get(key) for key in ("wns_ns", "tns_ns", "whs_ns"))
    told = f"WNS {wns} ns, TNS {tns} ns, WHS {whs} ns"
    if wns is None or tns is None:
        return Check(name, False, f"the timing report has no slack: the clock is not constrained ({told})")
    slow = wns < 0 or tns < 0 or (whs is not None and whs < 0)
    if slow or timing.get("timing_met") is not True:
        return Check(name, False, f"at this clock results may be wrong: {told}")
    return Check(name, True, told)
