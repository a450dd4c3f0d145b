"""Figures of boards in the frame and in the tables: each with its place, modelled never beside measured."""

from __future__ import annotations

import html
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.report import comparison_table, frame, read_csv, write_report
from bench.report.frames.formats import plain
from bench.report.frames.tidy import sweep_frame
from bench.report.frames.view import ModelView, views
from bench.report.metrics import METRICS
from bench.report.metrics_board import BOARD, ENERGY
from bench.report.notes.board import board_notes
from bench.report.notes.notes import notes
from bench.report.page.families import family
from bench.report.records.board import NO_RAILS, PLACEHOLDER_CYCLES, VIRTUAL
from bench.report.records.read import read_sweep
from bench.report.tables.comparison import Table, TableCell, comparison
from tests.synthetic import KINDS, build
from tests.synthetic_board import DESK, EMULATED, RAIL, add_board, edit_cells, energy, told
from tests.synthetic_fpga import add_fpga, design, pick

FEW = {name: KINDS[name] for name in ("baseline", "ptq", "dq", "qat")}
METRIC_NAMES = {metric.name for metric in (*BOARD, *ENERGY)}
RAILS, ARM = f"rails {RAIL}", "pynq_tflite[board=desk]"


def sweep(root: Path) -> None:
    build(root, variants=FEW)
    add_fpga(root, hardware={"qat": design(0.5)})


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    sweep(root)
    add_board(root, DESK, {"qat": told(factor=0.5)}, hardware={"qat": design(0.5)})
    add_board(root, EMULATED)
    return root


@pytest.fixture(scope="module")
def table(results: Path) -> pd.DataFrame:
    return frame(results)


@pytest.fixture(scope="module")
def shown(table: pd.DataFrame) -> Table:
    return comparison(views(table)[0])


def columns(shown: Table, start: str) -> dict[str, str]:
    """Key -> group of the columns of groups that begin so."""
    return {column.key: column.group for column in shown.columns if column.group.startswith(start)}


def cell(shown: Table, variant: str, key: str) -> TableCell:
    place = next(i for i, column in enumerate(shown.columns) if column.key == key)
    return next(row for row in shown.rows if row.variant == variant).cells[place]


def value(table: pd.DataFrame, metric: str, scope: str, target: str = DESK, variant: str = "ptq") -> float:
    rows = pick(table, target=target, variant=variant, metric=metric, scope=scope)
    assert len(rows) == 1, rows
    return float(rows["value"].iloc[0])


def test_every_figure_of_the_agent_is_in_the_frame(table: pd.DataFrame) -> None:
    rows = table[(table["target"] == DESK) & (table["variant"] == "ptq") & table["metric"].isin(METRIC_NAMES)]
    assert set(rows["metric"]) == METRIC_NAMES
    assert set(rows["origin"]) == {"measured"} and set(rows["status"]) == {"ok"}
    for name in METRIC_NAMES:
        assert set(rows[rows["metric"] == name]["unit"]) == {METRICS[name].unit}
    phases = ("load", "encode", "copy_in", "execute", "copy_out", "decode", "end_to_end")
    assert set(rows[rows["metric"] == "phase_p50"]["scope"]) == set(phases)
    assert value(table, "phase_p50", "execute") == pytest.approx(500e-6)
    assert value(table, "phase_p95", "execute") == pytest.approx(550e-6)
    assert value(table, "phase_p99", "execute") == pytest.approx(600e-6)
    assert value(table, "phase_p50", "load") == pytest.approx(0.09)
    # one load has no percentiles
    assert "load" not in set(rows[rows["metric"].isin(("phase_p95", "phase_p99"))]["scope"])
    single = table[(table["target"] == DESK) & (table["metric"] == "phase_p50") & (table["seed"] == 0)]
    assert set(single[single["scope"] == "execute"]["n"]) == {5000}
    assert value(table, "batch_time", "batch 16") == pytest.approx(750e-6)  # the median of the repeats
    assert value(table, "batch_throughput", "batch 256") == pytest.approx(256 / 3150e-6)
    assert value(table, "call_overhead", "end_to_end") == pytest.approx(590e-6)
    assert value(table, "time_per_inference", "end_to_end") == pytest.approx(10e-6)
    assert value(table, "call_overhead", "execute") == pytest.approx(490e-6)
    assert value(table, "time_per_inference", "execute") == pytest.approx(9e-6)
    assert value(table, "fit_r2", "end_to_end") == pytest.approx(0.9999)
    assert value(table, "window_throughput", "") == pytest.approx(1602)
    assert value(table, "register_accesses", "lean") == 3
    assert value(table, "register_accesses", "stock") == 20
    assert value(table, "fabric_clock", "") == pytest.approx(100e6)
    assert value(table, "loopback_time", "") == pytest.approx(400e-6)
    assert value(table, "above_loopback", "") == pytest.approx(100e-6)
    assert value(table, "energy", RAILS) == pytest.approx(1.25e-3)
    assert value(table, "energy_net", RAILS) == pytest.approx(0.25e-3)
    assert value(table, "power_busy", RAILS) == pytest.approx(2.5)
    assert value(table, "power_idle", RAILS) == pytest.approx(2.0)
    assert value(table, "energy_rate", RAILS) == pytest.approx(48.5)


