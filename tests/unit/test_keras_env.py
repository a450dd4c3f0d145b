"""Keras 2 libraries find Keras 2, whatever was set before: looked at in fresh interpreters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.tf
ROOT = Path(__file__).resolve().parents[2]

_LOOK = """
import os, sys
from bench.formats.keras_env import load, load_tfmot

class Watch:  # TensorFlow reads the variable while it is imported, never again
    seen = []

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "tensorflow":
            cls.seen.append(os.environ.get("TF_USE_LEGACY_KERAS"))

sys.meta_path.insert(0, Watch)
tf, keras = load()
assert Watch.seen == ["1"], Watch.seen
import keras as found_by_others  # hls4ml and keras-tuner decide by its version
assert found_by_others is keras and keras.__name__ == "tf_keras", found_by_others
assert keras.__version__.startswith("2."), keras.__version__
assert tf.keras.layers.Dense is keras.layers.Dense, "TensorFlow handed out Keras 3"
tfmot = load_tfmot()
model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
tfmot.sparsity.keras.prune_low_magnitude(model)
tfmot.quantization.keras.quantize_model(model)
"""


@pytest.mark.parametrize("before", [None, "0"])
def test_libraries_of_keras_2_find_it(before: str | None) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    environment |= {"PYTHONPATH": str(ROOT)} | ({} if before is None else {"TF_USE_LEGACY_KERAS": before})
    done = subprocess.run(
        [sys.executable, "-c", _LOOK], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_without_tensorflow_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from bench.errors import Unavailable; from bench.formats.keras_env import load\n"
        "try: load()\n"
        "except Unavailable as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "tensorflow is not installed" in done.stdout and "uv sync --extra train" in done.stdout
