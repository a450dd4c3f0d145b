"""Runs yosys on the Verilog in the current folder: `synthesis_child.py FAMILY TOP CELLS TIMING FILES…`.

A program of its own, with nothing of this project: yosys may crash, or take more than there is.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(family: str, top: str, cells: str, timing: str, files: list[str]) -> None:
    """Write the counts of cells into `cells`, and (7-series only) the delays of paths into `timing`."""
    from pyosys import libyosys  # type: ignore[import-untyped,unused-ignore]

    def run(*commands: str) -> None:
        design = libyosys.Design()
        for command in commands:
            libyosys.run_pass(command, design)

    netlist = f"{timing}.v"
    run(
        f"read_verilog {' '.join(files)}",
        f"synth_xilinx -family {family} -flatten -noiopad -noclkbuf -top {top}",
        f"tee -q -o {cells} stat -json",
        *((f"write_verilog -noexpr {netlist}",) if family == "xc7" else ()),
    )
    if family == "xc7":
        # Artix-7, speed grade -1. In the design that was synthesized flip-flops are without their delays.
        run(
            "read_verilog -lib -specify +/xilinx/cells_sim.v",
            f"read_verilog {netlist}",
            f"hierarchy -top {top}",
            f"tee -q -o {timing} sta",
        )
        Path(netlist).unlink()


if __name__ == "__main__":
    _family, _top, _cells, _timing, *_files = sys.argv[1:]
    main(_family, _top, _cells, _timing, _files)
