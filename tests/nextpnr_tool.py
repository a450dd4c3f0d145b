#!/usr/bin/env python3
"""Stand-in for nextpnr-xilinx: its options, what its log looks like, and its ways to end. It places nothing;
the numbers in its log are made up, and are only ever seen by tests.

`PNR_MODE`: ok, slow (a clock that misses what was asked for), full, crash, hang, old (an option that it does
not know), silent (no frequency in the log), two (clocks).
"""

import json
import os
import re
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path

USE = """
Info: Device utilisation:
Info: \t          SLICE_LUTX:  1234/106400     1%
Info: \t           SLICE_FFX:   567/106400     0%
Info: \t              CARRY4:    19/13300     0%
Info: \t{ram18}:     3/  280     1%
Info: \t{ram36}:     2/  140     1%
Info: \t{dsp}:    24/  220    10%
Info: \t                 PAD:    76/  328    23%
"""


def main() -> int:
    mode = os.environ.get("PNR_MODE", "ok")
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print('"nextpnr-xilinx" -- Next Generation Place and Route (Version 0.8.2-test)', file=sys.stderr)
        return 0
    if mode == "old":
        print("unrecognised option '--timing-allow-fail'")
        return 255
    given = dict(pairwise(arguments))
    for name in ("--chipdb", "--xdc", "--json"):
        if not Path(given[name]).is_file():
            print(f"ERROR: cannot open {given[name]}", file=sys.stderr)
            return 255
    modules = json.loads(Path(given["--json"]).read_text())["modules"]
    top = next(m for m in modules.values() if int(m["attributes"].get("top", "0"), 2))
    bits = {
        f"{name}[{i}]" if len(port["bits"]) > 1 else name
        for name, port in top["ports"].items()
        for i in range(len(port["bits"]))
    }
    standards = set(
        re.findall(r"IOSTANDARD LVCMOS33 \[get_ports \{(.+?)\}\]", Path(given["--xdc"]).read_text())
    )
    if bits != standards:
        print(f"ERROR: port {min(bits ^ standards)} of type PAD has no IOSTANDARD property", file=sys.stderr)
        return 255
    doubled = {"ram18": "RAMB18E1_RAMB18E1", "ram36": "RAMB36E1_RAMB36E1", "dsp": "DSP48E1_DSP48E1"}
    plain = {"ram18": "RAMB18E1", "ram36": "RAMB36E1", "dsp": "DSP48E1"}
    print(USE.format(**(doubled if os.environ.get("PNR_NAMES") == "doubled" else plain)), file=sys.stderr)
    if mode == "full":
        print("ERROR: Unable to find legal placement for all cells, design is probably at utilisation limit.")
        return 255
    if mode == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if mode == "hang":
        time.sleep(600)
    asked = float(given["--freq"])
    reached = asked * (0.8 if mode == "slow" else 1.25)
    clocks = {"silent": (), "two": ("$iopadmap$aclk", "other")}.get(mode, ("$iopadmap$aclk",))
    for factor in (0.9, 1.0):  # after placing, and after routing
        for clock in clocks:
            word = "PASS" if reached * factor > asked else "FAIL"
            print(
                f"Info: Max frequency for clock '{clock}': {reached * factor:.2f} MHz "
                f"({word} at {asked:.2f} MHz)",
                file=sys.stderr,
            )
    print("Info: Program finished normally.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
