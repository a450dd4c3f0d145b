"""Keras files: the same bytes, the same predictions after reading, and nothing foreign is run."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.step import Artifact
from bench.errors import ArtifactError
from bench.formats.keras import load_model, save_model
from bench.formats.keras_env import load
from bench.steps.keras.training import fresh_network, predict
from tests.tiny import CNN, MLP, Blobs, run

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("quantized")
    parent, _ = run("train", folder / "parent", model=CNN, epochs=1)
    return run("qat", folder / "qat", model=CNN, parent=parent, epochs=1)[0]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_model(fresh_network(MLP, "reference", 0), tmp_path)


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(config)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def layers(config: dict[str, Any]) -> list[dict[str, Any]]:
    return list(config["config"]["layers"])


def test_keras_itself_opens_the_file(saved: Path) -> None:
    _, keras = load()
    again = keras.models.load_model(str(saved))
    x = Blobs().load().test.x[:8]
    np.testing.assert_array_equal(predict(again, x), predict(load_model(saved.parent), x))


def test_the_same_weights_give_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = save_model(load_model(saved), tmp_path / "other")
    assert other.read_bytes() == saved.read_bytes()
    assert sorted(path.name for path in saved.parent.iterdir()) == ["model.keras", "other"]


def test_a_quantized_network_reads_the_same_in_another_process(quantized: Artifact) -> None:
    x = Blobs().load().test.x[:16]
    here = predict(load_model(quantized.path), x)
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from bench.formats.keras import load_model\n"
        "from bench.steps.keras.training import predict, prepare\n"
        "from tests.tiny import Blobs\n"
        "prepare(0); x = Blobs().load().test.x[:16]\n"
        "np.save(sys.argv[2], predict(load_model(Path(sys.argv[1])), x), allow_pickle=False)\n"
    )
    out = quantized.path.parent / "there.npy"
    subprocess.run([sys.executable, "-c", code, str(quantized.path), str(out)], check=True, cwd=ROOT)
    np.testing.assert_array_equal(np.load(out, allow_pickle=False), here)
    # It is quantized: the float network beside the ranges says something else.
    from bench.formats.keras import load_float

    assert np.abs(predict(load_float(quantized.path), x) - here).max() > 0


def test_ranges_that_do_not_fit_are_refused(quantized: Artifact, tmp_path: Path) -> None:
    for name in ("model.keras", "quantizers.npz"):
        (tmp_path / name).write_bytes((quantized.path / name).read_bytes())
    load_model(tmp_path)
    with np.load(tmp_path / "quantizers.npz", allow_pickle=False) as archive:
        values = dict(archive)
    values.pop(sorted(values)[-1])
    np.savez(tmp_path / "quantizers.npz", allow_pickle=False, **values)
    with pytest.raises(ArtifactError, match="quantizers do not fit"):
        load_model(tmp_path)
    (tmp_path / "quantizers.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ArtifactError, match=r"quantizers\.npz"):
        load_model(tmp_path)


def test_missing_foreign_and_truncated_files_are_refused(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    for content in (
        b"",
        b"hello",
        whole[: len(whole) // 2],
        whole[:-10],
        whole[:40] + b"\0" * 40 + whole[80:],
    ):
        saved.write_bytes(content)
        with pytest.raises(ArtifactError, match=r"model\.keras"):
            load_model(saved)
    with pytest.raises(ArtifactError, match="no such file"):
        load_model(tmp_path / "nothing.keras")
    with pytest.raises(ArtifactError, match=r"ending in \.keras"):
        load_model(tmp_path / "model.h5")
    with zipfile.ZipFile(saved, "w") as archive:
        archive.writestr("../../evil.py", "print(1)")
    with pytest.raises(ArtifactError, match="not a Keras model"):
        load_model(saved)


HOSTILE: dict[str, Callable[[dict[str, Any]], None]] = {
    "a lambda layer": lambda c: layers(c)[1].update(class_name="Lambda"),
    "a lambda function": lambda c: layers(c)[2]["config"].update(
        activation={"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}
    ),
    "a function of os": lambda c: layers(c)[2]["config"].update(
        activation={"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    ),
    "a function of keras itself": lambda c: layers(c)[2]["config"].update(
        activation={"module": "keras.utils", "class_name": "function", "config": "get_file"}
    ),
    "a class of another package": lambda c: layers(c)[1].update(module="subprocess", class_name="Popen"),
    "an operation": lambda c: layers(c)[1].update(class_name="TFOpLambda"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_code_in_a_file_is_never_run(
    change: Callable[[dict[str, Any]], None], saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(saved, change)
    _, keras = load()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("handed to Keras")

    monkeypatch.setattr(keras.models, "load_model", never)
    with pytest.raises(ArtifactError, match=r"holds code|names a"):
        load_model(saved)


def test_a_config_that_keras_cannot_read_is_refused(saved: Path) -> None:
    edit(saved, lambda config: layers(config)[2]["config"].update(units="many"))
    with pytest.raises(ArtifactError, match="not a Keras model that this version reads"):
        load_model(saved)
