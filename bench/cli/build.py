"""`bench build` and `bench import-build`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bench.cli.options import Seconds


class _Listed(click.ParamType):  # type: ignore[type-arg]
    """One value or several, separated by commas: a grid."""

    def __init__(self, convert: Callable[[str], Any], name: str) -> None:
        self.convert_one, self.name = convert, name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            found = [self.convert_one(item.strip()) for item in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r}: write one value, or several like 1,4,16", param, ctx)
        return found[0] if len(found) == 1 else found


INTEGERS, NUMBERS, WORDS = _Listed(int, "N[,N]"), _Listed(float, "X[,X]"), _Listed(str, "NAME[,NAME]")


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What decides how a design is written and built: the same for building and taking in."""
    for option in reversed(
        (
            click.option(
                "--tool", type=click.Choice(["vivado", "vitis"]), help="Which vendor tool builds it."
            ),
            click.option(
                "--backend",
                type=click.Choice(["VivadoAccelerator", "Vivado", "Vitis", "VitisUnified"]),
                help="hls4ml's backend [default: VivadoAccelerator for vivado, Vitis for vitis].",
            ),
            click.option("--board", type=WORDS, help="pynq-z2, zcu102, kv260, ..."),
            click.option("--part", type=WORDS, help="Full part name, instead of the board's."),
            click.option("--clock", "clock_ns", type=NUMBERS, help="Clock period in ns."),
            click.option("--reuse", "reuse_factor", type=INTEGERS, help="Reuse factor."),
            click.option("--strategy", type=WORDS, help="latency or resource."),
            click.option("--io", "io_type", type=WORDS, help="auto, io_parallel or io_stream."),
            click.option("--no-bitstream", is_flag=True, help="Stop after the IP core."),
            click.option("--csim", is_flag=True, help="Simulate the C++ too."),
            click.option("--cosim", is_flag=True, help="Simulate the RTL too."),
            click.option("--vsynth", is_flag=True, help="Synthesize the RTL alone too, for its resources."),
            click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
        )
    ):
        command = option(command)
    return command


def _target(options: dict[str, Any]) -> dict[str, Any]:
    """Options of target `fpga`; what is not given is not in it."""
    from bench.workflows.vendor_build import backend_of

    names = ("board", "part", "clock_ns", "reuse_factor", "strategy", "io_type")
    found = {"backend": backend_of(options["tool"], options["backend"])}
    found |= {name: options[name] for name in names if options[name] is not None}
    flags = {name: True for name in ("csim", "cosim", "vsynth") if options[name]}
    return found | flags | ({"bitstream": False} if options["no_bitstream"] else {})


@click.command()
@click.argument("cell")
@_options
@click.option("--write-only", is_flag=True, help="Write a project to build elsewhere; needs no vendor tool.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for --write-only."
)
@click.option("--time-limit", type=Seconds(), metavar="SECONDS", help="For all tools together.")
@click.option(
    "--memory-limit", type=click.FloatRange(min=0), metavar="GB", help="For all processes together."
)
@click.option("--force-build", is_flag=True, help="Build what is estimated not to fit.")
@click.option("--retry-failed", is_flag=True, help="Do again what is on record as failed.")
@click.option("--force", is_flag=True, help="Do everything again, whatever is on record.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Builds at a time.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def build(obj: dict[str, Any], /, cell: str, jobs: int, as_json: bool, **options: Any) -> int:
    """Build CELL (model/variant) for an FPGA with Vivado or Vitis.

    Lists like --reuse 1,4,16 build every combination. What is on record is not built again.
    """
    from bench.errors import ConfigError
    from bench.workflows import vendor_build as building

    target = _target(options)
    if options["write_only"]:
        if options["out"] is None:
            raise ConfigError("--write-only needs a folder", mend="Name a new one with --out.")
        return building.write_only(
            cell, target, obj["results"], options["out"], seed=options["seed"], jobs=jobs
        )
    if options["out"] is not None:
        raise ConfigError("--out is for --write-only", mend="A build goes to the results folder (--results).")
    limits = {"time_limit_s": options["time_limit"], "memory_limit_gb": options["memory_limit"]}
    force_build = {"force": True} if options["force_build"] else {}
    sweep = building.make_sweep(cell, target | limits | force_build, seed=options["seed"])
    return building.build(
        sweep,
        obj["results"],
        retry_failed=options["retry_failed"],
        force=options["force"],
        jobs=jobs,
        as_json=as_json,
    )


@click.command(name="import-build")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--cell", metavar="MODEL/VARIANT", help="What it is a build of; a project of ours knows it.")
@click.option("--bit", metavar="FILE", help="The bitstream that is meant, a place inside FOLDER.")
@_options
@click.pass_obj
def import_build(
    obj: dict[str, Any], /, folder: Path, cell: str | None, bit: str | None, **options: Any
) -> int:
    """Take in a finished vendor project: one written by `bench build --write-only`, or anyone's."""
    from bench.workflows.import_build import Given
    from bench.workflows.import_build import import_build as take_in

    named = options["tool"] is not None or options["backend"] is not None
    target = _target(options if named else options | {"tool": "vivado"})
    return take_in(folder, obj["results"], Given(cell, target, options["seed"], bit))
