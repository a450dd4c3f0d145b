"""`bench import-build`: takes in what vendor tools made elsewhere, after the checks that a build here gets.

Ours (with `manifest.json`): the hashes must be those of the manifest, and the project that of this results
folder. Foreign: nothing links it to a network but the word of whoever gives `--cell`; it is marked so.

With a cell (that of the manifest, or `--cell`) the result is a `build` record under the key that `bench
build` of this cell with these options has on this machine, so that sweeps and reports find it; the key
names the versions of the tools that are installed here (none: none). Without one, the files and what was
found of them go to `<results>/imports/<name>/`, with `import.json`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bench.core.records import Record
from bench.core.registry import MODELS, STEPS
from bench.core.step import Artifact, Check, StepContext
from bench.errors import ArtifactError, ConfigError
from bench.run.plan import make_plan
from bench.run.tasks import Plan
from bench.run.worker import now
from bench.steps.hardware.build_overlay import finish
from bench.store.store import Store
from bench.workflows import vendor_build as building
from targets.fpga.parameters import BuildOverlayParams
from targets.fpga.vendor import manifest, products
from targets.fpga.vendor.flow import Project, Stages
from targets.fpga.vendor.product_checks import checks
from targets.fpga.vendor.products import Products

OURS, FOREIGN = "ours", "foreign"


@dataclass(frozen=True)
class Given:
    """What the command line says.

    Attributes:
        cell: `model/variant` or None. options: of target `fpga`, for a cell that no manifest names.
        bit: which bitstream, where there are several.
    """

    cell: str | None
    options: Mapping[str, Any]
    seed: int
    bit: str | None


def import_build(folder: Path, results: Path, given: Given) -> int:
    """Take in a finished project; prints what was found; returns the exit code.

    Raises:
        ArtifactError: it is damaged, hostile, incomplete, of another part, or does not meet its timing.
        ConfigError: the cell is missing or another one.
    """
    if not folder.is_dir():
        raise ArtifactError("this is not a folder", where=str(folder))
    found = manifest.read(folder)
    if found is not None:
        _as_written(folder, found)
    store = Store(results)
    cell, options, seed = _cell(found, given, folder)
    if cell is None:
        return _alone(folder, store, given.bit)
    return _into_cell(folder, store, found, cell, options, seed, given.bit)


def _as_written(folder: Path, found: Mapping[str, Any]) -> None:
    if wrong := manifest.changed(folder, found):
        raise ArtifactError(
            f"not what its manifest says: {', '.join(wrong[:8])}"
            + (f" and {len(wrong) - 8} more" if len(wrong) > 8 else ""),
            where=str(folder),
            mend="Build the project as it was written, or write it again (bench build --write-only).",
        )


def _cell(
    found: Mapping[str, Any] | None, given: Given, folder: Path
) -> tuple[str | None, Mapping[str, Any], int]:
    """Cell, options and seed that the result belongs to."""
    if found is None or found["kind"] != "project":
        return given.cell, given.options, given.seed
    try:
        cell = found["cell"]
        name, options, seed = f"{cell['model']}/{cell['variant']}", dict(cell["options"]), int(cell["seed"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError("the manifest names no cell", where=str(folder / manifest.FILE)) from error
    if given.cell is not None and given.cell != name:
        raise ConfigError(f"the project is of cell {name}, not of {given.cell}", where=str(folder))
    return name, options, seed


def _into_cell(
    folder: Path,
    store: Store,
    found: Mapping[str, Any] | None,
    cell: str,
    options: Mapping[str, Any],
    seed: int,
    bit: str | None,
) -> int:
    plan = make_plan(building.make_sweep(cell, options, seed=seed), store)
    if len(plan.cells) != 1:
        raise ConfigError("one build belongs to one cell: give one value for each option", where=cell)
    *_, before, key = plan.cells[0].build_keys
    hls = store.artifact(plan.tasks[before].digest or "0" * 64)
    if hls is None:
        raise ConfigError(
            "the HLS project of this cell is not in the results folder",
            where=str(store.root),
            mend=f"First: bench build {cell} --write-only (with the same options), with the same --results.",
        )
    if found is not None and found["links"].get("hls") != hls.name:
        raise ArtifactError(
            "it was built from another HLS project than the one of this cell in the results folder",
            where=str(folder),
            mend="Write the project again with bench build --write-only, or use the folder it came from.",
        )
    params = BuildOverlayParams(**plan.tasks[key].task["params"])
    settings = Project.read(hls / "project")
    ours = found is not None
    inside = _inside(folder, found)
    written = settings if ours and inside != folder else None
    made = products.gather(inside, written, bit=bit, foreign=True)
    looked_at = checks(made, params.stages(), part=settings.part, top=settings.top if ours else None)
    _all_well(looked_at, folder)
    out = store.temporary()
    try:
        parent = Artifact(hls, "hls", hls.name, {})
        context = StepContext(MODELS.get(plan.cells[0].cell.model), params, seed, parent, None, out)
        kind = OURS if ours else FOREIGN
        facts = {
            **products.facts(made, settings.part),
            **finish(
                context, made, versions(made), params.model_dump(mode="json"), imported=kind, proven=ours
            ),
            **{"imported": kind, "tools": versions(made), "stages": vars(params.stages()).copy()},
        }
        digest = store.add_artifact(out)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    _record(store, plan, key, before, hls.name, facts, looked_at, digest)
    again = make_plan(plan.sweep, store)
    store.write_manifest(again.manifest(now(), None))
    click.echo(building.table([building.row_of(store, again.cells[0])]))
    click.echo(f"Imported ({facts['imported']}).")
    return 0


def _record(
    store: Store,
    plan: Plan,
    key: str,
    parent: str,
    parent_digest: str,
    facts: dict[str, Any],
    looked_at: tuple[Check, ...],
    digest: str,
) -> None:
    result = {
        "artifact": digest,
        "format": STEPS.get("build_overlay").gives,
        "facts": facts,
        "checks": [vars(check).copy() for check in looked_at],
    }
    store.write(
        Record(
            "build",
            key,
            "ok",
            plan.tasks[key].task,
            result=result,
            inputs={parent: parent_digest},
            started=now(),
            environment={"imported": facts["imported"], "tools": facts["tools"]},
        )
    )


def _alone(folder: Path, store: Store, bit: str | None) -> int:
    """Without a cell: files and findings in a folder of their own."""
    made = products.gather(folder, bit=bit, foreign=True)
    if made.bit is None and made.hwh is None and not made.reports:
        raise ArtifactError(
            "neither a bitstream nor a report that is known here is in this folder", where=str(folder)
        )
    built = made.bit is not None or "handoff" in made.unread or made.hwh is not None
    routed = any(report.kind == "timing" and report.stage == "impl" for report in made.reports)
    wanted = ["reports readable"]
    wanted += ["bitstream", "hardware handoff"] if built else []
    wanted += ["timing met"] if built or routed else []
    part = made.header.part if made.header is not None else None
    everything = checks(made, Stages(bitstream=built or routed), part=part, top=None)
    looked_at = tuple(check for check in everything if check.name in wanted)
    _all_well(looked_at, folder)
    label = made.header.design if made.header is not None else made.reports[0].top or "reports"
    digest = products.digest_of(made.bit) if made.bit is not None else ""
    stem = products.stem_of("".join(char if char.isalnum() else "_" for char in label)[:60], digest)
    facts = {**products.facts(made, part), "imported": FOREIGN, "tools": versions(made), "stem": stem}
    place = store.root / "imports" / stem
    out = store.temporary()
    try:
        products.collect(made, out, stem)
        findings = {"facts": facts, "checks": [vars(check) for check in looked_at]}
        (out / "import.json").write_text(json.dumps(findings, indent=1, sort_keys=True) + "\n")
        manifest.write(out, "overlay", links={}, stem=stem, tools=versions(made), imported=FOREIGN)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            shutil.rmtree(place)
        out.rename(place)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    row = {"cell": stem, "status": "imported", "reason": "", "artifact": f"imports/{stem}", "facts": facts}
    click.echo(building.table([row]))
    return 0


def versions(made: Products) -> dict[str, Any]:
    """Tools as the files name them."""
    named = {report.tool: report.version for report in made.reports if report.tool}
    if made.header is not None and made.header.version:
        named["bitstream"] = made.header.version
    return named


def _inside(folder: Path, found: Mapping[str, Any] | None) -> Path:
    """Where the products are: beside the project's sources lie files of ours."""
    return folder / "project" if found is not None and found["kind"] == "project" else folder


def _all_well(looked_at: tuple[Check, ...], folder: Path) -> None:
    if broken := [check for check in looked_at if not check.passed]:
        raise ArtifactError(
            "it is not taken in: " + "; ".join(f"{check.name}: {check.detail}" for check in broken),
            where=str(folder),
        )
