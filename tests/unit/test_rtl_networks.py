"""Sequential RTL in Icarus Verilog against integer arithmetic in NumPy: outputs, cycles, faults."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.errors import StepError, Unavailable
from targets.fpga.fixed import FixedType
from targets.fpga.rtl import simulate as simulation
from targets.fpga.rtl import simulators
from targets.fpga.rtl.simulate import Simulation, simulate
from targets.fpga.rtl.stages import AveragePool, Cast, Design, MaxPool, Multiply, Number
from tests.rtl import INPUT, expected, inputs_for, multiply, row, whole_input, window

needs_iverilog = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog")
UNSIGNED = FixedType(6, 3, False, "RND_CONV", "SAT")
RELU, PLAIN = Cast(UNSIGNED, relu=True), Cast(FixedType(16, 9, True, "RND", "SAT"))


def checked(design: Design, folder: Path, n: int = 6, *, stall: int = 0) -> Simulation:
    x = inputs_for(design, n)
    found = simulate(design, x, folder, stall=stall)
    np.testing.assert_array_equal(found.outputs, expected(design, x))
    if not stall:
        assert found.latency == design.latency
        assert found.interval == design.interval
    return found


def mlp(p: int = 4, input_type: FixedType = INPUT) -> Design:
    rng = np.random.default_rng(1)
    first = multiply(rng, "a", whole_input(7), Number.of(input_type), 9, RELU, p=p)
    second = multiply(rng, "b", whole_input(9), Number.of(UNSIGNED), 5, PLAIN, RELU, p=p)
    last = multiply(rng, "c", whole_input(5), Number.of(UNSIGNED), 3, p=p)
    return row(input_type, first, second, last)


def cnn(p: int = 4) -> Design:
    rng = np.random.default_rng(2)
    conv = multiply(rng, "conv", window((7, 6, 2), (3, 3), (2, 1), same=True), Number.of(INPUT), 5, RELU, p=p)
    pool = MaxPool("pool", window((4, 6, 5), (2, 2), (2, 2)), Number.of(UNSIGNED))
    dense = multiply(rng, "dense", whole_input(2 * 3 * 5), Number.of(UNSIGNED), 4, PLAIN, p=p)
    return row(INPUT, conv, pool, dense)


# ---------------------------------------------------------------- by hand


def by_hand() -> Design:
    """y = W x + b with x in quarters, W in halves, b whole, two multipliers for three outputs."""
    weights = np.array([[1, -2, 3], [4, 5, -6]]).reshape(1, 1, 2, 3)
    stage = Multiply(
        "hand",
        whole_input(2),
        Number(4, 2),
        weights,
        Number(4, 1),
        np.array([1, 0, -1]),
        Number(3, 0),
        None,
        multipliers=2,
    )
    return row(FixedType(4, 2), stage)


@needs_iverilog
def test_network_by_hand(tmp_path: Path) -> None:
    """Two groups: two taps, three cycles to drain, two outputs; two taps, three cycles, one output."""
    design = by_hand()
    # The largest |sum| is |3| * 8 + |-6| * 8 + 1 * 8 = 80 in eighths: 8 bits with the sign.
    assert design.stages[0].sum == Number(8, 3)  # type: ignore[union-attr]
    assert design.latency == 1 + (2 + 3 + 2) + (2 + 3 + 1) == 14
    assert design.interval == 2 + 13
    found = simulate(design, np.array([[0.5, -1.0], [1.75, 1.75], [-2.0, -2.0]]), tmp_path)
    np.testing.assert_array_equal(
        found.outputs, [[-0.75, -3.0, 2.75], [5.375, 2.625, -3.625], [-4.0, -3.0, 2.0]]
    )
    assert (found.latency, found.interval) == (14, 15)
    assert (found.last - found.first).tolist() == [14, 14, 14]


# ---------------------------------------------------------------- every kind of stage


@needs_iverilog
@pytest.mark.parametrize("p", [1, 2, 3, 4, 9, 50])
def test_dense_layers_with_any_number_of_multipliers(p: int, tmp_path: Path) -> None:
    checked(mlp(p), tmp_path)


@needs_iverilog
@pytest.mark.parametrize("p", [1, 3, 8])
def test_convolution_pooling_and_dense(p: int, tmp_path: Path) -> None:
    checked(cnn(p), tmp_path, 4)


@needs_iverilog
@pytest.mark.parametrize(
    "kernel, stride, same",
    [
        ((1, 1), (1, 1), False),
        ((3, 2), (1, 1), False),
        ((3, 3), (2, 2), False),
        ((3, 3), (1, 1), True),
        ((2, 2), (1, 1), True),
        ((3, 3), (2, 2), True),
        ((4, 1), (3, 1), True),
        ((5, 6), (1, 1), False),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_windows(
    kernel: tuple[int, int], stride: tuple[int, int], same: bool, channels: int, tmp_path: Path
) -> None:
    rng, source = np.random.default_rng(3), Number.of(INPUT)
    over = window((5, 6, channels), kernel, stride, same)
    for folder, stage in (
        ("conv", multiply(rng, "conv", over, source, 3, PLAIN, p=2)),
        ("pool", MaxPool("pool", over, source)),
    ):
        (tmp_path / folder).mkdir()
        checked(row(INPUT, stage), tmp_path / folder, 3)


@needs_iverilog
@pytest.mark.parametrize("kernel", [(1, 1), (1, 2), (3, 1), (2, 2), (3, 3), (2, 5), (5, 5)])
@pytest.mark.parametrize("text", ["fixed<8,4,RND,SAT>", "ufixed<5,2,RND_CONV,SAT>", "fixed<6,9>"])
def test_averages_of_any_window(kernel: tuple[int, int], text: str, tmp_path: Path) -> None:
    type_ = FixedType.parse(text)
    over = window((6, 5, 3), kernel, (1, 2))
    # Without a cast all bits that hls4ml's accumulator has are seen.
    for place, casts in enumerate(((Cast(type_),), ())):
        (tmp_path / str(place)).mkdir()
        stage = AveragePool("average", over, Number.of(type_), casts)
        checked(row(type_, stage), tmp_path / str(place), 5)


def test_average_by_hand() -> None:
    """(1 + 2 + 4) / 3 in whole numbers with two bits more: 2.25, and towards zero -2.25."""
    stage = AveragePool("average", window((1, 3, 1), (1, 3)), Number(4, 0))
    assert stage.raw == Number(8, 2)
    values = expected(row(FixedType(4, 4), stage), np.array([[1, 2, 4], [-1, -2, -4]]))
    assert values.tolist() == [[2.25], [-2.25]]


@needs_iverilog
@pytest.mark.parametrize(
    "text",
    ["ufixed<8,0>", "ufixed<1,1>", "fixed<1,1>", "fixed<9,-2,RND_CONV,SAT>", "fixed<5,8>", "ufixed<7,9>"],
)
def test_inputs_of_odd_types(text: str, tmp_path: Path) -> None:
    checked(mlp(4, FixedType.parse(text)), tmp_path)


@needs_iverilog
@pytest.mark.parametrize("weight", [Number(1, 3), Number(4, 9), Number(5, -2), Number(8, 3)])
def test_weights_with_negative_integer_bits_and_far_points(weight: Number, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    stage = multiply(rng, "a", whole_input(6), Number.of(INPUT), 5, weight=weight, bias=Number(6, 9))
    small = Cast(FixedType(5, -4, True, "RND_CONV", "WRAP"))
    checked(row(INPUT, replace(stage, casts=(small,))), tmp_path)


@needs_iverilog
@pytest.mark.parametrize(
    "text",
    ["fixed<32,16>", "fixed<10,5>", "fixed<9,4,RND,WRAP>", "fixed<12,12,TRN_ZERO,WRAP>", "fixed<8,-1>"],
)
def test_sums_of_a_given_type_wrap(text: str, tmp_path: Path) -> None:
    rng, given = np.random.default_rng(5), FixedType.parse(text)
    source = FixedType(16, 8)
    one, other = (Number(14, 10), Number(14, 11))
    stage = multiply(
        rng, "a", whole_input(12), Number.of(source), 5, given=given, weight=one, bias=other, p=2
    )
    design = row(source, replace(stage, casts=(Cast(given),)))
    checked(design, tmp_path)
    free = expected(replace(design, stages=(replace(stage, given=None),)), inputs_for(design, 6))
    assert np.any(free < given.low) or np.any(free > given.high) or text == "fixed<32,16>"


@needs_iverilog
@pytest.mark.parametrize("seed", range(8))
def test_random_networks(seed: int, tmp_path: Path) -> None:
    """Sizes, types and multipliers at random."""
    rng = np.random.default_rng(100 + seed)

    def number(low: int = 1) -> Number:
        bits = int(rng.integers(low, 12))
        return Number(bits, int(rng.integers(-2, bits + 4)))

    def cast() -> Cast:
        bits = int(rng.integers(2, 14))
        modes = str(rng.choice(["TRN", "RND", "RND_CONV"])), str(rng.choice(["WRAP", "SAT"]))
        type_ = FixedType(bits, int(rng.integers(-1, bits + 3)), bool(rng.integers(2)), *modes)
        return Cast(type_, bool(rng.integers(2)))

    shape = (int(rng.integers(3, 7)), int(rng.integers(3, 7)), int(rng.integers(1, 4)))
    casts = [cast() for _ in range(3)]
    sizes = [int(size) for size in rng.integers(1, 8, 2)]
    over = window(shape, (2, 3), (1, int(rng.integers(1, 3))), bool(rng.integers(2)))
    source = FixedType(7, 3, bool(rng.integers(2)))
    p = int(rng.integers(1, 9))
    conv = multiply(
        rng, "conv", over, Number.of(source), sizes[0], casts[0], weight=number(), bias=number(), p=p
    )
    pooled = window((over.rows, over.columns, sizes[0]), (2, 1), (1, 1), same=True)
    pool = MaxPool("pool", pooled, Number.of(casts[0].type), (casts[1],))
    flat = whole_input(pooled.positions * sizes[0])
    dense = multiply(
        rng,
        "dense",
        flat,
        Number.of(casts[1].type),
        sizes[1],
        casts[2],
        weight=number(),
        bias=number(),
        p=p,
    )
    checked(row(source, conv, pool, dense), tmp_path, 5)


# ---------------------------------------------------------------- when somebody waits


@needs_iverilog
@pytest.mark.parametrize("stall", [10, 50, 90])
def test_stalls_change_no_output(stall: int, tmp_path: Path) -> None:
    found = checked(cnn(), tmp_path, 3, stall=stall)
    assert found.latency > cnn().latency


@needs_iverilog
def test_many_inputs_back_to_back_keep_one_interval(tmp_path: Path) -> None:
    design = mlp(3)
    found = checked(design, tmp_path, 40)
    assert set(np.diff(found.last)[2:].tolist()) == {design.interval}
    assert design.interval < design.latency


@needs_iverilog
def test_one_input_has_no_interval(tmp_path: Path) -> None:
    design = mlp()
    assert simulate(design, inputs_for(design, 1), tmp_path).interval is None


# ---------------------------------------------------------------- faults


@needs_iverilog
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_flipped_weight_bit_is_seen(place: int, tmp_path: Path) -> None:
    design = mlp()
    stage = design.stages[place]
    assert isinstance(stage, Multiply)
    weights = stage.weights.copy()
    weights[0, 0, 0, 0] ^= 2
    broken = replace(design, stages=tuple(
        replace(stage, weights=weights) if i == place else s for i, s in enumerate(design.stages)
    ))  # fmt: skip
    x = inputs_for(design, 30)
    found = simulate(broken, x, tmp_path).outputs
    assert np.any(found != expected(design, x))


@needs_iverilog
@pytest.mark.parametrize("wrong", ["TRN", "RND", "TRN_ZERO"])
def test_one_wrong_rounding_mode_is_seen(wrong: str, tmp_path: Path) -> None:
    rng, right = np.random.default_rng(8), FixedType(12, 8, True, "RND_CONV", "SAT")
    hidden = multiply(rng, "a", whole_input(7), Number.of(INPUT), 9, Cast(right))
    last = multiply(rng, "b", whole_input(9), Number.of(right), 3)
    design = row(INPUT, hidden, last)
    broken = row(INPUT, replace(hidden, casts=(Cast(replace(right, rounding=wrong)),)), last)
    x = inputs_for(design, 60)
    assert np.any(simulate(broken, x, tmp_path).outputs != expected(design, x))


@needs_iverilog
def test_undefined_outputs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are not all there are x in simulation."""
    write = simulation.write

    def shortened(design: Design, folder: Path) -> list[Path]:
        files = write(design, folder)
        path = next(folder.glob("stage0*_weights.hex"))
        path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
        return files

    monkeypatch.setattr(simulation, "write", shortened)
    with pytest.raises(StepError, match="undefined"):
        simulate(mlp(), inputs_for(mlp(), 2), tmp_path)


