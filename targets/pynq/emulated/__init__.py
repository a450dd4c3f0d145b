"""An emulated board for the unmodified pynq package: its outputs and register traffic are real, its times
are modelled.

It runs in the environment of the boards only (`make board`); nothing finds it by accident, the agent
has to be told with `--emulator`. `hwh` writes overlays for it and needs nothing but Python.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["activate"]


def activate(job_folder: str | Path) -> Any:
    """Put the board that a job is for in place of a real one; returns the device.

    The agent uses of it: `clock.now_ns()`, `clock.sleep(seconds)`, `clock.spend(ns)`.

    Args:
        job_folder: the unpacked job.
    """
    from . import device as board
    from . import faults, hwh, kernels, rtl

    job = Path(job_folder)
    description = json.loads((job / "job.json").read_text())
    place = Path(tempfile.mkdtemp(prefix="emulated-board-"))
    atexit.register(shutil.rmtree, place, True)
    designs: dict[str, board.Design] = {}
    part = ""
    for index, item in enumerate(description["items"]):
        files = item.get("files", {})
        if item["kind"] != "overlay" or "overlay.bit" not in files:
            continue
        part = part or str((item.get("sanity") or {}).get("part") or "")
        interface = item["interface"]
        program: kernels.Program | rtl.RtlProgram
        if f"kernel/{rtl.PROGRAM}" in files:
            program = rtl.RtlProgram(kernels.unpack(job, files, place / str(index), rtl.PROGRAM))
        else:
            folder = kernels.unpack(job, files, place / str(index))
            program = kernels.Program(folder, int(interface["inputs"]), int(interface["outputs"]))
        atexit.register(program.close)
        designs[files["overlay.bit"]] = board.Design(item["id"], interface, program, item.get("cycles"))
        if "loopback.bit" in files:
            echo = {"output" + key[5:]: value for key, value in interface.items() if key.startswith("input")}
            designs[files["loopback.bit"]] = board.Design(
                item["id"], {**interface, **echo}, lambda x: x, {"latency": 4, "interval": 1}
            )
    wanted = faults.Faults.of(os.environ)
    if wanted.active("full_disk"):
        faults.fill_disk(round(wanted.number("full_disk") or 1))
    device = board.EmulatedDevice(designs, hwh.soc_of(part), wanted)
    board.activate(device)
    return device
