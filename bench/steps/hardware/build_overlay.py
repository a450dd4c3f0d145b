"""From an hls4ml project to a bitstream (or an IP core), with the vendor's tools, every product checked."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from bench.core.step import Artifact, Step, StepContext, StepOutcome, StepParams
from bench.errors import StepError, Unavailable
from bench.store.store import folder_digest
from targets.fpga.vendor import manifest, precheck, products, tools
from targets.fpga.vendor.flow import WITH_BITSTREAM, Limits, Project, Stages, build, machine_memory
from targets.fpga.vendor.product_checks import checks
from targets.fpga.vendor.products import Products, digest_of

LOG = "build.log"
#: share of this machine's memory that a build may take where no limit is given
MEMORY_SHARE = 0.9
#: of the network; copied from artifact to artifact, so that an overlay can be judged by what it stands for
NETWORK = ("model.keras", "fixed_point.json", "reference.npz")
#: seconds for copying and checking, beside the time limit of the tools
AROUND = 900.0


class BuildOverlayParams(StepParams):
    """Which tools do what, and how long. A project's part, clock and reuse factor are those it was
    written with (`to_hls`).

    bitstream: place, route and write a bitstream; without, and for Vivado and Vitis, an IP core only.
    csim, cosim, vsynth: also simulate in C, simulate the RTL, synthesize the RTL alone in Vivado.
    memory_limit_gb: of all its processes together; 0 is nine tenths of this machine's.
    force: build what is estimated not to fit.
    """

    backend: Literal["VivadoAccelerator", "Vivado", "Vitis", "VitisUnified"] = "VivadoAccelerator"
    bitstream: bool = True
    csim: bool = False
    cosim: bool = False
    vsynth: bool = False
    time_limit_s: float = Field(default=21_600.0, ge=1, le=30 * 86_400)
    memory_limit_gb: float = Field(default=0.0, ge=0, le=10_000)
    force: bool = False

    def stages(self) -> Stages:
        bitstream = self.bitstream and self.backend in WITH_BITSTREAM
        return Stages(bitstream, self.csim, self.cosim, self.vsynth)

    def limits(self) -> Limits:
        given = self.memory_limit_gb * 1e9
        return Limits(self.time_limit_s, given or MEMORY_SHARE * machine_memory())


class BuildOverlay(Step):
    """Build a written hls4ml project with Vivado or Vitis."""

    name = "build_overlay"
    Params = BuildOverlayParams
    takes = "hls"
    gives = "overlay"
    needs = ()
    limits = ("time_limit_s", "memory_limit_gb", "force")

    def identity(self, params: Mapping[str, Any]) -> dict[str, Any]:
        stages = BuildOverlayParams(**params).stages()
        return tools.identity(params["backend"], bitstream=stages.bitstream, vsynth=stages.vsynth)

    def unavailable(self, params: Mapping[str, Any]) -> str | None:
        stages = BuildOverlayParams(**params).stages()
        try:
            tools.tools_for(params["backend"], bitstream=stages.bitstream, vsynth=stages.vsynth)
        except Unavailable as error:
            return str(error)
        return None

    def timeout(self, params: Mapping[str, Any]) -> float | None:
        return float(params["time_limit_s"]) + AROUND

    def run(self, context: StepContext) -> StepOutcome:
        params: BuildOverlayParams = context.params
        assert context.parent is not None
        stages, limits = params.stages(), params.limits()
        found = tools.tools_for(params.backend, bitstream=stages.bitstream, vsynth=stages.vsynth)
        expected = precheck.estimate(context.parent.path / "project")
        if not params.force:
            expected.refuse()
        project = context.out / "project"
        shutil.copytree(context.parent.path / "project", project)
        settings = Project.read(project)
        begun = time.monotonic()
        try:
            took = build(project, params.backend, stages, found, limits, context.out / LOG, _tell)
        except OSError as error:
            raise StepError(f"the build could not be run: {error}") from error
        seconds = time.monotonic() - begun
        made = products.gather(project, settings)
        looked_at = checks(made, stages, part=settings.part, top=settings.top)
        facts = {
            **products.facts(made, settings.part),
            **{"tool": found[0].name, "tool_version": found[0].version, "seconds": seconds},
            **{"commands": took, "precheck": expected.to_json(), "stages": vars(stages).copy()},
        }
        if all(check.passed for check in looked_at):
            versions = {tool.name: tool.version for tool in found}
            facts |= finish(context, made, versions, params.model_dump(mode="json"))
        return StepOutcome(facts, looked_at)


def finish(
    context: StepContext,
    made: Products,
    versions: Mapping[str, Any],
    params: Mapping[str, Any],
    *,
    proven: bool = True,
    **more: Any,
) -> dict[str, Any]:
    """Put the products into the artifact's folder, with the manifest; returns facts of both.

    Args:
        proven: it was made from the parent; else the manifest links it to nothing.
        more: fields of the manifest.
    """
    assert context.parent is not None
    parent: Artifact = context.parent
    digest = folder_digest(parent.path)
    stem = products.stem_of(context.model.name, digest)
    products.collect(made, context.out, stem)
    if made.folder.is_relative_to(context.out):
        shutil.rmtree(made.folder)  # gigabytes of which nothing more is needed
    for name in NETWORK:
        if (parent.path / name).is_file():
            shutil.copyfile(parent.path / name, context.out / name)
    written = manifest.write(
        context.out,
        "overlay",
        links=links(parent) if proven else {},
        model=context.model.name,
        seed=context.seed,
        stem=stem,
        tools=dict(versions),
        parameters=dict(params),
        **more,
    )
    return {"stem": stem, "manifest": {"links": written["links"], "files": len(written["files"])}}


def links(parent: Artifact) -> dict[str, Any]:
    """By hash: the network, its types, the project, and the artifact that holds them."""
    named = {name: digest_of(parent.path / name) for name in NETWORK if (parent.path / name).is_file()}
    return {**named, "project": folder_digest(parent.path / "project"), "hls": folder_digest(parent.path)}


def _tell(text: str) -> None:
    """Into the log of the task too: that of a build that fails goes with its folder."""
    sys.stdout.write(text)
    sys.stdout.flush()
