"""Fixed-point types against hls4ml's own ap_fixed, bit for bit, and against what they are defined to be."""

from __future__ import annotations

import json
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import ArtifactError, StepError
from targets.fpga.fixed import (
    OVERFLOWS,
    REFERENCE_FILE,
    ROUNDINGS,
    TYPES_FILE,
    FixedPoint,
    FixedType,
    LayerTypes,
    Reference,
    best_integer,
    enough_integer,
    inputs_digest,
)
from tests import ap_fixed

# ---------------------------------------------------------------- against ap_fixed


def drawn_types() -> list[FixedType]:
    """40 widths, each with two of the eight pairs of modes, so that each pair has ten."""
    rng = random.Random(20)
    modes = [(rounding, overflow) for rounding in ROUNDINGS for overflow in OVERFLOWS]
    widths = [(1, 1, True), (1, 0, False), (2, 1, True), (8, -3, True), (6, 12, False), (8, 1, True)]
    while len(widths) < 40:
        bits = rng.randint(1, 24)
        widths.append((bits, rng.randint(-5, bits + 4), rng.random() < 0.6))
    return [
        FixedType(bits, integer, signed, *modes[(3 * i + j) % len(modes)])
        for i, (bits, integer, signed) in enumerate(widths)
        for j in (0, 5)
    ]


def drawn_values(types: list[FixedType]) -> np.ndarray:
    """Random values of many sizes, and those about the edges of each type, where modes differ."""
    rng = np.random.default_rng(21)
    random_ones = rng.normal(size=400) * 2.0 ** rng.integers(-10, 12, 400)
    ties = rng.integers(-600, 600, 300) * 2.0 ** rng.integers(-9, 3, 300).astype(float)
    edges = [
        edge + k * type_.step / 4
        for type_ in types[::5]
        for edge in (type_.low, 0.0, type_.high)
        for k in range(-6, 7)
    ]
    return np.concatenate([[0.0, 0.5, -0.5, 1.0, -1.0], random_ones, ties, edges])


@ap_fixed.needs_ap_fixed
def test_same_bits_as_ap_fixed(tmp_path: Path) -> None:
    types = drawn_types()
    assert {(t.rounding, t.overflow) for t in types} == {(r, o) for r in ROUNDINGS for o in OVERFLOWS}
    values = drawn_values(types)
    expected = ap_fixed.casts([(type_, False) for type_ in types], values, tmp_path)
    for type_, row in zip(types, expected, strict=True):
        found = type_.quantize(values)
        wrong = np.flatnonzero(found != row)
        assert wrong.size == 0, f"{type_}: {values[wrong[0]]!r} is {row[wrong[0]]}, not {found[wrong[0]]}"


# ---------------------------------------------------------------- what each type is


@st.composite
def types(draw: Callable[..., object]) -> FixedType:
    bits = draw(st.integers(1, 30))
    return FixedType(
        bits,  # type: ignore[arg-type]
        draw(st.integers(-8, 38)),  # type: ignore[arg-type]
        draw(st.booleans()),  # type: ignore[arg-type]
        draw(st.sampled_from(ROUNDINGS)),  # type: ignore[arg-type]
        draw(st.sampled_from(OVERFLOWS)),  # type: ignore[arg-type]
    )


numbers = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20).map(np.array)


@given(types())
def test_what_is_written_reads_back(type_: FixedType) -> None:
    assert FixedType.parse(str(type_)) == type_
    assert FixedType.parse(str(type_).replace(",", ", ")) == type_


def test_written_as_hls4ml_writes_it() -> None:
    assert str(FixedType(16, 6)) == "fixed<16,6>"
    assert str(FixedType(8, -1, False, "RND_CONV", "SAT")) == "ufixed<8,-1,RND_CONV,SAT>"
    assert FixedType.parse("ufixed<6,2>") == FixedType(6, 2, False, "TRN", "WRAP")
    assert FixedType.parse("fixed<8, 1, RND, SAT>") == FixedType(8, 1, True, "RND", "SAT")


NONE = """fixed fixed<8> ap_fixed<8,1> fixed<8,1 fixed<8,1>x fixed<8,1,RND> fixed<a,1> fixed<-8,1> fixed<0,0>
fixed<1025,1> fixed<8,1025> fixed<8,-1025> fixed<8,1.5> fixed<8,1,RND,SAT_SYM> fixed<8,1,NEAR,SAT>
fixed<8,1,SAT,RND> fixed<8,1,RND,SAT,0>"""


@pytest.mark.parametrize("text", ["", *NONE.split()])
def test_no_types_are_refused(text: str) -> None:
    with pytest.raises(StepError, match=r"fixed-point type|rounding or overflow"):
        FixedType.parse(text)


