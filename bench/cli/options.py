"""Options of the commands that take a sweep."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bench.core.cells import Sweep

#: as in sweep files; four months
MOST_SECONDS = 1e7


class Seconds(click.FloatRange):
    """A time limit. `nan` passes the comparisons of a range, and no clock comes up to it."""

    name = "number of seconds"

    def __init__(self) -> None:
        super().__init__(min=1, max=MOST_SECONDS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value} is no number of seconds", param, ctx)
        return seconds


def _seeds(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """`0,2,5-7`"""
    if value is None:
        return None
    found: list[int] = []
    for part in value.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (not dash or last.isdecimal())) or len(first + last) > 20:
            raise click.BadParameter("write seeds like 0,1,2 or 0-4")
        found += range(int(first), min(int(last or first), int(first) + 1000) + 1)
    return tuple(found)


def narrowing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The sweep, and options that change it."""
    for option in reversed(
        (
            click.argument("sweep"),
            click.option("--quick", is_flag=True, help="Smoke run: 2 epochs, first seed, short measurement."),
            click.option(
                "--only",
                multiple=True,
                metavar="PATTERN",
                help="Only these cells: model/variant/target/seed0, or any part of it; * and ? are wild.",
            ),
            click.option(
                "--seeds", callback=_seeds, metavar="LIST", help="Instead of the sweep's: 0,1,2 or 0-4."
            ),
            click.option(
                "--protocol", metavar="NAME", help="How latency is measured: full, quick, mlperf, off."
            ),
            click.option(
                "--timeout",
                type=Seconds(),
                metavar="SECONDS",
                help="Limit for each single task.",
            ),
        )
    ):
        command = option(command)
    return command


def retry_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--retry-failed", is_flag=True, help="Do again what is on record as failed.")(command)


def sweep_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """All of them: the same for `run` and `plan`."""
    force = click.option("--force", is_flag=True, help="Do everything again, whatever is on record.")
    return narrowing(retry_option(force(command)))


def load(options: dict[str, Any]) -> Sweep:
    """The sweep that the options of `narrowing` name. Raises ConfigError."""
    from bench.sweep import load_sweep

    names = ("only", "quick", "seeds", "protocol", "timeout")
    return load_sweep(options["sweep"], **{name: options[name] for name in names})
