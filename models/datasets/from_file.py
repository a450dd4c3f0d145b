"""The .npz file that a user gives to `bench measure` for accuracy."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.errors import DataError
from models.base import Split

_ARRAYS = ("x.npy", "y.npy")


def load(path: Path) -> Split:
    """Arrays `x` (n, ...) and `y` (n,) of an .npz file, x as float32 just as it stands there.

    Raises:
        DataError: not an .npz file, damaged, without x and y, or they are no inputs and classes.
    """
    where = str(path)
    mend = "x: inputs (n, ...) as the network takes them, already scaled; y: class indices (n,)."
    try:
        with path.open("rb") as stream:
            if stream.read(4) != b"PK\x03\x04":
                raise DataError(
                    "not an .npz file", where=where, mend=f"np.savez(file, x=x, y=y), with {mend}"
                )
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as archive:
                _check_size(archive.zip)
                missing = [name for name in ("x", "y") if name not in archive.files]
                if missing:
                    what = (
                        f"no array {' and '.join(missing)} (it holds {', '.join(archive.files) or 'nothing'})"
                    )
                    raise DataError(what, where=where, mend=mend)
                x, y = archive["x"], archive["y"]
    except MemoryError as error:
        raise DataError(f"its arrays do not fit into memory ({error})", where=where) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise DataError(f"cannot be read ({error})", where=where) from error
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise DataError(f"y is {y.dtype} of shape {list(y.shape)}, not class indices (n,)", where=where)
    if x.dtype.kind not in "fiu" or x.ndim < 2:
        raise DataError(
            f"x is {x.dtype} of shape {list(x.shape)}, not numbers (n, ...)", where=where, mend=mend
        )
    if len(x) != len(y) or not len(x):
        raise DataError(f"x has {len(x)} items and y has {len(y)}", where=where)
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    if not np.isfinite(x).all():
        raise DataError("x holds NaN or infinite values", where=where)
    return Split(x, y.astype(np.int64))


def _memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _check_size(archive: zipfile.ZipFile) -> None:
    """A small file may unpack to more than this machine can hold; x is also copied as float32."""
    unpacked = sum(archive.getinfo(name).file_size for name in archive.namelist() if name in _ARRAYS)
    if unpacked > _memory() // 3:
        raise ValueError(f"it unpacks to {unpacked / 1e9:.1f} GB, too much for this machine's memory")


def fit(x: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """x (n, ...) in the shape of a network's input (1, ...).

    Axes of length 1 come and go, and inputs are flattened for a network that takes vectors. Nothing
    else is guessed: (3, 32, 32) is not (32, 32, 3).

    Raises:
        DataError: it does not fit.
    """
    wanted = tuple(shape[1:])
    given = x.shape[1:]
    same = [size for size in given if size != 1] == [size for size in wanted if size != 1]
    vector = len(wanted) == 1 and math.prod(given) == wanted[0]
    if not (same or vector):
        raise DataError(
            f"inputs of shape {list(given)} do not fit a network that takes {list(wanted)}",
            where="--data",
        )
    return x.reshape(len(x), *wanted)
