"""Archives (.tar.gz) and arrays (.npy) that come from elsewhere, read without trusting them.

Only plain files with expected names are read, into memory, within limits; nothing is unpacked to disk, no
link is followed, nothing is unpickled or evaluated. Written here rather than with `tarfile`, which reads
extended headers of any length and knows a dozen kinds of members; of these, two are wanted.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from bench.errors import ArtifactError
from targets.pynq.printable import one_line

#: bytes of an archive, of all that it unpacks to, of one file, of an extended header; number of members
MAX_ARCHIVE, MAX_TOTAL, MAX_FILE = 1 << 30, 4 << 30, 512 << 20
MAX_EXTENDED, MAX_MEMBERS = 64 << 10, 20_000
#: zeros that may follow the last member: tools fill up their last block
MAX_END = 1 << 20
BLOCK = 512
_KINDS = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe",
    b"S": "a sparse file", b"L": "a name of unusual length", b"K": "a link of unusual length",
}  # fmt: skip
_AGAIN = "Fetch it again from where it was made."


class _Broken(Exception):
    """What is wrong with an archive; `read_archive` says where."""


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Unpacked:
    """The unpacked stream, up to a limit."""

    def __init__(self, stream: _Readable) -> None:
        self._stream, self._read = stream, 0

    def some(self, size: int) -> bytes:
        """Up to `size` bytes."""
        found = self._stream.read(size)
        self._read += len(found)
        if self._read > MAX_TOTAL:
            raise _Broken(f"it unpacks to more than {MAX_TOTAL >> 20:,} MB")
        return found

    def exactly(self, size: int) -> bytes:
        found = self.some(size)
        if len(found) != size:
            raise _Broken("it is cut off")
        return found


def read_archive(path: Path, wanted: Callable[[str], int | None]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the members, in their order.

    Args:
        wanted: for a name, the most bytes that it may have; None if there is to be no such file.

    Raises:
        ArtifactError: missing, cut off, damaged, too large, or with members that are not wanted (other
            names, paths out of the archive's folder, links, devices, the same name twice).
    """
    where = str(path)
    if not path.is_file():
        raise ArtifactError("no such file", where=where)
    if path.stat().st_size > MAX_ARCHIVE:
        raise ArtifactError(
            f"larger than {MAX_ARCHIVE >> 20:,} MB", where=where, mend="It is no such archive."
        )
    try:
        with path.open("rb") as packed, gzip.GzipFile(fileobj=packed) as stream:
            yield from _members(_Unpacked(stream), wanted)
    except _Broken as error:
        raise ArtifactError(str(error), where=where, mend=_AGAIN) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        how = "cut off" if isinstance(error, EOFError) else "damaged, or no .tar.gz"
        raise ArtifactError(f"it is {how} ({error})", where=where, mend=_AGAIN) from error


