"""`bench energy --into`: a meter's trace becomes the energy record of a cell, which reports read.

The trace is somebody's word: nothing links it to the cell but whoever names it. What can be seen to be wrong
is refused: a run that the trace does not cover, an idle window that is none, more inferences than the cell
itself could make.
"""

from __future__ import annotations

from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.records import Record, energy_key
from bench.errors import ArtifactError, ConfigError, did_you_mean
from bench.report.records.board import board_part
from bench.report.records.fpga import MEASURED, finite, origin_of, part_of
from bench.report.records.read import Cell, read_sweep
from bench.run.worker import now
from bench.store.store import Store

if TYPE_CHECKING:
    from targets.pynq.meters.energy import EnergyReport, WindowEnergy

#: samples of a run: fewer are a glance, not a measurement
FEWEST = 20
#: a run may be that many times as quick as the cell was by its own record: another batch, a quieter system
QUICKER = 2.0


def import_trace(
    results: Path, sweep: str, label: str, trace: Path, report: EnergyReport, *, replace: bool = False
) -> Record:
    """Write the energy record of a cell.

    Args:
        label: `model/variant/target/seed0`.
        report: of `trace`.

    Raises:
        ConfigError: no such cell, it did not run on hardware, or it has such a record already.
        ArtifactError: the trace cannot be of this cell, or bears no energy of an inference.
    """
    cell = _cell(results, sweep, label)
    assert cell.evaluate is not None
    check(report, cell)
    store = Store(results)
    key = energy_key(cell.evaluate.key)
    known = store.read("energy", key)
    if known is not None and known.inputs == cell.evaluate.inputs and not replace:
        raise ConfigError(
            f"{label} has an energy already, of {part_of(known.task, 'trace').get('file')}",
            where=str(results),
            mend="Give --replace to take this trace instead.",
        )
    with trace.open("rb") as stream:
        sha = file_digest(stream, "sha256").hexdigest()
    task = {
        "kind": "energy",
        "sweep": sweep,
        "model": cell.model,
        "seed": cell.seed,
        "target": cell.target,
        "cell": label,
        "evaluate": cell.evaluate.key,
        "trace": {"file": trace.name, "sha256": sha},
    }
    record = Record("energy", key, "ok", task, report.to_json(), dict(cell.evaluate.inputs), started=now())
    store.write(record)
    return record


def _cell(results: Path, sweep: str, label: str) -> Cell:
    cells = {f"{c.model}/{c.variant}/{c.target}/seed{c.seed}": c for c in read_sweep(results, sweep).cells}
    cell = cells.get(label)
    if cell is None:
        raise ConfigError(
            f"sweep {sweep} has no cell {label!r}", where="--cell", mend=did_you_mean(label, cells)
        )
    outcome = cell.evaluate_outcome
    if not outcome.ok:
        raise ConfigError(f"{label} has no result: {outcome.reason}", where="--cell", mend="Run it first.")
    if origin_of(cell) != MEASURED:
        raise ConfigError(
            f"{label} ran on no hardware: there was nothing that a meter could see",
            where="--cell",
            mend="Name a cell of a real board or of this machine.",
        )
    return cell


def check(report: EnergyReport, cell: Cell) -> None:
    """Whether a trace bears the energy of an inference of a cell.

    Raises:
        ArtifactError, ConfigError: it does not.
    """
    where = report.trace.file
    for word, named in (("rail", report.trace.rail), ("meter", report.trace.meter)):
        if not named:
            raise ConfigError(
                f"the {word} is not named: an energy is that of something",
                where=where,
                mend=f"Give --{word}.",
            )
    runs = [window for window in report.windows if window.inferences]
    if not runs:
        raise ArtifactError(
            "no window of it has inferences", where=where, mend="Give --inferences N, and --windows FILE."
        )
    for run in runs:
        _run(run, cell, where)
    idle = report.idle
    if idle is None:
        return
    if not idle.whole:
        raise ArtifactError("samples of the idle window are missing", where=where, mend="Name another one.")
    if any(idle.start < run.end and run.start < idle.end for run in runs):
        raise ArtifactError(
            f"the idle window, {idle.start:g} to {idle.end:g} s, lies in a run",
            where=where,
            mend="Name a time in which the board did nothing.",
        )
    if (net := report.median("net_j_per_inference")) is not None and net <= 0:
        raise ArtifactError(
            f"idle takes {idle.power_w:g} W, as much as the runs or more: one of them is something else",
            where=where,
            mend="See that the windows are those of this trace.",
        )


def _run(run: WindowEnergy, cell: Cell, where: str) -> None:
    if not run.whole:
        raise ArtifactError(
            f"window {run.name}: {run.seconds - run.covered_s:g} s of {run.seconds:g} s have no samples",
            where=where,
            mend="Measure again, or name windows that the trace covers.",
        )
    if run.samples < FEWEST:
        raise ArtifactError(
            f"window {run.name} has {run.samples} samples, {FEWEST} are needed",
            where=where,
            mend="Let it run longer, or use a quicker meter.",
        )
    if run.energy_j <= 0:
        raise ArtifactError(
            f"window {run.name} took {run.energy_j:g} J: the current is measured the wrong way round",
            where=where,
            mend="See how the meter is connected.",
        )
    told, made = board_part(cell), run.inferences or 1
    sustained = finite(part_of(told, "fit").get("b_s"))
    if sustained is None:
        sustained = finite(part_of(part_of(told, "phases"), "end_to_end").get("p50"))
    each = run.seconds / made
    if sustained is not None and each * QUICKER < sustained:
        raise ArtifactError(
            f"window {run.name}: {made:,} inferences in {run.seconds:g} s are {each * 1e6:.3g} µs "
            f"each, the cell takes {sustained * 1e6:.3g} µs",
            where=where,
            mend="See that --inferences and the windows are of this cell's run.",
        )
