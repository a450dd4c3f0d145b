"""Cycle-by-cycle simulation of a design with Icarus Verilog: outputs, latency and interval as observed."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.errors import StepError, Unavailable
from targets.fpga.rtl.stages import Design, Number, numbers
from targets.fpga.rtl.verilog import TOP, write

COMPILE_LIMIT, RUN_LIMIT = 300.0, 1800.0


@dataclass(frozen=True)
class Simulation:
    """What a simulation showed.

    Attributes:
        outputs: (n, outputs), float64.
        first, last: clock edge at which each input vector's first element was taken, and at which its
            last output was given; (n,), cycles.
    """

    outputs: np.ndarray
    first: np.ndarray
    last: np.ndarray

    @property
    def latency(self) -> int:
        """Cycles from an input's first element to its last output, of the first input."""
        return int(self.last[0] - self.first[0])

    @property
    def interval(self) -> int | None:
        """Cycles between the last outputs of neighbouring inputs, the largest; None with one input."""
        return int(np.diff(self.last).max()) if len(self.last) > 1 else None


def simulate(design: Design, x: np.ndarray, folder: Path, *, stall: int = 0) -> Simulation:
    """Run the design on inputs x (n, *shape) in the empty folder `folder`.

    Args:
        stall: percent of cycles in which the test bench withholds an input, or refuses an output.

    Raises:
        Unavailable: Icarus Verilog is not installed.
        StepError: it does not compile, or does not give all outputs.
    """
    iverilog, vvp = shutil.which("iverilog"), shutil.which("vvp")
    if iverilog is None or vvp is None:
        raise Unavailable("Icarus Verilog is not installed", mend="apt-get install iverilog")
    files = write(design, folder)
    codes = input_codes(design, x)
    bits = Number.of(design.input).bits
    (folder / "inputs.hex").write_text(
        "\n".join(f"{int(c) & ((1 << bits) - 1):x}" for c in codes.ravel()) + "\n"
    )
    bench = folder / "test_bench.v"
    bench.write_text(_bench(design, len(x), stall))
    _run(
        [iverilog, "-g2005", "-o", "simulation", *(f.name for f in files), bench.name],
        folder,
        COMPILE_LIMIT,
    )
    said = _run([vvp, "-n", "simulation"], folder, RUN_LIMIT)
    return _read(design, len(x), said)


def input_codes(design: Design, x: np.ndarray) -> np.ndarray:
    """Codes (n, inputs) of float inputs, rounded as the design's input type says."""
    flat = np.asarray(x, np.float64).reshape(len(x), design.inputs)
    return np.rint(design.input.quantize(flat) / design.input.step).astype(np.int64)


def _run(command: list[str], folder: Path, limit: float) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        raise StepError(f"{Path(command[0]).name} did not finish within {limit:.0f} s") from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise StepError(f"{Path(command[0]).name} failed (code {done.returncode}): {lines[0][:300]}")
    return done.stdout


def _bench(design: Design, n: int, stall: int) -> str:
    wires = list(numbers(design))
    first, last = wires[0], wires[-1]
    limit = (design.latency + 50) * (n + 1) * (1 if not stall else 20)
    go = f"($unsigned($random(seed)) % 100) >= {stall}" if stall else "1'b1"
    return f"""`timescale 1ns/1ps
module test_bench;
  reg clk = 0, rst = 1, in_valid = 0, out_ready = 0;
  reg [{first.bits - 1}:0] inputs [0:{n * design.inputs - 1}];
  wire in_ready, out_valid; wire [{last.bits - 1}:0] out_data;
  integer taken = 0, given = 0, cycle = 0, seed = 1;
  wire [{first.bits - 1}:0] in_data = inputs[taken < {n * design.inputs} ? taken : 0];
  {TOP} dut (.clk(clk), .rst(rst), .in_valid(in_valid), .in_ready(in_ready), .in_data(in_data),
    .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data));
  always #5 clk = !clk;
  initial begin
    $readmemh("inputs.hex", inputs);
    repeat (4) @(posedge clk);
    #1 rst = 0; in_valid = 1; out_ready = 1;
  end
  always @(posedge clk) if (!rst) begin
    cycle <= cycle + 1;
    if (in_valid && in_ready) begin
      if (taken % {design.inputs} == 0) $display("first %0d", cycle);
      taken <= taken + 1;
    end
    if (out_valid && out_ready) begin
      $display("out %0d %h", cycle, out_data);
      given <= given + 1;
      if (given == {n * design.outputs - 1}) $finish;
    end
    if (cycle > {limit}) begin $display("stuck"); $finish; end
    #1 in_valid = taken < {n * design.inputs} && ({go}); out_ready = {go};
  end
endmodule
"""


def _read(design: Design, n: int, said: str) -> Simulation:
    last = list(numbers(design))[-1]
    codes: list[int] = []
    cycles: list[int] = []
    first: list[int] = []
    for line in said.splitlines():
        word, *rest = line.split()
        if word == "first":
            first.append(int(rest[0]))
        elif word == "out":
            cycles.append(int(rest[0]))
            if set(rest[1]) & set("xXzZ"):
                raise StepError("an output is undefined (x) in simulation", where=f"output {len(codes)}")
            code = int(rest[1], 16)
            codes.append(code - (1 << last.bits) if last.signed and code >> (last.bits - 1) else code)
    if len(codes) != n * design.outputs or len(first) != n:
        raise StepError(f"the simulation gave {len(codes)} of {n * design.outputs} outputs")
    outputs = np.array(codes, np.float64).reshape(n, design.outputs) * 2.0**-last.fraction
    ends = np.array(cycles).reshape(n, design.outputs)[:, -1]
    return Simulation(outputs, np.array(first), ends)
