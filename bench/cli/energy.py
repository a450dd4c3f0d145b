"""`bench energy`: energies from traces of external power meters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from targets.pynq.meters.energy import EnergyReport, Window

#: Name of EEMBC's traces and of the windows beside them.
TRACE_END, WINDOWS_END = "energy.bin", "timestamps.json"


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--inferences", type=click.IntRange(min=1), metavar="N", help="Made in each (run) window.")
@click.option("--idle", metavar="START:END", help="Seconds of the trace in which the board did nothing.")
@click.option(
    "--windows",
    "windows_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="JSON: times, or objects with start and end [default: *timestamps.json beside *energy.bin].",
)
@click.option("--columns", metavar="SPEC", help="Of a CSV file: time:ms,volt:V,ampere:mA; - leaves one out.")
@click.option("--rail", help="What was measured: '5 V input'.")
@click.option("--meter", help="With what: 'Joulescope JS110'.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--into", "sweep", metavar="SWEEP", help="Make it the energy of a cell of this sweep.")
@click.option("--cell", metavar="LABEL", help="Which: model/variant/target/seed0.")
@click.option("--replace", "anew", is_flag=True, help="Instead of what the cell has.")
@click.pass_context
def energy(
    ctx: click.Context,
    paths: tuple[Path, ...],
    inferences: int | None,
    idle: str | None,
    windows_file: Path | None,
    columns: str | None,
    rail: str | None,
    meter: str | None,
    as_json: bool,
    sweep: str | None,
    cell: str | None,
    anew: bool,
) -> int:
    """Energy per window and per inference from traces of a power meter: CSV (time, volt, ampere), or
    *energy.bin of EEMBC's runner with *timestamps.json. A folder: the traces in it.

    With --into and --cell the energy of that one trace stands in the sweep's reports from then on."""
    from bench.errors import BenchError
    from targets.pynq.meters.energy import measure, parse_span
    from targets.pynq.meters.traces import read_trace

    if (sweep is None) != (cell is None):
        raise click.UsageError("--into SWEEP and --cell LABEL go together")
    if sweep is not None and (len(paths) != 1 or paths[0].is_dir()):
        raise click.UsageError("--into takes one trace, of one cell")
    span = parse_span(idle) if idle is not None else None
    reports: list[EnergyReport] = []
    errors: list[BenchError] = []
    for path in paths:
        try:
            for file in _traces(path):
                trace = read_trace(file, columns)
                trace = replace(trace, rail=rail or trace.rail, meter=meter or trace.meter)
                windows = _windows(file, windows_file, inferences)
                report = measure(trace, windows, span, inferences)
                if sweep is not None and cell is not None:
                    from bench.workflows.import_energy import import_trace

                    import_trace(ctx.obj["results"], sweep, cell, file, report, replace=anew)
                reports.append(report)
        except BenchError as error:
            errors.append(error)
    if as_json:
        shown = {"traces": [report.to_json() for report in reports], "errors": [str(item) for item in errors]}
        click.echo(json.dumps(shown, indent=1))
    else:
        click.echo("\n\n".join(_page(report) for report in reports), nl=bool(reports))
    if sweep is not None and not errors and not as_json:
        click.echo(f"\nthe energy of {cell}; next: bench report {sweep}")
    for failure in errors:
        click.echo(f"bench: {failure}", err=True)
    return (1 if reports else 2) if errors else 0


def _traces(path: Path) -> list[Path]:
    from bench.errors import ArtifactError

    if not path.is_dir():
        return [path]
    found = sorted(
        file for file in path.iterdir() if file.name.endswith((TRACE_END, ".csv")) and file.is_file()
    )
    if not found:
        raise ArtifactError("no *energy.bin and no .csv is in this folder", where=str(path))
    return found


def _windows(file: Path, given: Path | None, inferences: int | None) -> Sequence[Window]:
    from targets.pynq.meters.energy import read_windows

    beside = file.with_name(file.name.removesuffix(TRACE_END) + WINDOWS_END)
    if given is None and file.name.endswith(TRACE_END) and beside.is_file():
        given = beside
    return read_windows(given, inferences) if given is not None else []


def _page(report: EnergyReport) -> str:
    from targets.pynq.meters.energy import LISTED_GAPS

    trace = report.trace
    nominal = f" of {trace.rate_hz:g}" if trace.rate_hz is not None else ""
    lines = [
        trace.file,
        f"  rail: {trace.rail or 'not named (--rail)'}, meter: {trace.meter or 'not named (--meter)'}",
        f"  {len(trace.power):,} samples, {report.start:g} to {report.end:g} s,"
        f" {report.rate_hz:.6g}{nominal} samples/s",
    ]
    if report.gaps:
        lost = sum(end - start for start, end in report.gaps)
        first = ", ".join(f"{start:g} to {end:g}" for start, end in report.gaps[:LISTED_GAPS])
        more = ", …" if len(report.gaps) > LISTED_GAPS else ""
        lines.append(f"  {len(report.gaps)} gaps of {lost:g} s in all, not counted: {first}{more} s")
    if report.idle is not None and report.idle.power_w is not None:
        lines.append(f"  idle: {report.idle.start:g} to {report.idle.end:g} s, {report.idle.power_w:.6f} W")
    rows = [
        ["window", "from s", "to s", "covered s", "energy mJ", "power W", "net mJ", "µJ/inf", "net µJ/inf"]
    ]
    for window in report.windows:
        rows.append(
            [
                window.name,
                f"{window.start:.3f}",
                f"{window.end:.3f}",
                f"{window.covered_s:.3f}" + ("" if window.whole else " !"),
                f"{window.energy_j * 1e3:.6f}",
                _number(window.power_w, 1, 6),
                _number(window.net_j, 1e3, 6),
                _number(window.j_per_inference, 1e6, 3),
                _number(window.net_j_per_inference, 1e6, 3),
            ]
        )
    keep = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in keep}
    lines += ["  " + "  ".join(row[i].rjust(widths[i]) for i in keep) for row in rows]
    for name, title in (("j_per_inference", "median"), ("net_j_per_inference", "median, idle taken off")):
        if (value := report.median(name)) is not None:
            lines.append(f"  {title}: {value * 1e6:.3f} µJ per inference")
    if not all(window.whole for window in report.windows):
        lines.append("  ! a part is not covered: no energy per inference")
    return "\n".join(lines)


def _number(value: float | None, factor: float, digits: int) -> str:
    return "" if value is None else f"{value * factor:.{digits}f}"
