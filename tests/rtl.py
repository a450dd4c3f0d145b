"""Random fixed-point networks as hardware stages, and their outputs worked out with NumPy integers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from targets.fpga.fixed import FixedType
from targets.fpga.rtl.stages import Add, AveragePool, Cast, Design, MaxPool, Multiply, Number, Stage, Window

RND = ("RND", "SAT")
INPUT = FixedType(8, 4, True, *RND)


def whole_input(inputs: int) -> Window:
    """The window of a dense layer."""
    return Window(1, 1, inputs)


def window(
    shape: tuple[int, int, int], kernel: tuple[int, int], stride: tuple[int, int] = (1, 1), same: bool = False
) -> Window:
    """The window of a convolution or pooling, with TensorFlow's meaning of `same` and `valid`."""
    pad, counts = [], []
    for size, span, step in zip(shape[:2], kernel, stride, strict=True):
        count = -(-size // step) if same else (size - span) // step + 1
        missing = max(0, (count - 1) * step + span - size) if same else 0
        pad.append(missing // 2)
        counts.append(count)
    return Window(*shape, kernel, stride, (pad[0], pad[1]), counts[0], counts[1])


def multiply(
    rng: np.random.Generator,
    name: str,
    over: Window,
    source: Number,
    outputs: int,
    *casts: Cast,
    p: int = 4,
    weight: Number | None = None,
    bias: Number | None = None,
    given: FixedType | None = None,
) -> Multiply:
    """A layer with weights and biases drawn from their whole range."""
    weight, bias = weight or Number(6, 4), bias or Number(8, 5)
    taps = (*over.kernel, over.channels)
    return Multiply(
        name,
        over,
        source,
        rng.integers(weight.low, weight.high, (*taps, outputs), endpoint=True),
        weight,
        rng.integers(bias.low, bias.high, outputs, endpoint=True),
        bias,
        given,
        min(p, outputs),
        tuple(casts),
    )


def row(input_type: FixedType, *stages: Stage, sources: tuple[tuple[int, ...], ...] = ()) -> Design:
    """A design of these stages, one after the other unless `sources` says what each takes."""
    last = stages[-1]
    outputs = last.window.positions * last.outputs
    return Design(input_type, stages[0].window.inputs, stages, result_of(last), outputs, sources)


def result_of(stage: Stage) -> Number:
    return Number.of(stage.casts[-1].type) if stage.casts else stage.raw


def inputs_for(design: Design, n: int, seed: int = 0) -> np.ndarray:
    """Inputs on the grid of the design's input type, its edges among them."""
    rng, number = np.random.default_rng(seed), Number.of(design.input)
    codes = rng.integers(number.low, number.high, (n, design.inputs), endpoint=True)
    codes[0, :] = number.low
    codes[-1, ::2] = number.high
    return np.asarray(codes * design.input.step)


def expected(design: Design, x: np.ndarray) -> np.ndarray:
    """Outputs (n, outputs) by arithmetic in Python's integers: nothing of the generator is used."""
    codes = np.rint(x / design.input.step).astype(np.int64).astype(object)
    wires = [(codes, design.input.bits - design.input.integer)]
    for place, stage in enumerate(design.stages):
        taken = [wires[wire] for wire in (design.sources[place] if design.sources else [place])]
        if isinstance(stage, Add):
            fraction = max(point for _, point in taken)
            values = sum(codes.reshape(len(x), -1) * (1 << (fraction - point)) for codes, point in taken)
        else:
            values, fraction = _worked_out(stage, *taken[0], len(x))
        for cast in stage.casts:
            values = values * (values > 0) if cast.relu else values
            values = cast_codes(values, fraction, cast.type)
            fraction = cast.type.bits - cast.type.integer
        wires.append((np.asarray(values, object), fraction))
    values, fraction = wires[-1]
    return np.asarray(values, np.float64) * 2.0**-fraction


def _worked_out(stage: Stage, values: np.ndarray, fraction: int, n: int) -> tuple[np.ndarray, int]:
    columns = _columns(values.reshape(n, *_shape(stage)), stage.window)
    if isinstance(stage, AveragePool):
        return _averages(columns, n, fraction)
    if isinstance(stage, MaxPool):
        largest = np.array([column.max(axis=1) for column in columns])  # (positions, n, channels)
        return largest.transpose(1, 0, 2).reshape(n, -1), fraction
    assert isinstance(stage, Multiply)
    return _sums(columns, stage, fraction)


def _shape(stage: Stage) -> tuple[int, int, int]:
    return stage.window.height, stage.window.width, stage.window.channels


def _columns(image: np.ndarray, over: Window) -> list[np.ndarray]:
    """For each position its window's values (n, taps, channels), OUTSIDE where the image ends."""
    found = []
    for y in range(over.rows):
        for z in range(over.columns):
            taps = []
            for dy in range(over.kernel[0]):
                for dz in range(over.kernel[1]):
                    a, b = y * over.stride[0] + dy - over.pad[0], z * over.stride[1] + dz - over.pad[1]
                    inside = 0 <= a < over.height and 0 <= b < over.width
                    taps.append(image[:, a, b] if inside else None)
            found.append(taps)
    return [_stacked(taps) for taps in found]


def _stacked(taps: Sequence[np.ndarray | None]) -> np.ndarray:
    like = next(tap for tap in taps if tap is not None)
    return np.stack([tap if tap is not None else like * 0 + OUTSIDE for tap in taps], axis=1)


#: stands for values outside the image: below all others for the largest, zero for sums
OUTSIDE = -(1 << 80)


def _averages(columns: list[np.ndarray], n: int, fraction: int) -> tuple[np.ndarray, int]:
    """Sums divided by the number of taps towards zero, with as many further bits as count the taps."""
    taps = columns[0].shape[1]
    extra = math.ceil(math.log2(taps))
    sums = np.array([column.sum(axis=1) for column in columns]).transpose(1, 0, 2).reshape(n, -1)
    divided = [abs(int(s)) * 2**extra // taps * (1 if s > 0 else -1) for s in sums.ravel()]
    return np.array(divided, object).reshape(sums.shape), fraction + extra


def _sums(columns: list[np.ndarray], stage: Multiply, fraction: int) -> tuple[np.ndarray, int]:
    weights = stage.weights.reshape(-1, stage.window.channels, stage.outputs).astype(object)
    at = fraction + stage.weight.fraction
    given = stage.given
    common = max(at, stage.bias_number.fraction) if given is None else given.bits - given.integer
    results = []
    for column in columns:
        column = np.where(column == OUTSIDE, 0, column)
        products = column[..., None] * weights  # (n, taps, channels, outputs)
        if given is None:
            total = products.sum(axis=(1, 2)) * (1 << (common - at))
            total = total + stage.bias.astype(object) * (1 << (common - stage.bias_number.fraction))
        else:
            wrapping = FixedType(given.bits, given.integer, given.signed)
            bias = cast_codes(stage.bias, stage.bias_number.fraction, given)
            total = cast_codes(cast_codes(products, at, given).sum(axis=(1, 2)) + bias, common, wrapping)
        results.append(total)
    return np.stack(results, axis=1).reshape(len(columns[0]), -1), common


def cast_codes(codes: np.ndarray, fraction: int, type_: FixedType) -> np.ndarray:
    """Codes with `fraction` bits right of the point as codes of a type."""
    shift = fraction - (type_.bits - type_.integer)
    flat = [_cast_one(int(code), shift, type_) for code in np.asarray(codes, object).ravel()]
    return np.array(flat, object).reshape(np.shape(codes))


def _cast_one(code: int, shift: int, type_: FixedType) -> int:
    if shift <= 0:
        whole = code << -shift
    else:
        whole, rest = divmod(code, 1 << shift)
        half = 1 << (shift - 1)
        up = {
            "TRN": False,
            "TRN_ZERO": code < 0 and rest > 0,
            "RND": rest >= half,
            "RND_CONV": rest > half or (rest == half and whole % 2 == 1),
        }[type_.rounding]
        whole += up
    low = -(1 << (type_.bits - 1)) if type_.signed else 0
    count = 1 << type_.bits
    if type_.overflow == "SAT":
        return min(max(whole, low), low + count - 1)
    return (whole - low) % count + low
