"""What `bench board` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.workflows.offline_boards import Imported, Packed
    from targets.pynq.checks import Check
    from targets.pynq.exchange.result_file import ItemResult
    from targets.pynq.exchange.results import Result

#: phases, in the order in which they happen, with their titles
PHASES = {
    "load": "load",
    "encode": "encode",
    "copy_in": "copy in",
    "execute": "execute",
    "copy_out": "copy out",
    "decode": "decode",
    "end_to_end": "end to end",
}


def columns(rows: Sequence[Sequence[str]], right: bool = False) -> str:
    """Rows in columns, the first to the left; columns that are empty but for their title are left out."""
    keep = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:]) or i == 0]
    widths = {i: max(len(row[i]) for row in rows) for i in keep}
    return "\n".join(
        "  ".join(row[i].rjust(widths[i]) if right and i else row[i].ljust(widths[i]) for i in keep).rstrip()
        for row in rows
    )


def check_lines(checks: Sequence[Check]) -> str:
    """One line a check, and below it how to mend it."""
    width = max(len(check.name) for check in checks)
    words = {True: "ok", False: "NO", None: "-"}
    lines = []
    for check in checks:
        lines.append(f"{words[check.passed]:2}  {check.name.ljust(width)}  {check.detail}".rstrip())
        if check.mend:
            lines += [f"      {line.strip()}" for line in check.mend.splitlines()]
    return "\n".join(lines)


def as_values(result: Result) -> dict[str, Any]:
    """The checked file, with what is missing."""
    missing = list(result.missing) if result.missing is not None else None
    return {**result.file.model_dump(mode="json", by_alias=True), "missing": missing}


def packed_lines(packed: Packed) -> str:
    """What is in the job, what is not, and what to do with it."""
    from targets.pynq.agent_file import NAME, PACKAGE

    job = packed.job
    size = job.path.stat().st_size / 1e6
    lines = [f"{job.path}: {len(job.job.items)} items for {packed.board} ({job.job.board}), {size:.1f} MB"]
    if packed.done:
        lines.append(f"{packed.done} cells are on record already and are not in it")
    lines += [f"not in it: {label}: {reason}" for label, reason in packed.left]
    command = f"python3 {NAME} {job.path.name}"
    if job.job.emulated:
        lines.append(f"emulated: {command} --emulator {PACKAGE.parent}, with the Python of `make board`")
    else:
        lines.append(f"carry it and {NAME} there, and as root (sudo -i): {command}")
    lines.append("then here: bench board import result.tar.gz")
    return "\n".join(lines)


def imported_line(imported: Imported) -> str:
    """What became of a result."""
    counts = Counter(record.status for record in imported.records)
    parts = [f"{n} {status}" for status, n in sorted(counts.items(), key=lambda pair: pair[0] != "ok")]
    text = f"{len(imported.records)} records{' (' + ', '.join(parts) + ')' if parts else ''}"
    if imported.kept:
        text += f"; {imported.kept} cells had one already, which stays (--force)"
    return f"{text}; next: bench report {imported.sweep}"


def summary(result: Result) -> str:
    """Where it comes from, then a table of the items. Times are medians in µs; origin stands above all."""
    file = result.file
    about = [file.board.name, file.board.part, "emulated" if file.board.emulated else None]
    ran = [
        f"pynq {file.agent.pynq}" if file.agent.pynq else None,
        f"Python {file.agent.python}",
        file.agent.machine,
    ]
    lines = [
        f"board: {', '.join(word for word in about if word)}; {', '.join(word for word in ran if word)}, "
        f"agent {file.agent.version}",
        f"job {file.job[:12]}, {file.started} to {file.finished or 'not finished'}",
        f"origin: {file.origin}"
        + (
            " (virtual time of the emulated board: never beside measured times)"
            if file.board.emulated
            else ""
        ),
    ]
    if result.missing is None:
        lines.append("not compared with its job (--job)")
    rows = [["item", "status", "clock MHz", *(f"{title} µs" for title in PHASES.values())]]
    rows[0] += ["a µs", "b µs/inf", "inf/s", "errors", "of", "differ", "of", "net µJ/inf"]
    for name, item in file.items.items():
        rows.append([name, item.status, _number(item.fabric_clock_mhz), *_times(item), *_facts(item)])
    rows += [[name, "missing", *[""] * (len(rows[0]) - 2)] for name in result.missing or ()]
    lines += ["", columns(rows, right=True)]
    if any(item.fit for item in file.items.values()):
        lines.append("time of a batch of N: a + b·N, end to end; inf/s = 1/b")
    for name, item in file.items.items():
        if item.reason:
            lines.append(f"{name}: {item.reason}")
        seen = {item.reason}
        for refused in item.refused:
            if refused.reason not in seen:
                seen.add(refused.reason)
                lines.append(f"{name}: {refused.name} is not given: {refused.reason}")
        lines += [
            f"{name}: {check.name}: {check.detail}"
            for check in item.sanity
            if check.passed is False and check.detail not in seen
        ]
    return "\n".join(lines)


def _times(item: ItemResult) -> list[str]:
    return [_number(item.phases[name].p50, 1e6) if name in item.phases else "" for name in PHASES]


def _facts(item: ItemResult) -> list[str]:
    fit, accuracy, agreement, energy = item.fit, item.accuracy, item.agreement, item.energy
    return [
        _number(fit.a_s, 1e6) if fit else "",
        _number(fit.b_s, 1e6) if fit else "",
        f"{1 / fit.b_s:,.0f}" if fit and fit.b_s > 0 else "",
        str(accuracy.errors) if accuracy and accuracy.errors is not None else "",
        str(accuracy.n) if accuracy else "",
        str(agreement.mismatches) if agreement else "",
        str(agreement.n) if agreement else "",
        _number(energy.net_j_per_inference, 1e6) if energy else "",
    ]


def _number(value: float | None, factor: float = 1.0) -> str:
    return "" if value is None else f"{value * factor:,.4g}"
