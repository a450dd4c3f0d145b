"""One sentence per model that the data bear, or none."""

from __future__ import annotations

import math

from bench.report.frames.formats import plain, plus_minus
from bench.report.frames.view import ModelView, Number, candidates, role

#: More than this many points below the baseline is no headline.
TOLERANCE = 0.01


def headlines(view: ModelView) -> list[str]:
    """`qap: 11.2× smaller (gzip) and 3.10× faster than baseline for −0.3 ± 0.2 points.` and the like.

    Tells of the smallest and of the fastest variant whose accuracy is within one point of the
    baseline by the end of its interval, or by the value where that is above the baseline's.
    """
    target = view.primary
    scopes = view.scopes(target)
    scope = scopes[0] if scopes else ""
    kept = [v for v in candidates(view) if role(v) != "reference" and _keeps(view, v)]
    smaller = [(view.value(v, target, "gzip_ratio"), v) for v in kept]
    smaller = [(ratio, v) for ratio, v in smaller if ratio > 1.05]
    faster = [(number.value, v) for v in kept if (number := _faster(view, v, scope)) is not None]
    chosen: list[str] = []
    if smaller:
        chosen.append(max(smaller)[1])
    if faster and min(faster)[1] not in chosen:
        chosen.append(min(faster)[1])
    return [_sentence(view, variant, scope) for variant in chosen]


def _keeps(view: ModelView, variant: str) -> bool:
    delta = view.get(variant, view.primary, "accuracy_delta")
    if delta is None or not delta.known or not math.isfinite(delta.low):
        return False
    return delta.low >= -TOLERANCE or delta.value >= 0


def _faster(view: ModelView, variant: str, scope: str) -> Number | None:
    number = view.get(variant, view.primary, "latency_ratio", scope) if scope else None
    good = number is not None and number.known and not number.verdict and number.comparison == "faster"
    return number if good else None


def _sentence(view: ModelView, variant: str, scope: str) -> str:
    target = view.primary
    told = []
    ratio = view.value(variant, target, "gzip_ratio")
    if ratio > 1.05:
        told.append(f"{plain(ratio)}× smaller (gzip)")
    time = _faster(view, variant, scope)
    if time is not None:
        told.append(f"{plain(1 / time.value)}× faster ({target}, {scope})")
    delta = view.get(variant, target, "accuracy_delta")
    assert delta is not None
    points = plus_minus(100 * delta.value, 100 * delta.low, 100 * delta.high, sign=True)
    return f"{variant} is {' and '.join(told)} than baseline for {points} points of accuracy."
