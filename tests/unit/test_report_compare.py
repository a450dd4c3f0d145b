"""Comparing two runs, and exports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench.errors import Unavailable
from bench.report import compare, frame, read_csv, write_report
from bench.report.comparing.compare import Change, Comparison
from bench.report.export import files as export
from bench.report.notes.machines import differing
from tests.synthetic import KINDS, MACHINE, build

FEW = {name: KINDS[name] for name in ("baseline", "pruned", "fiq")}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    root = tmp_path_factory.mktemp("old")
    build(root, variants=FEW)
    write_report(root, "synthetic")
    return frame(root)


def find(found: Comparison, variant: str, metric: str, scope: str = "", target: str = "tflite") -> Change:
    (change,) = [
        c
        for c in found.changes
        if (c.variant, c.target, c.metric, c.scope) == (variant, target, metric, scope)
    ]
    return change


def test_a_run_is_the_same_as_itself(old: pd.DataFrame) -> None:
    found = compare(old, old)
    assert {change.verdict for change in found.changes} == {"same"}
    assert (
        found.statements == []
        and str(found) == f"{len(found.changes)} numbers compared: {len(found.changes)} same."
    )


def test_lower_accuracy_is_found_on_paired_items(old: pd.DataFrame, tmp_path: Path) -> None:
    build(tmp_path, "other_name", variants=FEW, gain={"fiq": -0.03}, runs=1)
    found = compare(old, frame(tmp_path))
    worse = find(found, "fiq", "accuracy")
    assert worse.verdict == "worse" and worse.paired and worse.high < 0
    assert worse.change == pytest.approx(worse.new - worse.old)
    assert find(found, "pruned", "accuracy").verdict == "same"
    assert "-  digits_mlp" in str(found).replace("-    ", "-  ") and "points" in str(found)


def test_without_records_accuracy_is_compared_by_intervals(old: pd.DataFrame, tmp_path: Path) -> None:
    root, name = old.attrs["sources"][0]
    plain = read_csv(Path(root) / "reports" / name / "report.csv")
    build(tmp_path, variants=FEW, gain={"fiq": -0.1}, runs=1)
    found = compare(plain, frame(tmp_path))
    change = find(found, "fiq", "accuracy")
    assert change.verdict == "worse" and not change.paired and "not paired" in change.note
    assert any("Without the records" in line for line in found.statements)


def test_slower_variant_against_steady_baseline(old: pd.DataFrame, tmp_path: Path) -> None:
    from dataclasses import replace

    build(tmp_path, variants=FEW | {"fiq": replace(KINDS["fiq"], time=0.5)}, runs=1)
    found = compare(old, frame(tmp_path))
    change = find(found, "fiq", "latency_p50", "invoke")
    assert (
        change.verdict == "worse" and change.low > 1 and change.change == pytest.approx(0.5 / 0.33, rel=0.05)
    )
    assert find(found, "baseline", "latency_p50", "invoke").verdict == "same"
    assert not any("baseline itself" in line for line in found.statements)


def test_a_slower_machine_shows_in_the_baseline(old: pd.DataFrame, tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, time_scale=1.3, runs=1)
    found = compare(old, frame(tmp_path))
    assert any("the baseline itself takes 1.3" in line for line in found.statements)


def test_a_change_inside_the_noise_is_none(old: pd.DataFrame, tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, time_scale=1.15, runs=1, noise=0.001)
    new = frame(tmp_path)
    assert find(compare(old, new), "fiq", "latency_p50", "invoke").verdict == "worse"
    new.loc[new["metric"] == "latency_noise", "value"] = 0.25
    assert find(compare(old, new), "fiq", "latency_p50", "invoke").verdict == "same"


def test_a_noisy_latency_decides_nothing(old: pd.DataFrame, tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, time_scale=2.0, runs=1)
    new = frame(tmp_path)
    new.loc[new["metric"] == "latency_p50", "verdict"] = "noisy"
    change = find(compare(old, new), "fiq", "latency_p50", "invoke")
    assert change.verdict == "unclear" and "noisy" in change.note


def test_other_machines_are_not_compared_in_time(old: pd.DataFrame, tmp_path: Path) -> None:
    other = MACHINE | {"id": "another", "cpu": "Other CPU", "cores": 4, "flags": ["avx", "fma"]}
    build(tmp_path, variants=FEW, machine=other, time_scale=3.0)
    found = compare(old, frame(tmp_path))
    assert not found.latency_comparable
    assert {c.verdict for c in found.changes if c.metric == "latency_p50"} == {"not comparable"}
    told = "different machines (cpu Example CPU 3.0 GHz → Other CPU, cores 2 → 4, flags not told → "
    assert told in str(found)
    assert find(found, "fiq", "accuracy").verdict == "same"


def test_other_protocol_is_told(old: pd.DataFrame, tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, rounds=3)
    (statement,) = compare(old, frame(tmp_path)).statements
    assert statement == "Measured by different protocols (rounds 5 → 3)."


def test_two_machines_within_a_run_are_told_with_what_differs(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0,), targets=("tflite",))
    for place, record in enumerate(sorted((tmp_path / "records" / "measure").rglob("*.json"))):
        value = json.loads(record.read_text())
        value["result"]["machine"] |= {"memory_bytes": 1000 + place}
        record.write_text(json.dumps(value))
    assert not compare(frame(tmp_path, "synthetic"), frame(tmp_path, "synthetic")).statements
    value["result"]["machine"] |= {"id": "other", "cores": 8}
    record.write_text(json.dumps(value))
    both = compare(frame(tmp_path, "synthetic"), frame(tmp_path, "synthetic")).statements
    assert [line.partition(" run")[0] for line in both] == ["The old", "The new"]
    assert all("2 machines (cores 2 / 8, memory_bytes" in line for line in both)
    page = write_report(tmp_path, "synthetic")["report.html"].read_text("utf-8")
    assert "2 different machines (cores 2 / 8, memory_bytes" in page


def test_lists_are_told_apart_by_what_they_do_not_share() -> None:
    one, two = {"flags": '["avx", "fma", "x"]', "n": 1}, {"flags": ["avx", "fma"], "n": 1}
    assert differing([one, two], " → ") == "flags x → none"
    assert differing([one, one]) == "" and differing([]) == ""
    assert differing([{"id": "a"}, {"id": "b"}]) == ""


def test_sizes_and_cells_that_come_and_go(old: pd.DataFrame, tmp_path: Path) -> None:
    from dataclasses import replace

    new = {"baseline": KINDS["baseline"], "fiq": replace(KINDS["fiq"], gzip=0.2), "qat": KINDS["qat"]}
    build(tmp_path, variants=new)
    found = compare(old, frame(tmp_path))
    assert find(found, "fiq", "gzip_bytes").verdict == "better"
    assert find(found, "baseline", "gzip_bytes").verdict == "same"
    assert find(found, "pruned", "accuracy").verdict == "removed"
    assert find(found, "qat", "accuracy").verdict == "added"


def test_nothing_in_common(old: pd.DataFrame, tmp_path: Path) -> None:
    build(tmp_path, models=("other",), variants=FEW)
    found = compare(old, frame(tmp_path))
    assert found.changes == [] and "Nothing to compare." in str(found)
    assert sorted(found.statements) == ["digits_mlp is only in the old run.", "other is only in the new run."]


def test_csv_and_parquet_hold_the_frame(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    build(tmp_path, variants=FEW, seeds=(0,))
    table = frame(tmp_path)
    pd.testing.assert_frame_equal(
        read_csv(export.csv(tmp_path, "synthetic", tmp_path / "x.csv")), table, check_dtype=False
    )
    path = export.parquet(tmp_path, "synthetic", tmp_path / "x.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(path), table, check_dtype=False)
    assert str(tmp_path).encode() not in path.read_bytes()


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, variants=FEW, seeds=(0,))

    def fail(*_: object, **__: object) -> None:
        raise ImportError("no pyarrow")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", fail)
    with pytest.raises(Unavailable, match="extra parquet"):
        export.parquet(tmp_path, "synthetic", tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()


def test_pytest_benchmark_reads_the_export(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0,))
    path = export.pytest_benchmark_json(tmp_path, "synthetic", tmp_path / "bench.json")
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", str(path), "--group-by=group", "--sort=name"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        check=False,
    )
    out = done.stdout + done.stderr
    assert done.returncode == 0, out
    assert "benchmark 'digits_mlp tflite invoke': 3 tests" in out and "fiq[tflite-invoke]" in out


def test_pytest_benchmark_statistics_are_those_of_the_samples(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0,))
    path = export.pytest_benchmark_json(tmp_path, "synthetic", tmp_path / "bench.json")
    one = next(
        b
        for b in json.loads(path.read_text())["benchmarks"]
        if b["fullname"].endswith("/fiq/tflite/invoke/seed0")
    )
    stats, table = one["stats"], frame(tmp_path)
    rows = table[
        (table["variant"] == "fiq") & (table["metric"] == "latency_p50") & (table["scope"] == "invoke")
    ]
    assert stats["median"] == pytest.approx(rows["value"].iloc[0], rel=0.02)
    assert stats["min"] <= stats["q1"] <= stats["median"] <= stats["q3"] <= stats["max"]
    assert stats["rounds"] == 2000 and stats["iterations"] == 1
    assert stats["ops"] == pytest.approx(1 / stats["mean"])
    assert 0.005 < stats["stddev"] / stats["mean"] < 0.05
