"""What the devices of PYNQ boards have, and whether a design fits.

Numbers: AMD's product tables, Zynq-7000 (DS190), Zynq UltraScale+ MPSoC (DS891), Zynq UltraScale+ RFSoC
(DS889), Kria K26 (DS987). Those tables count block RAM in blocks of 36 Kbit; here as in HLS reports,
in halves of 18 Kbit. Where a report says what is available, that counts, not this table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bench.errors import ConfigError, did_you_mean

RESOURCES = ("lut", "ff", "dsp", "bram18", "uram")


@dataclass(frozen=True)
class Device:
    """Totals of a device: look-up tables, flip-flops, DSP slices, RAM blocks of 18 Kbit, UltraRAM blocks."""

    name: str
    lut: int
    ff: int
    dsp: int
    bram18: int
    uram: int


DEVICES: Mapping[str, Device] = {
    device.name: device
    for device in (
        Device("xc7z020", 53_200, 106_400, 220, 280, 0),
        Device("xczu3eg", 70_560, 141_120, 360, 432, 0),
        Device("xczu7ev", 230_400, 460_800, 1_728, 624, 96),
        Device("xczu9eg", 274_080, 548_160, 2_520, 1_824, 0),
        Device("xck26", 117_120, 234_240, 1_248, 288, 64),
        Device("xczu28dr", 425_280, 850_560, 4_272, 2_160, 80),
        Device("xczu48dr", 425_280, 850_560, 4_272, 2_160, 80),
    )
}

#: full part of each board, as the tools take it
BOARDS: Mapping[str, str] = {
    "pynq-z1": "xc7z020clg400-1",
    "pynq-z2": "xc7z020clg400-1",
    "ultra96-v2": "xczu3eg-sbva484-1-i",
    "aup-zu3": "xczu3eg-sfvc784-2-e",
    "zcu104": "xczu7ev-ffvc1156-2-e",
    "zcu102": "xczu9eg-ffvb1156-2-e",
    "kv260": "xck26-sfvc784-2LV-c",
    "kr260": "xck26-sfvc784-2LV-c",
    "zcu111": "xczu28dr-ffvg1517-2-e",
    "rfsoc2x2": "xczu28dr-ffvg1517-2-e",
    "rfsoc4x2": "xczu48dr-ffvg1517-2-e",
}


def device_of(part_or_board: str) -> Device:
    """The device of a board (`pynq-z2`) or part (`xc7z020clg400-1`, `7z020-clg400`), in any case.

    Raises:
        ConfigError: it is not in the table.
    """
    name = part_or_board.strip().lower().replace("_", "-")
    boards = {board.replace("-", ""): part for board, part in BOARDS.items()}
    part = boards.get(name.replace("-", ""), name).lower()
    for device in DEVICES:
        # What follows is the package: xc7z020s or xczu3egx would be other devices.
        if re.match(rf"(xc)?{device.removeprefix('xc')}($|-|[a-z]{{2,4}}\d{{3,4}})", part):
            return DEVICES[device]
    raise ConfigError(
        f"unknown part or board {part_or_board!r}", mend=did_you_mean(name, [*DEVICES, *BOARDS])
    )


def as_reported(device: Device | None, available: Mapping[str, int | None]) -> Device | None:
    """The device with what a report says is available; None where neither table nor report is complete.

    A report that has all but UltraRAM is of a device without it.
    """
    known = {name: count for name in RESOURCES if (count := available.get(name)) is not None}
    if device is not None:
        return Device(device.name, **{**{name: getattr(device, name) for name in RESOURCES}, **known})
    if {"lut", "ff", "dsp", "bram18"} <= set(known):
        return Device("unknown", **{"uram": 0, **known})
    return None


def percent(values: Mapping[str, object], device: Device) -> dict[str, float]:
    """Share of the device that is used, in percent, of what is known and the device has."""
    return {
        name: 100.0 * used / getattr(device, name)
        for name in RESOURCES
        if isinstance(used := values.get(name), int | float) and getattr(device, name)
    }


def fits(values: Mapping[str, object], device: Device) -> bool | None:
    """Whether nothing is used beyond what there is. None where a count is missing that could decide it.

    UltraRAM that is not reported counts as unused on devices that have none.
    """
    complete = True
    for name in RESOURCES:
        used, there = values.get(name), getattr(device, name)
        if isinstance(used, int | float):
            if used > there:
                return False
        elif there:
            complete = False
    return True if complete else None


def kernel_latency_s(cycles: float | None, period_ns: float | None) -> float | None:
    """Seconds that this many cycles take; None where one of both is not known."""
    return None if cycles is None or period_ns is None else cycles * period_ns * 1e-9
