"""A network as one pipeline that takes an input every cycle: adders alone, through da4ml.

da4ml turns multiplications by constants into a graph of shifts and additions that share what they can
(Sun et al. 2025, "da4ml"), and cuts it into pipeline stages of at most `cutoff` additions in a row. A zero
weight costs nothing. Its retiming stays off: it gave wrong Verilog in trials. Nor is its
interpreter used, which was wrong for numbers of more than 32 bits; what counts is the simulated Verilog.

Casts are those of `ap_fixed`, made of what da4ml has (truncating, wrapping, comparing, adding).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.errors import StepError, Unavailable
from targets.fpga.fixed import FixedType
from targets.fpga.rtl.stages import Add, Cast, Design, Multiply, Number, Stage

#: da4ml takes weights as float32
WEIGHT_BITS = 24
#: look-up tables of an adder: one for each bit of the sum, about this many bits beyond the input's
_GROWTH = 4
#: of the adders that signed digits ask for, this part is left when shared (0.3 to 0.6 by experience)
_SHARED = 0.5
#: how far above the limit the rough estimate must be: it was 0.6 to 1.25 times da4ml's for 20 designs, and
#: tracing what is far too large takes da4ml half an hour
ROUGHLY = 1.5
#: what yosys and a simulator's compilation take together for each look-up table, by experience
SECONDS_PER_LUT = 0.005


@dataclass(frozen=True)
class Parallel:
    """A pipelined design.

    Attributes:
        pipeline: da4ml's stages.
        luts: da4ml's estimate of look-up tables. adders: additions, subtractions and comparisons.
        cutoff: additions in a row between two registers, at most.
    """

    input: FixedType
    inputs: int
    output: Number
    outputs: int
    cutoff: int
    pipeline: Any
    luts: float
    adders: int

    interval = 1

    @property
    def latency(self) -> int:
        """Cycles from the input's clock edge to the output's: one a stage, and the output's register."""
        return len(self.pipeline.solutions) + 1

    def ends(self, n: int) -> list[int]:
        """Cycles of the last outputs of n inputs back to back; in cycle 0 the first is taken."""
        return [self.latency + place for place in range(n)]

    def cycles(self, n: int) -> int:
        """Cycles that n inputs back to back take."""
        return self.ends(n)[-1]

    @property
    def lanes(self) -> int:
        """What a simulator has to do in a cycle."""
        return self.adders


def minutes(luts: float) -> float:
    """Minutes that simulation and synthesis take, by estimate."""
    return luts * SECONDS_PER_LUT / 60


def rough(design: Design) -> tuple[float, float]:
    """Look-up tables and adders by the signed digits of the weights alone: for what is too large even to
    trace."""
    luts = adders = 0.0
    for stage in design.stages:
        if isinstance(stage, Multiply):
            digits = int(_signed_digits(stage.weights).sum()) * stage.window.positions * _SHARED
            adders += digits
            luts += digits * (stage.input.bits + _GROWTH)
    return luts, adders


def _signed_digits(codes: np.ndarray) -> np.ndarray:
    """Digits that are not zero of each code, written with digits -1, 0 and 1 (canonical, the fewest)."""
    magnitude = np.abs(codes.astype(np.int64))
    triple = 3 * magnitude
    return np.asarray(np.bitwise_count((triple ^ magnitude) >> 1))


def refuse(luts: float, adders: float, most: float, how: str) -> None:
    """Raises Unavailable where the estimate is above what is allowed."""
    if most and luts > most:
        raise Unavailable(
            f"style parallel would take about {luts:,.0f} LUT for {adders:,.0f} adders ({how}), more than "
            f"{most:,.0f}, and about {minutes(luts):.0f} minutes of simulation and synthesis",
            mend="Use style sequential, prune, take fewer bits, or raise the option lut_limit.",
        )


def parallel(design: Design, cutoff: int, lut_limit: float = 0) -> Parallel:
    """Trace a design of dense layers and sums of branches.

    Args:
        cutoff: additions in a row between two registers; 1 is the fastest clock and the longest pipeline.
        lut_limit: refuse what would take more look-up tables by estimate; 0: nothing.

    Raises:
        Unavailable: a layer or type that this style does not know, or too large.
        StepError: da4ml fails.
    """
    for stage in design.stages:
        _check(stage)
    refuse(*rough(design), ROUGHLY * lut_limit, "roughly, by the weights' digits")
    try:
        comb = trace(design, cutoff)
    except (AssertionError, ValueError, RecursionError, MemoryError) as error:
        raise StepError(f"da4ml cannot trace the network: {type(error).__name__}: {error}") from error
    adders = sum(op.opcode in (0, 1, 4, 6, -6) for op in comb.ops)
    refuse(comb.cost, adders, lut_limit, "by da4ml's estimate")
    from da4ml.trace.pipeline import to_pipeline

    pipeline = to_pipeline(comb, cutoff, retiming=False, verbose=False)
    return Parallel(
        design.input, design.inputs, design.output, design.outputs, cutoff, pipeline, comb.cost, adders
    )


