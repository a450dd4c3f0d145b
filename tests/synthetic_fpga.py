"""Adds a made-up FPGA target (`hls4ml`: C simulation of a design) to a sweep of `tests.synthetic.build`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.core.packed import pack
from bench.core.records import Record
from bench.store.store import Store
from tests.synthetic import KINDS, build, key_of

NO_WAY = "TFLite's own arithmetic has no counterpart in hls4ml"
#: variant -> (steps before `to_hls`, whether training knew of the quantization); None: not applicable
CHAINS: dict[str, tuple[tuple[str, ...], bool] | None] = {
    "baseline": (("train", "to_fixed"), False),
    "pruned": (("train", "prune", "to_fixed"), False),
    "ptq": (("train", "to_fixed"), False),
    "dq": None,
    "fiq": None,
    "qat": (("train", "qkeras_qat"), True),
    "qap": (("train", "prune", "qkeras_qap"), True),
    "distilled": (("distill", "to_fixed"), False),
}
BITS = {"baseline": 16, "pruned": 16, "ptq": 8, "qat": 6, "qap": 6, "distilled": 16}
FIXED = ("to_fixed", "qkeras_qat", "qkeras_qap", "qkeras_train")
DEVICE = {"name": "xc7z020", "lut": 53200, "ff": 106400, "dsp": 220, "bram18": 280, "uram": 0}


def link(of: str, against: str, n: int, mismatches: int = 0, exact: int | None = None) -> dict[str, Any]:
    """One link of the chain; the first differing layer is named where it should be bit-exact."""
    exact = n - mismatches if exact is None else exact
    named = exact < n and (of, against) == ("csim", "qkeras")
    return {
        "of": of,
        "against": against,
        "n": n,
        "mismatches": mismatches,
        "bit_exact": exact,
        "max_abs_diff": 0.0 if exact == n else 0.0625,
        "sqnr_db": None if exact == n else 31.5,
        "first_layer": "dense_1" if named else None,
    }


def design(scale: float = 1.0, stages: Sequence[str] = ("hls_est", "synth", "impl")) -> dict[str, Any]:
    """`hardware` facts; only the given stages were reached."""
    place = {"hls_est": 1.3, "synth": 1.05, "impl": 1.0}
    used = {
        stage: {
            "lut": int(9000 * scale * place[stage]),
            "ff": int(7000 * scale * place[stage]),
            "dsp": int(180 * scale),
            "bram18": int(20 * scale),
            "uram": 0,
        }
        for stage in stages
    }
    percent = {
        stage: {name: 100 * used[stage][name] / DEVICE[name] for name in ("lut", "ff", "dsp", "bram18")}  # type: ignore[operator]
        for stage in stages
    }
    built = "impl" in stages
    return {
        **used,
        "cycles": {"cycles_min": 40, "cycles_max": 44, "interval_min": 16, "interval_max": 16},
        "timing": {
            "clock_target_ns": 10.0,
            "clock_estimate_ns": 8.7,
            "wns_ns": 0.4 if built else None,
            "timing_met": True if built else None,
            "clock_ns": 10.0 if built else None,
        },
        "power": {"power_total_w": 1.7 if built else None, "power_confidence": "Low" if built else None},
        "device": DEVICE,
        "percent": percent,
        "fits": {
            s: all(share <= 100 for share in percent[s].values()) if s in stages else None for s in place
        },
        "kernel_latency_s": 44 * 8.7e-9,
    }


def add_fpga(
    root: Path,
    sweep: str = "synthetic",
    *,
    targets: Sequence[str] = ("hls4ml",),
    mismatches: Mapping[str, int] | None = None,
    inexact: Mapping[str, int] | None = None,
    no_energy: Sequence[str] = (),
    failed: Mapping[str, str] | None = None,
    hardware: Mapping[str, dict[str, Any]] | None = None,
    format_: str = "csim",
) -> dict[str, Any]:
    """Append cells of `targets` to the manifest, with their records; returns the manifest.

    Args:
        mismatches: other classes than the float network, by variant (default 3 after training).
        inexact: items whose outputs are not bit-exact in the simulated design.
        failed: `to_hls` failed with this reason.
        hardware: `hardware` facts of a last step `build_overlay`, by variant or variant@target.
    """
    mismatches, inexact, failed = mismatches or {}, inexact or {}, failed or {}
    path = root / "sweeps" / f"{sweep}.json"
    manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
    known = {(c["model"], c["variant"], c["seed"]): c for c in manifest["cells"] if c["target"] == "tflite"}
    for target in targets:
        for (model, variant, seed), other in known.items():
            if variant not in CHAINS:
                continue
            cell = {
                **other,
                **{"target": target.partition("[")[0], "target_label": target, "format": format_},
                **{"measured": False, "measure_keys": [], "teacher_keys": []},
                **{"build_keys": [], "evaluate_key": None, "skipped": None},
                "not_applicable": None if CHAINS[variant] else NO_WAY,
            }
            manifest["cells"].append(cell)
            if CHAINS[variant] is None:
                continue
            parts = (hardware or {}).get(f"{variant}@{target}", (hardware or {}).get(variant))
            good = _builds(root, cell, model, variant, seed, parts, variant in no_energy, failed.get(variant))
            if good:
                wrong = mismatches.get(variant, 0 if CHAINS[variant][1] else 3)  # type: ignore[index]
                _score(root, cell, other, variant, wrong, inexact.get(variant, 0))
    path.write_text(json.dumps(manifest), "utf-8")
    return manifest


def write(root: Path, record: Record) -> None:
    path = root / "records" / record.kind / record.key[:2] / f"{record.key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record.to_json()), "utf-8")


def _builds(
    root: Path,
    cell: dict[str, Any],
    model: str,
    variant: str,
    seed: int,
    hardware: dict[str, Any] | None,
    no_energy: bool,
    failed: str | None,
) -> bool:
    chain = CHAINS[variant]
    assert chain is not None
    steps = [*chain[0], "to_hls", "build_overlay" if hardware else "compile_hls"]
    for step in steps:
        bits = BITS[variant]
        name = f"{step}{bits}" if step in FIXED else step
        parts = (cell["target_label"],) if step in ("to_hls", "build_overlay", "compile_hls") else ()
        key = key_of("fpga", model, seed, name, *parts, cell["build_keys"][-1:])
        cell["build_keys"].append(key)
        facts: dict[str, Any] = {"file_bytes": 70_000, "gzip_bytes": 60_000, "params": 1, "layers": []}
        if step in FIXED:
            facts = _fixed(variant, bits, no_energy)
        elif step == "to_hls":
            backend = "Vivado" if "Vivado" in cell["target_label"] else "Vitis"
            facts |= {"backend": backend, "io_type": "io_parallel", "strategy": "Latency", "reuse_factor": 1}
            facts |= {"clock_ns": 10.0, "part": "xc7z020clg400-1", "project_bytes": 123_456}
        elif step == "build_overlay":
            facts = {"hardware": hardware}
        bad = failed if step == "to_hls" else None
        result = {"artifact": key_of("artifact", key), "format": "hls", "facts": facts, "checks": []}
        task = {"kind": "build", "model": model, "seed": seed, "step": step, "params": {}}
        write(root, Record("build", key, "failed" if bad else "ok", task, {} if bad else result, reason=bad))
        if bad:
            return False
    return True


def _fixed(variant: str, bits: int, no_energy: bool) -> dict[str, Any]:
    params, zeros = 2_410, 1_205 if variant in ("pruned", "qap") else 0
    cost = {
        "macs": 2_368,
        "macs_nonzero": 2_368 - zeros,
        "bops": 1.1 * bits * bits * 2_368,
        "ebops": float(bits * bits * (2_368 - zeros)),
        "weight_bits": bits * params,
        "weight_bits_nonzero": bits * (params - zeros),
        "weights_nonzero": params - zeros,
        "energy_pj": None if no_energy else 10.0 * bits * bits,
        "energy_source": "QTools knows no such layer" if no_energy else "QTools 0.9, Horowitz 45 nm",
    }
    layer = {"name": "dense", "kind": "QDense", "shape": [64, 32], "params": params, "unique": 60}
    layer |= {"nonzero": params - zeros, "weight_bits": bits, "weight_integer": 2, "input_bits": bits}
    return {
        "file_bytes": 11_000,
        "gzip_bytes": 9_000,
        "payload_bits": params * 32,
        "params": params,
        "params_nonzero": params - zeros,
        "sparsity": zeros / params,
        "cost": cost,
        "layers": [layer],
    }


def _score(
    root: Path, cell: dict[str, Any], other: dict[str, Any], variant: str, wrong: int, inexact: int
) -> None:
    key = other["evaluate_key"]
    path = root / "records" / "evaluate" / key[:2] / f"{key}.json"
    record = Record.from_json(json.loads(path.read_text("utf-8")), "")
    n = record.result["n"]
    chain = CHAINS[variant]
    assert chain is not None
    if chain[1]:
        links = [link("qkeras", "float", n, wrong + 2, 0), link("csim", "qkeras", n, wrong, n - inexact)]
    else:
        links = [link("csim", "float", n, wrong, n - max(wrong, inexact))]
    rng = np.random.default_rng(cell["seed"] + 100 * len(variant))
    errors = int(record.result["errors"])
    correct = np.ones(n, bool)
    correct[rng.choice(n // 5, errors, replace=False)] = False
    result = record.result | {
        "correct": pack(correct),
        "predictions": pack(correct.astype(np.uint8)),
        "agreement": links,
    }
    cell["evaluate_key"] = key_of("evaluate", cell["target_label"], cell["build_keys"])
    task = record.task | {"target": cell["target"], "artifact": cell["build_keys"][-1]}
    write(root, Record("evaluate", cell["evaluate_key"], "ok", task, result))


BACKENDS = ("hls4ml", "hls4ml[backend=Vivado]")


def example(root: Path) -> None:
    """A sweep with two backends in which nearly everything is missing somewhere."""
    build(root, variants={name: kind for name, kind in KINDS.items() if name in CHAINS})
    add_fpga(
        root,
        targets=BACKENDS,
        mismatches={"pruned": 0},
        inexact={"qap": 5},
        no_energy=("ptq",),
        failed={"distilled": "LSTM is not supported"},
        hardware={
            "baseline": design(3),
            "ptq": design(1, ("hls_est",)),
            "qat": design(0.5, ("hls_est", "synth")),
            "qap@hls4ml": design(0.3),
        },
    )


def pick(table: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """Rows with these values; unless told otherwise those of hls4ml, aggregated (`seed=None`)."""
    for name, value in ({"target": "hls4ml", "seed": None} | wanted).items():
        table = table[table[name].isna() if value is None else table[name] == value]
    return table


def change(root: Path, kind: str, edit: Callable[[Record], None]) -> None:
    """Rewrite all records of a kind."""
    store = Store(root)
    for key in store.keys(kind):
        record = store.read(kind, key)
        assert record is not None
        edit(record)
        store.write(record)
