"""Small arrays as JSON: predictions, bits of which items are right, histograms, traces."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np

from bench.errors import DamagedResult


def pack(values: np.ndarray) -> dict[str, Any]:
    """A small integer or boolean array (n,) as JSON: zlib + base64, dtype and n beside it."""
    array = np.ascontiguousarray(values)
    raw = np.packbits(array).tobytes() if array.dtype == bool else array.tobytes()
    data = base64.b64encode(zlib.compress(raw, 9)).decode("ascii")
    return {"encoding": "zlib+base64", "dtype": str(array.dtype), "n": int(array.size), "data": data}


def unpack(packed: dict[str, Any]) -> np.ndarray:
    """The array that `pack` was given.

    Raises:
        DamagedResult: the data are not what the header says.
    """
    try:
        n = int(packed["n"])
        dtype = np.dtype(packed["dtype"])
        if dtype.kind not in "bui":
            raise ValueError(f"dtype {dtype}")
        limit = (n + 7) // 8 if dtype.kind == "b" else n * dtype.itemsize
        inflate = zlib.decompressobj()
        raw = inflate.decompress(base64.b64decode(packed["data"], validate=True), limit + 1)
        if len(raw) != limit:
            raise ValueError(f"{len(raw)} bytes instead of {limit}")
        if dtype.kind == "b":
            return np.unpackbits(np.frombuffer(raw, np.uint8), count=n).astype(bool)
        return np.frombuffer(raw, dtype)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise DamagedResult(f"packed array is damaged ({error})") from error