def test_modelled_and_measured_never_share_a_column(table: pd.DataFrame, shown: Table) -> None:
    assert set(table[table["target"] == EMULATED]["origin"]) >= {"modelled", "simulated"}
    found = columns(shown, "board, ")
    assert {group.partition(" (")[0] for group in found.values()} == {"board, measured", "board, modelled"}
    for key, group in found.items():
        metric, target, *place = key.split(":")
        rows = pick(table, metric=metric, target=target, status="ok")
        rows = rows[rows["scope"].isin(place) | (rows["scope"] == "")]
        assert len(set(rows["origin"])) == 1 and rows["origin"].iloc[0] == place[-1]
        assert group == f"board, {place[-1]} ({target})" and place[-1] in group
        assert len(set(zip(rows["scope"], rows["origin"], strict=True))) == 1


def test_the_same_target_with_records_of_both_kinds_has_two_groups(tmp_path: Path) -> None:
    """Whatever a label says: the record decides."""
    sweep(tmp_path)
    add_board(tmp_path, DESK, {"qat": told("modelled")})
    shown = comparison(views(frame(tmp_path))[0])
    assert cell(shown, "qat", f"phase_p50:{DESK}:end_to_end:modelled").status == "ok"
    assert cell(shown, "qat", f"phase_p50:{DESK}:end_to_end:measured").status == "skipped"
    assert cell(shown, "ptq", f"phase_p50:{DESK}:end_to_end:modelled").status == "skipped"


def test_modelled_is_said_wherever_such_a_number_stands(results: Path, shown: Table, tmp_path: Path) -> None:
    files = write_report(results, "synthetic", tmp_path)
    for name in ("report.md", "report.html"):
        text = html.unescape(files[name].read_text("utf-8").replace("\\", ""))
        assert f"board, modelled ({EMULATED})" in text and "are a placeholder" in text
    kept = read_csv(files["report.csv"])
    virtual = kept[(kept["target"] == EMULATED) & kept["metric"].isin({"phase_p50", "batch_time"})]
    assert set(virtual["origin"]) == {"modelled"}
    assert set(virtual["caveat"]) == {PLACEHOLDER_CYCLES}
    assert [r for r in shown.remarks if r.startswith(f"{EMULATED}: times are modelled")]
    assert not [r for r in shown.remarks if r.startswith(DESK) and "modelled" in r]
    for column in shown.columns:
        if column.key.endswith(":modelled") and EMULATED in column.key:
            assert "modelled]" in column.definition


def test_a_kernel_with_the_cycles_of_the_design_is_no_placeholder(tmp_path: Path) -> None:
    sweep(tmp_path)
    known = [{"name": "cycles_bound", "passed": True, "detail": ""}]
    add_board(tmp_path, EMULATED, usual=told("modelled", sanity=known))
    table = frame(tmp_path)
    rows = pick(table, target=EMULATED, metric="phase_p50")
    assert set(rows[rows["status"] == "ok"]["reason"]) == {VIRTUAL}


def test_an_origin_that_is_none_gives_no_number(tmp_path: Path) -> None:
    sweep(tmp_path)
    add_board(tmp_path, DESK, usual=told(origin="guessed"))
    assert not set(frame(tmp_path)["metric"]) & {metric.name for metric in BOARD}


