"""One round: every artifact of a group loaded, called for the first time, warmed up and timed.

Rounds are the outermost loop of the protocol and each has a process of its own, because address
layout, hash seed and page placement are constant within one. What drifts over minutes hits all
artifacts of a round alike and leaves the ratio to the reference alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.core.cells import Protocol
from bench.core.records import TWIN
from bench.timing.clock import Clock, system_clock
from bench.timing.loop import Call, Inputs, Timer, gc_frozen, time_scope
from targets.base import Runner

Opener = Callable[[], Runner]
BASELINE = "baseline"


def reference_of(names: Sequence[str]) -> str:
    """What ratios refer to: `baseline`, or the first where there is none."""
    return BASELINE if BASELINE in names else names[0]


def run_round(
    openers: Mapping[str, Opener],
    sample_input: np.ndarray | Mapping[str, np.ndarray],
    protocol: Protocol,
    seed: int,
    scopes: Sequence[str],
    *,
    clock: Clock | None = None,
    reference: str | None = None,
) -> dict[str, Any]:
    """Time each artifact once, in shuffled order, and the reference twice.

    The second loading of the reference (the A/A twin) is the entry `records.TWIN`: both are the same
    file, so the difference of their times is what this machine makes of no difference at all.

    Args:
        openers: name -> function that loads the artifact.
        sample_input: float32 (k, *input_shape), or one such array for each name. `invoke` runs on
            the first; `end_to_end` takes all k in turn, so that branch predictor and caches do not
            learn a single input by heart.
        seed: of the order; give each round another (its number).
        scopes: what to time, out of `invoke` and `end_to_end`.
        reference: name that has the twin; `reference_of` the names if not given.

    Returns:
        `result` of a measure record without `machine` and `state_*`: reference, order, runtime
        (what all entries have in common), timer and entries. An artifact that failed has
        `error` and no scopes; the others are not touched by it.
    """
    if not openers:
        raise ValueError("nothing to measure")
    reference = reference or reference_of(list(openers))
    places = {**openers, TWIN: openers[reference]}
    order = sorted(places)
    random.Random(seed).shuffle(order)
    runtime_ns = _load_runtime(openers, reference, clock := clock or system_clock())
    timer = Timer.examine(clock)
    entries: dict[str, dict[str, Any]] = {}
    with gc_frozen():
        for name in order:
            source = reference if name == TWIN else name
            x = sample_input[source] if isinstance(sample_input, Mapping) else sample_input
            entries[name] = _measure(places[name], x, protocol, scopes, timer)
    common = _take_common([entry["runtime"] for entry in entries.values() if not entry["error"]])
    return {
        "reference": reference,
        "order": order,
        "runtime": common,
        "runtime_load_ns": runtime_ns,
        "timer": timer.to_json(),
        "entries": {name: entries[name] for name in places},
    }


def _load_runtime(openers: Mapping[str, Opener], reference: str, clock: Clock) -> int | None:
    """Load one artifact that is thrown away; ns, None where none loads.

    The first loading in a process imports the runtime, which takes up to seconds and would be
    counted as the load time of whatever comes first.
    """
    for name in (reference, *openers):
        start = clock.read()
        try:
            openers[name]().close()
        except Exception:
            continue  # its own turn comes, and keeps the error
        return clock.read() - start
    return None


def _measure(
    opener: Opener, x: np.ndarray, protocol: Protocol, scopes: Sequence[str], timer: Timer
) -> dict[str, Any]:
    """One entry: {load_ns, first_call_ns, error, scopes, runtime}."""
    entry: dict[str, Any] = {
        "load_ns": None,
        "first_call_ns": None,
        "error": None,
        "scopes": {},
        "runtime": {},
    }
    read = timer.clock.read
    runner: Runner | None = None
    try:
        if x.ndim < 1 or len(x) == 0:
            raise ValueError("no sample input")
        start = read()
        runner = opener()
        entry["load_ns"] = read() - start
        inputs = [np.ascontiguousarray(x[i : i + 1], np.float32) for i in range(len(x))]
        runner.prepare(inputs[0])
        calls = [_scope(runner, scope, inputs) for scope in scopes]
        if calls:
            call, arguments = calls[0]
            start = read()
            call(*arguments[0])
            entry["first_call_ns"] = read() - start
        # Scopes are timed one after the other, not in one pass: a pass that took both would time
        # each with the caches as the other left them, and `invoke` right after its input was
        # copied in. This way either number is the steady state of that call alone.
        measured = {}
        for number, (scope, (call, arguments)) in enumerate(zip(scopes, calls, strict=True)):
            measured[scope] = time_scope(call, arguments, timer, protocol, warm=number > 0)
        entry["scopes"] = measured
        entry["runtime"] = dict(runner.describe())
    except Exception as error:
        entry["error"] = f"{type(error).__name__}: {error}"
    finally:
        if runner is not None:
            try:
                runner.close()
            except Exception as error:
                entry["close_error"] = f"{type(error).__name__}: {error}"
    return entry


def _scope(runner: Runner, scope: str, inputs: list[np.ndarray]) -> tuple[Call, Inputs]:
    if scope == "invoke":
        return runner.invoke, [()]
    if scope == "end_to_end":
        return runner.end_to_end, [(x,) for x in inputs]
    raise ValueError(f"no way to time scope {scope!r}")


def _take_common(descriptions: list[dict[str, Any]]) -> dict[str, Any]:
    """Move what all descriptions agree on out of them."""
    if not descriptions:
        return {}
    first, *others = descriptions
    common = {
        key: value
        for key, value in first.items()
        if all(key in other and other[key] == value for other in others)
    }
    for description in descriptions:
        for key in common:
            del description[key]
    return common
