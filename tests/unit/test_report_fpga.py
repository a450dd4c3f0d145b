"""FPGA targets in the tidy frame: cost, agreement, hardware by stage, and what is missing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.core.records import Record
from bench.report import comparison_table, frame, write_report
from bench.report.frames.view import views
from bench.report.tables.comparison import Table, TableCell, comparison
from bench.store.store import Store
from tests.synthetic import KINDS, build
from tests.synthetic_fpga import add_fpga, change, design, example, pick

FEW = {name: KINDS[name] for name in ("baseline", "ptq", "qat")}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    example(root)
    return root


@pytest.fixture(scope="module")
def table(results: Path) -> pd.DataFrame:
    return frame(results)


def one(table: pd.DataFrame, **wanted: object) -> pd.Series:
    found = pick(table, **wanted)
    assert len(found) == 1, found
    return found.iloc[0]


def cell(shown: Table, variant: str, key: str) -> TableCell:
    place = next(i for i, column in enumerate(shown.columns) if column.key == key)
    return next(row for row in shown.rows if row.variant == variant).cells[place]


def test_cost_is_that_of_the_fixed_point_step(table: pd.DataFrame) -> None:
    expected = {"macs": 2368, "bops": 1.1 * 36 * 2368, "ebops": 36 * (2368 - 1205), "weight_bits": 6 * 2410}
    for metric, value in expected.items():
        row = one(table, variant="qap", metric=metric)
        assert (row["value"], row["origin"], row["stage"]) == (pytest.approx(value), "measured", "")
    sizes = {"payload_bits": 6 * 2410, "params": 2410, "params_nonzero": 1205, "sparsity": 0.5}
    for metric, value in (sizes | {"sparsity_all": 0.5}).items():
        assert one(table, variant="qap", metric=metric)["value"] == pytest.approx(value)


def test_params_fall_back_on_layers_and_cost(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0,))
    add_fpga(tmp_path)

    def edit(record: Record) -> None:
        for name in ("params", "params_nonzero", "sparsity"):
            if "cost" in record.result["facts"]:
                del record.result["facts"][name]

    change(tmp_path, "build", edit)
    table = frame(tmp_path)
    assert one(table, variant="qat", metric="params")["value"] == 2410
    assert one(table, variant="qat", metric="params_nonzero")["value"] == 2410
    assert pick(table, variant="qat", metric="sparsity").empty


def test_energy_is_a_model_and_its_lack_has_a_reason(table: pd.DataFrame) -> None:
    row = one(table, variant="qat", metric="energy_model")
    assert (row["value"], row["unit"], row["origin"]) == (pytest.approx(360e-12), "J", "modelled")
    missing = one(table, variant="ptq", metric="energy_model")
    assert math.isnan(missing["value"]) and missing["status"] == "skipped"
    assert missing["reason"] == "QTools knows no such layer"


def test_links_of_the_chain(table: pd.DataFrame) -> None:
    row = one(table, variant="qap", metric="mismatches", scope="csim vs qkeras", seed=1)
    assert (row["value"], row["n"], row["origin"]) == (0, 400, "simulated")
    exact = one(table, variant="qap", metric="bit_exact", scope="csim vs qkeras")
    assert exact["value"] == pytest.approx(1 - 5 / 400)
    assert exact["reason"] == "outputs differ from layer dense_1 on"
    assert one(table, variant="qat", metric="bit_exact", scope="csim vs qkeras")["value"] == 1
    trained = one(table, variant="qat", metric="mismatches", scope="qkeras vs float")
    assert (trained["value"], trained["origin"]) == (2, "measured")
    assert one(table, variant="baseline", metric="mismatches", scope="csim vs float")["value"] == 3
    assert one(table, variant="qap", metric="sqnr", scope="csim vs qkeras")["unit"] == "dB"
    assert pick(table, variant="qat", metric="sqnr", scope="csim vs qkeras").empty  # no difference at all
    assert one(table, variant="qap", metric="max_abs_diff", scope="csim vs qkeras")["value"] == 0.0625


def test_neither_file_nor_time(table: pd.DataFrame) -> None:
    mine = table[table["target"] == "hls4ml"]
    assert mine[mine["metric"].isin(["gzip_bytes", "file_ratio", "gzip_ratio", "overhead_bytes"])].empty
    for metric, word in (
        ("file_bytes", "C++ source and its simulation"),
        ("latency_p50", "says nothing about time"),
    ):
        rows = mine[mine["metric"] == metric]
        assert len(rows) and rows["value"].isna().all()
        good = rows[rows["variant"] == "qat"]
        assert set(good["status"]) == {"skipped"} and all(word in reason for reason in good["reason"])


def test_accuracy_is_simulated_and_paired_with_the_fixed_point_baseline(table: pd.DataFrame) -> None:
    assert set(pick(table, metric="accuracy", status="ok")["origin"]) == {"simulated"}
    for seed in (0, 1, 2):
        mine, base = (
            one(table, variant=v, metric="accuracy", seed=seed)["value"] for v in ("qat", "baseline")
        )
        delta = one(table, variant="qat", metric="accuracy_delta", seed=seed)
        assert delta["value"] == pytest.approx(mine - base) and delta["low"] < delta["high"]
    assert one(table, variant="qat", metric="accuracy_delta")["n"] == 3
    assert not pick(table, variant="qat", metric="agreement").empty
    assert set(pick(table, metric="accuracy", status="ok", target="tflite")["origin"]) == {"measured"}


def test_hardware_by_stage(table: pd.DataFrame) -> None:
    for stage, lut in (("hls_est", 35100), ("synth", 28350), ("impl", 27000)):
        row = one(table, variant="baseline", metric="lut", stage=stage)
        assert (row["value"], row["origin"]) == (lut, "estimated")
        share = one(table, variant="baseline", metric="dsp_share", stage=stage)
        assert (share["value"], share["scope"]) == (pytest.approx(540 / 220), "xc7z020")
        assert one(table, variant="baseline", metric="fits", stage=stage)["value"] == 0
    assert set(pick(table, variant="ptq", metric="lut")["stage"]) == {"hls_est"}
    unknown = one(table, variant="ptq", metric="fits", stage="impl")
    assert unknown["status"] == "skipped" and "not all resources" in unknown["reason"]
    assert one(table, variant="qap", metric="fits", stage="impl")["value"] == 1
    found = {m: one(table, variant="baseline", metric=m) for m in ("cycles", "interval", "kernel_latency")}
    assert [row["value"] for row in found.values()] == [44, 16, pytest.approx(44 * 8.7e-9)]
    assert {row["scope"] for row in found.values()} == {"kernel"}


def test_clock_and_power_are_those_of_the_furthest_netlist(tmp_path: Path, table: pd.DataFrame) -> None:
    clocks = pick(table, variant="baseline", metric="clock").set_index("stage")["value"]
    assert dict(clocks) == pytest.approx({"hls_est": 8.7e-9, "impl": 10e-9})
    power = one(table, variant="baseline", metric="power_estimate")
    assert (power["value"], power["unit"], power["reason"]) == (1.7, "W", "confidence: Low")
    assert one(table, variant="baseline", metric="slack")["value"] == pytest.approx(0.4e-9)
    assert pick(table, variant="qat", metric="power_estimate").empty
    told = design(1, ("hls_est", "synth")) | {"timing": {"clock_ns": 5.0}}
    build(tmp_path, variants=FEW, seeds=(0,))
    add_fpga(tmp_path, hardware={"qat": told})
    assert one(frame(tmp_path), variant="qat", metric="clock")["stage"] == "synth"


def test_placed_rtl_has_a_latency_only_at_a_clock_that_it_reaches(tmp_path: Path) -> None:
    def placed(fmax: float) -> dict[str, Any]:
        used = {"lut": 900, "ff": 800, "dsp": 12, "bram18": 0}
        return {"tool": "nextpnr-ecp5 0", "impl": used, "timing": {"clock_ns": 20.0, "fmax_mhz": fmax}}

    build(tmp_path, variants=FEW, seeds=(0,))
    hardware = {"baseline": placed(50.0), "qat": placed(49.9)}
    add_fpga(tmp_path, targets=("nextpnr",), format_="rtl", hardware=hardware)

    def edit(record: Record) -> None:
        if record.task.get("target") == "nextpnr":
            record.result["hardware"] = {"cycles": {"cycles_max": 50, "clock_target_ns": 20.0}}

    change(tmp_path, "evaluate", edit)
    table = frame(tmp_path)
    good = one(table, target="nextpnr", variant="baseline", metric="kernel_latency")
    assert (good["value"], good["origin"]) == (pytest.approx(1e-6), "simulated")
    bad = one(table, target="nextpnr", variant="qat", metric="kernel_latency")
    assert math.isnan(bad["value"]) and "reaches 49.9 MHz, asked for were 50" in bad["reason"]
    fmax = one(table, target="nextpnr", variant="qat", metric="fmax")
    assert (fmax["value"], fmax["unit"], fmax["stage"]) == (pytest.approx(49.9e6), "Hz", "impl")
    shown = comparison(views(table)[0])
    (column,) = [column for column in shown.columns if column.key.startswith("fmax:")]
    assert (column.unit, column.group) == ("MHz", "FPGA implementation by nextpnr-ecp5 0, estimated")


def test_simulated_rtl_has_a_latency_only_at_a_clock_that_its_logic_allows(tmp_path: Path) -> None:
    def synthesized(bound_ns: float) -> dict[str, Any]:
        used = {"lut": 900, "ff": 800, "dsp": 12, "bram18": 0}
        return {"tool": "yosys 0.70", "synth": used, "timing": {"logic_delay_ns": bound_ns}}

    build(tmp_path, variants=FEW, seeds=(0,))
    add_fpga(
        tmp_path,
        targets=("rtl",),
        format_="rtl",
        hardware={"baseline": synthesized(3.5), "qat": synthesized(12.5)},
    )

    def edit(record: Record) -> None:
        if record.task.get("target") == "rtl":
            record.result["hardware"] = {"cycles": {"cycles_max": 51, "clock_target_ns": 10.0}}

    change(tmp_path, "evaluate", edit)
    table = frame(tmp_path)
    good = one(table, target="rtl", variant="baseline", metric="kernel_latency")
    assert (good["value"], good["origin"]) == (pytest.approx(510e-9), "simulated")
    bad = one(table, target="rtl", variant="qat", metric="kernel_latency")
    assert bad["status"] == "skipped" and math.isnan(bad["value"])
    assert "12.50 ns without routing" in bad["reason"] and "10.00 ns" in bad["reason"]
    # Nothing is known of this one's logic.
    assert one(table, target="rtl", variant="ptq", metric="kernel_latency")["value"] == pytest.approx(510e-9)
    bound = one(table, target="rtl", variant="qat", metric="clock_bound")
    assert (bound["value"], bound["stage"], bound["origin"]) == (
        pytest.approx(12.5e-9),
        "synth",
        "estimated",
    )
    assert one(table, target="rtl", variant="qat", metric="clock_target")["value"] == pytest.approx(10e-9)
    assert set(pick(table, target="rtl", metric="accuracy")["origin"]) == {"simulated"}
    assert "Verilog" in one(table, target="rtl", variant="qat", metric="file_bytes")["reason"]
    assert "nothing ran" in one(table, target="rtl", variant="qat", metric="latency_p50")["reason"]
    shown = comparison(views(table)[0])
    groups = {column.key: column.group for column in shown.columns}
    assert groups["lut:rtl:synth:estimated"] == "FPGA synthesis by yosys 0.70, estimated"
    assert groups["cycles:rtl:kernel:simulated"] == "FPGA timing, simulated"
    assert cell(shown, "qat", "kernel_latency:rtl:kernel:simulated").status == "skipped"
    for width in (80, 100):
        lines = comparison_table(table, width).splitlines()
        place = next(place for place, line in enumerate(lines) if "on rtl (" in line)
        head = lines[place + 2]
        assert {"kernel", "cycles", "LUT", "FF", "DSP", "BRAM18"} <= set(head.split())


def test_simulated_hardware_stays_beside_the_estimated(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW)
    add_fpga(tmp_path, hardware={"qat": design(), "ptq": design()})

    def edit(record: Record) -> None:
        if record.task.get("target") == "hls4ml":
            record.result["hardware"] = {"cycles": {"cycles_max": 51, "interval_max": 20}}

    change(tmp_path, "evaluate", edit)
    table = frame(tmp_path)
    rows = pick(table, variant="qat", metric="cycles").set_index("origin")["value"]
    assert dict(rows) == {"estimated": 44, "simulated": 51}
    shown = comparison(views(table)[0])
    assert cell(shown, "qat", "cycles:hls4ml:kernel:estimated").text == "44"
    assert cell(shown, "qat", "cycles:hls4ml:kernel:simulated").text == "51"
    groups = dict.fromkeys(title for title, _ in shown.groups if "timing" in title)
    assert list(groups) == ["FPGA timing, estimated", "FPGA timing, simulated"]


def test_a_step_may_name_its_origin_and_replaces_what_came_before(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0,))
    add_fpga(tmp_path, hardware={"qat": {"cycles": {"cycles_max": 9}, "origin": "simulated"}})

    def edit(record: Record) -> None:
        if record.task.get("step") == "to_hls":
            record.result["facts"]["hardware"] = {"hls_est": {"lut": 1}, "cycles": {"cycles_max": 7}}
        if record.task.get("step") == "qkeras_qat":
            record.result["facts"]["hardware"] = {"hls_est": {"lut": 2}}

    change(tmp_path, "build", edit)
    table = frame(tmp_path)
    assert one(table, variant="qat", metric="lut")["value"] == 1
    rows = pick(table, variant="qat", metric="cycles").set_index("origin")["value"]
    assert dict(rows) == {"estimated": 7, "simulated": 9}


def test_seeds_are_averaged_and_missing_ones_told(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW)
    manifest = add_fpga(tmp_path, hardware={"qat": design()})
    keys = next(
        c["build_keys"]
        for c in manifest["cells"]
        if (c["variant"], c["target"], c["seed"]) == ("qat", "hls4ml", 1)
    )
    store = Store(tmp_path)
    record = store.read("build", keys[-1])
    assert record is not None
    told = record.result["facts"]["hardware"]
    told["impl"]["lut"], told["fits"]["impl"], told["fits"]["synth"] = 9600, None, False
    store.write(record)
    table = frame(tmp_path)
    row = one(table, variant="qat", metric="lut", stage="impl")
    assert (row["value"], row["n"]) == (pytest.approx(9200), 3) and row["low"] < 9200 < row["high"]
    fits = one(table, variant="qat", metric="fits", stage="impl")
    assert fits["value"] == 1 and fits["reason"].startswith("1 of 3 seeds skipped: not all resources")
    shown = comparison(views(table)[0])
    assert cell(shown, "qat", "fits:hls4ml:xc7z020:synth:estimated").text == "67 % of seeds"


@pytest.mark.parametrize(
    "damage",
    [
        {"cost": "much", "hardware": 3, "layers": None},
        {"cost": {"macs": "x", "ebops": None, "energy_pj": True, "weight_bits": math.inf}, "layers": [1]},
        {"hardware": {"hls_est": None, "percent": [], "fits": None, "cycles": 4, "device": None}},
        {"hardware": {"synth": {"lut": None}, "power": None, "timing": {"wns_ns": "?"}}},
    ],
)
def test_damaged_facts_are_no_numbers(tmp_path: Path, damage: dict[str, Any]) -> None:
    build(tmp_path, variants=FEW, seeds=(0,), items=50)
    manifest = add_fpga(tmp_path)
    keys = {key for c in manifest["cells"] if c["target"] == "hls4ml" for key in c["build_keys"]}
    for key in keys:
        path = tmp_path / "records" / "build" / key[:2] / f"{key}.json"
        value = json.loads(path.read_text())
        value["result"]["facts"] |= damage
        path.write_text(json.dumps(value))
    table = frame(tmp_path)
    assert pick(table, metric="lut").empty
    assert not pick(table, metric="accuracy", status="ok").empty
    assert not table["value"].isin([math.inf]).any()
    write_report(tmp_path, "synthetic")


@pytest.mark.parametrize(
    ("link", "place"),
    [
        ({"n": 0}, "agreement.0.n"),
        ({"mismatches": None}, "agreement.0.mismatches"),
        ({"bit_exact": 1.5}, "agreement.0.bit_exact"),
        ({"first_layer": 3}, "agreement.0.first_layer"),
    ],
)
def test_a_damaged_link_makes_the_record_a_failed_one(
    tmp_path: Path, link: dict[str, Any], place: str
) -> None:
    build(tmp_path, variants=FEW, seeds=(0,), items=50)
    add_fpga(tmp_path)

    def damage(record: Record) -> None:
        for found in record.result.get("agreement", ())[:1]:
            found.update(link)

    change(tmp_path, "evaluate", damage)
    table = frame(tmp_path)
    assert pick(table, metric="mismatches").empty
    rows = pick(table, target="hls4ml", metric="accuracy", status="failed")
    assert rows["reason"].str.contains(f"its record is damaged: {place}", regex=False).any()
    assert not pick(table, target="tflite", metric="accuracy", status="ok").empty


def test_a_design_that_failed_has_no_row_of_a_file(table: pd.DataFrame) -> None:
    rows = pick(table, variant="distilled")
    assert sorted(rows["metric"]) == ["accuracy", "latency_p50", "weight_bits"]
    assert set(rows["reason"]) == {"to_hls: LSTM is not supported"}


@pytest.mark.parametrize("format_", ["hls", "fixed"])
def test_other_formats_of_a_design(tmp_path: Path, format_: str) -> None:
    build(tmp_path, variants=FEW, seeds=(0,))
    add_fpga(tmp_path, format_=format_)
    table = frame(tmp_path)
    assert pick(table, metric="file_bytes", status="ok").empty
    assert one(table, variant="qat", metric="params")["value"] == 2410


def test_what_runs_on_hardware_is_measured_and_has_a_file(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0,))
    add_fpga(tmp_path, format_="overlay", hardware={"qat": design()})

    def edit(record: Record) -> None:
        if record.task.get("step") == "build_overlay":
            record.result["facts"]["file_bytes"] = 4_000_000

    change(tmp_path, "build", edit)
    table = frame(tmp_path)
    assert one(table, variant="qat", metric="file_bytes")["value"] == 4_000_000
    assert one(table, variant="qat", metric="params")["value"] == 2410
    assert one(table, variant="qat", metric="ebops")["value"] == 36 * 2368
    assert one(table, variant="qat", metric="accuracy")["origin"] == "measured"
    assert pick(table, metric="latency_p50").empty
