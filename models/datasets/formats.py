"""Readers of data files that trust nothing: sizes are bounded, pickles refused, errors name the file."""

from __future__ import annotations

import ast
import gzip
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, cast

import numpy as np

from bench.errors import DataError

_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, SyntaxError, MemoryError)
Shapes = Mapping[str, tuple[int, ...]]


def read_npz(path: Path, shapes: Shapes) -> dict[str, np.ndarray]:
    """The named uint8 arrays of an .npz file.

    Args:
        shapes: name -> shape that it must have.

    Raises:
        DataError: truncated, foreign, pickled, or not of these shapes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: _read_npy(archive, name, shape) for name, shape in shapes.items()}
    # RuntimeError: encrypted; its child NotImplementedError: unknown compression
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, *_ZIP_ERRORS) as error:
        raise damaged(path, error) from error


def _read_npy(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]) -> np.ndarray:
    with archive.open(f"{name}.npy") as file:
        # Magic, version (1.0), length of the header. numpy's own reader would hand a foreign header
        # to Python's tokenizer, and allocate whatever size it names.
        start = file.read(10)
        if start[:8] != b"\x93NUMPY\x01\x00":
            raise ValueError(f"array {name!r} is not in npy format 1.0")
        header = file.read(int.from_bytes(start[8:], "little")).decode("latin-1").strip()
        wanted = {"descr": "|u1", "fortran_order": False, "shape": shape}
        if len(header) > 200 or ast.literal_eval(header) != wanted:
            raise ValueError(f"array {name!r} is {header[:200]} instead of {wanted}")
        return _exactly(file, shape, name)


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A uint8 array from an idx file (http://yann.lecun.com/exdb/mnist), plain or gzip-compressed.

    Raises:
        DataError: truncated, foreign, or not of this shape.
    """
    try:
        with decompressed(path) as file:
            wanted = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
            header = file.read(len(wanted))
            if header != wanted:
                raise ValueError(f"idx header {header.hex()} instead of {wanted.hex()} (uint8 {shape})")
            return _exactly(file, shape, "data")
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise damaged(path, error) from error


def read_table(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """A table of integers 0 to 255 as uint8, from a .csv file, plain or gzip-compressed.

    Raises:
        DataError: truncated, foreign, or not of this shape.
    """
    try:
        with decompressed(path) as file:
            text = file.read(shape[0] * shape[1] * 8 + 1)
        table = np.array([line.split(b",") for line in text.splitlines()], dtype=np.float64)
        if table.shape != shape or not ((table >= 0) & (table <= 255) & (table % 1 == 0)).all():
            raise ValueError(f"not a table {shape} of integers 0 to 255")
        return table.astype(np.uint8)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise damaged(path, error) from error


def decompressed(path: Path) -> IO[bytes]:
    """The contents of a file, whether it is gzip-compressed or not."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path)) if compressed else path.open("rb")


def _exactly(file: IO[bytes], shape: tuple[int, ...], name: str) -> np.ndarray:
    size = int(np.prod(shape))
    data = file.read(size)
    if len(data) != size:
        raise ValueError(f"{name}: ends after {len(data)} of {size} bytes")
    if file.read(1):
        raise ValueError(f"{name}: goes on after its {size} bytes")
    return np.frombuffer(data, np.uint8).reshape(shape)


def damaged(path: Path, error: Exception) -> DataError:
    """The error for a file that could not be read."""
    return DataError(
        f"damaged, or not the file it is named after ({error})",
        where=str(path),
        mend="Remove it or replace it by the original; the next source is used when it is gone.",
    )
