"""Several reports: found in a project, merged, and what does not fit together; `bench fpga report`."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import run_cli
from bench.errors import ArtifactError
from targets.fpga.vendor import reports as reports_module
from targets.fpga.vendor.reports import HardwareReport, find_reports, merge, problems, read_report
from tests import vitis_unified

FILES = Path(__file__).resolve().parent.parent / "data" / "fpga_reports"


def one(name: str, **changes: Any) -> HardwareReport:
    return dataclasses.replace(read_report(FILES / name), **changes)


def made(kind: str = "utilization", stage: Any = "impl", **changes: Any) -> HardwareReport:
    fields: dict[str, Any] = {
        "file": f"{kind}.rpt",
        "tool": "Vivado",
        "version": "2023.2",
        "part": None,
        "top": "top",
        "values": {},
        "available": {},
        **changes,
    }
    return HardwareReport(kind=kind, stage=stage, **fields)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A finished project as hls4ml and Vivado lay it out, with what must be left alone."""
    places = {
        "digits_prj/solution1/syn/report/digits_csynth.rpt": "vitis_hls_2025.1_csynth.rpt",
        "digits_prj/solution1/sim/report/digits_cosim.rpt": "vitis_hls_2024.1_cosim.rpt",
        "acc/project_1.runs/impl_1/top_timing_summary_routed.rpt": "vivado_2024.1_timing_failed.rpt",
        "acc/project_1.runs/impl_1/top_power_routed.rpt": "vivado_2023.2_power.rpt",
        "util.rpt": "vivado_2022.2_placed_ultrascale.rpt",
        # not of the whole design
        "digits_prj/solution1/syn/report/dense_s_csynth.rpt": "vitis_hls_2025.1_csynth.rpt",
        "digits_prj/solution1/.autopilot/db/digits_csynth.rpt": "vitis_hls_2025.1_csynth.rpt",
        "acc/project_1.runs/dma_0_synth_1/dma_utilization_synth.rpt": "vivado_2020.1_synth_7series.rpt",
        # not the name of a report
        "acc/notes.rpt": "vivado_2023.2_power.rpt",
    }
    for place, name in places.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes((FILES / name).read_bytes())
    (tmp_path / "acc/top_clock_utilization_routed.rpt").write_text("Clock Utilization Report\n")
    return tmp_path


def found_in(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_reports(folder)]


def test_reports_of_a_project_are_found(project: Path) -> None:
    assert found_in(project) == [
        "acc/project_1.runs/impl_1/top_power_routed.rpt",
        "acc/project_1.runs/impl_1/top_timing_summary_routed.rpt",
        "digits_prj/solution1/sim/report/digits_cosim.rpt",
        "digits_prj/solution1/syn/report/digits_csynth.rpt",
        "util.rpt",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "impl_1_full_util_routed.rpt",
        "impl_1_system_timing_summary_routed.rpt",
        "impl_1_power_routed.rpt",
        "hls_compile.rpt",
        "hls_cosim.rpt",
        "vivado_synth.rpt",
        "digits_csynth.xml",
        "csynth.rpt",
    ],
)
def test_names_of_reports(tmp_path: Path, name: str) -> None:
    source = "vivado_hls_2020.1_csynth.xml" if name.endswith("xml") else "vivado_2023.2_power.rpt"
    (tmp_path / name).write_bytes((FILES / source).read_bytes())
    assert found_in(tmp_path) == [name]


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "util.rpt").write_bytes((FILES / "vivado_2023.2_power.rpt").read_bytes())
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "folder").symlink_to(outside)
    (inside / "power.rpt").symlink_to(outside / "util.rpt")
    (inside / "loop").symlink_to(inside)
    assert found_in(inside) == []


