"""Plays the Python of a real board: pynq finds the emulated fabric as it would find a real one, so that the
agent runs a job for real hardware as it is, with nothing emulated that it could know of.

    python pretend_board.py agent.pyz job.tar.gz …      (or --check)

`~/pretend.json`: {"item": …, "interface": …, "factor": …, "bits": [sha256 of overlays], "loopback": sha256}.
The kernel adds every n-th input, n being the number of outputs, on a grid of 1/64.
"""

from __future__ import annotations

import json
import runpy
import sys
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def network(x: np.ndarray, outputs: int, factor: float) -> np.ndarray:
    flat = x.reshape(len(x), -1).astype(np.float64)
    return np.stack([np.rint(factor * 64 * flat[:, k::outputs].sum(axis=1)) / 64 for k in range(outputs)], 1)


def plug_in() -> None:
    """The fabric, where pynq looks for a board."""
    sys.path.insert(0, str(ROOT / "targets" / "pynq"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pynq
        from emulated import device  # type: ignore[import-not-found,unused-ignore]
    told = json.loads((Path.home() / "pretend.json").read_text())
    interface, factor = told["interface"], float(told["factor"])
    kernel = device.Design("", interface, lambda x: network(x, int(interface["outputs"]), factor))
    echo = {"output" + key[5:]: value for key, value in interface.items() if key.startswith("input")}
    designs = dict.fromkeys(told["bits"], kernel)
    if told.get("loopback"):
        designs[told["loopback"]] = device.Design("", {**interface, **echo}, lambda x: x)
    board = device.EmulatedDevice(designs)
    pynq.Device._devices = [board]
    device.activate(board)


if __name__ == "__main__":
    plug_in()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
