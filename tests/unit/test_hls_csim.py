"""Target hls4ml: the chain of agreement, and what it says when a bit is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.step import Artifact
from bench.errors import ArtifactError, StepError
from targets.fpga.fixed import FixedPoint, Reference, inputs_digest
from targets.fpga.hls4ml_target import CsimRunner, Hls4ml
from tests.tiny import QAT, TRAIN, Blobs, copied, made, not_optimised, step

pytestmark = [pytest.mark.tf, pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")]
COMPILE = step("compile_hls")
GIVEN = step("qkeras_train", network="student", epochs=3)
X = Blobs().load().test.x


@pytest.fixture(scope="module")
def csim() -> Artifact:
    return made("tiny_mlp", TRAIN, QAT, step("to_hls"), COMPILE)


def links(folder: Path, x: np.ndarray = X) -> list[dict[str, Any]]:
    runner = Hls4ml().open(folder)
    runner.predict(x)
    return runner.agreement()


def test_chain_is_exact_from_qkeras_to_csim(csim: Artifact) -> None:
    found = links(csim.path)
    json.dumps(found, allow_nan=False)
    assert [(link["of"], link["against"]) for link in found] == [("qkeras", "float"), ("csim", "qkeras")]
    first, last = found
    assert last["n"] == last["bit_exact"] == len(X) and last["mismatches"] == 0
    assert last["max_abs_diff"] == 0.0 and last["sqnr_db"] is None and last["first_layer"] is None
    assert first["n"] == len(X) and first["bit_exact"] < len(X) and first["first_layer"] is None
    assert first["max_abs_diff"] > 0 and first["mismatches"] <= 6


def test_links_are_counted_from_the_networks_outputs(csim: Artifact) -> None:
    from bench.core.agreement import compare
    from bench.formats.keras import load_float

    parent = load_float(made("tiny_mlp", TRAIN).path)
    logits = Reference.load(csim.path).logits
    np.testing.assert_array_equal(np.asarray(parent(X)), logits["float"])
    outputs = Hls4ml().open(csim.path).predict(X)
    np.testing.assert_array_equal(outputs, logits["qkeras"])
    found = links(csim.path)[0]
    assert {k: found[k] for k in ("n", "mismatches", "sqnr_db")} == {
        k: v
        for k, v in compare(logits["float"], outputs).to_json().items()
        if k in ("n", "mismatches", "sqnr_db")
    }


def test_other_inputs_say_nothing(csim: Artifact) -> None:
    runner = Hls4ml().open(csim.path)
    assert runner.agreement() == []
    for other in (X[:-1], X[::-1], X + 0.01):
        runner.predict(other)
        assert runner.agreement() == []
    runner.predict(X)
    assert len(runner.agreement()) == 2


def files_of_weights(artifact: Artifact) -> dict[str, Path]:
    """Layer -> its file of weights, in the order of the network's layers."""
    names = sorted((artifact.path / "weights").glob("w*.txt"), key=lambda path: int(path.stem[1:]))
    return dict(zip(("dense_0", "dense_1", "logits"), names, strict=True))


@pytest.mark.parametrize("layer", ["dense_0", "dense_1", "logits"])
def test_a_flipped_weight_is_found_in_its_layer(layer: str, csim: Artifact, tmp_path: Path) -> None:
    place = copied(csim, tmp_path / "csim")
    path = place / "weights" / files_of_weights(csim)[layer].name
    values = [float(text) for text in path.read_text().split(",")]
    # The largest one whose input is not zero everywhere: its sign.
    width = {"dense_0": 24, "dense_1": 16, "logits": 4}[layer]
    kernel = np.array(values).reshape(-1, width)
    chosen = np.unravel_index(np.abs(kernel).argmax(), kernel.shape)
    kernel[chosen] *= -1
    path.write_text(", ".join(f"{value:.10f}" for value in kernel.ravel()))
    last = links(place)[-1]
    assert last["bit_exact"] < last["n"] and last["max_abs_diff"] > 0
    assert last["first_layer"] == layer