@needs_iverilog
def test_design_that_stops_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = simulation.write

    def stopped(design: Design, folder: Path) -> list[Path]:
        files = write(design, folder)
        path = next(folder.glob("stage1*.v"))
        path.write_text(path.read_text().replace("state == EMIT;", "1'b0;"))
        return files

    monkeypatch.setattr(simulation, "write", stopped)
    with pytest.raises(StepError, match=r"gave 0 of 6 outputs"):
        simulate(mlp(), inputs_for(mlp(), 2), tmp_path)


@needs_iverilog
def test_verilog_that_does_not_compile_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = simulation.write

    def damaged(design: Design, folder: Path) -> list[Path]:
        files = write(design, folder)
        files[0].write_text("module network (; endmodule\n")
        return files

    monkeypatch.setattr(simulation, "write", damaged)
    with pytest.raises(StepError, match=r"iverilog failed \(code \d+\): network\.v:1"):
        simulate(mlp(), inputs_for(mlp(), 2), tmp_path, simulator="iverilog")


@needs_iverilog
def test_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulators, "RUN_LIMIT", 0.2)
    with pytest.raises(StepError, match=r"vvp did not finish within"):
        simulate(cnn(1), inputs_for(cnn(1), 3000), tmp_path, simulator="iverilog")


