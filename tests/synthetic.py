"""A made-up results folder: manifest and records as a real sweep leaves them, without running one.

`build(root)` writes one sweep; its keyword arguments bend it (failures, cells not run, one seed, …).
Numbers are plausible and follow from the seed of the generator alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.packed import pack
from bench.core.records import TWIN, Record
from bench.timing.samples import scope_times

MACHINE = {
    "id": "m0123456789",
    "cpu": "Example CPU 3.0 GHz",
    "cores": 2,
    "os": "Linux 6.1",
    "python": "3.11.2",
}


@dataclass(frozen=True)
class Kind:
    """How a variant of the made-up sweep turns out, relative to its baseline."""

    trunk: tuple[str, ...]
    mode: str = "float32"
    keras: str | None = None  # why it does not exist there
    teacher: bool = False
    accuracy: float = 0.0
    time: float = 1.0
    raw: float = 1.0
    gzip: float = 1.0
    sparsity: float = 0.0
    params: float = 1.0
    int8: float = 0.0
    summary: str = ""


TFLITE_ONLY = "quantized after training: exists only as TFLite"
KINDS: dict[str, Kind] = {
    "baseline": Kind(("train",), summary="float32 reference"),
    "pruned": Kind(
        ("train", "prune"), accuracy=-0.004, gzip=0.34, sparsity=0.75, summary="75 % of weights zero"
    ),
    "ptq": Kind(
        ("train",), "static", TFLITE_ONLY, accuracy=-0.003, time=0.36, raw=0.28, gzip=0.26, int8=0.97
    ),
    "dq": Kind(("train",), "dynamic", TFLITE_ONLY, accuracy=-0.001, time=0.4, raw=0.27, gzip=0.25, int8=0.98),
    "fiq": Kind(("train",), "int8", TFLITE_ONLY, accuracy=-0.004, time=0.33, raw=0.27, gzip=0.25, int8=0.97),
    "qat": Kind(("train", "qat"), "int8", accuracy=0.002, time=0.33, raw=0.27, gzip=0.25, int8=0.97),
    "qap": Kind(
        ("train", "prune", "qap"),
        "int8",
        accuracy=-0.006,
        time=0.33,
        raw=0.27,
        gzip=0.1,
        sparsity=0.74,
        int8=0.97,
    ),
    "distilled": Kind(("distill",), teacher=True, accuracy=-0.012, time=0.5, raw=0.4, gzip=0.4, params=0.38),
    "distilled_qap": Kind(
        ("distill", "prune", "qap"),
        "int8",
        teacher=True,
        accuracy=-0.02,
        time=0.22,
        raw=0.13,
        gzip=0.06,
        sparsity=0.73,
        params=0.38,
        int8=0.95,
    ),
    "ptq_fp16": Kind(("train",), "float16", TFLITE_ONLY, accuracy=0.0, time=1.01, raw=0.51, gzip=0.5),
    "ptq_16x8": Kind(
        ("train",), "16x8", TFLITE_ONLY, accuracy=-0.001, time=30.0, raw=0.28, gzip=0.26, int8=0.97
    ),
    "clustered": Kind(("train", "cluster"), accuracy=-0.008, gzip=0.2),
    "baseline_longer": Kind(("train", "finetune"), accuracy=0.003),
    "student_scratch": Kind(("train_student",), accuracy=-0.02, time=0.5, raw=0.4, gzip=0.4, params=0.38),
}


@dataclass
class Built:
    """What `build` wrote: keys of records by cell, the manifest, how many files."""

    manifest: dict[str, Any]
    records: int = 0
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)


def key_of(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def times(median_ns: float, rng: np.random.Generator, n: int = 400, spread: float = 0.03) -> dict[str, Any]:
    """ScopeTimes of n made-up calls around `median_ns`."""
    samples = median_ns * np.exp(np.abs(rng.normal(0, spread, n)) - spread * 0.67)
    return scope_times(samples, 1, float(samples.sum() / 1e9))


class _Writer:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.written: set[str] = set()

    def __call__(self, record: Record) -> str:
        if record.key not in self.written:
            self.written.add(record.key)
            path = self.root / "records" / record.kind / record.key[:2] / f"{record.key}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(record.to_json()), "utf-8")
        return record.key


def build(
    root: Path,
    sweep: str = "synthetic",
    *,
    models: Sequence[str] = ("digits_mlp",),
    variants: Mapping[str, Kind] | None = None,
    targets: Sequence[str] = ("keras", "tflite"),
    seeds: Sequence[int] = (0, 1, 2),
    items: int = 400,
    rounds: int = 5,
    accuracy: float = 0.95,
    failed: Mapping[str, str] | None = None,
    failed_evaluate: Mapping[str, str] | None = None,
    timed_out: Mapping[str, str] | None = None,
    skipped: Mapping[str, str] | None = None,
    not_run: Sequence[str] = (),
    noise: float = 0.01,
    machine: Mapping[str, Any] | None = None,
    time_scale: float = 1.0,
    gain: Mapping[str, float] | None = None,
    title: str = "Made-up sweep",
    runs: int = 0,
    share_times: bool = False,
) -> Built:
    """Write one sweep. `failed`, `timed_out` and `not_run` name variants (their last build step),
    `failed_evaluate` variants whose scoring failed, `skipped` targets that cannot run here.
    `gain` adds accuracy to variants, `runs` numbers repetitions with other noise, `share_times`
    re-uses one set of latency samples (fast, for huge stores)."""
    root = Path(root)
    variants = KINDS if variants is None else variants
    machine = dict(MACHINE if machine is None else machine)
    failed, failed_evaluate = failed or {}, failed_evaluate or {}
    timed_out, skipped, gain = timed_out or {}, skipped or {}, gain or {}
    write = _Writer(root)
    rng = np.random.default_rng(7 + runs)
    shared = {"": times(1000.0, rng)} if share_times else None
    cells: list[dict[str, Any]] = []
    built = Built({})
    for model in models:
        labels = np.random.default_rng(int(key_of(model)[:8], 16)).integers(0, 10, items)
        difficulty = np.random.default_rng(1).random(items)
        chains: dict[tuple[str, str, int], tuple[list[str], list[str], bool]] = {}
        for seed in seeds:
            for name, kind in variants.items():
                for target in targets:
                    if target == "keras" and kind.keras:
                        continue
                    chains[name, target, seed] = _chain(
                        write, model, name, kind, target, seed, failed, timed_out, set(not_run)
                    )
        groups: dict[tuple[str, int], list[str]] = {}
        for target in targets:
            for seed in seeds:
                if seed != seeds[0] or target in skipped:
                    continue
                entries = [
                    n for n, k in variants.items() if chains.get((n, target, seed), ([], [], False))[2]
                ]
                groups[target, seed] = [
                    write(
                        _round(
                            model,
                            variants,
                            entries,
                            target,
                            seed,
                            r,
                            machine,
                            noise,
                            time_scale,
                            rng,
                            shared,
                            runs,
                        )
                    )
                    for r in range(rounds if entries else 0)
                ]
        for seed in seeds:
            for name, kind in variants.items():
                for target in targets:
                    cell: dict[str, Any] = {
                        "model": model,
                        "variant": name,
                        "summary": kind.summary,
                        "target": target.partition("[")[0],
                        "target_label": target,
                        "format": "keras" if target == "keras" else "tflite",
                        "options": {},
                        "seed": seed,
                        "measured": seed == seeds[0],
                        "not_applicable": kind.keras if target == "keras" else None,
                        "skipped": skipped.get(target),
                        "build_keys": [],
                        "teacher_keys": [],
                        "evaluate_key": None,
                        "measure_keys": groups.get((target, seed), []),
                    }
                    cells.append(cell)
                    if cell["not_applicable"]:
                        cell["measure_keys"] = []
                        continue
                    chain, teacher, good = chains[name, target, seed]
                    cell |= {"build_keys": chain, "teacher_keys": teacher}
                    if cell["skipped"]:
                        continue
                    truth = accuracy + kind.accuracy + gain.get(name, 0.0) + 0.002 * (seed - 1)
                    key = key_of("evaluate", model, name, target, seed, runs)
                    cell["evaluate_key"] = key
                    if not good:
                        continue
                    reason = failed_evaluate.get(name)
                    shift = np.random.default_rng(
                        int(key_of(name, seed, target.partition("[")[0])[:8], 16)
                    ).normal(0, 0.01, items)
                    correct = difficulty + shift < truth
                    predictions = np.where(correct, labels, (labels + 1) % 10).astype(np.uint8)
                    task = {"kind": "evaluate", "model": model, "seed": seed, "target": target, "options": {}}
                    write(
                        Record(
                            "evaluate",
                            key,
                            "failed" if reason else "ok",
                            task | {"artifact": chain[-1]},
                            {}
                            if reason
                            else {
                                "n": items,
                                "errors": int(items - correct.sum()),
                                "accuracy": float(correct.mean()),
                                "confusion": np.bincount(labels * 10 + predictions, minlength=100)
                                .reshape(10, 10)
                                .tolist(),
                                "predictions": pack(predictions),
                                "correct": pack(correct),
                                "runtime": {"runtime": "litert", "version": "2.3.0", "threads": 1},
                                "labels_sha256": hashlib.sha256(labels.tobytes()).hexdigest(),
                            },
                            reason=reason,
                        )
                    )
    manifest = {
        "schema_version": 1,
        "sweep": sweep,
        "title": title,
        "source": f"{sweep}.yaml",
        "config": {"sweep": sweep, "models": list(models), "seeds": list(seeds)},
        "created": "2026-01-02T03:04:05Z",
        "protocol": {
            "name": "full",
            "rounds": rounds,
            "warmup_seconds": 0.5,
            "warmup_calls": 10,
            "min_samples": 50,
            "min_seconds": 1.0,
        },
        "machine": machine,
        "cells": cells,
    }
    path = root / "sweeps" / f"{sweep}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(manifest), "utf-8")
    built.manifest, built.records = manifest, len(write.written)
    return built


def _chain(
    write: _Writer,
    model: str,
    name: str,
    kind: Kind,
    target: str,
    seed: int,
    failed: Mapping[str, str],
    timed_out: Mapping[str, str],
    not_run: set[str],
) -> tuple[list[str], list[str], bool]:
    """Build records of one cell: keys, the teacher's keys, whether all went well."""
    steps: list[tuple[str, dict[str, Any]]] = [(step, _params(step, kind)) for step in kind.trunk]
    if target != "keras":
        steps.append(("to_tflite", {"mode": kind.mode, "calibration": 256}))
    keys: list[str] = []
    teacher = [key_of("build", model, seed, "train", {}, None)] if kind.teacher else []
    for step, params in steps:
        keys.append(key_of("build", model, seed, step, params, keys[-1] if keys else None))
    if name in not_run:
        return keys, teacher, False
    base = 120_000.0 if target != "keras" else 125_000.0
    wobble = 1 + 0.002 * seed
    for place, ((step, params), key) in enumerate(zip(steps, keys, strict=True)):
        last = place == len(steps) - 1
        status = "failed" if last and name in failed else "timeout" if last and name in timed_out else "ok"
        params_n = int(30_000 * kind.params)
        facts = {
            "file_bytes": int(base * kind.raw),
            "gzip_bytes": int(0.92 * base * kind.gzip * wobble),
            "payload_bits": params_n * (8 if kind.int8 else 32),
            "params": params_n,
            "params_nonzero": int(params_n * (1 - kind.sparsity)),
            "sparsity": kind.sparsity,
            "sparsity_all": kind.sparsity * 0.98,
            "layers": [
                {"name": "dense", "kind": "Dense", "shape": [64, 32], "params": params_n, "nonzero": params_n}
            ],
        }
        if target != "keras" and last:
            facts |= {
                "int8_share": kind.int8,
                "overhead_bytes": 1500,
                "bytes_by_dtype": {
                    "int8": int(params_n * kind.int8),
                    "float32": int(4 * params_n * (1 - kind.int8)),
                },
            }
        write(
            Record(
                "build",
                key,
                status,  # type: ignore[arg-type]
                {
                    "kind": "build",
                    "model": model,
                    "seed": seed,
                    "step": step,
                    "params": params,
                    "parent": keys[place - 1] if place else None,
                    "teacher": teacher[-1] if teacher and step == "distill" else None,
                },
                {
                    "artifact": key_of("artifact", key),
                    "format": "tflite" if step == "to_tflite" else "keras",
                    "facts": facts,
                    "checks": [{"name": "loads", "passed": True, "detail": "loads in a fresh process"}],
                }
                if status == "ok"
                else {},
                reason=failed.get(name) or timed_out.get(name) if status != "ok" else None,
                environment={"tensorflow": "2.21.0", "numpy": "2.0.0"},
            )
        )
    return keys, teacher, name not in failed and name not in timed_out


