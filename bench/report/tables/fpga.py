"""The columns of FPGA targets: cost in fixed point, agreement along the chain, the design by stage.

One column holds one metric of one stage and one origin. Where a number is missing the cell says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.report.frames import formats
from bench.report.frames.formats import Scale
from bench.report.frames.view import ModelView, Number, Place, base_name, short_name
from bench.report.metrics import METRICS, RESOURCES, STAGES
from bench.report.records.read import PENDING, Outcome
from bench.report.tables.column import Column

if TYPE_CHECKING:
    from bench.report.tables.comparison import Builder, Table

#: by variant
Numbers = dict[str, Number]

#: beginnings of the titles of groups with figures of hardware
HARDWARE_GROUPS = ("FPGA timing", *("FPGA " + name for name in ("HLS", "synthesis", "implementation")))
BOARD_GROUPS = ("board, ", "energy, ")
#: columns of boards and meters up to this priority are shown where there is little room
MAIN_OF_BOARD = 8
#: what is shown of designs there
FIRST = ("kernel_latency", "cycles", "fmax", "lut", "ff", "dsp", "bram18")
STAGE_NAMES = {"hls_est": "HLS estimate", "synth": "synthesis", "impl": "implementation"}
NO_LINK = Outcome.not_applicable("the chain of this variant has no such link")
NO_COST = Outcome("skipped", "not recorded by the step that made the fixed-point network")
#: of the network in fixed point, and the columns' priorities
COSTS = (("weight_bits", 7), ("ebops", 8), ("energy_model", 9), ("bops", 14), ("macs", 14))
TIMING = ("kernel_latency", "clock_target", "cycles", "interval")
AT_STAGE = ("clock_bound", "fmax", "clock", "slack", "power_estimate")


def add_columns(builder: Builder, view: ModelView) -> None:
    """Only what the data bear: nothing at all without an FPGA target."""
    targets = view.fpga_targets
    several = len(targets) > 1

    def put(
        group: str,
        names: list[str],
        metric: str,
        place: Place,
        found: Numbers,
        absent: Outcome,
        priority: int,
        title: str = "",
        unit: str = "",
    ) -> None:
        group = f"{group} ({_named(names)})" if several else group
        missing = {v: missing_cell(view, v, names[0], absent) for v in view.variants if v not in found}
        put_column(
            builder,
            *(group, names[0], metric, place, {**missing, **found}, priority),
            title=title,
            unit=unit,
            also=names[1:],
        )

    def cost(metric: str, among: list[str], priority: int) -> None:
        for names, numbers in shared(among, lambda target: _by_variant(view, target, metric, "")):
            place = ("", "", next(number.origin for number in numbers.values() if number.known))
            put("FPGA cost", names, metric, place, numbers, NO_COST, priority)

    for metric, priority in COSTS:
        cost(metric, targets, priority)
    designs = [target for target in targets if not any(view.known(target, "file_bytes"))]
    for metric in ("params_nonzero", "sparsity"):
        cost(metric, designs, 13)
    _links(view, put)
    for target in targets:
        for metric in TIMING:
            for place, found in view.hardware(target, metric).items():
                title, priority = f"FPGA timing, {place[2]}", 8 if metric == "kernel_latency" else 11
                put(title, [target], metric, place, found, PENDING, priority)
        tools = _tools(view, target)
        for stage in STAGES:
            for metric in (*(m for name in RESOURCES for m in (name, f"{name}_share")), "fits", *AT_STAGE):
                for place, found in view.hardware(target, metric).items():
                    if place[1] == stage:
                        title = f"FPGA {STAGE_NAMES[stage]}{tools.get(place[1:], '')}, {place[2]}"
                        share = metric.endswith("_share")
                        unit = f"% of {place[0]}" if share else place[0] if metric == "fits" else ""
                        head = RESOURCES[metric.removesuffix("_share")][0] if share else ""
                        priority = 9 if share or metric == "fits" else 12
                        put(title, [target], metric, place, found, PENDING, priority, head, unit)


def _links(view: ModelView, put: Callable[..., None]) -> None:
    """Agreement along the chain, each link once for all targets that agree on it."""
    links = dict.fromkeys(link for target in view.fpga_targets for link in view.links(target))
    for link in links:
        among = [target for target in view.fpga_targets if link in view.links(target)]
        for metric, title in (("mismatches", link), ("bit_exact", "bit-exact"), ("sqnr", "SQNR")):
            main = metric == "mismatches" and link.startswith(("csim", "board"))
            priority = 14 if metric == "sqnr" else 8 if main else 10
            for names, numbers in shared(
                among,
                lambda target, metric=metric, link=link: _by_variant(view, target, metric, link),  # type: ignore[misc]
            ):
                place = (link, "", next(number.origin for number in numbers.values() if number.known))
                put("FPGA agreement", names, metric, place, numbers, NO_LINK, priority, title)


def put_column(
    builder: Builder,
    group: str,
    target: str,
    metric: str,
    place: Place,
    numbers: Mapping[str, Number | None],
    priority: int,
    *,
    title: str = "",
    unit: str = "",
    also: Sequence[str] = (),
    scale: Scale | None = None,
) -> None:
    """One column of one metric, place and origin; none where no variant has it.

    Args:
        also: other targets that it speaks of.
        scale: None: one that fits the numbers.
    """
    known = [number for number in numbers.values() if number is not None and number.known]
    if not known:
        return
    write, shown = _writer(metric, known, scale)
    about = ", ".join(filter(None, (target, *also, *place)))
    key = ":".join(filter(None, (metric, target, *place)))
    text = f"{METRICS[metric].definition} [{about}]"
    column = Column(key, group, title or METRICS[metric].title, unit or shown, text, priority)
    builder.put(column, numbers, lambda _, number: write(number))


def shared(
    targets: Sequence[str], numbers_of: Callable[[str], Numbers]
) -> Iterator[tuple[list[str], Numbers]]:
    """(targets, numbers by variant): targets whose numbers never contradict each other are told once, with
    the numbers of all of them. What no variant of both has is no agreement."""
    groups: list[tuple[list[str], Numbers]] = []
    for target in targets:
        numbers = numbers_of(target)
        known = {variant: number for variant, number in numbers.items() if number.known}
        if not known:
            continue
        for names, others in groups:
            both = [(known[v], others[v]) for v in known if v in others and others[v].known]
            if both and all(one.value == two.value and one.origin == two.origin for one, two in both):
                names.append(target)
                others |= known
                break
        else:
            groups.append(([target], dict(numbers)))
    yield from groups


def _named(targets: Sequence[str]) -> str:
    """One by its whole name; several without options that make no difference here."""
    return targets[0] if len(targets) == 1 else ", ".join(dict.fromkeys(map(short_name, targets)))


def _tools(view: ModelView, target: str) -> dict[tuple[str, str], str]:
    """Who counted resources, by stage and origin: ` by yosys 0.70`; nothing where it is not told."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for name in RESOURCES:
        for place, numbers in view.hardware(target, name).items():
            told = [number.tool for number in numbers.values() if number.tool]
            found.setdefault(place[1:], {}).update(dict.fromkeys(told))
    return {place: f" by {' and '.join(names)}" for place, names in found.items() if names}


