"""The comparison table of one model, independent of how it is written down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from bench.report.frames import formats
from bench.report.frames.formats import PERCENT, POINTS, Scale
from bench.report.frames.view import (
    CONTROLS,
    ModelView,
    Number,
    base_name,
    latency_front,
    role,
    short_name,
    size_front,
)
from bench.report.metrics import METRICS, NO_SUCH_NUMBER, NOT_YET
from bench.report.records.read import MEASURE
from bench.report.tables import board as tables_board
from bench.report.tables import fpga as tables_fpga
from bench.report.tables.column import Column

MARKS = {"noisy": "~", "unstable": "!"}
#: what is shown in the place of a missing number
_WORDS = {NO_SUCH_NUMBER: "n/a", NOT_YET: "…"}
#: Columns up to this priority are the main table; the others are details.
MAIN = 8
SIZES = ("file_bytes", "gzip_bytes")


@dataclass(frozen=True)
class TableCell:
    """One cell: what is shown, what it is sorted by, and why it is empty.

    Attributes:
        text: shown without footnote.
        sort: number in the frame's unit; NaN sorts last.
        status: ok, failed, skipped, timeout, or empty where nothing was to be expected.
        note: number of the footnote that says why, 0 if none.
        mark: `~` noisy, `!` unstable.
        short: shorter text where there is little room; empty: `text`.
        seeds: how many seeds have the number.
        n: what its interval rests on: test items, calls, seeds, …
    """

    text: str = ""
    sort: float = math.nan
    status: str = ""
    note: int = 0
    mark: str = ""
    reason: str = ""
    short: str = ""
    seeds: int = 0
    n: int | None = None

    @property
    def shown(self) -> str:
        """Text with mark and footnote number, as in plain text."""
        return self.text + self._signs

    @property
    def shown_short(self) -> str:
        return (self.short or self.text) + self._signs

    @property
    def _signs(self) -> str:
        return (f" {self.mark}" if self.mark else "") + (formats.footnote(self.note) if self.note else "")


@dataclass
class TableRow:
    variant: str
    role: str
    cells: list[TableCell]
    fronts: list[str] = field(default_factory=list)


@dataclass
class Table:
    """Rows are variants in the order of the sweep; `footnotes` are the reasons by number from 1."""

    sweep: str
    model: str
    columns: list[Column]
    rows: list[TableRow]
    footnotes: list[str]
    remarks: list[str]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Neighbouring columns of a group: (title, how many)."""
        found: list[tuple[str, int]] = []
        for column in self.columns:
            if found and found[-1][0] == column.group:
                found[-1] = (column.group, found[-1][1] + 1)
            else:
                found.append((column.group, 1))
        return found

    def narrowed(self, keep: Callable[[Column], bool]) -> Table:
        """The same table with fewer columns and only the footnotes that are left."""
        places = [place for place, column in enumerate(self.columns) if keep(column)]
        used = sorted({row.cells[p].note for row in self.rows for p in places} - {0})
        numbers = {old: new for new, old in enumerate(used, start=1)}
        rows = []
        for row in self.rows:
            cells = []
            for place in places:
                cells.append(replace(row.cells[place], note=numbers.get(row.cells[place].note, 0)))
            rows.append(TableRow(row.variant, row.role, cells, row.fronts))
        columns = [self.columns[place] for place in places]
        return Table(
            self.sweep, self.model, columns, rows, [self.footnotes[n - 1] for n in used], self.remarks
        )


Writer = Callable[[str, Number], str]


class Builder:
    def __init__(self, view: ModelView) -> None:
        self.view = view
        self.columns: list[Column] = []
        self.cells: dict[str, list[TableCell]] = {variant: [] for variant in view.variants}
        self.footnotes: dict[str, int] = {}

    def add(
        self,
        group: str,
        target: str,
        metric: str,
        write: Writer,
        *,
        scope: str = "",
        title: str = "",
        unit: str = "",
        definition: str = "",
        priority: int = 5,
        shorten: Writer | None = None,
    ) -> None:
        """One column of one metric; left out where no variant has it (accuracy then tells why)."""
        numbers = {variant: self.view.get(variant, target, metric, scope) for variant in self.view.variants}
        origins = {number.origin for number in numbers.values() if number is not None and number.known}
        if not origins and not (metric == "accuracy" and any(numbers.values())):
            return
        text = definition or METRICS[metric].definition
        text += f" [{', '.join(filter(None, [target, scope, *sorted(origins)]))}]"
        key = ":".join(filter(None, (metric, target, scope)))
        column = Column(key, group, title or METRICS[metric].title, unit, text, priority)
        self.put(column, numbers, write, shorten)

    def put(
        self,
        column: Column,
        numbers: Mapping[str, Number | None],
        write: Writer,
        shorten: Writer | None = None,
    ) -> None:
        """One column of given numbers, by variant."""
        self.columns.append(column)
        for variant in self.view.variants:
            self.cells[variant].append(self._cell(variant, numbers.get(variant), write, shorten))

    def _cell(self, variant: str, number: Number | None, write: Writer, shorten: Writer | None) -> TableCell:
        if number is None:
            return TableCell()
        if not number.known:
            word, reason = _WORDS.get(number.missing, number.status), number.reason
            return TableCell(word, status=number.status, reason=reason, note=self._note(reason))
        return TableCell(
            write(variant, number),
            number.value,
            "ok",
            self._note(number.reason) if number.seeds_failed else 0,
            MARKS.get(number.verdict, ""),
            number.reason,
            shorten(variant, number) if shorten else "",
            number.seeds,
            number.n,
        )

    def _note(self, reason: str) -> int:
        return self.footnotes.setdefault(reason, len(self.footnotes) + 1)


