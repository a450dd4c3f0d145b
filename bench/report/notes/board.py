"""Why is it so, on boards: what a call costs before the network has begun, and what was only modelled.

Measured times are compared with measured ones alone; of modelled ones it is said what they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from bench.report.frames import formats
from bench.report.frames.view import ModelView, Number
from bench.report.records.board import PLACEHOLDER_CYCLES
from bench.report.records.fpga import MEASURED, MODELLED

WHOLE = "end_to_end"
#: share of a call from which on its overhead explains it
MOST = 0.5


def board_notes(view: ModelView) -> Iterator[tuple[str, str]]:
    """(what it is about, text), only where the data show the effect."""
    for target in view.targets:
        slower: dict[str, list[tuple[str, float, float, float]]] = {}
        for variant in view.variants:
            call, a, b = (_placed(view, variant, target, metric) for metric in _CALL)
            cpu = _quickest_cpu(view, variant)
            if call is None or a is None or b is None or cpu is None:
                continue
            name, time = cpu
            if call.value > time and a.value >= MOST * call.value:
                slower.setdefault(name, []).append((variant, call.value / time, a.value, b.value))
        for name, found in slower.items():
            yield ", ".join(variant for variant, *_ in found), _slower(target, name, found)
        if text := _modelled(view, target):
            yield target, text


_CALL = ("phase_p50", "call_overhead", "time_per_inference")


def _placed(view: ModelView, variant: str, target: str, metric: str, origin: str = MEASURED) -> Number | None:
    number = view.hardware(target, metric).get((WHOLE, "", origin), {}).get(variant)
    return number if number is not None and number.known else None


def _quickest_cpu(view: ModelView, variant: str) -> tuple[str, float] | None:
    """The processor that is quickest with one inference, end to end as on the board, and its time: upper end
    of the interval where there is one. A time that is noisy or unstable is none."""
    found: list[tuple[float, str]] = []
    for target in view.targets:
        if WHOLE in view.scopes(target):
            number = view.get(variant, target, "latency_p50", WHOLE)
            if number is not None and number.known and number.origin == MEASURED and not number.verdict:
                found.append((_upper(number), target))
        # The board's own processor: it has phases, but no batches.
        own = _placed(view, variant, target, "phase_p50")
        if own is not None and _placed(view, variant, target, "call_overhead") is None:
            found.append((_upper(own), target))
    return (min(found)[1], min(found)[0]) if found else None


def _upper(number: Number) -> float:
    return max(number.value, number.high) if math.isfinite(number.high) else number.value


def _slower(target: str, cpu: str, found: Sequence[tuple[str, float, float, float]]) -> str:
    times = _range([ratio for _, ratio, _, _ in found], "1")
    overhead, each = _range([a for *_, a, _ in found], "s"), _range([b for *_, b in found], "s")
    return (
        f"One inference on {target} takes {times}× the time on {cpu}: a call costs {overhead} whatever the "
        f"network (a of the fit: drivers, copies, caches), most of the whole. In large batches an inference "
        f"takes {each} (b)."
    )


def _range(values: Sequence[float], unit: str) -> str:
    """`17.1 µs`, `17.1 to 18.3 µs`"""
    scale = formats.scale_for(unit, values)
    ends = dict.fromkeys(formats.plain(value * scale.factor) for value in (min(values), max(values)))
    return f"{' to '.join(ends)} {scale.unit}".rstrip()


def _modelled(view: ModelView, target: str) -> str | None:
    numbers = view.hardware(target, "phase_p50").get((WHOLE, "", MODELLED), {})
    known = [number for number in numbers.values() if number.known]
    if not known:
        return None
    text = (
        "Its times are modelled, not measured: a register access, a transfer and each byte that is copied "
        "cost what the emulated board is told. They show where a call's time goes, and are compared with no "
        "measured time."
    )
    if any(number.caveat == PLACEHOLDER_CYCLES for number in known):
        text += (
            " How many cycles the kernel takes is not the design's either, so that networks with as many "
            "inputs and outputs take the same."
        )
    return text