def test_a_search_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path
    for _ in range(25):
        deep = deep / "d"
    deep.mkdir(parents=True)
    for folder in (deep, deep.parent):
        (folder / "power.rpt").write_bytes((FILES / "vivado_2023.2_power.rpt").read_bytes())
    assert found_in(tmp_path) == ["d/" * 24 + "power.rpt"]
    monkeypatch.setattr(reports_module, "_MAX_ENTRIES", 10)
    with pytest.raises(ArtifactError, match="more than 10 files"):
        find_reports(tmp_path)
    monkeypatch.setattr(reports_module, "_MAX_ENTRIES", 1000)
    monkeypatch.setattr(reports_module, "_MAX_FOUND", 0)
    with pytest.raises(ArtifactError, match="more than 0 reports"):
        find_reports(tmp_path)


def test_only_folders_are_searched() -> None:
    with pytest.raises(ArtifactError, match="this is not a folder"):
        find_reports(FILES / "README.md")


def test_nothing_says_nothing() -> None:
    assert merge([]) == {name: {} for name in ("hls_est", "synth", "impl", "cycles", "timing", "power")}
    assert problems([]) == []


def test_stages_are_kept_apart() -> None:
    merged = merge(
        [
            one("vivado_hls_2020.1_csynth.rpt"),
            one("vivado_2020.1_synth_7series.rpt"),
            one("vivado_2019.2_hierarchical_percent.rpt"),
            one("vivado_2018.3_timing_met.rpt"),
        ]
    )
    assert [merged[stage]["lut"] for stage in ("hls_est", "synth", "impl")] == [2_532, 1_526, 1_200]
    assert [merged[stage]["top"] for stage in ("hls_est", "synth", "impl")] == [
        "myproject",
        "myproject",
        "top_wrapper",
    ]
    assert merged["synth"]["available"]["dsp"] == 220
    assert (merged["timing"]["wns_ns"], merged["timing"]["stage"]) == (1.204, "impl")
    assert merged["power"] == {}


def test_cycles_of_a_passed_simulation_win() -> None:
    hls = one("vitis_hls_2025.1_csynth.rpt")
    cycles = merge([one("vitis_hls_2024.1_cosim.rpt"), hls])["cycles"]
    assert (cycles["cycles_min"], cycles["cycles_max"], cycles["source"]) == (1_038, 1_040, "cosim")
    assert (cycles["clock_target_ns"], cycles["cosim_status"]) == (5.0, "pass")
    failed = one("vitis_hls_2024.1_cosim.rpt")
    failed.values["cosim_status"] = "fail"
    cycles = merge([failed, hls])["cycles"]
    assert (cycles["cycles_min"], cycles["source"], cycles["cosim_status"]) == (14, "csynth", "fail")


def test_a_missing_value_does_not_hide_one(tmp_path: Path) -> None:
    whole, part = made(values={"lut": 5, "dsp": 2}), made(file="z.rpt", values={"lut": 5, "dsp": None})
    assert merge([whole, part])["impl"] == {"top": "top", "lut": 5, "dsp": 2, "available": {}}


def test_designs_of_one_stage_are_not_mixed() -> None:
    hls = made("csynth", "hls_est", top="core", values={"lut": 9})
    core = made("synthesis", "synth", top="core", values={"lut": 5, "dsp": 1}, file="core.rpt")
    system = made("synthesis", "synth", top="system", values={"lut": 90, "ff": 7}, file="system.rpt")
    assert merge([hls, core, system])["synth"] == {"top": "core", "lut": 5, "dsp": 1, "available": {}}
    assert merge([core, system])["synth"] == {"top": "system", "lut": 90, "ff": 7, "available": {}}
    assert problems([core, system]) == ["The reports of stage synth are of several designs (core, system)."]


def test_a_function_inside_is_not_the_top() -> None:
    inner = made("csynth", "hls_est", top="dense", values={"lut": 90, "cycles_max": 3}, file="a.rpt")
    row = {"name": "dense_U0", "level": 1, "module": "dense"}
    outer = made("csynth", "hls_est", values={"lut": 9, "cycles_max": 8}, file="b.rpt", modules=(row,))
    merged = merge([outer, inner])
    assert (merged["hls_est"]["top"], merged["cycles"]["cycles_max"]) == ("top", 8)


