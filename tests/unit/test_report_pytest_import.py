"""Files of pytest-benchmark, real, our own, foreign and damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import run_cli
from bench.errors import StoreError
from bench.report import compare, frame, read_pytest_benchmark
from bench.report.export import files as export
from tests.synthetic import KINDS, build


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pytest-benchmark itself writes."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('n', [10, 100])\n"
        "def test_sum(benchmark, n):\n"
        "    benchmark.pedantic(sum, args=(range(n),), rounds=20, iterations=5)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "test_it.py", "--benchmark-json=real.json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    return folder / "real.json"


def test_a_real_file(real: Path) -> None:
    table = read_pytest_benchmark(real)
    known = {b["fullname"]: b["stats"] for b in json.loads(real.read_text())["benchmarks"]}
    assert len(known) == 2 and set(table["variant"]) == set(known)
    for row in table.itertuples():
        assert row.value == known[row.variant]["median"] and row.n == 20
    assert set(table["scope"]) == {"pytest"} and set(table["origin"]) == {"measured"}
    assert table["low"].isna().all() and table["high"].isna().all()


def test_one_process_decides_nothing(real: Path, tmp_path: Path) -> None:
    value = json.loads(real.read_text())
    for one in value["benchmarks"]:
        one["stats"]["median"] *= 10
    slow = tmp_path / "real.json"
    slow.write_text(json.dumps(value))
    found = compare(read_pytest_benchmark(real), read_pytest_benchmark(slow))
    assert [change.verdict for change in found.changes] == ["unclear", "unclear"]
    assert all(change.change == pytest.approx(10) for change in found.changes)
    assert run_cli(["--results", str(tmp_path), "compare", str(real), str(slow)]) == 0


def test_our_own_export_comes_back_with_its_names(tmp_path: Path) -> None:
    build(tmp_path, variants={n: KINDS[n] for n in ("baseline", "fiq")}, seeds=(0,), items=50)
    path = export.pytest_benchmark_json(tmp_path, "synthetic", tmp_path / "x.json")
    key = ["sweep", "model", "variant", "target", "scope"]
    there = frame(tmp_path)
    there = there[(there["metric"] == "latency_p50") & (there["seed"] == 0) & (there["status"] == "ok")]
    back = read_pytest_benchmark(path)
    both = back[back["seed"] == 0].merge(there, on=key, suffixes=("", "_there"))
    assert len(both) == len(there) == 6
    assert (both["value"] / both["value_there"] - 1).abs().max() < 0.03


DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "no benchmarks": lambda v: v.pop("benchmarks"),
    "benchmarks are text": lambda v: v.update(benchmarks="x"),
    "no statistics": lambda v: v["benchmarks"][0].pop("stats"),
    "no name": lambda v: v["benchmarks"][0].update(fullname=""),
    "median is text": lambda v: v["benchmarks"][0]["stats"].update(median="1"),
    "median is zero": lambda v: v["benchmarks"][0]["stats"].update(median=0),
    "median is infinite": lambda v: v["benchmarks"][0]["stats"].update(median=float("inf")),
    "rounds are none": lambda v: v["benchmarks"][0]["stats"].update(rounds=0),
    "rounds are huge": lambda v: v["benchmarks"][0]["stats"].update(rounds=10**30),
    "a benchmark is a number": lambda v: v["benchmarks"].append(3),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_are_refused(real: Path, tmp_path: Path, name: str) -> None:
    value = json.loads(real.read_text())
    DAMAGE[name](value)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(value))
    with pytest.raises(StoreError, match=r"bad\.json: not a file of pytest-benchmark"):
        read_pytest_benchmark(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_foreign_and_truncated_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="not a file of pytest-benchmark"):
        read_pytest_benchmark(path)
    with pytest.raises(StoreError, match="not a file of pytest-benchmark"):
        read_pytest_benchmark(tmp_path / "none.json")
