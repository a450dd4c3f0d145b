"""Keras on the host CPU: one compiled `tf.function` with a fixed signature, no XLA."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from bench.errors import ArtifactError, BenchError, StepError
from targets.base import Runner, Target, TargetOptions

_BATCH = 512


class KerasCpuOptions(TargetOptions):
    """threads: TensorFlow's threads within an operator (one between operators)."""

    threads: int = Field(default=1, ge=1, le=1024, strict=True)


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fix_threads(tf: Any, threads: int) -> None:
    """Set TensorFlow's threads. It takes them only before the first operation of a process.

    Raises:
        BenchError: an operation has run with other threads.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        # 0 is TensorFlow's word for all cores.
        running = tf.config.threading.get_intra_op_parallelism_threads() or available_cores()
        if running != threads:
            raise BenchError(
                f"TensorFlow already runs with {running} threads in this process, {threads} were asked for",
                mend="Open the artifact in a fresh process.",
            ) from error


class KerasCpuRunner(Runner):
    """A Keras model behind `tf.function`s: batch 1 for time, batches for `predict`."""

    def __init__(self, artifact: Path, options: KerasCpuOptions) -> None:
        from bench.formats.keras import load_model
        from bench.formats.keras_env import load

        self._tf, keras = load()
        tf = self._tf
        fix_threads(tf, options.threads)
        self._where, self._options, self._keras_version = str(artifact), options, keras.__version__
        self._model = load_model(artifact)
        shape = self._model.input_shape
        if isinstance(shape, list) or isinstance(self._model.output_shape, list):
            raise ArtifactError(
                "it has several inputs or outputs; one of each is expected", where=self._where
            )
        self._shape = tuple(int(size) for size in shape[1:])
        model = self._model

        def run(x: Any) -> Any:
            return model(x, training=False)

        def compiled(n: int | None) -> Any:
            signature = [tf.TensorSpec((n, *self._shape), tf.float32)]
            return tf.function(run, input_signature=signature, jit_compile=False)

        self._one = compiled(1).get_concrete_function()
        self._many = compiled(None)
        self._x = tf.zeros((1, *self._shape), tf.float32)

    def prepare(self, x: np.ndarray) -> None:
        self._x = self._tf.constant(self._checked(x, 1))

    def invoke(self) -> None:
        self._one(self._x)

    def end_to_end(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self._one(self._tf.constant(x)).numpy()
        return result

    def predict(self, x: np.ndarray) -> np.ndarray:
        x = self._checked(x, len(x))
        parts = [self._many(self._tf.constant(x[i : i + _BATCH])).numpy() for i in range(0, len(x), _BATCH)]
        return np.concatenate(parts) if parts else np.empty((0, *self._model.output_shape[1:]), np.float32)

    def _checked(self, x: np.ndarray, n: int) -> np.ndarray:
        if x.shape != (n, *self._shape):
            raise StepError(
                f"inputs have shape {list(x.shape)}, the model wants {['n', *self._shape]}", where=self._where
            )
        return np.ascontiguousarray(x, dtype=np.float32)

    def describe(self) -> dict[str, Any]:
        threading = self._tf.config.threading
        kinds = [type(layer).__name__ for layer in self._model.layers]
        return {
            "runtime": "tensorflow",
            "version": self._tf.__version__,
            "tf_keras": self._keras_version,
            "threads": threading.get_intra_op_parallelism_threads() or available_cores(),
            "inter_op_threads": threading.get_inter_op_parallelism_threads(),
            "jit": False,
            "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0",
            "layers": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
            "input": {"dtype": "float32", "shape": [1, *self._shape]},
            "output": {"dtype": "float32", "shape": [1, *self._model.output_shape[1:]]},
        }

    def close(self) -> None:
        for name in ("_one", "_many", "_model"):
            vars(self).pop(name, None)


class KerasCpu(Target):
    """A Keras model on this machine's CPU."""

    name: ClassVar[str] = "keras"
    format: ClassVar[str] = "keras"
    Options: ClassVar[type[TargetOptions]] = KerasCpuOptions
    modules: ClassVar[tuple[str, ...]] = ("tensorflow", "tf_keras")

    def unavailable(self) -> str | None:
        missing = [module for module in self.modules if find_spec(module) is None]
        if not missing:
            return None
        return f"{missing[0]} is not installed: uv sync --extra train (or pip install 'edge-bench[train]')"

    def open(self, artifact: Path, options: Any = None) -> KerasCpuRunner:
        return KerasCpuRunner(artifact, options or KerasCpuOptions())
