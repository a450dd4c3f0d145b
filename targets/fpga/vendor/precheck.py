"""Whether a design can be built at all, estimated from the written project before hours of synthesis.

Two rules. The tools unroll loops and split arrays up to a limit (`maximum_size` of the project, 4096): in
strategy latency a layer's products all stand in one array, in strategy resource as many as work at once.
And EBOPs ~ LUT + 55 * DSP (rule of thumb of the HGQ project, Sun et al. 2024, arXiv 2405.00645): input bits
times the weight's used bits, over all products that exist in hardware; here a product counts at most as
the DSP slices that could do it. That is right within a factor of two for the networks it was found with
and too high for some others, so that only what is beyond three times the device is refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import ArtifactError, ConfigError, StepError
from targets.fpga.parts import Device, device_of
from targets.fpga.vendor.flow import Project

LUT_PER_DSP = 55
#: how far off the estimate may be
FACTOR = 3.0
#: widest operands of one DSP slice (DSP48E1: 25 x 18 bits, signed)
DSP_BITS = (25, 18)
_STRUCT = re.compile(
    r"(?:// *(?P<layer>\S+)\s*\n)?"
    r"struct (?P<name>config\w+) : nnet::(?P<kind>\w+)_config \{(?P<body>.*?)\n\};",
    re.DOTALL,
)
_CONSTANT = re.compile(r"static const unsigned (\w+) = (?:nnet::)?(\w+);")
_TYPEDEF = re.compile(r"typedef (?:nnet::array<)?ap_u?(?:fixed|int)<(\d+)(?:,\s*(-?\d+))?[^;]*?(\w+);")


@dataclass(frozen=True)
class Layer:
    """One layer with weights, as it becomes hardware.

    Attributes:
        products: multiplications of one pass (a dense layer, one position of a convolution).
        unrolled: products that stand in one array or one unrolled loop.
        multipliers: multiplications that exist in hardware.
        ebops: input bits times used weight bits over these, each at most as many DSP slices.
    """

    name: str
    kind: str
    strategy: str
    reuse_factor: int
    products: int
    unrolled: int
    multipliers: int
    ebops: float


@dataclass(frozen=True)
class Estimate:
    """The layers, the limit to unrolling and splitting, and the device (None if it is not in the table).

    Attributes:
        arrays: name and size of those that are split into single elements (all values of a tensor at once).
    """

    layers: tuple[Layer, ...]
    arrays: tuple[tuple[str, int], ...]
    limit: int
    part: str
    device: Device | None

    @property
    def ebops(self) -> float:
        return sum(layer.ebops for layer in self.layers)

    @property
    def capacity(self) -> float | None:
        """The device in the estimate's unit, LUT + 55 * DSP."""
        return None if self.device is None else self.device.lut + LUT_PER_DSP * self.device.dsp

    def refusals(self) -> list[str]:
        """Why the design cannot be built, with the numbers and what to change."""
        found = []
        for layer in self.layers:
            if layer.unrolled > self.limit:
                reuse = math.ceil(layer.products / self.limit)
                found.append(
                    f"layer {layer.name!r} unrolls {layer.unrolled:,} multiplications, the tool's limit is "
                    f"{self.limit:,}: use strategy resource with a reuse factor of {reuse} or more, or a "
                    "smaller layer"
                )
        found += [
            f"array {name!r} of {size:,} elements is split into all of them, the tool's limit is "
            f"{self.limit:,}: use io_stream"
            for name, size in self.arrays
            if size > self.limit
        ]
        capacity = self.capacity
        if capacity is not None and self.device is not None and self.ebops > FACTOR * capacity:
            found.append(
                f"about {self.ebops:,.0f} LUT + {LUT_PER_DSP} DSP are needed (EBOPs; may be too high "
                f"by {FACTOR:g} times), {self.device.name} has {capacity:,.0f} ({self.device.lut:,} LUT, "
                f"{self.device.dsp:,} DSP): use a higher reuse factor with strategy resource, io_stream for "
                "convolutions, fewer bits, or a bigger part"
            )
        return found

    def refuse(self) -> None:
        """Raises StepError if the design cannot be built."""
        if found := self.refusals():
            raise StepError(
                f"not synthesized, since it cannot work: {'; '.join(found)}",
                mend="--force-build (parameter force: true) lets the tools try all the same.",
            )

    def to_json(self) -> dict[str, Any]:
        return {
            "layers": [dict(vars(layer)) for layer in self.layers],
            "multipliers": sum(layer.multipliers for layer in self.layers),
            "ebops": self.ebops,
            "capacity": self.capacity,
            "unroll_limit": self.limit,
            "part": self.part,
            "refusals": self.refusals(),
        }