def test_reports_after_the_last_optimization_win() -> None:
    routed = made("timing", values={"wns_ns": -0.1}, file="top_timing_summary_routed.rpt")
    later = made("timing", values={"wns_ns": 0.2}, file="top_timing_summary_postroute_physopted.rpt")
    for order in ([routed, later], [later, routed]):
        assert merge(order)["timing"]["wns_ns"] == 0.2


@pytest.mark.parametrize(
    ("report", "says"),
    [
        (
            made("csynth", "hls_est", values={"clock_target_ns": 5.0, "clock_estimate_ns": 6.982}),
            "the estimated clock period, 6.982 ns, is longer than the target, 5 ns",
        ),
        (made(values={"wns_ns": -0.412}), "negative setup slack, -0.412 ns"),
        (made(values={"whs_ns": -0.009}), "negative hold slack, -0.009 ns"),
        (
            made("timing", values={"timing_met": False, "failing_endpoints": 213}),
            "the timing constraints are not met (213 failing endpoints).",
        ),
        (made("timing", values={"wns_ns": 0.1}), "it does not say that the timing constraints are met"),
        (made("cosim", None, values={"cosim_status": "fail"}), "the co-simulation did not pass (fail)"),
        (made("cosim", None), "the co-simulation did not pass (no status)"),
        (made(stage=None), "neither synthesized nor placed"),
        (made(values={"dsp": 221}, part="xc7z020clg400-1"), "221 dsp do not fit into 220"),
        (made(values={"dsp": 5}, available={"dsp": 4}), "5 dsp do not fit into 4"),
        (
            made(available={"lut": 50_000}, part="xc7z020clg400-1"),
            "it says that xc7z020 has 50,000 lut, the table of parts says 53,200; the report counts",
        ),
    ],
)
def test_problems(report: HardwareReport, says: str) -> None:
    (found,) = problems([report])
    assert says in found
    assert found.startswith(f"{report.file}: ")


@pytest.mark.parametrize(
    "report",
    [
        made("csynth", "hls_est", values={"clock_target_ns": 5.0, "clock_estimate_ns": 5.0}),
        made("timing", values={"timing_met": True, "wns_ns": 0.0, "whs_ns": 0.0}),
        made("cosim", None, values={"cosim_status": "pass"}),
        made(values={"dsp": 220}, available={"dsp": 220}, part="xc7z020clg400-1"),
        made(values={"dsp": 9_999}, part="xc7a35tcpg236-1"),  # a device that is not in the table
    ],
)
def test_no_problem(report: HardwareReport) -> None:
    assert problems([report]) == []


def test_parts_that_differ() -> None:
    first, second = made(part="xc7z020clg400-1"), made("power", part="xczu3egsbva484-1-i")
    assert "different parts: xc7z020clg400-1" in problems([first, second])[0]
    shorter = made("timing", part="xczu3egsbva484-1", values={"timing_met": True})
    assert problems([second, shorter, made()]) == []


def test_the_routed_design_counts_over_the_placed_one_and_differs_from_it() -> None:
    placed = made(file="b.rpt", state="Fully Placed", values={"lut": 6, "ff": 1})
    for state in ("Routed", "Physopt postRoute"):
        routed = made(file="a.rpt", state=state, values={"lut": 5})
        assert merge([routed, placed])["impl"] == {"top": "top", "lut": 5, "ff": 1, "available": {}}
        assert problems([routed, placed]) == []


def test_a_netlist_that_was_optimized_counts_over_the_one_before() -> None:
    before = made("synthesis", "synth", file="b.rpt", state="Synthesized", values={"lut": 6})
    after = made("synthesis", "synth", file="a.rpt", state="Optimized", values={"lut": 5})
    assert merge([after, before])["synth"]["lut"] == 5
    assert problems([after, before]) == []


