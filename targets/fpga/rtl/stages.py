"""A fixed-point network as a row of hardware stages, everything in integers.

A value is an integer code times 2**-fraction. Sums are as wide as this network's own weights can make
them, unless the network names a type for them: then products are cast to it and sums wrap around, as in
hls4ml (nnet_dense_latency.h).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from bench.errors import Unavailable
from targets.fpga.fixed import FixedPoint, FixedType


@dataclass(frozen=True)
class Number:
    """Width and place of the point of a code on a wire."""

    bits: int
    fraction: int
    signed: bool = True

    @classmethod
    def of(cls, type_: FixedType) -> Number:
        return cls(type_.bits, type_.bits - type_.integer, type_.signed)

    @property
    def width(self) -> int:
        """Bits of the code as a signed number."""
        return self.bits + (not self.signed)

    @property
    def low(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.bits - self.signed)) - 1


@dataclass(frozen=True)
class Cast:
    """What happens to a stage's result before it leaves: rectify if asked to, then round to a type."""

    type: FixedType
    relu: bool = False


@dataclass(frozen=True)
class Window:
    """How a stage walks over its input of (height, width, channels), zero-padded.

    A dense layer is one position whose window is the whole input.
    """

    height: int
    width: int
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    rows: int = 1
    columns: int = 1

    @property
    def inputs(self) -> int:
        return self.height * self.width * self.channels

    @property
    def positions(self) -> int:
        return self.rows * self.columns

    @property
    def inside(self) -> bool:
        """Whether no window reaches beyond the image."""
        sizes, counts = (self.height, self.width), (self.rows, self.columns)
        spans = zip(sizes, counts, self.kernel, self.stride, strict=True)
        return self.pad == (0, 0) and all((n - 1) * step + span <= size for size, n, span, step in spans)


@dataclass(frozen=True)
class Multiply:
    """Dense or convolution: multiply-accumulate with `multipliers` outputs at a time.

    Attributes:
        weights: codes (kernel height, kernel width, channels, outputs); bias: codes (outputs,).
        given: type that sums have if the network names one.
    """

    name: str
    window: Window
    input: Number
    weights: np.ndarray
    weight: Number
    bias: np.ndarray
    bias_number: Number
    given: FixedType | None
    multipliers: int
    casts: tuple[Cast, ...] = ()

    @property
    def outputs(self) -> int:
        return int(self.weights.shape[-1])

    @property
    def taps(self) -> int:
        return int(np.prod(self.weights.shape[:-1]))

    @property
    def groups(self) -> list[int]:
        """Outputs of each group that is computed at a time."""
        whole, rest = divmod(self.outputs, self.multipliers)
        return [self.multipliers] * whole + ([rest] if rest else [])

    @property
    def sum(self) -> Number:
        """The accumulator."""
        if self.given is not None:
            return Number.of(self.given)
        fraction = max(self.input.fraction + self.weight.fraction, self.bias_number.fraction)
        up = 1 << (fraction - self.input.fraction - self.weight.fraction)
        largest = max(abs(self.input.low), self.input.high)
        flat = np.abs(self.weights.reshape(-1, self.outputs).astype(object)).sum(axis=0) * largest * up
        bias = np.abs(self.bias.astype(object)) << (fraction - self.bias_number.fraction)
        return Number(int(max(flat + bias)).bit_length() + 1, fraction)

    @property
    def raw(self) -> Number:
        """What the stage works out, before its casts."""
        return self.sum

    @property
    def cycles(self) -> int:
        """From the last input taken to the last output given, if nobody waits."""
        return self.window.positions * sum(self.taps + DRAIN + size for size in self.groups)

    @property
    def first(self) -> int:
        """Cycles from the last input taken to the first output given."""
        return self.taps + DRAIN + 1


@dataclass(frozen=True)
class MaxPool:
    """Largest value of each window, channel by channel."""

    name: str
    window: Window
    input: Number
    casts: tuple[Cast, ...] = ()

    @property
    def outputs(self) -> int:
        return self.window.channels

    @property
    def taps(self) -> int:
        return self.window.kernel[0] * self.window.kernel[1]

    @property
    def raw(self) -> Number:
        return self.input

    @property
    def cycles(self) -> int:
        return self.window.positions * self.outputs * self.first

    @property
    def first(self) -> int:
        """Cycles from the last input taken to the first output given."""
        return self.taps + DRAIN + 1


@dataclass(frozen=True)
class AveragePool(MaxPool):
    """Average of each window, channel by channel; windows lie inside the image."""

    @property
    def extra(self) -> int:
        """Bits that hls4ml's accumulator has more than the input on each side of the point."""
        return (self.taps - 1).bit_length()

    @property
    def raw(self) -> Number:
        """hls4ml's accumulator (infer_precision.py), in which it divides, too: towards zero."""
        return Number(self.input.bits + 2 * self.extra, self.input.fraction + self.extra, self.input.signed)


#: cycles from the last address of a window to its finished sum
DRAIN = 3
Stage = Multiply | MaxPool


