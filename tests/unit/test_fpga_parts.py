"""The table of parts: names in all spellings, shares, whether a design fits."""

from __future__ import annotations

import pytest

from bench.errors import ConfigError
from targets.fpga.parts import (
    BOARDS,
    DEVICES,
    RESOURCES,
    Device,
    as_reported,
    device_of,
    fits,
    kernel_latency_s,
    percent,
)

Z7 = DEVICES["xc7z020"]
#: lut, ff, dsp, blocks of 36 Kbit, uram: as the vendor's product tables count
TABLES = {
    "xc7z020": (53_200, 106_400, 220, 140, 0),
    "xczu3eg": (70_560, 141_120, 360, 216, 0),
    "xczu7ev": (230_400, 460_800, 1_728, 312, 96),
    "xczu9eg": (274_080, 548_160, 2_520, 912, 0),
    "xck26": (117_120, 234_240, 1_248, 144, 64),
    "xczu28dr": (425_280, 850_560, 4_272, 1_080, 80),
    "xczu48dr": (425_280, 850_560, 4_272, 1_080, 80),
}


def test_the_table_is_the_vendors() -> None:
    found = {
        name: (device.lut, device.ff, device.dsp, device.bram18 // 2, device.uram)
        for name, device in DEVICES.items()
    }
    assert found == TABLES
    assert all(device.ff == 2 * device.lut and device.bram18 % 2 == 0 for device in DEVICES.values())


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("xc7z020clg400-1", "xc7z020"),
        ("xc7z020-clg400-1", "xc7z020"),
        ("7z020clg400-1", "xc7z020"),
        ("7z020-clg400", "xc7z020"),
        ("XC7Z020", "xc7z020"),
        (" PYNQ-Z2 ", "xc7z020"),
        ("pynq_z1", "xc7z020"),
        ("xczu3egsbva484-1-i", "xczu3eg"),
        ("ultra96v2", "xczu3eg"),
        ("aup-zu3", "xczu3eg"),
        ("zcu104", "xczu7ev"),
        ("zcu102", "xczu9eg"),
        ("xck26-sfvc784-2LV-c", "xck26"),
        ("xck26sfvc784-2lv-c", "xck26"),
        ("kv260", "xck26"),
        ("kr260", "xck26"),
        ("rfsoc2x2", "xczu28dr"),
        ("rfsoc4x2", "xczu48dr"),
    ],
)
def test_names(name: str, device: str) -> None:
    assert device_of(name) is DEVICES[device]


@pytest.mark.parametrize("board", sorted(BOARDS))
def test_every_board_has_a_device(board: str) -> None:
    assert device_of(board) is device_of(BOARDS[board])


@pytest.mark.parametrize("name", ["xc7z020s", "xczu3egx", "xc7z0201clg400", "xc7a35t", "", "pynq-z3"])
def test_unknown(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown part or board"):
        device_of(name)


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'pynq-z"):
        device_of("pynq-z3")


def test_percent() -> None:
    used = {"lut": 26_600, "ff": 0, "dsp": 220, "bram18": None, "uram": 0, "power_total_w": 1.5}
    assert percent(used, Z7) == {"lut": 50.0, "ff": 0.0, "dsp": 100.0}  # it has no URAM to have a share of


WHOLE = {"lut": 53_200, "ff": 106_400, "dsp": 220, "bram18": 280}


@pytest.mark.parametrize("name", RESOURCES)
def test_fits(name: str) -> None:
    assert fits(WHOLE, Z7) is True  # URAM is not told, and there is none
    assert fits({**WHOLE, name: getattr(Z7, name) + 1}, Z7) is False


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_whether_it_fits_is_not_known(name: str) -> None:
    assert fits({**WHOLE, name: None}, Z7) is None
    assert fits({"lut": 53_201}, Z7) is False  # whatever the rest is
    assert fits(WHOLE, DEVICES["xczu7ev"]) is None  # URAM is not told, and there is some


def test_what_a_report_says_is_available_wins() -> None:
    found = as_reported(Z7, {"lut": 50_000, "dsp": None})
    assert found == Device("xc7z020", 50_000, 106_400, 220, 280, 0)
    assert as_reported(None, {"lut": 1, "ff": 2, "dsp": 3, "bram18": 4}) == Device("unknown", 1, 2, 3, 4, 0)
    assert as_reported(None, {"lut": 1, "ff": 2, "dsp": 3, "bram18": None}) is None


def test_kernel_latency() -> None:
    assert kernel_latency_s(300, 5.0) == pytest.approx(1.5e-6)
    assert kernel_latency_s(None, 5.0) is None
    assert kernel_latency_s(300, None) is None
    assert kernel_latency_s(0, 5.0) == 0.0
