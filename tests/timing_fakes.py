"""A clock that only moves when told to, runners that move it, and rounds made of given medians."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.core.records import TWIN
from bench.core.results import RoundResult
from bench.timing.clock import Clock
from bench.timing.samples import scope_times
from targets.base import Runner


class FakeClock:
    """`tick` is what a read costs, `step` what the clock counts in (both ns)."""

    def __init__(self, tick: int = 0, step: int = 1) -> None:
        self.now, self.tick, self.step = 0, tick, step

    def read(self) -> int:
        seen = self.now // self.step * self.step
        self.now += self.tick
        return seen

    def call(self, ns: int) -> Callable[..., None]:
        """A function that takes `ns`."""

        def call(*arguments: object) -> None:
            self.now += ns

        return call

    def clock(self, nominal_ns: float = 1.0) -> Clock:
        return Clock(self.read, nominal_ns, "fake")


@dataclass
class FakeRunner(Runner):
    """Takes exactly the times it is given, ns; `log` tells what was called in which order."""

    clock: FakeClock
    name: str = "x"
    invoke_ns: int = 10_000
    end_to_end_ns: int = 30_000
    first_ns: int = 0
    fail_at_call: int | None = None
    fail_close: bool = False
    runtime: dict[str, Any] = field(default_factory=lambda: {"runtime": "fake"})
    log: list[tuple[str, str]] = field(default_factory=list)
    calls: int = 0
    seen: list[float] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        return self.runtime

    def predict(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def prepare(self, x: np.ndarray) -> None:
        self.log.append((self.name, f"prepare {x.shape} {x.dtype}"))
        self.clock.now += 77_000_000

    def invoke(self) -> None:
        self._call(self.invoke_ns)

    def end_to_end(self, x: np.ndarray) -> np.ndarray:
        self.seen.append(float(x.ravel()[0]))
        self._call(self.end_to_end_ns)
        return x

    def _call(self, ns: int) -> None:
        self.calls += 1
        if self.calls == self.fail_at_call:
            raise RuntimeError("broke down")
        self.clock.now += ns + (self.first_ns if self.calls == 1 else 0)

    def close(self) -> None:
        self.log.append((self.name, "close"))
        if self.fail_close:
            raise OSError("will not close")


def fake_round(
    medians: Mapping[str, float | None],
    *,
    twin: float | None = None,
    reference: str = "baseline",
    scope: str = "invoke",
    n: int = 700,
    block: int = 1,
    drift: float = 0.0,
    **more: Any,
) -> RoundResult:
    """A round where each entry's samples are constant (ns); None is a failed entry."""
    entries: dict[str, dict[str, Any]] = {}
    everything = dict(medians) | ({TWIN: twin} if twin is not None else {})
    for name, median in everything.items():
        if median is None:
            entries[name] = {"load_ns": 1, "first_call_ns": None, "error": "ValueError: no", "scopes": {}}
            continue
        samples = np.full(n, median * block)
        samples[-n // 4 :] *= 1 + drift
        entries[name] = {
            "load_ns": 2_000_000,
            "first_call_ns": 50_000,
            "error": None,
            "scopes": {scope: scope_times(samples, block, float(samples.sum()) / 1e9)},
        }
    value = {"reference": reference, "order": sorted(entries), "entries": entries, **more}
    return RoundResult.model_validate(value)


def fake_rounds(
    medians: Mapping[str, Sequence[float]], twin: Sequence[float], *more: Mapping[str, Any]
) -> list[RoundResult]:
    """One round for each position of the sequences; `more`: further fields of each."""
    return [
        fake_round(
            {name: values[i] for name, values in medians.items()}, twin=twin[i], **(more[i] if more else {})
        )
        for i in range(len(twin))
    ]
