"""Limits for CI: what they mean, what fails them, and what they must never let pass in silence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.cli.main import run_cli
from bench.errors import ConfigError
from bench.report import compare, frame
from bench.report.comparing.gates import Gate, Outcome, judge, parse
from tests.synthetic import KINDS, MACHINE, build
from tests.synthetic_fpga import add_fpga, design

FEW = {name: KINDS[name] for name in ("baseline", "pruned", "fiq")}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("old")
    build(root, variants=FEW, items=2000)
    return root


def one(text: str, old: Path, new: Path) -> Outcome:
    (outcome,) = judge([parse(text)], compare(frame(old), frame(new)))
    return outcome


@pytest.mark.parametrize(
    ("text", "metrics", "limit"),
    [
        ("accuracy drops 1pt", ("accuracy",), 0.01),
        ("accuracy drops by 0.5 points", ("accuracy",), 0.005),
        ("Accuracy -2 pp", ("accuracy",), 0.02),
        ("accuracy worse", ("accuracy",), 0.0),
        ("latency +10%", ("latency_p50",), 1.1),
        ("latency rises by 10 percent", ("latency_p50",), 1.1),
        (" size grows 5 % ", ("file_bytes", "gzip_bytes"), 1.05),
        ("gzip+.5%", ("gzip_bytes",), 1.005),
        ("lut worse", ("lut",), 1.0),
    ],
)
def test_expressions(text: str, metrics: tuple[str, ...], limit: float) -> None:
    assert parse(text) == Gate(text.strip(), metrics, pytest.approx(limit))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not understood"),
        ("accuracy", "not understood"),
        ("__import__('os')", "not understood"),
        ("accuracy drops 1pt or 2", "not understood"),
        ("acuracy drops 1pt", r"no number 'acuracy' is compared\n.*mean 'accuracy'"),
        ("accuracy drops 1%", "in percentage points"),
        ("latency +10", "in percent"),
        ("latency +10pt", "in percent"),
        ("latency -10%", "a lower latency is no failure"),
        ("accuracy rises 1pt", "a higher accuracy is no failure"),
        ("latency explodes 3%", "'explodes' is no change"),
        ("accuracy drops", "without an amount"),
        ("size worse 5%", "takes no amount"),
    ],
)
def test_bad_expressions_give_one_clear_message(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        parse(text)
    assert repr(text) in str(error.value)


def test_accuracy_limits(old: Path, tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, items=2000, gain={"fiq": -0.03}, runs=1)
    failed = one("accuracy drops 1pt", old, tmp_path)
    assert not failed.passed and all("fiq" in line for line in failed.failures)
    assert str(failed).startswith("FAILED: accuracy drops 1pt\n  digits_mlp fiq tflite accuracy: −")
    assert one("accuracy drops 5pt", old, tmp_path).passed
    assert one("accuracy worse", tmp_path, old).passed  # it got better


def test_a_drop_within_the_noise_fails_nothing(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("old", "new")]
    build(folders[0], variants=FEW, items=40)
    build(folders[1], variants=FEW, items=40, gain={"fiq": -0.02}, runs=1)
    found = compare(*(frame(folder) for folder in folders))
    change = next(c for c in found.changes if (c.variant, c.metric) == ("fiq", "accuracy"))
    assert change.change < -0.002 and change.low < change.change < 0 < change.high
    assert judge([parse("accuracy drops 0.2pt")], found)[0].passed


def test_other_test_items_widen_the_interval(old: Path, tmp_path: Path) -> None:
    """Seeds share the items: three that agree say nothing about the choice of the items."""
    build(tmp_path, variants=FEW, items=40, runs=1)
    found = compare(frame(old), frame(tmp_path))
    changes = [c for c in found.changes if c.metric == "accuracy"]
    assert changes and not any(c.paired for c in changes)
    assert {c.verdict for c in changes} == {"same"} and all(c.high - c.low > 0.1 for c in changes)


def test_latency_limits_and_noise(old: Path, tmp_path: Path) -> None:
    build(tmp_path, variants=FEW | {"fiq": replace(KINDS["fiq"], time=0.5)}, items=2000, runs=1)
    failed = one("latency +10%", old, tmp_path)
    assert not failed.passed and any("fiq tflite latency invoke: +5" in line for line in failed.failures)
    new = frame(tmp_path)
    new.loc[new["metric"] == "latency_p50", "verdict"] = "noisy"
    (noisy,) = judge([parse("latency +10%")], compare(frame(old), new))
    assert noisy.passed and any("fiq" in line and "new noisy" in line for line in noisy.undecided)
    assert str(noisy).count("not decided") == 6 and str(noisy).endswith("more")


def test_sizes_and_designs(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("old", "new")]
    for folder, scale in zip(folders, (1.0, 1.2), strict=True):
        build(folder, variants=FEW, items=50)
        add_fpga(folder, hardware={"pruned": design(scale)})
    failed = one("lut +10%", *folders)
    assert {line.split(": ")[0] for line in failed.failures} == {
        f"digits_mlp pruned hls4ml lut {stage}, estimated" for stage in ("hls_est", "synth", "impl")
    }
    assert one("lut +25%", *folders).passed and one("cycles worse", *folders).passed
    assert one("size +1%", *folders).passed
    assert "hls_est, estimated" in str(compare(*(frame(folder) for folder in folders)))


def test_what_cannot_be_judged_does_not_pass(old: Path, tmp_path: Path) -> None:
    build(tmp_path / "other", variants=FEW, items=2000, machine=MACHINE | {"id": "another"})
    assert "different machines" in one("latency +10%", old, tmp_path / "other").failures[0]
    build(tmp_path / "failed", variants=FEW, items=2000, failed={"fiq": "no luck"})
    gone = one("accuracy drops 1pt", old, tmp_path / "failed")
    assert any("fiq tflite accuracy: gone (to_tflite: no luck)" in line for line in gone.failures)
    build(tmp_path / "model", models=("another",), variants=FEW, items=50)
    assert one("size +5%", old, tmp_path / "model").failures == ["digits_mlp: not in the new run"]
    empty = compare(frame(old).iloc[:0], frame(old).iloc[:0])
    assert "nothing to judge" in judge([parse("accuracy worse")], empty)[0].failures[0]


def test_exit_codes_and_json(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(tmp_path, variants=FEW, items=2000, gain={"fiq": -0.03}, runs=1)
    runs = [str(old), str(tmp_path)]
    assert run_cli(["compare", *runs]) == 0
    assert run_cli(["compare", *runs, "--fail-if", "accuracy drops 9pt"]) == 0
    assert run_cli(["compare", *runs, "--fail-if", "size +9%", "--fail-if", "accuracy drops 1pt"]) == 1
    assert "passed: size +9%" in capsys.readouterr().out
    assert run_cli(["compare", *runs, "--fail-if", "accuracy drops"]) == 2
    assert capsys.readouterr().out == ""  # found before anything is read
    assert run_cli(["compare", *runs, "--json", "--fail-if", "accuracy drops 1pt"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [limit["passed"] for limit in told["limits"]] == [False]
    assert {c["verdict"] for c in told["changes"] if c["variant"] == "fiq" and c["metric"] == "accuracy"} == {
        "worse"
    }


def test_other_versions_are_told(old: Path, tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, items=2000)
    for path in (tmp_path / "records" / "measure").rglob("*.json"):
        path.write_text(path.read_text().replace('"ai-edge-litert": "2.3.0"', '"ai-edge-litert": "2.4.0"'))
    told = [line for line in compare(frame(old), frame(tmp_path)).statements if "versions" in line]
    assert len(told) == 1 and "ai-edge-litert 2.3.0" in told[0] and "→" in told[0] and "2.4.0" in told[0]
    assert not any("versions" in line for line in compare(frame(old), frame(old)).statements)


def test_frames_without_records_are_judged_by_intervals(old: Path, tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, items=2000, gain={"fiq": -0.1}, runs=1)
    tables = [frame(root) for root in (old, tmp_path)]
    for table in tables:
        table.attrs.clear()
    assert isinstance(tables[0], pd.DataFrame)
    assert not judge([parse("accuracy drops 5pt")], compare(*tables))[0].passed
