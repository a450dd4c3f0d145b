"""The one place that makes TensorFlow, Keras 2 and what builds on them import together.

tensorflow-model-optimization, QKeras and hls4ml are Keras 2 libraries. TensorFlow brings Keras 3,
so `TF_USE_LEGACY_KERAS` must be set before TensorFlow is imported, and libraries that look at
`keras.__version__` (hls4ml, keras-tuner) must find tf_keras under the name `keras`.
"""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Keras(NamedTuple):
    tf: Any
    keras: Any


def _set_environment() -> None:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # A GPU would change numbers between machines and is no target of this harness.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def load() -> Keras:
    """`tf, keras = load()`: TensorFlow and tf_keras, imported in the right order. Cheap when repeated.

    Raises:
        Unavailable: TensorFlow or tf_keras is not installed.
    """
    _set_environment()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import tensorflow as tf
            import tf_keras
    except ImportError as error:
        from bench.errors import Unavailable

        raise Unavailable(
            f"{error.name or 'tensorflow'} is not installed",
            mend="Install the extra: uv sync --extra train (or pip install 'edge-bench[train]').",
        ) from error
    tf.get_logger().setLevel("ERROR")
    sys.modules["keras"] = tf_keras
    return Keras(tf, tf_keras)


def load_tfmot() -> ModuleType:
    """tensorflow_model_optimization, after `load`."""
    load()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_model_optimization as tfmot

    module: ModuleType = tfmot
    return module


def make_deterministic(seed: int, threads: int | None = None) -> None:
    """Seed Python, NumPy and TensorFlow and ask TensorFlow for bit-reproducible operations.

    `threads` fixes the intra-op threads; must come before the first operation of the process.
    """
    tf, keras = load()
    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def without_autograph(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` with TensorFlow's rewriting of Python source turned off.

    Keras rewrites every layer's `call` when a network is built. Stock layers, QKeras and
    tensorflow-model-optimization need none of it, and it costs seconds where training costs less.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        result: R = load().tf.autograph.experimental.do_not_convert(function)(*args, **kwargs)
        return result

    return call
