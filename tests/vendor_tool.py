#!/usr/bin/env python3
"""Stands in for vivado_hls, vivado, vitis_hls and vitis-run: same command lines, same files, no synthesis.

Only the behaviour of the tools is imitated; the numbers are those of the reports in tests/data and mean
nothing. `$VENDOR_MODE` says what goes wrong, `$VENDOR_LOG` gets a line for each run.
"""

import os
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

REPORTS = Path(__file__).resolve().parent / "data" / "fpga_reports"
if "VENDOR_REPORTS" in os.environ:
    REPORTS = Path(os.environ["VENDOR_REPORTS"])
HWH = """<?xml version="1.0" encoding="UTF-8" standalone="no" ?>
<EDKSYSTEM EDWVERSION="1.2" TIMESTAMP="{stamp}" VIVADOVERSION="{version}">
  <SYSTEMINFO ARCH="zynq" BOARD="tul.com.tw:pynq-z2:part0:1.0" DEVICE="{device}" NAME="{name}" PACKAGE="{package}" SPEED="-1"/>
  <MODULES>
    <MODULE FULLNAME="/hier_0/axi_dma_0" INSTANCE="hier_0_axi_dma_0" MODTYPE="axi_dma" VLNV="xilinx.com:ip:axi_dma:7.1"/>
    <MODULE FULLNAME="/hier_0/network_axi_0" INSTANCE="hier_0_network_axi_0" VLNV="xilinx.com:hls:network_axi:1.0"/>
  </MODULES>
</EDKSYSTEM>
"""  # noqa: E501


def bit(part="7z020clg400", design="design_1_wrapper", version="2020.1", date="2024/01/31", data=256):
    """A bitstream of nothing with a header as Vivado writes it."""
    fields = b""
    text = f"{design};UserID=0XFFFFFFFF;Version={version}" if version else design
    for key, value in (("a", text), ("b", part), ("c", date), ("d", "12:30:05")):
        raw = value.encode() + b"\0"
        fields += key.encode() + struct.pack(">H", len(raw)) + raw
    magic = b"\x0f\xf0\x0f\xf0\x0f\xf0\x0f\xf0\x00"
    body = b"\xff" * 32 + b"\xaa\x99\x55\x66" + b"\0" * (data - 36)
    return struct.pack(">H", 9) + magic + b"\0\1" + fields + b"e" + struct.pack(">I", len(body)) + body


def hwh(
    device="7z020", package="clg400", name="design_1", version="2020.1", stamp="Wed Jan 31 12:00:00 2024"
):
    return HWH.format(device=device, package=package, name=name, version=version, stamp=stamp)


def report(name, **changes):
    text = (REPORTS / name).read_text()
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


def write(path, data):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def hls(mode, project, top):
    text = report("vivado_hls_2020.1_csynth.xml", myproject=top)
    if mode == "truncated":
        text = text[: len(text) // 2]
    if mode == "other-top":
        text = report("vivado_hls_2020.1_csynth.xml")
    if mode != "no-csynth":
        write(f"{project}_prj/solution1/syn/report/{top}_csynth.xml", text)
    if mode != "no-ip":
        write(f"{project}_prj/solution1/impl/ip/component.xml", "<component/>")


def implement(mode, project):
    run = f"{project}_vivado_accelerator/project_1.runs/impl_1"
    handoff = f"{project}_vivado_accelerator/project_1.srcs/sources_1/bd/design_1/hw_handoff/design_1.hwh"
    timing = report("vivado_2018.3_timing_met.rpt")
    if mode == "slack":
        timing = report("vivado_2024.1_timing_failed.rpt", **{"xck26-sfvc784": "7z020-clg400", "-2LV": "-1"})
    if mode != "no-timing":
        write(f"{run}/design_1_wrapper_timing_summary_routed.rpt", timing)
    if mode != "no-use":
        use = report("vivado_2019.2_hierarchical_percent.rpt", top_wrapper="design_1_wrapper")
        write("util.rpt", use)
    data = bit(part="7z010clg400" if mode == "bit-part" else "7z020clg400")
    if mode == "bit-empty":
        data = b""
    if mode == "bit-short":
        data = data[:-10]
    if mode != "no-bit":
        write(f"{run}/design_1_wrapper.bit", data)
    text = hwh(device="xczu9eg", package="ffvb1156") if mode == "hwh-part" else hwh()
    if mode == "hwh-design":
        text = hwh(name="other")
    if mode == "hwh-young":
        text = hwh(stamp="Wed Jan 31 12:31:00 2024")
    if mode == "hwh-short":
        text = text[:300]
    if mode != "no-hwh":
        write(handoff, text)
    # Blocks of a block design have handoffs of their own.
    write(str(Path(handoff).parents[1] / "ip" / "bd_1.hwh"), hwh(name="bd_1"))


def main():
    name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    mode = os.environ.get("VENDOR_MODE", "ok")
    if arguments[:1] in (["-version"], ["--version"]):
        print(f"{name} v{os.environ.get('VENDOR_VERSION', '2020.1')} (64-bit)")
        return 0
    if "VENDOR_LOG" in os.environ:
        with Path(os.environ["VENDOR_LOG"]).open("a") as log:
            log.write(f"{os.getpid()} {name} {' '.join(arguments)}\n")
    print(f"INFO: {name} begins", flush=True)
    settings = dict(re.findall(r'set (\w+) "?([^"\n]+)"?', Path("project.tcl").read_text()))
    project = settings["project_name"]
    if mode == "hang":
        # A grandchild in a session of its own, as launch_runs leaves behind.
        child = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
        )
        with Path(os.environ["VENDOR_LOG"]).open("a") as log:
            log.write(f"{child.pid} child\n")
        time.sleep(600)
    if mode == "slow":
        time.sleep(float(os.environ["VENDOR_SECONDS"]))
    if mode == "memory":
        held = []
        for _ in range(100):
            held.append(bytearray(b"x" * 20_000_000))
            time.sleep(0.05)
    if mode == "crash":
        print("ERROR: [HLS 200-70] Compilation errors found", flush=True)
        return 1
    if mode == "y2k22":
        print(
            "ERROR: [Common 17-69] bad lexical cast: source type value could not be interpreted", flush=True
        )
        return 1
    if mode == "killed":
        os.kill(os.getpid(), 9)
    if name == "vivado":
        if "design.tcl" in arguments:
            implement(mode, project)
        else:
            write("vivado_synth.rpt", report("vivado_2020.1_synth_7series.rpt", myproject=project))
    else:
        accelerator = settings["backend"] == "vivadoaccelerator"
        hls(mode, project, project + "_axi" if accelerator else project)
    return 0


if __name__ == "__main__":
    sys.exit(main())