def comparison(view: ModelView) -> Table:
    """All columns that the data bear: accuracy, size, then latency by target and scope."""
    builder = Builder(view)
    _accuracy(builder)
    _size(builder)
    primary = view.primary
    for target in sorted(view.targets, key=lambda target: target != primary):
        for place, scope in enumerate(view.scopes(target)):
            _latency(builder, target, scope, place)
    tables_fpga.add_columns(builder, view)
    tables_board.add_columns(builder, view)
    fronts: dict[str, list[str]] = {variant: [] for variant in view.variants}
    for variant in size_front(view):
        fronts[variant].append("size")
    for target in view.targets:
        for scope in view.scopes(target)[:1]:
            for variant in latency_front(view, target, scope):
                fronts[variant].append(f"time ({target})" if target != primary else "time")
    rows = [TableRow(v, role(v), builder.cells[v], fronts[v]) for v in view.variants]
    return Table(view.sweep, view.model, builder.columns, rows, list(builder.footnotes), _remarks(view))


def _remarks(view: ModelView) -> list[str]:
    remarks = []
    seeds = len(view.seeds)
    if seeds > 1:
        remarks.append(f"Accuracy: mean over {seeds} seeds ± half the 95 % t interval between seeds.")
    alone = [t for t in view.targets if any(n.seeds == 1 for _, n in view.known(t, "accuracy"))]
    if alone:
        where = f" ({', '.join(alone)})" if seeds > 1 else ""
        remarks.append(
            f"One seed{where}: accuracy has the Wilson interval over the test items; no training is repeated."
        )
    noise = [
        f"{formats.plain(100 * gap, 2)} % ({target}, {scope})"
        for target in view.targets
        for scope in view.scopes(target)
        if math.isfinite(gap := view.noise(target, scope))
    ]
    if noise:
        remarks.append(
            f"Two loadings of the same baseline differ by up to {', '.join(noise)}: that is noise."
        )
    remarks += _not_timed(view)
    remarks += [f"{target}: {reason}." for target, reason in _not_here(view).items()]
    for variant, text in CONTROLS.items():
        if variant in view.variants:
            remarks.append(f"{variant} is a {text}.")
    return [*remarks, *tables_fpga.remarks(view), *tables_board.remarks(view)]


def _not_here(view: ModelView) -> dict[str, str]:
    """Targets, beside others, on which no variant is, all for one reason: a remark, no main column."""
    found = {}
    for target in view.targets:
        numbers = [number for v in view.variants if (number := view.get(v, target, "accuracy")) is not None]
        reasons = {number.reason for number in numbers}
        absent = all(not number.known and number.missing == NO_SUCH_NUMBER for number in numbers)
        if numbers and absent and len(reasons) == 1 and view.distinct("accuracy"):
            found[target] = numbers[0].reason
    return found


NO_TIMES = "No latency on"


def _not_timed(view: ModelView) -> list[str]:
    """Why there is no column of latency on a target that was to be measured."""
    found = []
    for target in view.targets:
        if not view.scopes(target):
            numbers = [view.get(variant, target, "latency_p50") for variant in view.variants]
            bad = [n for n in numbers if n is not None and n.status in ("failed", "timeout")]
            measured = [number.reason for number in bad if number.failed_step == MEASURE]
            found += [f"{NO_TIMES} {target}: {reason}." for reason in dict.fromkeys(measured)]
    return found