def estimate(project: Path) -> Estimate:
    """Read a written project of hls4ml (Vivado or Vitis family).

    Raises:
        ArtifactError: it is none.
    """
    settings = Project.read(project)
    firmware = project / "firmware"
    try:
        parameters, defines = (firmware / name for name in ("parameters.h", "defines.h"))
        structs = list(_STRUCT.finditer(parameters.read_text()))
        types = {name: (int(w), int(i or w)) for w, i, name in _TYPEDEF.findall(defines.read_text())}
        calls = (firmware / f"{settings.name}.cpp").read_text()
        found = {match["name"]: match for match in structs}
        layers = tuple(
            _layer(match, found, types, calls, firmware)
            for match in structs
            if match["kind"] in ("dense", "conv1d", "conv2d") and "_mult" not in match["name"]
        )
    except (OSError, UnicodeDecodeError, KeyError, ValueError) as error:
        raise ArtifactError(f"not a project that hls4ml wrote ({error!r})", where=str(project)) from error
    try:
        device = device_of(settings.part)
    except ConfigError:
        device = None
    return Estimate(layers, _split(calls), settings.partition_limit, settings.part, device)


def _split(calls: str) -> tuple[tuple[str, int], ...]:
    """Arrays of the top function that are split completely, with their sizes."""
    whole = re.findall(r"#pragma HLS ARRAY_(?:PARTITION|RESHAPE) variable=(\w+) complete", calls)
    sizes = dict(re.findall(r"\b(\w+)\[(\d+(?:\*\d+)*)\]", calls))
    return tuple((name, math.prod(map(int, sizes[name].split("*")))) for name in whole if name in sizes)


def _layer(
    match: re.Match[str],
    structs: dict[str, re.Match[str]],
    types: dict[str, tuple[int, int]],
    calls: str,
    firmware: Path,
) -> Layer:
    values = dict(_CONSTANT.findall(match["body"]))
    inner = structs.get(f"{match['name']}_mult")
    # The comment with the layer's name stands above the first of its structures.
    name = match["layer"] or (inner and inner["layer"]) or match["name"]
    at = dict(_CONSTANT.findall(inner["body"])) if inner is not None else values
    products, reuse = int(at["n_in"]) * int(at["n_out"]), int(at["reuse_factor"])
    strategy = at.get("strategy") or values.get("strategy") or "latency"
    # Position for position: a convolution repeats its products in time, unless told to stand side by side.
    positions = int(values.get("out_height", 1)) * int(values.get("out_width", 1))
    partitions = values.get("n_partitions", "")
    pixels = max(1, positions // int(partitions)) if partitions.isdecimal() else 1
    number = re.sub(r"\D", "", match["name"])
    weights = _weights(firmware, number)
    input_bits = _input_bits(calls, match["name"], types)
    bits, integer = types.get(f"{name}_weight_t") or types.get(f"weight{number}_t") or (16, 6)
    latency = strategy != "resource"
    constant = latency and reuse == 1
    multipliers = int(np.count_nonzero(weights)) if constant else math.ceil(products / reuse)
    if constant:
        used = _used_bits(weights, 2.0 ** (integer - bits))
        ebops = float(np.minimum(input_bits * used, _dsp_cost(input_bits, bits)).sum())
    else:
        ebops = float(multipliers * min(input_bits * bits, _dsp_cost(input_bits, bits)))
    unrolled = products if latency else math.ceil(products / reuse)
    return Layer(
        name,
        match["kind"],
        strategy,
        reuse,
        products,
        unrolled,
        multipliers * pixels,
        ebops * pixels,
    )


def _weights(firmware: Path, number: str) -> np.ndarray:
    text = (firmware / "weights" / f"w{number}.txt").read_text()
    return np.array([float(item) for item in text.split(",") if item.strip()], np.float64)


def _input_bits(calls: str, config: str, types: dict[str, tuple[int, int]]) -> int:
    """Bits of what goes into a layer, from the call of its function."""
    call = re.search(rf"nnet::\w+<(\w+), \w+, {config}>", calls)
    return types.get(call[1] if call else "", (16, 6))[0]


def _dsp_cost(a: int, b: int) -> int:
    """LUT that the DSP slices of one product of a by b bits stand for."""
    wide, narrow = max(a, b), min(a, b)
    return LUT_PER_DSP * math.ceil(wide / DSP_BITS[0]) * math.ceil(narrow / DSP_BITS[1])


def _used_bits(values: np.ndarray, step: float) -> np.ndarray:
    """Bits from the highest to the lowest one in |value|, 0 for zero, for values on a grid."""
    whole = np.rint(np.abs(values) / step).astype(np.int64)
    found = np.zeros(whole.shape, np.int64)
    some = whole > 0
    lowest = whole[some] & -whole[some]
    found[some] = np.floor(np.log2(whole[some])).astype(np.int64) + 1 - np.log2(lowest).astype(np.int64)
    return found
