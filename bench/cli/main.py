"""The command line. Commands import what they need when they run, so that `bench --help` is quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.cli.board import board
from bench.cli.build import build, import_build
from bench.cli.energy import energy
from bench.cli.exit_codes import EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_OK
from bench.cli.fpga import fpga
from bench.cli.options import Seconds, load, sweep_options

EPILOG = """Exit codes: 0 all is well, 1 some cells (or limits) failed, 2 wrong input or nothing to run,
130 interrupted (what was finished is kept; the same command goes on where it was)."""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="BENCH_RESULTS",
    default="results",
    show_default=True,
    show_envvar=True,
    help="Folder of records, artifacts and reports.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
@click.version_option(package_name="edge-bench", prog_name="bench")
@click.pass_context
def cli(ctx: click.Context, results: Path, verbose: bool, debug: bool) -> None:
    """Size, accuracy and latency of every compressed variant of a network, in one table."""
    ctx.obj = {"results": results, "verbose": verbose}


def _formats(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """`svg,pdf`"""
    if value is None:
        return None
    found = tuple(part.strip().lower() for part in value.split(","))
    if not set(found) <= {"svg", "pdf", "png"}:
        raise click.BadParameter("write some of svg,pdf,png")
    return found


@cli.command()
@sweep_options
@click.option("--jobs", type=click.IntRange(min=1), help="Builds and evaluations at a time [default: cores].")
@click.option("--fail-fast", is_flag=True, help="Start nothing more after the first failure.")
@click.pass_obj
def run(obj: dict[str, Any], /, jobs: int | None, fail_fast: bool, **options: Any) -> int:
    """Run a sweep: one that ships (see `bench ls sweeps`) or a YAML file.

    What is on record is not done again. An interrupted run goes on where it was.
    """
    sweep = load(options)
    from bench.cli.commands import run_and_report

    return run_and_report(
        sweep,
        obj["results"],
        jobs=jobs,
        fail_fast=fail_fast,
        retry_failed=options["retry_failed"],
        force=options["force"],
    )


@cli.command()
@sweep_options
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def plan(obj: dict[str, Any], /, as_json: bool, **options: Any) -> int:
    """Show what `bench run` would do: what is cached, what runs, what is skipped and why."""
    sweep = load(options)
    from bench.cli.commands import show_plan

    return show_plan(
        sweep,
        obj["results"],
        retry_failed=options["retry_failed"],
        force=options["force"],
        as_json=as_json,
        verbose=obj["verbose"],
    )


@cli.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--no-xnnpack", is_flag=True, help="Without the XNNPACK delegate.")
@click.option(
    "--data", type=click.Path(path_type=Path), metavar="FILE.npz", help="Arrays x and y, for accuracy."
)
@click.option(
    "--timeout",
    type=Seconds(),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="Limit for each file of a round: what hangs is ended.",
)
@click.option("--quick", "preset", flag_value="quick", help="Fewer rounds, wider intervals.")
@click.option("--full", "preset", flag_value="full", help="Longer rounds, narrower intervals.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def measure(files: tuple[Path, ...], as_json: bool, **options: Any) -> int:
    """Compare .tflite files you have: latency with intervals, size, accuracy. The first is the baseline."""
    from bench.cli.commands import measure_files

    return measure_files(files, as_json=as_json, **options)


@cli.command()
@click.argument("sweep", required=False)
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.")
@click.option(
    "--pictures",
    type=click.Choice(["main", "all"]),
    help="Accuracy against size, latency and cost only, or all [default: all, unless very many].",
)
@click.option(
    "--formats",
    callback=_formats,
    metavar="LIST",
    help="Files of the pictures: svg,pdf,png [default: all three of few pictures, else svg].",
)
@click.option("--watch", is_flag=True, help="Keep the report fresh while its sweep runs; Ctrl-C ends it.")
@click.pass_obj
def report(obj: dict[str, Any], /, sweep: str | None, out: Path | None, watch: bool, **options: Any) -> int:
    """Write the tables and pictures of a sweep from its records, and print the comparison.

    Without SWEEP: of every sweep in the results folder.
    """
    if watch:
        from bench.cli.commands import watch_report

        return watch_report(obj["results"], sweep, out, **options)
    from bench.cli.commands import write_reports

    return write_reports(obj["results"], sweep, out, **options)


@cli.command()
@click.argument("old")
@click.argument("new")
@click.option(
    "--fail-if",
    multiple=True,
    metavar="LIMIT",
    help="Exit with 1 where a number got worse by so much, beyond the noise: 'accuracy drops 1pt', "
    "'latency +10%'. Several may be given.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def compare(obj: dict[str, Any], /, old: str, new: str, **options: Any) -> int:
    """Compare two runs: sweeps of the results folder, report.csv files, other results folders, or files of
    pytest-benchmark (.json).

    FOLDER:SWEEP names one of several sweeps in a folder.
    """
    from bench.cli.commands import compare_runs

    return compare_runs(obj["results"], old, new, **options)


@cli.command(name="ls")
@click.argument("what", default="sweeps")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def ls(obj: dict[str, Any], /, what: str, as_json: bool) -> int:
    """List sweeps, models, datasets, variants, steps, targets, runs, records or artifacts."""
    from bench.cli.ls import show

    show(what, obj["results"], as_json=as_json)
    return EXIT_OK


@cli.command()
@click.argument("sweep")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "parquet", "pytest-benchmark", "mlflow"]),
    default="csv",
    show_default=True,
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write.")
@click.option(
    "--tracking-uri",
    metavar="URI",
    help="Of MLflow.  [default: MLFLOW_TRACKING_URI, else mlflow/mlflow.db in the results folder]",
)
@click.pass_obj
def export(
    obj: dict[str, Any], /, sweep: str, format_: str, output: Path | None, tracking_uri: str | None
) -> int:
    """Write the tidy frame of a run sweep as CSV or Parquet, its latencies for pytest-benchmark, or a run for
    each cell to MLflow."""
    from bench.cli.commands import export_sweep

    if format_ == "mlflow" and output is not None:
        raise click.UsageError("MLflow takes no --output, but --tracking-uri.")
    if format_ != "mlflow" and output is None:
        raise click.UsageError("Missing option '-o' / '--output'.")
    if format_ != "mlflow" and tracking_uri is not None:
        raise click.UsageError("--tracking-uri is for --format mlflow.")
    return export_sweep(obj["results"], sweep, format_, output, tracking_uri)


@cli.command()
@click.option("--imports", is_flag=True, help="Also import each package, to find broken ones (slow).")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(imports: bool, as_json: bool) -> int:
    """Say what is installed, what each missing piece would enable, and what disturbs measurements here."""
    from bench.cli.doctor import show

    show(imports=imports, as_json=as_json)
    return EXIT_OK


cli.add_command(fpga)
cli.add_command(build)
cli.add_command(import_build)
cli.add_command(energy)
cli.add_command(board)


def global_first(arguments: Sequence[str]) -> list[str]:
    """Options of the program are understood after the command too: `bench run digits --debug`."""
    first: list[str] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for item in waiting:
        if item == "--":
            rest += [item, *waiting]
        elif item in ("-v", "--verbose", "--debug") or item.startswith("--results="):
            first.append(item)
        elif item == "--results":
            first += [item, *(value for value in [next(waiting, None)] if value is not None)]
        else:
            rest.append(item)
    return first + rest


def run_cli(arguments: Sequence[str]) -> int:
    """The whole program but for the exit; returns the exit code.

    Errors that are the user's to mend are a message on stderr; others too, unless --debug.
    """
    debug = "--debug" in arguments
    try:
        result = cli.main(global_first(arguments), prog_name="bench", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else EXIT_OK
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_BAD_INPUT
    except (KeyboardInterrupt, click.Abort):
        click.echo("bench: interrupted; what was finished is kept", err=True)
        return EXIT_INTERRUPTED
    except (BrokenPipeError, SystemExit):  # `bench ls | head`; click makes of it the latter
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception as error:
        if debug:
            raise
        return _tell(error)


def _tell(error: Exception) -> int:
    from bench.errors import BenchError

    if isinstance(error, BenchError):
        click.echo(f"bench: {error}", err=True)
        return error.exit_code
    if isinstance(error, OSError) and error.filename is not None:
        click.echo(f"bench: {error.filename}: {error.strerror}", err=True)
        return EXIT_BAD_INPUT
    click.echo(f"bench: unexpected {type(error).__name__}: {error}", err=True)
    click.echo("  This is a fault of the program; `bench --debug ...` shows where.", err=True)
    return EXIT_BAD_INPUT