def test_what_was_refused_says_why(tmp_path: Path) -> None:
    sweep(tmp_path)
    why = "execute took less than its cycles need"
    names = ("phases", "throughput", "fit", "windows", "energy", "loopback")
    refused = [{"name": name, "reason": why} for name in names]
    nothing = {
        "phases": {},
        "throughput": [],
        "fit": None,
        "fit_execute": None,
        "windows": [],
        "energy": None,
        "loopback": None,
    }
    short = [{"name": "throughput_batch_256", "reason": "256 frames do not fit (at most 100)"}]
    few = told()
    few |= {"refused": short, "throughput": few["throughput"][:-1]}
    add_board(tmp_path, DESK, {"qat": told(refused=refused, **nothing), "ptq": few})
    table = frame(tmp_path)
    shown = comparison(views(table)[0])
    for key in (
        f"phase_p50:{DESK}:end_to_end:measured",
        f"call_overhead:{DESK}:end_to_end:measured",
        f"energy:{DESK}:{RAILS}:measured",
        f"window_throughput:{DESK}:measured",
        f"loopback_time:{DESK}:measured",
    ):
        found = cell(shown, "qat", key)
        assert (found.text, found.reason) == ("skipped", why) and math.isnan(found.sort), key
    found = cell(shown, "ptq", f"batch_throughput:{DESK}:batch 256:measured")
    assert found.status == "skipped" and "do not fit" in found.reason
    rows = pick(table, target=DESK, variant="qat", metric="energy")
    assert rows["value"].isna().all() and set(rows["reason"]) == {why}


def test_a_board_without_rails_says_what_to_do(tmp_path: Path) -> None:
    sweep(tmp_path)
    bare = told(energy=None)
    bare["board"] |= {"sensors": []}
    add_board(tmp_path, DESK, usual=bare)
    table = frame(tmp_path)
    rows = pick(table, target=DESK, variant="qat", metric="energy")
    assert set(rows["reason"]) == {NO_RAILS} and rows["value"].isna().all()
    assert not columns(comparison(views(table)[0]), "energy")


def test_energy_has_its_own_columns_by_rails(tmp_path: Path, shown: Table) -> None:
    groups = set(columns(shown, "energy").values())
    assert groups == {f"energy, measured ({DESK}; {RAILS})"}
    assert cell(shown, "ptq", f"energy:{DESK}:{RAILS}:measured").text == "1.25"
    sweep(tmp_path)
    other = energy() | {"total_of": ["a/12v"]}
    add_board(tmp_path, DESK, {"qat": told(energy=other)})
    split = columns(comparison(views(frame(tmp_path))[0]), "energy")
    assert len(set(split.values())) == 2  # another rail is another column


def test_total_without_an_idle_window_gives_no_net_energy(tmp_path: Path) -> None:
    sweep(tmp_path)
    lone = energy() | {"idle": None, "net_j": None, "net_j_per_inference": None}
    add_board(tmp_path, DESK, {"qat": told(energy=lone)})
    shown = comparison(views(frame(tmp_path))[0])
    found = cell(shown, "qat", f"energy_net:{DESK}:{RAILS}:measured")
    assert (found.status, found.reason) == ("skipped", "no idle window was measured")
    assert cell(shown, "qat", f"energy:{DESK}:{RAILS}:measured").status == "ok"


def test_vivados_power_is_estimated_and_in_a_column_of_its_own(shown: Table) -> None:
    key = f"power_estimate:{DESK}:impl:estimated"
    column = next(column for column in shown.columns if column.key == key)
    assert column.group.startswith("FPGA implementation") and ", estimated" in column.group
    assert cell(shown, "qat", key).text == "1.70" and family(key) == "energy"
    assert not any("estimated" in name for name in columns(shown, "energy").values())


def test_columns_are_families_of_their_own(shown: Table) -> None:
    assert {family(key) for key in columns(shown, "board, ")} == {"board"}
    assert {family(key) for key in columns(shown, "energy, ")} == {"energy"}


def test_one_unit_for_all_phases_and_batches_in_order(shown: Table) -> None:
    units = {
        column.title: column.unit
        for column in shown.columns
        if column.key.startswith(f"phase_p50:{DESK}") or column.key.startswith(f"call_overhead:{DESK}")
    }
    assert set(units.values()) == {"ms"} and {"load", "encode", "end to end"} <= set(units)
    titles = [c.title for c in shown.columns if c.key.startswith(f"batch_throughput:{DESK}")]
    assert titles == [f"throughput, batch {n}" for n in (1, 4, 16, 256)]


