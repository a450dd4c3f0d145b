"""Numbers on the wire: floats and fixed-point codes in the integers that a kernel takes and gives."""

from __future__ import annotations

import re
from typing import Any, Callable, ClassVar

import numpy as np

from .job import ItemError


class Codec:
    """Values to what travels and back, whole arrays at once.

    Args:
        dtype: of an element on the wire.
        fixed: the type of the design's port, `fixed<8,1,RND_CONV,SAT>`, whose integer travels; None: the
            value itself travels as float32.
    """

    _FORM = re.compile(
        r"^(?:ap_)?(u?)fixed<\s*(\d+)\s*,\s*(-?\d+)\s*(?:,\s*(?:AP_)?(\w+)\s*)?"
        r"(?:,\s*(?:AP_)?(\w+)\s*)?(?:,\s*\d+\s*)?>$"
    )

    def __init__(self, dtype: str, fixed: str | None) -> None:
        if dtype not in ("float32", "float64", "int8", "int16", "int32"):
            raise ItemError(f"dtype {dtype!r} on the wire is not known")
        self.dtype = np.dtype(dtype)
        self.fixed = fixed
        if (self.dtype.kind == "f") != (fixed is None):
            raise ItemError(f"dtype {dtype} and type {fixed} do not go together")
        if fixed is None:
            return
        match = self._FORM.match(fixed)
        if match is None:
            raise ItemError(f"type {fixed!r} is not known")
        self.signed, self.bits = not match[1], int(match[2])
        self.scale = 2.0 ** (self.bits - int(match[3]))
        self.rounding, self.overflow = match[4] or "TRN", match[5] or "WRAP"
        if self.rounding not in self._ROUND:
            raise ItemError(f"rounding {self.rounding!r} is not known")
        if self.overflow not in ("WRAP", "SAT", "SAT_ZERO", "SAT_SYM"):
            raise ItemError(f"overflow {self.overflow!r} is not known")
        if self.bits > 8 * self.dtype.itemsize:
            raise ItemError(f"{fixed} does not fit into {dtype}")
        self.low = -(1 << (self.bits - 1)) if self.signed else 0
        self.high = (1 << (self.bits - int(self.signed))) - 1

    _ROUND: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "TRN": np.floor,
        "TRN_ZERO": np.trunc,
        "RND": lambda v: np.floor(v + 0.5),
        "RND_CONV": np.rint,
        "RND_ZERO": lambda v: np.sign(v) * np.ceil(np.abs(v) - 0.5),
        "RND_INF": lambda v: np.sign(v) * np.floor(np.abs(v) + 0.5),
        "RND_MIN_INF": lambda v: np.ceil(v - 0.5),
    }

    def encode(self, values: np.ndarray) -> np.ndarray:
        if self.fixed is None:
            return values if values.dtype == self.dtype else values.astype(self.dtype)
        raw = self._ROUND[self.rounding](values.astype(np.float64) * self.scale)
        if self.overflow == "WRAP":
            whole = raw.astype(np.int64) & ((1 << self.bits) - 1)
            if self.signed:
                whole = np.where(whole > self.high, whole - (1 << self.bits), whole)
        elif self.overflow == "SAT_ZERO":
            whole = np.where((raw < self.low) | (raw > self.high), 0, raw).astype(np.int64)
        else:
            low = -self.high if self.overflow == "SAT_SYM" and self.signed else self.low
            whole = np.clip(raw, low, self.high).astype(np.int64)
        return np.asarray(whole, self.dtype)

    def decode(self, raw: np.ndarray) -> np.ndarray:
        if self.fixed is None:
            return raw
        if not self.signed:
            raw = raw.view(np.dtype(f"u{self.dtype.name}"))
        return raw * (1.0 / self.scale)
