"""Sums of two branches in RTL: against integers in NumPy and hls4ml, cycles, stalls, faults."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import StepError, Unavailable
from targets.fpga.fixed import FixedPoint, FixedType, LayerTypes
from targets.fpga.rtl import simulate as simulation
from targets.fpga.rtl.network import design as design_of
from targets.fpga.rtl.parallel import parallel
from targets.fpga.rtl.simulate import Simulation, simulate
from targets.fpga.rtl.stages import Add, Cast, Design, MaxPool, Number
from targets.fpga.rtl.verilog import write
from tests.rtl import INPUT, expected, inputs_for, multiply, result_of, row, whole_input, window
from tests.tiny import not_optimised

pytestmark = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog")
UNSIGNED = FixedType(6, 3, False, "RND_CONV", "SAT")
SIGNED = FixedType(7, 2, True, "TRN", "WRAP")
RELU, PLAIN = Cast(UNSIGNED, relu=True), Cast(SIGNED)


def checked(design: Design, folder: Path, n: int = 5, *, stall: int = 0) -> Simulation:
    x = inputs_for(design, n)
    found = simulate(design, x, folder, stall=stall)
    np.testing.assert_array_equal(found.outputs, expected(design, x))
    if not stall:
        assert (found.last - found.first[0]).tolist() == design.ends(n)
    return found


def dense(
    name: str, source: Number, inputs: int, outputs: int, *casts: Cast, seed: int = 1, p: int = 2
) -> Any:
    return multiply(np.random.default_rng(seed), name, whole_input(inputs), source, outputs, *casts, p=p)


def mlp(*casts: Cast, p: int = 2) -> Design:
    """dense_0 goes to dense_1 and past it; types, signs and points of the two branches differ."""
    first = dense("dense_0", Number.of(INPUT), 4, 5, RELU, p=p)
    second = dense("dense_1", Number.of(UNSIGNED), 5, 5, PLAIN, seed=2, p=p)
    total = Add("sum", 5, (Number.of(UNSIGNED), Number.of(SIGNED)), casts)
    last = dense("dense_2", result_of(total), 5, 3, seed=3, p=p)
    return row(INPUT, first, second, total, last, sources=((0,), (1,), (1, 2), (3,)))


def cnn(p: int = 2) -> Design:
    """Two residual blocks: an identity past two convolutions, and a convolution of its own past one."""
    rng, signed, unsigned = np.random.default_rng(5), Number.of(SIGNED), Number.of(UNSIGNED)
    same = window((4, 5, 3), (3, 3), same=True)
    halved = window((4, 5, 3), (3, 3), (2, 2), same=True)
    first = multiply(rng, "a", window((4, 5, 2), (3, 3), same=True), Number.of(INPUT), 3, RELU, p=p)
    inner = multiply(rng, "b", same, unsigned, 3, RELU, p=p)
    outer = multiply(rng, "c", same, unsigned, 3, PLAIN, p=p)
    one = Add("sum_1", 60, (signed, unsigned), (PLAIN, RELU))
    strided = multiply(rng, "d", halved, unsigned, 4, PLAIN, p=p)
    kept = multiply(rng, "e", window((4, 5, 3), (1, 1), (2, 2)), unsigned, 4, RELU, p=p)
    other = Add("sum_2", 24, (signed, unsigned), (Cast(FixedType(8, 3, True, "RND", "SAT")),))
    pool = MaxPool("pool", window((2, 3, 4), (2, 2), (2, 2)), result_of(other))
    stages = (first, inner, outer, one, strided, kept, other, pool)
    return row(INPUT, *stages, sources=((0,), (1,), (2,), (3, 1), (4,), (4,), (5, 6), (7,)))


# ---------------------------------------------------------------- what it gives


@pytest.mark.parametrize("p", [1, 2, 9])
def test_dense_residual(p: int, tmp_path: Path) -> None:
    checked(mlp(p=p), tmp_path)


@pytest.mark.parametrize("p", [1, 4])
def test_convolutional_residual_blocks(p: int, tmp_path: Path) -> None:
    checked(cnn(p), tmp_path, 3)


@pytest.mark.parametrize("rounding", ["TRN", "TRN_ZERO", "RND", "RND_CONV"])
@pytest.mark.parametrize("overflow", ["WRAP", "SAT"])
@pytest.mark.parametrize("signed", [True, False])
def test_sums_are_cast(rounding: str, overflow: str, signed: bool, tmp_path: Path) -> None:
    """To a type with fewer bits on both sides of the point, so that all of it is seen."""
    cast = Cast(FixedType(4, 1, signed, rounding, overflow))
    design = mlp(cast)
    x = inputs_for(design, 40)
    sums = simulate(design, x, tmp_path, trace=True).stages[2]
    free = row(design.input, *mlp().stages[:3], sources=design.sources[:3])
    exact = expected(free, x)
    assert np.any(exact > cast.type.high) and np.any(exact < cast.type.low)
    np.testing.assert_array_equal(sums, expected(replace(free, stages=design.stages[:3]), x))


def test_the_input_past_a_layer_and_casts_alone(tmp_path: Path) -> None:
    """x + max(0, W x), where the network's input goes both ways, and a rectified copy of a shared wire."""
    first = dense("dense_0", Number.of(INPUT), 4, 4, PLAIN)
    shared = Add("relu", 4, (Number.of(SIGNED),), (RELU,))
    last = Add("sum", 4, (Number.of(INPUT), Number.of(UNSIGNED)))
    both = Add("both", 4, (result_of(last), Number.of(SIGNED)))
    design = row(INPUT, first, shared, last, both, sources=((0,), (1,), (0, 2), (3, 1)))
    checked(design, tmp_path, 6)


