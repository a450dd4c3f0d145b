"""Verilog of a design: one small state machine a stage, element after element between them.

Each stage keeps its whole input in a memory. Sums of branches apart (`adding`), it is in one of three states:

LOAD  takes one element a cycle (`in_ready` is high) until the input is complete;
RUN   reads one element a cycle: all taps of a window, for P outputs at a time, then three cycles until
      the sums are finished (`stages.DRAIN`);
EMIT  gives those outputs, one a cycle while `out_ready` is high; then RUN again, or LOAD after the last.

A stage loads while the one before it emits, so that from the last element taken to the last given a stage
takes `positions x sum over groups (taps + DRAIN + outputs of the group)` cycles.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from targets.fpga.rtl.adding import add
from targets.fpga.rtl.cast import cast_lines
from targets.fpga.rtl.pieces import advance, cast_wires, counter_bits, counters, head, memory, signed, walk
from targets.fpga.rtl.pooling import pool
from targets.fpga.rtl.stages import Add, Cast, Design, MaxPool, Multiply, Number, Stage, numbers, result_of

TOP = "network"


def write(design: Design, folder: Path) -> list[Path]:
    """Write `network.v`, one file a stage and the weights' `.hex` files; returns the Verilog files."""
    wires = list(numbers(design))
    files = []
    for index, stage in enumerate(design.stages):
        name = module_name(index, stage)
        path = folder / f"{name}.v"
        path.write_text(_text(name, stage))
        files.append(path)
        if isinstance(stage, Multiply):
            (folder / f"{name}_weights.hex").write_text(_weights_hex(stage))
            (folder / f"{name}_bias.hex").write_text(_bias_hex(stage))
    top = folder / f"{TOP}.v"
    top.write_text(_top(design, wires))
    return [top, *files]


def module_name(index: int, stage: Stage) -> str:
    return f"stage{index}_{stage.name}"


def _text(name: str, stage: Stage) -> str:
    if isinstance(stage, Multiply):
        return multiply(name, stage)
    return pool(name, stage) if isinstance(stage, MaxPool) else add(name, stage)


def _top(design: Design, wires: Sequence[Number]) -> str:
    first, last = wires[0], wires[-1]
    lines = [
        f"// Takes {design.inputs} codes of {design.input}, gives {design.outputs} codes.",
        f"module {TOP} (",
        "  input wire clk, input wire rst,",
        f"  input wire in_valid, output wire in_ready, input wire [{first.bits - 1}:0] in_data,",
        f"  output wire out_valid, input wire out_ready, output wire [{last.bits - 1}:0] out_data",
        ");",
    ]
    for index, number in enumerate(wires):
        lines.append(f"  wire valid{index}, ready{index}; wire [{number.bits - 1}:0] data{index};")
    lines += ["  assign valid0 = in_valid, in_ready = ready0, data0 = in_data;"]
    shared = {wire for wire, takers in enumerate(design.takers) if len(takers) > 1}
    for wire in sorted(shared):
        lines += _fork(wire, design.takers[wire])
    for index, (stage, sources) in enumerate(zip(design.stages, design.wiring, strict=True)):
        ports = [".clk(clk), .rst(rst)"]
        for operand, wire in enumerate(sources):
            port = f"in{operand}" if isinstance(stage, Add) else "in"
            taker = f"{wire}_{index}_{operand}" if wire in shared else wire
            ports.append(f".{port}_valid(valid{taker}), .{port}_ready(ready{taker})")
            ports.append(f".{port}_data(data{wire})")
        to = index + 1
        ports.append(f".out_valid(valid{to}), .out_ready(ready{to}), .out_data(data{to})")
        lines.append(f"  {module_name(index, stage)} s{index} ({', '.join(ports)});")
    end = len(design.stages)
    lines += [
        f"  assign out_valid = valid{end}, ready{end} = out_ready, out_data = data{end};",
        "endmodule",
        "",
    ]
    return "\n".join(lines)


def _fork(wire: int, takers: Sequence[tuple[int, int]]) -> list[str]:
    """A wire that several stages take, each element all of them in the same cycle. There is no loop: none of
    them makes its `ready` of its `valid`."""
    names = [f"{wire}_{stage}_{operand}" for stage, operand in takers]
    lines = [f"  wire {', '.join(f'valid{name}, ready{name}' for name in names)};"]
    lines.append(f"  assign ready{wire} = {' && '.join(f'ready{name}' for name in names)};")
    for name in names:
        others = [f"ready{other}" for other in names if other != name]
        lines.append(f"  assign valid{name} = {' && '.join([f'valid{wire}', *others])};")
    return lines


