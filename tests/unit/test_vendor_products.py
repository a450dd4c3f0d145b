"""What makes a build good or bad, decided from its reports: one condition changed at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from targets.fpga.vendor.flow import Stages
from targets.fpga.vendor.overlay_files import BitHeader
from targets.fpga.vendor.product_checks import checks
from targets.fpga.vendor.products import Products
from targets.fpga.vendor.reports import HardwareReport

PART = "xc7z020clg400-1"
HEADER = BitHeader("design_1_wrapper", {"Version": "2020.1"}, "7z020clg400", "2024/01/31", "12:30:05", 256)
MET = {"wns_ns": 0.5, "tns_ns": 0.0, "whs_ns": 0.02, "timing_met": True, "clock_ns": 10.0}


def report(kind: str, stage: Any, values: dict[str, Any], **changes: Any) -> HardwareReport:
    about: dict[str, Any] = {"part": PART, "top": "design_1_wrapper", "values": values, "available": {}}
    return HardwareReport(kind, stage, f"{kind}.rpt", "Vivado", "2020.1", **{**about, **changes})


def good(name: str, stages: Stages, *reports: HardwareReport) -> bool:
    found = Products(Path("project"), reports=reports, header=HEADER)
    return next(check.passed for check in checks(found, stages, part=PART, top=None) if check.name == name)


def timing_is_met(changes: dict[str, Any], **about: Any) -> bool:
    stage = about.pop("stage", "impl")
    return good("timing met", Stages(bitstream=True), report("timing", stage, {**MET, **changes}, **about))


def test_timing_that_is_met() -> None:
    assert timing_is_met({})
    assert timing_is_met({"whs_ns": None})  # some summaries have no hold paths


@pytest.mark.parametrize(
    "changes",
    [
        {"wns_ns": -0.001},
        {"tns_ns": -0.001},
        {"whs_ns": -0.001},
        {"wns_ns": None},
        {"tns_ns": None},
        {"timing_met": False},  # pulse widths: no slack of these three is negative
        {"timing_met": None},
    ],
)
def test_timing_that_is_not_met(changes: dict[str, Any]) -> None:
    assert not timing_is_met(changes)


@pytest.mark.parametrize(
    "about",
    [{"top": "another_wrapper"}, {"part": "xczu9egffvb1156-2-e"}, {"stage": "synth"}, {"stage": None}],
)
def test_a_timing_report_of_something_else(about: dict[str, Any]) -> None:
    assert not timing_is_met({}, **about)


@pytest.mark.parametrize(("status", "ok"), [("pass", True), ("fail", False), (None, False)])
def test_co_simulation_must_have_passed(status: str | None, ok: bool) -> None:
    cosim = report("cosim", None, {"cosim_status": status})
    assert good("co-simulation", Stages(bitstream=False, cosim=True), cosim) is ok


def test_co_simulation_that_left_no_report() -> None:
    assert not good("co-simulation", Stages(bitstream=False, cosim=True))


@pytest.mark.parametrize(("stage", "ok"), [("synth", True), ("impl", False)])
def test_synthesis_in_vivado_leaves_a_report_of_that_stage(stage: str, ok: bool) -> None:
    found = report("synthesis", stage, {"lut": 10})
    assert good("synthesis in Vivado", Stages(bitstream=False, vsynth=True), found) is ok


@pytest.mark.parametrize(
    ("about", "ok"),
    [
        ({}, True),
        ({"part": None}, True),
        ({"part": "xc7z020"}, True),
        ({"part": "xczu9egffvb1156-2-e"}, False),
    ],
)
def test_c_synthesis_is_for_the_part_that_was_asked_for(about: dict[str, Any], ok: bool) -> None:
    found = report("csynth", "hls_est", {"lut": 10}, **about)
    assert good("C synthesis", Stages(bitstream=False), found) is ok


@pytest.mark.parametrize(("kind", "ok"), [("utilization", True), ("synthesis", True), ("accelerator", False)])
def test_use_is_that_of_the_whole_design(kind: str, ok: bool) -> None:
    assert good("report of use", Stages(bitstream=True), report(kind, "impl", {"lut": 10})) is ok
