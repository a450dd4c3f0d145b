"""Verilog of the stage that adds its operands, element by element."""

from __future__ import annotations

from targets.fpga.rtl.pieces import cast_wires, counter_bits, signed
from targets.fpga.rtl.stages import Add, result_of


def add(name: str, stage: Add) -> str:
    """A stage with a memory for each operand: the branch that is early waits in its own.

    Both are read when both are complete, an element a cycle, through two registers. A memory takes the next
    input's elements when the last sum has been given.
    """
    count, total, result = stage.elements, stage.raw, result_of(stage)
    width, last = counter_bits(count), count - 1
    operands = list(enumerate(stage.operands))
    lines = [
        f"// {stage.name}: {len(operands)} operands of {count} elements, added",
        f"module {name} (",
        "  input wire clk, input wire rst,",
    ]
    for place, number in operands:
        lines.append(
            f"  input wire in{place}_valid, output wire in{place}_ready, "
            f"input wire [{number.bits - 1}:0] in{place}_data,"
        )
    lines += [
        f"  output wire out_valid, input wire out_ready, output wire [{result.bits - 1}:0] out_data",
        ");",
        f"  reg [{width - 1}:0] place, given; reg reading, x_valid, sum_valid;",
        f"  wire complete = {' && '.join(f'full{place}' for place, _ in operands)};",
        "  // Both registers wait while the sum is not taken.",
        "  wire move = out_ready || !sum_valid, read = complete && reading;",
        "  assign out_valid = sum_valid;",
    ]
    terms = []
    for place, number in operands:
        shift = total.fraction - number.fraction
        terms.append(f"({signed(f'x{place}', number)} <<< {shift})")
        lines += [
            f"  reg [{number.bits - 1}:0] memory{place} [0:{last}], x{place};",
            f"  reg [{width - 1}:0] loaded{place}; reg full{place};",
            f"  assign in{place}_ready = !full{place};",
            f"  always @(posedge clk) if (in{place}_valid && in{place}_ready)",
            f"    memory{place}[loaded{place}] <= in{place}_data;",
            f"  always @(posedge clk) if (move) x{place} <= memory{place}[place];",
        ]
    lines += [
        f"  reg signed [{total.width - 1}:0] sum;",
        f"  always @(posedge clk) if (move) sum <= {' + '.join(terms)};",
    ]
    cast, outcome = cast_wires(stage, "sum", total)
    clear = " ".join(f"loaded{place} <= 0; full{place} <= 0;" for place, _ in operands)
    empty = " ".join(f"full{place} <= 0;" for place, _ in operands)
    lines += [
        *cast,
        f"  assign out_data = {outcome}[{result.bits - 1}:0];",
        "  always @(posedge clk) if (rst) begin",
        f"    place <= 0; given <= 0; reading <= 1'b1; x_valid <= 0; sum_valid <= 0; {clear}",
        "  end else begin",
        "    if (move) begin",
        "      x_valid <= read; sum_valid <= x_valid;",
        f"      if (read) begin place <= place == {last} ? 0 : place + 1'b1; reading <= place != {last}; end",
        "    end",
        f"    if (sum_valid && out_ready) begin given <= given == {last} ? 0 : given + 1'b1;",
        f"      if (given == {last}) begin reading <= 1'b1; {empty} end end",
    ]
    for place, _ in operands:
        lines += [
            f"    if (in{place}_valid && in{place}_ready) begin",
            f"      loaded{place} <= loaded{place} == {last} ? 0 : loaded{place} + 1'b1;",
            f"      full{place} <= loaded{place} == {last};",
            "    end",
        ]
    return "\n".join([*lines, "  end", "endmodule", ""])
