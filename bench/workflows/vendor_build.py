"""`bench build`: one cell (or a grid of it) through the vendor's tools, as a small sweep of its own.

What is on record is not built again, an interrupted build goes on where it was, and `bench report` finds
the result: all of it is the usual engine.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bench.core.cells import Sweep
from bench.errors import BenchError, ConfigError, Unavailable
from bench.run.plan import make_plan
from bench.run.run import run_sweep
from bench.run.tasks import CellPlan
from bench.store.store import Store
from bench.sweep.loader import parse_sweep
from targets.fpga.vendor import flow, manifest, precheck
from targets.fpga.vendor.tools import no_backend

#: backend that is meant where only the tool is named, and those that a tool builds
BACKENDS = {"vivado": ("VivadoAccelerator", "Vivado"), "vitis": ("Vitis", "VitisUnified")}
TARGET, WRITTEN = "fpga", "fpga_project"


def backend_of(tool: str | None, backend: str | None) -> str:
    """Raises ConfigError: neither is given, or they do not go together."""
    if tool is None and backend is None:
        raise ConfigError("which tool?", mend="Give --tool vivado or --tool vitis.")
    if backend is None:
        return BACKENDS[tool or ""][0]
    if tool is not None and backend not in BACKENDS[tool]:
        raise ConfigError(
            f"backend {backend} is not built with --tool {tool}",
            mend=f"It builds {', '.join(BACKENDS[tool])}.",
        )
    return backend


def make_sweep(
    cell: str, options: Mapping[str, Any], *, seed: int = 0, target: str = TARGET, suffix: str = ""
) -> Sweep:
    """The sweep of one cell, in all combinations of listed options.

    Args:
        cell: `model/variant`.
        options: of the target; those that are None are left out.

    Raises:
        ConfigError: no such cell, or options that do not go together.
        Unavailable: the installed hls4ml lacks the backend.
    """
    model, slash, variant = cell.partition("/")
    if not (model and slash and variant) or "/" in variant:
        raise ConfigError(f"not a cell: {cell!r}", mend="Write model/variant, for example digits_mlp/qat.")
    if reason := no_backend(str(options.get("backend"))):
        raise Unavailable(reason)
    given = {name: value for name, value in options.items() if value is not None}
    sweep = parse_sweep(
        {
            "sweep": f"build-{model}-{variant}{suffix}",
            "models": [model],
            "variants": [variant],
            "targets": [{target: given}],
            "seeds": [seed],
            "protocol": "off",
        },
        source="bench build",
    )
    # The baseline that every sweep compares with would be hours of synthesis that nobody asked for.
    cells = tuple(one for one in sweep.cells if one.variant == variant)
    lacking = [one for one in cells if one.chain is None]
    if lacking or not cells:
        reason = lacking[0].not_applicable if lacking else f"there is no variant {variant!r} for {target}"
        raise ConfigError(str(reason), where=cell)
    return replace(sweep, cells=cells)


def build(
    sweep: Sweep, results: Path, *, retry_failed: bool, force: bool, jobs: int | None, as_json: bool
) -> int:
    """Build what is missing and print what came of it; returns the exit code."""
    import json

    store = Store(results)
    summary = run_sweep(sweep, store, jobs=jobs, retry_failed=retry_failed, force=force)
    rows = [row_of(store, cell) for cell in make_plan(sweep, store).cells]
    click.echo(json.dumps(rows, indent=1) if as_json else table(rows))
    return summary.exit_code


def row_of(store: Store, cell: CellPlan) -> dict[str, Any]:
    """What is on record of one cell: of its build, or of what kept it from being built."""
    records = [store.read("build", key) for key in cell.build_keys]
    missing = next((record for record in records if record is None or record.status != "ok"), None)
    last = missing if None not in records or missing is not None else None
    done = records[-1] if all(record is not None and record.status == "ok" for record in records) else last
    facts = dict(done.build.facts) if done is not None else {}
    digest = done.build.artifact if done is not None else None
    return {
        "cell": cell.cell.label,
        "status": done.status if done is not None else "skipped",
        "reason": done.reason if done is not None else (cell.skipped or "not built"),
        "artifact": f"artifacts/{digest}" if digest else None,
        "facts": facts,
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """For people: each cell with its use by stage, its timing, and where its files are."""
    return "\n\n".join("\n".join(_lines(row)) for row in rows)


def _lines(row: Mapping[str, Any]) -> list[str]:
    facts = row["facts"]
    told = facts.get("hardware") or {}
    lines = [f"{row['cell']}: {row['status']}" + (f": {row['reason']}" if row["reason"] else "")]
    for stage in ("hls_est", "synth", "impl"):
        used, share = told.get(stage) or {}, (told.get("percent") or {}).get(stage) or {}
        shown = [
            f"{used[name]:,} {name.upper()}" + (f" ({share[name]:.1f} %)" if name in share else "")
            for name in ("lut", "ff", "dsp", "bram18", "uram")
            if used.get(name) is not None
        ]
        if shown:
            fits = {True: "fits", False: "does not fit", None: "fit not known"}[
                told.get("fits", {}).get(stage)
            ]
            lines.append(f"  {stage:8} {', '.join(shown)}: {fits}")
    timing, latency = told.get("timing") or {}, told.get("kernel_latency_s")
    if timing.get("wns_ns") is not None:
        lines.append(f"  timing   slack {timing['wns_ns']:g} ns at {timing.get('clock_ns')} ns")
    if latency is not None:
        lines.append(f"  kernel   {latency * 1e6:,.3f} µs (cycles × clock, not measured)")
    lines += [f"  note     {line}" for line in facts.get("problems") or ()]
    if row["artifact"]:
        lines.append(f"  files    {row['artifact']} ({facts.get('stem')})")
    return lines


# -- write only --------------------------------------------------------------------------------------


def write_only(
    cell: str, options: Mapping[str, Any], results: Path, out: Path, *, seed: int, jobs: int | None
) -> int:
    """Write complete projects with a script each, to be built elsewhere; no vendor tool is needed.

    Raises:
        BenchError: the folder is not empty, or a step before failed.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError("there is something already", where=str(out), mend="Name a new folder with --out.")
    store = Store(results)
    sweep = make_sweep(cell, options, seed=seed, target=WRITTEN, suffix="-project")
    summary = run_sweep(sweep, store, jobs=jobs)
    if summary.exit_code:
        return summary.exit_code
    plan = make_plan(sweep, store)
    for one in plan.cells:
        place = out if len(plan.cells) == 1 else out / one.cell.target_label.replace(",", "_")
        write_project(_written(store, one), place, one)
        click.echo(f"{place}: {one.cell.label}; build.sh builds it, then: bench import-build {place}")
        for line in precheck.estimate(place / "project").refusals():
            click.echo(f"  will most likely not work: {line}")
    return 0


