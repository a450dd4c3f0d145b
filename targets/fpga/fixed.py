"""Fixed-point numbers and networks whose every tensor has a fixed-point type.

Types are written as in hls4ml and Vivado/Vitis HLS (UG902, UG1399): `fixed<8,1,RND_CONV,SAT>` has 8
bits, 1 of them (the sign) left of the point; `ufixed<6,2>` has no sign. Modes not named are the
tools' defaults: truncate (TRN) and wrap around (WRAP).

An artifact of format `fixed` is a folder with
`model.keras`       the network: plain Keras layers, weights on the grids of their types;
`fixed_point.json`  `{"version", "source", "input", "layers": {name: {"weight", "bias", "result", ...}}}`;
`reference.npz`     logits over the test split of the networks that it stands for, first to last.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import ArtifactError, StepError

TYPES_FILE, REFERENCE_FILE = "fixed_point.json", "reference.npz"
VERSION = 1
ROUNDINGS, OVERFLOWS = ("TRN", "RND", "RND_CONV", "TRN_ZERO"), ("WRAP", "SAT")
_PATTERN = re.compile(r"(u?)fixed<(\d+),(-?\d+)(?:,([A-Z_]+),([A-Z_]+))?>")


@dataclass(frozen=True)
class FixedType:
    """A fixed-point type.

    Attributes:
        bits: all of them, the sign included.
        integer: those left of the point, the sign included; may be negative or above `bits`.
        rounding: TRN towards minus infinity, RND half up, RND_CONV half to even, TRN_ZERO towards zero.
        overflow: WRAP around or SATurate.
    """

    bits: int
    integer: int
    signed: bool = True
    rounding: str = "TRN"
    overflow: str = "WRAP"

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 1024 or not -1024 <= self.integer <= 1024:
            raise StepError(f"no such fixed-point type: {self.bits} bits, {self.integer} before the point")
        if self.rounding not in ROUNDINGS or self.overflow not in OVERFLOWS:
            raise StepError(f"no such rounding or overflow mode: {self.rounding}, {self.overflow}")

    @classmethod
    def parse(cls, text: str) -> FixedType:
        """From `fixed<8,1,RND_CONV,SAT>`.

        Raises:
            StepError: it is not of that form.
        """
        found = _PATTERN.fullmatch(text.replace(" ", ""))
        if not found:
            raise StepError(f"not a fixed-point type: {text!r}", mend="Write it like fixed<16,6,RND,SAT>.")
        unsigned, bits, integer, rounding, overflow = found.groups()
        return cls(int(bits), int(integer), not unsigned, rounding or "TRN", overflow or "WRAP")

    def __str__(self) -> str:
        modes = (
            "" if (self.rounding, self.overflow) == ("TRN", "WRAP") else f",{self.rounding},{self.overflow}"
        )
        return f"{'' if self.signed else 'u'}fixed<{self.bits},{self.integer}{modes}>"

    @property
    def step(self) -> float:
        """Distance of two neighbouring values."""
        return float(2.0 ** (self.integer - self.bits))

    @property
    def low(self) -> float:
        """Smallest value."""
        return -(2.0 ** (self.integer - 1)) if self.signed else 0.0

    @property
    def high(self) -> float:
        """Largest value."""
        return float(2.0 ** (self.integer - self.signed)) - self.step

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """`values` in this type, as float64 (exact for types of up to 53 bits)."""
        scaled = np.asarray(values, np.float64) / self.step
        if self.rounding == "RND":
            whole = np.floor(scaled + 0.5)
        elif self.rounding == "RND_CONV":
            whole = np.rint(scaled)
        elif self.rounding == "TRN_ZERO":
            whole = np.trunc(scaled)
        else:
            whole = np.floor(scaled)
        low, count = self.low / self.step, 2.0**self.bits
        if self.overflow == "SAT":
            whole = np.clip(whole, low, low + count - 1)
        else:
            whole = np.mod(whole - low, count) + low
        return np.asarray(whole * self.step)

    def holds(self, values: np.ndarray) -> bool:
        """Whether all values are on this type's grid and within its range."""
        values = np.asarray(values, np.float64)
        scaled = values / self.step
        on_grid = bool(np.all(scaled == np.rint(scaled)))
        return on_grid and bool(np.all((values >= self.low) & (values <= self.high)))


