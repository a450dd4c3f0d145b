"""Every registered step, run on a network that trains in a blink."""

from __future__ import annotations

import inspect
import json
from functools import cache
from pathlib import Path

import pytest

from bench.registry import STEPS
from bench.steps.base import Artifact, Step
from tests.tiny import run

KERAS_FACTS = {
    *("params", "params_nonzero", "sparsity", "sparsity_all", "layers", "epochs_run", "train_seconds"),
    *("val_accuracy", "file_bytes", "gzip_bytes", "payload_bits"),
}
#: what a step needs of its parent beyond the format
PARENT = {"qap": "prune"}
BUILTIN = sorted(name for name in STEPS.names() if STEPS.place(name).startswith("bench."))


@pytest.mark.parametrize("name", BUILTIN)
def test_declares_itself(name: str) -> None:
    step: Step = STEPS.get(name)
    assert step.name == name
    defaults = step.Params().model_dump()
    assert step.Params(**json.loads(json.dumps(defaults))).model_dump() == defaults
    assert step.takes in (None, "keras", "tflite") and step.gives in ("keras", "tflite")
    assert inspect.getdoc(type(step))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("steps")


@pytest.fixture(scope="module")
def make(folder: Path):  # type: ignore[no-untyped-def]
    @cache
    def make(name: str, copy: int = 0):  # type: ignore[no-untyped-def]
        step: Step = STEPS.get(name)
        parent: Artifact | None = make(PARENT.get(name, "train"))[0] if step.takes else None
        teacher = make("train")[0] if step.teacher != "no" else None
        return run(name, folder / f"{name}{copy}", parent=parent, teacher=teacher)

    return make


@pytest.mark.tf
@pytest.mark.parametrize("name", BUILTIN)
def test_makes_what_its_name_claims(name: str, make) -> None:  # type: ignore[no-untyped-def]
    artifact, outcome = make(name)
    assert [check for check in outcome.checks if not check.passed] == []
    assert outcome.checks or artifact.format != "keras"
    json.dumps(outcome.facts, allow_nan=False)
    if artifact.format == "keras":
        assert outcome.facts.keys() >= KERAS_FACTS
        assert {"reloads"} <= {check.name for check in outcome.checks}
        assert (artifact.path / "model.keras").is_file()
        assert outcome.facts["params_nonzero"] <= outcome.facts["params"]


@pytest.mark.tf
@pytest.mark.parametrize("name", BUILTIN)
def test_makes_the_same_files_again(name: str, make) -> None:  # type: ignore[no-untyped-def]
    first, again = make(name)[0].path, make(name, 1)[0].path
    files = sorted(path.name for path in first.iterdir())
    assert files == sorted(path.name for path in again.iterdir())
    for file in files:
        assert (first / file).read_bytes() == (again / file).read_bytes(), file
