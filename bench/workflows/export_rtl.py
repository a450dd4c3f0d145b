"""`bench fpga export`: one cell's Verilog as a folder for other tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bench.errors import BenchError
from bench.run.plan import make_plan
from bench.run.run import run_sweep
from bench.store.store import Store
from bench.workflows.vendor_build import make_sweep

TARGET = "rtl"


def export(
    cell: str,
    options: Mapping[str, Any],
    results: Path,
    out: Path,
    *,
    board: str,
    clock_mhz: float,
    vectors: int,
    seed: int,
) -> int:
    """Make what is missing of the cell, write the folder, and run its test bench; returns the exit code.

    Args:
        cell: `model/variant`. options: of target `rtl`.
        vectors: inputs of the test bench that is written.

    Raises:
        BenchError: there is no such design, something is there already, or its test bench does not pass.
    """
    from targets.fpga.rtl import export as writing
    from targets.fpga.rtl import simulators
    from targets.fpga.rtl.axi_stream import run_bench

    given = {**options, "board": board, "clock_mhz": clock_mhz, "synthesize": False}
    sweep = make_sweep(cell, given, seed=seed, target=TARGET, suffix="-rtl")
    store = Store(results)
    summary = run_sweep(sweep, store)
    if summary.exit_code:
        return summary.exit_code
    (planned,) = make_plan(sweep, store).cells
    records = [store.read("build", key) for key in planned.build_keys]
    undone = next((record for record in records if record is None or record.status != "ok"), None)
    if undone is not None or None in records or not records:
        raise BenchError(f"there is no design: {undone.reason if undone else planned.skipped}")
    assert records[-1] is not None
    artifact = store.artifact(records[-1].build.artifact or "")
    if artifact is None:
        raise BenchError("the design is gone", where=str(store.root), mend="Run the command again.")
    wanted = writing.Export(planned.cell.label, board, clock_mhz, vectors)
    n = writing.export(artifact, _stream(artifact), out, wanted)
    click.echo(f"{out}: {planned.cell.label}, {n} test inputs; see {out / writing.README}")
    there = simulators.available()
    if there:
        click.echo(f"  {run_bench(there[0], out / 'verilog')} ({there[0].name} {there[0].version})")
    else:
        click.echo(f"  its test bench was not run: {simulators.NEEDED}")
    return 0


def _stream(artifact: Path) -> Any:
    """What goes in and out of an artifact of format `rtl`."""
    import json

    from bench.formats.keras import load_float
    from targets.fpga.fixed import FixedPoint
    from targets.fpga.rtl.axi_stream import Stream
    from targets.fpga.rtl.network import design

    network = design(load_float(artifact), FixedPoint.load(artifact))
    together = json.loads((artifact / "rtl.json").read_text())["style"] == "parallel"
    return Stream(network.input, network.inputs, network.output, network.outputs, together)
