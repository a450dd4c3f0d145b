"""The result of `bench measure` as plain text. Latency in microseconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.workflows.measure_files import FileResult, MeasureResult

_SCOPES = {
    "invoke": "invoke: the network alone, input in place, µs a call",
    "end_to_end": "end_to_end: from float32 input to float32 output, µs a call",
}


def render(result: MeasureResult) -> str:
    """Tables of sizes and accuracy and of each scope's latency, and what to know when reading them."""
    parts = [_head(result), _table(_file_rows(result))]
    scopes = dict.fromkeys(scope for file in result.files for scope in file.latency)
    for scope in scopes:
        parts.append(f"{_SCOPES.get(scope, scope)}\n{_table(_latency_rows(result, scope))}")
    notes = _notes(result)
    if notes:
        parts.append("\n".join(notes))
    return "\n\n".join(parts) + "\n"


def _head(result: MeasureResult) -> str:
    runtime = next((file.runtime for file in result.files if file.name == result.reference), {})
    facts = [
        f"{runtime.get('runtime', 'tflite')} {runtime.get('version', '')}".strip(),
        _count(result.options["threads"], "thread"),
        f"XNNPACK {'on' if result.options['xnnpack'] else 'off'}",
    ]
    if result.rounds:
        machine = result.rounds[0]["machine"]
        facts += [
            _count(len(result.rounds), "round"),
            f"{machine['cpu']} ({_count(machine['cores'], 'core')})",
        ]
    return f"{', '.join(facts)}\nReference: {result.reference}"


def _file_rows(result: MeasureResult) -> list[list[str]]:
    scored = any(file.accuracy for file in result.files)
    timed = any(file.latency for file in result.files)
    rows = [["file", "bytes", "gzip"]]
    if scored:
        rows[0] += ["accuracy % [95 %]", "change, points [95 %]", "McNemar p"]
    if timed:
        rows[0] += ["load µs", "first call µs"]
    for file in result.files:
        row = [file.name, f"{file.bytes:,}", f"{file.gzip_bytes:,}"]
        if scored:
            row += _accuracy_cells(file)
        if timed:
            first = next(iter(file.latency.values()), None)
            row += [_us(first.load), _us(first.first_call)] if first else ["", ""]
        rows.append(row)
    return rows


def _accuracy_cells(file: FileResult) -> list[str]:
    found = file.accuracy
    if found is None:
        return ["", "", ""]
    cells = [f"{100 * found.value:.2f} [{100 * found.low:.2f}, {100 * found.high:.2f}]", "", ""]
    if found.difference and found.difference.low is not None and found.difference.high is not None:
        value, low, high = (100 * number for number in found.difference)  # type: ignore[operator]
        cells[1] = f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"
        cells[2] = f"{found.p:.2g}"
    return cells


def _latency_rows(result: MeasureResult, scope: str) -> list[list[str]]:
    rows = [["file", "p50 [95 %]", "ratio [95 %]", "is", "p90", "p95", "p99", "verdict"]]
    for file in result.files:
        found = file.latency.get(scope)
        if found is None:
            rows.append([file.name, *[""] * 6, "failed" if file.error else ""])
            continue
        mark = "*" if found.block > 1 else ""
        rows.append(
            [
                file.name,
                _interval(_us(found.p50) + mark, _us(found.low), _us(found.high)),
                _interval(_ratio(found.ratio), _ratio(found.ratio_low), _ratio(found.ratio_high))
                if file.name != result.reference
                else "1",
                found.verdict_vs_baseline or "reference",
                _us(found.p90),
                _us(found.p95),
                _us(found.p99),
                found.verdict,
            ]
        )
    return rows


def _notes(result: MeasureResult) -> list[str]:
    notes = []
    summaries = [found for file in result.files for found in file.latency.values()]
    gaps = {
        found.scope: f"{found.scope} {found.aa_gap:.1%}" for found in summaries if found.aa_gap is not None
    }
    if gaps:
        notes.append(f"A/A gap, {result.reference} against itself: {', '.join(gaps.values())}.")
        notes.append("No difference within it is called one.")
    sure = min((found.confidence for found in summaries if found.confidence is not None), default=1.0)
    if sure < 0.9:
        notes.append(f"So few rounds: of such intervals only {sure:.0%} are sure to hold the true value.")
    if any(found.block > 1 for found in summaries):
        notes.append(
            "* too short a call for this clock: blocks of calls were timed, which have no percentiles."
        )
    elif any(found.p99 is None for found in summaries):
        notes.append("Percentiles need samples: 64 for p90, 130 for p95, 662 for p99.")
    for file in result.files:
        if file.error:
            notes.append(f"{file.name} failed: {file.error}")
        elif file.accuracy_error:
            notes.append(f"{file.name} has no accuracy: {file.accuracy_error}")
        if file.free:
            axes = " and ".join(map(str, file.free))
            notes.append(
                f"{file.name}: axis {axes} of its input may have any length; it was run at length 1."
            )
    notes += [f"Lost: {failure}" for failure in result.failures]
    whose: dict[str, list[str]] = {}
    for file in result.files:
        for found in file.latency.values():
            for reason in found.reasons:
                whose.setdefault(reason, []).append(f"{file.name} {found.scope}")
    if whose:
        notes.append("Not ok because:")
    for reason, places in whose.items():
        notes.append(f"  {reason}: {'all' if len(places) == len(summaries) else ', '.join(places)}")
    return notes


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' if n != 1 else ''}"


def _us(seconds: float | None) -> str:
    """Microseconds with three significant digits or more."""
    if seconds is None:
        return ""
    value = seconds * 1e6
    decimals = 0 if value >= 1000 else 1 if value >= 100 else 2 if value >= 1 else 3
    return f"{value:,.{decimals}f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(value: str, low: str, high: str) -> str:
    return f"{value} [{low}, {high}]" if low and high else value


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        numbers = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "  ".join([row[0].ljust(widths[0]), *numbers]).rstrip()

    return "\n".join([line(rows[0]), line(["-" * width for width in widths]), *map(line, rows[1:])])
