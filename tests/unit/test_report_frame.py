"""The tidy frame: columns, intervals, aggregation, and what is missing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.core.intervals import paired_difference, wilson
from bench.errors import StoreError
from bench.report import frame, read_csv
from bench.report.frames.seeds import mean_interval, paired_interval, t95
from bench.report.metrics import COLUMN_DOCS, COLUMNS, METRICS
from bench.report.written import csv
from bench.store.store import Store
from tests.synthetic import KINDS, Kind, build

FEW = {name: KINDS[name] for name in ("baseline", "pruned", "fiq")}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    build(root, variants=FEW)
    return root


def pick(table: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """Rows with these values; `seed=None` means aggregated."""
    for name, value in wanted.items():
        table = table[table[name].isna() if value is None else table[name] == value]
    return table


def one(table: pd.DataFrame, **wanted: object) -> pd.Series:
    found = pick(table, **wanted)
    assert len(found) == 1, found
    return found.iloc[0]


def test_columns_are_those_of_the_contract(results: Path) -> None:
    table = frame(results)
    assert tuple(table.columns) == COLUMNS
    assert set(COLUMN_DOCS) == set(COLUMNS)
    assert set(table["metric"]) <= set(METRICS)
    assert {name: METRICS[name].unit for name in set(table["metric"])} == dict(
        zip(table["metric"], table["unit"], strict=True)
    )
    assert set(table["status"]) == {"ok", "skipped"}


def test_accuracy_per_seed_has_the_wilson_interval(results: Path) -> None:
    table = frame(results)
    row = one(table, variant="fiq", target="tflite", seed=1, metric="accuracy")
    errors = one(table, variant="fiq", target="tflite", seed=1, metric="errors")
    low, high = wilson(int(errors["value"]), 400)
    assert (row["value"], row["low"], row["high"]) == pytest.approx(
        (1 - errors["value"] / 400, 1 - high, 1 - low)
    )
    assert row["n"] == 400 and row["origin"] == "measured"


def test_accuracy_over_seeds_is_mean_with_t_interval(results: Path) -> None:
    table = frame(results)
    values = [
        one(table, variant="fiq", target="tflite", seed=s, metric="accuracy")["value"] for s in (0, 1, 2)
    ]
    row = one(table, variant="fiq", target="tflite", seed=None, metric="accuracy")
    half = 4.3027 * np.std(values, ddof=1) / math.sqrt(3)
    assert row["value"] == pytest.approx(np.mean(values))
    assert (row["high"] - row["low"]) / 2 == pytest.approx(half, rel=1e-4)
    assert row["n"] == 3


def test_delta_is_paired_on_the_same_items(results: Path) -> None:
    table, store = frame(results), Store(results)
    manifest = store.read_manifest("synthetic")
    bits = {}
    from bench.core.packed import unpack

    for cell in manifest["cells"]:
        if cell["target"] == "tflite" and cell["seed"] == 2:
            record = store.read("evaluate", cell["evaluate_key"])
            assert record is not None
            bits[cell["variant"]] = unpack(record.result["correct"])
    b = int((bits["baseline"] & ~bits["pruned"]).sum())
    c = int((~bits["baseline"] & bits["pruned"]).sum())
    expected = paired_difference(b, c, 400)
    row = one(table, variant="pruned", target="tflite", seed=2, metric="accuracy_delta")
    assert (row["value"], row["low"], row["high"]) == pytest.approx(expected)
    assert pick(table, variant="baseline", metric="accuracy_delta").empty
    pooled = one(table, variant="pruned", target="tflite", seed=None, metric="accuracy_delta")
    single = pick(table, variant="pruned", target="tflite", metric="accuracy_delta")["value"]
    assert pooled["value"] == pytest.approx(single.iloc[:3].mean())
    assert pooled["low"] < pooled["value"] < pooled["high"]


def test_ratio_and_latency_are_in_seconds_with_scope_and_verdict(results: Path) -> None:
    table = frame(results)
    wanted = {"target": "tflite", "scope": "invoke", "seed": None}
    p50 = one(table, variant="fiq", metric="latency_p50", **wanted)
    assert 2e-6 < p50["low"] <= p50["value"] <= p50["high"] < 4e-6
    ratio = one(table, variant="fiq", metric="latency_ratio", **wanted)
    assert ratio["value"] == pytest.approx(0.33, rel=0.03) and ratio["reason"] == "faster"
    assert one(table, variant="baseline", metric="latency_noise", **wanted)["value"] < 0.05
    assert pick(table, variant="baseline", metric="latency_ratio").empty
    assert pick(table, metric="latency_p50", seed=1).empty  # only the first seed was measured


@pytest.mark.parametrize("name", ["mlperf", "mlperf-custom"])
def test_throughput_is_told_of_protocol_mlperf_alone(tmp_path: Path, name: str) -> None:
    build(tmp_path, variants={n: KINDS[n] for n in ("baseline", "fiq")}, seeds=(0,), targets=("tflite",))
    assert pick(frame(tmp_path), metric="throughput").empty
    path = tmp_path / "sweeps" / "synthetic.json"
    manifest = json.loads(path.read_text())
    manifest["protocol"]["name"] = name
    path.write_text(json.dumps(manifest))
    table = pick(frame(tmp_path), variant="fiq", scope="invoke", seed=0)
    rate, latency = one(table, metric="throughput"), one(table, metric="latency_p50")
    assert rate["unit"] == "1/s" and rate["origin"] == "measured"
    assert rate["low"] <= rate["value"] <= rate["high"]
    assert rate["value"] * latency["value"] == pytest.approx(1, rel=0.2)


def test_compression_ratio_is_baseline_over_variant(results: Path) -> None:
    table = frame(results)
    sizes = {v: one(table, variant=v, target="tflite", seed=0, metric="gzip_bytes")["value"] for v in FEW}
    row = one(table, variant="pruned", target="tflite", seed=0, metric="gzip_ratio")
    assert row["value"] == pytest.approx(sizes["baseline"] / sizes["pruned"])


def test_a_number_that_is_missing_is_nan_with_its_reason(results: Path) -> None:
    row = one(frame(results), variant="fiq", target="keras", seed=None, metric="accuracy")
    assert math.isnan(row["value"]) and math.isnan(row["low"])
    assert row["status"] == "skipped" and row["reason"].startswith("not applicable: quantized after")


@pytest.mark.parametrize(
    ("bend", "status", "reason"),
    [
        ({"failed": {"pruned": "loss is NaN"}}, "failed", "prune: loss is NaN"),
        ({"timed_out": {"pruned": "no end in 60 s"}}, "timeout", "prune: no end in 60 s"),
        ({"failed_evaluate": {"pruned": "killed"}}, "failed", "evaluate: killed"),
        ({"not_run": ["pruned"]}, "skipped", "not run yet"),
        ({"skipped": {"tflite": "no LiteRT"}}, "skipped", "no LiteRT"),
    ],
)
def test_cells_that_are_not_ok(tmp_path: Path, bend: dict[str, object], status: str, reason: str) -> None:
    variants = {name: KINDS[name] for name in ("baseline", "pruned")}
    build(tmp_path, variants=variants, **bend)  # type: ignore[arg-type]
    rows = pick(frame(tmp_path), variant="pruned", target="tflite", metric="accuracy")
    assert len(rows) == 4  # three seeds and all together
    assert set(rows["status"]) == {status} and set(rows["reason"]) == {reason}
    assert rows[["value", "low", "high"]].isna().all(axis=None)


def test_one_seed_invents_no_interval(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0,))
    table = frame(tmp_path)
    row = one(table, variant="pruned", target="tflite", seed=None, metric="accuracy")
    assert math.isnan(row["low"]) and math.isnan(row["high"]) and row["n"] == 1
    per_seed = one(table, variant="pruned", target="tflite", seed=0, metric="accuracy")
    assert per_seed["low"] < per_seed["value"] < per_seed["high"]


def test_few_rounds_give_no_latency_interval(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, rounds=2)
    row = one(
        frame(tmp_path), variant="fiq", target="tflite", seed=None, metric="latency_p50", scope="invoke"
    )
    assert row["value"] > 0 and math.isnan(row["low"])


def test_other_test_items_are_not_paired(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0,))
    store = Store(tmp_path)
    cells = store.read_manifest("synthetic")["cells"]
    key = next(c["evaluate_key"] for c in cells if c["variant"] == "pruned" and c["target"] == "tflite")
    record = store.read("evaluate", key)
    assert record is not None
    record.result["labels_sha256"] = "another set"
    store.write(record)
    assert pick(frame(tmp_path), variant="pruned", target="tflite", metric="accuracy_delta").empty


def test_a_failed_round_is_told_where_nothing_was_measured(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0,))
    store = Store(tmp_path)
    for key in store.keys("measure"):
        record = store.read("measure", key)
        assert record is not None
        record.status, record.reason, record.result = "failed", "killed by signal 9", {}
        store.write(record)
    row = one(frame(tmp_path), variant="pruned", target="tflite", seed=None, metric="latency_p50")
    assert row["status"] == "failed" and row["reason"] == "measure: killed by signal 9"


def test_some_seeds_failed(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW)
    store = Store(tmp_path)
    cells = store.read_manifest("synthetic")["cells"]
    cell = next(c for c in cells if (c["variant"], c["target"], c["seed"]) == ("pruned", "tflite", 1))
    record = store.read("evaluate", cell["evaluate_key"])
    assert record is not None
    record.status, record.reason, record.result = "failed", "out of memory", {}
    store.write(record)
    row = one(frame(tmp_path), variant="pruned", target="tflite", seed=None, metric="accuracy")
    assert row["n"] == 2 and row["reason"] == "1 of 3 seeds failed: evaluate: out of memory"


def test_no_records_and_no_sweep(tmp_path: Path) -> None:
    empty = frame(tmp_path / "nothing")
    assert tuple(empty.columns) == COLUMNS and empty.empty
    with pytest.raises(StoreError, match="digits"):
        frame(tmp_path, "digits")


def test_several_sweeps_in_one_frame(tmp_path: Path) -> None:
    for name in ("a", "b"):
        build(tmp_path, name, variants={"baseline": Kind(("train",))}, seeds=(0,))
    assert list(dict.fromkeys(frame(tmp_path)["sweep"])) == ["a", "b"]
    assert set(frame(tmp_path, "b")["sweep"]) == {"b"}


def test_csv_and_back(tmp_path: Path, results: Path) -> None:
    table = frame(results)
    table.to_csv(tmp_path / "report.csv", index=False)
    again = read_csv(tmp_path / "report.csv")
    pd.testing.assert_frame_equal(again, table, check_dtype=False)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(StoreError, match=r"other\.csv"):
        read_csv(tmp_path / "other.csv")


def test_the_last_digit_of_a_processor_changes_no_report(results: Path) -> None:
    table = frame(results)
    other = table.assign(value=table["value"] * (1 + 2**-52))
    assert not other.equals(table)
    assert csv(other) == csv(table)


def test_t_quantiles() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    for df in (1, 2, 7, 30, 31, 80, 1000):
        assert t95(df) == pytest.approx(scipy_stats.t.ppf(0.975, df), rel=1e-4)
    assert math.isnan(t95(0.5))


def test_mean_of_one_has_no_interval() -> None:
    mean, (low, high) = mean_interval([0.9])
    assert mean == 0.9 and math.isnan(low) and math.isnan(high)


def test_paired_interval_covers_the_true_difference() -> None:
    """Seeds and items both vary; the interval must hold the truth at least as often as it says."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        per_seed = 0.02 + rng.normal(0, 0.01, 3)
        items = rng.normal(0, 0.1, 300)
        chance = np.clip(0.1 + per_seed[:, None] / 2 + items / 20, 0, 1)
        plus = rng.random((3, 300)) < chance
        minus = ~plus & (rng.random((3, 300)) < 0.1)
        mean, (low, high) = paired_interval(plus.astype(np.int8) - minus.astype(np.int8))
        truth = float((0.1 + 0.02 / 2) - 0.1 * (1 - 0.1 - 0.01))
        held += low <= truth <= high
        assert low <= mean <= high
    assert held >= 0.93 * 200


def test_no_disagreement_is_not_certainty() -> None:
    mean, (low, high) = paired_interval(np.zeros((3, 100), np.int8))
    assert mean == 0 and high == -low == pytest.approx(1 - 0.025 ** (1 / 100))
