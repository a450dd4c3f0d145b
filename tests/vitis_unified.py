"""A finished project of hls4ml's VitisUnified backend: the files that its `link_system.sh` leaves, in their
places and under their names (hls4ml main, pull request 1376). Contents are stand-ins."""

from __future__ import annotations

import json
from pathlib import Path

from tests import vendor_tool

PART, TOP = "xczu7ev-ffvc1156-2-e", "digits_axi"
#: what the placed design has of LUT, and the routed one
PLACED, ROUTED = 21_400, 21_377

_REPORTS = {
    "hls_compile.rpt": ("vitis_hls_2023.2_hls_compile.rpt", {"xczu9eg-ffvb1156-2-e": PART}),
    "hls_cosim.rpt": ("vitis_hls_2024.1_cosim.rpt", {}),
    "impl_1_kernel_util_routed.rpt": ("vitis_2023.2_kernel_util_routed.rpt", {}),
    "impl_1_kernel_util_placed.rpt": (
        "vitis_2023.2_kernel_util_routed.rpt",
        {": Routed": ": Fully Placed", " 18302 ": " 18310 "},
    ),
    "impl_1_vitis_design_wrapper_timing_summary_routed.rpt": (
        "vivado_2018.3_timing_met.rpt",
        {"2018.3": "2023.2", "7z020-clg400": "xczu7ev-ffvc1156", "-1  PROD": "-2  PROD"},
    ),
    "impl_1_power_routed.rpt": ("vivado_2023.2_power.rpt", {}),
}
_USE = "vivado_2022.2_placed_ultrascale.rpt"


def final_reports(folder: Path) -> Path:
    """`final_reports/` of a project: reports of HLS, of the linked design, of its kernels, and logs."""
    folder.mkdir(parents=True)
    wrapper = {"design_1_wrapper": "vitis_design_wrapper"}
    for name, (source, changes) in _REPORTS.items():
        (folder / name).write_text(vendor_tool.report(source, **wrapper, **changes))
    for name, state, lut in (
        ("full_util_placed", "Fully Placed", PLACED),
        ("full_util_routed", "Routed", ROUTED),
        ("slr_util_routed", "Routed", ROUTED),
    ):
        text = _use(state, lut)
        (folder / f"impl_1_{name}.rpt").write_text(text)
    (folder / "digits.xclbin.link_summary").write_text(json.dumps({"version": "1.1", "steps": []}))
    (folder / "power_report.log").write_text("# Start of session\n")
    (folder / "power_report.jou").write_text("open_checkpoint vitis_design_wrapper_routed.dcp\n")
    return folder


def _use(state: str, lut: int) -> str:
    return vendor_tool.report(
        _USE,
        **{
            "design_1_wrapper": "vitis_design_wrapper",
            ": Fully Placed": f": {state}",
            " 21733 ": f" {lut} ",
        },
    )


def project(folder: Path) -> Path:
    """The whole project: `export/`, `final_reports/`, and of the workspace what could be mistaken."""
    final_reports(folder / "final_reports")
    bit = vendor_tool.bit(part=PART, design="vitis_design_wrapper", version="2023.2")
    link = "vitis_workspace/system_link/_x"
    files = {
        "export/system.bit": bit,
        "export/system.hwh": _handoff("vitis_design"),
        "export/axi_master_driver.py": "# stands in\n",
        # Vitis keeps the same bitstream under its own name, and handoffs of blocks and of the platform
        f"{link}/link/int/system.bit": bit,
        f"{link}/link/vivado/vpl/prj/prj.gen/sources_1/bd/vitis_design/ip/a/bd_1.hwh": _handoff("bd_1"),
        # single blocks, the largest of which is larger than the whole
        f"{link}/reports/link/syn/vitis_design_smartconnect_0_utilization_synth.rpt": vendor_tool.report(
            _USE, **{"design_1_wrapper": "vitis_design_smartconnect_0", ": Fully Placed": ": Synthesized"}
        ),
    }
    for name, content in files.items():
        vendor_tool.write(folder / name, content)
    return folder


def _handoff(name: str) -> str:
    return vendor_tool.hwh(device="xczu7ev", package="ffvc1156", name=name, version="2023.2")