def _accuracy(builder: Builder) -> None:
    view = builder.view
    accuracy: Writer = lambda _, x: _percent(x)  # noqa: E731
    points: Writer = lambda _, x: _scaled_pm(x, POINTS, sign=True)  # noqa: E731
    scored = view.distinct("accuracy")
    shown = [t for t in view.targets if t in scored or not any(view.known(t, "accuracy"))]
    names = [short_name(target) for target in shown]
    for target, short in zip(shown, names, strict=True):
        main = target == view.primary or base_name(target) == base_name(view.primary)
        group = "accuracy"
        # Of two columns that differ by an option only, each names it.
        name = short if names.count(short) == 1 else target
        builder.add(
            group,
            target,
            "accuracy",
            accuracy,
            title=name,
            unit="%",
            priority=0 if main else 9 if target in _not_here(view) else 7,
            shorten=lambda _, x: _scaled_pm(x, PERCENT),
        )
        builder.add(
            group,
            target,
            "accuracy_delta",
            points,
            title=f"Δ {name}",
            unit="points",
            priority=3 if main else 9,
        )
        if main:
            share: Writer = lambda _, x: f"{100 * x.value:.1f}"  # noqa: E731
            builder.add(group, target, "agreement", share, title="agreement", unit="%", priority=12)


def _size(builder: Builder) -> None:
    view = builder.view
    targets = view.distinct("file_bytes")
    deployed = [target for target in targets if base_name(target) != "keras"] or targets
    for target in deployed:
        group = f"size ({base_name(target)})"
        main = base_name(target) == base_name(view.primary)
        near = 0 if main else 6
        # One unit for both, so that they can be compared at a glance.
        both = [n.value for metric in SIZES for _, n in view.known(target, metric)]
        scale = formats.scale_for("bytes", both)
        write: Writer = lambda _, x, scale=scale: formats.plain(x.value * scale.factor)  # type: ignore[misc]  # noqa: E731
        builder.add(group, target, "file_bytes", write, unit=scale.unit, priority=2 + near)
        builder.add(group, target, "gzip_bytes", write, unit=scale.unit, priority=4 + near)
        times: Writer = lambda _, x: f"{formats.plain(x.value)}×"  # noqa: E731
        builder.add(group, target, "file_ratio", times, title="smaller", unit="file", priority=8 + near)
        builder.add(group, target, "gzip_ratio", times, title="smaller", unit="gzip", priority=3 + near)
        number: Writer = lambda _, x: formats.count(x.value)  # noqa: E731
        builder.add(group, target, "params", number, priority=11 + near)
        share: Writer = lambda _, x: f"{100 * x.value:.1f}"  # noqa: E731
        builder.add(group, target, "sparsity", share, unit="%", priority=10 + near)


def _latency(builder: Builder, target: str, scope: str, place: int) -> None:
    view = builder.view
    group = f"{target} {scope}"
    far = (0 if target == view.primary else 5) + 8 * place
    scale = formats.scale_for("s", (n.value for _, n in view.known(target, "latency_p50", scope)))

    def time(_: str, x: Number) -> str:
        return formats.bracketed(x.value * scale.factor, x.low * scale.factor, x.high * scale.factor)

    builder.add(
        group, target, "latency_p50", time, scope=scope, title="median", unit=scale.unit, priority=1 + far
    )
    builder.add(
        group,
        target,
        "latency_ratio",
        lambda _, x: _speed(x),
        scope=scope,
        title="speed-up",
        unit="",
        definition="the baseline's time over the variant's, same rounds; above 1 is faster; "
        "= where the difference is within the A/A gap, ? where the interval does not decide",
        priority=2 + far,
        shorten=lambda _, x: _speed(x).partition(" [")[0],
    )
    for metric in ("latency_p90", "latency_p99"):
        builder.add(group, target, metric, time, scope=scope, unit=scale.unit, priority=13 + far)


def _percent(number: Number) -> str:
    """Of one seed with the interval over its test items, which is no interval between seeds."""
    if number.seeds != 1:
        return _scaled_pm(number, PERCENT)
    value, low, high = (100 * x for x in number[:3])
    return formats.bracketed(value, low, high, places=formats.decimals((high - low) / 2))


def _scaled_pm(number: Number, scale: Scale, *, sign: bool = False, least: int = 0) -> str:
    value, low, high = (x * scale.factor for x in number[:3])
    return formats.plus_minus(value, low, high, sign=sign, least=least)


def _speed(number: Number) -> str:
    """`3.03× [2.98, 3.07]`, `= 1.01×` within the noise, `? 1.2×` where it is not decided."""
    inverse = 1 / number.value if number.value else math.nan
    if number.comparison == "same":
        return f"= {formats.plain(inverse)}×"
    if number.comparison == "unclear":
        return f"? {formats.plain(inverse)}×"
    low = 1 / number.high if number.high else math.nan
    high = 1 / number.low if number.low else math.nan
    return formats.bracketed(inverse, low, high, suffix="×")
