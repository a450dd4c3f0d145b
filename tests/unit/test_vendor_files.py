"""Bitstreams and hardware handoffs: what they say, whether they belong together, damage."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import ArtifactError
from targets.fpga.vendor.overlay_files import read_bit, read_hwh, same_part, strangers
from tests import vendor_tool


def bit(folder: Path, data: bytes | None = None) -> Path:
    path = folder / "a.bit"
    path.write_bytes(vendor_tool.bit() if data is None else data)
    return path


def hwh(folder: Path, text: str | bytes | None = None) -> Path:
    path = folder / "a.hwh"
    raw = vendor_tool.hwh() if text is None else text
    path.write_bytes(raw.encode() if isinstance(raw, str) else raw)
    return path


def test_header_of_a_bitstream(tmp_path: Path) -> None:
    found = read_bit(bit(tmp_path))
    assert (found.design, found.part, found.version) == ("design_1_wrapper", "7z020clg400", "2020.1")
    assert (found.date, found.time, found.length) == ("2024/01/31", "12:30:05", 256)


def test_options_in_whatever_order(tmp_path: Path) -> None:
    data = vendor_tool.bit(design="top;Version=2025.1;UserID=0XFFFFFFFF;SW_CRC=12ab", version="")
    found = read_bit(bit(tmp_path, data))
    assert (found.design, found.version, found.options["SW_CRC"]) == ("top", "2025.1", "12ab")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "empty"),
        (b"\xff" * 400, "not a .bit|damaged"),
        (vendor_tool.bit()[:-1], "cut off"),
        (vendor_tool.bit() + b"\0", "longer"),
        (vendor_tool.bit()[:20], "cut off|damaged|missing"),
        (vendor_tool.bit()[:60], "cut off|damaged|missing"),
        (vendor_tool.bit().replace(b"\xaa\x99\x55\x66", b"\0\0\0\0"), "no configuration data"),
    ],
)
def test_a_bad_bitstream_is_refused(data: bytes, match: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=match):
        read_bit(bit(tmp_path, data))


@given(st.binary(max_size=300), st.integers(0, 200))
def test_any_bytes_are_read_or_refused(noise: bytes, keep: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for read, make, whole in (
            (read_bit, bit, vendor_tool.bit()),
            (read_hwh, hwh, vendor_tool.hwh().encode()),
        ):
            try:
                read(make(Path(folder), whole[:keep] + noise))  # type: ignore[operator]
            except ArtifactError as error:
                assert error.where


def test_a_handoff_says_its_design(tmp_path: Path) -> None:
    found = read_hwh(hwh(tmp_path))
    assert (found.name, found.device, found.package, found.version) == (
        "design_1",
        "7z020",
        "clg400",
        "2020.1",
    )
    assert found.board == "tul.com.tw:pynq-z2:part0:1.0"
    assert "xilinx.com:ip:axi_dma:7.1" in [module.vlnv for module in found.modules]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp037"])
def test_entities_are_refused_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    text = vendor_tool.hwh().partition("?>")[2]
    evil = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a [<!ENTITY b "c">]>{text}'
    with pytest.raises(ArtifactError, match=r"DOCTYPE|not XML"):
        read_hwh(hwh(tmp_path, evil.encode(encoding)))


@pytest.mark.parametrize("text", ["<a/>", "<EDKSYSTEM/>", "no XML", vendor_tool.hwh()[:250]])
def test_a_bad_handoff_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        read_hwh(hwh(tmp_path, text))


def test_links_are_not_files(tmp_path: Path) -> None:
    bit(tmp_path)
    (tmp_path / "b.bit").symlink_to(tmp_path / "a.bit")
    with pytest.raises(ArtifactError, match="not a file"):
        read_bit(tmp_path / "b.bit")


@pytest.mark.parametrize(
    ("of_bit", "of_hwh", "reason"),
    [
        ({}, {}, None),
        ({"part": "xczu9eg-ffvb1156-2-e"}, {"device": "xczu9eg", "package": "ffvb1156"}, None),
        ({"part": "7z010clg400"}, {}, "for 7z010clg400"),
        ({"part": "7z020clg484"}, {}, "for 7z020clg484"),
        ({"design": "other"}, {}, "design 'other'"),
        ({"design": "design_1"}, {}, None),
        ({"version": "2019.2"}, {}, "made by Vivado 2019.2"),
        ({"version": "2020.1_AR123"}, {}, None),
        ({"date": "2024/01/30"}, {}, "younger"),
        ({"date": "no date"}, {"stamp": "no stamp"}, None),
    ],
)
def test_which_belong_together(
    of_bit: dict[str, str], of_hwh: dict[str, str], reason: str | None, tmp_path: Path
) -> None:
    found = strangers(
        read_bit(bit(tmp_path, vendor_tool.bit(**of_bit))), read_hwh(hwh(tmp_path, vendor_tool.hwh(**of_hwh)))
    )
    assert (found == []) if reason is None else reason in "; ".join(found)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("7z020clg400", "xc7z020clg400-1", True),
        ("xczu9eg-ffvb1156-2-e", "xczu9egffvb1156-2-e", True),
        ("xck26-sfvc784-2LV-c", "xck26-sfvc784", True),
        ("7z020clg400", "7z010clg400", False),
        ("", "7z010clg400", False),
    ],
)
def test_spellings_of_a_part(one: str, other: str, same: bool) -> None:
    assert same_part(one, other) is same
