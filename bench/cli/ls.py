"""`bench ls`: what there is, as plain tables that also `grep` and `cut` can read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from bench.core.registry import DATASETS, MODELS, STEPS, TARGETS
from bench.errors import ConfigError, did_you_mean
from bench.store.store import Store

Rows = list[dict[str, Any]]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Left-aligned columns; the keys of the first row are the head."""
    if not rows:
        return "none"
    head = list(rows[0])
    lines = [head, *([_text(row.get(name)) for name in head] for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    widths[-1] = 0
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(f"{name}={_text(item)}" for name, item in value.items())
    return " ".join(str(value).split())  # one line a row, whatever a reason holds


def show(what: str, results: Path, *, as_json: bool) -> None:
    """Print one kind of thing.

    Raises:
        ConfigError: no such kind.
    """
    if what not in KINDS:
        raise ConfigError(f"`bench ls` does not know {what!r}", mend=did_you_mean(what, KINDS))
    rows = KINDS[what](results)
    click.echo(json.dumps(rows, indent=1, default=str) if as_json else table(rows))


def sweeps(results: Path) -> Rows:
    """Sweeps that ship, and whether they were run."""
    from bench.sweep import load_sweep, shipped_sweeps

    done = set(Store(results).sweeps())
    rows = []
    for name in shipped_sweeps():
        sweep = load_sweep(name)
        models = list(dict.fromkeys(cell.model for cell in sweep.cells))
        run = "yes" if name in done else "no"
        rows.append(
            {"sweep": name, "cells": len(sweep.cells), "run": run, "models": models, "title": sweep.title}
        )
    return rows


def runs(results: Path) -> Rows:
    """Sweeps in the results folder."""
    store = Store(results)
    rows = []
    for name in store.sweeps():
        manifest = store.read_manifest(name)
        cells = len(manifest.get("cells", []))
        rows.append(
            {"run": name, "cells": cells, "created": manifest.get("created"), "title": manifest.get("title")}
        )
    return rows


def models(results: Path) -> Rows:
    return [
        {"model": name, "data set": model.dataset, "networks": list(model.networks), "summary": model.summary}
        for name in MODELS.names()
        if (model := MODELS.get(name))
    ]


def datasets(results: Path) -> Rows:
    rows = []
    for name in DATASETS.names():
        data = DATASETS.get(name)
        reason = data.unavailable()
        rows.append(
            {
                "data set": name,
                "here": "no" if reason else "yes",
                "real": "yes" if data.real else "generated",
                "input": "x".join(map(str, data.input_shape)),
                "classes": len(data.classes),
            }
        )
    return rows


def variants(results: Path) -> Rows:
    from bench.sweep.variants import VARIANTS, NotApplicable

    def arrow(specs: Sequence[Any]) -> str:
        return " > ".join(
            spec.step + (f"({', '.join(f'{k}={v}' for k, v in spec.params.items())})" if spec.params else "")
            for spec in specs
        )

    rows = []
    for name, variant in VARIANTS.items():
        tails = [
            f"{format_}: " + ("n/a" if isinstance(tail, NotApplicable) else arrow(tail) or "as it is")
            for format_, tail in variant.tails.items()
        ]
        rows.append(
            {
                "variant": name,
                "summary": variant.summary,
                "teacher": arrow(variant.teacher) or None,
                "chain": f"{arrow(variant.trunk)} | {'; '.join(tails)}",
            }
        )
    return rows


def steps(results: Path) -> Rows:
    return [
        {
            "step": name,
            "takes": step.takes,
            "gives": step.gives,
            "teacher": step.teacher,
            "parameters": step.Params().model_dump(mode="json"),
        }
        for name in STEPS.names()
        if (step := STEPS.get(name))
    ]


def targets(results: Path) -> Rows:
    return [
        {
            "target": name,
            "format": target.format,
            "here": target.unavailable() or "yes",
            "scopes": list(target.scopes),
            "options": target.Options().model_dump(mode="json"),
        }
        for name in TARGETS.names()
        if (target := TARGETS.get(name))
    ]


def records(results: Path) -> Rows:
    from bench.core.records import KINDS as RECORD_KINDS

    store = Store(results)
    rows = []
    for kind in RECORD_KINDS:
        for key in sorted(store.keys(kind)):
            record = store.read(kind, key)
            if record is not None:
                task = record.task
                rows.append(
                    {
                        "kind": kind,
                        "status": record.status,
                        "model": task.get("model"),
                        "seed": task.get("seed"),
                        "what": task.get("step") or task.get("target"),
                        "seconds": round(record.seconds, 2),
                        "key": key,
                        "reason": record.reason,
                    }
                )
    return rows


def artifacts(results: Path) -> Rows:
    store = Store(results)
    rows = []
    for key in sorted(store.keys("build")):
        record = store.read("build", key)
        if record is not None and record.status == "ok":
            digest = record.build.artifact or ""
            rows.append(
                {
                    "model": record.task.get("model"),
                    "step": record.task.get("step"),
                    "seed": record.task.get("seed"),
                    "format": record.build.format,
                    "bytes": record.build.facts.get("file_bytes"),
                    "here": "yes" if store.has_artifact(digest) else "no",
                    "digest": digest,
                }
            )
    return rows


KINDS: dict[str, Callable[[Path], Rows]] = {
    "sweeps": sweeps,
    "runs": runs,
    "models": models,
    "datasets": datasets,
    "variants": variants,
    "steps": steps,
    "targets": targets,
    "records": records,
    "artifacts": artifacts,
}
