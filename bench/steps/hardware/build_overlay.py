"""From an hls4ml project to a bitstream (or an IP core), with the vendor's tools, every product checked."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any

from bench.core.step import Artifact, Step, StepContext, StepOutcome
from bench.errors import StepError, Unavailable
from bench.store.store import folder_digest
from targets.fpga.parameters import BuildOverlayParams
from targets.fpga.vendor import manifest, precheck, products, tools
from targets.fpga.vendor.flow import Project, build
from targets.fpga.vendor.product_checks import checks
from targets.fpga.vendor.products import Products, digest_of

LOG = "build.log"
#: of the network; copied from artifact to artifact, so that an overlay can be judged by what it stands for
NETWORK = ("model.keras", "fixed_point.json", "reference.npz")
#: seconds for copying and checking, beside the time limit of the tools
AROUND = 900.0


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
