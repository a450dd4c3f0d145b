"""`bench fpga`: what FPGA tools made, and what their reports say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from targets.fpga.parts import Device
    from targets.fpga.vendor.reports import HardwareReport

#: name in the table, name in the values, unit
_LINES = (
    ("latency, cycles", ("cycles_min", "cycles_max"), ""),
    ("interval, cycles", ("interval_min", "interval_max"), ""),
    ("clock target", ("clock_target_ns",), "ns"),
    ("clock estimate", ("clock_estimate_ns",), "ns"),
    ("co-simulation", ("cosim_status",), ""),
    ("setup slack (WNS)", ("wns_ns",), "ns"),
    ("total negative setup slack (TNS)", ("tns_ns",), "ns"),
    ("hold slack (WHS)", ("whs_ns",), "ns"),
    ("total negative hold slack (THS)", ("ths_ns",), "ns"),
    ("failing endpoints", ("failing_endpoints",), ""),
    ("constraints met", ("timing_met",), ""),
    ("clock", ("clock_ns",), "ns"),
    ("power", ("power_total_w",), "W"),
    ("power, dynamic", ("power_dynamic_w",), "W"),
    ("power, static", ("power_static_w",), "W"),
    ("confidence", ("power_confidence",), ""),
    ("junction temperature", ("junction_c",), "°C"),
)
_USED = {
    "lut": "LUT",
    "lut_logic": "  as logic",
    "lut_memory": "  as memory",
    "ff": "FF",
    "dsp": "DSP",
    "bram18": "BRAM, 18 Kbit",
    "uram": "URAM",
}
_STAGES = {
    "hls_est": "estimated by HLS (hls_est)",
    "synth": "after synthesis (synth)",
    "impl": "placed or routed (impl)",
}


@click.group()
def fpga() -> None:
    """Builds for FPGAs."""


@fpga.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def report(paths: tuple[Path, ...], as_json: bool) -> int:
    """Show what reports of Vivado, Vivado HLS and Vitis HLS say: files, or folders of finished projects."""
    from bench.errors import BenchError
    from targets.fpga.vendor.reports import find_reports, read_report

    shown: list[tuple[str | None, list[HardwareReport]]] = []
    errors: list[BenchError] = []
    for path in paths:
        found: list[HardwareReport] = []
        try:
            files = find_reports(path) if path.is_dir() else [path]
            if not files:
                raise _no_reports(path)
        except BenchError as error:
            errors.append(error)
            continue
        for file in files:
            try:
                found.append(read_report(file))
            except BenchError as error:
                errors.append(error)
        if found:
            shown.append((str(path) if path.is_dir() else None, found))
    if as_json:
        click.echo(json.dumps(_json(shown, errors), indent=1))
    else:
        click.echo("\n\n".join(_page(folder, reports) for folder, reports in shown), nl=bool(shown))
    for failure in errors:
        click.echo(f"bench: {failure}", err=True)
    return (1 if shown else 2) if errors else 0


def _no_reports(path: Path) -> Exception:
    from bench.errors import ArtifactError

    return ArtifactError(
        "no report that is known here is below this folder",
        where=str(path),
        mend="Name the folder of a project that was synthesized, or the report files.",
    )


def _json(shown: Sequence[tuple[str | None, list[HardwareReport]]], errors: Sequence[Exception]) -> Any:
    from targets.fpga.vendor.reports import merge, problems

    return {
        "reports": [_facts(report) for _, reports in shown for report in reports],
        "folders": {
            folder: {**merge(reports), "problems": problems(reports)}
            for folder, reports in shown
            if folder is not None
        },
        "problems": [line for folder, reports in shown if folder is None for line in problems(reports)],
        "errors": [str(error) for error in errors],
    }


def _facts(report: HardwareReport) -> dict[str, Any]:
    from targets.fpga.parts import percent

    device = _device(report.part, report.available)
    return {
        **report.to_json(),
        "percent": percent(report.values, device) if device else {},
        "fits": _fits(report.values, device),
        "kernel_latency_s": {name: seconds for name, _, seconds in _latencies(report.values)},
    }


def _device(part: str | None, available: Mapping[str, int | None]) -> Device | None:
    from bench.errors import ConfigError
    from targets.fpga.parts import as_reported, device_of

    try:
        device = device_of(part) if part else None
    except ConfigError:
        device = None
    return as_reported(device, available)


def _fits(values: Mapping[str, Any], device: Device | None) -> bool | None:
    """Whether a design fits; None where that is not known, as where blocks are not in its numbers."""
    from targets.fpga.parts import fits

    return None if device is None or values.get("black_boxes") else fits(values, device)


def _latencies(values: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Which period, the period in ns, and worst-case cycles × period in seconds."""
    from targets.fpga.parts import kernel_latency_s

    periods = (
        ("target", values.get("clock_target_ns")),
        ("estimate", values.get("clock_estimate_ns")),
        ("clock", values.get("clock_ns")),
    )
    return [
        (name, period, seconds)
        for name, period in periods
        if period is not None and (seconds := kernel_latency_s(values.get("cycles_max"), period)) is not None
    ]


