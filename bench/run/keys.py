"""Keys of tasks: sha256 of the canonical JSON of all that decides a task's result.

Keys are known before anything runs: a task's key holds its parents' *keys*; which digests the
parents really had is kept in the record (`inputs`) and compared when the record is looked up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from bench.core import code
from bench.core import versions as fingerprint
from bench.core.cells import Protocol
from bench.core.registry import DATASETS, MODELS, STEPS, TARGETS

#: raised when the meaning of a key's fields changes
KEY_VERSION = 1
SCORING, TIMING = "bench.scoring.accuracy:evaluate", "bench.timing.rounds:run_round"


def canonical(value: Any) -> str:
    """JSON with sorted keys and no blanks: equal values give equal text.

    Raises:
        ValueError: NaN or infinity in it. TypeError: not a JSON value.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def build_key(
    model: str, seed: int, step: str, params: Mapping[str, Any], parent: str | None, teacher: str | None
) -> str:
    """Key of one step of a chain. `parent`, `teacher`: keys of the builds it starts from."""
    plugin = STEPS.get(step)
    more = plugin.identity(params)
    return digest(
        {
            "kind": "build",
            "model": model_identity(model),
            "step": step_identity(step),
            "params": {name: value for name, value in params.items() if name not in plugin.limits},
            "seed": seed,
            "parent": parent,
            "teacher": teacher,
            # Only where there is some: keys of steps that are packages alone stay what they were.
            **({"identity": more} if more else {}),
        }
    )


def evaluate_key(
    model: str,
    seed: int,
    target: str,
    options: Mapping[str, Any],
    artifact: str,
    reference: str | None = None,
) -> str:
    """Key of scoring the artifact of build `artifact` through a target. `reference`: key of the build that
    its outputs are held against, where the target has one."""
    more = TARGETS.get(target).identity(dict(options))
    return digest(
        {
            "kind": "evaluate",
            "dataset": dataset_identity(MODELS.get(model).dataset),
            "target": target_identity(target),
            "scoring": code.identity(SCORING),
            "options": options,
            "artifact": artifact,
            "seed": seed,
            # Only where there is some, as for steps.
            **({"identity": more} if more else {}),
            **({"reference": reference} if reference else {}),
        }
    )


def measure_key(
    model: str,
    seed: int,
    target: str,
    options: Mapping[str, Any],
    protocol: Protocol,
    number: int,
    entries: Sequence[tuple[str, str]],
    machine: str,
) -> str:
    """Key of timing round `number` of the group `entries`: (variant, build key) pairs."""
    return digest(
        {
            "kind": "measure",
            "dataset": dataset_identity(MODELS.get(model).dataset),
            "target": target_identity(target),
            "timing": code.identity(TIMING),
            "options": options,
            "protocol": asdict(protocol),
            "round": number,
            "entries": sorted(entries),
            "machine": machine,
            "seed": seed,
        }
    )


@cache
def dataset_identity(name: str) -> str:
    source = code.identity(DATASETS.place(name))
    return digest({"v": KEY_VERSION, "dataset": name, "digest": DATASETS.get(name).digest, "source": source})


@cache
def model_identity(name: str) -> str:
    model = MODELS.get(name)
    return digest(
        {
            "model": name,
            "source": code.identity(MODELS.place(name)),
            "dataset": dataset_identity(model.dataset),
            # Also in the source, unless a plugin computes them.
            "budgets": [asdict(model.budget), asdict(model.finetune)],
            "teacher": model.teacher,
        }
    )


@cache
def step_identity(name: str) -> str:
    source = code.identity(STEPS.place(name))
    return digest({"step": name, "source": source, "versions": fingerprint.versions(STEPS.get(name).needs)})


@cache
def target_identity(name: str) -> str:
    source = code.identity(TARGETS.place(name))
    versions = fingerprint.versions(TARGETS.get(name).modules)
    return digest({"target": name, "source": source, "versions": versions})
