"""Sizes of files and of the numbers in them. A compression ratio made of these names which one it used."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

#: bits of one element, by the dtype names of TFLite and NumPy
DTYPE_BITS: Mapping[str, int] = {
    "float64": 64,
    "float32": 32,
    "float16": 16,
    "bfloat16": 16,
    "int64": 64,
    "uint64": 64,
    "int32": 32,
    "uint32": 32,
    "int16": 16,
    "uint16": 16,
    "int8": 8,
    "uint8": 8,
    "bool": 8,
    "int4": 4,
    "uint4": 4,
    "int2": 2,
    "complex64": 64,
    "complex128": 128,
    "float8_e4m3fn": 8,
    "float8_e5m2": 8,
}
_CHUNK = 1 << 20


def gzip_bytes(source: Path | bytes) -> int:
    """Length in bytes of `source` (a file, a folder's files one after the other by name, or bytes) as gzip.

    Level 9, no file name, time 0, so that the same contents always give the same number.
    """
    compress = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    total = sum(len(compress.compress(chunk)) for chunk in _chunks(source))
    return total + len(compress.flush())


def file_sizes(path: Path) -> dict[str, int]:
    """`{"file_bytes", "gzip_bytes"}` of a file, or of all files of a folder together."""
    return {"file_bytes": sum(file.stat().st_size for file in _files(path)), "gzip_bytes": gzip_bytes(path)}


def payload_bits(elements: Mapping[str, int]) -> int:
    """Bits that the parameters need densely packed: sum of elements x bits over dtypes.

    Args:
        elements: number of elements by dtype name (`{"int8": 5000, "int32": 10}`).

    Raises:
        KeyError: a dtype whose width is not known.
    """
    return sum(count * DTYPE_BITS[dtype] for dtype, count in elements.items())


def entropy_bits(values: np.ndarray) -> float:
    """n x H: bits that an ideal coder of single values needs; explains what gzip makes of clusters."""
    _, counts = np.unique(np.asarray(values).ravel(), return_counts=True)
    n = int(counts.sum())
    if n == 0:
        return 0.0
    return float(np.sum(counts * (np.log2(n) - np.log2(counts))))


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [path]


def _chunks(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    for file in _files(source):
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