def _page(folder: str | None, reports: Sequence[HardwareReport]) -> str:
    from targets.fpga.vendor.reports import problems

    parts = [_one(report) for report in reports]
    if folder is not None:
        parts.append(_merged(folder, reports))
    found = problems(reports)
    if found:
        parts.append("\n".join(["Problems", *(f" * {line}" for line in found)]))
    return "\n\n".join(parts)


def _one(report: HardwareReport) -> str:
    tool = " ".join(word for word in (report.tool, report.version) if word)
    about = [report.kind, _STAGES.get(report.stage or "", ""), tool, report.part, report.top]
    lines = [report.file, ", ".join(word for word in about if word)]
    lines += _used(report.values, _device(report.part, report.available))
    return "\n".join(lines + _facts_lines(report.values))


def _merged(folder: str, reports: Sequence[HardwareReport]) -> str:
    from targets.fpga.vendor.reports import merge

    merged = merge(reports)
    lines = [f"All of {folder}"]
    for stage, title in _STAGES.items():
        if merged[stage]:
            part = next((report.part for report in reports if report.stage == stage and report.part), None)
            lines += [f"{title}, {merged[stage]['top']}"]
            lines += _used(merged[stage], _device(part, merged[stage]["available"]))
    values = {**merged["power"], **merged["timing"], **merged["cycles"]}
    return "\n".join(lines + _facts_lines(values))


def _used(values: Mapping[str, Any], device: Device | None) -> list[str]:
    from targets.fpga.parts import percent

    rows = [["  resource", "used", "of", "%"]]
    share = percent(values, device) if device else {}
    for name, title in _USED.items():
        if values.get(name) is not None:
            there = f"{getattr(device, name):,}" if device and hasattr(device, name) else ""
            used = f"{values[name]:,}"
            rows.append([f"  {title}", used, there, f"{share[name]:.1f}" if name in share else ""])
    if len(rows) == 1:
        return []
    verdict = _fits(values, device)
    word = {True: "yes", False: "no", None: "not known"}[verdict]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in (1, 2, 3))]).rstrip()
        for row in rows
    ]
    return [*lines, f"  fits: {word}"]


def _facts_lines(values: Mapping[str, Any]) -> list[str]:
    rows = []
    for title, names, unit in _LINES:
        found = [values.get(name) for name in names]
        if all(value is None for value in found):
            continue
        words = list(dict.fromkeys("?" if value is None else _word(value) for value in found))
        rows.append((title, " to ".join(words) + (f" {unit}" if unit else "")))
    rows += [
        (f"kernel latency at {name} {period:g} ns", f"{seconds * 1e6:,.3f} µs")
        for name, period, seconds in _latencies(values)
    ]
    width = max((len(title) for title, _ in rows), default=0)
    return [f"  {title.ljust(width)}  {value}" for title, value in rows]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


@fpga.command(name="export")
@click.argument("cell", metavar="MODEL/VARIANT")
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="New folder."
)
@click.option("--style", type=click.Choice(["sequential", "parallel"]), help="[default: sequential]")
@click.option("--multipliers", type=int, help="Of each layer, style sequential [default: 8].")
@click.option("--cutoff", type=int, help="Additions between registers, style parallel [default: 5].")
@click.option("--board", default="pynq-z2", show_default=True, help="Whose overlay the script makes.")
@click.option(
    "--clock", "clock_mhz", type=click.FloatRange(1, 2000), default=100.0, show_default=True, help="MHz."
)
@click.option(
    "--vectors", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Of its test bench."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.pass_obj
def export_(obj: dict[str, Any], /, cell: str, out: Path, **options: Any) -> int:
    """Write a network as Verilog with an AXI4-Stream wrapper, a test bench that checks itself, and a script
    that makes a PYNQ overlay of it with Vivado (the script was never run)."""
    from bench.workflows.export_rtl import export

    names = ("style", "multipliers", "cutoff")
    given = {name: options.pop(name) for name in names}
    return export(cell, {k: v for k, v in given.items() if v is not None}, obj["results"], out, **options)
