"""Runs yosys on Verilog in the current folder: `synthesis_child.py FAMILY TOP CELLS TIMING MAPPING FILES…`.

A program of its own, with nothing of this project: yosys may crash, or take more than there is.
"""

from __future__ import annotations

import sys
from pathlib import Path

#: what synth_xilinx does between the labels map_luts and finalize (`help synth_xilinx`), but without ABC's
#: `&mfs`: on thousands of adders that takes more time than all the rest, for 2 to 3 % of the look-up tables
QUICK = (
    "opt_expr -mux_undef -noclkinv",
    "abc9 -luts 2:2,3,6:5,10,20 -script +&scorr;&sweep;&dc2;&dch,-f,-r;&ps;&if,-W,300,-v",
    "clean",
    "xilinx_srl -fixed -minlen 3",
    "techmap -map +/xilinx/lut_map.v -map +/xilinx/cells_map.v -D LUT_WIDTH=6",
    "xilinx_dffopt",
    "opt_lut_ins -tech xilinx",
)


def main(family: str, top: str, cells: str, timing: str, mapping: str, files: list[str]) -> None:
    """Write the counts of cells into `cells`, and (7-series only) the delays of paths into `timing`.

    Args:
        mapping: to look-up tables, `thorough` or `quick`.
    """
    from pyosys import libyosys  # type: ignore[import-untyped,unused-ignore]

    def run(*commands: str) -> None:
        design = libyosys.Design()
        for command in commands:
            libyosys.run_pass(command, design)

    netlist = f"{timing}.v"
    flow = f"synth_xilinx -family {family} -flatten -noiopad -noclkbuf -top {top}"
    run(
        f"read_verilog {' '.join(files)}",
        *((f"{flow} -run :map_luts", *QUICK, f"{flow} -run finalize:") if mapping == "quick" else (flow,)),
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
    _family, _top, _cells, _timing, _mapping, *_files = sys.argv[1:]
    main(_family, _top, _cells, _timing, _mapping, _files)
