"""The AXI4-Stream wrapper: every word and every TLAST with random stalls, both styles, and with faults."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from bench.errors import StepError, Unavailable
from targets.fpga.fixed import FixedType
from targets.fpga.rtl import simulators
from targets.fpga.rtl.axi_stream import WRAPPER, Stream, run_bench, wrapper, write_bench
from targets.fpga.rtl.parallel import Parallel, parallel
from targets.fpga.rtl.pipeline import write_pipeline
from targets.fpga.rtl.simulate import input_codes
from targets.fpga.rtl.stages import Cast, Design, Number
from targets.fpga.rtl.verilog import TOP, write
from tests.rtl import INPUT, expected, inputs_for, multiply, row, whole_input
from tests.unit.test_rtl_branches import mlp as residual
from tests.unit.test_rtl_networks import cnn, mlp, needs_iverilog

pytestmark = needs_iverilog
needs_da4ml = pytest.mark.skipif(importlib.util.find_spec("da4ml") is None, reason="needs da4ml")
UNSIGNED = FixedType(7, 4, False, "RND", "SAT")


def wide() -> Design:
    """Inputs and outputs as wide as a word."""
    source, result = FixedType(32, 16), FixedType(32, 20, True, "TRN", "WRAP")
    layer = multiply(
        np.random.default_rng(4), "a", whole_input(3), Number.of(source), 2, Cast(result), weight=Number(4, 2)
    )
    return row(source, layer)


def single() -> Design:
    """One element in, one unsigned element out."""
    layer = multiply(
        np.random.default_rng(5), "a", whole_input(1), Number.of(INPUT), 1, Cast(UNSIGNED, relu=True), p=1
    )
    return row(INPUT, layer)


def spreading() -> Design:
    """More outputs than inputs: the core waits for the stream."""
    layer = multiply(np.random.default_rng(6), "a", whole_input(2), Number.of(INPUT), 9)
    return row(INPUT, layer)


DESIGNS = {"mlp": mlp, "cnn": cnn, "wide": wide, "single": single, "spreading": spreading}
DESIGNS["residual"] = residual


def written(
    design: Design,
    folder: Path,
    style: str,
    *,
    n: int = 12,
    stall: int = 30,
    packet: tuple[int, ...] = (1, 3),
) -> Path:
    """Everything in `folder`: the core, the wrapper and its test bench."""
    folder.mkdir(exist_ok=True)
    made: Design | Parallel = parallel(design, 2) if style == "parallel" else design
    write_pipeline(made, folder, TOP) if isinstance(made, Parallel) else write(made, folder)
    stream = Stream.of(made)
    (folder / f"{WRAPPER}.v").write_text(wrapper(stream))
    x = inputs_for(design, n)
    outputs = np.rint(expected(design, x) * 2.0**design.output.fraction).astype(np.int64)
    write_bench(stream, folder, input_codes(design, x), outputs, packet=packet, stall=stall, patience=20_000)
    return folder


def passes(folder: Path, simulator: str = "iverilog") -> str:
    (one,) = [one for one in simulators.available() if one.name == simulator]
    return run_bench(one, folder)


@pytest.mark.parametrize("stall", [0, 30, 85])
@pytest.mark.parametrize("name", DESIGNS)
def test_sequential(name: str, stall: int, tmp_path: Path) -> None:
    folder = written(DESIGNS[name](), tmp_path / "rtl", "sequential", stall=stall)
    assert "PASS: 12 items" in passes(folder)


@needs_da4ml
@pytest.mark.parametrize("stall", [0, 30, 85])
@pytest.mark.parametrize("name", ["mlp", "wide", "single", "spreading", "residual"])
def test_parallel(name: str, stall: int, tmp_path: Path) -> None:
    folder = written(DESIGNS[name](), tmp_path / "rtl", "parallel", n=40, stall=stall, packet=(1, 1, 5, 2))
    assert "PASS: 40 items" in passes(folder)


@needs_da4ml
@pytest.mark.skipif(
    not any(one.name == "verilator" for one in simulators.available()), reason="needs verilator 5"
)
@pytest.mark.parametrize("style", ["sequential", "parallel"])
def test_another_simulator_agrees(style: str, tmp_path: Path) -> None:
    """Its random stalls are others, so that the cycles differ."""
    assert "PASS: 12 items" in passes(written(mlp(), tmp_path / "rtl", style), "verilator")


@needs_da4ml
def test_a_word_a_cycle_goes_through_the_parallel_style(tmp_path: Path) -> None:
    """7 words in for 3 words out: an item every 7 cycles, nobody waiting."""
    folder = written(mlp(), tmp_path / "rtl", "parallel", n=50, stall=0, packet=(50,))
    said = passes(folder)
    cycles = int(said.split(",")[-1].split()[0]) - 201  # the bench looks 200 cycles longer for more words
    latency = parallel(mlp(), 2).latency
    assert 50 * 7 <= cycles <= 50 * 7 + latency + 3 + 4


def test_more_items_than_there_are_places_for_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("targets.fpga.rtl.axi_stream.ITEMS", 2)
    folder = written(mlp(), tmp_path / "rtl", "sequential", stall=10)
    assert "reg ends [0:1]" in (folder / f"{WRAPPER}.v").read_text()
    assert "PASS" in passes(folder)


def test_tlast_inside_an_item_is_not_looked_at(tmp_path: Path) -> None:
    folder = written(mlp(), tmp_path / "rtl", "sequential")
    path = folder / "test_bench.v"
    text, right = path.read_text(), "s_valid ? s_end : 1'bx"
    assert text.count(right) == 1
    path.write_text(text.replace(right, "s_valid ? s_end || taken % 7 == 2 : 1'bx"))
    assert "PASS" in passes(folder)


@pytest.mark.parametrize("style", ["sequential", pytest.param("parallel", marks=needs_da4ml)])
def test_a_reset_forgets_what_had_begun(style: str, tmp_path: Path) -> None:
    """Five words of an item of seven, and items that are inside; then everything from the beginning."""
    folder = written(mlp(), tmp_path / "rtl", style)
    path = folder / "test_bench.v"
    text, right = path.read_text(), "#1 aresetn = 1;"
    assert text.count(right) == 1
    again = """wait (taken == 19) @(posedge aclk);
    #2 aresetn = 0; s_valid = 0; taken = 0; given = 0; packets = 0; waits = 0;
    repeat (3) @(posedge aclk);
    #1 aresetn = 1;"""
    path.write_text(text.replace(right, f"{right}\n    {again}"))
    assert "PASS" in passes(folder)