def test_cost_and_agreement_are_shown_once_for_all_targets(shown: Table) -> None:
    """hls4ml and the two boards start from the same network in fixed point."""
    keys = [column.key for column in shown.columns]
    for metric in ("weight_bits", "ebops"):
        assert [key for key in keys if key.startswith(f"{metric}:")] == [f"{metric}:hls4ml:measured"]
    group = next(column.group for column in shown.columns if column.key == "ebops:hls4ml:measured")
    assert group == f"FPGA cost (hls4ml, {DESK}, {EMULATED})"
    links = [key for key in keys if key.startswith("mismatches:")]
    csim = [f"mismatches:hls4ml:csim vs {other}:simulated" for other in ("float", "qkeras")]
    assert [key for key in links if ":csim vs" in key] == csim
    assert [key for key in links if "board vs csim" in key] == [
        f"mismatches:{DESK}:board vs csim:measured",
        f"mismatches:{EMULATED}:board vs csim:simulated",
    ]


def test_another_cost_is_shown_beside(tmp_path: Path) -> None:
    sweep(tmp_path)
    add_board(tmp_path, DESK)
    table = frame(tmp_path)
    table.loc[(table["target"] == DESK) & (table["metric"] == "ebops"), "value"] *= 2
    keys = [column.key for column in comparison(views(table)[0]).columns]
    assert {"ebops:hls4ml:measured", f"ebops:{DESK}:measured"} <= set(keys)
    assert f"weight_bits:{DESK}:measured" not in keys


def test_the_terminal_has_a_table_of_each_board(table: pd.DataFrame) -> None:
    parts = comparison_table(table).split("\n\n")
    for target, origin in ((DESK, "measured"), (EMULATED, "modelled")):
        *_, part = [part for part in parts if part.startswith(f"digits_mlp on {target} ")]
        assert f" board, {origin} " in part and "per inference b" in part and "throughput, batch 256" in part
        assert "dq" not in part
    # the agreement chain to the end
    chain = "the board gives the C simulation's outputs in every bit, on all test items and seeds: baseline"
    assert chain in " ".join(" ".join(parts).split())


def test_a_board_that_differs_is_not_said_to_agree(tmp_path: Path) -> None:
    sweep(tmp_path)
    add_board(tmp_path, DESK)
    edit_cells(tmp_path, DESK, lambda cell, result: result["agreement"][-1].update(bit_exact=result["n"] - 1))
    shown = comparison(views(frame(tmp_path))[0])
    assert not [remark for remark in shown.remarks if "the board gives" in remark]
    assert cell(shown, "qat", f"bit_exact:{DESK}:board vs csim:measured").text == "99.8"


def test_boards_alone_are_no_designs(tmp_path: Path) -> None:
    """TFLite on a board's processor has phases, but nothing of an FPGA."""
    build(tmp_path, variants=FEW, targets=("tflite",))
    table = frame(tmp_path)
    rows = table[(table["metric"] == "accuracy") & table["seed"].isna()].assign(
        metric="phase_p50", scope="end_to_end", origin="measured"
    )
    view: ModelView = views(pd.concat([table, rows]))[0]
    assert view.hardware("tflite", "phase_p50") and not view.fpga_targets


def test_no_board_no_columns(tmp_path: Path) -> None:
    sweep(tmp_path)
    table = frame(tmp_path)
    assert not set(table["metric"]) & METRIC_NAMES
    assert not columns(comparison(views(table)[0]), "board")


def test_damaged_records_give_no_figures(tmp_path: Path) -> None:
    sweep(tmp_path)
    broken = told(phases={"execute": {"n": "x", "p50": "NaN"}, "encode": 3}, throughput=[1, {"batch": None}],
                  fit={"a_s": None}, fit_execute=2,
                  loopback={"execute": 1}, windows=[{}], register_accesses={"lean": None},
                  energy={"rails": {}}, refused=[1], sanity=3, fabric_clock_mhz=True)  # fmt: skip
    add_board(tmp_path, DESK, usual=broken)
    table = frame(tmp_path)
    assert set(table[table["target"] == DESK]["metric"]) & METRIC_NAMES == set()
    assert comparison_table(table)


# -- why is it so ----------------------------------------------------------------------------------


def told_of_boards(root: Path) -> dict[str, str]:
    data = read_sweep(root, "synthetic")
    view = views(sweep_frame(data))[0]
    return {text: subject for subject, text in board_notes(view)}


def quick_cpu(root: Path, **more: Any) -> None:
    """tflite takes about 2 µs (baseline) a call, end to end."""
    build(root, variants=FEW, **more)