def _check(stage: Any) -> None:
    if isinstance(stage, Add):
        return
    if not isinstance(stage, Multiply) or stage.window.inputs != stage.taps:
        raise Unavailable(f"layer {stage.name!r}: style parallel knows dense layers only", mend=SEQUENTIAL)
    if stage.weight.bits > WEIGHT_BITS:
        raise Unavailable(
            f"layer {stage.name!r} has weights of {stage.weight.bits} bits; style parallel takes up to "
            f"{WEIGHT_BITS}",
            mend=SEQUENTIAL,
        )
    product = stage.input.fraction + stage.weight.fraction
    if stage.given is not None and Number.of(stage.given).fraction < product:
        raise Unavailable(
            f"layer {stage.name!r} rounds each product to {stage.given}; style parallel has exact sums",
            mend=SEQUENTIAL,
        )


SEQUENTIAL = "Use style sequential."


def trace(design: Design, cutoff: int) -> Any:
    """da4ml's graph of operations (`CombLogic`) of a design of dense layers and sums of branches."""
    from da4ml.trace import FixedVariableArray, HWConfig, comb_trace

    number = Number.of(design.input)
    k = np.full(design.inputs, int(number.signed))
    f = np.full(design.inputs, number.fraction)
    i = np.full(design.inputs, number.bits) - k - f
    hardware = HWConfig(1, -1, cutoff)
    given = FixedVariableArray.from_kif(k, i, f, hardware, 0, {})
    wires: list[Any] = [given]
    for stage, sources in zip(design.stages, design.wiring, strict=True):
        variables = _computed(stage, [wires[wire] for wire in sources])
        for cast in stage.casts:
            variables = [cast_of(v, cast) for v in variables]
        wires.append(FixedVariableArray(np.array(variables), {}, hwconf=hardware))
    return comb_trace(given, wires[-1], keep_dead_inputs=True)


def _computed(stage: Stage, operands: Sequence[Any]) -> list[Any]:
    """da4ml's variables of what a stage works out of arrays of variables, before its casts."""
    if isinstance(stage, Multiply):
        weights = stage.weights.reshape(stage.taps, stage.outputs) * 2.0**-stage.weight.fraction
        bias = stage.bias * 2.0**-stage.bias_number.fraction
        if stage.given is not None:
            bias = stage.given.quantize(bias)
        sums = list((operands[0] @ weights + bias)._vars)
        return sums if stage.given is None else [_wrapped(v, stage.given) for v in sums]
    return [sum(values[1:], values[0]) for values in zip(*(x._vars for x in operands), strict=True)]


def cast_of(value: Any, cast: Cast) -> Any:
    """A da4ml variable rectified if asked to, rounded and fitted as `ap_fixed` does it."""
    type_ = cast.type
    if cast.relu:
        value = value.relu()
    fraction = type_.bits - type_.integer
    step, source = 2.0**-fraction, float(value.step)
    if source < step and type_.rounding != "TRN" and value.low != value.high:
        if type_.rounding == "RND":
            value = value + step / 2
        elif type_.rounding == "TRN_ZERO":
            value = value.msb_mux(value + (step - source), value) if value.low < 0 else value
        else:  # half to even: floor(x + (step / 2 - source) + lowest kept bit * source)
            kept = value.quantize(0, 1 - fraction, fraction)
            value = value + kept * (source / step) + (step / 2 - source)
    elif value.low == value.high:
        return _constant(value, type_)
    value = value.quantize(*_widest(value, fraction), "WRAP", "TRN")
    if type_.overflow == "SAT":
        value = value.max_of(type_.low).min_of(type_.high)
    return _wrapped(value, type_)


def _constant(value: Any, type_: FixedType) -> Any:
    from da4ml.trace import FixedVariable

    fixed = float(type_.quantize(np.array(float(value.low))))
    return FixedVariable.from_const(fixed, hwconf=value.hwconf, _factor=1)


def _widest(value: Any, fraction: int) -> tuple[int, int, int]:
    """Sign, integer bits and fraction bits with which nothing is lost but what is below `fraction`."""
    k, i, _ = value.kif
    return int(k), max(int(i), 1 - fraction), fraction


def _wrapped(value: Any, type_: FixedType) -> Any:
    number = Number.of(type_)
    whole = number.bits - number.signed - number.fraction
    if not number.signed and value.low < 0 and whole > value.kif[1]:
        # da4ml wraps a negative number to no more bits than it has itself.
        return value.msb_mux(value + 2.0**whole, value)
    return value.quantize(int(number.signed), whole, number.fraction, "WRAP", "TRN")


def packed(codes: np.ndarray, bits: int) -> list[str]:
    """Codes (n, elements) as one hexadecimal word a row, the first element lowest."""
    mask, digits = (1 << bits) - 1, (codes.shape[1] * bits + 3) // 4
    return [f"{_word(row, bits, mask):0{digits}x}" for row in codes.tolist()]


def _word(row: Sequence[int], bits: int, mask: int) -> int:
    word = 0
    for place, code in enumerate(row):
        word |= (code & mask) << (place * bits)
    return word
