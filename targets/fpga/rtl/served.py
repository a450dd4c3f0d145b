"""A design as a program: packets of words on standard input, the packets it gives on standard output.

A packet in is a line with the number of its words, then the words in hexadecimal, a line each. Out come the
words up to TLAST, a line each, and `end CYCLES`: clock edges from the first word offered to the last one
taken, as observed. `stuck` in place of it: no TLAST came. The sink never waits.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from targets.fpga.rtl.axi_stream import WORD, WRAPPER
from targets.fpga.rtl.simulators import COMPILE_LIMIT, Simulator, execute

BENCH, PROGRAM = "test_bench", "rtl_simulation"


def server(patience: int = 1_000_000) -> str:
    """Verilog of the test bench. `patience`: cycles of a packet after which it is stuck."""
    top = WORD - 1
    return f"""`timescale 1ns/1ps
module {BENCH};
  reg aclk = 0, aresetn = 0, s_valid = 0, s_last = 0, took, gave, was_last, ended;
  reg [{top}:0] s_data = 0, word;
  wire s_ready, m_valid, m_last; wire [{top}:0] m_data; wire [{WORD // 8 - 1}:0] m_keep;
  integer words, sent, cycle, found;
  {WRAPPER} dut (.aclk(aclk), .aresetn(aresetn), .s_axis_tdata(s_data), .s_axis_tvalid(s_valid),
    .s_axis_tready(s_ready), .s_axis_tlast(s_last), .m_axis_tdata(m_data), .m_axis_tkeep(m_keep),
    .m_axis_tvalid(m_valid), .m_axis_tready(1'b1), .m_axis_tlast(m_last));
  task offer; begin
    s_valid = sent < words; s_last = sent == words - 1;
    if (s_valid) found = $fscanf(32'h8000_0000, "%h", s_data);
  end endtask
  initial begin
    repeat (4) begin #5 aclk = 1; #5 aclk = 0; end
    aresetn = 1;
    found = $fscanf(32'h8000_0000, "%d", words);
    while (found == 1) begin
      sent = 0; cycle = 0; ended = 0; offer;
      while (!ended && cycle < {patience}) begin
        #4 took = s_valid && s_ready; gave = m_valid; word = m_data; was_last = m_last;
        #1 aclk = 1; cycle = cycle + 1;
        if (gave) $display("%h", word);
        ended = gave && was_last;
        #1 if (took) begin sent = sent + 1; offer; end
        #4 aclk = 0;
      end
      if (ended) $display("end %0d", cycle); else $display("stuck");
      $fflush;
      found = $fscanf(32'h8000_0000, "%d", words);
    end
    $finish;
  end
endmodule
"""


def compile_server(simulator: Simulator, folder: Path) -> Path:
    """Compile the design in `folder`, its stream wrapper with it, to one program that needs nothing else (but
    `vvp`, of Icarus Verilog).

    Raises:
        StepError: it does not compile.
    """
    (folder / f"{BENCH}.v").write_text(server())
    sources = sorted(path.name for path in folder.glob("*.v"))
    if simulator.name == "verilator":
        command = ["verilator", "--binary", "--timing", "-Wno-lint", "-Wno-fatal", "--Mdir", "obj"]
        execute([*command, "--top-module", BENCH, "-o", PROGRAM, *sources], folder, COMPILE_LIMIT)
        (folder / "obj" / PROGRAM).replace(folder / PROGRAM)
        shutil.rmtree(folder / "obj")
    else:
        execute(["iverilog", "-g2005", "-s", BENCH, "-o", PROGRAM, *sources], folder, COMPILE_LIMIT)
        _relabel(folder / PROGRAM)
    (folder / PROGRAM).chmod(0o755)
    return folder / PROGRAM


def _relabel(program: Path) -> None:
    """Icarus Verilog's labels are addresses in its memory: numbered, so that the same design gives the same
    program."""
    numbers: dict[str, str] = {}
    text = program.read_text()
    program.write_text(
        re.sub(r"0x[0-9a-f]{8,}", lambda found: numbers.setdefault(found[0], f"0x{len(numbers):x}"), text)
    )