def test_a_board_that_is_slower_than_the_cpu_at_batch_1_is_explained(tmp_path: Path) -> None:
    quick_cpu(tmp_path)
    add_board(tmp_path, DESK, {"qat": told(factor=0.5)})
    table = frame(tmp_path)
    ((text, subject),) = told_of_boards(tmp_path).items()
    assert subject == "baseline, ptq, qat" and f"One inference on {DESK} takes" in text
    cpu = text.partition("the time on ")[2].partition(":")[0]
    rows = table[table["seed"].isna() & (table["metric"] == "latency_p50") & (table["scope"] == "end_to_end")]
    times = rows[(rows["target"] == cpu) & rows["variant"].isin(("baseline", "ptq", "qat"))]
    ratios = {
        v: (300e-6 if v == "qat" else 600e-6) / high
        for v, high in zip(times["variant"], times["high"], strict=True)
    }
    shown = " to ".join(plain(end) for end in (min(ratios.values()), max(ratios.values())))
    assert f"takes {shown}×" in text
    assert "a call costs 0.295 to 0.590 ms" in text and "takes 5.00 to 10.0 µs (b)" in text
    said = [note.text for note in notes(views(table)[0], read_sweep(tmp_path, "synthetic").cells)]
    assert text in said


def test_that_note_needs_a_slower_board_and_an_overhead_that_explains_it(tmp_path: Path) -> None:
    quick_cpu(tmp_path, time_scale=1e4)  # a slow CPU
    add_board(tmp_path, DESK)
    assert told_of_boards(tmp_path) == {}
    build(tmp_path, "other", variants=FEW)
    quick_cpu(tmp_path)
    add_board(tmp_path, DESK, usual=told(fit={"a_s": 290e-6, "b_s": 310e-6, "r2": 1.0}))
    assert told_of_boards(tmp_path) == {}  # the network itself takes most of it
    quick_cpu(tmp_path)
    add_board(tmp_path, DESK, usual=told(fit={"a_s": 310e-6, "b_s": 290e-6, "r2": 1.0}))
    assert len(told_of_boards(tmp_path)) == 1


def test_no_note_from_a_noisy_cpu_or_without_one(tmp_path: Path) -> None:
    quick_cpu(tmp_path, noise=0.5)
    add_board(tmp_path, DESK)
    verdicts = frame(tmp_path)
    rows = verdicts[(verdicts["metric"] == "latency_p50") & (verdicts["status"] == "ok")]
    assert rows["reason"].str.contains("noisy|unstable").all()
    assert told_of_boards(tmp_path) == {}


def test_modelled_times_are_never_compared_with_measured_ones(tmp_path: Path) -> None:
    quick_cpu(tmp_path)
    add_board(tmp_path, EMULATED)
    ((text, subject),) = told_of_boards(tmp_path).items()
    assert subject == EMULATED and text.startswith("Its times are modelled, not measured")
    assert "the time on" not in text and "is not the design's either" in text
    # nor is the CPU's: a record of modelled phases is no processor to compare a real board with
    add_board(tmp_path, DESK)
    for other in told_of_boards(tmp_path):
        assert f"on {EMULATED}" not in other


def test_a_modelled_kernel_with_known_cycles_is_not_called_a_placeholder(tmp_path: Path) -> None:
    quick_cpu(tmp_path)
    known = [{"name": "cycles_bound", "passed": True, "detail": ""}]
    add_board(tmp_path, EMULATED, usual=told("modelled", sanity=known))
    ((text, _),) = told_of_boards(tmp_path).items()
    assert "is not the design's" not in text


def test_an_emulated_board_is_not_said_to_have_no_time(tmp_path: Path) -> None:
    sweep(tmp_path)
    add_board(tmp_path, EMULATED)
    data = read_sweep(tmp_path, "synthetic")
    found = notes(views(sweep_frame(data))[0], data.cells)
    (silent,) = [note for note in found if "it has no time" in note.text]
    assert silent.variant == "hls4ml"


def test_the_boards_own_processor_is_a_cpu_to_compare_with(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, targets=("tflite",), time_scale=1e4)
    add_board(tmp_path, DESK)
    table = frame(tmp_path)
    own = table[(table["target"] == DESK) & (table["metric"] == "phase_p50")].assign(target=ARM)
    own[["value", "low", "high"]] /= 10
    view = views(pd.concat([table, own]))[0]
    ((subject, text),) = board_notes(view)
    assert subject == "baseline, ptq, qat" and f"takes 10.0× the time on {ARM}" in text