@dataclass(frozen=True)
class Design:
    """Stages in a row, element by element between them, channels last."""

    input: FixedType
    inputs: int
    stages: tuple[Stage, ...]
    output: Number
    outputs: int

    @property
    def latency(self) -> int:
        """Cycles from the first input's clock edge to the last output's, if nobody waits."""
        return self.inputs - 1 + sum(stage.cycles for stage in self.stages)

    @property
    def interval(self) -> int:
        """Cycles from one input's last output to the next one's, inputs back to back, if nobody waits.

        A stage loads while the one before it emits: from its first output (`first` cycles after its last
        input) on, that one waits for this one to be done.
        """
        found = [self.inputs + self.stages[0].cycles]
        for before, stage in pairwise(self.stages):
            found.append(before.cycles - before.first + 1 + stage.cycles)
        return max(found)

    def cycles(self, n: int) -> int:
        """Cycles that n inputs back to back take."""
        return self.latency + (n - 1) * self.interval

    @property
    def lanes(self) -> int:
        """Multipliers of all stages."""
        return sum(stage.multipliers for stage in self.stages if isinstance(stage, Multiply))


def design(row: Any, types: FixedPoint, multipliers: int = 8) -> Design:
    """The stages of a network in a row (`targets.fpga.layers.in_a_row`) with weights on their grids.

    Args:
        multipliers: P, of each dense or convolution layer; never more than it has outputs.

    Raises:
        Unavailable: a layer that this generator does not know, by name.
    """
    now = Number.of(types.input)
    stages: list[Stage] = []
    shape = tuple(int(size) for size in row.input_shape[1:])
    inputs = math.prod(shape)
    for layer in row.layers:
        kind, own = type(layer).__name__, types.layers[layer.name]
        if kind in ("Dense", "Conv2D"):
            kernel, bias = (np.asarray(array, np.float64) for array in layer.get_weights())
            assert own.weight is not None and own.bias is not None
            if kind == "Dense":
                if len(shape) != 1:
                    raise Unavailable(
                        f"layer {layer.name!r} is Dense over an input of {len(shape)} dimensions"
                    )
                window, weights = Window(1, 1, shape[0]), kernel.reshape(1, 1, *kernel.shape)
            else:
                window, weights = _window(layer, shape, kernel.shape[:2]), kernel
            given = own.accum
            if given is not None and given.overflow != "WRAP":
                raise Unavailable(
                    f"layer {layer.name!r} has sums of type {given}; only sums that wrap are known"
                )
            stage = Multiply(
                layer.name,
                window,
                now,
                _codes(weights, own.weight),
                Number.of(own.weight),
                _codes(bias, own.bias),
                Number.of(own.bias),
                given,
                min(multipliers, kernel.shape[-1]),
                (Cast(own.result),) if own.result is not None else (),
            )
            stages.append(stage)
            now = stage.sum if own.result is None else Number.of(own.result)
        elif kind == "Activation":
            if own.result is None or not stages:
                raise Unavailable(f"layer {layer.name!r} has no type, or no layer before it")
            stages[-1] = _with(stages[-1], Cast(own.result, relu=True))
            now = Number.of(own.result)
        elif kind == "MaxPooling2D":
            stages.append(MaxPool(layer.name, _window(layer, shape, layer.pool_size), now))
        elif kind == "AveragePooling2D":
            stages.append(_average(layer, _window(layer, shape, layer.pool_size), types.input, stages))
        elif kind not in ("Flatten", "Reshape"):
            raise Unavailable(f"layer {layer.name!r} ({kind}) is not known to the RTL generator")
        shape = tuple(int(size) for size in layer.output_shape[1:])
    if not stages:
        raise Unavailable("the network has no layer that computes anything")
    return Design(types.input, inputs, tuple(stages), now, math.prod(shape))


def _with(stage: Stage, cast: Cast) -> Stage:
    return replace(stage, casts=(*stage.casts, cast))


def _average(layer: Any, window: Window, given: FixedType, before: Sequence[Stage]) -> AveragePool:
    """Its result has the type of its input, modes included, as in hls4ml (infer_precision.py)."""
    type_ = before[-1].casts[-1].type if before and before[-1].casts else None if before else given
    if type_ is None:
        raise Unavailable(f"layer {layer.name!r} averages sums that have no type")
    if not window.inside:
        raise Unavailable(f"layer {layer.name!r} averages over padding, which hls4ml's streams cannot")
    return AveragePool(layer.name, window, Number.of(type_), (Cast(type_),))


def _codes(values: np.ndarray, type_: FixedType) -> np.ndarray:
    codes = np.rint(values / type_.step)
    assert np.array_equal(codes * type_.step, values), "weights are not on their grid"
    return codes.astype(np.int64)


def _window(layer: Any, shape: tuple[int, ...], kernel: tuple[int, int]) -> Window:
    height, width, channels = shape
    rows, columns = (int(size) for size in layer.output_shape[1:3])
    stride = tuple(int(step) for step in layer.strides)
    pad = (0, 0)
    if layer.padding == "same":  # TensorFlow puts the odd row and column at the end
        wanted = [
            max(0, (out - 1) * step + size - there)
            for out, step, size, there in zip((rows, columns), stride, kernel, (height, width), strict=True)
        ]
        pad = (wanted[0] // 2, wanted[1] // 2)
    return Window(
        height, width, channels, (int(kernel[0]), int(kernel[1])), (stride[0], stride[1]), pad, rows, columns
    )


def numbers(design: Design) -> Iterator[Number]:
    """Number on the wire before the first stage, and after each."""
    yield Number.of(design.input)
    yield from map(result_of, design.stages)


def result_of(stage: Stage) -> Number:
    """Number on the wire after a stage."""
    return Number.of(stage.casts[-1].type) if stage.casts else stage.raw
