"""Style parallel: pipelines of adders against integer arithmetic, by hand, at random, and with faults."""

from __future__ import annotations

import importlib.util
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bench.core import versions as fingerprint
from bench.core.registry import STEPS
from bench.errors import StepError, Unavailable
from targets.fpga.fixed import FixedType
from targets.fpga.rtl import parallel as style
from targets.fpga.rtl.parallel import parallel, rough
from targets.fpga.rtl.simulate import simulate
from targets.fpga.rtl.stages import Cast, Design, Number
from targets.fpga.rtl_target import Rtl, RtlOptions
from tests.rtl import INPUT, expected, inputs_for, multiply, result_of, row, whole_input, window
from tests.tiny import QAT, TRAIN, built, made, run, step
from tests.unit.test_rtl_casts import drawn

pytestmark = [
    pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog"),
    pytest.mark.skipif(importlib.util.find_spec("da4ml") is None, reason="needs da4ml"),
]
needs_training = [
    pytest.mark.tf,
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++"),
]
CSIM = (TRAIN, QAT, step("to_hls"), step("compile_hls"))
PARALLEL = step("to_rtl", style="parallel", cutoff=2)


def trained(function: Any) -> Any:
    for mark in needs_training:
        function = mark(function)
    return function


def dense(weights: list[list[int]], source: Number | None = None, *casts: Cast) -> Any:
    """A layer with these weights (inputs, outputs), whole numbers, and no biases."""
    codes = np.array(weights, np.int64)
    inputs, outputs = codes.shape
    layer = multiply(
        np.random.default_rng(0),
        "dense",
        whole_input(inputs),
        source or Number.of(INPUT),
        outputs,
        *casts,
        weight=Number(8, 0),
    )
    return replace(layer, weights=codes.reshape(1, 1, inputs, outputs), bias=np.zeros(outputs, np.int64))


def random_design(seed: int) -> Design:
    """One to three layers with casts, types of sums and biases at random."""
    rng = np.random.default_rng(seed)
    casts, stages, source, inputs = drawn(60, seed), [], Number.of(INPUT), int(rng.integers(2, 9))
    for place in range(int(rng.integers(1, 4))):
        outputs, own = int(rng.integers(1, 7)), [casts[int(rng.integers(60))][1] for _ in range(2)]
        layer = multiply(
            rng,
            f"dense_{place}",
            whole_input(inputs),
            source,
            outputs,
            *own[: int(rng.integers(0, 3))],
            weight=Number(int(rng.integers(1, 13)), int(rng.integers(-2, 9))),
        )
        if rng.random() < 0.3:  # sums that wrap around
            bits = int(rng.integers(4, 20))
            layer = replace(layer, given=FixedType(bits, bits - layer.input.fraction - layer.weight.fraction))
        stages.append(layer)
        source, inputs = result_of(layer), outputs
    return row(INPUT, *stages)


# ---------------------------------------------------------------- what it gives


@pytest.mark.parametrize("seed", range(16))
def test_random_networks_in_every_bit_and_cycle(seed: int, tmp_path: Path) -> None:
    design = random_design(seed)
    x = inputs_for(design, 50, seed)
    pipeline = parallel(design, 1 + seed % 4)
    found = simulate(pipeline, x, tmp_path, simulator="iverilog")
    np.testing.assert_array_equal(found.outputs, expected(design, x))
    assert (found.latency, found.interval) == (pipeline.latency, 1)


def test_sums_of_more_than_32_bits(tmp_path: Path) -> None:
    wide = FixedType(40, 10, True, "RND", "SAT")
    layer = replace(
        dense([[3], [-5]], Number.of(wide)), casts=(Cast(FixedType(24, 14, True, "RND_CONV", "SAT")),)
    )
    design = row(wide, layer)
    x = inputs_for(design, 40)
    found = simulate(parallel(design, 2), x, tmp_path, simulator="iverilog")
    np.testing.assert_array_equal(found.outputs, expected(design, x))


@pytest.mark.parametrize("stall", [30, 70])
def test_it_waits_for_who_is_not_ready(stall: int, tmp_path: Path) -> None:
    design = random_design(5)
    x = inputs_for(design, 60)
    found = simulate(parallel(design, 1), x, tmp_path, stall=stall, expected=expected(design, x))
    np.testing.assert_array_equal(found.outputs, expected(design, x))
    assert found.interval is not None and found.interval > 1


def test_operations_by_hand(tmp_path: Path) -> None:
    """Times 4 and times 0 are wires, times 3 is one addition (x + 2x), four numbers make three sums."""
    counts = {(4,): 0, (3,): 1, (1, 1, 1, 1): 3, (0, 0, 2, 0): 0, (5, 0, 0, 5): 2}
    for weights, adders in counts.items():
        assert parallel(row(INPUT, dense([[w] for w in weights])), 1).adders == adders, weights
    # Two additions in a row: with one between two registers that is two stages and three registers.
    four = row(INPUT, dense([[1]] * 4))
    assert [parallel(four, cutoff).latency for cutoff in (1, 2)] == [3, 2]
    for cutoff in (1, 2):
        (tmp_path / str(cutoff)).mkdir()
        found = simulate(parallel(four, cutoff), inputs_for(four, 9), tmp_path / str(cutoff))
        assert (found.latency, found.interval) == (parallel(four, cutoff).latency, 1)


def test_zeros_cost_nothing_and_bits_do() -> None:
    rng = np.random.default_rng(1)
    weights = rng.integers(-31, 32, (16, 8))
    pruned = np.where(rng.random(weights.shape) < 0.75, 0, weights)
    fewer = weights // 8
    costs = [parallel(row(INPUT, dense(w.tolist())), 3).luts for w in (weights, pruned, fewer)]
    assert costs[1] < 0.5 * costs[0] and costs[2] < 0.8 * costs[0]