def _by_variant(view: ModelView, target: str, metric: str, scope: str) -> dict[str, Number]:
    numbers = {variant: view.get(variant, target, metric, scope) for variant in view.variants}
    return {variant: number for variant, number in numbers.items() if number is not None}


def missing_cell(view: ModelView, variant: str, target: str, absent: Outcome) -> Number | None:
    """Why a variant has no number: what became of its cell, else what is missing; None without a cell."""
    outcome = view.get(variant, target, "accuracy")
    if outcome is None or not outcome.known:
        return outcome
    numbers = (math.nan, math.nan, math.nan, None)
    return Number(*numbers, absent.status, absent.reason, missing=absent.missing)


def _writer(
    metric: str, known: list[Number], scale: Scale | None = None
) -> tuple[Callable[[Number], str], str]:
    """How numbers of a metric are written, and in which unit."""
    values = [number.value for number in known]
    if metric == "fits":
        return _yes_or_no, ""
    if metric == "mismatches":
        return lambda x: formats.count(x.value), "classes differ"
    if metric in ("bit_exact", "fit_r2", "sparsity") or metric.endswith("_share"):
        return lambda x: _share(x.value), "%"
    unit = METRICS[metric].unit
    if unit == "1":
        return lambda x: formats.count(x.value), ""
    scale = scale or formats.scale_for(unit, values)
    return lambda x: formats.plain(x.value * scale.factor), scale.unit


