"""A baseline: the same way to and from the fabric with a FIFO in place of the kernel."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .drivers import DmaDriver, bit_part
from .job import ItemError
from .measurement import Measurement, statistics
from .timing import Lean


def time_loopback(of: Measurement, pynq: Any, folder: Path, x: np.ndarray) -> dict[str, Any]:
    """Times of the loopback overlay, and how much longer the kernel takes."""
    job, asked, value = of.job, of.item["interface"], of.value
    if asked["style"] != "axis_dma" or "loopback.hwh" not in of.item["files"]:
        raise ItemError("a loopback is an overlay with a DMA: loopback.bit and loopback.hwh")
    part = bit_part(folder / "loopback.bit")
    if part != value["part"]:
        raise ItemError(f"the loopback is for {part}, the overlay for {value['part']}")
    pynq.PL.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        overlay = pynq.Overlay(str(folder / "loopback.bit"))
    echo = {"output" + key[5:]: entry for key, entry in asked.items() if key.startswith("input")}
    driver = DmaDriver(of.board, pynq, overlay, {"interface": {**asked, **echo}}, 1)
    back, sent = driver.run(x[:1], job.protocol.timeout), driver.codec_in.encode(x[:1])
    if (back != driver.codec_in.decode(sent)).any():
        raise ItemError("the loopback gives back other values than were sent")
    lean = Lean(driver, 1, job.protocol.timeout)
    lean.warm_up(x[:1], job.protocol.warmup_calls)
    clocks = [lean.call(x[index % len(x)][np.newaxis])[1] for index in range(job.protocol.calls)]
    found = statistics(np.array([clock[3] - clock[2] for clock in clocks]) * 1e-9)
    more = value["phases"]["execute"]["p50"] - found["p50"]
    return {"execute": found, "bytes": driver.frame_in, "execute_above_loopback_s": more}
