"""Weights of an artifact, tensor by tensor: which layer they are of, zeros, bits."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench.report.records.read import Cell

BITS = {
    **{"float64": 64, "float32": 32, "float16": 16, "bfloat16": 16, "int64": 64, "int32": 32},
    **{"int16": 16, "uint16": 16, "int8": 8, "uint8": 8, "int4": 4},
}
#: What tools put before the name of a layer that they wrap.
_WRAPPED = re.compile(r"^(quant_|prune_low_magnitude_|cluster_)+")


class Tensor(NamedTuple):
    """One tensor of a .tflite file; NaN where a number is not known."""

    layer: str
    role: str
    dtype: str
    shape: tuple[int, ...]
    zeros: float
    unique: float

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def bits(self) -> float:
        return float(BITS.get(self.dtype, math.nan))


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a JSON list; nothing of anything else."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def number(value: Any) -> float:
    """A JSON number, NaN for anything else."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if known else math.nan


def tensors(cell: Cell) -> list[Tensor]:
    """What the last step recorded of its file's weights, in the order of the network."""
    weights = dicts(cell.facts.get("weights"))
    if not weights:
        return []
    order = [str(one.get("name")) for facts in cell.chain_facts for one in dicts(facts.get("layers"))]
    place = {name: index for index, name in reversed(list(enumerate(order)))}
    found = [tensor(one, order) for one in weights]
    return sorted(found, key=lambda one: (place.get(one.layer, len(place)), one.role != "kernel"))


def tensor(weight: dict[str, Any], order: Sequence[str]) -> Tensor:
    """One entry of `weights`, whose name holds that of its layer between slashes.

    Args:
        order: names of the network's layers.
    """
    name = str(weight.get("name"))
    words = [_WRAPPED.sub("", word) for word in re.split("[/;]", name)]
    layer = next((word for word in words if word in order), words[min(1, len(words) - 1)])
    sides = [number(n) for n in weight["shape"]] if isinstance(weight.get("shape"), list) else []
    shape = tuple(int(n) if math.isfinite(n) and n > 0 else 0 for n in sides)
    size = math.prod(shape) if shape else 0
    zeros = 1 - number(weight.get("nonzero")) / size if size else math.nan
    return Tensor(
        layer, str(weight.get("role")), str(weight.get("dtype")), shape, zeros, number(weight.get("unique"))
    )
