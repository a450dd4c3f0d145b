"""What the committed runs of Verilog show: equal to the C simulation, and what pruning, bits and P do."""

from __future__ import annotations

import functools
import itertools
import json

import pandas as pd
import pytest

from bench import report
from tests.unit.test_reference_results import REFERENCE

SWEEPS = ("digits_rtl", "rtl_models")
PARALLEL = "rtl[style=parallel]"


@functools.cache
def frame(sweep: str) -> pd.DataFrame:
    return report.frame(REFERENCE, sweep)


def curve(metric: str, cells: list[tuple[str, str]]) -> list[float]:
    """Values of (variant, target) in digits_rtl."""
    rows = frame("digits_rtl")
    found = []
    for variant, target in cells:
        here = rows[(rows.variant == variant) & (rows.target == target) & (rows.metric == metric)]
        (value,) = here[here.seed == 0].value
        found.append(float(value))
    return found


def falls(values: list[float]) -> bool:
    return all(after < before for before, after in itertools.pairwise(values))


@pytest.mark.parametrize("sweep", SWEEPS)
def test_nothing_failed_and_nothing_is_unfinished(sweep: str) -> None:
    rows = frame(sweep)
    broken = rows[rows.status.isin(["failed", "timeout"])]
    assert broken.empty, broken[["model", "variant", "target", "reason"]].drop_duplicates().to_string()
    assert not rows.reason.fillna("").str.startswith("not run").any()


@pytest.mark.parametrize("sweep", SWEEPS)
def test_the_committed_report_is_that_of_the_committed_records(sweep: str) -> None:
    kept = report.read_csv(REFERENCE / "reports" / sweep / "report.csv")
    pd.testing.assert_frame_equal(kept, frame(sweep), check_dtype=False, rtol=1e-9)


@pytest.mark.parametrize("sweep", SWEEPS)
def test_verilog_gives_what_the_c_simulation_gives_in_every_bit(sweep: str) -> None:
    rows = frame(sweep)
    links = rows[(rows.scope == "rtl vs csim") & rows.seed.notna() & (rows.status == "ok")]
    mismatches, exact = links[links.metric == "mismatches"], links[links.metric == "bit_exact"]
    counted = rows[(rows.metric == "cycles") & rows.seed.notna() & (rows.status == "ok")]
    cells = ["model", "variant", "target"]
    assert len(mismatches) >= 12 and set(mismatches.value) == {0} and set(exact.value) == {1}
    assert (mismatches.n >= 2).all()
    # Every design with cycles was compared.
    assert set(counted[cells].apply(tuple, axis=1)) == set(mismatches[cells].apply(tuple, axis=1))


def test_pruning_pays_in_style_parallel_and_not_in_multipliers() -> None:
    variants = ["distilled_qap[sparsity=0.5]", "distilled_qap", "distilled_qap[sparsity=0.9]"]
    assert falls(curve("lut", [(v, PARALLEL) for v in variants]))
    assert len(set(curve("dsp", [(v, "rtl") for v in variants]))) == 1
    assert set(curve("dsp", [(v, PARALLEL) for v in variants])) == {0}


def test_bits_pay_in_both_styles() -> None:
    variants = ["distilled_qap", *(f"distilled_qap[bits={bits}]" for bits in (4, 3, 2))]
    for target in ("rtl", PARALLEL):
        assert falls(curve("lut", [(v, target) for v in variants])), target


def test_more_multipliers_and_fewer_registers_take_fewer_cycles() -> None:
    multipliers = ["rtl[multipliers=1]", "rtl[multipliers=2]", "rtl[multipliers=4]", "rtl"]
    multipliers += ["rtl[multipliers=16]", "rtl[multipliers=32]"]
    assert falls(curve("cycles", [("distilled_qap", target) for target in multipliers]))
    cutoffs = [f"rtl[style=parallel,cutoff={n}]" for n in (1, 2)] + [PARALLEL]
    cutoffs.append("rtl[style=parallel,cutoff=8]")
    assert falls(curve("cycles", [("distilled_qap", target) for target in cutoffs]))


@pytest.mark.parametrize(
    ("sweep", "model", "style", "cells", "seconds"),
    [
        ("digits", "digits_mlp", "sequential", 7, 60),
        ("digits_rtl", "digits_mlp", "sequential", 11, 60),
        ("digits_rtl", "digits_mlp", "parallel", 9, 60),
        ("rtl_models", "jet_mlp_generated", "sequential", 4, 120),
        ("rtl_models", "jet_mlp_generated", "parallel", 3, 300),
    ],
)
def test_how_long_designs_took(sweep: str, model: str, style: str, cells: int, seconds: float) -> None:
    """Verilog, its simulation and synthesis, by their records."""
    manifest = json.loads((REFERENCE / "sweeps" / f"{sweep}.json").read_text(encoding="utf-8"))
    records = {path.stem: path for path in (REFERENCE / "records" / "build").rglob("*.json")}
    took = []
    for cell in manifest["cells"]:
        wanted = cell["target"] == "rtl" and ("parallel" in cell["target_label"]) == (style == "parallel")
        if cell["model"] != model or not wanted or not cell["build_keys"]:
            continue
        if not all(key in records for key in cell["build_keys"]):
            continue  # refused: too large
        made = [json.loads(records[key].read_bytes()) for key in cell["build_keys"]]
        steps = [one for one in made if one["task"]["step"] in ("to_rtl", "synthesize_rtl")]
        assert len(steps) == 2
        took.append(sum(float(one["seconds"]) for one in steps))
    assert len(took) == cells and max(took) <= seconds