def _written(store: Store, cell: CellPlan) -> Path:
    record = store.read("build", cell.build_keys[-1])
    if record is None or record.status != "ok":
        raise BenchError(f"the project was not written: {record.reason if record else cell.skipped}")
    path = store.artifact(record.build.artifact or "")
    if path is None:
        raise BenchError("the written project is gone", where=str(store.root), mend="Run the command again.")
    return path


def write_project(source: Path, place: Path, cell: CellPlan) -> None:
    """An artifact of format `hls` as a folder for another machine."""
    from bench.core.step import Artifact
    from bench.steps.hardware.build_overlay import links
    from targets.fpga.parameters import BuildOverlayParams
    from targets.fpga.vendor_target import VendorBuild

    options = cell.cell.options
    step = VendorBuild().finish(options)[-1]
    params = BuildOverlayParams(**step.params)
    stages = params.stages()
    place.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, place, dirs_exist_ok=True)
    flow.prepare(place / "project", params.backend, stages)
    (place / "build.sh").write_text(flow.script(params.backend, stages))
    (place / "build.sh").chmod(0o755)
    (place / "README.txt").write_text(_readme(cell, params.backend, stages.bitstream))
    manifest.write(
        place,
        "project",
        links=links(Artifact(source, "hls", source.name, {})),
        cell={
            "model": cell.cell.model,
            "variant": cell.cell.variant,
            "seed": cell.cell.seed,
            "options": options,
        },
    )


def _readme(cell: CellPlan, backend: str, bitstream: bool) -> str:
    years = "Vivado and Vivado HLS 2019.2 or 2020.1" if backend in flow.VIVADO_FAMILY else (
        "Vitis 2023.1 or later (vitis-run), or Vitis HLS 2022.2 (vitis_hls)"
    )  # fmt: skip
    board = cell.cell.options.get("board") or "pynq-z2"
    return "\n".join(
        [
            f"A hardware project of {cell.cell.label}, written by edge-bench with hls4ml ({backend}).",
            "",
            f"Needed: {years}, on PATH (source settings64.sh of the installation)"
            + (f", and the board files of {board}." if bitstream else "."),
            *(["Tools up to 2021.2 need the vendor's Y2K22 patch (answer record 76960)."] * bool(bitstream)),
            "",
            "  ./build.sh                     builds everything inside project/",
            "  bench import-build THIS_FOLDER takes the result in, where the project was written",
            "",
            "manifest.json has the hashes of all files and of what they were made from. Change nothing in",
            "project/ but by building: a changed project is refused.",
            "",
        ]
    )