def multiply(name: str, stage: Multiply) -> str:
    """A dense or convolution stage."""
    window, source, total = stage.window, stage.input, stage.sum
    result = result_of(stage)
    p, groups = stage.multipliers, stage.groups
    height, width = window.kernel
    taps = [("tap_channel", window.channels), ("tap_column", width), ("tap_row", height)]
    over = [("group", len(groups)), ("column", window.columns), ("row", window.rows)]
    w, b = stage.weight.bits, total.width
    depth = len(groups) * stage.taps
    product = source.width + w
    lines = head(
        name,
        source,
        result,
        f"{stage.name}: {stage.taps} taps, {stage.outputs} outputs, {p} multipliers, sums of {b} bits",
    )
    lines += memory(stage, window) + counters(*taps, *over, ("lane", p))
    lines += [f"  reg [{counter_bits(depth) - 1}:0] word;", "  reg [1:0] drained;"]
    lines += walk(window, "tap_channel")
    lines += [
        f"  reg [{p * w - 1}:0] weights [0:{depth - 1}];",
        f"  reg [{p * b - 1}:0] biases [0:{len(groups) - 1}];",
        f'  initial $readmemh("{name}_weights.hex", weights);',
        f'  initial $readmemh("{name}_bias.hex", biases);',
        f"  reg [{source.bits - 1}:0] x; reg [{p * w - 1}:0] weight; reg x_valid, p_valid, zero;",
        f"  wire signed [{source.width - 1}:0] operand = zero ? {source.width}'sd0 : {signed('x', source)};",
        "  always @(posedge clk) begin",
        "    x <= memory[address]; zero <= !covered; weight <= weights[word];",
        "    x_valid <= state == RUN && !rst; p_valid <= x_valid && !rst;",
        "  end",
        f"  wire [{p * b - 1}:0] bias = biases[group];",
        f"  wire [{p * b - 1}:0] sums;",
        "  wire start = state == RUN && first;",
        "  reg first;",
        "  genvar i;",
        f"  generate for (i = 0; i < {p}; i = i + 1) begin : mac",
        f"    reg signed [{product - 1}:0] product; reg signed [{b - 1}:0] sum;",
        f"    wire signed [{product - 1}:0] exact = product;",
    ]
    lines += ["  " + line for line in _product(stage, product)]
    lines += [
        "    always @(posedge clk) begin",
        f"      product <= operand * $signed(weight[i*{w} +: {w}]);",
        f"      if (start) sum <= $signed(bias[i*{b} +: {b}]);",
        "      else if (p_valid) sum <= sum + addend;",
        "    end",
        f"    assign sums[i*{b} +: {b}] = sum;",
        "  end endgenerate",
        f"  wire signed [{b - 1}:0] chosen = $signed(sums[lane*{b} +: {b}]);",
    ]
    cast, outcome = cast_wires(stage, "chosen", Number(total.bits, total.fraction))
    lines += [*cast, f"  assign out_data = {outcome}[{result.bits - 1}:0];"]
    size = f"(group == {len(groups) - 1} ? {groups[-1] - 1} : {p - 1})"
    last_position = f"column == {window.columns - 1} && row == {window.rows - 1}"
    clear = " ".join(f"{n} <= 0;" for n, _ in (*taps, *over))
    window_done = " && ".join(f"{n} == {c - 1}" for n, c in taps)
    lines += [
        "  always @(posedge clk) if (rst) begin",
        f"    state <= LOAD; loaded <= 0; word <= 0; drained <= 0; lane <= 0; first <= 1'b1; {clear}",
        "  end else case (state)",
        f"    LOAD: if (in_valid) begin if (loaded == {window.inputs - 1}) begin loaded <= 0; state <= RUN; "
        "first <= 1'b1; end else loaded <= loaded + 1'b1; end",
        "    RUN: begin",
        "      first <= 1'b0;",
        f"      word <= word == {depth - 1} ? 0 : word + 1'b1;",
        f"      if ({window_done}) begin state <= WAIT; drained <= 0; end",
        *advance(taps, "      "),
        "    end",
        "    WAIT: begin",
        "      drained <= drained + 1'b1;",
        "      if (drained == 2) begin state <= EMIT; lane <= 0; end",
        "    end",
        "    EMIT: if (out_ready) begin",
        f"      if (lane == {size}) begin",
        "        lane <= 0; first <= 1'b1;",
        f"        state <= group == {len(groups) - 1} && {last_position} ? LOAD : RUN;",
        *advance(over, "        "),
        "      end else lane <= lane + 1'b1;",
        "    end",
        "  endcase",
        "endmodule",
        "",
    ]
    return "\n".join(lines)


def _product(stage: Multiply, width: int) -> list[str]:
    """The wire `addend`: the product at the place of the sum's point."""
    total = stage.sum
    number = Number(width, stage.input.fraction + stage.weight.fraction)
    if stage.given is not None:
        return ["  " + line for line in cast_lines("exact", number, Cast(stage.given), "addend")]
    shift = total.fraction - number.fraction
    return [f"  wire signed [{total.width - 1}:0] addend = exact <<< {shift};"]


def _hex(codes: Sequence[int], bits: int) -> str:
    """Codes side by side in one word, the first lowest."""
    word = 0
    for place, code in enumerate(codes):
        word |= (int(code) & ((1 << bits) - 1)) << (place * bits)
    return f"{word:0{(len(codes) * bits + 3) // 4}x}"


def _weights_hex(stage: Multiply) -> str:
    p, flat = stage.multipliers, stage.weights.reshape(-1, stage.outputs)
    padded = np.zeros((len(flat), len(stage.groups) * p), np.int64)
    padded[:, : stage.outputs] = flat
    words = [
        _hex(padded[tap, group * p : group * p + p].tolist(), stage.weight.bits)
        for group in range(len(stage.groups))
        for tap in range(len(flat))
    ]
    return "\n".join(words) + "\n"


def _bias_hex(stage: Multiply) -> str:
    p, total = stage.multipliers, stage.sum
    if stage.given is not None:
        values = stage.given.quantize(stage.bias * 2.0**-stage.bias_number.fraction)
        codes = [int(code) for code in np.rint(values / stage.given.step)]
    else:
        codes = [int(code) << (total.fraction - stage.bias_number.fraction) for code in stage.bias]
    codes += [0] * (len(stage.groups) * p - len(codes))
    words = [_hex(codes[group * p : group * p + p], total.width) for group in range(len(stage.groups))]
    return "\n".join(words) + "\n"
