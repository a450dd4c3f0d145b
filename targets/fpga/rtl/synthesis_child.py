"""Runs yosys on the Verilog in the current folder: `synthesis_child.py FAMILY TOP CELLS TIMING FILES…`.

A program of its own, with nothing of this project: yosys may crash, or take more than there is.
"""

from __future__ import annotations

import sys


def main(family: str, top: str, cells: str, timing: str, files: list[str]) -> None:
    """Write the counts of cells into `cells`, and (7-series only) the delays of paths into `timing`."""
    from pyosys import libyosys  # type: ignore[import-untyped,unused-ignore]

    design = libyosys.Design()
    for command in (
        f"read_verilog {' '.join(files)}",
        f"synth_xilinx -family {family} -flatten -noiopad -noclkbuf -top {top}",
        f"tee -q -o {cells} stat -json",
        *(
            # The delays are those of Artix-7, speed grade -1.
            ("read_verilog -lib -specify +/xilinx/cells_sim.v", f"tee -q -o {timing} sta")
            if family == "xc7"
            else ()
        ),
    ):
        libyosys.run_pass(command, design)


if __name__ == "__main__":
    _family, _top, _cells, _timing, *_files = sys.argv[1:]
    main(_family, _top, _cells, _timing, _files)