def test_kernels_of_a_design_are_not_the_design() -> None:
    kernel = made("accelerator", top="digits_axi", values={"lut": 18_302})
    whole = made(values={"lut": 21_377})
    hls = made("csynth", "hls_est", top="digits_axi", values={"lut": 20_310})
    assert merge([kernel, whole, hls])["impl"]["lut"] == 21_377
    assert merge([kernel])["impl"] == {}
    assert problems([kernel, whole, hls]) == []


def test_the_final_reports_of_vitis_unified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = vitis_unified.final_reports(tmp_path / "final_reports")
    reports = [read_report(path) for path in find_reports(folder)]
    assert sorted(report.kind for report in reports) == [
        *("accelerator", "accelerator", "cosim", "csynth", "power", "timing"),
        *("utilization", "utilization", "utilization"),
    ]
    merged = merge(reports)
    assert merged["hls_est"]["top"] == vitis_unified.TOP and merged["hls_est"]["lut"] == 20_310
    assert merged["impl"]["top"] == "vitis_design_wrapper"
    assert merged["impl"]["lut"] == vitis_unified.ROUTED
    assert (merged["cycles"]["cycles_max"], merged["cycles"]["source"]) == (1_040, "cosim")
    assert (merged["timing"]["wns_ns"], merged["timing"]["timing_met"]) == (1.204, True)
    assert (merged["power"]["power_total_w"], merged["power"]["power_confidence"]) == (4.212, "Low")
    assert {report.part for report in reports if report.part} == {
        *("xczu7ev", "xczu7evffvc1156-2", "xczu7evffvc1156-2-e"),
    }
    assert run_cli(["fpga", "report", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "accelerator, placed or routed (impl), Vivado 2023.2, xczu7ev, digits_axi" in shown
    assert "kernel latency at clock 10 ns" in shown and "Problems" not in shown


def test_blocks_of_a_linked_design_are_not_its_synthesis(tmp_path: Path) -> None:
    folder = vitis_unified.project(tmp_path / "project")
    assert {path.parent.name for path in find_reports(folder)} == {"final_reports"}
    copy = folder / "syn/top_utilization_synth.rpt"  # of the whole design, in a folder of the same name
    copy.parent.mkdir()
    copy.write_bytes((FILES / "vivado_2020.1_synth_7series.rpt").read_bytes())
    assert copy in find_reports(folder)


def test_a_design_with_black_boxes_is_not_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Vivado synthesizes the blocks of a block design apart: what is left of it is a few LUT of glue."""
    content = (FILES / "vivado_2020.1_synth_7series.rpt").read_text()
    head, title, tail = content.partition("8. Black Boxes\n--------------\n")
    names = ("+----------+------+", "| Ref Name | Used |")
    table = "\n".join((names[0], names[1], names[0]))
    assert tail.count(table) == 2  # no black boxes, no netlists
    boxes = "\n".join((table, "| dma_0    |    1 |", "| net_0    |    2 |", names[0]))
    path = tmp_path / "wrapper_utilization_synth.rpt"
    path.write_text(head + title + tail.replace(table, boxes, 1))
    found = read_report(path)
    assert found.values["black_boxes"] == 3
    assert merge([found])["synth"] == {}
    (line,) = problems([found])
    assert "3 blocks were synthesized apart" in line
    assert run_cli(["fpga", "report", str(path)]) == 0
    assert "fits: not known" in capsys.readouterr().out
    # Netlists of blocks that were linked in are in the numbers.
    place = head + title + table + tail.partition(table)[2].replace(table, boxes, 1)
    path.write_text(place)
    assert "black_boxes" not in read_report(path).values


def test_the_same_said_differently() -> None:
    first, second = made(values={"lut": 5}, file="a.rpt"), made(values={"lut": 6}, file="b.rpt")
    assert problems([second, first]) == ["lut is 5 in a.rpt and 6 in b.rpt; the latter counts."]
    assert merge([second, first])["impl"]["lut"] == 6
    assert problems([first, made("synthesis", "synth", values={"lut": 6})]) == []


def test_another_clock_than_hls_aimed_at() -> None:
    hls = made("csynth", "hls_est", values={"clock_target_ns": 5.0})
    timing = made("timing", values={"clock_ns": 10.0, "timing_met": True})
    assert problems([hls, timing]) == ["HLS aimed at a clock of 5 ns, the implemented one has 10 ns."]
    assert problems([hls, dataclasses.replace(timing, values={"clock_ns": 5.0, "timing_met": True})]) == []


def test_the_command_shows_files(capsys: pytest.CaptureFixture[str]) -> None:
    code = run_cli(["fpga", "report", str(FILES / "vivado_hls_2020.1_csynth.xml")])
    out = capsys.readouterr().out
    assert code == 0
    assert "csynth, estimated by HLS (hls_est), Vivado HLS 2020.1, xc7z020clg400-1, myproject" in out
    assert "  DSP               73      220  33.2\n" in out
    assert "fits: yes" in out
    assert "kernel latency at target 5 ns        0.050 µs" in out
    assert "kernel latency at estimate 4.049 ns  0.040 µs" in out
    assert "Problems" not in out and "All of" not in out


def test_the_command_shows_folders(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["fpga", "report", str(project)]) == 0
    out = capsys.readouterr().out
    assert f"All of {project}\n" in out
    merged = re.sub(" +", " ", out[out.index("All of") :])
    assert "kernel latency at clock 4 ns 4.160 µs" in merged
    assert "placed or routed (impl), design_1_wrapper" in merged
    assert "DSP 12 1,248 1.0" in merged  # each stage with the device of its own reports
    assert "DSP 116 1,728 6.7" in merged
    assert "latency, cycles 1,038 to 1,040" in merged
    assert "co-simulation pass" in merged
    assert " * " in merged and "the timing constraints are not met (213 failing endpoints)" in merged
    assert "The reports are of different parts" in merged


def test_the_command_gives_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = FILES / "vivado_2020.1_synth_7series.rpt"
    assert run_cli(["fpga", "report", "--json", str(project), str(alone)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert len(data["reports"]) == 6
    last = data["reports"][-1]
    assert (last["kind"], last["fits"], last["percent"]["dsp"]) == ("synthesis", True, 30.0)
    hls = next(report for report in data["reports"] if report["kind"] == "csynth")
    assert hls["kernel_latency_s"] == {"target": pytest.approx(5.2e-6), "estimate": pytest.approx(3.796e-6)}
    assert data["folders"][str(project)]["cycles"]["cycles_max"] == 1_040
    assert data["folders"][str(project)]["problems"]
    assert (data["errors"], data["problems"]) == ([], [])


def test_an_unreadable_file_among_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = FILES / "vivado_2023.2_power.rpt", tmp_path / "bad.rpt"
    bad.write_text("nothing\n")
    assert run_cli(["fpga", "report", str(bad), str(good)]) == 1
    shown = capsys.readouterr()
    assert "4.212 W" in shown.out
    assert "bad.rpt:1: no report that is known here" in shown.err
    assert run_cli(["fpga", "report", str(bad)]) == 2
    assert run_cli(["fpga", "report", "--json", str(bad)]) == 2
    assert "no report that is known" in json.loads(capsys.readouterr().out)["errors"][0]


def test_a_folder_without_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["fpga", "report", str(tmp_path)]) == 2
    assert "no report that is known here is below this folder" in capsys.readouterr().err


def test_a_damaged_report_of_a_project_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project / "util.rpt"
    path.write_bytes(path.read_bytes()[:2500])
    assert run_cli(["fpga", "report", str(project)]) == 1
    assert "util.rpt:" in capsys.readouterr().err


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from bench.cli.main import run_cli; run_cli(['fpga', '--help']); "
        "sys.exit(' '.join({'numpy', 'pandas', 'targets'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
