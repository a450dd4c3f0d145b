"""Several reports of one design seen together: one set of numbers, and what does not fit together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench.errors import ConfigError
from targets.fpga.parts import device_of
from targets.fpga.vendor.reports.model import CYCLES, POWER, RESOURCES, STAGES, TIMING, USED, HardwareReport

#: among reports that say the same, the one whose word counts most comes last
_COUNTING = ("csynth", "synthesis", "utilization")
_ORDER = ("csynth", "cosim", "synthesis", "utilization", "accelerator", "timing", "power")


def merge(reports: Iterable[HardwareReport]) -> dict[str, Any]:
    """One view of a design.

    Returns:
        `hls_est`, `synth`, `impl`: resources of that stage, with `top` and, where reports say it,
        `available`. Of several designs in one stage, the one that HLS made, or the largest; those with
        black boxes do not count;
        `cycles`: of HLS, or of the co-simulation where that passed (`source` says which), with
        `clock_target_ns`, `clock_estimate_ns` and `cosim_status`;
        `timing`, `power`: with `stage`. All are empty where no report says anything.
    """
    known = sorted(reports, key=_weight)
    merged: dict[str, Any] = {name: {} for name in (*STAGES, "cycles", "timing", "power")}
    kernel = _top([report for report in known if report.kind == "csynth"])
    for stage in STAGES:
        counted = [report for report in known if report.stage == stage and _counts(report)]
        top = _top(counted, kernel)
        for report in counted:
            if report.top == top:
                merged[stage]["top"] = top
                _add(merged[stage], report, USED)
                merged[stage].setdefault("available", {}).update(_said(report.available))
    cycles = merged["cycles"]
    for report in known:
        if report.kind == "csynth" and report.top == kernel:
            _add(cycles, report, ("clock_target_ns", "clock_estimate_ns"))
        elif report.kind == "cosim":
            _add(cycles, report, ("cosim_status",))
        elif report.kind in ("timing", "power"):
            names = TIMING if report.kind == "timing" else POWER
            merged[report.kind] = {name: report.values.get(name) for name in names} | {"stage": report.stage}
            continue
        else:
            continue
        passed = report.kind == "csynth" or report.values.get("cosim_status") == "pass"
        if passed and _add(cycles, report, CYCLES):
            cycles["source"] = report.kind
    return merged


def problems(reports: Iterable[HardwareReport]) -> list[str]:
    """What a reader must know before using the numbers; one sentence each."""
    known = sorted(reports, key=_weight)
    found: list[str] = []
    for report in known:
        found += _own(report)
    found += _clocks(known) + _parts(known)
    found += _tops(known)
    return found + _different(known)


def _top(reports: Sequence[HardwareReport], preferred: str | None = None) -> str | None:
    """The design that is meant: `preferred`, or one that is no part of another, and of these the largest."""
    tops = {report.top for report in reports}
    if preferred in tops:
        return preferred
    parts = {row.get("module", row["name"]) for report in reports for row in report.modules}
    own = [report for report in reports if report.top not in parts] or list(reports)
    return max(own, key=lambda report: report.values.get("lut") or 0).top if own else None


def _counts(report: HardwareReport) -> bool:
    """Whether its resources are those of a whole design."""
    return report.kind in _COUNTING and not report.values.get("black_boxes")


#: how far a design has come, by words of its state
_PROGRESS = ("optimized", "plac", "rout")


def _weight(report: HardwareReport) -> tuple[int, bool, int, bool, int, bool, str]:
    """Later ones win: a design further on, with more values over fewer, XML over text."""
    state = (report.state or "").lower()
    return (
        _ORDER.index(report.kind) if report.kind in _ORDER else -1,
        report.stage == "impl",
        max((i + 1 for i, word in enumerate(_PROGRESS) if word in state), default=0),
        "postroute" in report.file.lower(),  # optimized once more after routing
        len(_said(report.values)),
        report.file.endswith(".xml"),
        report.file,
    )


def _said(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _add(into: dict[str, Any], report: HardwareReport, names: Sequence[str]) -> bool:
    said = {name: value for name, value in _said(report.values).items() if name in names}
    into.update(said)
    return bool(said)


def _own(report: HardwareReport) -> list[str]:
    values, file = report.values, report.file
    found = []
    target, estimate = values.get("clock_target_ns"), values.get("clock_estimate_ns")
    if isinstance(target, int | float) and isinstance(estimate, int | float) and estimate > target:
        found.append(
            f"{file}: the estimated clock period, {estimate:g} ns, is longer than the target, {target:g} ns: "
            "only timing after routing says whether the clock holds."
        )
    for name, what in (("wns_ns", "setup"), ("whs_ns", "hold")):
        slack = values.get(name)
        if isinstance(slack, int | float) and slack < 0:
            found.append(f"{file}: negative {what} slack, {slack:g} ns: at this clock results may be wrong.")
    if values.get("timing_met") is False:
        endpoints = values.get("failing_endpoints")
        many = f" ({endpoints} failing endpoints)" if endpoints else ""
        found.append(f"{file}: the timing constraints are not met{many}.")
    if report.kind == "timing" and values.get("timing_met") is None:
        found.append(f"{file}: it does not say that the timing constraints are met.")
    status = values.get("cosim_status")
    if report.kind == "cosim" and status != "pass":
        found.append(f"{file}: the co-simulation did not pass ({status or 'no status'}).")
    if report.stage is None and report.kind not in ("cosim", "timing"):
        found.append(f"{file}: neither synthesized nor placed; its numbers are not used.")
    if boxes := values.get("black_boxes"):
        found.append(
            f"{file}: {boxes} blocks were synthesized apart (black boxes), and are not in its numbers, which "
            "are not used."
        )
    return found + _available(report)


def _available(report: HardwareReport) -> list[str]:
    """Where a report's device is not the table's, and what is used beyond it."""
    found = []
    try:
        device = device_of(report.part) if report.part else None
    except ConfigError:
        device = None
    for name in RESOURCES:
        there, used = report.available.get(name), report.values.get(name)
        if device is not None and there is not None and there != getattr(device, name):
            found.append(
                f"{report.file}: it says that {device.name} has {there:,} {name}, the table of parts says "
                f"{getattr(device, name):,}; the report counts."
            )
        limit = there if there is not None else getattr(device, name) if device else None
        if limit is not None and isinstance(used, int | float) and used > limit:
            found.append(f"{report.file}: {used:,} {name} do not fit into {limit:,}.")
    return found


def _clocks(reports: Sequence[HardwareReport]) -> list[str]:
    merged = merge(reports)
    target, clock = merged["cycles"].get("clock_target_ns"), merged["timing"].get("clock_ns")
    if target is None or clock is None or abs(target - clock) < 0.01:
        return []
    return [f"HLS aimed at a clock of {target:g} ns, the implemented one has {clock:g} ns."]


def _parts(reports: Sequence[HardwareReport]) -> list[str]:
    """Timing reports leave out the temperature grade: a beginning of the other is no difference."""
    named = sorted({(report.part, report.file) for report in reports if report.part})
    for i, (part, file) in enumerate(named):
        for other, where in named[i + 1 :]:
            if not (other.startswith(part) or part.startswith(other)):
                return [f"The reports are of different parts: {part} ({file}), {other} ({where})."]
    return []


def _tops(reports: Sequence[HardwareReport]) -> list[str]:
    found = []
    for stage in STAGES:
        here = [report for report in reports if report.stage == stage and _counts(report)]
        tops = sorted({report.top for report in here if report.top})
        if len(tops) > 1:
            found.append(f"The reports of stage {stage} are of several designs ({', '.join(tops)}).")
    return found


def _different(reports: Sequence[HardwareReport]) -> list[str]:
    """Two reports of one kind and top, and of one state of the design, that do not say the same."""
    found = []
    for i, first in enumerate(reports):
        for second in reports[i + 1 :]:
            if any(
                getattr(first, name) != getattr(second, name) for name in ("kind", "stage", "top", "state")
            ):
                continue
            for name, value in _said(first.values).items():
                other = second.values.get(name)
                if other is not None and other != value:
                    found.append(
                        f"{name} is {value} in {first.file} and {other} in {second.file}; the latter counts."
                    )
    return found
