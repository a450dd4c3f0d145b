"""A fixed-point network as hardware stages that pass elements on, everything in integers.

A value is an integer code times 2**-fraction. Sums are as wide as this network's own weights can make
them, unless the network names a type for them: then products are cast to it and sums wrap around, as in
hls4ml (nnet_dense_latency.h).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from targets.fpga.fixed import FixedType


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


@dataclass(frozen=True)
class Add:
    """Sum of its operands, element by element; of one operand the casts alone."""

    name: str
    elements: int
    operands: tuple[Number, ...]
    casts: tuple[Cast, ...] = ()

    @property
    def window(self) -> Window:
        return Window(1, 1, self.elements)

    @property
    def outputs(self) -> int:
        return self.elements

    @property
    def taps(self) -> int:
        return len(self.operands)

    @property
    def raw(self) -> Number:
        """The exact sum: what hls4ml, too, takes where no type is given (infer_precision.py)."""
        if len(self.operands) == 1:
            return self.operands[0]
        signed = any(number.signed for number in self.operands)
        fraction = max(number.fraction for number in self.operands)
        whole = max(n.bits - n.fraction + (signed and not n.signed) for n in self.operands) + 1
        return Number(whole + fraction, fraction, signed)

    @property
    def cycles(self) -> int:
        return self.elements + self.first - 1

    @property
    def first(self) -> int:
        """Cycles from the last element of the last operand taken to the first output given."""
        return 3


Stage = Multiply | MaxPool | Add


@dataclass(frozen=True)
class Design:
    """Stages, element by element between them, channels last. The last stage gives the outputs.

    Attributes:
        sources: for each stage the wires that it takes, in the order of its operands: 0 is the input, n the
            output of stage n - 1. Empty: each takes what the one before it gives.
    """

    input: FixedType
    inputs: int
    stages: tuple[Stage, ...]
    output: Number
    outputs: int
    sources: tuple[tuple[int, ...], ...] = ()

    @property
    def wiring(self) -> tuple[tuple[int, ...], ...]:
        """`sources`, written out for a row of stages, too."""
        return self.sources or tuple((wire,) for wire in range(len(self.stages)))

    @property
    def takers(self) -> list[list[tuple[int, int]]]:
        """For each wire who takes it: stage, and number of its operand."""
        found: list[list[tuple[int, int]]] = [[] for _ in range(len(self.stages) + 1)]
        for stage, wires in enumerate(self.wiring):
            for operand, wire in enumerate(wires):
                found[wire].append((stage, operand))
        return found

    def ends(self, n: int) -> list[int]:
        """Cycles of the last outputs of n inputs back to back, if nobody outside waits; in cycle 0 the first
        element is taken.

        A stage begins when its last operand is complete. Before its first output it waits until all that take
        it are done with the input before; then they take one output after another.
        """
        takers = [{stage for stage, _ in wire} for wire in self.takers]
        done = [-1] * len(self.stages)
        taken, found = -1, []
        for _ in range(n):
            taken = max([taken, *(done[stage] for stage in takers[0])]) + self.inputs
            last = [taken]
            for stage, wires, others in zip(self.stages, self.wiring, takers[1:], strict=True):
                begin = max(last[wire] for wire in wires) + stage.first
                begin = max([begin, *(done[other] + 1 for other in others)])
                last.append(begin + stage.cycles - stage.first)
            done = last[1:]
            found.append(done[-1])
        return found

    @property
    def latency(self) -> int:
        """Cycles from the first input's clock edge to the last output's, if nobody waits."""
        return self.ends(1)[0]

    @property
    def interval(self) -> int:
        """Cycles from one input's last output to the next one's, the most that it takes."""
        return max(after - before for before, after in pairwise(self.ends(len(self.stages) + 2)))

    def cycles(self, n: int) -> int:
        """Cycles that n inputs back to back take, at most."""
        return self.latency + (n - 1) * self.interval

    @property
    def lanes(self) -> int:
        """Multipliers of all stages."""
        return sum(stage.multipliers for stage in self.stages if isinstance(stage, Multiply))


def numbers(design: Design) -> Iterator[Number]:
    """Number on the wire before the first stage, and after each."""
    yield Number.of(design.input)
    yield from map(result_of, design.stages)


def result_of(stage: Stage) -> Number:
    """Number on the wire after a stage."""
    return Number.of(stage.casts[-1].type) if stage.casts else stage.raw
