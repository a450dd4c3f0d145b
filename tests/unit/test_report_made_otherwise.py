"""What a comparison says of cells that have one name in both runs and were not made alike."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import run_cli
from bench.core.records import Record
from bench.report import compare, frame
from bench.report.comparing.provenance import made_otherwise
from bench.report.records.read import Cell
from tests.synthetic import KINDS, build

FEW = {name: KINDS[name] for name in ("baseline", "pruned", "fiq")}


def step(name: str, key: str, **params: Any) -> Record:
    return Record("build", key, "ok", {"step": name, "params": params})


def cells(variants: dict[str, list[Record]], model: str = "m", **more: Any) -> dict[Any, Cell]:
    """One cell of each variant."""
    return {
        (model, name, "tflite", 0): Cell({"model": model, "variant": name}, builds=list(builds), **more)
        for name, builds in variants.items()
    }


OLD = {
    "baseline": [step("train", "t")],
    "pruned": [step("train", "t"), step("prune", "p", sparsity=0.75, epochs=None)],
    "fiq": [step("train", "t"), step("to_tflite", "f", mode="int8")],
}


def test_alike() -> None:
    assert made_otherwise(cells(OLD), cells(OLD)) == ""
    assert made_otherwise(cells(OLD), cells(OLD, "other")) == ""  # not the same cells


def test_other_parameters_are_named_with_both_values() -> None:
    new = OLD | {"pruned": [OLD["baseline"][0], step("prune", "P", sparsity=0.8, epochs=2)]}
    told = made_otherwise(cells(OLD), cells(new))
    assert told == "pruned (prune: sparsity 0.75 → 0.8, epochs null → 2)"


def test_other_steps() -> None:
    new = OLD | {"pruned": [OLD["baseline"][0], step("prune_filters", "P")]}
    assert made_otherwise(cells(OLD), cells(new)) == "pruned (train > prune → train > prune_filters)"
    taught = cells({"baseline": [step("train", "T")]}, teacher=[step("train", "x")])
    assert made_otherwise(cells({"baseline": OLD["baseline"]}), taught) == "baseline (no teacher → train)"


def test_other_code_alone_is_said_once_for_all() -> None:
    new = {name: [replace(record, key=record.key * 2) for record in chain] for name, chain in OLD.items()}
    told = made_otherwise(cells(OLD), cells(new))
    assert told == "baseline, pruned, fiq (same steps and parameters, other code or data)"


def test_models_are_named_where_there_are_several() -> None:
    new = {"baseline": [step("train", "T", epochs=3)]}
    old = {"baseline": OLD["baseline"]}
    told = made_otherwise(cells(old) | cells(old, "n"), cells(old) | cells(new, "n"))
    assert told == "n/baseline (train: epochs null → 3)"


def test_what_is_not_built_is_not_judged() -> None:
    new = cells({"baseline": [step("train", "T")]})
    new["m", "baseline", "tflite", 0].builds.append(None)
    assert made_otherwise(cells({"baseline": OLD["baseline"]}), new) == ""


def test_two_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Results that a repository keeps, before and after a commit (docs/compare.md)."""

    def git(*arguments: str) -> None:
        author = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *author, *arguments], cwd=repository, check=True, capture_output=True)

    repository = tmp_path / "project"
    repository.mkdir()
    git("init")
    for gain in (0.0, -0.05):
        build(repository / "results", variants=FEW, gain={"fiq": gain}, seeds=(0,), targets=("tflite",))
        git("add", "-A")
        git("commit", "-m", "results")
    git("worktree", "add", "../before", "HEAD~1")
    monkeypatch.chdir(repository)
    both = ["compare", "../before/results", "results"]
    assert run_cli([*both, "--fail-if", "accuracy drops 1pt"]) == 1
    assert "fiq" in capsys.readouterr().out
    assert run_cli([*both, "--fail-if", "accuracy drops 10pt"]) == 0


def test_a_comparison_tells_it(tmp_path: Path) -> None:
    from tests.unit.test_report_inputs import bend, records

    for name in ("old", "new"):
        build(tmp_path / name, variants=FEW, seeds=(0,), targets=("tflite",))
    assert compare(frame(tmp_path / "old"), frame(tmp_path / "new")).statements == []
    prune = [p for p in records(tmp_path / "new", "build") if '"step": "prune"' in p.read_text("utf-8")]
    assert len(prune) == 1
    key = "0" * 64
    place = prune[0].parent.parent / key[:2] / f"{key}.json"
    place.parent.mkdir(exist_ok=True)
    prune[0].rename(place)
    bend(place, lambda record: record.update(key=key))
    manifest = tmp_path / "new" / "sweeps" / "synthetic.json"
    manifest.write_text(manifest.read_text("utf-8").replace(prune[0].stem, key), "utf-8")
    (statement,) = compare(frame(tmp_path / "old"), frame(tmp_path / "new")).statements
    assert statement == "Made otherwise: pruned (same steps and parameters, other code or data)."