@pytest.mark.parametrize("seed", range(10))
def test_random_graphs(seed: int, tmp_path: Path) -> None:
    """Layers and sums of whatever came before, as deep and crossed as it comes."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 5))
    stages: list[Any] = []
    sources: list[tuple[int, ...]] = []
    wires, open_ends = [Number.of(INPUT)], {0}

    def made(stage: Any, *taken: int) -> None:
        stages.append(stage)
        sources.append(taken)
        wires.append(result_of(stage))
        open_ends.difference_update(taken)
        open_ends.add(len(stages))

    def total(*taken: int) -> None:
        cast = Cast(FixedType(int(rng.integers(3, 9)), 3, bool(rng.integers(2)), "RND_CONV", "SAT"))
        made(Add(f"s{len(stages)}", size, tuple(wires[wire] for wire in taken), (cast,)), *taken)

    for place in range(6):
        one, other = (int(wire) for wire in rng.integers(0, len(wires), 2))
        if rng.integers(3) and one != other:
            total(one, other)
        else:
            casts = (RELU, PLAIN)[int(rng.integers(2))]
            made(
                dense(f"d{place}", wires[one], size, size, casts, seed=place, p=int(rng.integers(1, 5))), one
            )
    while len(open_ends) > 1:
        total(*sorted(open_ends)[:2])
    checked(row(INPUT, *stages, sources=tuple(sources)), tmp_path, 9)


@pytest.mark.parametrize("stall", [20, 60, 90])
def test_stalls_change_no_output_and_lock_nothing(stall: int, tmp_path: Path) -> None:
    for name, design in (("mlp", mlp()), ("cnn", cnn())):
        (tmp_path / name).mkdir()
        assert checked(design, tmp_path / name, 4, stall=stall).latency > design.latency


@pytest.mark.skipif(shutil.which("verilator") is None, reason="needs verilator")
def test_verilator_says_the_same(tmp_path: Path) -> None:
    design = cnn()
    x = inputs_for(design, 4)
    found = simulate(design, x, tmp_path, simulator="verilator")
    np.testing.assert_array_equal(found.outputs, expected(design, x))
    assert (found.last - found.first[0]).tolist() == design.ends(4)


@pytest.mark.parametrize("cutoff", [1, 4])
def test_parallel_adds_branches_too(cutoff: int, tmp_path: Path) -> None:
    pytest.importorskip("da4ml")
    design = mlp(Cast(FixedType(5, 3, True, "RND_CONV", "SAT")), RELU)
    x = inputs_for(design, 40)
    made = parallel(design, cutoff)
    found = simulate(made, x, tmp_path)
    np.testing.assert_array_equal(found.outputs, expected(design, x))
    assert (found.latency, found.interval) == (made.latency, 1)


def test_operands_wait_in_memory_and_not_in_flip_flops(tmp_path: Path) -> None:
    """Two tensors of 512 elements of 7 bits, and what the stage needs beside them."""
    pytest.importorskip("pyosys")
    from targets.fpga.rtl.synthesis import synthesize

    total = Add("sum", 512, (Number.of(SIGNED), Number.of(SIGNED)), (PLAIN,))
    write(row(SIGNED, total, sources=((0, 0),)), tmp_path)
    (tmp_path / "out").mkdir()
    used = synthesize(tmp_path, tmp_path / "out", "pynq-z2", seconds=120.0, memory_bytes=8e9).used
    assert used["ff"] < 80 and used["dsp"] == 0
    assert used["bram18"] == 2 or 200 < used["lut"] < 500  # block RAM, or look-up tables as memory


# ---------------------------------------------------------------- cycles, as docs/rtl.md has them


def test_cycles_by_hand(tmp_path: Path) -> None:
    """4 inputs; dense_0: groups of 2, 2, 1 outputs of 4 taps; dense_1: the same of 5 taps; 5 sums."""
    first, second, total = (4 + 3 + 2) + (4 + 3 + 2) + (4 + 3 + 1), 10 + 10 + 9, 5 + 2
    last = (5 + 3 + 2) + (5 + 3 + 1)
    design = mlp()
    assert [stage.cycles for stage in design.stages] == [first, second, total, last]
    assert design.latency == 3 + first + second + total + last == 84
    # dense_0 gives its first output of the next input when the sum has been given that waits for it.
    assert design.interval == first - (4 + 3) + second + total == 55
    found = checked(design, tmp_path, 12)
    assert (found.latency, found.interval) == (84, 55)


def test_a_row_is_as_fast_as_its_slowest_two_neighbours() -> None:
    """The formula of the docs for stages in a row."""
    stages = (
        dense("a", Number.of(INPUT), 4, 7, RELU),
        dense("b", Number.of(UNSIGNED), 7, 9, RELU),
        dense("c", Number.of(UNSIGNED), 9, 2, RELU),
    )
    design = row(INPUT, *stages)
    pairs = [a.cycles - a.taps - 3 + b.cycles for a, b in pairwise(stages)]
    assert design.interval == max(4 + stages[0].cycles, *pairs)
    assert design.latency == 3 + sum(stage.cycles for stage in stages)
    assert design.ends(3) == [design.latency + place * design.interval for place in range(3)]


# ---------------------------------------------------------------- faults


def damaged(monkeypatch: pytest.MonkeyPatch, module: str, old: str, new: str) -> None:
    """Change the Verilog of one module."""
    write = simulation.write

    def changed(design: Design, folder: Path) -> list[Path]:
        files = write(design, folder)
        path = next(folder.glob(f"{module}.v"))
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        return files

    monkeypatch.setattr(simulation, "write", changed)


@pytest.mark.parametrize(
    "module, old, new",
    [
        # The memory takes itself for complete one word early: the last word is dropped.
        ("stage2_sum", "full0 <= loaded0 == 4;", "full0 <= loaded0 == 3;"),
        # One branch is late by one word.
        ("stage2_sum", "x1 <= memory1[place]", "x1 <= memory1[place == 0 ? 4 : place - 1]"),
        # dense_1 does not wait for the branch past it.
        ("network", "valid1_1_0 = valid1 && ready1_2_0", "valid1_1_0 = valid1"),
        # The sum is not held while nobody takes it.
        ("stage2_sum", "wire move = out_ready || !sum_valid,", "wire move = 1'b1,"),
    ],
)
def test_a_lost_word_is_seen(
    module: str, old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged(monkeypatch, module, old, new)
    design = row(INPUT, *mlp().stages[:3], sources=mlp().sources[:3])
    x = inputs_for(design, 12)
    try:
        outputs = simulate(design, x, tmp_path, stall=40).outputs
    except StepError:  # it stops, or gives what is undefined
        return
    assert np.any(outputs != expected(design, x))


def test_a_word_that_is_not_kept_is_undefined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged(
        monkeypatch, "stage2_sum", "if (in0_valid && in0_ready)\n    memory0", "if (loaded0 != 1) memory0"
    )
    with pytest.raises(StepError, match="undefined"):
        simulate(mlp(), inputs_for(mlp(), 2), tmp_path)


@pytest.mark.parametrize("wrong", ["TRN", "TRN_ZERO", "RND"])
def test_a_wrong_rounding_of_the_sum_is_seen(wrong: str, tmp_path: Path) -> None:
    right = FixedType(6, 4, True, "RND_CONV", "SAT")
    design, broken = mlp(Cast(right)), mlp(Cast(replace(right, rounding=wrong)))
    x = inputs_for(design, 60)
    assert np.any(simulate(broken, x, tmp_path).outputs != expected(design, x))


# ---------------------------------------------------------------- against hls4ml

RND = FixedType(8, 3, True, "RND", "SAT")


def conv_network(keras: Any) -> Any:
    """An identity past two convolutions; then an identity past one, behind pooling."""
    layers = keras.layers
    given = layers.Input((6, 5, 2), name="network_input")
    first = layers.Conv2D(3, 3, padding="same", name="a")(given)
    kept = layers.Activation("relu", name="a_relu")(first)
    x = layers.Activation("relu", name="b_relu")(layers.Conv2D(3, 3, padding="same", name="b")(kept))
    x = layers.Add(name="sum_1")([layers.Conv2D(3, 2, padding="same", name="c")(x), kept])
    x = layers.Activation("relu", name="sum_1_relu")(x)
    pooled = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Add(name="sum_2")([pooled, layers.Conv2D(3, 1, name="d")(pooled)])
    x = layers.Dense(3, name="logits")(layers.Flatten(name="flatten")(x))
    return keras.Model(given, x)


def dense_network(keras: Any) -> Any:
    """The branches begin before an activation function: it is a stage of its own."""
    layers = keras.layers
    given = layers.Input((7,), name="network_input")
    first = layers.Dense(6, name="a")(given)
    x = layers.Dense(6, name="b")(layers.Activation("relu", name="a_relu")(first))
    x = layers.Add(name="sum_1")([first, x])
    x = layers.Add(name="sum_2")([x, layers.Activation("relu", name="sum_1_relu")(x)])
    return keras.Model(given, layers.Dense(3, name="logits")(x))


def types_of(network: Any, sums: dict[str, FixedType | None]) -> FixedPoint:
    """Types that differ from layer to layer; weights drawn from all of theirs."""
    rng, layers = np.random.default_rng(6), {}
    for place, layer in enumerate(network.layers):
        weight, bias = FixedType(5 + place % 3, 1), FixedType(7, 1 + place % 2)
        if layer.get_weights():
            kernel, offset = (array.shape for array in layer.get_weights())
            drawn = [
                rng.integers(t.low / t.step, t.high / t.step, shape, endpoint=True) * t.step
                for t, shape in ((weight, kernel), (bias, offset))
            ]
            layer.set_weights(drawn)
            result = FixedType(9 + place % 4, 3 + place % 2, True, "RND", "WRAP" if place % 2 else "SAT")
            layers[layer.name] = LayerTypes(weight, bias, result)
        elif layer.name.endswith("_relu"):
            layers[layer.name] = LayerTypes(result=FixedType(5 + place % 3, 2, False, "RND_CONV", "SAT"))
        else:
            layers[layer.name] = LayerTypes(result=sums.get(layer.name))
    return FixedPoint("post_training", FixedType(8, 2, True, "RND", "SAT"), layers)


@pytest.mark.tf
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize(
    "build, io_type, sums",
    [
        (conv_network, "io_stream", {"sum_1": FixedType(7, 3, True, "RND_CONV", "SAT"), "sum_2": None}),
        (conv_network, "io_stream", {"sum_1": None, "sum_2": FixedType(6, 4, False, "TRN", "WRAP")}),
        (dense_network, "io_parallel", {"sum_1": RND, "sum_2": FixedType(5, 3, True, "TRN", "SAT")}),
        (dense_network, "io_stream", {"sum_1": None, "sum_2": None}),
    ],
)
def test_sums_are_those_of_hls4ml(
    build: Callable[[Any], Any], io_type: str, sums: dict[str, FixedType | None], tmp_path: Path
) -> None:
    from bench.formats.keras_env import load
    from targets.fpga.hls.convert import Conversion, convert
    from targets.fpga.hls.simulator import Simulator, compile_project

    network = build(load().keras)
    types = types_of(network, sums)
    convert(network, types, Conversion(io_type=io_type), tmp_path / "project")
    (tmp_path / "csim").mkdir()
    with not_optimised():
        compile_project(tmp_path / "project", tmp_path / "csim")
    x = np.random.default_rng(3).normal(size=(40, *network.input_shape[1:])).astype(np.float32)
    wanted = Simulator.open(tmp_path / "csim").run(x)
    made = design_of(network, types, 3)
    (tmp_path / "verilog").mkdir()
    found = simulate(made, x, tmp_path / "verilog")
    np.testing.assert_array_equal(found.outputs, wanted)
    assert len(np.unique(wanted)) > 20
    assert (found.last - found.first[0]).tolist() == made.ends(40)


@pytest.mark.tf
def test_what_no_stage_does_is_refused() -> None:
    from bench.formats.keras_env import load

    keras = load().keras
    given = keras.layers.Input((4,), name="network_input")
    x = keras.layers.Dense(1, name="a")(given)
    network = keras.Model(given, keras.layers.Add(name="sum")([given, x]))
    with pytest.raises(Unavailable, match="'sum' adds tensors of different shapes"):
        design_of(network, types_of(network, {}))
    network = keras.Model(given, keras.layers.Maximum(name="most")([given, keras.layers.Dense(4)(given)]))
    with pytest.raises(Unavailable, match=r"'most' \(Maximum\) is not known"):
        design_of(network, types_of(network, {}))
