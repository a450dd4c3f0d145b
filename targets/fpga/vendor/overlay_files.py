"""The two files of an overlay: the bitstream (.bit) and the hardware handoff (.hwh), and whether they belong
together. Standard library only: neither pynq nor TensorFlow.

A .bit begins with a header of fields `a` to `e` (as in UG470 and its 7 series and UltraScale successors):
design name with options, part, date, time, length of the configuration data, which follow. A .hwh is XML:
`EDKSYSTEM` with `SYSTEMINFO` and `MODULES`.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

from bench.errors import ArtifactError

#: The largest devices have bitstreams of 250 MB; the hwh of a full design has 10 MB.
MAX_BIT_BYTES, MAX_HWH_BYTES = 512 << 20, 64 << 20
#: less than the smallest device's configuration data would ever be
MIN_DATA_BYTES = 16
MAGIC = b"\x0f\xf0\x0f\xf0\x0f\xf0\x0f\xf0\x00"
SYNC = b"\xaa\x99\x55\x66"
_AGAIN = "Copy the file again, or let the tool write it again."


class _NoDoctype(ElementTree.TreeBuilder):
    """Entities of a file that comes from elsewhere are never defined, in whatever encoding."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it has a DOCTYPE, which no tool writes")


@dataclass(frozen=True)
class BitHeader:
    """Header of a bitstream.

    Attributes:
        design: name of the top module.
        options: what follows it (`UserID`, `Version`, `SW_CRC`, ...), in whatever order.
        part: as the header has it: `7z020clg400`, `xczu3eg-sbva484-1-i`.
        date, time: as the header has them: `2024/01/31`, `12:30:05`.
        length: bytes of configuration data.
    """

    design: str
    options: dict[str, str]
    part: str
    date: str
    time: str
    length: int

    @property
    def version(self) -> str | None:
        """Release of the tool, `2020.1`."""
        return self.options.get("Version")

    @property
    def written(self) -> datetime | None:
        return _time(f"{self.date} {self.time}", "%Y/%m/%d %H:%M:%S")


@dataclass(frozen=True)
class Module:
    """One block of a block design: its instance name, and vendor:library:name:version of its type."""

    name: str
    vlnv: str


@dataclass(frozen=True)
class Handoff:
    """What a .hwh says of its design.

    Attributes:
        name: of the block design. part: device with package, without dashes: `7z020clg400`.
        board: `tul.com.tw:pynq-z2:part0:1.0` or None.
    """

    name: str
    arch: str
    device: str
    package: str
    speed: str
    board: str | None
    version: str | None
    written: datetime | None
    modules: tuple[Module, ...]

    @property
    def part(self) -> str:
        return self.device + self.package


def read_bit(path: Path) -> BitHeader:
    """Read the header and see that the file is as long as it says.

    Raises:
        ArtifactError: missing, empty, foreign, cut off or too large.
    """
    where = str(path)
    size = _size(path, MAX_BIT_BYTES)
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
        found, start = _fields(head, where)
    if size != start + found.length:
        how = "cut off" if size < start + found.length else "longer than its header says"
        raise ArtifactError(
            f"the bitstream is {how}: {size - start:,} of {found.length:,} bytes",
            where=where,
            mend=_AGAIN,
        )
    if found.length < MIN_DATA_BYTES:
        raise ArtifactError(f"the bitstream holds {found.length} bytes of data", where=where, mend=_AGAIN)
    if SYNC not in head[start:]:
        raise ArtifactError("no configuration data follow the header", where=where, mend=_AGAIN)
    return found


