"""Runs the toy sweep on the folder given, in a process of its own (for tests that kill it)."""

from __future__ import annotations

import sys

from bench.core.cells import Chain, Protocol
from bench.core.registry import load_plugins
from bench.run.run import run_sweep
from bench.store.store import Store
from tests import toy


def main(root: str, seconds: float, seeds: int) -> int:
    load_plugins()
    train, prune = toy.step("train", seconds=seconds), toy.step("prune", seconds=seconds)
    chains = {
        "baseline": Chain((train,)),
        "pruned": Chain((train, prune)),
        "quantized": Chain((train, prune, toy.step("quantize", seconds=seconds))),
        "distilled": Chain((toy.step("distill", seconds=seconds),), teacher=(train,)),
    }
    once = Protocol("once", rounds=1, warmup_seconds=0.0, warmup_calls=2, min_samples=20, min_seconds=0.0)
    sweep = toy.sweep(chains, seeds=seeds, protocol=once)
    summary = run_sweep(sweep, Store(root), jobs=2)
    assert "tensorflow" not in sys.modules
    return summary.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
