"""Verilog of pooling stages: the largest of a window, or its average."""

from __future__ import annotations

from targets.fpga.rtl.pieces import advance, cast_wires, counters, head, memory, signed, walk
from targets.fpga.rtl.stages import AveragePool, MaxPool, result_of


def pool(name: str, stage: MaxPool) -> str:
    """A pooling stage."""
    window, source, result = stage.window, stage.input, result_of(stage)
    height, width = window.kernel
    taps = [("tap_column", width), ("tap_row", height)]
    over = [("channel", window.channels), ("column", window.columns), ("row", window.rows)]
    what = "average" if isinstance(stage, AveragePool) else "largest"
    lines = head(name, source, result, f"{stage.name}: {what} of {height} x {width}")
    lines += memory(stage, window) + counters(*taps, *over) + ["  reg [1:0] drained; reg first;"]
    lines += walk(window, "channel")
    clear = " ".join(f"{n} <= 0;" for n, _ in (*taps, *over))
    window_done = " && ".join(f"{n} == {c - 1}" for n, c in taps)
    done = f"channel == {window.channels - 1} && column == {window.columns - 1} && row == {window.rows - 1}"
    lines += [
        f"  reg [{source.bits - 1}:0] x; reg x_valid, x_first, none;",
        f"  wire signed [{source.width - 1}:0] value = {signed('x', source)};",
        "  always @(posedge clk) begin",
        "    x <= memory[address]; none <= !covered; x_valid <= state == RUN && !rst; x_first <= first;",
        "  end",
        *(average(stage) if isinstance(stage, AveragePool) else largest(stage)),
    ]
    cast, outcome = cast_wires(stage, "pooled", stage.raw)
    lines += cast
    lines += [
        f"  assign out_data = {outcome}[{result.bits - 1}:0];",
        "  always @(posedge clk) if (rst) begin",
        f"    state <= LOAD; loaded <= 0; drained <= 0; first <= 1'b1; {clear}",
        "  end else case (state)",
        f"    LOAD: if (in_valid) begin if (loaded == {window.inputs - 1}) begin loaded <= 0; state <= RUN; "
        "first <= 1'b1; end else loaded <= loaded + 1'b1; end",
        "    RUN: begin",
        "      first <= 1'b0;",
        f"      if ({window_done}) begin state <= WAIT; drained <= 0; end",
        *advance(taps, "      "),
        "    end",
        "    WAIT: begin drained <= drained + 1'b1; if (drained == 2) state <= EMIT; end",
        "    EMIT: if (out_ready) begin",
        "      first <= 1'b1;",
        f"      state <= {done} ? LOAD : RUN;",
        *advance(over, "      "),
        "    end",
        "  endcase",
        "endmodule",
        "",
    ]
    return "\n".join(lines)


def largest(stage: MaxPool) -> list[str]:
    """The register `pooled`: the largest value so far."""
    return [
        f"  reg signed [{stage.input.width - 1}:0] pooled; reg empty;",
        "  always @(posedge clk) begin",
        "    if (x_valid && !none && (x_first || empty || value > pooled)) pooled <= value;",
        "    if (x_valid) empty <= none && (x_first || empty);",
        "  end",
    ]


def average(stage: AveragePool) -> list[str]:
    """The register `pooled`: the sum, times 2**extra, divided by the number of taps towards zero.

    A division by a constant is a multiplication by its reciprocal, exact with this many bits (Granlund,
    Montgomery 1994, "Division by invariant integers using multiplication").
    """
    taps, extra = stage.taps, stage.extra
    width = stage.input.width + extra
    # A magnitude of up to `size` bits, and extra + size bits of the reciprocal right of the point.
    size = width + extra
    shift = size + extra
    reciprocal = (1 << shift) // taps + 1
    out = stage.raw.width
    lines = [
        f"  reg signed [{width - 1}:0] sum;",
        "  always @(posedge clk) if (x_valid) sum <= x_first ? value : sum + value;",
        f"  reg signed [{out - 1}:0] pooled;",
    ]
    if taps == 1 << extra:
        return [*lines, "  always @(posedge clk) pooled <= sum;"]
    return [
        *lines,
        f"  wire [{size - 1}:0] magnitude = (sum[{width - 1}] ? -sum : sum) << {extra};",
        f"  wire [{size + shift - 1}:0] product = magnitude * {shift + 1}'d{reciprocal};",
        f"  wire signed [{out - 1}:0] quotient = product[{size + shift - 1}:{shift}];",
        f"  always @(posedge clk) pooled <= sum[{width - 1}] ? -quotient : quotient;",
    ]
