"""Energy from traces of external meters: per window, per inference, with the idle power taken off.

EEMBC traces hold energies: a window [a, b) is the sum of samples round(a·rate) to round(b·rate) - 1, which
reproduces the windows that EEMBC's runner publishes to within one sample. CSV traces hold instants: the
trapezoid rule over them, with values at a window's edges taken from the straight line between neighbours.
What lies in a gap (dropped samples, a pause of the meter) is not counted and not made up: the window says
how much time is covered, and one with a hole gives no energy per inference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import ArtifactError, ConfigError
from targets.pynq.meters.traces import GAP_FACTOR, Trace
from targets.pynq.printable import one_line

MAX_WINDOWS, MAX_WINDOWS_BYTES = 100_000, 16 << 20
#: share of a window that may lack for its energy to count as whole; gaps that are listed one by one
WHOLE, LISTED_GAPS = 1e-6, 20


@dataclass(frozen=True)
class Window:
    """A piece of a trace.

    Attributes:
        start, end: seconds, in the trace's time. inferences: in it; None: not known, or none were made.
    """

    name: str
    start: float
    end: float
    inferences: int | None = None


@dataclass(frozen=True)
class WindowEnergy:
    """What a window took.

    Attributes:
        seconds, covered_s: its length, and how much of that the samples cover.
        samples: in it. rate_hz: samples per covered second.
        energy_j: of the covered time. power_w: its mean.
        net_j: with idle power × covered time taken off; None without an idle window.
        j_per_inference, net_j_per_inference: None where a part is not covered or the count is not known.
    """

    name: str
    start: float
    end: float
    seconds: float
    covered_s: float
    samples: int
    rate_hz: float | None
    energy_j: float
    power_w: float | None
    net_j: float | None = None
    inferences: int | None = None
    j_per_inference: float | None = None
    net_j_per_inference: float | None = None

    @property
    def whole(self) -> bool:
        return self.covered_s >= self.seconds * (1 - WHOLE)


class Integral:
    """Energy of any piece of a trace, by running sums."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        times, power = trace.times, trace.power
        if trace.rate_hz is not None:
            steps = np.full(len(times), 1 / trace.rate_hz)
            held = ~np.isnan(power)
            energy = np.where(held, power, 0.0) * steps
            self.start, self.end = 0.0, len(times) / trace.rate_hz
            edges = np.arange(len(times) + 1) / trace.rate_hz
        else:
            steps = np.diff(times)
            usual = float(np.median(steps[steps > 0]))
            held = (steps <= GAP_FACTOR * usual) & ~np.isnan(power[1:]) & ~np.isnan(power[:-1])
            energy = np.where(held, (power[1:] + power[:-1]) / 2, 0.0) * steps
            self.start, self.end = float(times[0]), float(times[-1])
            edges = times
        self._edges = edges
        self._energy = np.concatenate(([0.0], np.cumsum(energy)))
        self._covered = np.concatenate(([0.0], np.cumsum(np.where(held, steps, 0.0))))
        self._held = held

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """Pieces that no sample covers: start and end in seconds."""
        lost = np.flatnonzero(np.diff(np.concatenate(([False], ~self._held, [False])).astype(np.int8)))
        return [(float(self._edges[a]), float(self._edges[b])) for a, b in lost.reshape(-1, 2)]

    def _until(self, time: float) -> tuple[float, float]:
        """Energy and covered time from the trace's start."""
        if self.trace.rate_hz is not None:
            at = round(time * self.trace.rate_hz)
            return float(self._energy[at]), float(self._covered[at])
        i = int(np.clip(np.searchsorted(self._edges, time, "right") - 1, 0, len(self._edges) - 2))
        energy, covered = float(self._energy[i]), float(self._covered[i])
        inside = time - float(self._edges[i])
        if self._held[i] and inside > 0:
            length = float(self._edges[i + 1] - self._edges[i])
            first, last = self.trace.power[i], self.trace.power[i + 1]
            energy += float(first + (last - first) * inside / length / 2) * inside
            covered += inside
        return energy, covered

    def window(self, window: Window, idle_w: float | None = None) -> WindowEnergy:
        """Energy of a window.

        Raises:
            ArtifactError: the trace does not reach that far.
        """
        slack = 1 / self.trace.rate_hz if self.trace.rate_hz else 1e-9 * max(1.0, abs(self.end))
        if window.start < self.start - slack or window.end > self.end + slack:
            raise ArtifactError(
                f"window {window.name} is {window.start:g} to {window.end:g} s, the trace "
                f"{self.start:g} to {self.end:g} s: it is cut off, or the windows are of another trace",
                where=self.trace.file,
                mend="Give the trace and the windows of the same run.",
            )
        start, end = max(window.start, self.start), min(window.end, self.end)
        (energy_a, covered_a), (energy_b, covered_b) = self._until(start), self._until(end)
        energy, covered = energy_b - energy_a, covered_b - covered_a
        inside = (self.trace.times >= start - 1e-12) & (self.trace.times < end - 1e-12)
        samples = int(np.count_nonzero(inside & ~np.isnan(self.trace.power)))
        seconds = end - start
        if self.trace.rate_hz is not None:
            samples = round(covered * self.trace.rate_hz)
            seconds = (
                round(end * self.trace.rate_hz) - round(start * self.trace.rate_hz)
            ) / self.trace.rate_hz
        found = WindowEnergy(
            window.name,
            window.start,
            window.end,
            seconds,
            covered,
            samples,
            samples / covered if covered > 0 else None,
            energy,
            energy / covered if covered > 0 else None,
            energy - idle_w * covered if idle_w is not None else None,
            window.inferences,
        )
        if not window.inferences or not found.whole:
            return found
        net = found.net_j / window.inferences if found.net_j is not None else None
        return replace(found, j_per_inference=energy / window.inferences, net_j_per_inference=net)


