"""Pieces of Verilog that the stages of style sequential have in common."""

from __future__ import annotations

from collections.abc import Sequence

from targets.fpga.rtl.cast import cast_lines
from targets.fpga.rtl.stages import MaxPool, Multiply, Number, Stage, Window


def counter_bits(count: int) -> int:
    """Width of a counter from 0 to count - 1."""
    return max(1, (count - 1).bit_length())


def head(name: str, source: Number, result: Number, about: str) -> list[str]:
    return [
        f"// {about}",
        f"module {name} (",
        "  input wire clk, input wire rst,",
        f"  input wire in_valid, output wire in_ready, input wire [{source.bits - 1}:0] in_data,",
        f"  output wire out_valid, input wire out_ready, output wire [{result.bits - 1}:0] out_data",
        ");",
        "  localparam LOAD = 2'd0, RUN = 2'd1, WAIT = 2'd2, EMIT = 2'd3;",
        "  reg [1:0] state;",
        "  assign in_ready = state == LOAD;",
        "  assign out_valid = state == EMIT;",
    ]


def cast_wires(stage: Stage, source: str, number: Number) -> tuple[list[str], str]:
    lines: list[str] = []
    for place, cast in enumerate(stage.casts):
        lines += ["  " + line for line in cast_lines(source, number, cast, f"c{place}")]
        source, number = f"c{place}", Number.of(cast.type)
    return lines, source


def signed(name: str, number: Number) -> str:
    return f"$signed({name})" if number.signed else f"$signed({{1'b0, {name}}})"


def memory(stage: Multiply | MaxPool, window: Window) -> list[str]:
    """The input memory, its load counter, and the read port with zeros outside the image."""
    source, size = stage.input, window.inputs
    return [
        f"  reg [{source.bits - 1}:0] memory [0:{size - 1}];",
        f"  reg [{counter_bits(size) - 1}:0] loaded;",
        "  always @(posedge clk) if (in_valid && in_ready) memory[loaded] <= in_data;",
    ]


def walk(window: Window, channel: str) -> list[str]:
    """Wires `address` and `covered` of the element under the window's tap."""
    dense = window.kernel == (1, 1) and window.positions == 1 and (window.height, window.width) == (1, 1)
    width = counter_bits(window.inputs)
    if dense:
        return [f"  wire [{width - 1}:0] address = {channel};", "  wire covered = 1'b1;"]
    (ph, pw), (sh, sw) = window.pad, window.stride
    return [
        f"  wire signed [31:0] y = $signed({{1'b0, row}}) * {sh} + $signed({{1'b0, tap_row}}) - {ph};",
        f"  wire signed [31:0] z = $signed({{1'b0, column}}) * {sw} + $signed({{1'b0, tap_column}}) - {pw};",
        f"  wire covered = y >= 0 && y < {window.height} && z >= 0 && z < {window.width};",
        f"  wire [31:0] place = (y * {window.width} + z) * {window.channels} + {channel};",
        f"  wire [{width - 1}:0] address = place[{width - 1}:0];",
    ]


def counters(*names_and_counts: tuple[str, int]) -> list[str]:
    return [f"  reg [{counter_bits(count) - 1}:0] {name};" for name, count in names_and_counts]


def advance(nested: Sequence[tuple[str, int]], indent: str) -> list[str]:
    """Count like an odometer, the first name fastest."""
    lines, depth = [], 0
    for name, count in nested:
        lines.append(f"{indent}{'  ' * depth}if ({name} == {count - 1}) begin {name} <= 0;")
        depth += 1
    for back in range(depth - 1, -1, -1):
        name = nested[back][0]
        lines.append(f"{indent}{'  ' * back}end else {name} <= {name} + 1'b1;")
    return lines