# ---------------------------------------------------------------- faults

FAULTS = {
    "no back-pressure": ("out_ready = m_axis_tready", "out_ready = 1'b1", "withdrawn|value"),
    "inputs never wait": ("s_axis_tready = in_ready && room", "s_axis_tready = room", "value|stuck"),
    "TLAST on every item": ("last && ends[", "last && 1'b1 || ends[", "TLAST"),
    "TLAST of the item after": ("ends[tail[", "ends[1 + tail[", "TLAST"),
    "no TLAST": ("m_axis_tlast = last && ends", "m_axis_tlast = 1'b0 && ends", "TLAST"),
    "TLAST at the first word": ("last = given == 2", "last = given == 0", "TLAST"),
    "not sign-extended": ("{8{out_data[23]}}", "{8{1'b0}}", "value"),
    "some bytes are none": ("m_axis_tkeep = 4'b1111", "m_axis_tkeep = 4'b0111", "TKEEP"),
}


FAULTS_TOGETHER = {
    "inputs never wait": ("room && (!full || in_ready)", "room"),
    "outputs never wait": ("out_ready = left == 0 || (left == 1 && m_axis_tready)", "out_ready = 1'b1"),
    "an item twice": ("else if (in_ready) full <= 1'b0", "else if (!in_ready) full <= 1'b0"),
    "an element too few": ("left <= 9", "left <= 8"),
    "elements mixed up": ("gathered} >> 8", "gathered} >> 9"),
    "a word twice": ("else if (give) spread <= spread >>", "else if (give) spread <= spread <<"),
}


@needs_da4ml
@pytest.mark.parametrize("fault", FAULTS_TOGETHER)
def test_a_fault_of_the_parallel_wrapper_is_found(fault: str, tmp_path: Path) -> None:
    right, wrong = FAULTS_TOGETHER[fault]
    folder = written(spreading(), tmp_path / "rtl", "parallel", n=20, stall=50)
    path = folder / f"{WRAPPER}.v"
    text = path.read_text()
    assert text.count(right) == 1, text
    path.write_text(text.replace(right, wrong))
    with pytest.raises(StepError, match="does not pass"):
        passes(folder)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_wrapper_is_found(fault: str, tmp_path: Path) -> None:
    right, wrong, reason = FAULTS[fault]
    folder = written(mlp(), tmp_path / "rtl", "sequential", stall=50)
    path = folder / f"{WRAPPER}.v"
    text = path.read_text()
    if fault == "not sign-extended":
        bits = mlp().output.bits
        right, wrong = f"{{{32 - bits}{{out_data[{bits - 1}]}}}}", f"{{{32 - bits}{{1'b0}}}}"
    assert text.count(right) == 1, text
    path.write_text(text.replace(right, wrong))
    with pytest.raises(StepError, match=reason):
        passes(folder)


def test_one_flipped_bit_of_a_weight_is_found(tmp_path: Path) -> None:
    folder = written(mlp(), tmp_path / "rtl", "sequential")
    path = folder / "stage2_c_weights.hex"
    digits = path.read_text()
    path.write_text(f"{int(digits[0], 16) ^ 1:x}{digits[1:]}")
    with pytest.raises(StepError, match=r"FAIL.*another value"):
        passes(folder)


def test_wider_than_a_word_is_refused() -> None:
    for design in (row(FixedType(33, 10), wide().stages[0]), row(INPUT, wide().stages[0])):
        if design.input.bits > 32:
            with pytest.raises(Unavailable, match="33 bits, a word of the stream 32"):
                Stream.of(design)
        else:
            Stream.of(design)
    with pytest.raises(Unavailable, match="the outputs have 40 bits"):
        Stream(INPUT, 1, Number(40, 3), 1, together=False)


def test_the_agent_of_a_board_encodes_the_same_words(tmp_path: Path) -> None:
    """Types and layout as the board's agent writes and reads them: int32, the port's own type."""
    from targets.pynq.agent.codec import Codec

    design = mlp()
    folder, x = written(design, tmp_path / "rtl", "sequential"), inputs_for(design, 12)
    stream = Stream.of(design)
    words = [int(word, 16) for word in (folder / "stream_inputs.hex").read_text().split()]
    sent = Codec("int32", str(stream.input)).encode(x).astype("<i4").view("<u4").ravel()
    assert sent.tolist() == words
    came = np.array([int(word, 16) for word in (folder / "stream_outputs.hex").read_text().split()], "<u4")
    read = Codec("int32", str(stream.output_type)).decode(came.view("<i4")).reshape(12, -1)
    np.testing.assert_array_equal(read, expected(design, x))