def _share(value: float) -> str:
    """Percent; all and nothing are said only of exactly all and nothing."""
    text = f"{100 * value:.1f}"
    if text == "100.0" and value < 1:
        return "> 99.9"
    return "< 0.1" if text == "0.0" and value > 0 else text


def _yes_or_no(number: Number) -> str:
    return (
        "yes" if number.value == 1 else "no" if number.value == 0 else f"{100 * number.value:.0f} % of seeds"
    )


def is_hardware(column: Column) -> bool:
    """Whether it is about timing or resources of a design, or what a board or a meter told."""
    return column.group.startswith(HARDWARE_GROUPS + BOARD_GROUPS)


def hardware_tables(table: Table) -> list[Table]:
    """The columns of designs, boards and meters of a comparison by themselves: a table for the design and
    one for the board of each target, without variants that have none."""
    found = []
    for groups in (HARDWARE_GROUPS, BOARD_GROUPS):
        part = table.narrowed(lambda column, groups=groups: column.group.startswith(groups))  # type: ignore[misc]
        for target in dict.fromkeys(column.key.split(":")[1] for column in part.columns):
            found.append(_of_target(part, target))
    return [part for part in found if part.rows]


def _of_target(table: Table, target: str) -> Table:
    """Columns of one target, which is named in the title instead of in each group's."""
    part = table.narrowed(lambda column: column.key.split(":")[1] == target)
    columns = [
        replace(
            column,
            group=column.group.removeprefix("FPGA ").removesuffix(f" ({target})"),
            priority=1 if is_first(column) else column.priority,
        )
        for column in part.columns
    ]
    rows = [replace(row, fronts=[]) for row in part.rows if any(cell.status == "ok" for cell in row.cells)]
    return replace(part, model=f"{part.model} on {target}", columns=columns, rows=rows, remarks=[])


def is_first(column: Column) -> bool:
    """Whether a column of a design or a board is one to look at first."""
    if column.group.startswith(BOARD_GROUPS):
        return column.priority <= MAIN_OF_BOARD
    return column.key.partition(":")[0] in FIRST


EVERY_BIT = "in every bit"
#: links of the chain that should be equal, and what is said where they are
EQUAL = {
    "csim vs qkeras": "C simulation gives QKeras' outputs",
    "board vs csim": "the board gives the C simulation's outputs",
}


def agreements(view: ModelView) -> list[str]:
    """Which designs give the outputs of the network that they were made from, bit for bit."""
    found: dict[tuple[str, str], list[str]] = {}
    for target in view.fpga_targets:
        for link in EQUAL:
            numbers = {v: view.get(v, target, "bit_exact", link) for v in view.variants}
            exact = [v for v, number in numbers.items() if number and number.known and number.value == 1]
            if exact:
                found.setdefault((link, ", ".join(exact)), []).append(target)
    return [
        f"{', '.join(targets)}: {EQUAL[link]} {EVERY_BIT}, on all test items and seeds: {variants}."
        for (link, variants), targets in found.items()
    ]


def remarks(view: ModelView) -> list[str]:
    """What to know before reading the FPGA columns; only of what is there."""
    found = []
    if names := sorted({base_name(target) for target in view.simulated}):
        found.append(
            f"{', '.join(names)}: accuracy by bit-exact C simulation of the design, which says nothing about "
            "time; Δ is paired with the baseline in fixed point."
        )
    found += agreements(view)
    if any(any(view.known(target, "energy_model")) for target in view.fpga_targets):
        found.append("Energy (model): Horowitz's table of a 45 nm process through QTools, not a measurement.")
    return found
