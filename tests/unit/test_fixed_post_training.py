"""Fixed-point types after training, and what a network costs, against figures worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bench.core.step import Artifact
from bench.steps.fixed import cost as cost_module
from bench.steps.fixed import to_fixed
from bench.steps.fixed.cost import cost, energy_pj, input_types, layer_facts, used_bits
from bench.steps.fixed.to_fixed import ToFixedParams, post_training_types, pruned_stays
from targets.fpga.fixed import FixedPoint, FixedType, LayerTypes, Reference
from targets.fpga.layers import in_a_row
from targets.fpga.qkeras_network import profile
from tests.tiny import TRAIN, Blobs, failed, made, run, step

pytestmark = pytest.mark.tf
BASELINE = {"bits": 32, "integer": 16, "rounding": "TRN", "overflow": "WRAP", "accum": "same"}


def network(*stack: Any, shape: tuple[int, ...] = (3,)) -> Any:
    from bench.formats.keras_env import load

    k = load().keras
    return in_a_row(k.Sequential([k.layers.Input(shape, name="x"), *(make(k.layers) for make in stack)]))


def mlp() -> Any:
    row = network(
        lambda k: k.Dense(2, activation="relu", name="a"), lambda k: k.Dense(2, name="b"), shape=(3,)
    )
    kernel = np.array([[0.75, -4.0], [0.0, 1.0], [0.5, 0.0]])
    row.set_weights([kernel, np.array([0.25, 0.0]), np.array([[8.0, 0.0], [0.0, 0.125]]), np.zeros(2)])
    return row


X = np.array([[1.0, 0.5, 0.0], [-0.5, 2.0, 3.9], [0.0, 0.0, 0.0]], np.float32)


# ---------------------------------------------------------------- post-training types


def test_profiled_types_are_the_fewest_bits_that_hold_everything() -> None:
    row = mlp()
    types = post_training_types(row, X, ToFixedParams(bits=12))
    integers = {
        f"{name}.{part}": FixedType.parse(text).integer
        for name, own in types.layers.items()
        for part, text in own.to_json().items()
    }
    # a = relu(x·A + 0.25): 1 → −4 + 0.5, 1.825 of the second input; b = a·B
    values = profile(row, X)
    assert np.abs(values["a"]).max() == 4.0 and values["a_relu"].max() == 4.0
    assert values["b"].max() == pytest.approx(8 * values["a_relu"][:, 0].max())
    assert types.input.integer == 3  # up to 3.9
    assert integers["a.weight"] == 3 and integers["a.bias"] == 0  # −4 and 0.25
    assert integers["a.result"] == 4 and integers["a_relu.result"] == 4  # ±4: 4 itself needs one more
    assert integers["b.weight"] == 5 and integers["b.bias"] == 1  # 8 and nothing
    assert integers["b.result"] == math.floor(math.log2(values["b"].max())) + 2
    for name, own in types.layers.items():
        assert own.accum is None  # loses nothing
        for text in own.to_json().values():
            assert text.startswith("fixed<12,") and text.endswith("SAT>"), name
    assert types.source == "post_training"


def test_nothing_that_was_seen_is_clipped() -> None:
    row = mlp()
    types = post_training_types(row, X, ToFixedParams(bits=16))
    for name, values in profile(row, X).items():
        result = types.layers[name].result
        assert result is not None
        assert np.abs(result.quantize(values) - values).max() <= result.step / 2


def test_weights_saturate_and_round_to_even_whatever_activations_do() -> None:
    types = post_training_types(mlp(), X, ToFixedParams(**BASELINE))
    assert str(types.input) == str(types.layers["a_relu"].result) == "fixed<32,16>"
    own = types.layers["a"]
    assert str(own.weight) == str(own.bias) == "fixed<32,16,RND_CONV,SAT>"
    assert own.accum == own.result == FixedType(32, 16)
    few = post_training_types(mlp(), X, ToFixedParams(bits=4, integer=2)).layers["a"].weight
    assert few is not None and few.quantize(np.array([-4.0, 0.75, 3.0])).tolist() == [-2.0, 0.75, 1.75]


def test_integer_bits_are_within_the_bits() -> None:
    for wrong in ({"bits": 8, "integer": 9}, {"integer": -1}, {"bits": 1}, {"bits": 65}, {"integer": "auto"}):
        with pytest.raises(ValidationError):
            ToFixedParams(**wrong)
    assert ToFixedParams(bits=8, integer=8).integer == 8


def test_zeros_that_come_back_are_caught() -> None:
    row = mlp()
    kept = {"a": [row.get_layer("a").get_weights()[0], np.zeros(2)]}
    assert pruned_stays(row, kept).passed
    changed = kept["a"][0].copy()
    changed[1, 0] = 0.125
    check = pruned_stays(row, {"a": [changed, np.zeros(2)]})
    assert not check.passed and check.detail == "lost in a"


@pytest.fixture(scope="module")
def trained() -> Artifact:
    return made("tiny_mlp", TRAIN)


def test_pruned_zeros_stay_zeros(trained: Artifact, tmp_path: Path) -> None:
    from bench.formats.keras import load_float
    from bench.steps.keras.facts import kernels

    pruned = made("tiny_mlp", TRAIN, step("prune"))
    artifact, outcome = run("to_fixed", tmp_path, parent=pruned, bits=8)
    assert not failed(outcome)
    before, after = kernels(load_float(pruned.path)), kernels(load_float(artifact.path))
    assert before.keys() == after.keys()
    for name, kernel in before.items():
        assert np.mean(kernel == 0) > 0.7 and not np.any(after[name][kernel == 0])
        own = FixedPoint.load(artifact.path).layers[name].weight
        assert own is not None and own.bits == 8 and own.holds(after[name])


def test_check_of_zeros_is_part_of_the_step(
    trained: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def note(row: Any, weights: Any) -> Any:
        seen.append((row.get_layer("dense_0").get_weights()[0], weights["dense_0"][0]))
        return pruned_stays(row, {"dense_0": [weights["dense_0"][0] + 1, np.zeros(1)]})

    monkeypatch.setattr(to_fixed, "pruned_stays", note)
    _, outcome = run("to_fixed", tmp_path, parent=made("tiny_mlp", TRAIN, step("prune")))
    assert failed(outcome) == ["zeros kept"]
    assert not np.array_equal(*seen[0])  # compared with the trained weights, not with themselves


def test_wide_types_are_the_trained_network(trained: Artifact, tmp_path: Path) -> None:
    """32 bits, 16 of them behind the point: what hls4ml would do by default, with room."""
    from bench.formats.keras import load_float

    artifact, outcome = run("to_fixed", tmp_path, parent=trained, **BASELINE)
    assert not failed(outcome)
    x = Blobs().load().test.x
    reference = Reference.load(artifact.path)
    assert list(reference.logits) == ["float"]
    np.testing.assert_array_equal(reference.logits["float"], np.asarray(load_float(trained.path)(x)))
    np.testing.assert_allclose(np.asarray(load_float(artifact.path)(x)), reference.logits["float"], atol=1e-3)
    assert outcome.facts["cost"]["energy_pj"] is None


def test_same_type_of_sums_is_in_the_project(trained: Artifact, tmp_path: Path) -> None:
    parent, _ = run("to_fixed", tmp_path / "same", parent=trained, **BASELINE)
    _, outcome = run("to_hls", tmp_path / "hls", parent=parent)
    assert not failed(outcome)
    layers = {layer["name"]: layer for layer in outcome.facts["hls_layers"]}
    for name in ("dense_0", "dense_1", "logits"):
        assert layers[name]["accum"] == "fixed<32,16>" and layers[name]["result"] == "fixed<32,16>"
    source = (tmp_path / "hls" / "project" / "firmware" / "defines.h").read_text()
    assert "typedef ap_fixed<32,16> dense_0_accum_t;" in source
    wide, _ = run("to_fixed", tmp_path / "auto", parent=trained)
    _, outcome = run("to_hls", tmp_path / "wide", parent=wide)
    own = {layer["name"]: layer for layer in outcome.facts["hls_layers"]}["dense_0"]
    accum, weight = FixedType.parse(own["accum"]), FixedType.parse(own["weight"])
    entering = FixedPoint.load(wide.path).input
    # The sum of 64 products in full: all places behind the point, and as much room before it.
    assert accum.bits - accum.integer == (weight.bits - weight.integer) + (entering.bits - entering.integer)
    assert accum.integer >= weight.integer + entering.integer + 6 - 1


# ---------------------------------------------------------------- cost by hand


def typed(weight_a: str, weight_b: str, hidden: str, entering: str = "ufixed<4,2>") -> FixedPoint:
    def parse(text: str) -> FixedType:
        return FixedType.parse(text[:-1] + ",RND_CONV,SAT>")

    a, b = parse(weight_a), parse(weight_b)
    layers = {
        "a": LayerTypes(a, parse("fixed<8,4>")),
        "a_relu": LayerTypes(result=parse(hidden)),
        "b": LayerTypes(b, parse("fixed<8,4>"), parse("fixed<16,8>")),
    }
    return FixedPoint("qkeras", parse(entering), layers)


def test_dense_network_by_hand() -> None:
    row = mlp()  # A = [[.75, −4], [0, 1], [.5, 0]], bias [.25, 0]; B = [[8, 0], [0, .125]]
    types = typed("fixed<6,4>", "fixed<9,5>", "ufixed<5,3>")
    found = cost(row, types)
    assert found["macs"] == 6 + 4 and found["macs_nonzero"] == 4 + 2
    # 4 bits · the bits between highest and lowest one: .75 = 11b, the others one bit; then 5 · (1 + 1)
    assert found["ebops"] == 4 * (2 + 1 + 1 + 1) + 5 * (1 + 1)
    a = 6 * (4 / 6 * 4 * 6 + 4 + 6 + math.log2(3))
    b = 4 * (2 / 4 * 5 * 9 + 5 + 9 + math.log2(2))
    assert found["bops"] == pytest.approx(a + b)
    assert found["weight_bits"] == 6 * 6 + 2 * 8 + 4 * 9 + 2 * 8
    assert found["weight_bits_nonzero"] == 4 * 6 + 1 * 8 + 2 * 9 + 0
    assert found["weights_nonzero"] == 4 + 1 + 2
    facts = layer_facts(row, types)
    assert [(f["name"], f["input_bits"], f["weight_bits"], f["weight_integer"]) for f in facts] == [
        ("a", 4, 6, 4),
        ("b", 5, 9, 5),
    ]
    assert facts[0]["sparsity"] == pytest.approx(2 / 6) and facts[0]["nonzero"] == 5
    assert facts[0]["params"] == 8 and facts[0]["unique"] == 5 and facts[0]["shape"] == [3, 2]


def test_convolution_by_hand() -> None:
    row = network(
        lambda k: k.Conv2D(2, (2, 3), padding="same", strides=(1, 2), name="a", activation="relu"),
        lambda k: k.MaxPooling2D((5, 1)),
        lambda k: k.Flatten(),
        lambda k: k.Dense(2, name="b"),
        shape=(5, 6, 3),
    )
    kernel = np.zeros((2, 3, 3, 2))
    kernel[0, 0, :, 0] = [1.0, 1.25, -0.5]
    row.set_weights([kernel, np.zeros(2), np.ones((6, 2)), np.zeros(2)])
    types = typed("fixed<6,3>", "fixed<4,2>", "ufixed<5,3>")
    layers = {layer.name: types.layers.get(layer.name, LayerTypes()) for layer in row.layers}
    found = cost(row, FixedPoint("post_training", types.input, layers))
    positions = 5 * 3
    assert found["macs"] == 36 * positions + 12
    assert found["macs_nonzero"] == 3 * positions + 12
    assert found["ebops"] == 4 * positions * (1 + 3 + 1) + 5 * 12
    a = 36 * positions * (3 / 36 * 4 * 6 + 4 + 6 + math.log2(18))
    assert found["bops"] == pytest.approx(a + 12 * (5 * 4 + 5 + 4 + math.log2(6)))


def test_inputs_of_a_layer_are_the_last_type_before_it() -> None:
    row = mlp()
    types = typed("fixed<6,4>", "fixed<9,5>", "ufixed<5,3>")
    found = {name: str(type_).partition(",RND")[0] + ">" for name, type_ in input_types(row, types).items()}
    assert found == {"a": "ufixed<4,2>", "a_relu": "ufixed<4,2>", "b": "ufixed<5,3>"}


def test_used_bits() -> None:
    type_ = FixedType(8, 4)
    values = np.array([0.0, 1.0, -1.0, 0.0625, -8.0, 7.9375, 1.0625, -0.75, 3.0, 0.1875])
    assert used_bits(values, type_).tolist() == [0, 1, 1, 1, 1, 7, 5, 2, 2, 2]
    rng = np.random.default_rng(0)
    whole = rng.integers(-(2**15), 2**15, 2000)
    expected = [len(bin(abs(w))[2:].rstrip("0")) for w in whole.tolist()]
    assert used_bits(whole * FixedType(16, 3).step, FixedType(16, 3)).tolist() == expected


# ---------------------------------------------------------------- modelled energy


def test_energy_is_modelled_for_qkeras_networks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    row, types = mlp(), typed("fixed<6,4>", "fixed<9,5>", "ufixed<5,3>")
    energy, source = energy_pj(row, types)
    assert energy is not None and energy > 0 and source == "QTools, Horowitz 45 nm"
    wider, _ = energy_pj(row, typed("fixed<12,4>", "fixed<12,5>", "ufixed<12,3>"))
    assert wider is not None and wider > energy
    negative, _ = energy_pj(row, typed("fixed<6,-2>", "fixed<9,5>", "ufixed<5,-1>"))
    assert negative is not None  # integer bits that QKeras does not know
    after = FixedPoint("post_training", types.input, types.layers)
    assert energy_pj(row, after) == (None, "QTools knows QKeras networks only")
    assert cost(row, types)["energy_pj"] == energy

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no such layer")

    import qkeras.qtools.run_qtools as run_qtools

    monkeypatch.setattr(run_qtools, "QTools", broken)
    assert cost_module.energy_pj(row, types) == (None, "QTools cannot model it (RuntimeError: no such layer)")
