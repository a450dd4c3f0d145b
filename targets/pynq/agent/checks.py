"""What must be true of an item before its numbers count: outputs, labels, clocks, slack."""

from __future__ import annotations

from typing import Any

import numpy as np

from .job import ItemError
from .results import Outcome, Results

#: the fabric clock may differ from what was asked by that part
CLOCK_TOLERANCE = 0.005


def compare(
    found: np.ndarray, expected: np.ndarray | None, exact: bool, out: Outcome, results: Results
) -> bool:
    """Output by output; True: nothing speaks against the numbers."""
    if expected is None:
        return out.check("outputs", None, "the job has no outputs to compare with")
    differ = found != expected
    frames = int(differ.any(axis=1).sum())
    gap = np.abs(found.astype(np.float64) - expected)
    out.value["agreement"] = {
        "n": int(differ.size),
        "mismatches": int(differ.sum()),
        "bit_exact": not differ.any(),
        "frames": len(found),
        "frames_mismatched": frames,
        "first_mismatch": int(differ.any(axis=1).argmax()) if frames else None,
        "max_difference": float(np.nanmax(gap)) if gap.size else 0.0,
        "outputs": results.sample("outputs", found),
    }
    if not exact:
        detail = f"{differ.sum()} of {differ.size} outputs differ, which the job allows"
        return out.check("outputs", True, detail)
    return out.check(
        "outputs",
        not frames,
        "all outputs are those of the C simulation"
        if not frames
        else f"{frames} of {len(found)} frames differ from the C simulation, "
        f"first frame {differ.any(axis=1).argmax()}",
    )


def score(found: np.ndarray, labels: np.ndarray | None, out: Outcome, results: Results) -> None:
    predictions = found.argmax(axis=1) if found.shape[1] > 1 else (found[:, 0] > 0).astype(np.int64)
    path = results.sample("predictions", predictions)
    errors = None
    if labels is not None:
        if len(labels) != len(found):
            raise ItemError(f"{len(labels)} labels for {len(found)} inputs")
        errors = int((predictions != labels).sum())
    out.value["accuracy"] = {"n": len(found), "errors": errors, "predictions": path}


def check_facts(item: dict[str, Any], mhz: float | None, out: Outcome) -> None:
    """What is known before anything runs: clocks and slack."""
    sanity = item.get("sanity") or {}
    asked, target = float(item["clock_mhz"]), sanity.get("clock_target_ns")
    if mhz is None:
        out.check("clock", False, "the fabric clock cannot be read back")
    else:
        out.check(
            "clock",
            abs(mhz - asked) <= CLOCK_TOLERANCE * asked,
            f"fabric clock 0 is {mhz:g} MHz, {asked:g} MHz were asked for",
        )
    slack, estimate = sanity.get("wns_ns"), sanity.get("clock_estimate_ns")
    if slack is None:
        out.check("slack", None, "no routed timing in the job")
    else:
        out.check("slack", slack >= 0, f"worst slack after routing {slack:g} ns")
    if estimate is None or target is None:
        out.check("clock_estimate", None, "no estimated clock in the job")
    elif estimate > target and slack is not None and slack >= 0:
        out.check(
            "clock_estimate",
            True,
            f"estimated {estimate:g} ns over {target:g} ns, but the routed design keeps its clock",
        )
    else:
        out.check(
            "clock_estimate", estimate <= target, f"estimated clock {estimate:g} ns, target {target:g} ns"
        )
    if mhz is not None and target is not None and slack is not None:
        reach = 1000.0 / (target - min(0.0, slack))
        if mhz > reach * (1 + CLOCK_TOLERANCE):
            out.check("clock_reach", False, f"the design was routed for {reach:g} MHz and runs at {mhz:g}")