def test_a_design_after_training_names_no_layer(csim: Artifact, tmp_path: Path) -> None:
    """Its C simulation is not meant to be the float network bit for bit."""
    place = copied(csim, tmp_path / "csim")
    types = FixedPoint.load(place)
    FixedPoint("post_training", types.input, types.layers).save(place)
    logits = Reference.load(place).logits
    Reference(inputs_digest(X), {"float": logits["float"]}).save(place)
    (link,) = links(place)
    assert (link["of"], link["against"]) == ("csim", "float")
    assert link["bit_exact"] < len(X) and link["first_layer"] is None


def test_reference_of_another_length_is_refused(csim: Artifact, tmp_path: Path) -> None:
    place = copied(csim, tmp_path / "csim")
    logits = Reference.load(place).logits
    Reference(inputs_digest(X), {"float": logits["float"][:-1]}).save(place)
    with pytest.raises(StepError, match="cannot be compared"):
        links(place)


def test_describe_and_single_inputs(csim: Artifact) -> None:
    runner = Hls4ml().open(csim.path)
    assert isinstance(runner, CsimRunner)
    about = runner.describe()
    assert json.loads(json.dumps(about)) == about
    assert about["runtime"] == "hls4ml C simulation" and about["version"][0].isdigit()
    assert about["input"] == {"dtype": str(FixedPoint.load(csim.path).input), "shape": [1, 64]}
    assert about["output"]["shape"] == [1, 4] and about["layers"]["dense_0_relu"] == 24
    runner.prepare(X[:1])
    runner.invoke()
    np.testing.assert_array_equal(runner.end_to_end(X[3:4]), runner.predict(X)[3:4])


def test_all_its_files_are_needed(csim: Artifact, tmp_path: Path) -> None:
    for name in ("simulator", "simulator.json", "fixed_point.json", "reference.npz"):
        place = copied(csim, tmp_path / name)
        (place / name).unlink()
        with pytest.raises(ArtifactError, match=name):
            Hls4ml().open(place)


def test_unavailable_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Hls4ml().unavailable() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install g++" in (Hls4ml().unavailable() or "")
    monkeypatch.undo()
    monkeypatch.setattr("targets.fpga.hls4ml_target.installed", lambda name: False)
    assert "hls4ml is not installed" in (Hls4ml().unavailable() or "")


def test_same_as_hls4mls_own_conversion_of_the_qkeras_network(tmp_path: Path) -> None:
    """An independent way from QKeras to C++: where hls4ml knows all types, both designs are one."""
    how = {"strategy": "resource", "reuse_factor": 4}
    ours = made("tiny_mlp", GIVEN, step("to_hls", **how), COMPILE)
    from bench.formats.keras import load_float
    from targets.fpga.hls.simulator import Simulator, compile_project
    from targets.fpga.qkeras_network import build

    types = FixedPoint.load(ours.path)
    network = build(load_float(ours.path), types, stock=True)
    import hls4ml

    config = hls4ml.utils.config_from_keras_model(network, granularity="name", backend="Vitis")
    graph = hls4ml.converters.convert_from_keras_model(
        network, hls_config=config, backend="Vitis", output_dir=str(tmp_path / "own"), project_name="network"
    )
    graph.write()
    out = tmp_path / "csim"
    out.mkdir()
    with not_optimised():
        compile_project(tmp_path / "own", out)
    x = np.concatenate([X, X * 3 - 1])
    # hls4ml's reader leaves the network's input as it is given: on the grid of the first quantizer.
    theirs = Simulator.open(out).run(types.input.quantize(x))
    found = Simulator.open(ours.path).run(x)
    assert "logits_quantizer" in config["LayerName"]
    if not np.array_equal(found, theirs):  # hls4ml 1.3 leaves out the last quantizer without a word
        result = types.layers["logits"].result
        assert result is not None
        assert {layer.name for layer in graph.get_layers()}.isdisjoint({"logits_quantizer"})
        theirs = result.quantize(theirs)
    np.testing.assert_array_equal(found, theirs)
    assert len(np.unique(found)) > 100