def best_integer(values: np.ndarray, bits: int, *, signed: bool, rounding: str = "RND_CONV") -> int:
    """Bits left of the point (the sign included) with the least mean squared error for `values`.

    Fewer of them clip the largest values, more of them round all values more coarsely.
    """
    values = np.asarray(values, np.float64).ravel()
    top = float(np.abs(values).max(initial=0.0))
    if top == 0.0:
        return int(signed)
    enough = int(np.floor(np.log2(top))) + 1 + int(signed)
    tried = range(enough - 4, enough + 2)
    errors = {
        i: float(np.mean((FixedType(bits, i, signed, rounding, "SAT").quantize(values) - values) ** 2))
        for i in tried
    }
    return min(tried, key=lambda i: (errors[i], abs(i - enough)))


def enough_integer(values: np.ndarray, *, signed: bool) -> int:
    """Fewest bits left of the point (the sign included) with which no value of `values` is clipped."""
    values = np.asarray(values, np.float64)
    top = max(float(values.max(initial=0.0)), 0.0)
    bottom = max(-float(values.min(initial=0.0)), 0.0)
    above = int(np.floor(np.log2(top))) + 1 if top > 0 else -1024
    below = int(np.ceil(np.log2(bottom))) if bottom > 0 and signed else -1024
    found = max(above, below)
    return (found if found > -1024 else 0) + int(signed)


@dataclass(frozen=True)
class LayerTypes:
    """Types of one layer; None: as wide as it takes to lose nothing.

    Attributes:
        result: of what the layer gives. accum: of its sums.
    """

    weight: FixedType | None = None
    bias: FixedType | None = None
    result: FixedType | None = None
    accum: FixedType | None = None

    def to_json(self) -> dict[str, str]:
        return {name: str(value) for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, str]) -> LayerTypes:
        return cls(**{name: FixedType.parse(text) for name, text in value.items()})


@dataclass(frozen=True)
class FixedPoint:
    """Types of a whole network.

    Attributes:
        source: `qkeras` (trained with these types: C simulation gives the same bits) or
            `post_training`.
        input: of the network's input; float inputs are rounded to it.
        layers: by name, for each layer of the network; activation functions are layers of their own.
    """

    source: str
    input: FixedType
    layers: Mapping[str, LayerTypes] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        value = {
            "version": VERSION,
            "source": self.source,
            "input": str(self.input),
            "layers": {name: types.to_json() for name, types in self.layers.items()},
        }
        (folder / TYPES_FILE).write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path) -> FixedPoint:
        """Read the types of an artifact.

        Raises:
            ArtifactError: not there, truncated or foreign.
        """
        path = folder / TYPES_FILE
        try:
            value = json.loads(path.read_text())
            if value["version"] != VERSION:
                raise ValueError(f"version {value['version']}")
            return cls(
                str(value["source"]),
                FixedType.parse(value["input"]),
                {str(name): LayerTypes.from_json(types) for name, types in value["layers"].items()},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, StepError) as error:
            raise ArtifactError(f"not a table of fixed-point types ({error})", where=str(path)) from error


def inputs_digest(x: np.ndarray) -> str:
    """sha256 of the inputs that reference outputs belong to."""
    digest = hashlib.sha256(str((x.shape, x.dtype.str)).encode())
    digest.update(np.ascontiguousarray(x).data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Reference:
    """Logits (n, classes), float32, of the networks that an artifact stands for, first to last
    (`float`, `qkeras`), over the inputs with this digest."""

    inputs: str
    logits: dict[str, np.ndarray]

    def save(self, folder: Path) -> None:
        arrays: dict[str, Any] = {f"{i}:{name}": value for i, (name, value) in enumerate(self.logits.items())}
        np.savez(folder / REFERENCE_FILE, allow_pickle=False, inputs=np.array(self.inputs), **arrays)

    @classmethod
    def load(cls, folder: Path) -> Reference:
        """Raises ArtifactError: not there, truncated or foreign."""
        path = folder / REFERENCE_FILE
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                names = sorted(name for name in archive.files if ":" in name)
                logits = {name.partition(":")[2]: np.asarray(archive[name], np.float32) for name in names}
                return cls(str(archive["inputs"]), logits)
        except Exception as error:  # zipfile, zlib and numpy each raise their own
            raise ArtifactError(f"not a file of reference outputs ({error})", where=str(path)) from error
