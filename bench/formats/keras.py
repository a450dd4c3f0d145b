"""Keras networks on disk: written the same bytes for the same weights, read without running foreign code.

A folder of format `keras` holds `model.keras` (Keras' own format: any tf_keras 2.x opens it). A
network under tensorflow-model-optimization's quantization does not survive that format (its
wrappers are built twice on loading), so it is kept as its float network plus `quantizers.npz`, the
learnt ranges; `load_model` puts the two together again.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import ArtifactError
from bench.formats.keras_env import load, load_tfmot, without_autograph

MODEL_FILE = "model.keras"
QUANTIZERS_FILE = "quantizers.npz"
_PARTS = ("metadata.json", "config.json", "model.weights.h5")
#: Keras imports any module that a file names and calls what it finds there; only these may be named.
_MODULES = frozenset(
    package + part
    for package in ("keras", "tf_keras")
    for part in (
        "",
        ".layers",
        ".initializers",
        ".regularizers",
        ".constraints",
        ".models",
        ".src.engine.functional",
        ".src.models.functional",
    )
)
_MAX_BYTES = 2**31


def save_model(model: Any, folder: Path) -> Path:
    """Write an uncompiled float network (wrappers stripped) to `folder/model.keras`."""
    path = folder / MODEL_FILE
    _, keras = load()
    raw = folder / "raw.keras"
    keras.models.save_model(model, str(raw), save_format="keras")
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(path, "w") as archive:
        for name in _PARTS:
            content = source.read(name)
            if name == "metadata.json":  # it holds the time of day
                version = json.loads(content)["keras_version"]
                content = json.dumps({"keras_version": version, "date_saved": ""}).encode()
            # A ZipInfo of its own has a fixed date: the same weights give the same bytes.
            archive.writestr(zipfile.ZipInfo(name), content)
    raw.unlink()
    return path


def save_quantized(float_model: Any, quantized: Any, folder: Path) -> Path:
    """Write a quantization-aware network: its weights into `float_model`, the ranges beside it.

    Args:
        float_model: network of the architecture that `quantized` was made from; gets its weights.

    Raises:
        ArtifactError: the two are not of one architecture.
    """
    values = {variable.name: variable.numpy() for variable in quantized.weights}
    for variable in float_model.weights:
        if variable.name not in values:
            raise ArtifactError(f"the quantized network has no weight {variable.name!r}")
        variable.assign(values[variable.name])
    own = {variable.name for variable in float_model.weights}
    ranges = {
        f"{index:04d}": variable.numpy()
        for index, variable in enumerate(quantized.weights)
        if variable.name not in own
    }
    np.savez(folder / QUANTIZERS_FILE, allow_pickle=False, **ranges)
    return save_model(float_model, folder)


def load_float(place: Path) -> Any:
    """The float network of a folder or a `.keras` file, without quantizers.

    Raises:
        ArtifactError: not there, truncated, foreign, or it would run code.
    """
    path = place / MODEL_FILE if place.is_dir() else place
    _inspect(path)
    _, keras = load()

    @without_autograph
    def read() -> Any:
        return keras.models.load_model(str(path), compile=False, safe_mode=True)

    try:
        return read()
    except Exception as error:
        raise ArtifactError(
            f"not a Keras model that this version reads ({_first_line(error)})", where=str(path)
        ) from error


def load_model(place: Path) -> Any:
    """The tf_keras network of a folder of format `keras` or of a `.keras` file, not compiled.

    Raises:
        ArtifactError: not there, truncated, foreign, or it would run code.
    """
    model = load_float(place)
    ranges = (place if place.is_dir() else place.parent) / QUANTIZERS_FILE
    if not ranges.exists():
        return model
    try:
        with ranges.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            values = {int(name): archive[name] for name in archive.files}
        quantized = quantize(model)
        own = {variable.name for variable in model.weights}
        places = [i for i, variable in enumerate(quantized.weights) if variable.name not in own]
        if places != sorted(values):
            raise ValueError(f"{len(values)} ranges for {len(places)} quantizers")
        for index, value in values.items():
            quantized.weights[index].assign(value)
    except Exception as error:
        raise ArtifactError(
            f"the quantizers do not fit the network ({_first_line(error)})", where=str(ranges)
        ) from error
    return quantized


@without_autograph
def quantize(model: Any) -> Any:
    """`model` with 8-bit quantizers on weights and activations (its layers are copied).

    Raises:
        ValueError, RuntimeError: tensorflow-model-optimization does not know a layer.
    """
    return load_tfmot().quantization.keras.quantize_model(model)


def clone(model: Any) -> Any:
    """A copy that shares no layer and no weight with `model`."""
    _, keras = load()
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def _inspect(path: Path) -> None:
    """Refuse everything that is not a plain archive of stock layers, before Keras sees it."""
    where = str(path)
    if path.suffix != ".keras":
        raise ArtifactError("not a Keras model (expected a file ending in .keras)", where=where)
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(archive.namelist())
            if names != sorted(_PARTS):
                raise ArtifactError(f"not a Keras model (holds {', '.join(names[:5])})", where=where)
            if sum(info.file_size for info in archive.infolist()) > _MAX_BYTES:
                raise ArtifactError("larger than 2 GiB when unpacked", where=where)
            if broken := archive.testzip():
                raise ArtifactError(f"{broken} in it is damaged", where=where)
            config = json.loads(archive.read("config.json"))
    except FileNotFoundError as error:
        raise ArtifactError("no such file", where=where) from error
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"truncated or not a Keras model ({_first_line(error)})", where=where) from error
    for node in _nodes(config):
        kind, module = str(node.get("class_name")), node.get("module")
        if kind in ("Lambda", "__lambda__") or kind.endswith("OpLambda") or kind.startswith("Instance"):
            raise ArtifactError(f"holds code ({kind}), which is never run", where=where)
        if kind == "function" and module != "builtins":
            raise ArtifactError(f"names a function of module {module!r}", where=where)
        if kind != "function" and module not in _MODULES | {None, "builtins"}:
            raise ArtifactError(f"names a class of module {module!r}", where=where)


def _nodes(config: Any) -> Iterator[dict[str, Any]]:
    """Every object of a config that names a class, at any depth."""
    pending = [config]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if "class_name" in item or "module" in item:
                yield item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:300]
