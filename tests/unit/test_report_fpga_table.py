"""FPGA targets in tables, pictures, notes and the page: what an empty cell says, what is never mixed."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from bench.core.records import Record
from bench.report import comparison_table, frame, read_csv, write_report
from bench.report.frames.view import ModelView, views
from bench.report.metrics import COST, HARDWARE, LINKS, STAGES
from bench.report.notes.headline import headlines
from bench.report.notes.lineage import lineages
from bench.report.notes.notes import notes
from bench.report.pictures import scatter
from bench.report.records.read import read_sweep
from bench.report.tables import fpga as tables_fpga
from bench.report.tables.comparison import Table, TableCell, comparison
from bench.store.store import Store
from tests.synthetic import KINDS, build
from tests.synthetic_fpga import BACKENDS, NO_WAY, add_fpga, change, design, example, pick

FEW = {name: KINDS[name] for name in ("baseline", "ptq", "qat")}
FPGA_METRICS = {*COST, *LINKS, *HARDWARE}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    example(root)
    return root


@pytest.fixture(scope="module")
def table(results: Path) -> pd.DataFrame:
    return frame(results)


@pytest.fixture(scope="module")
def view(table: pd.DataFrame) -> ModelView:
    return views(table)[0]


@pytest.fixture(scope="module")
def shown(view: ModelView) -> Table:
    return comparison(view)


def cell(shown: Table, variant: str, key: str) -> TableCell:
    place = next(i for i, column in enumerate(shown.columns) if column.key == key)
    return next(row for row in shown.rows if row.variant == variant).cells[place]


def test_one_column_holds_one_stage_and_one_origin(table: pd.DataFrame, shown: Table) -> None:
    assert any(column.key.startswith("lut:hls4ml:impl") for column in shown.columns)
    assert len({column.key for column in shown.columns}) == len(shown.columns)
    for column in shown.columns:
        metric, target, *place = column.key.split(":")
        if not column.group.startswith("FPGA"):
            continue
        stages = [part for part in place if part in STAGES]
        rows = pick(table, metric=metric, target=target, status="ok")
        for part in place:
            rows = rows[(rows["scope"] == part) | (rows["stage"] == part) | (rows["origin"] == part)]
        assert len(set(zip(rows["stage"], rows["origin"], rows["scope"], strict=True))) == 1, column.key
        assert len(stages) == (1 if rows["stage"].iloc[0] else 0)
        assert f", {rows['origin'].iloc[0]}]" in column.definition
        if stages:
            title = f"FPGA {tables_fpga.STAGE_NAMES[stages[0]]}, {rows['origin'].iloc[0]} ({target})"
            assert column.group == title
        known = {row.variant for row in shown.rows if cell(shown, row.variant, column.key).status == "ok"}
        assert known == set(rows["variant"])


def test_every_empty_fpga_cell_has_its_reason(shown: Table) -> None:
    places = [i for i, column in enumerate(shown.columns) if column.group.startswith("FPGA")]
    assert len(places) > 20
    for row in shown.rows:
        for cells in (row.cells[place] for place in places):
            assert cells.text
            assert cells.status == "ok" or (cells.reason and cells.note)


def test_what_the_empty_cells_say(shown: Table) -> None:
    key = "lut:hls4ml:impl:estimated"
    assert cell(shown, "dq", key).text == "n/a" and NO_WAY in cell(shown, "dq", key).reason
    assert NO_WAY in cell(shown, "fiq", "ebops:hls4ml:measured").reason
    assert cell(shown, "distilled", key).reason == "to_hls: LSTM is not supported"
    assert cell(shown, "ptq", key).text == "…" and cell(shown, "ptq", key).reason == "not run yet"
    assert cell(shown, "ptq", "lut:hls4ml:hls_est:estimated").text == "11,700"
    assert "no such link" in cell(shown, "ptq", "mismatches:hls4ml:csim vs qkeras:simulated").reason
    assert cell(shown, "ptq", "energy_model:hls4ml:modelled").reason == "QTools knows no such layer"
    assert cell(shown, "pruned", "mismatches:hls4ml:csim vs float:simulated").text == "0"
    assert cell(shown, "qap", "fits:hls4ml:xc7z020:impl:estimated").text == "yes"
    assert cell(shown, "baseline", "fits:hls4ml:xc7z020:impl:estimated").text == "no"
    assert cell(shown, "qap", "dsp_share:hls4ml:xc7z020:impl:estimated").text == "24.5"
    column = next(c for c in shown.columns if c.key == "dsp_share:hls4ml:xc7z020:impl:estimated")
    assert (column.title, column.unit) == ("DSP", "% of xc7z020")


def test_groups_and_units(shown: Table) -> None:
    groups = [title for title, _ in shown.groups if title.startswith("FPGA")]
    assert groups[0] == "FPGA cost (hls4ml)" and len(groups) == len(set(groups))
    assert "FPGA implementation, estimated (hls4ml)" in groups
    units = {column.key: column.unit for column in shown.columns}
    assert units["energy_model:hls4ml:modelled"] == "nJ"
    assert units["kernel_latency:hls4ml:kernel:estimated"] == "µs"
    assert units["mismatches:hls4ml:csim vs float:simulated"] == "classes differ"


def test_two_backends_share_what_is_the_same(shown: Table) -> None:
    keys = [column.key for column in shown.columns]
    once = ("ebops", "mismatches", "params_nonzero", "sparsity")
    assert not any(key.startswith(tuple(f"{metric}:hls4ml[" for metric in once)) for key in keys)
    assert all(any(key.startswith(f"{metric}:hls4ml:") for key in keys) for metric in once)
    assert "lut:hls4ml[backend=Vivado]:impl:estimated" in keys
    assert cell(shown, "qap", "lut:hls4ml[backend=Vivado]:impl:estimated").text == "…"


def test_two_backends_that_differ_have_a_column_each(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0,))
    manifest = add_fpga(tmp_path, targets=BACKENDS)
    key = next(
        c["evaluate_key"]
        for c in manifest["cells"]
        if (c["target_label"], c["variant"]) == (BACKENDS[1], "qat")
    )
    store = Store(tmp_path)
    record = store.read("evaluate", key)
    assert record is not None
    record.result["agreement"][1]["mismatches"] = 7
    store.write(record)
    shown = comparison(views(frame(tmp_path))[0])
    for target, text in zip(BACKENDS, ("0", "7"), strict=True):
        assert cell(shown, "qat", f"mismatches:{target}:csim vs qkeras:simulated").text == text


def test_nearly_all_is_not_all() -> None:
    assert [tables_fpga._share(x) for x in (1.0, 0.99999, 0.5, 0.00001, 0.0, 2.455)] == [
        "100.0",
        "> 99.9",
        "50.0",
        "< 0.1",
        "0.0",
        "245.5",
    ]


def test_remarks_say_what_simulation_and_model_are(shown: Table, tmp_path: Path) -> None:
    said = " ".join(shown.remarks)
    assert "says nothing about time" in said and "45 nm" in said
    build(tmp_path, variants=FEW, seeds=(0,))
    add_fpga(tmp_path, no_energy=tuple(FEW))
    said = " ".join(comparison(views(frame(tmp_path))[0]).remarks)
    assert "says nothing about time" in said and "45 nm" not in said


def test_what_is_exact_in_every_bit_is_said_in_the_terminal_too(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0,))
    add_fpga(tmp_path)
    exact = [line for line in comparison_table(frame(tmp_path)).splitlines() if "every bit" in line]
    assert len(exact) == 1 and "hls4ml" in exact[0]
    assert any(remark.endswith(": qat.") for remark in comparison(views(frame(tmp_path))[0]).remarks)

    def edit(record: Record) -> None:
        if record.task.get("target") == "hls4ml" and record.result["agreement"][0]["of"] == "qkeras":
            record.result["agreement"][1]["bit_exact"] -= 1

    change(tmp_path, "evaluate", edit)
    assert "every bit" not in comparison_table(frame(tmp_path))


def test_the_table_is_the_same_from_csv(results: Path, tmp_path: Path, table: pd.DataFrame) -> None:
    path = write_report(results, "synthetic", tmp_path)["report.csv"]
    assert comparison_table(read_csv(path), 2000) == comparison_table(table, 2000)


# -- what else reports tell --------------------------------------------------------------------------


def test_old_records_show_nothing_of_fpgas(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0,), items=50)
    table = frame(tmp_path)
    assert not FPGA_METRICS & set(table["metric"]) and views(table)[0].fpga_targets == []
    written = write_report(tmp_path, "synthetic")
    assert not any("EBOPs" in name for name in written)
    for name in ("report.md", "report.tex"):
        assert "FPGA" not in written[name].read_text().partition("## Columns")[0], name
    assert "<b>FPGA</b> columns" not in written["report.html"].read_text()


def test_a_design_is_not_the_primary_target_where_something_runs(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0,))  # ties with tflite: all three variants are scored on both
    add_fpga(tmp_path)
    assert views(frame(tmp_path))[0].primary == "tflite"
    path = tmp_path / "sweeps" / "synthetic.json"
    manifest = json.loads(path.read_text())
    manifest["cells"] = [c for c in manifest["cells"] if c["target"] == "hls4ml"]
    path.write_text(json.dumps(manifest))
    view = views(frame(tmp_path))[0]
    assert view.primary == "hls4ml" and headlines(view) == []
    assert [plan.name for plan in scatter.plans(view, "m")] == ["m-accuracy-EBOPs-hls4ml"]
    write_report(tmp_path, "synthetic")


def test_headlines_say_nothing_of_designs(view: ModelView) -> None:
    told = " ".join(headlines(view))
    assert told and "hls4ml" not in told and "FPGA" not in told


def test_pictures(view: ModelView, table: pd.DataFrame) -> None:
    names = [plan.name for plan in scatter.plans(view, "m")]
    assert names == [
        *("m-accuracy-size", "m-accuracy-latency-keras", "m-accuracy-latency-tflite"),
        "m-accuracy-EBOPs-hls4ml",
    ]
    data = list(scatter.plans(view, "m"))[-1].data
    assert {p.name for p in data.points} == {"baseline", "pruned", "ptq", "qat", "qap"}
    assert data.label == "EBOPs" and "qap" in data.front
    without = views(table[table["metric"] != "ebops"])[0]
    assert list(scatter.plans(without, "m"))[-1].name == "m-accuracy-weight-bits-hls4ml"
    single = views(table[(table["metric"] != "ebops") | (table["variant"] == "qat")])[0]
    assert list(scatter.plans(single, "m"))[-1].name == "m-accuracy-weight-bits-hls4ml"


def test_notes_on_rounding_exactness_and_time(results: Path, view: ModelView) -> None:
    found = notes(view, read_sweep(results, "synthetic").cells)
    rounding = [note.variant for note in found if "rounded without training" in note.text]
    assert rounding == ["baseline, ptq"] * 2  # not pruned, whose classes are all the same; each backend
    exact = [note for note in found if "not bit-exact" in note.text]
    assert {note.variant for note in exact} == {"qap"} and "layer dense_1" in exact[0].text
    (silent,) = [note for note in found if "it has no time" in note.text]
    assert silent.variant == "hls4ml, hls4ml[backend=Vivado]"


def test_a_design_whose_cycles_are_known_has_time(tmp_path: Path) -> None:
    build(tmp_path, variants={name: KINDS[name] for name in ("baseline", "pruned")}, items=50)
    hardware = {f"{name}@rtl": design() for name in ("baseline", "pruned")}
    add_fpga(tmp_path, targets=("hls4ml", "rtl"), hardware=hardware)
    (view,) = views(frame(tmp_path, "synthetic"))
    found = notes(view, read_sweep(tmp_path, "synthetic").cells)
    assert [note.variant for note in found if "it has no time" in note.text] == ["hls4ml"]


def test_generated_data_are_told(tmp_path: Path) -> None:
    build(tmp_path, variants={"baseline": KINDS["baseline"]}, items=50)

    def told() -> list[str]:
        (view,) = views(frame(tmp_path, "synthetic"))
        return [note.text for note in notes(view, read_sweep(tmp_path, "synthetic").cells)]

    assert not any("generated" in text for text in told())
    for path in (tmp_path / "records" / "evaluate").rglob("*.json"):
        record = json.loads(path.read_text())
        record["environment"]["data"] = {"source": "generated, seed 0", "real": False}
        path.write_text(json.dumps(record))
    assert told()[0].startswith("The data are generated, not real (generated, seed 0)")


def test_lineage_shows_layers_and_settings_of_the_design(results: Path) -> None:
    found = {(line.variant, line.format): line for line in lineages(read_sweep(results, "synthetic").cells)}
    # One seed each: those of others differ by nothing but the seed.
    assert [place for name, place in found if name == "qat"] == ["keras", "tflite", "csim", BACKENDS[1]]
    line = found["qat", "csim"]
    assert [step.step for step in line.steps] == ["train", "qkeras_qat", "to_hls", "build_overlay"]
    assert [step.step for step in found["pruned", "csim"].steps][-2:] == ["to_hls", "compile_hls"]
    assert line.layers[0].bits == "6 (2 before the point), inputs 6" and line.fixed
    assert line.design.startswith("backend Vitis, io_type io_parallel") and "xc7z020clg400-1" in line.design
    assert found["qat", BACKENDS[1]].design.startswith("backend Vivado")
    assert found["qat", "tflite"].layers[0].bits == "32 (float32)" and found["qat", "tflite"].design == ""
    assert ("dq", BACKENDS[1]) not in found  # not applicable is told once
    assert found["dq", "csim"].reason.endswith(NO_WAY)


def test_page_tells_of_designs(results: Path, tmp_path: Path) -> None:
    written = write_report(results, "synthetic", tmp_path)
    text = written["report.html"].read_text()
    for words in (
        "<b>FPGA</b> columns hold one stage",
        "FPGA implementation, estimated (hls4ml)",
        "6 (2 before the point), inputs 6",
        "backend Vivado",
        "accuracy against EBOPs",
        "says nothing about time",
    ):
        assert words in text, words
    assert "to\\_hls: LSTM is not supported" in written["report.md"].read_text()
    assert "FPGA cost" in written["report.tex"].read_text()


def test_a_simulation_that_failed_leaves_the_cost(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0,))
    add_fpga(tmp_path)

    def edit(record: Record) -> None:
        if record.task.get("target") == "hls4ml" and record.result["agreement"][0]["of"] == "qkeras":
            record.status, record.reason = "failed", "killed by signal 9"

    change(tmp_path, "evaluate", edit)
    shown = comparison(views(frame(tmp_path))[0])
    assert cell(shown, "qat", "ebops:hls4ml:measured").text == "85,248"
    empty = cell(shown, "qat", "mismatches:hls4ml:csim vs float:simulated")
    assert (empty.text, empty.reason) == ("failed", "evaluate: killed by signal 9")
    assert not any("qkeras" in column.key for column in shown.columns)  # nothing of a failed record


def test_what_has_a_file_shows_its_weights_beside_its_size(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0,))
    add_fpga(tmp_path, format_="overlay")
    shown = comparison(views(frame(tmp_path))[0])
    groups = [column.group for column in shown.columns if column.key.startswith("sparsity:hls4ml")]
    assert groups == ["size (hls4ml)"]
    assert not any("nothing about time" in remark for remark in shown.remarks)
    groups = [title for title, _ in shown.groups if title.startswith("FPGA")]
    assert groups == ["FPGA cost", "FPGA agreement"]  # one target needs no naming
