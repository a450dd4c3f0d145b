"""Verilog of a pipelined design: da4ml's logic between registers, with valid and ready around it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from targets.fpga.rtl.parallel import Parallel
from targets.fpga.rtl.stages import Number

#: da4ml's modules that its logic is made of; tables are not used here
_PARTS = ("shift_adder", "mux", "negative", "multiplier")
#: Verilator 5.006, Debian's, does not know all of these notes, and takes that for an error
_NOTES = re.compile(r"/\*\s*verilator.*?\*/|//\s*verilator[^\n]*")


def write_pipeline(design: Parallel, folder: Path, top: str) -> list[Path]:
    """Write `<top>.v`, one file a stage and da4ml's modules; returns the Verilog files."""
    import da4ml
    from da4ml.codegen.rtl.verilog.comb import comb_logic_gen

    texts = {top: _top(design, top)}
    for index, stage in enumerate(design.pipeline.solutions):
        name = f"{top}_stage{index}"
        texts[name] = comb_logic_gen(stage, name)
    sources = Path(da4ml.__file__).parent / "codegen" / "rtl" / "verilog" / "source"
    used = "\n".join(texts.values())
    for part in _PARTS:
        if re.search(rf"\b{part} #", used):
            texts[part] = (sources / f"{part}.v").read_text()
    files = []
    for name, text in texts.items():
        path = folder / f"{name}.v"
        path.write_text(_NOTES.sub("", text))
        files.append(path)
    return files


def _top(design: Parallel, top: str) -> str:
    from da4ml.types import minimal_kif

    stages = design.pipeline.solutions
    widths = [_bits(stage.inp_qint) for stage in stages]
    last = _bits(stages[-1].out_qint)
    wide_in = design.inputs * design.input.bits
    wide_out = design.outputs * design.output.bits
    lines = [
        f"// Takes {design.inputs} codes of {design.input} at once, the first lowest; gives {design.outputs}",
        f"// codes {design.latency} cycles later. At most {design.cutoff} additions between two registers.",
        f"module {top} (",
        "  input wire clk, input wire rst,",
        f"  input wire in_valid, output wire in_ready, input wire [{wide_in - 1}:0] in_data,",
        f"  output wire out_valid, input wire out_ready, output wire [{wide_out - 1}:0] out_data",
        ");",
        f"  reg [{len(stages)}:0] valid;",
        "  // All registers wait while the output is not taken.",
        "  wire move = out_ready || !out_valid;",
        f"  assign in_ready = move, out_valid = valid[{len(stages)}];",
        "  always @(posedge clk) if (rst) valid <= 0;",
        f"    else if (move) valid <= {{valid[{len(stages) - 1}:0], in_valid}};",
    ]
    for index, width in enumerate(widths):
        after = widths[index + 1] if index + 1 < len(widths) else last
        source = f"result{index - 1}" if index else "in_data"
        lines += [
            f"  reg [{width - 1}:0] taken{index}; wire [{after - 1}:0] result{index};",
            f"  always @(posedge clk) if (move) taken{index} <= {source};",
            f"  {top}_stage{index} s{index} (.model_inp(taken{index}), .model_out(result{index}));",
        ]
    end = len(stages) - 1
    lines += [
        f"  reg [{last - 1}:0] given;",
        f"  always @(posedge clk) if (move) given <= result{end};",
    ]
    place = 0
    for index, interval in enumerate(stages[-1].out_qint):
        k, i, f = (int(part) for part in minimal_kif(interval))
        lines.append(
            f"  assign out_data[{(index + 1) * design.output.bits - 1}:{index * design.output.bits}] = "
            f"{_placed(place, k + i + f, k, f, design.output)};"
        )
        place += k + i + f
    return "\n".join([*lines, "endmodule", ""])


def _bits(intervals: Any) -> int:
    from da4ml.types import minimal_kif

    return max(1, sum(int(sum(minimal_kif(interval))) for interval in intervals))


def _placed(low: int, bits: int, signed: int, fraction: int, number: Number) -> str:
    """The code `given[low +: bits]`, which may be narrower and coarser, as one of the output's type."""
    if bits <= 0:
        return f"{number.bits}'d0"
    right = number.fraction - fraction
    left = number.bits - bits - right
    sign = f"given[{low + bits - 1}]" if signed else "1'b0"
    parts = [f"{{{left}{{{sign}}}}}"] * (left > 0) + [f"given[{low + bits - 1}:{low}]"]
    parts += [f"{right}'d0"] * (right > 0)
    return f"{{{', '.join(parts)}}}"