@dataclass(frozen=True)
class EnergyReport:
    """What is known of one trace. `idle` is None where no idle window was named."""

    trace: Trace
    start: float
    end: float
    gaps: tuple[tuple[float, float], ...]
    idle: WindowEnergy | None
    windows: tuple[WindowEnergy, ...]

    def median(self, name: str = "j_per_inference") -> float | None:
        """Over the windows that have it, in joules."""
        found = [value for window in self.windows if (value := getattr(window, name)) is not None]
        return float(np.median(found)) if found else None

    @property
    def rate_hz(self) -> float:
        """Achieved: samples that came, per second of the whole trace."""
        come = int(np.count_nonzero(~np.isnan(self.trace.power)))
        spans = come if self.trace.rate_hz is not None else come - 1
        return float(spans / (self.end - self.start))

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.trace.file,
            "format": self.trace.format,
            "origin": "measured",
            "meter": self.trace.meter,
            "rails": [self.trace.rail] if self.trace.rail else None,
            "samples": len(self.trace.power),
            "start_s": self.start,
            "end_s": self.end,
            "nominal_rate_hz": self.trace.rate_hz,
            "achieved_rate_hz": self.rate_hz,
            "gaps": {
                "n": len(self.gaps),
                "seconds": sum(end - start for start, end in self.gaps),
                "first": [list(gap) for gap in self.gaps[:LISTED_GAPS]],
            },
            "idle": asdict(self.idle) if self.idle else None,
            "windows": [asdict(window) for window in self.windows],
            "median_j_per_inference": self.median(),
            "median_net_j_per_inference": self.median("net_j_per_inference"),
        }


def measure(
    trace: Trace,
    windows: Sequence[Window],
    idle: tuple[float, float] | None = None,
    inferences: int | None = None,
) -> EnergyReport:
    """Integrate the windows of a trace (none given: the whole of it, with `inferences`).

    Raises:
        ArtifactError: a window is not in the trace, or the idle window has no samples.
    """
    integral = Integral(trace)
    base = integral.window(Window("idle", *idle)) if idle is not None else None
    if base is not None and base.power_w is None:
        raise ArtifactError(
            "no sample covers the idle window", where=trace.file, mend="Name one that has samples."
        )
    wanted = windows or [Window("all", integral.start, integral.end, inferences)]
    found = tuple(integral.window(window, base.power_w if base else None) for window in wanted)
    return EnergyReport(trace, integral.start, integral.end, tuple(integral.gaps), base, found)


def read_windows(path: Path, inferences: int | None = None) -> list[Window]:
    """Windows of a JSON file.

    Either a list of times, as EEMBC's runner writes it: window i is [t(i-1), t(i)), and the even ones are the
    runs (the odd ones lie between them: only runs get `inferences`). Or a list of objects with `start`, `end`
    and, if you like, `name` and `inferences`.

    Raises:
        ArtifactError: it cannot be read, or holds something else.
    """
    where = str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_WINDOWS_BYTES + 1)
        if len(data) > MAX_WINDOWS_BYTES:
            raise ValueError("too large")
        value = json.loads(data)
        if not isinstance(value, list) or not value or len(value) > MAX_WINDOWS:
            raise ValueError("not a list of times or windows")
        if isinstance(value[0], dict):
            return [_window(item, i, inferences) for i, item in enumerate(value, 1)]
        times = [_seconds(item) for item in value]
        if len(times) < 2 or any(b <= a for a, b in pairwise(times)):
            raise ValueError("times must rise, and be two at least")
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ArtifactError(
            f"windows cannot be read ({one_line(str(error), 100)})",
            where=where,
            mend='Write [0.0, 9.4, 24.6, …] (seconds) or [{"name": "run 1", "start": 9.4, "end": 24.6}, …].',
        ) from error
    return [
        Window(str(i), start, end, inferences if i % 2 == 0 else None)
        for i, (start, end) in enumerate(pairwise(times), 1)
    ]


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError("a time is a number of seconds, from 0 on")
    return float(value)


def _window(item: Any, i: int, inferences: int | None) -> Window:
    start, end, count = _seconds(item["start"]), _seconds(item["end"]), item.get("inferences", inferences)
    if end <= start:
        raise ValueError(f"window {i} ends before it starts")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise ValueError(f"window {i}: inferences is no count")
    return Window(one_line(str(item.get("name", i)), 60), start, end, count)


def parse_span(text: str) -> tuple[float, float]:
    """`0:9.4` in seconds.

    Raises:
        ConfigError: it is not of that form.
    """
    first, colon, last = text.partition(":")
    try:
        start, end = float(first), float(last)
    except ValueError:
        start, end = 0.0, 0.0
    if not colon or not (math.isfinite(start) and math.isfinite(end) and end > start):
        raise ConfigError(f"{text!r} is no piece of time", mend="Write START:END in seconds, like 0.5:9.4.")
    return start, end
