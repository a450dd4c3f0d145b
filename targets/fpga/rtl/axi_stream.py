"""AXI4-Stream around a design: what an AXI DMA moves between a board's memory and the network.

One element a word of 32 bits: the code of a fixed-point number, sign-extended (unsigned types: with zeros),
elements in the order of the C simulation, channels last. TLAST on the last word of an item ends a packet; on
any other word it is not looked at. The last output of an item whose inputs ended a packet has TLAST, no other
word has: a batch of any size goes in and out as one packet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.errors import StepError, Unavailable
from targets.fpga.fixed import FixedType
from targets.fpga.rtl.parallel import Parallel
from targets.fpga.rtl.simulators import Simulator
from targets.fpga.rtl.stages import Design, Number
from targets.fpga.rtl.verilog import TOP

WRAPPER, BENCH = f"{TOP}_axis", "test_bench"
WORD = 32
INPUTS, OUTPUTS, LASTS = "stream_inputs.hex", "stream_outputs.hex", "stream_lasts.hex"
#: items inside a design, at most: a power of two. With more the stream waits.
ITEMS = 64


@dataclass(frozen=True)
class Stream:
    """What goes in and out.

    Attributes:
        inputs, outputs: elements of an item.
        together: whether the core takes and gives an item's elements all at once.
    """

    input: FixedType
    inputs: int
    output: Number
    outputs: int
    together: bool

    def __post_init__(self) -> None:
        for what, bits in (("inputs", self.input.bits), ("outputs", self.output.bits)):
            if bits > WORD:
                raise Unavailable(
                    f"the {what} have {bits} bits, a word of the stream {WORD}",
                    mend="Give the layer a type of its own, or use fewer bits.",
                )

    @classmethod
    def of(cls, design: Design | Parallel) -> Stream:
        together = isinstance(design, Parallel)
        return cls(design.input, design.inputs, design.output, design.outputs, together)

    @property
    def output_type(self) -> FixedType:
        return FixedType(self.output.bits, self.output.bits - self.output.fraction, self.output.signed)


def wrapper(stream: Stream) -> str:
    """Verilog of module `network_axis`."""
    taken, given = _bits(stream.inputs), _bits(stream.outputs)
    wide_in = stream.input.bits * (stream.inputs if stream.together else 1)
    wide_out = stream.output.bits * (stream.outputs if stream.together else 1)
    place = ITEMS.bit_length() - 1
    lines = [
        f"// AXI4-Stream: {stream.inputs} words of {stream.input} in, {stream.outputs} words of "
        f"{stream.output_type} out, a code of",
        f"// {WORD} bits each. The last output of an item whose inputs ended with TLAST has TLAST.",
        f"module {WRAPPER} (",
        '  (* X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF s_axis:m_axis, ASSOCIATED_RESET aresetn" *)',
        "  input wire aclk, input wire aresetn,",
        f"  input wire [{WORD - 1}:0] s_axis_tdata, input wire s_axis_tvalid, output wire s_axis_tready,",
        "  input wire s_axis_tlast,",
        f"  output wire [{WORD - 1}:0] m_axis_tdata, output wire [{WORD // 8 - 1}:0] m_axis_tkeep,",
        "  output wire m_axis_tvalid, input wire m_axis_tready, output wire m_axis_tlast",
        ");",
        "  wire rst = !aresetn;",
        f"  wire in_valid, in_ready; wire [{wide_in - 1}:0] in_data;",
        f"  wire out_valid, out_ready; wire [{wide_out - 1}:0] out_data;",
        f"  {TOP} core (.clk(aclk), .rst(rst), .in_valid(in_valid), .in_ready(in_ready), .in_data(in_data),",
        "    .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data));",
        "",
        "  // Words of the item that comes in and of the one that goes out, and for each item inside whether",
        "  // it ends a packet.",
        f"  reg [{taken - 1}:0] taken; reg [{given - 1}:0] given; reg [{place}:0] head, tail;",
        f"  reg ends [0:{ITEMS - 1}];",
        f"  wire room = head != (tail ^ {place + 1}'d{ITEMS});",
        "  wire take = s_axis_tvalid && s_axis_tready, give = m_axis_tvalid && m_axis_tready;",
        f"  wire whole = take && taken == {stream.inputs - 1}, last = given == {stream.outputs - 1};",
        "  always @(posedge aclk) if (rst) begin",
        "    taken <= 0; given <= 0; head <= 0; tail <= 0;",
        "  end else begin",
        "    if (take) taken <= whole ? 0 : taken + 1'b1;",
        f"    if (whole) begin ends[head[{place - 1}:0]] <= s_axis_tlast; head <= head + 1'b1; end",
        "    if (give) given <= last ? 0 : given + 1'b1;",
        "    if (give && last) tail <= tail + 1'b1;",
        "  end",
        f"  assign m_axis_tkeep = {WORD // 8}'b{'1' * (WORD // 8)};",
        f"  assign m_axis_tlast = last && ends[tail[{place - 1}:0]];",
        *(_together(stream) if stream.together else _one_by_one(stream)),
        "endmodule",
        "",
    ]
    return "\n".join(lines)


def _bits(count: int) -> int:
    return max(1, (count - 1).bit_length())


def _one_by_one(stream: Stream) -> list[str]:
    return [
        "  assign in_valid = s_axis_tvalid && room && aresetn, s_axis_tready = in_ready && room && aresetn;",
        f"  assign in_data = s_axis_tdata[{stream.input.bits - 1}:0];",
        "  assign m_axis_tvalid = out_valid && aresetn, out_ready = m_axis_tready;",
        f"  assign m_axis_tdata = {_extended('out_data', stream.output)};",
    ]


def _together(stream: Stream) -> list[str]:
    b, o = stream.input.bits, stream.output.bits
    left = stream.outputs.bit_length()
    return [
        "  // A register gathers an item, another one gives its outputs; the core works between them.",
        f"  reg [{stream.inputs * b - 1}:0] gathered; reg full;",
        f"  reg [{stream.outputs * o - 1}:0] spread; reg [{left - 1}:0] left;",
        "  assign s_axis_tready = aresetn && room && (!full || in_ready);",
        "  assign in_valid = full, in_data = gathered;",
        "  assign m_axis_tvalid = left != 0, out_ready = left == 0 || (left == 1 && m_axis_tready);",
        f"  assign m_axis_tdata = {_extended(f'spread[{o - 1}:0]', stream.output)};",
        "  always @(posedge aclk) begin",
        f"    if (take) gathered <= {{s_axis_tdata[{b - 1}:0], gathered}} >> {b};",
        "    if (rst) full <= 1'b0; else if (whole) full <= 1'b1; else if (in_ready) full <= 1'b0;",
        f"    if (rst) left <= 0; else if (out_valid && out_ready) left <= {stream.outputs};",
        "    else if (give) left <= left - 1'b1;",
        f"    if (out_valid && out_ready) spread <= out_data; else if (give) spread <= spread >> {o};",
        "  end",
    ]


def _extended(source: str, number: Number) -> str:
    missing = WORD - number.bits
    if not missing:
        return source
    sign = "1'b0" if not number.signed else _top(source, number.bits)
    return f"{{{{{missing}{{{sign}}}}}, {source}}}"


def _top(source: str, bits: int) -> str:
    return f"{source.partition('[')[0]}[{bits - 1}]"


# -- the test bench ------------------------------------------------------------------------------------


def write_bench(
    stream: Stream,
    folder: Path,
    inputs: np.ndarray,
    outputs: np.ndarray,
    *,
    packet: Sequence[int] = (1, 3, 2),
    stall: int = 30,
    patience: int = 100_000,
) -> None:
    """Write a test bench that checks itself, with its words, beside the Verilog in `folder`.

    Args:
        inputs, outputs: codes (n, elements), n items.
        packet: items of each packet, one after another, again and again; the last item ends one, too.
        stall: percent of cycles in which nothing new is offered, or nothing is taken.
        patience: cycles without a word after which it is said to be stuck.
    """
    ends = _ends(len(inputs), packet)
    _words(folder / INPUTS, inputs)
    _words(folder / OUTPUTS, outputs)
    (folder / LASTS).write_text("".join(f"{int(end)}\n" for end in ends))
    text = _bench(stream, len(inputs), int(ends.sum()), stall, patience)
    (folder / f"{BENCH}.v").write_text(text)


def _ends(n: int, packet: Sequence[int]) -> np.ndarray:
    found = np.zeros(n, bool)
    place = index = 0
    while place < n:
        place += packet[index % len(packet)]
        found[min(place, n) - 1] = True
        index += 1
    return found


def _words(path: Path, codes: np.ndarray) -> None:
    mask = (1 << WORD) - 1
    path.write_text("".join(f"{int(code) & mask:08x}\n" for code in codes.ravel()))


def _bench(stream: Stream, n: int, packets: int, stall: int, patience: int) -> str:
    ins, outs = n * stream.inputs, n * stream.outputs
    top = WORD - 1
    return f"""`timescale 1ns/1ps
// {n} items back to back in {packets} packets; stalls on both sides. Checks every word, every TLAST, and that
// nothing that is offered is withdrawn or changed before it is taken.
module {BENCH};
  localparam STALL = {stall};
  reg aclk = 0, aresetn = 0, s_valid = 0, m_ready = 0;
  reg [{top}:0] inputs [0:{ins - 1}];
  reg [{top}:0] outputs [0:{outs - 1}];
  reg ends [0:{n - 1}];
  integer taken = 0, given = 0, cycle = 0, idle = 0, wrong = 0, packets = 0, seed = 1;
  wire s_ready, m_valid, m_last; wire [{top}:0] m_data; wire [{WORD // 8 - 1}:0] m_keep;
  wire [{top}:0] s_data = s_valid ? inputs[taken] : {WORD}'hx;
  wire s_end = taken % {stream.inputs} == {stream.inputs - 1} && ends[taken / {stream.inputs}];
  wire s_last = s_valid ? s_end : 1'bx;
  wire right_last = given % {stream.outputs} == {stream.outputs - 1} && ends[given / {stream.outputs}];
  reg took, waits = 0, was_last; reg [{top}:0] was_data;
  {WRAPPER} dut (.aclk(aclk), .aresetn(aresetn), .s_axis_tdata(s_data), .s_axis_tvalid(s_valid),
    .s_axis_tready(s_ready), .s_axis_tlast(s_last), .m_axis_tdata(m_data), .m_axis_tkeep(m_keep),
    .m_axis_tvalid(m_valid), .m_axis_tready(m_ready), .m_axis_tlast(m_last));
  always #5 aclk = !aclk;
  initial begin
    $readmemh("{INPUTS}", inputs); $readmemh("{OUTPUTS}", outputs); $readmemh("{LASTS}", ends);
    repeat (4) @(posedge aclk);
    #1 aresetn = 1;
  end
  task fault(input [20*8:1] what); begin
    wrong = wrong + 1;
    if (wrong <= 10) $display("word %0d (item %0d): %0s; %h, TLAST %b", given, given / {stream.outputs}, what,
      m_data, m_last);
  end endtask
  always @(posedge aclk) if (aresetn) begin
    cycle = cycle + 1; idle = idle + 1; took = s_valid && s_ready;
    if (m_valid !== 1'b0 && m_valid !== 1'b1) fault("TVALID undefined");
    if (waits && (m_valid !== 1'b1 || m_data !== was_data || m_last !== was_last)) fault("withdrawn");
    waits = m_valid && !m_ready; was_data = m_data; was_last = m_last;
    if (m_valid && m_ready) begin
      if (given >= {outs}) fault("too many");
      else begin
        if (m_data !== outputs[given]) fault("another value");
        if (m_last !== right_last) fault("TLAST");
        if (m_keep !== {WORD // 8}'b{"1" * (WORD // 8)}) fault("TKEEP");
        if (m_last) packets = packets + 1;
      end
      idle = 0;
      #1 given = given + 1;
    end else #1 ;
    if (s_valid && took) begin taken = taken + 1; idle = 0; end
    s_valid = taken < {ins} && ((s_valid && !took) || ($unsigned($random(seed)) % 100) >= STALL);
    m_ready = ($unsigned($random(seed)) % 100) >= STALL;
    if (given >= {outs} && idle > 200 || idle > {patience}) begin
      if (given < {outs}) fault("stuck");
      $display("%0s: {n} items, %0d of {outs} words, %0d of {packets} packets, %0d faults, %0d cycles",
        wrong == 0 && packets == {packets} ? "PASS" : "FAIL", given, packets, wrong, cycle);
      $finish;
    end
  end
endmodule
"""


def run_bench(simulator: Simulator, folder: Path) -> str:
    """Run the test bench in `folder`; returns its last line.

    Raises:
        StepError: it does not compile, or does not pass: with the first fault.
    """
    sources = [f"{BENCH}.v", *sorted(path.name for path in folder.glob("*.v") if path.stem != BENCH)]
    lines = simulator.run(sources, folder).splitlines()
    verdict = next((line for line in lines if line.startswith(("PASS", "FAIL"))), "no verdict")
    if not verdict.startswith("PASS"):
        first = next((line for line in lines if line.startswith("word")), "")
        raise StepError(f"the test bench does not pass: {verdict}" + (f"; {first}" if first else ""))
    return verdict
