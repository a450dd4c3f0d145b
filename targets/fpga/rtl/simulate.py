"""Cycle-by-cycle simulation of a design: outputs, latency and interval as observed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.errors import StepError
from targets.fpga.rtl.parallel import Parallel, packed
from targets.fpga.rtl.pipeline import write_pipeline
from targets.fpga.rtl.simulators import choose
from targets.fpga.rtl.stages import Design, Number, numbers
from targets.fpga.rtl.verilog import TOP, write

BENCH = "test_bench.v"


@dataclass(frozen=True)
class Simulation:
    """What a simulation showed.

    Attributes:
        outputs: (n, outputs), float64.
        first, last: clock edge at which each input vector's first element was taken, and at which its
            last output was given; (n,), cycles.
        simulator: name and version of the program.
        stages: outputs of each stage (n, size), if they were asked for.
    """

    outputs: np.ndarray
    first: np.ndarray
    last: np.ndarray
    simulator: tuple[str, str]
    stages: list[np.ndarray] = field(default_factory=list)

    @property
    def latency(self) -> int:
        """Cycles from an input's first element to its last output, of the first input."""
        return int(self.last[0] - self.first[0])

    @property
    def interval(self) -> int | None:
        """Cycles between the last outputs of neighbouring inputs, the largest; None with one input."""
        return int(np.diff(self.last).max()) if len(self.last) > 1 else None


@dataclass(frozen=True)
class Port:
    """How one input or output vector goes over a port: `words` one after another, of `elements` codes."""

    number: Number
    elements: int
    words: int

    @property
    def bits(self) -> int:
        return self.number.bits * self.elements


def ports(design: Design | Parallel) -> tuple[Port, Port]:
    """Of a sequential design element after element, of a parallel one everything at once."""
    given, made = Number.of(design.input), design.output
    if isinstance(design, Parallel):
        return Port(given, design.inputs, 1), Port(made, design.outputs, 1)
    return Port(given, 1, design.inputs), Port(made, 1, design.outputs)


