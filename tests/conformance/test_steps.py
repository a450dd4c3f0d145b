"""Every registered step, run on a network that trains in a blink."""

from __future__ import annotations

import inspect
import json
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from shutil import which
from unittest import mock

import numpy as np
import pytest

from bench.core.registry import STEPS
from bench.core.step import Artifact, Step
from models.base import Data, Split
from tests.tiny import Blobs, not_optimised, run

KERAS_FACTS = {
    *("params", "params_nonzero", "sparsity", "sparsity_all", "layers", "epochs_run", "train_seconds"),
    *("val_accuracy", "file_bytes", "gzip_bytes", "payload_bits"),
}
#: what a fixed-point step records beside that of a network
FIXED_FACTS = {
    *("params", "params_nonzero", "sparsity", "sparsity_all", "payload_bits", "layers", "cost", "types"),
}
FILES = {
    "keras": {"model.keras"},
    "tflite": {"model.tflite"},
    "fixed": {"model.keras", "fixed_point.json", "reference.npz"},
    "hls": {"model.keras", "fixed_point.json", "reference.npz", "project"},
    "csim": {"model.keras", "fixed_point.json", "reference.npz", "simulator", "simulator.json", "weights"},
    "rtl": {"model.keras", "simulator", "verilog", "rtl.json", "rtl_outputs.npy"},
}
FORMATS = {*FILES, "overlay"}
#: what a step needs of its parent beyond the format
PARENT = {
    "qap": "prune",
    "to_hls": "to_fixed",
    "compile_hls": "to_hls",
    "to_rtl": "compile_hls",
    "synthesize_rtl": "to_rtl",
    "place_rtl": "to_rtl",
    "build_overlay": "to_hls",
    "emulate_overlay": "compile_hls",
    "emulate_rtl_overlay": "to_rtl",
}
#: parameters that are not the defaults: a smaller device is placed in a third of the time
PARAMS: dict[str, dict[str, str]] = {"place_rtl": {"device": "lfe5u-25f"}}
#: formats that hold a network, all of which is made without the test set; the others hold test vectors, too
NETWORKS = ("keras", "tflite", "fixed")
#: what a network in fixed point gives for the test set, for `agreement`
OF_THE_TEST_SET = Path("reference.npz")
BUILTIN = sorted(name for name in STEPS.names() if STEPS.place(name).startswith("bench."))


@pytest.mark.parametrize("name", BUILTIN)
def test_declares_itself(name: str) -> None:
    step: Step = STEPS.get(name)
    assert step.name == name
    defaults = step.Params().model_dump()
    assert step.Params(**json.loads(json.dumps(defaults))).model_dump() == defaults
    assert step.takes in (None, *FORMATS) and step.gives in FORMATS
    assert all(isinstance(name, str) for name in (*step.needs, *step.tools))
    assert inspect.getdoc(type(step))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("steps")


def other_test_set(data: Data) -> Data:
    """The same data, to train and validate with; only the test set is another one."""
    x = np.random.default_rng(1).uniform(size=data.test.x.shape).astype(np.float32)
    return replace(data, test=Split(x, (data.test.y + 1) % (int(data.test.y.max()) + 1)))


@pytest.fixture(scope="module")
def make(folder: Path):  # type: ignore[no-untyped-def]
    @cache
    def make(name: str, copy: int = 0):  # type: ignore[no-untyped-def]
        """Artifact and outcome; copy 1 of a step that makes a network sees another test set."""
        step: Step = STEPS.get(name)
        missing = [tool for tool in step.tools if which(tool) is None]
        reason = f"needs {', '.join(missing)}" if missing else step.unavailable(step.Params().model_dump())
        if reason:
            pytest.skip(reason)
        parent: Artifact | None = make(PARENT.get(name, "train"))[0] if step.takes else None
        teacher = make("train")[0] if step.teacher != "no" else None
        with ExitStack() as stack:
            stack.enter_context(not_optimised())
            if copy and step.gives in NETWORKS:
                data = other_test_set(Blobs().load())
                stack.enter_context(mock.patch.object(Blobs, "load", lambda _: data))
            return run(name, folder / f"{name}{copy}", parent=parent, teacher=teacher, **PARAMS.get(name, {}))

    return make


@pytest.mark.tf
@pytest.mark.parametrize("name", BUILTIN)
def test_makes_what_its_name_claims(name: str, make) -> None:  # type: ignore[no-untyped-def]
    artifact, outcome = make(name)
    assert [check for check in outcome.checks if not check.passed] == []
    assert outcome.checks or artifact.format not in ("keras", "fixed", "hls")
    assert {path.name for path in artifact.path.iterdir()} >= FILES.get(artifact.format, set())
    json.dumps(outcome.facts, allow_nan=False)
    if artifact.format == "keras":
        assert outcome.facts.keys() >= KERAS_FACTS
        assert {"reloads"} <= {check.name for check in outcome.checks}
        assert (artifact.path / "model.keras").is_file()
        assert outcome.facts["params_nonzero"] <= outcome.facts["params"]
    if artifact.format == "fixed":
        assert outcome.facts.keys() >= FIXED_FACTS
        assert {"fixed-point weights"} <= {check.name for check in outcome.checks}


@pytest.mark.tf
@pytest.mark.parametrize("name", BUILTIN)
def test_makes_the_same_whatever_is_in_the_test_set(name: str, make) -> None:  # type: ignore[no-untyped-def]
    (one, facts), (other, facts_again) = make(name), make(name, 1)
    first, again = one.path, other.path
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    changed = {OF_THE_TEST_SET} & set(files) if one.format in NETWORKS else set()
    for file in files:
        same = (first / file).read_bytes() == (again / file).read_bytes()
        assert same == (file not in changed), file
    # A network chosen by the test set would say so here: how long it trained, how it was validated.
    for fact in ("epochs_run", "val_accuracy", "calibration"):
        assert facts.facts.get(fact) == facts_again.facts.get(fact)
