"""Reports of many tool versions give the numbers that stand in them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.errors import ArtifactError
from targets.fpga.vendor.reports import HardwareReport, find_reports, merge, problems, read_report

FILES = Path(__file__).resolve().parent.parent / "data" / "fpga_reports"
VIVADO = Path(os.environ.get("BENCH_DATA_DIR", "no-such-folder")) / "vivado"

Z7 = {"lut": 53_200, "ff": 106_400, "dsp": 220, "bram18": 280}
HLS_2020 = {
    "clock_target_ns": 5.0,
    "clock_estimate_ns": 4.049,
    "cycles_min": 10,
    "cycles_max": 10,
    "interval_min": 8,
    "interval_max": 8,
    "bram18": 0,
    "dsp": 73,
    "ff": 7_969,
    "lut": 2_532,
    "uram": 0,
}
EXPECTED: dict[str, tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]] = {
    "vivado_hls_2020.1_csynth.rpt": (
        ("csynth", "hls_est", "Vivado HLS", "2020.1", "xc7z020clg400-1", "myproject"),
        HLS_2020,
        {**Z7, "uram": 0},
    ),
    "vivado_hls_2020.1_csynth.xml": (
        ("csynth", "hls_est", "Vivado HLS", "2020.1", "xc7z020clg400-1", "myproject"),
        HLS_2020,
        {**Z7, "uram": 0},
    ),
    "vivado_hls_2018.3_csynth.rpt": (  # its title has the unit, it knows no URAM, the interval is "?"
        ("csynth", "hls_est", "Vivado HLS", "2018.3", "xc7z020clg400-1", "digits_axi"),
        {
            "clock_target_ns": 10.0,
            "clock_estimate_ns": 8.75,
            "cycles_min": 57,
            "cycles_max": 1_209,
            "interval_min": None,
            "interval_max": None,
            "bram18": 3,
            "dsp": 7,
            "ff": 820,
            "lut": 2_214,
        },
        Z7,
    ),
    "vitis_hls_2025.1_csynth.rpt": (
        ("csynth", "hls_est", "Vitis HLS", "2025.1", "xck26sfvc784-2lv-c", "digits"),
        {
            "clock_target_ns": 5.0,
            "clock_estimate_ns": 3.65,
            "cycles_min": 14,
            "cycles_max": 1_040,
            "interval_min": 4,
            "interval_max": 1_041,
            "bram18": 4,
            "dsp": 12,
            "ff": 1_462,
            "lut": 5_210,
            "uram": 1,
        },
        {"lut": 117_120, "ff": 234_240, "dsp": 1_248, "bram18": 288, "uram": 64},
    ),
    "vitis_hls_2024.1_csynth.xml": (  # the worst latency is "undef"
        ("csynth", "hls_est", "Vitis HLS", "2024.1", "xczu7evffvc1156-2-e", "digits"),
        {
            "clock_target_ns": 4.0,
            "clock_estimate_ns": 4.212,
            "cycles_min": 12,
            "cycles_max": None,
            "interval_min": 13,
            "interval_max": None,
            "bram18": 31,
            "dsp": 140,
            "ff": 20_110,
            "lut": 61_280,
            "uram": 3,
        },
        {"lut": 230_400, "ff": 460_800, "dsp": 1_728, "bram18": 624, "uram": 96},
    ),
    "vitis_hls_2023.2_hls_compile.rpt": (
        ("csynth", "hls_est", "Vitis HLS", "2023.2", "xczu9egffvb1156-2-e", "digits_axi"),
        {
            "cycles_max": 1_187,
            "interval_max": 1_151,
            "bram18": 18,
            "dsp": 24,
            "ff": 12_450,
            "lut": 20_310,
            "uram": None,
        },
        {},
    ),
    "vivado_hls_2019.2_cosim.rpt": (
        ("cosim", None, None, None, None, None),
        {
            "cycles_min": 285,
            "cycles_max": 290,
            "interval_min": None,
            "interval_max": None,
            "cosim_status": "pass",
        },
        {},
    ),
    "vitis_hls_2024.1_cosim.rpt": (
        ("cosim", None, None, None, None, None),
        {
            "cycles_min": 1_038,
            "cycles_max": 1_040,
            "interval_min": 1_041,
            "interval_max": 1_041,
            "cosim_status": "pass",
        },
        {},
    ),
    "vitis_hls_2022.2_cosim_failed.rpt": (  # VHDL passed, Verilog did not
        ("cosim", None, None, None, None, None),
        {
            "cycles_min": None,
            "cycles_max": None,
            "interval_min": None,
            "interval_max": None,
            "cosim_status": "fail",
        },
        {},
    ),
    "vivado_2020.1_synth_7series.rpt": (
        ("synthesis", "synth", "Vivado", "2020.1", "xc7z020clg400-1", "myproject"),
        {
            "lut": 1_526,
            "lut_logic": 1_478,
            "lut_memory": 48,
            "ff": 2_428,
            "bram36": 0,
            "bram18": 0,
            "dsp": 66,
        },
        Z7,
    ),
    "vivado_2022.2_placed_ultrascale.rpt": (  # half a tile
        ("utilization", "impl", "Vivado", "2022.2", "xczu7evffvc1156-2-e", "design_1_wrapper"),
        {
            "lut": 21_733,
            "lut_logic": 20_011,
            "lut_memory": 1_722,
            "ff": 26_750,
            "bram36": 24.5,
            "bram18": 49,
            "uram": 8,
            "dsp": 116,
        },
        {"lut": 230_400, "ff": 460_800, "dsp": 1_728, "bram18": 624, "uram": 96},
    ),
    "vivado_2024.2_routed_versal.rpt": (
        ("utilization", "impl", "Vivado", "2024.2", "xcvc1902vsva2197-2mp-e-s", "design_1_wrapper"),
        {
            "lut": 4_100,
            "lut_logic": 4_000,
            "lut_memory": 100,
            "ff": 5_120,
            "bram36": 3,
            "bram18": 6,
            "uram": 0,
            "dsp": 9,
        },
        {"lut": 899_840, "ff": 1_799_680, "dsp": 1_968, "bram18": 1_934, "uram": 463},
    ),
    "vivado_2023.2_hierarchical_ultrascale.rpt": (
        ("utilization", "impl", "Vivado", "2023.2", "xczu3egsbva484-1-i", "design_1_wrapper"),
        {
            "lut": 9_120,
            "lut_logic": 8_600,
            "lut_memory": 520,
            "ff": 11_050,
            "bram36": 7.5,
            "bram18": 15,
            "uram": 0,
            "dsp": 42,
        },
        {},
    ),
    "vivado_2019.2_hierarchical_percent.rpt": (  # shares with a decimal comma
        ("utilization", "impl", "Vivado", "2019.2", "xc7z020clg400-1", "top_wrapper"),
        {
            "lut": 1_200,
            "lut_logic": 1_000,
            "lut_memory": 200,
            "ff": 900,
            "bram36": 1.5,
            "bram18": 3,
            "dsp": 4,
        },
        {},
    ),
    "vivado_2018.3_timing_met.rpt": (  # it does not name the state of the design; its nets are routed
        ("timing", "impl", "Vivado", "2018.3", "xc7z020clg400-1", "design_1_wrapper"),
        {
            "wns_ns": 1.204,
            "tns_ns": 0.0,
            "whs_ns": 0.031,
            "ths_ns": 0.0,
            "failing_endpoints": 0,
            "timing_met": True,
            "clock_ns": 10.0,
        },
        {},
    ),
    "vivado_2024.1_timing_failed.rpt": (  # two clocks: the one with most endpoints counts
        ("timing", "impl", "Vivado", "2024.1", "xck26sfvc784-2lv", "design_1_wrapper"),
        {
            "wns_ns": -0.412,
            "tns_ns": -37.905,
            "whs_ns": -0.009,
            "ths_ns": -0.012,
            "failing_endpoints": 213,
            "timing_met": False,
            "clock_ns": 4.0,
        },
        {},
    ),
    "vivado_2020.2_timing_synth_unconstrained.rpt": (
        ("timing", "synth", "Vivado", "2020.2", "xc7z020clg400-1", "design_1_wrapper"),
        dict.fromkeys(
            ["wns_ns", "tns_ns", "whs_ns", "ths_ns", "failing_endpoints", "timing_met", "clock_ns"]
        ),
        {},
    ),
    "vitis_2023.2_kernel_util_routed.rpt": (  # half a tile of memory; platform and budget are the device
        ("accelerator", "impl", "Vivado", "2023.2", "xczu7ev", "digits_axi"),
        {
            "lut": 18_302,
            "lut_memory": 640,
            "ff": 20_111,
            "bram36": 9.5,
            "bram18": 19,
            "uram": 4,
            "dsp": 24,
        },
        {"lut": 230_400, "ff": 460_800, "dsp": 1_728, "bram18": 624, "uram": 96},
    ),
    "vitis_2020.2_kernel_util_synthed.rpt": (  # several kernels, a device without URAM
        ("accelerator", "synth", "Vivado", "2020.2", "xczu3eg", "first + second"),
        {"lut": 3_000, "lut_memory": 100, "ff": 4_000, "bram36": 3, "bram18": 6, "dsp": 7},
        {"lut": 70_560, "ff": 141_120, "dsp": 360, "bram18": 432},
    ),
    "vitis_hls_2025.2_summary.rpt": (  # latency in cycles and ns under one label, further tables behind
        ("csynth", "hls_est", "Vitis HLS", "2025.2", "xczu7evffvc1156-2-e", "digits"),
        {
            "cycles_max": 21,
            "interval_max": 7,
            "bram18": 4,
            "dsp": 334,
            "ff": 5_121,
            "lut": 27_211,
            "uram": None,
        },
        {},
    ),
    "vitis_hls_2025.2_cosim_no_cycles.rpt": (  # right results, but no transaction was timed
        ("cosim", None, None, None, None, None),
        {
            **dict.fromkeys(["cycles_min", "cycles_max", "interval_min", "interval_max"]),
            "cosim_status": "pass",
        },
        {},
    ),
    "vivado_2023.2_power.rpt": (
        ("power", "impl", "Vivado", "2023.2", "xczu7evffvc1156-2-e", "design_1_wrapper"),
        {
            "power_total_w": 4.212,
            "power_dynamic_w": 3.705,
            "power_static_w": 0.507,
            "junction_c": 34.9,
            "power_confidence": "Low",
        },
        {},
    ),
}


def test_every_fixture_is_expected() -> None:
    assert {path.name for path in FILES.iterdir()} == {*EXPECTED, "README.md"}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_values(name: str) -> None:
    report = read_report(FILES / name)
    origin, values, available = EXPECTED[name]
    assert (report.kind, report.stage, report.tool, report.version, report.part, report.top) == origin
    assert (report.values, report.available) == (values, available)
    for key, value in values.items():
        assert type(report.values[key]) is type(value), key
    assert report.file == str(FILES / name)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_json_and_back(name: str) -> None:
    report = read_report(FILES / name)
    assert HardwareReport.from_json(json.loads(json.dumps(report.to_json()))) == report


@pytest.mark.parametrize(
    "change", [{"kind": "news"}, {"stage": "later"}, {"values": 3}, {"modules": 3}, {"more": 1}]
)
def test_json_of_something_else(change: dict[str, Any]) -> None:
    data = read_report(FILES / "vivado_2023.2_power.rpt").to_json()
    with pytest.raises(ArtifactError, match="not a stored hardware report"):
        HardwareReport.from_json({**data, **change})


def test_modules() -> None:
    rows = read_report(FILES / "vivado_2023.2_hierarchical_ultrascale.rpt").modules
    assert [(row["name"], row["level"]) for row in rows] == [
        ("design_1_wrapper", 0),
        ("design_1_i", 1),
        ("digits_0", 2),
        ("axi_dma_0", 2),
    ]
    assert rows[2] == {
        "name": "digits_0",
        "level": 2,
        "lut": 5_210,
        "lut_logic": 5_000,
        "lut_memory": 210,
        "ff": 4_300,
        "bram36": 3.5,
        "bram18": 7,
        "uram": 0,
        "dsp": 42,
    }
    rows = read_report(FILES / "vitis_hls_2023.2_hls_compile.rpt").modules
    assert [(row["name"], row["level"], row["cycles_max"], row["dsp"]) for row in rows] == [
        ("load_input", 1, 68, None),  # the loop under it is no module
        ("dense", 1, None, 24),
    ]
    rows = read_report(FILES / "vitis_2020.2_kernel_util_synthed.rpt").modules
    assert [(row["name"], row["level"], row["lut"], row["bram18"]) for row in rows] == [
        ("first", 0, 2_000, 4),
        ("first_1", 1, 1_000, 2),
        ("first_2", 1, 1_000, 2),
        ("second", 0, 1_000, 2),
        ("second_1", 1, 1_000, 2),
    ]
    rows = read_report(FILES / "vivado_hls_2020.1_csynth.rpt").modules
    assert [(row["dsp"], row["ff"], row["lut"]) for row in rows] == [(73, 7_860, 2_134), (0, 84, 256)]
    rows = read_report(FILES / "vivado_2023.2_power.rpt").modules
    assert [row["power_w"] for row in rows] == [3.705, 3.705, 0.512, None]  # the last is "<0.001"
    rows = read_report(FILES / "vivado_2024.1_timing_failed.rpt").modules
    assert [(row["name"], row["period_ns"], row["frequency_mhz"]) for row in rows] == [
        ("clk_pl_0", 10.0, 100.0),
        ("clk_pl_1", 4.0, 250.0),
    ]


def test_of_a_device_of_several_dies_the_whole_is_available(tmp_path: Path) -> None:
    name = "vivado_hls_2020.1_csynth.rpt"
    content = (FILES / name).read_text()
    row = next(line for line in content.splitlines() if line.startswith("|Available "))
    one = row.replace("Available    ", "Available SLR").replace("53200", "26600")
    border = "+-----------------+---------+-------+--------+-------+-----+"
    (tmp_path / name).write_text(content.replace(row, f"{one}\n{border}\n{row}", 1))
    assert "Available SLR" in (tmp_path / name).read_text()
    assert read_report(tmp_path / name).available == EXPECTED[name][2]


def test_windows_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    for name in ("vivado_2022.2_placed_ultrascale.rpt", "vivado_hls_2020.1_csynth.xml"):
        content = (FILES / name).read_bytes().replace(b"\n", b"\r\n")
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content)
        assert read_report(tmp_path / name).values == EXPECTED[name][1]


def test_a_foreign_encoding_in_the_head_does_not_matter(tmp_path: Path) -> None:
    content = (FILES / "vivado_2023.2_power.rpt").read_bytes().replace(b"build running", b"b\xfcro running")
    (tmp_path / "power.rpt").write_bytes(content)
    assert read_report(tmp_path / "power.rpt").values == EXPECTED["vivado_2023.2_power.rpt"][1]


@pytest.mark.parametrize(
    ("state", "kind", "stage"),
    [
        ("Synthesized", "synthesis", "synth"),
        ("Fully Placed", "utilization", "impl"),
        ("Routed", "utilization", "impl"),
        ("Physopt postPlace", "utilization", "impl"),
        ("Physopt postRoute", "utilization", "impl"),
        ("Optimized", "synthesis", "synth"),
        ("Partially Placed", "utilization", None),
        ("Unplaced", "utilization", None),
    ],
)
def test_the_state_of_the_design_decides_the_stage(
    tmp_path: Path, state: str, kind: str, stage: str | None
) -> None:
    content = (FILES / "vivado_2022.2_placed_ultrascale.rpt").read_text()
    path = tmp_path / "anything_utilization_synth.rpt"  # the name does not
    path.write_text(content.replace("Design State : Fully Placed", f"Design State : {state}"))
    report = read_report(path)
    assert (report.kind, report.stage) == (kind, stage)
    assert any("its numbers are not used" in line for line in problems([report])) == (stage is None)


needs_vivado = pytest.mark.skipif(
    not VIVADO.is_dir(), reason="no reports of real builds: $BENCH_DATA_DIR/vivado"
)


@needs_vivado
def test_real_reports_of_hls4ml() -> None:
    found = find_reports(VIVADO / "hls4ml-report")
    assert [path.name for path in found] == [
        "myproject_csynth.rpt",
        "myproject_csynth.xml",
        "vivado_synth.rpt",
    ]
    text, xml, synth = map(read_report, found)
    assert text.values == xml.values == HLS_2020
    assert synth.values == EXPECTED["vivado_2020.1_synth_7series.rpt"][1]
    assert problems([text, xml, synth]) == []


@needs_vivado
def test_a_real_build() -> None:
    folder = VIVADO / "pynq-z2-2019.2"
    reports = {path.name: read_report(path) for path in find_reports(folder)}
    assert len(reports) == 6
    assert {report.part for report in reports.values()} == {"xc7z020clg400-1"}
    assert {report.version for report in reports.values()} == {"2019.2"}
    merged = merge(reports.values())
    hls = {"bram18": 20, "dsp": 21, "ff": 14_086, "lut": 39_835, "uram": 0}
    assert merged["hls_est"] == {"top": "myproject_axi", **hls, "available": {**Z7, "uram": 0}}
    used = {
        "lut": 18_321,
        "lut_logic": 18_037,
        "lut_memory": 284,
        "ff": 19_049,
        "bram36": 5,
        "bram18": 10,
        "dsp": 21,
    }
    assert merged["impl"] == {"top": "design_1_wrapper", **used, "available": Z7}
    assert reports["util.rpt"].values == reports["design_1_wrapper_utilization_placed.rpt"].values == used
    assert len(reports["util.rpt"].modules) == 1_205
    assert merged["synth"] == {}
    assert merged["cycles"] == {
        "cycles_min": 300,
        "cycles_max": 300,
        "interval_min": 301,
        "interval_max": 301,
        "clock_target_ns": 5.0,
        "clock_estimate_ns": 6.982,
        "source": "csynth",
    }
    assert merged["timing"] == {
        "wns_ns": 0.549,
        "tns_ns": 0.0,
        "whs_ns": 0.021,
        "ths_ns": 0.0,
        "failing_endpoints": 0,
        "timing_met": True,
        "clock_ns": 10.0,
        "stage": "impl",
    }
    assert merged["power"] == {
        "power_total_w": 1.543,
        "power_dynamic_w": 1.405,
        "power_static_w": 0.138,
        "power_confidence": "Medium",
        "junction_c": 42.8,
        "stage": "impl",
    }
    found = problems(reports.values())
    assert sum("6.982 ns, is longer than the target, 5 ns" in line for line in found) == 2
    assert any("interval_max is 300" in line and "301" in line for line in found)
    assert any("aimed at a clock of 5 ns, the implemented one has 10 ns" in line for line in found)
    assert len(found) == 5


@needs_vivado
@pytest.mark.parametrize("name", ["hls4ml-report/vivado_hls.app", "pynq-z2-2019.2/design_1.hwh"])
def test_real_files_that_are_no_reports(name: str) -> None:
    with pytest.raises(ArtifactError, match="XML of another kind"):
        read_report(VIVADO / name)