def simulate(
    design: Design | Parallel,
    x: np.ndarray,
    folder: Path,
    *,
    stall: int = 0,
    expected: np.ndarray | None = None,
    trace: bool = False,
    simulator: str | None = None,
    limit: float | None = None,
) -> Simulation:
    """Run the design on inputs x (n, *shape) in the empty folder `folder`; its files stay there.

    Args:
        stall: percent of cycles in which the test bench withholds an input, or refuses an output.
        expected: outputs (n, outputs) that the test bench then holds the design's against by itself.
        trace: keep the outputs of each stage of a sequential design, too.
        simulator: `iverilog` or `verilator`; None: the one that is done first.
        limit: seconds that it may run; None: `simulators.RUN_LIMIT`.

    Raises:
        Unavailable: no simulator is installed.
        StepError: it does not compile, or does not give all outputs.
    """
    chosen = choose(design.cycles(len(x)) * (1 + stall // 10), design.lanes, simulator)
    files = write_pipeline(design, folder, TOP) if isinstance(design, Parallel) else write(design, folder)
    given, made = ports(design)
    _hex(folder / "inputs.hex", input_codes(design, x), given)
    if expected is not None:
        codes = np.rint(expected * 2.0**design.output.fraction).astype(np.int64)
        _hex(folder / "expected.hex", codes, made)
    (folder / BENCH).write_text(_bench(design, len(x), stall, expected is not None, trace))
    said = chosen.run([BENCH, *(file.name for file in files)], folder, limit)
    return _read(design, len(x), said, (chosen.name, chosen.version))


def _hex(path: Path, codes: np.ndarray, port: Port) -> None:
    words = packed(codes.reshape(-1, port.elements), port.number.bits)
    path.write_text("\n".join(words) + "\n")


def input_codes(design: Design | Parallel, x: np.ndarray) -> np.ndarray:
    """Codes (n, inputs) of float inputs, rounded as the design's input type says."""
    flat = np.asarray(x, np.float64).reshape(len(x), design.inputs)
    return np.rint(design.input.quantize(flat) / design.input.step).astype(np.int64)


def _bench(design: Design | Parallel, n: int, stall: int, check: bool, trace: bool) -> str:
    first, last = ports(design)
    ins, outs = n * first.words, n * last.words
    limit = (design.latency + 50) * (n + 1) * (1 if not stall else 20)
    go = f"($unsigned($random(seed)) % 100) >= {stall}" if stall else "1'b1"
    lines = [
        "`timescale 1ns/1ps",
        f"// {n} inputs back to back. Prints the cycle of each input's first element, and of each output.",
        "module test_bench;",
        "  reg clk = 0, rst = 1, in_valid = 0, out_ready = 0;",
        f"  reg [{first.bits - 1}:0] inputs [0:{ins - 1}];",
        f"  wire in_ready, out_valid; wire [{last.bits - 1}:0] out_data;",
        "  integer taken = 0, given = 0, cycle = 0, seed = 1;",
        f"  wire [{first.bits - 1}:0] in_data = inputs[taken < {ins} ? taken : 0];",
        f"  {TOP} dut (.clk(clk), .rst(rst), .in_valid(in_valid), .in_ready(in_ready), .in_data(in_data),",
        "    .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data));",
        "  always #5 clk = !clk;",
        "  initial begin",
        '    $readmemh("inputs.hex", inputs);',
        "    repeat (4) @(posedge clk);",
        "    #1 rst = 0; in_valid = 1; out_ready = 1;",
        "  end",
    ]
    if check:
        lines += [
            f"  reg [{last.bits - 1}:0] expected [0:{outs - 1}];",
            '  integer wrong = 0; initial $readmemh("expected.hex", expected);',
            "  always @(posedge clk) if (!rst && out_valid && out_ready) begin",
            "    if (out_data !== expected[given]) wrong = wrong + 1;",
            f'    if (given == {outs - 1}) $display("%s: %0d of {outs} outputs differ", '
            'wrong ? "FAIL" : "PASS", wrong);',
            "  end",
        ]
    if trace:
        assert isinstance(design, Design)
        for index in range(1, len(design.stages) + 1):
            lines += [
                f"  always @(posedge clk) if (!rst && dut.valid{index} && dut.ready{index})",
                f'    $display("stage {index - 1} %h", dut.data{index});',
            ]
    lines += [
        "  always @(posedge clk) if (!rst) begin",
        "    cycle <= cycle + 1;",
        "    if (in_valid && in_ready) begin",
        f'      if (taken % {first.words} == 0) $display("first %0d", cycle);',
        "      taken <= taken + 1;",
        "    end",
        "    if (out_valid && out_ready) begin",
        '      $display("out %0d %h", cycle, out_data);',
        "      given <= given + 1;",
        f"      if (given == {outs - 1}) #2 $finish;",
        "    end",
        f'    if (cycle > {limit}) begin $display("stuck"); $finish; end',
        f"    #1 in_valid = taken < {ins} && ({go}); out_ready = {go};",
        "  end",
        "endmodule",
        "",
    ]
    return "\n".join(lines)


def _read(design: Design | Parallel, n: int, said: str, simulator: tuple[str, str]) -> Simulation:
    made = ports(design)[1]
    wires = list(numbers(design)) if isinstance(design, Design) else []
    cycles: list[int] = []
    first: list[int] = []
    outputs: list[int] = []
    stages: list[list[int]] = [[] for _ in wires[1:]]
    for line in said.splitlines():
        word, *rest = line.split() or [""]
        if word == "first":
            first.append(int(rest[0]))
        elif word == "out":
            cycles.append(int(rest[0]))
            outputs += _codes(rest[1], made, f"output {len(outputs)}")
        elif word == "stage":
            place = int(rest[0])
            stages[place] += _codes(rest[1], Port(wires[place + 1], 1, 1), f"stage {place}")
    if len(outputs) != n * design.outputs or len(first) != n:
        raise StepError(f"the simulation gave {len(outputs)} of {n * design.outputs} outputs")
    ends = np.array(cycles).reshape(n, made.words)[:, -1]
    traced = [_values(codes, wire, n) for codes, wire in zip(stages, wires[1:], strict=True) if codes]
    return Simulation(_values(outputs, made.number, n), np.array(first), ends, simulator, traced)


def _values(codes: list[int], number: Number, n: int) -> np.ndarray:
    return np.array(codes, np.float64).reshape(n, -1) * 2.0**-number.fraction


def _codes(digits: str, port: Port, where: str) -> list[int]:
    """The codes of one word, the lowest first."""
    if set(digits) & set("xXzZ"):
        raise StepError("an output is undefined (x) in simulation", where=where)
    word, number = int(digits, 16), port.number
    found = []
    for place in range(port.elements):
        code = (word >> (place * number.bits)) & ((1 << number.bits) - 1)
        found.append(code - (1 << number.bits) if number.signed and code >> (number.bits - 1) else code)
    return found
