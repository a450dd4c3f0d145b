"""Register accesses of one call: of the path that is timed, and of pynq's own driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .drivers import Board, Counted, DmaDriver, Driver

if TYPE_CHECKING:
    from .timing import Lean

#: calls of which the register accesses are counted
COUNTED_CALLS = 20


def count_lean(driver: Driver, lean: Lean, x: np.ndarray) -> dict[str, float]:
    """Register accesses of one call of the lean path, over some calls (which are not timed)."""
    counted, real = Counted(driver.registers, driver.board, 60.0), driver.registers
    driver.registers = counted
    try:
        for index in range(COUNTED_CALLS):
            lean.call(x[index % len(x)][np.newaxis])
    finally:
        driver.registers = real
    return {"reads": counted.reads / COUNTED_CALLS, "writes": counted.writes / COUNTED_CALLS}


def count_stock(
    board: Board, overlay: Any, driver: Driver, item: dict[str, Any], x: np.ndarray, timeout: float
) -> tuple[dict[str, float] | None, bool | None]:
    """The same with pynq's own driver of the DMA; also whether its outputs are ours."""
    if not isinstance(driver, DmaDriver):
        return None, None
    ip = overlay
    for part in item["interface"]["dma"].split("/"):
        ip = getattr(ip, part)
    channels = (ip.sendchannel, ip.recvchannel)
    counters = []
    source, target = driver.views(1)
    same = True
    for channel in channels:
        counter = Counted(channel._mmio.array, board, timeout)
        channel._mmio.array = counter
        counters.append(counter)
    if counters[0] is not counters[1] and channels[0]._mmio is channels[1]._mmio:
        counters = [channels[0]._mmio.array]
        counters[0]._array = driver.registers
    for index in range(COUNTED_CALLS):
        values = x[index % len(x)][np.newaxis]
        ours = driver.run(values, timeout)
        np.copyto(driver.source[:1], driver.codec_in.encode(values))
        driver.target[:1] = 0
        target.flush()
        for channel, buffer in zip(channels, (source, target)):
            channel.transfer(buffer)
        for channel in channels:
            channel.wait()
        same = same and bool((driver.codec_out.decode(driver.target[:1].copy()) == ours).all())
    return {
        "reads": sum(counter.reads for counter in counters) / COUNTED_CALLS,
        "writes": sum(counter.writes for counter in counters) / COUNTED_CALLS,
    }, same
