"""How far two artifacts agree on the same inputs: classes, bits, and the noise between them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.errors import StepError


@dataclass(frozen=True)
class Agreement:
    """Outputs of an artifact against those of a reference on the same n inputs.

    Attributes:
        mismatches: inputs whose class (argmax) differs.
        bit_exact: inputs whose outputs are equal in all bits.
        max_abs_diff: largest difference of one logit.
        sqnr_db: 10 log10(sum reference^2 / sum difference^2); None where there is no difference, or no
            signal.
    """

    n: int
    mismatches: int
    bit_exact: int
    max_abs_diff: float
    sqnr_db: float | None

    @property
    def share(self) -> float:
        """Share of inputs on which the classes agree."""
        return 1.0 - self.mismatches / self.n

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(reference: np.ndarray, other: np.ndarray) -> Agreement:
    """Compare logits (n, classes) of two artifacts, input by input.

    Raises:
        StepError: shapes differ, there are no inputs, or a number is not finite.
    """
    if reference.shape != other.shape or reference.ndim != 2 or reference.size == 0:
        raise StepError(f"outputs of shapes {reference.shape} and {other.shape} cannot be compared")
    a, b = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise StepError("outputs to compare are not finite")
    difference = a - b
    signal, noise = float(np.sum(a * a)), float(np.sum(difference * difference))
    return Agreement(
        n=len(a),
        mismatches=int(np.sum(a.argmax(1) != b.argmax(1))),
        bit_exact=int(np.sum((a == b).all(axis=1))),
        max_abs_diff=float(np.abs(difference).max()),
        sqnr_db=float(10 * np.log10(signal / noise)) if signal > 0 and noise > 0 else None,
    )