def _members(stream: _Unpacked, wanted: Callable[[str], int | None]) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()
    for _ in range(MAX_MEMBERS):
        header = stream.exactly(BLOCK)
        if not any(header):
            break
        name, kind, size = _header(header)
        if kind in (b"x", b"g"):  # dates and the like; a name or size in there is not believed
            if size > MAX_EXTENDED:
                raise _Broken(f"an extended header of {size:,} bytes")
            stream.exactly(-(-size // BLOCK) * BLOCK)
            continue
        if kind == b"5" and size == 0:
            _inside(name.rstrip("/"))
            continue
        _inside(name)
        if kind not in (b"0", b"\0"):
            raise _Broken(f"{one_line(name, 100)!r} is {_KINDS.get(kind, 'no plain file')}")
        limit = wanted(name)
        if limit is None:
            raise _Broken(f"{one_line(name, 100)!r} does not belong into it")
        if size > min(limit, MAX_FILE):
            raise _Broken(f"{name} has {size:,} bytes, more than it may")
        if name in seen:
            raise _Broken(f"{name} is in it twice")
        seen.add(name)
        yield name, stream.exactly(size)
        stream.exactly(-size % BLOCK)
    else:
        raise _Broken(f"more than {MAX_MEMBERS:,} members")
    rest = stream.some(MAX_END + 1)  # to the end, where the checksum is
    if len(rest) > MAX_END or rest.strip(b"\0") or stream.some(1):
        raise _Broken("something follows its end")


def _header(header: bytes) -> tuple[str, bytes, int]:
    """Name, kind and size."""
    unsigned = sum(header) - sum(header[148:156]) + 8 * 32
    if _octal(header[148:156]) != unsigned:
        raise _Broken("damaged: the checksum of a member is wrong")
    name = header[:100].split(b"\0")[0]
    if header[257:263] == b"ustar\0" and header[345]:
        name = header[345:500].split(b"\0")[0] + b"/" + name
    return name.decode("utf-8", "replace").removeprefix("./"), header[156:157], _octal(header[124:136])


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not re.fullmatch(rb"[0-7]{1,12}", digits):
        raise _Broken("damaged, or with a member larger than any here")
    return int(digits, 8)


def _inside(name: str) -> None:
    if name.startswith("/") or ".." in name.split("/") or "\\" in name:
        raise _Broken(f"{one_line(name, 100)!r} leaves its folder")


def write_archive(path: Path, members: Iterable[tuple[str, bytes | Path]]) -> None:
    """Write a .tar.gz that depends on nothing but names and contents: sorted, no dates, no owners."""
    with path.open("wb") as out, gzip.GzipFile("", "wb", 6, out, mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, content in sorted(members, key=lambda member: member[0]):
                info = tarfile.TarInfo(name)
                info.mode = 0o644
                if isinstance(content, Path):
                    info.size = content.stat().st_size
                    with content.open("rb") as source:
                        tar.addfile(info, source)
                else:
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


#: kinds of numbers an array may have, by numpy's names
DTYPES = {
    np.dtype(name).str: name
    for name in (
        *("float32", "float64", "int8", "int16", "int32", "int64"),
        *("uint8", "uint16", "uint32", "uint64", "bool"),
    )
}
_NPY = re.compile(
    r"\{'descr': '([<|][a-z]\d)', 'fortran_order': False, "
    r"'shape': \(((?:\d{1,12}, ?)*(?:\d{1,12})?)\), \} *\n?"
)


def read_array(data: bytes, where: str) -> np.ndarray:
    """An array of numbers from the bytes of a .npy file. Its header is compared, not evaluated.

    Raises:
        ArtifactError: it is none, cut off, or of a kind that is not taken (objects, records, Fortran order).
    """
    try:
        if data[:6] != b"\x93NUMPY" or data[6:8] not in (b"\1\0", b"\2\0"):
            raise ValueError("not a .npy file")
        wide = 2 if data[6] == 1 else 4
        start = 8 + wide + int.from_bytes(data[8 : 8 + wide], "little")
        if start > min(len(data), 4096):
            raise ValueError("cut off in its header")
        found = _NPY.fullmatch(data[8 + wide : start].decode("latin-1"))
        if found is None or found[1] not in DTYPES:
            raise ValueError("not an array of numbers")
        shape = tuple(int(word) for word in found[2].split(",") if word.strip())
        dtype = np.dtype(found[1])
        if math.prod(shape) * dtype.itemsize != len(data) - start or len(shape) > 4:
            raise ValueError(f"its header says {shape}, which is not what follows")
        return np.frombuffer(data, dtype, offset=start).reshape(shape)
    except (ValueError, IndexError) as error:
        raise ArtifactError(f"not an array: {error}", where=where, mend=_AGAIN) from error


def array_bytes(array: np.ndarray) -> bytes:
    """The .npy file of an array of numbers.

    Raises:
        ArtifactError: its dtype is not one that travels.
    """
    plain = np.ascontiguousarray(array)
    plain = plain.astype(plain.dtype.newbyteorder("<"), copy=False).reshape(np.shape(array))
    if plain.dtype.str not in DTYPES:
        raise ArtifactError(
            f"arrays of {array.dtype} are not taken", mend=f"Use {', '.join(DTYPES.values())}."
        )
    out = io.BytesIO()
    np.lib.format.write_array(out, plain, version=(1, 0), allow_pickle=False)
    return out.getvalue()
