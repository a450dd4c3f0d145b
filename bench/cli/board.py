"""`bench board`: boards, jobs to them, results from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from bench.cli.options import Seconds, load, narrowing, retry_option


@click.group()
def board() -> None:
    """PYNQ boards: the inventory, jobs to a board, results from it."""


@board.command()
@click.argument("name")
@click.option("--host", metavar="USER@HOST[:PORT]", help="Or a host of ~/.ssh/config.")
@click.option("--offline", is_flag=True, help="It has no network: jobs are carried there (bench board pack).")
@click.option("--board", "kind", required=True, metavar="KIND", help="pynq-z2, zcu104, kv260, ...")
@click.option("--part", help="Part of its FPGA.")
@click.option("--python", default="python3", show_default=True, help="Python there.")
@click.option("--folder", default="edge-bench", show_default=True, help="Where jobs go there.")
@click.option("--ssh-option", "ssh_options", multiple=True, metavar="NAME=VALUE", help="As of ssh -o.")
@click.option(
    "--loopback",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE.bit",
    help="An overlay with a FIFO in place of the kernel, timed as a baseline.",
)
@click.option("--no-sudo", is_flag=True, help="The agent needs no root there.")
@click.option("--emulated", is_flag=True, help="No hardware: an emulated one, there or here.")
@click.option("--replace", is_flag=True, help="Replace a board of that name.")
def add(
    name: str,
    host: str | None,
    offline: bool,
    kind: str,
    loopback: Path | None,
    no_sudo: bool,
    emulated: bool,
    replace: bool,
    **more: Any,
) -> int:
    """Add a board to the inventory. `bench board check` then says what it lacks."""
    from targets.pynq.inventory import Board
    from targets.pynq.inventory import add as put

    if (host is not None) + offline + (emulated and host is None) != 1:
        raise click.UsageError("say where it is: --host USER@HOST, --offline, or --emulated for this machine")
    more["loopback"] = str(loopback.resolve()) if loopback is not None else None
    board = Board(name, host, kind, sudo=not no_sudo, emulated=emulated, **more)
    board.loopback_files()
    put(board, replace=replace)
    click.echo(f"added {name}; next: bench board {'pack SWEEP' if offline else f'check {name}'}")
    return 0


@board.command(name="ls")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def ls(as_json: bool) -> int:
    """List the boards. `emulated` is always there."""
    from dataclasses import asdict

    from bench.cli.board_tables import columns
    from targets.pynq.inventory import load

    boards = load().values()
    if as_json:
        click.echo(json.dumps([asdict(item) for item in boards], indent=1))
        return 0
    rows = [["name", "board", "host", "part", ""]]
    rows += [
        [item.name, item.board, item.host or "", item.part or "", "emulated" if item.emulated else ""]
        for item in boards
    ]
    click.echo(columns(rows))
    return 0


@board.command()
@click.argument("name")
def rm(name: str) -> int:
    """Take a board out of the inventory. Nothing is done on the board."""
    from targets.pynq.inventory import remove

    remove(name)
    click.echo(f"removed {name}")
    return 0


@board.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def check(name: str, as_json: bool) -> int:
    """Look whether a board can be used: reachable, Python, pynq, root, clock, sensors, TFLite, space."""
    from dataclasses import asdict

    from bench.cli.board_tables import check_lines
    from targets.pynq.checks import check_board
    from targets.pynq.inventory import get

    found = check_board(get(name))
    if as_json:
        click.echo(json.dumps([asdict(item) for item in found], indent=1))
    else:
        click.echo(check_lines(found))
    return 0 if all(item.passed is not False for item in found) else 1


@board.command()
@click.argument("name")
@click.argument("job", type=click.Path(path_type=Path, dir_okay=False))
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Result.")
@click.option(
    "--timeout",
    type=Seconds(),
    default=6 * 3600.0,
    show_default=True,
    metavar="SECONDS",
    help="After it the job is ended; what was finished is fetched.",
)
@click.option("--keep", is_flag=True, help="Leave the job's folder on the board.")
def run(name: str, job: Path, out: Path, timeout: float, keep: bool) -> int:
    """Run JOB (job.tar.gz) on a board and fetch its result.

    The job goes on when the connection is lost; the same command takes it up again. The emulated board
    runs the simulators that the job holds on this machine: give it your own jobs only.
    """
    from bench.cli.board_tables import summary
    from bench.errors import ConfigError
    from targets.pynq.exchange.jobs import read_job
    from targets.pynq.inventory import get
    from targets.pynq.transport import Remote

    if not out.parent.is_dir():
        raise ConfigError("there is no such folder", where=str(out.parent), mend="Make it, or name another.")
    remote = Remote(get(name), say=lambda line: click.echo(line, err=True))
    done = remote.run(read_job(job), out, seconds=timeout, keep=keep)
    click.echo(summary(done.result))
    if done.result.missing:
        click.echo(
            f"bench: interrupted; {len(done.result.missing)} items are missing; run it again", err=True
        )
    well = all(item.status == "ok" for item in done.result.file.items.values())
    return 0 if well and not done.result.missing else 1


@board.command()
@narrowing
@retry_option
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="job.tar.gz"
)
@click.option("--board", help="Which one, where the sweep has several.")
@click.option("--preset", help="Which one, where the sweep has several.")
@click.option("--jobs", type=click.IntRange(min=1), help="Builds at a time [default: cores].")
@click.pass_obj
def pack(
    obj: dict[str, Any], /, out: Path, board: str | None, preset: str | None, jobs: int | None, **options: Any
) -> int:
    """Write what SWEEP measures on a board as one job, for a board without a network.

    Builds what is not built yet. `agent.pyz` is put beside the job; carry both to the board.
    """
    from bench.cli.board_tables import packed_lines
    from bench.store.store import Store
    from bench.workflows.offline_boards import Choice
    from bench.workflows.offline_boards import pack as write

    sweep, store = load(options), Store(obj["results"])
    done = write(sweep, store, out, Choice(board, preset), jobs=jobs, retry=options["retry_failed"])
    click.echo(packed_lines(done))
    return 1 if done.left else 0


@board.command(name="import")
@click.argument("result", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--job",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Only check it, as the result of this job.tar.gz.",
)
@click.option("--dry-run", is_flag=True, help="Only check it in itself and show it.")
@click.option("--force", is_flag=True, help="Replace good records that are there.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def import_(
    obj: dict[str, Any], /, result: Path, job: Path | None, dry_run: bool, force: bool, as_json: bool
) -> int:
    """Take in the result of a packed job: records as if `bench run` had reached the board itself."""
    from bench.cli.board_tables import as_values, imported_line, summary
    from bench.store.store import Store
    from bench.workflows.offline_boards import take_in
    from targets.pynq.exchange.jobs import read_job
    from targets.pynq.exchange.results import read_result

    taken = None
    if dry_run or job is not None:
        found = read_result(result, read_job(job) if job is not None else None)
    else:
        taken = take_in(result, Store(obj["results"]), force=force)
        found = taken.result
    click.echo(json.dumps(as_values(found), indent=1) if as_json else summary(found))
    if taken is not None:
        click.echo(imported_line(taken), err=as_json)
    return 0 if all(item.status == "ok" for item in found.file.items.values()) and not found.missing else 1
