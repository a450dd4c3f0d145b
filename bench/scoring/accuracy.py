"""Accuracy of an artifact, scored through the very runner that is timed, on the whole test split."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from bench.core.packed import pack
from bench.errors import StepError
from models.base import Data, Split
from targets.base import Runner


def evaluate(runner: Runner, data: Data | Split) -> dict[str, Any]:
    """Score a runner on the test split (or on the split given): `result` of an `evaluate` record.

    Returns:
        n, errors, accuracy (share correct), confusion (rows true class, columns predicted),
        predictions (packed uint8/uint16), correct (packed bits), runtime, labels_sha256.

    Raises:
        StepError: outputs have the wrong shape or are not finite, or a label is no class of the network.
    """
    split = data.test if isinstance(data, Data) else data
    labels = np.ascontiguousarray(split.y, dtype=np.int64)
    n = len(labels)
    if n == 0:
        raise StepError("there is nothing to score: the split is empty")
    logits = np.asarray(runner.predict(split.x))
    if logits.ndim != 2 or logits.shape[0] != n or logits.shape[1] < 2:
        raise StepError(
            f"outputs have shape {logits.shape}, expected ({n}, classes) with two classes or more"
        )
    bad = ~np.isfinite(logits).all(axis=1)
    if bad.any():
        raise StepError(
            f"outputs of {int(bad.sum())} of {n} inputs are not finite (NaN or infinite)",
            where=f"first at input {int(bad.argmax())}",
        )
    classes = logits.shape[1]
    if labels.min() < 0 or labels.max() >= classes:
        raise StepError(
            f"labels {int(labels.min())} to {int(labels.max())} do not fit {classes} outputs",
            mend="Score the network on the data that it was made for.",
        )
    predictions = logits.argmax(axis=1)
    correct = predictions == labels
    confusion = np.bincount(labels * classes + predictions, minlength=classes * classes)
    return {
        "n": n,
        "errors": int(n - correct.sum()),
        "accuracy": float(correct.mean()),
        "confusion": confusion.reshape(classes, classes).tolist(),
        "predictions": pack(predictions.astype(np.uint8 if classes <= 256 else np.uint16)),
        "correct": pack(correct),
        "runtime": runner.describe(),
        "labels_sha256": hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest(),
    }
