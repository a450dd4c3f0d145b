"""A sweep in a real tracking store of MLflow (SQLite), read back through MLflow's own client."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import run_cli
from bench.core.records import Record
from bench.errors import StoreError, Unavailable
from bench.report import write_report
from bench.report.export import mlflow as mlflow_export
from bench.report.export.mlflow import CELL, DIGEST, Exported, default_uri, export, without_password
from bench.report.export.runs import runs
from bench.report.frames.tidy import rows
from bench.report.records.read import read_sweep
from bench.report.write import Choice
from bench.store.store import Store
from tests.synthetic import KINDS, build

FEW = {name: KINDS[name] for name in ("baseline", "qap", "dq", "clustered")}
NO_DATABASE = "no database, though it is as long as the header of one would be " * 20
CELLS = 16  # on two targets with two seeds
EXPERIMENT = "edge-bench/synthetic"


def client(uri: str) -> Any:
    with mlflow_export._quiet():
        return mlflow_export._client(uri)


def there(tracker: Any, sweep: str = "synthetic") -> dict[str, Any]:
    """Runs of the experiment by their cell."""
    experiment = tracker.get_experiment_by_name(f"edge-bench/{sweep}")
    found = list(tracker.search_runs([experiment.experiment_id], max_results=1000))
    by_cell = {run.data.tags[CELL]: run for run in found if CELL in run.data.tags}
    assert len(by_cell) == sum(CELL in run.data.tags for run in found), "a cell has more than one run"
    return by_cell


def change(root: Path, one: Callable[[Record], bool], how: Callable[[Record], None]) -> None:
    store = Store(root)
    for key in store.keys("evaluate"):
        record = store.read("evaluate", key)
        if record is not None and one(record):
            how(record)
            store.record_path("evaluate", key).write_text(json.dumps(record.to_json()))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    root = tmp_path_factory.mktemp("mlflow")
    build(root, variants=FEW, seeds=(0, 1), items=50, failed={"clustered": "loss is NaN"})

    def dated(record: Record) -> None:
        record.started, record.seconds = "2026-11-25T21:00:00+00:00", 2.5

    change(root, lambda record: True, dated)
    write_report(root, "synthetic", choice=Choice(formats=("svg",)))
    return root


@pytest.fixture(scope="module")
def first(root: Path) -> Exported:
    return export(root, "synthetic")


class TestStore:
    def test_what_is_read_back_is_what_the_records_tell(self, root: Path, first: Exported) -> None:
        assert (first.new, first.replaced, first.unchanged) == (CELLS, 0, 0)
        found, data = there(client(default_uri(root))), read_sweep(root, "synthetic")
        for run in runs(data, rows(data)):
            back = found[run.label]
            assert back.data.metrics == run.metrics
            assert back.data.params == run.params
            assert run.tags.items() <= back.data.tags.items()
            assert back.info.run_name == run.label and back.data.tags[DIGEST] == run.digest
            if run.started is not None:
                assert back.info.start_time == round(1000 * run.started)
        ends = {name: run.info.status for name, run in found.items()}
        assert ends["digits_mlp/clustered/keras/seed0"] == "FAILED"
        assert ends["digits_mlp/qap/tflite/seed1"] == "FINISHED"

    def test_the_report_lies_in_the_run_above_them(self, root: Path, first: Exported) -> None:
        tracker = client(default_uri(root))
        found = there(tracker)
        above = found.pop("report")
        assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {above.info.run_id}
        names = {file.path for file in tracker.list_artifacts(above.info.run_id)}
        assert names == {"report.csv", "report.html", "report.md"}
        folder = root / "mlflow" / "artifacts" / above.info.run_id / "artifacts"
        for name in names:
            assert (folder / name).read_bytes() == (root / "reports" / "synthetic" / name).read_bytes()

    def test_exported_again_nothing_changes(self, root: Path, first: Exported) -> None:
        tracker = client(default_uri(root))
        before = {cell: run.info.run_id for cell, run in there(tracker).items()}
        again = export(root, "synthetic")
        assert (again.new, again.replaced, again.unchanged) == (0, 0, CELLS)
        assert {cell: run.info.run_id for cell, run in there(tracker).items()} == before

    def test_only_what_changed_is_replaced_and_what_broke_off_is_mended(
        self, tmp_path: Path, root: Path
    ) -> None:
        build(tmp_path, "other", variants=FEW, seeds=(0,), items=50)
        write_report(tmp_path, "other", choice=Choice(False, ("svg",)))
        uri = default_uri(root)  # a new database takes MLflow ten seconds
        assert export(tmp_path, "other", uri).new == 8
        tracker = client(uri)
        before = there(tracker, "other")
        experiment = before["report"].info.experiment_id
        foreign = tracker.create_run(experiment, tags={"who": "somebody else"}).info.run_id
        # One broke off before its end; another one broke off before the old one was deleted.
        label = "digits_mlp/dq/tflite/seed0"
        tracker.delete_tag(before["digits_mlp/qap/keras/seed0"].info.run_id, DIGEST)
        tracker.create_run(experiment, tags={CELL: label})

        def worse(record: Record) -> None:
            record.result["errors"] += 1

        key = read_key(tmp_path, "digits_mlp/clustered/tflite/seed0")
        change(tmp_path, lambda record: record.key == key, worse)
        again = export(tmp_path, "other", uri)
        assert (again.new, again.replaced, again.unchanged) == (0, 2, 6)
        after = there(tracker, "other")
        same = {cell for cell, run in after.items() if run.info.run_id == before[cell].info.run_id}
        assert set(after) - same == {"digits_mlp/qap/keras/seed0", "digits_mlp/clustered/tflite/seed0"}
        errors = {
            when: found["digits_mlp/clustered/tflite/seed0"].data.metrics["errors"]
            for when, found in (("before", before), ("after", after))
        }
        assert errors["after"] == errors["before"] + 1
        assert tracker.get_run(foreign).info.lifecycle_stage == "active"
        # The page was of other numbers, and is not what goes with these.
        (csv,) = (f.path for f in tracker.list_artifacts(after["report"].info.run_id) if "csv" in f.path)
        assert csv == "report.csv"

    def test_an_experiment_that_was_deleted(self, tmp_path: Path, root: Path) -> None:
        build(tmp_path, variants=FEW, seeds=(0,), items=50)
        tracker = client(default_uri(root))
        experiment = tracker.get_experiment_by_name(EXPERIMENT).experiment_id
        tracker.delete_experiment(experiment)
        try:
            with pytest.raises(StoreError, match="was deleted") as caught:
                export(tmp_path, "synthetic", default_uri(root))
            assert experiment in str(caught.value)
        finally:
            tracker.restore_experiment(experiment)

    def test_a_file_that_is_no_database(self, tmp_path: Path, root: Path) -> None:
        path = tmp_path / "x.db"
        path.write_text(NO_DATABASE)
        with pytest.raises(StoreError, match="tracking store"):
            export(root, "synthetic", f"sqlite:///{path}")

    def test_command_line(
        self,
        root: Path,
        first: Exported,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        command = ["--results", str(root), "export", "synthetic", "--format", "mlflow"]
        assert run_cli(command) == 0
        assert f"{CELLS} unchanged runs in experiment {EXPERIMENT} of {default_uri(root)}" in (
            capsys.readouterr().out
        )
        # The option counts before the variable, and that before the default.
        bad = root / "bad.db"
        bad.write_text(NO_DATABASE)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{bad}")
        assert run_cli([*command, "--tracking-uri", default_uri(root)]) == 0
        assert run_cli(command) != 0


class TestWithoutAStore:
    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (["--format", "mlflow", "-o", "x"], "takes no --output"),
            (["--format", "csv"], "--output"),
            (["--format", "csv", "-o", "x", "--tracking-uri", "y"], "is for --format mlflow"),
        ],
    )
    def test_options_that_do_not_go_together(
        self, tmp_path: Path, options: list[str], told: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run_cli(["--results", str(tmp_path), "export", "synthetic", *options]) == 2
        assert told in capsys.readouterr().err

    def test_without_mlflow_the_extra_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        build(tmp_path, variants=FEW, seeds=(0,), items=50)
        monkeypatch.setitem(sys.modules, "mlflow", None)
        with pytest.raises(Unavailable, match="--extra mlflow"):
            export(tmp_path, "synthetic")

    def test_no_password_is_told(self) -> None:
        assert without_password("https://me:secret@host:5000/x") == "https://host:5000/x"
        assert without_password("postgresql://me:secret@db/x?a=b") == "postgresql://db/x?a=b"
        for plain in ("sqlite:////tmp/a@b.db", "databricks", "https://host"):
            assert without_password(plain) == plain
        with pytest.raises(StoreError) as caught, mlflow_export._errors("https://me:secret@host"):
            error = type("MlflowException", (Exception,), {"__module__": "mlflow.exceptions"})
            raise error("no answer from https://me:secret@host/api")
        assert "secret" not in str(caught.value)

    def test_errors_of_our_own_are_not_laid_upon_mlflow(self) -> None:
        with pytest.raises(ZeroDivisionError), mlflow_export._errors("https://host"):
            raise ZeroDivisionError


def read_key(root: Path, label: str) -> str:
    for cell in read_sweep(root, "other").cells:
        if f"{cell.model}/{cell.variant}/{cell.target}/seed{cell.seed}" == label:
            return str(cell.entry["evaluate_key"])
    raise AssertionError(label)
