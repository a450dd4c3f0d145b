"""Cycle-by-cycle simulation of a design: outputs, latency and interval as observed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.errors import StepError
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


def simulate(
    design: Design,
    x: np.ndarray,
    folder: Path,
    *,
    stall: int = 0,
    expected: np.ndarray | None = None,
    trace: bool = False,
    simulator: str | None = None,
) -> Simulation:
    """Run the design on inputs x (n, *shape) in the empty folder `folder`; its files stay there.

    Args:
        stall: percent of cycles in which the test bench withholds an input, or refuses an output.
        expected: outputs (n, outputs) that the test bench then holds the design's against by itself.
        trace: keep the outputs of each stage, too.
        simulator: `iverilog` or `verilator`; None: the one that is done first.

    Raises:
        Unavailable: no simulator is installed.
        StepError: it does not compile, or does not give all outputs.
    """
    chosen = choose(design.cycles(len(x)) * (1 + stall // 10), design.lanes, simulator)
    files = write(design, folder)
    _hex(folder / "inputs.hex", input_codes(design, x), Number.of(design.input))
    if expected is not None:
        codes = np.rint(expected * 2.0**design.output.fraction).astype(np.int64)
        _hex(folder / "expected.hex", codes, design.output)
    (folder / BENCH).write_text(_bench(design, len(x), stall, expected is not None, trace))
    said = chosen.run([BENCH, *(file.name for file in files)], folder)
    return _read(design, len(x), said, (chosen.name, chosen.version))


def _hex(path: Path, codes: np.ndarray, number: Number) -> None:
    mask = (1 << number.bits) - 1
    path.write_text("".join(f"{int(code) & mask:x}\n" for code in codes.ravel()))


def input_codes(design: Design, x: np.ndarray) -> np.ndarray:
    """Codes (n, inputs) of float inputs, rounded as the design's input type says."""
    flat = np.asarray(x, np.float64).reshape(len(x), design.inputs)
    return np.rint(design.input.quantize(flat) / design.input.step).astype(np.int64)


def _bench(design: Design, n: int, stall: int, check: bool, trace: bool) -> str:
    wires = list(numbers(design))
    first, last = wires[0], wires[-1]
    ins, outs = n * design.inputs, n * design.outputs
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
        for index in range(1, len(wires)):
            lines += [
                f"  always @(posedge clk) if (!rst && dut.valid{index} && dut.ready{index})",
                f'    $display("stage {index - 1} %h", dut.data{index});',
            ]
    lines += [
        "  always @(posedge clk) if (!rst) begin",
        "    cycle <= cycle + 1;",
        "    if (in_valid && in_ready) begin",
        f'      if (taken % {design.inputs} == 0) $display("first %0d", cycle);',
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


def _read(design: Design, n: int, said: str, simulator: tuple[str, str]) -> Simulation:
    wires = list(numbers(design))
    cycles: list[int] = []
    first: list[int] = []
    codes: list[list[int]] = [[] for _ in wires]
    for line in said.splitlines():
        word, *rest = line.split() or [""]
        if word == "first":
            first.append(int(rest[0]))
        elif word == "out":
            cycles.append(int(rest[0]))
            codes[0].append(_code(rest[1], wires[-1], f"output {len(codes[0])}"))
        elif word == "stage":
            place = int(rest[0]) + 1
            codes[place].append(_code(rest[1], wires[place], f"stage {rest[0]}"))
    if len(codes[0]) != n * design.outputs or len(first) != n:
        raise StepError(f"the simulation gave {len(codes[0])} of {n * design.outputs} outputs")
    outputs, *stages = (
        np.array(found, np.float64).reshape(n, -1) * 2.0**-number.fraction
        for found, number in zip(codes, (wires[-1], *wires[1:]), strict=True)
    )
    ends = np.array(cycles).reshape(n, design.outputs)[:, -1]
    return Simulation(outputs, np.array(first), ends, simulator, stages if codes[1] else [])


def _code(digits: str, number: Number, where: str) -> int:
    if set(digits) & set("xXzZ"):
        raise StepError("an output is undefined (x) in simulation", where=where)
    code = int(digits, 16)
    return code - (1 << number.bits) if number.signed and code >> (number.bits - 1) else code
