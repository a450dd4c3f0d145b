"""The columns of boards and of energy. A group holds numbers of one target and one origin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.report.frames import formats
from bench.report.frames.view import ModelView, Place
from bench.report.metrics import METRICS
from bench.report.metrics_board import BOARD, ENERGY
from bench.report.records.board import BATCH, PHASES
from bench.report.records.fpga import MODELLED
from bench.report.records.read import PENDING, Outcome
from bench.report.tables.fpga import Numbers, missing_cell, put_column

if TYPE_CHECKING:
    from bench.report.tables.comparison import Builder

NO_POWER = Outcome("skipped", "no power was measured there")
#: of these phases the percentiles have columns; those of the others are in the frame
TAILS = ("execute", "end_to_end")
#: (metric, scope, title, priority); the scopes of others are all that there are
_COLUMNS = (
    *(("phase_p50", phase, title, 7 if phase == "end_to_end" else 11) for phase, title in PHASES.items()),
    *((f"phase_{p}", phase, f"{PHASES[phase]} {p}", 13) for phase in TAILS for p in ("p95", "p99")),
    *((metric, scope, "", 8 if scope == "end_to_end" else 12) for scope in ("end_to_end", "execute")
      for metric in ("call_overhead", "time_per_inference")),
    ("fit_r2", "end_to_end", "", 14),
)  # fmt: skip
_REST = (("register_accesses", 12), ("fabric_clock", 14), ("loopback_time", 12), ("above_loopback", 12))


def add_columns(builder: Builder, view: ModelView) -> None:
    """Only what the data bear: nothing at all without a board or a meter."""
    for target in view.targets:
        for origin in _origins(view, target, (metric.name for metric in BOARD)):
            _board(builder, view, target, origin)
        for origin in _origins(view, target, (metric.name for metric in ENERGY)):
            _energy(builder, view, target, origin)


def _origins(view: ModelView, target: str, metrics: Iterator[str]) -> list[str]:
    found = {place[2] for metric in metrics for place in view.hardware(target, metric)}
    return sorted(found)


def _board(builder: Builder, view: ModelView, target: str, origin: str) -> None:
    group = f"board, {origin} ({target})"
    places = {metric.name: view.hardware(target, metric.name) for metric in BOARD}
    whole = places["phase_p50"].get(("end_to_end", "", origin), {})
    # One unit for all phases, so that they can be compared at a glance.
    times = formats.scale_for("s", [number.value for number in whole.values() if number.known])

    def put(metric: str, scope: str, title: str, priority: int, unit: str = "") -> None:
        found = places[metric].get((scope, "", origin), {})
        scale = times if METRICS[metric].unit == "s" and whole else None
        _put(builder, view, group, target, metric, (scope, "", origin), found, priority, title, unit, scale)

    for metric, scope, title, priority in _COLUMNS:
        execute = f"{METRICS[metric].title}, execute" if scope == "execute" else ""
        put(metric, scope, title or execute, priority)
    batches = sorted(
        {scope for scope, _, kind in places["batch_throughput"] if kind == origin and scope}, key=_frames
    )
    for scope in batches:
        put("batch_throughput", scope, f"throughput, {scope}", 8 if scope == batches[-1] else 12)
    put("window_throughput", "", "", 8)
    for metric, priority in _REST:
        for scope in dict.fromkeys(scope for scope, _, kind in places[metric] if kind == origin):
            put(metric, scope, f"{METRICS[metric].title}, {scope}" if scope else "", priority)


def _energy(builder: Builder, view: ModelView, target: str, origin: str) -> None:
    """A group for each set of rails and each meter: their numbers do not mean the same."""
    places = {metric.name: view.hardware(target, metric.name) for metric in ENERGY}
    scopes = dict.fromkeys(
        scope for found in places.values() for scope, _, kind in found if scope and kind == origin
    )
    for scope in scopes:
        group = f"energy, {origin} ({target}; {scope})"
        for metric in ENERGY:
            # What was refused has no scope: it speaks for each.
            found = {**places[metric.name].get(("", "", origin), {})}
            found |= places[metric.name].get((scope, "", origin), {})
            priority = 8 if metric.name in ("energy", "energy_net") else 12
            place = (scope, "", origin)
            _put(builder, view, group, target, metric.name, place, found, priority, absent=NO_POWER)


def _put(
    builder: Builder,
    view: ModelView,
    group: str,
    target: str,
    metric: str,
    place: Place,
    found: Numbers,
    priority: int,
    title: str = "",
    unit: str = "",
    scale: formats.Scale | None = None,
    absent: Outcome = PENDING,
) -> None:
    missing = {v: missing_cell(view, v, target, absent) for v in view.variants if v not in found}
    numbers = {**missing, **found}
    put_column(builder, group, target, metric, place, numbers, priority, title=title, unit=unit, scale=scale)


def _frames(scope: str) -> float:
    return float(scope.removeprefix(BATCH))


def remarks(view: ModelView) -> list[str]:
    """What to know before reading the columns; only of what is there."""
    found = []
    for target in view.targets:
        for (_, _, origin), numbers in view.hardware(target, "phase_p50").items():
            reasons = {number.reason for number in numbers.values() if number.known and number.reason}
            if origin == MODELLED and reasons:
                found.append(f"{target}: times are {'; '.join(sorted(reasons))}.")
    return list(dict.fromkeys(found))