@pytest.mark.parametrize(
    "does, told",
    [
        ("kill -SEGV $$", r"iverilog was ended by signal 11 \(out of memory\?\)"),
        ("echo 'some error: no' >&2; exit 3", r"iverilog failed \(code 3\): some error: no"),
        ("exit 3", r"iverilog failed \(code 3\): no message"),
    ],
)
def test_a_simulator_that_crashes_is_told(
    does: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "iverilog"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    icarus = simulators.Simulator("iverilog", "11.0", 0.5, 0.0004, 10.0, 4.0)
    with pytest.raises(StepError, match=told):
        icarus.run(["network.v"], tmp_path)
    program.write_text("")  # no program
    with pytest.raises(StepError, match="iverilog cannot be started"):
        icarus.run(["network.v"], tmp_path)


def test_without_icarus_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="apt-get install iverilog"):
        simulate(mlp(), inputs_for(mlp(), 1), tmp_path)


@needs_iverilog
def test_stages_can_be_traced(tmp_path: Path) -> None:
    design = cnn()
    x = inputs_for(design, 3)
    found = simulate(design, x, tmp_path, trace=True)
    assert [values.shape for values in found.stages] == [(3, 120), (3, 30), (3, 4)]
    for place, values in enumerate(found.stages):
        part = row(INPUT, *design.stages[: place + 1])
        np.testing.assert_array_equal(values, expected(part, x))


