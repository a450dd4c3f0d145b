"""From a network with fixed-point types to the stages of a design."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from bench.errors import Unavailable
from targets.fpga.branches import parents
from targets.fpga.fixed import FixedPoint, FixedType
from targets.fpga.rtl.stages import (
    Add,
    AveragePool,
    Cast,
    Design,
    MaxPool,
    Multiply,
    Number,
    Stage,
    Window,
    result_of,
)


def design(network: Any, types: FixedPoint, multipliers: int = 8) -> Design:
    """The stages of a network of plain layers (`targets.fpga.layers.in_a_row`, or with sums of two branches,
    `targets.fpga.branches.plain_layers`) with weights on their grids.

    Args:
        multipliers: P, of each dense or convolution layer; never more than it has outputs.

    Raises:
        Unavailable: a layer that this generator does not know, by name.
    """
    return _Builder(network, types, multipliers).build()


class _Builder:
    """Stages so far, and which wire carries each layer's output."""

    def __init__(self, network: Any, types: FixedPoint, multipliers: int) -> None:
        self.network, self.types, self.multipliers = network, types, multipliers
        self.layers = [layer for layer in network.layers if type(layer).__name__ != "InputLayer"]
        self.uses = Counter(name for layer in self.layers for name in parents(layer))
        self.stages: list[Stage] = []
        self.sources: list[tuple[int, ...]] = []
        self.at: dict[str, int] = {network.input_names[0]: 0}
        #: wires that more than one layer takes: a cast behind one of them is a stage of its own
        self.shared: set[int] = set()

    def build(self) -> Design:
        if self.uses[self.network.input_names[0]] > 1:
            self.shared.add(0)
        for layer in self.layers:
            wires = [self.at[name] for name in parents(layer)]
            self.at[layer.name] = self._wire(layer, wires)
            if self.uses[layer.name] > 1:
                self.shared.add(self.at[layer.name])
        if not self.stages:
            raise Unavailable("the network has no layer that computes anything")
        if self.at[self.network.output_names[0]] != len(self.stages):
            raise Unavailable("the network's last layer does not give its outputs")
        return Design(
            self.types.input,
            math.prod(self.network.input_shape[1:]),
            tuple(self.stages),
            result_of(self.stages[-1]),
            math.prod(self.network.output_shape[1:]),
            tuple(self.sources),
        )

    def _wire(self, layer: Any, wires: list[int]) -> int:
        """The wire with a layer's output, a new one if the layer is a stage of its own."""
        kind, result = type(layer).__name__, self.types.layers[layer.name].result
        if kind in ("Flatten", "Reshape"):
            return wires[0]
        if kind == "Activation":
            if result is None:
                raise Unavailable(f"layer {layer.name!r} has no type")
            cast = Cast(result, relu=True)
            if wires[0] and wires[0] not in self.shared:
                before = self.stages[wires[0] - 1]
                self.stages[wires[0] - 1] = replace(before, casts=(*before.casts, cast))
                return wires[0]
            elements = math.prod(layer.output_shape[1:])
            return self._new(Add(layer.name, elements, (self._number(wires[0]),), (cast,)), wires)
        return self._new(self._stage(layer, kind, wires), wires)

    def _new(self, stage: Stage, wires: list[int]) -> int:
        self.stages.append(stage)
        self.sources.append(tuple(wires))
        return len(self.stages)

    def _stage(self, layer: Any, kind: str, wires: list[int]) -> Stage:
        now, own = self._number(wires[0]), self.types.layers[layer.name]
        casts = (Cast(own.result),) if own.result is not None else ()
        if kind in ("Dense", "Conv2D"):
            return _multiply(layer, self.types, now, self.multipliers, casts)
        if kind == "MaxPooling2D":
            return MaxPool(layer.name, _window(layer, layer.pool_size), now)
        if kind == "AveragePooling2D":
            return _average(layer, self._type(wires[0]))
        if kind == "Add":
            if len({tuple(shape) for shape in layer.input_shape}) > 1:
                raise Unavailable(f"layer {layer.name!r} adds tensors of different shapes")
            numbers = tuple(self._number(wire) for wire in wires)
            return Add(layer.name, math.prod(layer.output_shape[1:]), numbers, casts)
        raise Unavailable(f"layer {layer.name!r} ({kind}) is not known to the RTL generator")

    def _type(self, wire: int) -> FixedType | None:
        if not wire:
            return self.types.input
        casts = self.stages[wire - 1].casts
        return casts[-1].type if casts else None

    def _number(self, wire: int) -> Number:
        return result_of(self.stages[wire - 1]) if wire else Number.of(self.types.input)


def _multiply(
    layer: Any, types: FixedPoint, now: Number, multipliers: int, casts: tuple[Cast, ...]
) -> Multiply:
    own = types.layers[layer.name]
    kernel, bias = (np.asarray(array, np.float64) for array in layer.get_weights())
    assert own.weight is not None and own.bias is not None
    if kernel.ndim == 2:
        if len(layer.input_shape) != 2:
            raise Unavailable(
                f"layer {layer.name!r} is Dense over an input of {len(layer.input_shape) - 1} dimensions"
            )
        window, weights = Window(1, 1, len(kernel)), kernel.reshape(1, 1, *kernel.shape)
    else:
        window, weights = _window(layer, kernel.shape[:2]), kernel
    if own.accum is not None and own.accum.overflow != "WRAP":
        raise Unavailable(f"layer {layer.name!r} has sums of type {own.accum}; only sums that wrap are known")
    return Multiply(
        layer.name,
        window,
        now,
        _codes(weights, own.weight),
        Number.of(own.weight),
        _codes(bias, own.bias),
        Number.of(own.bias),
        own.accum,
        min(multipliers, kernel.shape[-1]),
        casts,
    )


def _average(layer: Any, type_: FixedType | None) -> AveragePool:
    """Its result has the type of its input, modes included, as in hls4ml (infer_precision.py)."""
    window = _window(layer, layer.pool_size)
    if type_ is None:
        raise Unavailable(f"layer {layer.name!r} averages sums that have no type")
    if not window.inside:
        raise Unavailable(f"layer {layer.name!r} averages over padding, which hls4ml's streams cannot")
    return AveragePool(layer.name, window, Number.of(type_), (Cast(type_),))


def _codes(values: np.ndarray, type_: FixedType) -> np.ndarray:
    codes = np.rint(values / type_.step)
    assert np.array_equal(codes * type_.step, values), "weights are not on their grid"
    return codes.astype(np.int64)


def _window(layer: Any, kernel: tuple[int, int]) -> Window:
    height, width, channels = (int(size) for size in layer.input_shape[1:])
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