def test_shared_subexpressions_are_made_once() -> None:
    one = parallel(row(INPUT, dense([[7], [7], [7]])), 3).adders
    same = parallel(row(INPUT, dense([[7] * 4] * 3)), 3).adders
    assert same == one


@trained
def test_trained_network_is_simulated_and_equal() -> None:
    _, outcome = built("tiny_mlp", *CSIM, PARALLEL)
    told, cycles = outcome.facts["rtl"], outcome.facts["hardware"]["cycles"]
    assert told["style"] == "parallel" and told["cutoff"] == 2 and told["adders"] > 10
    assert told["da4ml"] == "0.6.0" and "multipliers" not in told
    assert cycles["cycles_max"] == told["pipeline_stages"] + 1 and cycles["interval_max"] == 1
    assert all(check.passed for check in outcome.checks)


# ---------------------------------------------------------------- faults


@trained
@pytest.mark.parametrize("place", [0, -1])
def test_one_flipped_weight_bit_is_caught(
    place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = style.trace

    def flipped(design: Design, cutoff: int) -> Any:
        stages = list(design.stages)
        whole = len(stages) == 3  # prefixes are traced again to find the layer
        at = place if whole or place == 0 else len(stages)
        if at < len(stages):
            weights = stages[at].weights.copy()  # type: ignore[union-attr]
            weights.flat[int(np.argmax(np.abs(weights)))] ^= 1
            stages[at] = replace(stages[at], weights=weights)  # type: ignore[call-arg]
        return real(replace(design, stages=tuple(stages)), cutoff)

    monkeypatch.setattr(style, "trace", flipped)
    csim = made("tiny_mlp", *CSIM)
    layer = "dense_0" if place == 0 else "logits"
    with pytest.raises(StepError, match=rf"differ in \d+ of 64 inputs.* differs there: {layer} "):
        run("to_rtl", tmp_path / "out", parent=csim, style="parallel", cutoff=2)


@trained
def test_a_wrong_rounding_mode_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = style.cast_of

    def truncating(value: Any, cast: Cast) -> Any:
        assert cast.type.rounding == "RND_CONV"
        return real(value, replace(cast, type=replace(cast.type, rounding="TRN")))

    monkeypatch.setattr(style, "cast_of", truncating)
    with pytest.raises(StepError, match=r"differ in \d+ of 64 inputs.*: dense_0"):
        run("to_rtl", tmp_path / "out", parent=made("tiny_mlp", *CSIM), style="parallel", cutoff=2)


# ---------------------------------------------------------------- what it refuses


def test_too_large_is_refused_with_its_estimate() -> None:
    rng = np.random.default_rng(0)
    design = row(INPUT, dense(rng.integers(-100, 100, (32, 16)).tolist()))
    made = parallel(design, 3)
    luts, guessed = made.luts, rough(design)
    assert 0.25 < guessed[0] / luts < 4 and 0.25 < guessed[1] / made.adders < 4
    for limit, how in ((luts / 10, "digits"), (0.9 * luts, "da4ml's estimate")):
        with pytest.raises(
            Unavailable, match=rf"about [\d,]+ LUT for [\d,]+ adders .*{how}.* minutes"
        ) as caught:
            parallel(design, 3, limit)
        assert "lut_limit" in str(caught.value)
    assert parallel(design, 3, 1.1 * luts).luts == parallel(design, 3).luts == luts


def test_what_it_does_not_know_is_named() -> None:
    rng = np.random.default_rng(0)
    over = window((4, 4, 1), (2, 2))
    with pytest.raises(Unavailable, match=r"'conv'.*dense layers only"):
        parallel(row(INPUT, multiply(rng, "conv", over, Number.of(INPUT), 2)), 3)
    wide = multiply(rng, "wide", whole_input(2), Number.of(INPUT), 1, weight=Number(25, 4))
    with pytest.raises(Unavailable, match=r"'wide' has weights of 25 bits"):
        parallel(row(INPUT, wide), 3)
    rounded = multiply(
        rng, "coarse", whole_input(2), Number.of(INPUT), 1, given=FixedType(12, 8), weight=Number(6, 4)
    )
    with pytest.raises(Unavailable, match=r"'coarse' rounds each product to fixed<12,8>"):
        parallel(row(INPUT, rounded), 3)


@pytest.mark.parametrize(
    "version, told", [(None, "da4ml is not installed,"), ("0.5.3", "da4ml 0.5.3 is too old (0.6 is needed),")]
)
def test_without_a_fit_da4ml_it_says_how_to_get_it(
    version: str | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert STEPS.get("to_rtl").unavailable({"style": "parallel"}) is None
    monkeypatch.setattr(fingerprint, "version", lambda name: version)
    reason = STEPS.get("to_rtl").unavailable({"style": "parallel"})
    assert reason is not None and reason.startswith(told) and "--extra rtl" in reason
    assert STEPS.get("to_rtl").unavailable({"style": "sequential"}) is None
    assert "da4ml" in STEPS.get("to_rtl").identity({"style": "parallel"})


def test_options_belong_to_one_style() -> None:
    steps = Rtl().finish(RtlOptions(style="parallel", cutoff=3).model_dump(mode="json"))
    assert steps[2].params["cutoff"] == 3 and steps[2].params["lut_limit"] == 53_200
    assert Rtl().finish(RtlOptions(board="zcu104").model_dump(mode="json"))[2].params["lut_limit"] == 0
    for wrong in ({"cutoff": 3}, {"lut_limit": 0}, {"style": "parallel", "multipliers": 4}):
        with pytest.raises(ValidationError, match=re.escape(f"{list(wrong)[-1]} is an option of style")):
            RtlOptions(**wrong)  # type: ignore[arg-type]