@needs_iverilog
@pytest.mark.parametrize("wrong", [0, 1, 7])
def test_test_bench_checks_by_itself(wrong: int, tmp_path: Path) -> None:
    """As somebody would run it who has the files only."""
    design = mlp()
    x = inputs_for(design, 4)
    wanted = expected(design, x)
    wanted.ravel()[:wrong] += 2.0**-design.output.fraction
    simulate(design, x, tmp_path, expected=wanted, simulator="iverilog")
    sources = sorted(path.name for path in tmp_path.glob("*.v"))
    subprocess.run(["iverilog", "-g2005", "-o", "simulation", *sources], cwd=tmp_path, check=True, timeout=60)
    done = subprocess.run(
        ["vvp", "-n", "simulation"], cwd=tmp_path, check=True, timeout=60, capture_output=True, text=True
    )
    assert f"{'FAIL' if wrong else 'PASS'}: {wrong} of 12 outputs differ" in done.stdout


@pytest.mark.skipif(shutil.which("verilator") is None, reason="needs verilator")
def test_verilator_says_the_same(tmp_path: Path) -> None:
    design = cnn()
    x = inputs_for(design, 3)
    found = simulate(design, x, tmp_path, simulator="verilator", expected=expected(design, x), trace=True)
    np.testing.assert_array_equal(found.outputs, expected(design, x))
    assert (found.latency, found.interval) == (design.latency, design.interval)
    assert found.simulator[0] == "verilator" and not (tmp_path / "obj").exists()


def test_the_faster_simulator_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    icarus = simulators.Simulator("iverilog", "11.0", 0.5, 0.0004, 10.0, 4.0)
    verilator = simulators.Simulator("verilator", "5.006", 15.0, 0.008, 1.0, 0.05)
    monkeypatch.setattr(simulators, "available", lambda: (icarus, verilator))
    assert simulators.choose(1_000, 16) == icarus and simulators.choose(1_000_000, 16) == verilator
    assert simulators.choose(1_000_000, 16, "iverilog") == icarus
    monkeypatch.setattr(simulators, "available", lambda: (icarus,))
    assert simulators.choose(10**9, 16) == icarus
    with pytest.raises(Unavailable):
        simulators.choose(1, 1, "verilator")
