"""Sweeps with C simulation: chains to their end, one parameter for several formats, cells left out."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from bench.core.cells import CellSpec, StepSpec, Sweep
from bench.core.registry import STEPS
from bench.errors import ConfigError
from bench.run.plan import make_plan
from bench.store.store import Store
from bench.sweep import parse_sweep
from targets.fpga.hls4ml_target import Hls4ml


def sweep(text: str) -> Sweep:
    top = "sweep: s\nmodels: [digits_mlp]\nseeds: [0, 1]\nprotocol: off\n"
    return parse_sweep(top + dedent(text), source="s.yaml")


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        sweep(text)
    return str(caught.value)


def by_label(found: Sweep) -> dict[str, CellSpec]:
    return {cell.label.removeprefix("digits_mlp/"): cell for cell in found.cells}


def steps(cell: CellSpec) -> dict[str, StepSpec]:
    assert cell.chain is not None, cell.not_applicable
    return {spec.step: spec for spec in cell.chain.steps}


# ---------------------------------------------------------------- the target's own steps


def test_chains_end_in_the_targets_steps_with_its_options() -> None:
    found = by_label(
        sweep(
            """
            variants: [baseline, qat, qap]
            targets: [keras, hls4ml: {reuse_factor: [1, 16], strategy: resource}]
            """
        )
    )
    one = found["qat/hls4ml[strategy=resource]/seed0"]
    many = found["qat/hls4ml[strategy=resource,reuse_factor=16]/seed0"]
    assert list(steps(one)) == ["train", "qkeras_qat", "to_hls", "compile_hls"]
    assert list(steps(found["qat/keras/seed0"])) == ["train", "qat"]
    for cell, factor in ((one, 1), (many, 16)):
        params = steps(cell)["to_hls"].params
        assert params == STEPS.get("to_hls").Params(strategy="resource", reuse_factor=factor).model_dump()
        assert not cell.measured and cell.target == "hls4ml"
    assert list(steps(found["baseline/hls4ml[strategy=resource]/seed0"]))[1:] == [
        *("to_fixed", "to_hls", "compile_hls")
    ]
    baseline = steps(found["baseline/hls4ml[strategy=resource]/seed0"])["to_fixed"].params
    assert (baseline["bits"], baseline["integer"], baseline["accum"]) == (32, 16, "same")
    assert (baseline["rounding"], baseline["overflow"]) == ("TRN", "WRAP")


def test_variants_without_a_fixed_point_form_say_why() -> None:
    found = by_label(sweep("variants: [baseline, dq]\ntargets: [keras, tflite, hls4ml]\n"))
    cell = found["dq/hls4ml/seed0"]
    assert cell.chain is None and "FPGA" in (cell.not_applicable or "")
    assert found["dq/tflite/seed0"].chain is not None


def test_simulation_is_never_timed() -> None:
    top = "sweep: s\nmodels: [digits_mlp]\nseeds: [0]\nprotocol: quick\nvariants: [baseline]\n"
    found = parse_sweep(top + "targets: [keras, hls4ml]\n", source="s.yaml")
    assert {cell.target: cell.measured for cell in found.cells} == {"keras": True, "hls4ml": False}


@pytest.mark.parametrize(
    ("option", "said"),
    [("reuse_factor: 0", "reuse_factor"), ("strategy: fast", "strategy"), ("io_typ: auto", "io_type")],
)
def test_options_are_checked(option: str, said: str) -> None:
    assert said in refused(f"variants: [baseline]\ntargets: [hls4ml: {{{option}}}]\n")


# ---------------------------------------------------------------- one parameter, several steps


def test_sparsity_of_qap_is_one_axis_for_all_formats() -> None:
    found = by_label(
        sweep("variants: [baseline, qap: {sparsity: [0.5, 0.8]}]\ntargets: [keras, tflite, hls4ml]\n")
    )
    names = {label.split("/")[0] for label in found}
    assert names == {"baseline", "qap[sparsity=0.5]", "qap[sparsity=0.8]"}
    for share in (0.5, 0.8):
        name = f"qap[sparsity={share}]"
        for target in ("keras", "tflite"):
            assert steps(found[f"{name}/{target}/seed0"])["prune"].params["sparsity"] == share
        own = steps(found[f"{name}/hls4ml/seed1"])
        assert own["qkeras_qap"].params["sparsity"] == share and "prune" not in own


def test_a_named_step_is_that_step_only() -> None:
    text = "variants: [baseline, qap: {qkeras_qap.sparsity: 0.5}]\ntargets: [keras, hls4ml]\n"
    found = by_label(sweep(text))
    (name,) = {label.split("/")[0] for label in found} - {"baseline"}
    assert steps(found[f"{name}/hls4ml/seed0"])["qkeras_qap"].params["sparsity"] == 0.5
    assert steps(found[f"{name}/keras/seed0"])["prune"].params["sparsity"] == 0.75


def test_steps_of_one_chain_are_not_meant_together() -> None:
    """`epochs` is of `train` and of `prune`, which follow each other."""
    text = refused("variants: [baseline, qap: {epochs: 3}]\ntargets: [keras]\n")
    assert "several steps of variant 'qap' have 'epochs'" in text and "Write train.epochs or" in text


def test_bits_of_fixed_point_training_are_a_grid() -> None:
    found = by_label(sweep("variants: [baseline, qat: {bits: [4, {dense_1: 3}]}]\ntargets: [hls4ml]\n"))
    params = [steps(cell)["qkeras_qat"].params["bits"] for label, cell in found.items() if "qat" in label]
    assert 4 in params and {"dense_1": 3} in params


# ---------------------------------------------------------------- leave_out


def test_a_row_left_out_says_so() -> None:
    text = "variants: [baseline, pruned]\ntargets: [keras, hls4ml]\nleave_out: ['*/pruned/hls4ml']\n"
    found = by_label(sweep(text))
    assert len(found) == 8
    for seed in (0, 1):
        cell = found[f"pruned/hls4ml/seed{seed}"]
        assert cell.chain is None and cell.not_applicable == "left out by the sweep file"
    assert found["pruned/keras/seed0"].chain is not None
    assert found["baseline/hls4ml/seed0"].chain is not None


def test_other_seeds_left_out_are_gone() -> None:
    text = "variants: [baseline, pruned]\ntargets: [keras, hls4ml]\nleave_out: ['*/hls4ml/seed1']\n"
    found = by_label(sweep(text))
    assert set(found) == {
        *("baseline/keras/seed0", "baseline/keras/seed1", "baseline/hls4ml/seed0"),
        *("pruned/keras/seed0", "pruned/keras/seed1", "pruned/hls4ml/seed0"),
    }
    assert all(cell.chain is not None for cell in found.values())


@pytest.mark.parametrize("pattern", ["*/clustered/hls4ml", "hls4m", "*/pruned/hls4ml/seed7", "digits_mlp/"])
def test_a_pattern_that_names_nothing_is_an_error(pattern: str) -> None:
    text = refused(f"variants: [baseline, pruned]\ntargets: [hls4ml]\nleave_out: ['pruned', '{pattern}']\n")
    assert (
        f"{pattern!r} names no cell of the sweep" in text
        and "leave_out" in text
        and "'pruned' names" not in text
    )


def test_everything_left_out_is_an_error() -> None:
    assert "nothing of this sweep can run" in refused(
        "variants: [baseline, pruned]\ntargets: [hls4ml]\nleave_out: [hls4ml]\n"
    )


@pytest.mark.parametrize("value", ["{pruned: 1}", "[3]", "[{pruned: hls4ml}]"])
def test_patterns_are_texts(value: str) -> None:
    text = refused(f"variants: [baseline, pruned]\ntargets: [hls4ml]\nleave_out: {value}\n")
    assert "leave_out" in text


# ---------------------------------------------------------------- what is not installed


def plan_of(found: Sweep, folder: Path) -> dict[str, Any]:
    plan = make_plan(found, Store(folder))
    return {cell.cell.label.removeprefix("digits_mlp/"): cell for cell in plan.cells}


def test_without_a_compiler_the_cells_are_skipped_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sweep("variants: [baseline, qat]\ntargets: [keras, hls4ml]\n")
    cells = plan_of(found, tmp_path / "a")
    assert {cell.skipped for cell in cells.values()} == {None}
    monkeypatch.setenv("PATH", str(tmp_path))
    # The target says so, and (a target that would not) the step.
    cells = plan_of(found, tmp_path / "b")
    reasons = {label: cell.skipped for label, cell in cells.items()}
    assert all((reason is None) == ("keras" in label) for label, reason in reasons.items())
    assert all("g++" in (reason or "g++") for reason in reasons.values())
    monkeypatch.setattr(Hls4ml, "unavailable", lambda self: None)
    cells = plan_of(found, tmp_path / "c")
    for label, cell in cells.items():
        expected = None if "keras" in label else "step 'compile_hls' needs g++, which is not installed"
        assert cell.skipped == expected
