"""A sweep for MLflow: one experiment, one run for each cell, and one above them with the report."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from bench.errors import BenchError, StoreError, Unavailable
from bench.report import written
from bench.report.export.runs import Run, runs
from bench.report.frames.tidy import as_frame, rows
from bench.report.records.read import SweepData, read_sweep, uncollected

if TYPE_CHECKING:
    import pandas as pd

#: Experiments are called by this and the sweep.
PREFIX = "edge-bench/"
#: Tags by which an export finds what an earlier one wrote: the cell, and the digest of all that was told of
#: it. The digest is written last: a run without it was never finished.
CELL, DIGEST = "edge_bench.cell", "edge_bench.digest"
REPORT = "report"
#: MLflow takes no more metrics, parameters or tags at a time.
MOST_METRICS, MOST_TEXTS = 800, 100
STATUS = {"ok": "FINISHED", "skipped": "FINISHED", "failed": "FAILED", "timeout": "KILLED"}
SQLITE = "sqlite:///"
T = TypeVar("T")


@dataclass(frozen=True)
class Exported:
    """What an export did. `place` is the tracking store, without a password."""

    experiment: str
    place: str
    new: int
    replaced: int
    unchanged: int

    def __str__(self) -> str:
        counts = {"new": self.new, "replaced": self.replaced, "unchanged": self.unchanged}
        told = ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "no"
        return f"{told} runs in experiment {self.experiment} of {self.place}"


def export(results: str | Path, sweep: str, uri: str | None = None) -> Exported:
    """Write a sweep to MLflow. What is there already and has not changed stays; a run whose cell has changed
    is deleted (which MLflow can undo) and written anew. Runs of others are never touched.

    Args:
        uri: tracking store (`https://…`, `sqlite:///…`); else `MLFLOW_TRACKING_URI`, else
            `<results>/mlflow/mlflow.db`.

    Raises:
        Unavailable: MLflow is not installed.
        StoreError: no such sweep, or the tracking store does not take it.
    """
    with uncollected():
        data = read_sweep(results, sweep)
        numbers = list(rows(data))
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or default_uri(results)
    counts = {"new": 0, "replaced": 0, "unchanged": 0}
    with _quiet(), _errors(uri):
        client = _client(uri)
        tracker = _Tracker(client, _experiment_id(client, PREFIX + data.name, data.title, uri))
        parent = tracker.report(data, as_frame(numbers), Path(results) / "reports" / data.name)
        for run in runs(data, numbers):
            counts[tracker.write(run, parent)] += 1
    return Exported(PREFIX + data.name, without_password(uri), **counts)


def default_uri(results: str | Path) -> str:
    return SQLITE + str((Path(results) / "mlflow" / "mlflow.db").resolve())


def without_password(uri: str) -> str:
    parts = urlsplit(uri)
    _, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=host)) if at else uri


def _client(uri: str) -> Any:
    # What is exported from a laboratory's records is told to nobody else, not even that it was.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=uri)
    except ImportError as error:
        raise Unavailable(
            f"MLflow is not installed ({error})",
            mend="Install the extra: uv sync --inexact --extra mlflow (or pip install 'edge-bench[mlflow]').",
        ) from error


def _experiment_id(client: Any, name: str, title: str, uri: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        place = None
        if uri.startswith(SQLITE):  # MLflow's own place would be below the working directory
            place = (Path(uri.removeprefix(SQLITE)).parent / "artifacts").resolve().as_uri()
        return str(
            client.create_experiment(name, artifact_location=place, tags={"mlflow.note.content": title})
        )
    if found.lifecycle_stage != "active":
        raise StoreError(
            f"experiment {name!r} was deleted",
            where=without_password(uri),
            mend=f"Restore it: mlflow experiments restore --experiment-id {found.experiment_id}",
        )
    return str(found.experiment_id)


class _Tracker:
    """One experiment, and the runs in it that exports have written."""

    def __init__(self, client: Any, experiment: str) -> None:
        self.client, self.experiment = client, experiment
        self.known: dict[str, list[Any]] = {}
        token: str | None = None
        while True:
            page = client.search_runs([experiment], max_results=1000, page_token=token)
            for run in page:
                if CELL in run.data.tags:
                    self.known.setdefault(run.data.tags[CELL], []).append(run)
            token = page.token
            if not token:
                return

    def write(self, run: Run, parent: str) -> str:
        """`new`, `replaced` or `unchanged`."""
        there = self.known.get(run.label, [])
        same = next((one for one in there if one.data.tags.get(DIGEST) == run.digest), None)
        if same is None:
            self._create(run, parent)
        # Only when the new one is whole; more than one are left where an export was interrupted.
        for one in there:
            if one is not same:
                self.client.delete_run(one.info.run_id)
        return "unchanged" if same is not None else "replaced" if there else "new"

    def _create(self, run: Run, parent: str) -> None:
        from mlflow.entities import Metric, Param, RunTag

        started, ended = _milliseconds(run.started), _milliseconds(run.ended)
        created = self.client.create_run(
            self.experiment,
            start_time=started,
            run_name=run.label,
            tags={CELL: run.label, "mlflow.parentRunId": parent, "mlflow.source.name": "edge-bench"},
        )
        own, at = created.info.run_id, ended or created.info.start_time
        for metrics in _parts(list(run.metrics.items()), MOST_METRICS):
            self.client.log_batch(own, metrics=[Metric(name, value, at, 0) for name, value in metrics])
        for params in _parts(list(run.params.items()), MOST_TEXTS):
            self.client.log_batch(own, params=[Param(name, value) for name, value in params])
        for tags in _parts(list(run.tags.items()), MOST_TEXTS):
            self.client.log_batch(own, tags=[RunTag(name, value) for name, value in tags])
        self.client.set_terminated(own, status=STATUS[run.status], end_time=ended)
        self.client.set_tag(own, DIGEST, run.digest)

    def report(self, data: SweepData, table: pd.DataFrame, folder: Path) -> str:
        """The run above all others, with report.csv, and report.html where the one in the folder is of these
        numbers. Its id."""
        files = {"report.csv": written.csv(table).encode()}
        if written.same_numbers(table, folder / "report.csv"):
            for path in (folder / "report.html", folder / "report.md"):
                if path.is_file():
                    files[path.name] = path.read_bytes()
        digest = hashlib.sha256(b"".join(files.values())).hexdigest()
        there = next(iter(self.known.get(REPORT, [])), None)
        if there is None:
            tags = {CELL: REPORT, "mlflow.note.content": data.title, "mlflow.source.name": "edge-bench"}
            there = self.client.create_run(self.experiment, run_name=data.name, tags=tags)
        own = str(there.info.run_id)
        if there.data.tags.get(DIGEST) != digest:
            with tempfile.TemporaryDirectory() as temporary:
                for name, content in files.items():
                    (Path(temporary) / name).write_bytes(content)
                self.client.log_artifacts(own, temporary)
            self.client.set_terminated(own)
            self.client.set_tag(own, DIGEST, digest)
        return own


def _parts(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), most):
        yield items[start : start + most]


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(1000 * seconds)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of MLflow's own dependencies, and what it tells of its database."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.WARNING)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _errors(uri: str) -> Iterator[None]:
    """What MLflow, its database or its server say, as one message without a password."""
    if uri.startswith(SQLITE):
        try:
            Path(uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot be made ({error.strerror})", where=uri) from error
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        if not type(error).__module__.startswith(("mlflow", "sqlalchemy", "alembic", "requests", "urllib3")):
            raise
        text = " ".join(str(error).split())[:500].replace(uri, without_password(uri))
        raise StoreError(
            f"MLflow: {text}",
            where=without_password(uri),
            mend="Is it a tracking store (--tracking-uri, MLFLOW_TRACKING_URI) that may be written to?",
        ) from error
