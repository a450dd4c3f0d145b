"""How long reports take over a big results folder: 10,000 records (aim: all files within 5 s)."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.report import comparison_table, frame, write_report
from tests.synthetic import build

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 models × 14 variants × 2 targets × 26 seeds: 5,824 cells."""
    root = tmp_path_factory.mktemp("big")
    models = [f"model_{number}" for number in range(8)]
    built = build(root, models=models, seeds=range(26), items=2_000, share_times=True)
    assert built.records >= 10_000
    return root


def test_frame_of_10000_records(benchmark: BenchmarkFixture, big: Path) -> None:
    table = benchmark.pedantic(frame, args=(big,), rounds=3)
    assert len(table) > 50_000


def test_report_of_10000_records(benchmark: BenchmarkFixture, big: Path) -> None:
    written = benchmark.pedantic(write_report, args=(big, "synthetic"), rounds=3)
    assert written["report.html"].stat().st_size < 5_000_000


def test_terminal_table(benchmark: BenchmarkFixture, big: Path) -> None:
    table = frame(big)
    assert "baseline" in benchmark(comparison_table, table)