@given(types(), numbers)
def test_what_is_quantized_is_held_and_stays(type_: FixedType, values: np.ndarray) -> None:
    once = type_.quantize(values)
    assert type_.holds(once)
    np.testing.assert_array_equal(type_.quantize(once), once)


@given(types(), numbers)
def test_saturates_at_its_edges_and_rounds_by_one_step_at_most(type_: FixedType, values: np.ndarray) -> None:
    found = type_.quantize(values)
    inside = (values >= type_.low) & (values <= type_.high)
    assert np.all(np.abs(found - values)[inside] <= type_.step * (0.5 if "RND" in type_.rounding else 1.0))
    if type_.overflow == "SAT":
        assert np.all(found[values > type_.high] == type_.high)
        assert np.all(found[values < type_.low] == type_.low)
    else:  # a multiple of the range away
        span = 2.0**type_.bits * type_.step
        apart = (values - found)[~inside] / span
        assert np.all(np.abs(apart - np.rint(apart)) * 2.0**type_.bits <= 1.0 + 1e-6)


def test_every_mode_by_hand() -> None:
    values = np.array([1.5, 2.5, -1.5, -2.5, 1.25, -1.25, 5.0, -5.0])
    expected = {
        ("TRN", "SAT"): [1, 2, -2, -3, 1, -2, 3, -4],
        ("TRN_ZERO", "SAT"): [1, 2, -1, -2, 1, -1, 3, -4],
        ("RND", "SAT"): [2, 3, -1, -2, 1, -1, 3, -4],
        ("RND_CONV", "SAT"): [2, 2, -2, -2, 1, -1, 3, -4],
        ("TRN", "WRAP"): [1, 2, -2, -3, 1, -2, -3, 3],
    }
    for modes, whole in expected.items():
        assert FixedType(3, 3, True, *modes).quantize(values).tolist() == whole, modes
    assert FixedType(2, 2, False, "TRN", "WRAP").quantize(np.array([5.0, -1.0])).tolist() == [1, 3]
    assert FixedType(2, 2, False, "TRN", "SAT").quantize(np.array([5.0, -1.0])).tolist() == [3, 0]


def test_range_and_step() -> None:
    signed, unsigned = FixedType(8, 3), FixedType(8, -1, signed=False)
    assert (signed.low, signed.high, signed.step) == (-4.0, 4.0 - 1 / 32, 1 / 32)
    assert (unsigned.low, unsigned.high, unsigned.step) == (0.0, 0.5 - 2**-9, 2**-9)


def test_holds_looks_at_grid_and_range() -> None:
    type_ = FixedType(4, 2, True, "RND", "SAT")
    assert type_.holds(np.array([-2.0, -0.25, 0.0, 1.75]))
    for outside in (2.0, -2.25, 0.125, np.nan, np.inf):
        assert not type_.holds(np.array([0.0, outside]))
    assert not FixedType(4, 2, False).holds(np.array([-0.25]))


# ---------------------------------------------------------------- choosing integer bits


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("scale", [0.003, 0.3, 1.0, 7.0, 300.0])
def test_best_integer_has_the_least_error_of_all(bits: int, signed: bool, scale: float) -> None:
    rng = np.random.default_rng(bits)
    for values in (rng.normal(size=500) * scale, rng.standard_t(2, size=500) * scale):
        values = values if signed else np.abs(values)

        def error(integer: int, values: np.ndarray = values) -> float:
            type_ = FixedType(bits, integer, signed, "RND_CONV", "SAT")
            return float(np.mean((type_.quantize(values) - values) ** 2))

        found = best_integer(values, bits, signed=signed)
        assert error(found) == min(error(integer) for integer in range(-20, 20))


def test_best_integer_of_nothing() -> None:
    assert best_integer(np.zeros(5), 8, signed=True) == 1
    assert best_integer(np.zeros(5), 8, signed=False) == 0


@given(
    st.lists(st.one_of(st.floats(-1e6, 1e6), st.integers(-12, 12).map(lambda k: -(2.0**k))), min_size=1),
    st.lists(st.integers(-12, 12).map(lambda k: 2.0**k), max_size=3),
)
def test_enough_integer_is_the_fewest_that_clip_nothing(some: list[float], powers: list[float]) -> None:
    values = np.array([v if abs(v) > 1e-6 else 0.0 for v in some] + powers)
    found = enough_integer(values, signed=True)
    if not np.any(values):
        assert found == 1
        return

    def fit(integer: int) -> bool:
        return bool(np.all((values >= -(2.0 ** (integer - 1))) & (values < 2.0 ** (integer - 1))))

    assert fit(found) and not fit(found - 1)


