"""A small sweep on real data with the real tools, through the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import report

ROOT = Path(__file__).parents[2]
SWEEP = """
sweep: small
models: [digits_mlp]
variants: [baseline, fiq, qap, distilled, student_scratch]
targets: [keras, tflite]
seeds: [0]
protocol: {preset: quick, min_seconds: 0.05, warmup_seconds: 0.02}
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "110"},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.tf
def test_from_the_sweep_file_to_the_table(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SWEEP, encoding="utf-8")
    first = run(tmp_path, "run", "small.yaml")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "baseline" in first.stdout and "report.html" in first.stdout

    rows = report.frame(tmp_path / "results", "small")
    done = rows[(rows.status == "ok") & (rows.seed == 0)]

    def value(variant: str, metric: str, target: str = "tflite") -> float:
        found = done[(done.variant == variant) & (done.metric == metric) & (done.target == target)]
        return float(found.value.iloc[0])

    assert value("baseline", "accuracy") > 0.9
    assert value("fiq", "file_ratio") > 2
    assert value("qap", "sparsity") >= 0.70
    assert value("distilled", "params") < value("baseline", "params")
    assert value("baseline", "latency_p50") > 0
    assert value("baseline", "accuracy", "keras") == value("baseline", "accuracy")
    skipped = rows[(rows.variant == "fiq") & (rows.target == "keras")]
    assert skipped.value.isna().all() and skipped.reason.str.startswith("not applicable").all()

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results" / "records").rglob("*.json")}
    second = run(tmp_path, "run", "small.yaml")
    assert second.returncode == 0 and "0 tasks run" in second.stderr
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "results" / "records").rglob("*.json")}
    assert before == after
