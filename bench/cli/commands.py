"""What the commands do. Imported by a command when it runs."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK
from bench.core.cells import Sweep
from bench.errors import BenchError, ConfigError, did_you_mean
from bench.store.store import Store

if TYPE_CHECKING:
    from bench.report.write import Choice


def run_and_report(
    sweep: Sweep,
    results: Path,
    *,
    jobs: int | None,
    fail_fast: bool,
    retry_failed: bool,
    force: bool,
) -> int:
    """Run, print the comparison, say where the report lies."""
    from bench.run.run import run_sweep

    store = Store(results)
    summary = run_sweep(sweep, store, jobs=jobs, retry_failed=retry_failed, force=force, fail_fast=fail_fast)
    if not summary.interrupted:
        _print_report(results, sweep.name, None, only_if_changed=summary.ran == 0)
    return summary.exit_code


def show_plan(
    sweep: Sweep, results: Path, *, retry_failed: bool, force: bool, as_json: bool, verbose: bool
) -> int:
    """Counts by kind and state, then the reasons."""
    from bench.run.plan import make_plan

    plan = make_plan(sweep, Store(results), retry_failed=retry_failed, force=force)
    summary = plan.summary()
    if as_json:
        tasks = [
            {
                "kind": task.kind,
                "label": task.label,
                "state": task.state,
                "reason": task.reason,
                "key": task.key,
            }
            for task in plan.tasks.values()
        ]
        click.echo(json.dumps({"sweep": sweep.name, **summary, "list": tasks}, indent=1))
        return EXIT_OK
    click.echo(f"{sweep.name}: {summary['cells']} cells")
    for kind, counts in summary["tasks"].items():
        told = ", ".join(f"{n} {_STATES[state]}" for state, n in sorted(counts.items()))
        click.echo(f"  {kind:9} {told or 'nothing'}")
    shown = None if verbose else 5
    for title in ("not_applicable", "skipped", "failed"):
        for reason, labels in summary[title].items():
            click.echo(f"{title.replace('_', ' ')}: {reason}")
            for label in labels[:shown]:
                click.echo(f"    {label}")
            if shown and len(labels) > shown:
                click.echo(f"    and {len(labels) - shown} more (-v shows all)")
    if verbose:
        for task in plan.of_state("run"):
            click.echo(f"run: {task.label}")
    plan.require_runnable()
    return EXIT_OK


_STATES = {"run": "to run", "cached": "cached", "failed": "failed before", "skipped": "skipped"}


def measure_files(
    files: tuple[Path, ...],
    *,
    threads: int,
    no_xnnpack: bool,
    data: Path | None,
    timeout: float,
    preset: str | None,
    as_json: bool,
) -> int:
    """Measure, with one line of progress on a terminal."""
    from bench.cli.measure_table import render
    from bench.core.cells import Protocol
    from bench.workflows import measure_files as measure

    def tell(text: str, done: int, of: int) -> None:
        if sys.stderr.isatty():
            line = "" if done == of else f"[{done + 1}/{of}] {text}"
            click.echo(f"\r\033[K{line}", nl=False, err=True)

    result = measure.measure_files(
        files,
        threads=threads,
        xnnpack=not no_xnnpack,
        data=data,
        protocol=Protocol.preset(preset) if preset else measure.PROTOCOL,
        progress=tell,
        timeout=timeout,
    )
    click.echo(json.dumps(result.to_json(), indent=1) if as_json else render(result))
    return EXIT_FAILED if result.failed else EXIT_OK


def write_reports(
    results: Path,
    name: str | None,
    out: Path | None,
    *,
    pictures: str | None = None,
    formats: tuple[str, ...] | None = None,
) -> int:
    """Write and print the reports of one sweep, or of all that were run."""
    from bench.report.write import Choice

    choice = Choice(None if pictures is None else pictures == "all", formats)
    for number, sweep in enumerate(_sweeps(results, name)):
        if number:
            click.echo()
        folder = out if name is not None or out is None else out / sweep
        _print_report(results, sweep, folder, choice=choice)
    return EXIT_OK


def watch_report(
    results: Path,
    name: str | None,
    out: Path | None,
    *,
    pictures: str | None,
    formats: tuple[str, ...] | None,
) -> int:
    """Keep one report fresh until its sweep is over or Ctrl-C."""
    from bench.report.watch import Watch, be_nice
    from bench.report.write import Choice

    if name is None:
        (name, *others) = _sweeps(results, None)
        if others:
            raise ConfigError("--watch takes one sweep", mend=f"There are: {', '.join([name, *others])}.")
    be_nice()
    choice = Choice(None if pictures is None else pictures == "all", formats)
    watch = Watch(results, name, out, choice=choice, tell=lambda text: click.echo(text, err=True))
    click.echo(f"watching {name} in {results}; Ctrl-C ends it", err=True)
    try:
        watch.run()
    except KeyboardInterrupt:
        click.echo("bench: no longer watching", err=True)
        return EXIT_INTERRUPTED
    _sweeps(results, name)  # nothing was ever run
    return EXIT_OK


def _print_report(
    results: Path,
    sweep: str,
    out: Path | None,
    *,
    only_if_changed: bool = False,
    choice: Choice | None = None,
) -> None:
    """The comparison on stdout, the report in its folder.

    Args:
        only_if_changed: leave a report alone whose numbers are those of the records: drawing its
            pictures takes longer than everything else where nothing was left to do.
    """
    from bench import report
    from bench.report.write import Choice
    from bench.report.written import same_numbers

    frame = report.frame(results, sweep)
    folder = out or results / "reports" / sweep
    page = folder / "report.html"
    if not (only_if_changed and page.exists() and same_numbers(frame, folder / "report.csv")):
        page = report.write_report(results, sweep, folder, choice=choice or Choice())["report.html"]
    click.echo(report.comparison_table(frame, width=shutil.get_terminal_size((100, 24)).columns))
    click.echo(
        f"\nReport: {page} (tables: {page.with_suffix('.md')}, every number: {page.with_suffix('.csv')})"
    )


def _sweeps(results: Path, name: str | None) -> list[str]:
    """Sweeps that were run into a results folder: the one named, or all."""
    known = Store(results).sweeps()
    if name is not None and name not in known:
        raise ConfigError(f"sweep {name!r} was not run into {results}", mend=did_you_mean(name, known))
    if not known:
        raise ConfigError(f"no sweep was run into {results}", mend="Run one: bench run digits")
    return known if name is None else [name]


def compare_runs(results: Path, old: str, new: str, *, fail_if: tuple[str, ...], as_json: bool) -> int:
    """What changed; then one line for each limit, and exit code 1 where one is exceeded."""
    from bench import report
    from bench.report.comparing import gates

    limits = [gates.parse(text) for text in fail_if]
    found = report.compare(_frame(results, old), _frame(results, new))
    outcomes = gates.judge(limits, found)
    if as_json:
        click.echo(gates.to_json(found, outcomes))
    else:
        click.echo(str(found))
        for outcome in outcomes:
            click.echo(f"\n{outcome}")
    return EXIT_OK if all(outcome.passed for outcome in outcomes) else EXIT_FAILED


def _frame(results: Path, run: str) -> Any:
    """The tidy frame of a sweep's name, a report.csv, or a results folder (`folder` or `folder:sweep`)."""
    from bench import report

    folder, colon, sweep = run.rpartition(":")
    path = Path(folder if colon else run)
    if path.is_dir():
        return report.frame(path, sweep if colon else None)
    if path.is_file():
        return report.read_pytest_benchmark(path) if path.suffix == ".json" else report.read_csv(path)
    return report.frame(results, _sweeps(results, run)[0])


def export_sweep(
    results: Path, sweep: str, format_: str, output: Path | None, tracking_uri: str | None = None
) -> int:
    """Write a file of the format, or the runs to MLflow; say what was written."""
    from bench.report.export import files as export

    (name,) = _sweeps(results, sweep)
    if format_ == "mlflow":
        from bench.report.export.mlflow import export as to_mlflow

        click.echo(str(to_mlflow(results, name, tracking_uri)))
        return EXIT_OK
    write = {
        "csv": export.csv,
        "parquet": export.parquet,
        "pytest-benchmark": export.pytest_benchmark_json,
    }[format_]
    assert output is not None
    if not output.parent.is_dir():
        raise BenchError("no such folder", where=str(output.parent))
    write(results, name, output)
    click.echo(f"{output}", err=not output.is_file())  # a pipe holds the numbers alone
    return EXIT_OK