def _params(step: str, kind: Kind) -> dict[str, Any]:
    if step == "prune":
        return {"sparsity": kind.sparsity, "schedule": "polynomial", "pattern": "unstructured"}
    if step == "distill":
        return {"temperature": 4.0, "alpha": 0.9, "network": "student"}
    return {}


def _round(
    model: str,
    variants: Mapping[str, Kind],
    entries: Sequence[str],
    target: str,
    seed: int,
    index: int,
    machine: dict[str, Any],
    noise: float,
    time_scale: float,
    rng: np.random.Generator,
    shared: dict[str, dict[str, Any]] | None,
    runs: int,
) -> Record:
    base = (9_000.0 if target != "keras" else 90_000.0) * time_scale * (1 + rng.normal(0, noise))
    names = list(entries) + ([TWIN] if "baseline" in entries else [])
    result: dict[str, Any] = {}
    for name in names:
        factor = 1.0 if name == TWIN else variants[name].time
        scopes = {}
        for scope, extra in (("invoke", 0.0), ("end_to_end", 2_500.0)):
            median = (base * factor + extra) * (1 + rng.normal(0, noise / 3))
            if shared is None:
                scopes[scope] = times(median, rng)
            else:
                one = shared[""]
                timed = ("median_ns", "mean_ns", "sd_ns", "min_ns", "max_ns")
                scaled: dict[str, Any] = {k: one[k] * median / 1000 for k in timed}
                shift = one["histogram"]["first"] + int(np.log(median / 1000) / np.log(1.005))
                scaled |= {"histogram": one["histogram"] | {"first": shift}}
                scopes[scope] = one | scaled | {"q": {k: v * median / 1000 for k, v in one["q"].items()}}
        entry = {"load_ns": 800_000, "first_call_ns": 60_000, "error": None, "scopes": scopes, "runtime": {}}
        result[name] = entry
    key = key_of("measure", model, target, seed, index, machine["id"], runs)
    task = {
        "kind": "measure",
        "model": model,
        "seed": seed,
        "target": target,
        "options": {},
        "protocol": {"name": "full"},
        "round": index,
        "machine": machine["id"],
        "entries": [{"name": name} for name in entries],
    }
    outcome = {
        "machine": machine,
        "state_before": {"load": 0.1},
        "state_after": {"load": 0.2},
        "reference": entries[0] if "baseline" not in entries else "baseline",
        "order": names,
        "runtime": {"runtime": "litert", "version": "2.3.0", "threads": 1, "xnnpack": True},
        "timer": {"resolution_ns": 1, "overhead_ns": 40},
        "entries": result,
    }
    return Record("measure", key, "ok", task, outcome, environment={"ai-edge-litert": "2.3.0"})