def _fields(head: bytes, where: str) -> tuple[BitHeader, int]:
    """The header, and where the data begin."""
    try:
        (length,) = struct.unpack_from(">H", head, 0)
        if head[2 : 2 + length] != MAGIC:
            raise ArtifactError("not a .bit file (a raw .bin has no header)", where=where)
        place = 2 + length + 2  # a length of one: the key of the first field
        texts: dict[str, str] = {}
        for key in "abcd":
            if head[place : place + 1] != key.encode():
                raise ArtifactError(f"field {key!r} of the header of the bitstream is missing", where=where)
            (length,) = struct.unpack_from(">H", head, place + 1)
            value = head[place + 3 : place + 3 + length]
            if len(value) != length:
                raise ArtifactError("the header of the bitstream is cut off", where=where, mend=_AGAIN)
            texts[key] = value.rstrip(b"\0").decode("ascii")
            place += 3 + length
        if head[place : place + 1] != b"e":
            raise ArtifactError("field 'e' of the header of the bitstream is missing", where=where)
        (length,) = struct.unpack_from(">I", head, place + 1)
    except (struct.error, UnicodeDecodeError) as error:
        raise ArtifactError("the header of the bitstream is damaged", where=where, mend=_AGAIN) from error
    design, *rest = texts["a"].split(";")
    options = {name: value for name, _, value in (item.partition("=") for item in rest) if name}
    return BitHeader(design, options, texts["b"], texts["c"], texts["d"], length), place + 5


def read_hwh(path: Path) -> Handoff:
    """Read a hardware handoff.

    Raises:
        ArtifactError: missing, empty, too large, not such XML, or with a DOCTYPE.
    """
    where = str(path)
    _size(path, MAX_HWH_BYTES)
    try:
        root = ElementTree.fromstring(path.read_bytes(), ElementTree.XMLParser(target=_NoDoctype()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ArtifactError(f"not XML, or cut off ({error})", where=where, mend=_AGAIN) from None
    info = root.find("SYSTEMINFO")
    if root.tag != "EDKSYSTEM" or info is None:
        raise ArtifactError("not a hardware handoff (no EDKSYSTEM with SYSTEMINFO)", where=where)
    device = (info.get("DEVICE") or "").strip()
    if not device:
        raise ArtifactError("the hardware handoff names no device", where=where)
    return Handoff(
        info.get("NAME") or root.get("NAME") or "",
        info.get("ARCH") or root.get("ARCH") or "",
        device,
        info.get("PACKAGE") or "",
        info.get("SPEEDGRADE") or info.get("SPEED") or "",
        info.get("BOARD") or None,
        root.get("VIVADOVERSION") or root.get("VIVADO_VERSION"),
        _time(root.get("TIMESTAMP") or "", "%a %b %d %H:%M:%S %Y"),
        tuple(
            Module(module.get("INSTANCE") or "", module.get("VLNV") or "")
            for module in root.iterfind("MODULES/MODULE")
        ),
    )


def strangers(bit: BitHeader, hwh: Handoff) -> list[str]:
    """Why a hardware handoff does not belong to a bitstream; empty if nothing speaks against it."""
    found = []
    mine, other = plain_part(bit.part), plain_part(hwh.part)
    if not (mine.startswith(other) and mine):
        found.append(f"the bit is for {bit.part}, the hwh for {hwh.device} {hwh.package}")
    if hwh.name and bit.design not in (hwh.name, f"{hwh.name}_wrapper"):
        found.append(f"the bit is of design {bit.design!r}, the hwh of {hwh.name!r}")
    if bit.version and hwh.version and bit.version.split("_")[0] != hwh.version.split("_")[0]:
        found.append(f"the bit was made by Vivado {bit.version}, the hwh by {hwh.version}")
    if bit.written and hwh.written and hwh.written > bit.written:
        found.append(f"the hwh is of {hwh.written}, younger than the bit of {bit.written}")
    return found


def plain_part(part: str) -> str:
    """A part's name such that the spellings of all tools begin alike: `7z020clg400`, `zu3egsbva4841i`."""
    return re.sub(r"[^a-z0-9]", "", part.lower()).removeprefix("xc")


def same_part(one: str, other: str) -> bool:
    """Whether two names are of one part; one of them may leave out speed and temperature grade."""
    a, b = plain_part(one), plain_part(other)
    # Without a package it is a device, which several parts share.
    return bool(a and b) and (a.startswith(b) or b.startswith(a))


def _size(path: Path, limit: int) -> int:
    where = str(path)
    if path.is_symlink() or not path.is_file():
        raise ArtifactError("this is not a file", where=where)
    size = path.stat().st_size
    if size == 0:
        raise ArtifactError("it is empty", where=where, mend=_AGAIN)
    if size > limit:
        raise ArtifactError(f"{size:,} bytes: more than any real one has", where=where)
    return size


def _time(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(" ".join(text.split()), form)
    except ValueError:
        return None
