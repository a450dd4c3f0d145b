"""Casts in Verilog, in both styles, against ap_fixed as g++ compiles it: types at random, every mode."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from targets.fpga.fixed import OVERFLOWS, ROUNDINGS, FixedType
from targets.fpga.rtl.parallel import parallel
from targets.fpga.rtl.simulate import simulate
from targets.fpga.rtl.stages import Cast, Design, Multiply, Number
from tests import ap_fixed
from tests.rtl import row, whole_input

pytestmark = [
    ap_fixed.needs_ap_fixed,
    pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog"),
]
MODES = [(r, o, relu) for relu in (False, True) for r in ROUNDINGS for o in OVERFLOWS]
VALUES = 60


@st.composite
def types(draw: st.DrawFn, rounding: str = "TRN", overflow: str = "WRAP", most: int = 16) -> FixedType:
    bits = draw(st.integers(1, most))
    return FixedType(bits, draw(st.integers(-4, bits + 4)), draw(st.booleans()), rounding, overflow)


#: one cast of each pair of modes, with and without ReLU
batches = st.tuples(*(st.tuples(types(most=18), types(r, o)) for r, o, _ in MODES))


def wire(source: FixedType, cast: Cast) -> Design:
    """A layer of one weight, which is 1: what it gives is its input, cast."""
    one = np.ones((1, 1, 1, 1), np.int64)
    stage = Multiply(
        *("wire", whole_input(1), Number.of(source), one, Number(2, 0), np.zeros(1, np.int64)),
        *(Number(2, 0), None, 1, (cast,)),
    )
    return row(source, stage)


def values_of(source: FixedType) -> np.ndarray:
    """The type's edges, values about zero, and some of all."""
    number = Number.of(source)
    near = [edge + k for edge in (number.low, 0, number.high) for k in range(-8, 9)]
    kept = [code for code in near if number.low <= code <= number.high]
    rng = np.random.default_rng(source.bits)
    drawn = rng.integers(number.low, number.high, VALUES, endpoint=True)
    return np.asarray(np.concatenate([kept, drawn])[:VALUES] * source.step)


@pytest.mark.parametrize("style", ["sequential", "parallel"])
@settings(
    max_examples=3,  # the first is the smallest that there is
    deadline=None,
    database=None,
    phases=(Phase.generate,),  # a batch is seconds long; the message names the one cast that is wrong
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)
@given(batch=batches)
def test_casts_are_those_of_ap_fixed(style: str, batch: tuple[tuple[FixedType, FixedType], ...]) -> None:
    if style == "parallel" and importlib.util.find_spec("da4ml") is None:
        pytest.skip("needs da4ml")
    casts = [Cast(type_, relu) for (_, type_), (_, _, relu) in zip(batch, MODES, strict=True)]
    inputs = np.stack([values_of(source) for source, _ in batch])
    with tempfile.TemporaryDirectory() as place:
        # Each cast's program reads the values of all, of which its own are on its source's grid.
        kinds = [(cast.type, cast.relu) for cast in casts]
        wanted = ap_fixed.casts(kinds, inputs.ravel(), Path(place)).reshape(len(batch), *inputs.shape)
        for k, ((source, _), cast) in enumerate(zip(batch, casts, strict=True)):
            design, folder = wire(source, cast), Path(place) / str(k)
            folder.mkdir()
            made = parallel(design, 2) if style == "parallel" else design
            found = simulate(made, inputs[k].reshape(-1, 1), folder, simulator="iverilog").outputs.ravel()
            for value, right, got in zip(inputs[k], wanted[k, k], found, strict=True):
                assert got == right, f"{source} to {cast}: {value} is {right}, not {got}"
