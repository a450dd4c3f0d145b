"""A reason is prose: with others in their place, tables, marks, notes and pictures stay as they were."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.report.frames.tidy import sweep_frame
from bench.report.frames.view import ModelView, views
from bench.report.notes.headline import headlines
from bench.report.notes.notes import notes
from bench.report.pictures import Plan, draw, plans
from bench.report.records.read import SweepData, read_sweep
from bench.report.tables.comparison import comparison
from tests.synthetic import build

REFERENCE = Path(__file__).parents[2] / "results" / "reference"


def token(reason: str) -> str:
    """Another text for each reason, with nothing of it left."""
    return hashlib.sha256(reason.encode()).hexdigest() if reason else ""


def pictures(view: ModelView, data: SweepData) -> list[Plan]:
    return list(plans(view, data.by_model()[view.model], data.rounds, "x"))


def shown(view: ModelView, data: SweepData) -> dict[str, Any]:
    """What a reader sees of a model, reasons apart."""
    cells = data.by_model()[view.model]
    table = comparison(view)
    return {
        "columns": [vars(column) for column in table.columns],
        "rows": [(row.variant, row.role, row.fronts) for row in table.rows],
        "cells": [[(c.text, c.status, c.mark, c.note, c.seeds) for c in row.cells] for row in table.rows],
        "footnotes": len(table.footnotes),
        "remarks": len(table.remarks),
        "headlines": headlines(view),
        "notes": notes(view, cells),
        "pictures": [plan.key for plan in pictures(view, data)],
        "verdicts": [(*of, n.verdict, n.comparison, n.known) for *of, n in view.all_numbers()],
    }


def same(data: SweepData, *, drawn: bool = False) -> None:
    table = sweep_frame(data)
    replaced = table.assign(reason=pd.array([token(reason) for reason in table["reason"]], dtype="string"))
    assert set(replaced["reason"]) - {""}, "there is no reason in it"
    for before, after in zip(views(table), views(replaced), strict=True):
        # Named, so that a difference says where it is.
        expected, found = shown(before, data), shown(after, data)
        for part in expected:
            assert found[part] == expected[part], part
        if drawn:
            pairs = zip(pictures(before, data), pictures(after, data), strict=True)
            assert all(draw(one) == draw(other) for one, other in pairs)


@pytest.mark.parametrize("sweep", ["digits", "digits_board", "rtl_models", "mnist"])
def test_of_committed_runs(sweep: str) -> None:
    same(read_sweep(REFERENCE, sweep))


def test_of_a_sweep_where_things_went_wrong(tmp_path: Path) -> None:
    build(
        tmp_path,
        failed={"dq": "seed 1 broke"},
        timed_out={"fiq": "no end"},
        failed_evaluate={"qat": "not scored"},
        not_run=("distilled",),
        skipped={"keras": "not here"},
    )
    same(read_sweep(tmp_path, "synthetic"), drawn=True)


def test_noise_is_a_word_of_the_frame(tmp_path: Path) -> None:
    build(tmp_path, noise=0.4)
    data = read_sweep(tmp_path, "synthetic")
    assert {"noisy", "unstable"} & set(sweep_frame(data)["verdict"])
    same(data)
