"""Magnitude pruning inside a training loop, for layers that tensorflow-model-optimization does not wrap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.formats.keras_env import load


def pruner(
    kernels: Sequence[Any], sparsity: float, begin: int, end: int, frequency: int, *, schedule: str
) -> Callable[[], None]:
    """A function to be called after each update of the weights: zeroes the smallest of each kernel.

    The share of zeros rises from 0 to `sparsity` between the updates `begin` and `end` as
    1 − (1 − progress)³ (Zhu and Gupta 2017, arXiv 1710.01878), or is `sparsity` from `begin` on
    (`constant`). Masks are chosen anew each `frequency` updates until `end`, then they stay.

    Args:
        kernels: TensorFlow variables.
        begin, end, frequency: in updates of the weights.
    """
    tf, _ = load()
    counter = tf.Variable(0, dtype=tf.int32, trainable=False)
    masks = [tf.Variable(tf.ones_like(kernel), trainable=False) for kernel in kernels]

    def share(step: Any) -> Any:
        if schedule == "constant":
            return tf.constant(sparsity, tf.float32)
        progress = tf.clip_by_value(tf.cast(step - begin, tf.float32) / max(1, end - begin), 0.0, 1.0)
        return sparsity * (1.0 - (1.0 - progress) ** 3)

    def choose(step: Any) -> Any:
        wanted = share(step)
        for kernel, mask in zip(kernels, masks, strict=True):
            size = int(kernel.shape.num_elements())
            zeros = tf.cast(tf.round(wanted * size), tf.int32)
            order = tf.argsort(tf.abs(tf.reshape(kernel, [-1])), stable=True)
            flat = tf.scatter_nd(order[:, None], tf.cast(tf.range(size) >= zeros, tf.float32), [size])
            mask.assign(tf.reshape(flat, kernel.shape))
        return tf.constant(True)

    def project() -> None:
        step = counter.assign_add(1)
        due = (step >= begin) & (step <= end) & tf.equal((step - begin) % frequency, 0)
        done = tf.cond(due, lambda: choose(step), lambda: tf.constant(True))
        with tf.control_dependencies([done]):
            for kernel, mask in zip(kernels, masks, strict=True):
                kernel.assign(kernel * mask)

    return project