def test_enough_integer_at_powers_of_two() -> None:
    def enough(*values: float, signed: bool = True) -> int:
        return enough_integer(np.array(values), signed=signed)

    assert enough(1.0) == 2 and enough(0.999) == 1 and enough(-1.0) == 1 and enough(-1.001) == 2
    assert enough(8.0, -8.0) == 5 and enough(7.9, -8.0) == 4 and enough(0.25) == 0 and enough(-0.25) == -1
    assert enough(0.0) == 1 and enough() == 1
    assert (
        enough(1.0, signed=False) == 1 and enough(0.5, signed=False) == 0 and enough(0.0, signed=False) == 0
    )


# ---------------------------------------------------------------- files

TYPES = FixedPoint(
    "qkeras",
    FixedType(8, 0, False, "RND_CONV", "SAT"),
    {
        "dense": LayerTypes(FixedType(6, 1), FixedType(8, 1), None, FixedType(20, 9)),
        "relu": LayerTypes(result=FixedType(6, -1, False)),
        "flatten": LayerTypes(),
    },
)


def test_table_of_types_reads_back(tmp_path: Path) -> None:
    TYPES.save(tmp_path)
    assert FixedPoint.load(tmp_path) == TYPES


def test_tables_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=TYPES_FILE):
        FixedPoint.load(tmp_path)
    TYPES.save(tmp_path)
    path = tmp_path / TYPES_FILE
    content = path.read_bytes()
    value = json.loads(content)
    layer = {"layers": {"dense": {"weight": "fixed<8>"}}}
    bad = [b"", b"\xff\xfe", b"[]", b"null", content[: len(content) // 2], pickle.dumps(TYPES.source)]
    bad += [
        json.dumps(value | change).encode()
        for change in ({"version": 2}, {"version": None}, {"input": 8}, {"input": "float"}, layer)
    ]
    bad += [
        json.dumps(value | {"layers": layers}).encode() for layers in ([], {"a": {"shape": "fixed<8,1>"}})
    ]
    bad += [json.dumps({k: v for k, v in value.items() if k != key}).encode() for key in value]
    for wrong in bad:
        path.write_bytes(wrong)
        with pytest.raises(ArtifactError, match="not a table of fixed-point types"):
            FixedPoint.load(tmp_path)


def reference() -> Reference:
    rng = np.random.default_rng(0)
    logits = {name: rng.normal(size=(30, 4)).astype(np.float32) for name in ("float", "qkeras", "another")}
    return Reference(inputs_digest(np.zeros((30, 3), np.float32)), logits)


def test_reference_reads_back_in_order(tmp_path: Path) -> None:
    reference().save(tmp_path)
    again = Reference.load(tmp_path)
    assert again.inputs == reference().inputs and list(again.logits) == ["float", "qkeras", "another"]
    for name, values in reference().logits.items():
        np.testing.assert_array_equal(again.logits[name], values)


def test_references_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=REFERENCE_FILE):
        Reference.load(tmp_path)
    reference().save(tmp_path)
    path = tmp_path / REFERENCE_FILE
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[content.index(b"\x93NUMPY") + 200] ^= 255  # one bit of a number
    for wrong in (b"", b"no file", content[: len(content) // 2], content[:-30], bytes(damaged)):
        path.write_bytes(wrong)
        with pytest.raises(ArtifactError, match="not a file of reference outputs"):
            Reference.load(tmp_path)
    np.savez(path, allow_pickle=False, other=np.zeros(3))
    with pytest.raises(ArtifactError, match="not a file of reference outputs"):
        Reference.load(tmp_path)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.place,)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    path = tmp_path / REFERENCE_FILE
    array = np.empty(1, object)
    array[0] = Trap(sprung)
    np.savez(path, allow_pickle=True, inputs=np.array("a"), **{"0:float": array})
    with pytest.raises(ArtifactError, match="not a file of reference outputs"):
        Reference.load(tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0:float.npy", pickle.dumps(Trap(sprung)))
    with pytest.raises(ArtifactError, match="not a file of reference outputs"):
        Reference.load(tmp_path)
    path.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(ArtifactError, match="not a file of reference outputs"):
        Reference.load(tmp_path)
    (tmp_path / TYPES_FILE).write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(ArtifactError):
        FixedPoint.load(tmp_path)
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))  # noqa: S301 - ours; the trap works
    assert sprung.exists()


def test_digest_of_inputs_sees_values_shape_and_kind() -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    others = [x + 1, x.reshape(4, 3), x.astype(np.float64), x[:2]]
    assert inputs_digest(x) == inputs_digest(np.asfortranarray(x)) == inputs_digest(x.copy())
    assert len({inputs_digest(other) for other in (x, *others)}) == 5
