"""Cells as runs of an experiment tracker: nothing mixed, nothing missing turned into a number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.report.export.runs import NAME, Run, metric_name, runs
from bench.report.frames.tidy import Row, frame, rows
from bench.report.records.read import SweepData, read_sweep
from tests.synthetic import KINDS, build
from tests.synthetic_fpga import add_fpga, design

FEW = {name: KINDS[name] for name in ("baseline", "dq", "qap", "distilled", "clustered")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SweepData:
    root = tmp_path_factory.mktemp("runs")
    build(root, variants=FEW, seeds=(0, 1), items=50, failed={"clustered": "loss is NaN"})
    add_fpga(root, hardware={"baseline": design(), "qap": design(0.5) | {"origin": "modelled"}})
    data = read_sweep(root, "synthetic")
    for cell in data.cells:
        for record in (*cell.teacher, *cell.builds, cell.evaluate):
            if record is not None:
                record.environment = {"python": "3.11.7", "versions": {"tf_keras": "2.21.0"}}
        for record in cell.teacher:
            assert record is not None
            record.task["params"] = {"epochs": 30, "network": "reference"}
            record.started, record.seconds = "2026-11-25T21:00:00+00:00", 100.0
        if cell.evaluate is not None:
            cell.evaluate.started, cell.evaluate.seconds = "2026-11-25T22:00:00+00:00", 5.0
    return data


def found(data: SweepData) -> dict[str, Run]:
    return {run.label: run for run in runs(data, rows(data))}


def test_every_cell_is_one_run(data: SweepData) -> None:
    made = list(runs(data, rows(data)))
    assert len(made) == len(data.cells) == len({run.label for run in made})


def test_metrics_are_the_numbers_of_the_frame(data: SweepData, tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0, 1), items=50)
    table = frame(tmp_path, "synthetic")
    sweep = read_sweep(tmp_path, "synthetic")
    run = found(sweep)["digits_mlp/qap/tflite/seed0"]
    mine = table[(table.variant == "qap") & (table.target == "tflite") & (table.seed == 0)].set_index(
        "metric"
    )
    assert run.metrics["accuracy"] == mine.value["accuracy"]
    assert run.metrics["accuracy.low"] == mine.low["accuracy"] < mine.high["accuracy"]
    assert run.metrics["latency_p50.invoke"] == mine[mine.scope == "invoke"].value["latency_p50"]
    numbers = {name for name in run.metrics if not name.endswith((".low", ".high"))}
    assert len(numbers) == int(mine.value.notna().sum())


def test_other_scopes_stages_and_origins_have_other_names(data: SweepData) -> None:
    made = found(data)
    measured, designed = made["digits_mlp/qap/tflite/seed0"], made["digits_mlp/qap/hls4ml/seed0"]
    assert "accuracy" in measured.metrics and "accuracy" not in designed.metrics
    assert "accuracy.simulated" in designed.metrics
    baseline = made["digits_mlp/baseline/hls4ml/seed0"].metrics
    assert {"lut.impl.estimated", "lut.synth.estimated"} <= set(baseline)
    assert "lut.impl.modelled" in designed.metrics and "lut.impl.estimated" not in designed.metrics
    row = Row("s", "m", "v", "t", 0, "mismatches", 1.0, scope="csim vs qkeras", origin="simulated")
    assert metric_name(row) == "mismatches.csim_vs_qkeras.simulated"
    assert metric_name(row._replace(origin="measured")) == "mismatches.csim_vs_qkeras"


def test_a_name_that_is_too_long_stays_another_name() -> None:
    row = Row("s", "m", "v", "t", 0, "energy", 1.0, scope="rail " * 100 + "a", origin="measured")
    one, other = metric_name(row), metric_name(row._replace(scope="rail " * 100 + "b"))
    assert len(one) == len(other) == NAME and one != other


def test_failed_and_absent_cells_have_their_reason_and_no_number(data: SweepData) -> None:
    made = found(data)
    failed = made["digits_mlp/clustered/tflite/seed0"]
    assert failed.status == failed.tags["status"] == failed.tags["status.accuracy"] == "failed"
    assert "loss is NaN" in failed.tags["reason"] and not failed.metrics
    design = made["digits_mlp/qap/hls4ml/seed0"]
    assert design.status == "ok" and design.tags["status.file_bytes"] == "skipped"
    assert design.tags["reason.file_bytes"] and "file_bytes" not in design.metrics


def test_a_measurement_that_failed_makes_the_cell_fail(tmp_path: Path) -> None:
    built = build(tmp_path, variants=FEW, seeds=(0,), items=50, rounds=1)
    sweep = read_sweep(tmp_path, "synthetic")
    assert found(sweep)["digits_mlp/qap/tflite/seed0"].status == "ok" and built.records
    for records in sweep.rounds.values():
        for record in records:
            record.status, record.reason = "timeout", "took too long"
    run = found(sweep)["digits_mlp/qap/tflite/seed0"]
    assert run.status == "timeout" and "took too long" in run.tags["reason"] and "accuracy" in run.metrics


def test_parameters_are_those_of_the_steps_and_the_target(data: SweepData) -> None:
    made = found(data)
    params = made["digits_mlp/distilled/tflite/seed1"].params
    assert params["variant"] == "distilled" and params["seed"] == "1" and params["target"] == "tflite"
    cell = next(c for c in data.cells if (c.variant, c.target, c.seed) == ("distilled", "tflite", 1))
    for prefix, chain in (("", cell.builds), ("teacher.", cell.teacher)):
        for record in chain:
            assert record is not None
            for name, value in record.task["params"].items():
                assert params[f"{prefix}{record.task['step']}.{name}"] in (value, str(value).lower())
    assert params["teacher.train.epochs"] == "30" and params["teacher.train.network"] == "reference"
    assert not any(name.startswith("teacher.") for name in made["digits_mlp/qap/tflite/seed0"].params)


def test_a_run_lasts_from_the_first_task_to_the_last(data: SweepData) -> None:
    run = found(data)["digits_mlp/distilled/tflite/seed1"]
    assert run.started is not None and run.ended is not None and run.ended - run.started == 3605
    never = found(data)["digits_mlp/dq/keras/seed0"]  # exists only as TFLite
    assert never.started is None and never.ended is None and never.status == "skipped"


def test_tags_name_records_artifact_machine_and_versions(data: SweepData) -> None:
    cell = next(c for c in data.cells if (c.variant, c.target, c.seed) == ("qap", "tflite", 0))
    tags = found(data)["digits_mlp/qap/tflite/seed0"].tags
    assert tags["key.build"].split() == cell.entry["build_keys"]
    assert tags["key.evaluate"] == cell.entry["evaluate_key"] and tags["machine"]
    assert cell.builds[-1] is not None and tags["artifact"] == cell.builds[-1].result["artifact"]
    assert tags["version.tf_keras"] == "2.21.0"
    assert all(tags.values()), "a tag that tells nothing"


def test_the_digest_is_of_all_that_is_told(data: SweepData) -> None:
    run = found(data)["digits_mlp/qap/tflite/seed0"]
    again = found(data)["digits_mlp/qap/tflite/seed0"]
    assert run.digest == again.digest
    for other in (
        replace(run, metrics=run.metrics | {"accuracy": 0.5}),
        replace(run, params=run.params | {"seed": "7"}),
        replace(run, tags=run.tags | {"reason": "x"}),
        replace(run, status="failed"),
    ):
        assert other.digest != run.digest
