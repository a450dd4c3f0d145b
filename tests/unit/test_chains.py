"""Chains whose steps do not fit are refused with both names."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.cells import Chain
from bench.errors import ConfigError
from bench.sweep.chains import check_chain
from tests import toy


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toy.activate(monkeypatch, tmp_path)


def test_chains_that_fit() -> None:
    for chain in toy.variants().values():
        check_chain(chain, "toy", where="here")


@pytest.mark.parametrize(
    ("steps", "teacher", "format", "message"),
    [
        ([], [], "toy", "here: the chain has no steps"),
        (["prune"], [], "toy", "here: step 'toy_prune' needs something to start from"),
        (["train", "train"], [], "toy", "'toy_train' starts a chain and can only come first"),
        (["train"], [], "tflite", "ends in format 'toy', but the target runs 'tflite'"),
        (
            ["pack", "prune"],
            [],
            "toy",
            "'toy_prune' takes format 'toy', but 'toy_pack' before it gives 'box'",
        ),
        (["distill"], [], "toy", "'toy_distill' needs a teacher"),
        (["distill"], ["prune"], "toy", "here, teacher: step 'toy_prune' needs something"),
        (["distill"], ["distill"], "toy", "a teacher cannot have a teacher"),
        (["distill"], ["pack"], "toy", "a teacher cannot have format 'box'"),
        (["unknown"], [], "toy", "unknown step 'toy_unknown'"),
    ],
)
def test_chains_that_do_not_fit(
    steps: list[str], teacher: list[str], format: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.core import registry
    from bench.core.cells import StepSpec

    class Pack(toy.Train):
        name, gives = "toy_pack", "box"

    monkeypatch.setitem(registry.STEPS._places, "toy_pack", "tests.toy:Pack")
    monkeypatch.setitem(registry.STEPS._loaded, "toy_pack", Pack())
    chain = Chain(tuple(StepSpec(f"toy_{s}") for s in steps), tuple(StepSpec(f"toy_{s}") for s in teacher))
    with pytest.raises(ConfigError) as caught:
        check_chain(chain, format, where="here")
    assert message in str(caught.value)
