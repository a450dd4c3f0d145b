"""Numbers as text, the comparison table in every form, Pareto fronts, headlines and notes."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.report import comparison_table, frame
from bench.report.frames import formats
from bench.report.frames.view import ModelView, latency_front, pareto, size_front, views
from bench.report.metrics import METRICS, markdown_table
from bench.report.notes.headline import headlines
from bench.report.notes.lineage import distillation, lineages
from bench.report.notes.notes import notes
from bench.report.records.read import read_sweep
from bench.report.tables.comparison import MAIN, Table, comparison
from bench.report.tables.latex import escape
from bench.report.tables.text import display_width, escape_markdown, markdown
from tests.synthetic import KINDS, Kind, build


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    build(root, failed={"clustered": "loss is NaN"})
    return root


@pytest.fixture(scope="module")
def table(results: Path) -> pd.DataFrame:
    return frame(results)


@pytest.fixture(scope="module")
def view(table: pd.DataFrame) -> ModelView:
    return views(table)[0]


def text_of(shown: Table, variant: str, key: str) -> str:
    place = next(i for i, column in enumerate(shown.columns) if column.key == key)
    return next(row for row in shown.rows if row.variant == variant).cells[place].shown


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (97.43, 97.31, 97.55, "97.43 ± 0.12"),
        (97.43, 97.0, 97.86, "97.4 ± 0.4"),
        (97.43, 96.47, 98.39, "97.4 ± 1.0"),
        (-0.3, -0.5, -0.1, "−0.30 ± 0.20"),
        (0.0, -0.3, 0.3, "0.0 ± 0.3"),
        (97.43, math.nan, math.nan, "97.43"),
    ],
)
def test_digits_follow_the_uncertainty(value: float, low: float, high: float, expected: str) -> None:
    assert formats.plus_minus(value, low, high) == expected


def test_sign_of_a_change() -> None:
    assert formats.plus_minus(0.5, 0.4, 0.6, sign=True) == "+0.50 ± 0.10"
    assert formats.plus_minus(0.001, -0.4, 0.402, sign=True) == "0.0 ± 0.4"
    assert formats.plus_minus(-0.001, -0.402, 0.4, sign=True) == "0.0 ± 0.4"


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (12.3, 12.1, 12.6, "12.3 [12.1, 12.6]"),
        (1234.5, 1200, 1300, "1,234 [1,200, 1,300]"),
        (0.03339, 0.0331, 0.0336, "0.0334 [0.0331, 0.0336]"),
        (9.116, math.nan, math.nan, "9.12"),
    ],
)
def test_interval_in_brackets(value: float, low: float, high: float, expected: str) -> None:
    assert formats.bracketed(value, low, high) == expected


def test_display_units() -> None:
    assert formats.scale_for("s", [3e-6, 9e-6]).unit == "µs"
    assert formats.scale_for("s", [3e-8]).unit == "ns"
    assert formats.scale_for("s", [7e-7]).unit == "µs"
    assert formats.scale_for("s", [0.004, 0.5, 0.002]).unit == "ms"
    assert formats.scale_for("bytes", [120_000]).unit == "kB"
    assert formats.scale_for("bytes", [900]).unit == "B"
    assert formats.scale_for("s", []).factor > 0


def test_pareto() -> None:
    points = [
        ("a", 1.0, 0.9),
        ("b", 2.0, 0.95),
        ("worse", 2.5, 0.95),
        ("dominated", 1.5, 0.8),
        ("twin", 1.0, 0.9),
    ]
    assert pareto(points) == {"a", "b", "twin"}
    assert pareto([]) == set()


def test_costs_that_hardly_differ_are_the_same_on_a_front() -> None:
    # Nine students of one size: some bytes after gzip more or less make none of them the smallest.
    points = [("a", 1000.0, 0.90), ("b", 1004.0, 0.91), ("c", 1008.0, 0.905), ("big", 2000.0, 0.91)]
    assert pareto(points) == {"a", "b"}
    assert pareto(points, 0.01) == {"b"}
    assert pareto([("a", 1000.0, 0.9), ("b", 1004.0, 0.9)], 0.01) == {"a", "b"}
    assert pareto([("a", 1000.0, 0.9), ("b", 1011.0, 0.91)], 0.01) == {"a", "b"}
    # Along a front, as its line is drawn, what costs more gains no less.
    rng = random.Random(0)
    for _ in range(200):
        many = [(str(n), rng.uniform(1, 1.2), rng.randint(0, 30) / 30) for n in range(20)]
        front = sorted((cost, gain) for name, cost, gain in many if name in pareto(many, 0.05))
        assert front and [gain for _, gain in front] == sorted(gain for _, gain in front)


def test_fronts_do_not_tell_apart_what_is_noise(tmp_path: Path) -> None:
    kinds = {
        "baseline": KINDS["baseline"],
        "same_size": replace(KINDS["baseline"], accuracy=0.02, gzip=1.004),
    }
    build(tmp_path, variants=kinds, seeds=(0,))
    view = views(frame(tmp_path))[0]
    assert size_front(view) == {"same_size"}
    slower = replace(KINDS["baseline"], accuracy=0.02, time=1.03)
    both = {"baseline": KINDS["baseline"], "slower": slower}
    build(tmp_path / "b", variants=both, seeds=(0,), noise=0.03)
    view = views(frame(tmp_path / "b"))[0]
    times = dict(view.known("tflite", "latency_p50", "invoke"))
    assert 1.015 < times["slower"].value / times["baseline"].value < 1 + view.noise("tflite", "invoke")
    assert latency_front(view, "tflite", "invoke") == {"slower"}


def test_rows_are_the_variants_in_order(view: ModelView) -> None:
    shown = comparison(view)
    assert [row.variant for row in shown.rows] == list(KINDS)
    assert {row.variant: row.role for row in shown.rows if row.role} == {
        "baseline": "reference",
        "distilled": "student",
        "distilled_qap": "student",
        "baseline_longer": "control",
        "student_scratch": "control",
    }


def test_columns_say_scope_origin_and_definition(view: ModelView) -> None:
    columns = {column.key: column for column in comparison(view).columns}
    time = columns["latency_p50:tflite:invoke"]
    assert time.unit == "µs" and time.definition.endswith("[tflite, invoke, measured]")
    assert "gzip bytes of the baseline / gzip bytes of the variant" in columns["gzip_ratio:tflite"].definition
    assert not any(key.startswith("file_bytes:keras") for key in columns)


def test_scopes_come_from_the_narrowest_to_the_widest(view: ModelView, table: pd.DataFrame) -> None:
    assert view.scopes("tflite") == ["invoke", "end_to_end"]
    turned = views(table.iloc[::-1])[0]  # records are written with sorted keys
    assert turned.scopes("tflite") == ["invoke", "end_to_end"]


def test_both_sizes_share_a_unit(tmp_path: Path) -> None:
    small = {name: KINDS[name] for name in ("baseline", "distilled_qap")}
    build(tmp_path, variants=small, seeds=(0,))
    table = frame(tmp_path)
    size = table["metric"].isin(["file_bytes", "gzip_bytes"])
    table.loc[size & (table["metric"] == "gzip_bytes"), "value"] /= 20
    columns = {column.key: column.unit for column in comparison(views(table)[0]).columns}
    assert columns["file_bytes:tflite"] == columns["gzip_bytes:tflite"]


def test_metrics_are_documented_in_one_table() -> None:
    lines = markdown_table().splitlines()
    assert len(lines) == len(METRICS) + 2
    assert all(line.replace(r"\|", "").count("|") == 6 for line in lines)
    assert all(metric.unit in ("1", "s", "bytes", "1/s", "J", "W", "Hz", "dB") for metric in METRICS.values())


def test_an_empty_cell_has_its_reason(view: ModelView) -> None:
    shown = comparison(view)
    assert text_of(shown, "dq", "accuracy:keras") == "n/a¹"
    assert shown.footnotes[0].startswith("not applicable: quantized after training")
    assert text_of(shown, "clustered", "accuracy:tflite") == "failed²"
    assert shown.footnotes[1] == "cluster: loss is NaN"
    assert text_of(shown, "baseline", "accuracy_delta:tflite") == ""


def test_same_is_never_called_faster(view: ModelView) -> None:
    shown = comparison(view)
    assert text_of(shown, "pruned", "latency_ratio:tflite:invoke")[:2] in ("= ", "? ")
    assert text_of(shown, "fiq", "latency_ratio:tflite:invoke").startswith("3.0")


def test_noisy_latency_is_marked_and_not_on_the_front(results: Path, table: pd.DataFrame) -> None:
    noisy = table.copy()
    fastest = (noisy["variant"] == "distilled_qap") & (noisy["metric"] == "latency_p50")
    noisy.loc[fastest, "verdict"] = "noisy"
    before, after = (comparison(views(t)[0]) for t in (table, noisy))
    assert "time" in next(row for row in before.rows if row.variant == "distilled_qap").fronts
    assert "time" not in next(row for row in after.rows if row.variant == "distilled_qap").fronts
    assert text_of(after, "distilled_qap", "latency_p50:tflite:invoke").endswith(" ~")
    assert "~ noisy" in comparison_table(noisy)


def test_controls_are_not_on_the_front(view: ModelView) -> None:
    best = max(view.variants, key=lambda v: view.value(v, "tflite", "accuracy"))
    assert best == "baseline_longer" and best not in size_front(view)
    assert "baseline" in size_front(view)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_plain_text_keeps_to_its_width(table: pd.DataFrame, width: int) -> None:
    lines = comparison_table(table, width).splitlines()
    assert max(map(display_width, lines)) <= width
    rows, blocks = sum(line.startswith(tuple(KINDS)) for line in lines), lines.count("") + 1
    assert rows == len(KINDS) * blocks and blocks == (1 if width == 200 else 2)
    (model,) = views(table)
    heads = [word for line in lines if "  front" in line for word in line.split()]
    main = [c for c in comparison(model).columns if c.priority <= MAIN]
    if width >= 100:  # each target's accuracy and time are there, whatever has to go
        wanted = [c.title for c in main if c.key.startswith(("accuracy:", "latency_p50:"))]
        assert all(heads.count(title) >= wanted.count(title) for title in wanted)


def test_plain_text_shows_what_matters_in_100_columns(table: pd.DataFrame) -> None:
    text = comparison_table(table)
    for word in ("tflite invoke", "speed-up", "Δ tflite", "smaller", "† control", "cluster: loss is NaN"):
        assert word in text
    assert "more columns in the report" in text


def test_plain_text_is_one_line_a_row_whatever_the_names(tmp_path: Path) -> None:
    hostile = "a\x1b[31m\nb\tc"
    build(tmp_path, variants={"baseline": KINDS["baseline"], hostile: KINDS["pruned"]}, seeds=(0,))
    text = comparison_table(frame(tmp_path))
    assert "\x1b" not in text and "a\ufffd[31m b c" in text


def test_nothing_to_show(tmp_path: Path) -> None:
    assert comparison_table(frame(tmp_path)) == "No cells."


def test_one_seed_shows_the_wilson_interval(tmp_path: Path) -> None:
    build(tmp_path, variants={"baseline": KINDS["baseline"]}, seeds=(0,))
    shown = comparison(views(frame(tmp_path))[0])
    assert "[" in text_of(shown, "baseline", "accuracy:tflite")
    assert any("Wilson" in remark for remark in shown.remarks)


def test_only_failures_and_only_not_applicable(tmp_path: Path) -> None:
    broken = {"baseline": Kind(("train",), keras="why not")}
    build(tmp_path, variants=broken, failed={"baseline": "no luck"}, seeds=(0,))
    text = comparison_table(frame(tmp_path))
    assert "failed" in text and "no luck" in text and "n/a" in text and "why not" in text


def test_options_that_change_no_accuracy_give_one_column(tmp_path: Path) -> None:
    variants = {name: KINDS[name] for name in ("baseline", "fiq")}
    build(tmp_path, variants=variants, targets=("tflite", "tflite[threads=2]"), seeds=(0,))
    view = views(frame(tmp_path))[0]
    assert view.primary == "tflite"
    keys = [column.key for column in comparison(view).columns]
    assert sum(key.startswith("accuracy:") for key in keys) == 1
    assert sum(key.startswith("latency_p50:") and key.endswith("invoke") for key in keys) == 2


def test_fewer_of_the_same_numbers_give_no_column_of_their_own(tmp_path: Path) -> None:
    variants = {name: KINDS[name] for name in ("baseline", "fiq", "qap")}
    targets = ("tflite[threads=4]", "tflite", "tflite[threads=2]")
    build(tmp_path, variants=variants, targets=targets, seeds=(0,))
    path = tmp_path / "sweeps" / "synthetic.json"
    manifest = json.loads(path.read_text())
    # Most cells with four threads are left out, those with two are scored on other items.
    for cell in manifest["cells"]:
        if cell["target_label"] == targets[0] and cell["variant"] != "qap":
            cell |= {"not_applicable": "left out", "build_keys": [], "evaluate_key": None, "measure_keys": []}
        if cell["target_label"] == targets[2]:
            key = cell["evaluate_key"]
            record = tmp_path / "records" / "evaluate" / key[:2] / f"{key}.json"
            value = json.loads(record.read_text())
            value["result"]["errors"] += 1
            record.write_text(json.dumps(value))
    path.write_text(json.dumps(manifest))
    titles = [c.title for c in comparison(views(frame(tmp_path))[0]).columns if c.key.startswith("accuracy:")]
    assert titles == ["tflite", "tflite[threads=2]"]


def test_a_target_on_which_nothing_is_takes_no_main_column(tmp_path: Path) -> None:
    variants = {name: KINDS[name] for name in ("baseline", "qap")}
    build(tmp_path, variants=variants, targets=("tflite", "keras"), seeds=(0,))
    path = tmp_path / "sweeps" / "synthetic.json"
    manifest = json.loads(path.read_text())
    for cell in manifest["cells"]:
        if cell["target"] == "keras":
            cell |= {"not_applicable": "no such thing here", "build_keys": [], "evaluate_key": None}
    path.write_text(json.dumps(manifest))
    table = comparison(views(frame(tmp_path))[0])
    (column,) = [column for column in table.columns if column.key.startswith("accuracy:keras")]
    assert column.priority > MAIN and "keras: not applicable: no such thing here." in table.remarks
    manifest["cells"] = [cell for cell in manifest["cells"] if cell["target"] == "keras"]
    path.write_text(json.dumps(manifest))
    table = comparison(views(frame(tmp_path))[0])  # where there is nothing else, it is the table
    assert table.columns[0].priority <= MAIN


def test_markdown_escapes(view: ModelView) -> None:
    assert escape_markdown("a|b*<i>[x](y)_") == r"a\|b\*&lt;i&gt;\[x\](y)\_"
    lines = [line for line in markdown(comparison(view)).splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1


def test_no_column_of_fronts_where_nobody_is_on_one(tmp_path: Path) -> None:
    build(tmp_path, variants={name: KINDS[name] for name in ("baseline", "qap")}, seeds=(0,))
    table = comparison(views(frame(tmp_path))[0])
    assert any(row.fronts for row in table.rows) and "| Pareto |" in markdown(table)
    shown = markdown(replace(table, rows=[replace(row, fronts=[]) for row in table.rows]))
    assert "Pareto" not in shown
    lines = [line for line in shown.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {len(table.columns) + 2}


def test_latex_escapes_every_special_character() -> None:
    assert escape(r"50% of $x_1 & {y}#~^\z") == (
        r"50\% of \$x\_1 \& \{y\}\#\textasciitilde{}\textasciicircum{}\textbackslash{}z"
    )
    assert escape("1.2 ± 0.1 µs −3×") == r"1.2 $\pm$ 0.1 \textmu{}s $-$3$\times$"


def test_headline_tells_what_the_data_bear(view: ModelView) -> None:
    told = headlines(view)
    assert told and all("than baseline for" in line for line in told)
    assert not any("ptq_16x8" in line and "faster" in line for line in told)


def test_headline_is_silent_where_accuracy_is_lost_or_nothing_is_gained(tmp_path: Path) -> None:
    bad = {
        "baseline": KINDS["baseline"],
        "pruned": Kind(("train", "prune"), accuracy=-0.2, gzip=0.1, sparsity=0.75),
    }
    build(tmp_path, variants=bad)
    assert headlines(views(frame(tmp_path))[0]) == []


def told(tmp_path: Path, **variants: Kind) -> dict[str, str]:
    build(tmp_path, variants={"baseline": KINDS["baseline"], **variants})
    view = views(frame(tmp_path))[0]
    return {note.variant: note.text for note in notes(view, read_sweep(tmp_path, "synthetic").cells)}


def test_notes_explain_known_effects(results: Path, view: ModelView) -> None:
    found = notes(view, read_sweep(results, "synthetic").cells)
    by_text = {note.text.split(":")[0].split(",")[0]: note.variant for note in found}
    assert by_text["75 % zeros"] == "pruned"
    assert by_text["float16 saves size"] == "ptq_fp16"
    assert any(note.variant == "ptq_16x8" and "reference kernels" in note.text for note in found)
    assert any(note.variant == "pruned" and "save no time" in note.text for note in found)
    assert not any(note.variant in ("fiq", "qat") for note in found)


def test_note_on_16x8_needs_no_quiet_machine(tmp_path: Path) -> None:
    build(tmp_path, variants={n: KINDS[n] for n in ("baseline", "ptq_16x8")}, noise=0.3)
    view = views(frame(tmp_path))[0]
    ratio = view.get("ptq_16x8", "tflite", "latency_ratio", "invoke")
    assert ratio is not None and ratio.verdict
    (note,) = notes(view, read_sweep(tmp_path, "synthetic").cells)
    assert "reference kernels" in note.text


def test_notes_need_the_effect(tmp_path: Path) -> None:
    assert told(tmp_path, pruned=Kind(("train", "prune"), sparsity=0.75, raw=0.4, time=0.5)) == {}


def test_note_on_int8_that_is_not_faster(tmp_path: Path) -> None:
    found = told(tmp_path, fiq=Kind(("train",), "int8", time=1.0, raw=0.3, gzip=0.3, int8=0.97))
    assert "int8 is no faster here" in found["fiq"]


def test_note_on_small_tensors(tmp_path: Path) -> None:
    found = told(tmp_path, dq=Kind(("train",), "dynamic", time=0.5, raw=0.6, gzip=0.6, int8=0.4))
    assert "60 % of the weight bytes stayed float32" in found["dq"]


def test_note_on_extra_training(tmp_path: Path) -> None:
    found = told(
        tmp_path,
        pruned=Kind(("train", "prune"), accuracy=0.04, sparsity=0.2),
        baseline_longer=Kind(("train", "finetune"), accuracy=0.04),
    )
    assert "compare with that control" in found["pruned"]


def test_note_on_a_teacher_that_did_not_help(tmp_path: Path) -> None:
    found = told(
        tmp_path,
        distilled=Kind(("distill",), teacher=True, accuracy=-0.04, params=0.4),
        student_scratch=Kind(("train_student",), accuracy=-0.01, params=0.4),
    )
    assert "The teacher did not help" in found["distilled"]


def test_distillation_side_by_side(results: Path, view: ModelView) -> None:
    rows = distillation(view, read_sweep(results, "synthetic").cells)
    assert [(row.part, row.variant) for row in rows] == [
        ("teacher", "baseline"),
        ("student alone", "student_scratch"),
        ("student taught", "distilled"),
        ("student taught", "distilled_qap"),
    ]
    assert rows[0].params == "30,000" and rows[2].params == "11,400"
    assert rows[0].against_alone == "" and rows[2].against_alone.startswith("+")


def test_a_larger_network_is_not_compared_with_the_student_alone(tmp_path: Path) -> None:
    names = ("baseline", "student_scratch", "distilled")
    kinds = {name: KINDS[name] for name in names} | {
        "distilled_self": replace(KINDS["distilled"], trunk=("distill", "finetune"), params=1.0)
    }
    build(tmp_path, variants=kinds, items=50)
    view = views(frame(tmp_path))[0]
    *_, student, larger = distillation(view, read_sweep(tmp_path, "synthetic").cells)
    assert (student.part, larger.part) == ("student taught", "larger, taught")
    assert student.against_alone and not larger.against_alone


def test_lineage_tells_steps_parameters_and_teacher(results: Path) -> None:
    found = {(line.variant, line.format): line for line in lineages(read_sweep(results, "synthetic").cells)}
    steps = found["distilled_qap", "tflite"].steps
    assert [(step.step, step.teacher) for step in steps] == [
        ("train", True),
        ("distill", False),
        ("prune", False),
        ("qap", False),
        ("to_tflite", False),
    ]
    assert "temperature=4.0" in steps[1].params and len(steps[1].key) == 12
    assert found["dq", "keras"].reason.startswith("not applicable")
    assert found["baseline", "keras"].layers[0].shape == "64×32"
