"""A small job for a board, and a good result of it, to be damaged by tests."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from targets.pynq.exchange.archive import array_bytes
from targets.pynq.exchange.jobs import ItemSource, JobFile, protocol, write_job
from targets.pynq.exchange.results import Result

CREATED = "2026-01-02T03:04:05+00:00"
ITEMS = ("toy/baseline/seed0", "toy/pruned/seed0")


def make_job(out: Path, *, items: tuple[str, ...] = ITEMS, emulated: bool = True, size: int = 0) -> JobFile:
    """Two overlays that are none, 20 inputs of 4 values, 3 classes. `size`: noise in bytes."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(20, 4)).astype(np.float32)
    expected = random.normal(size=(20, 3)).astype(np.float32)
    labels = expected.argmax(axis=1)
    labels[:2] = (labels[:2] + 1) % 3
    noise = random.bytes(size)
    return write_job(
        out,
        [
            ItemSource(
                name,
                "overlay",
                {"overlay.bit": b"bit" + noise, "overlay.hwh": b"hwh", "kernel/weights/w2.txt": b"1, 2"},
                inputs,
                expected,
                labels,
                {
                    "interface": {
                        "style": "axis_dma", "dma": "axi_dma_0", "kernel": "k_0", "inputs": 4, "outputs": 3,
                        "input_dtype": "float32", "output_dtype": "float32",
                    },
                    "clock_mhz": 100.0,
                },
            )
            for name in items
        ],
        board="pynq-z2",
        protocol=protocol("quick"),
        emulated=emulated,
        created=CREATED,
    )  # fmt: skip


def make_item(number: int, expected: np.ndarray) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Result of an item, and its arrays by name."""
    random = np.random.default_rng(number)
    seconds = random.uniform(1e-5, 2e-5, 50)
    predictions = expected.argmax(axis=1)
    p50, p95, p99 = (float(value) for value in np.percentile(seconds, [50, 95, 99]))
    names = [f"samples/{number:04d}-01-execute.npy", f"samples/{number:04d}-02-predictions.npy"]
    names.append(f"samples/{number:04d}-03-outputs.npy")
    item = {
        "status": "ok",
        "reason": None,
        "fabric_clock_mhz": 100.0,
        "bitstream_loaded": True,
        "phases": {
            "execute": {
                "n": 50, "p50": p50, "p95": p95, "p99": p99, "min": float(seconds.min()), "unit": "s",
                "samples": names[0],
            }
        },
        "register_accesses": {"lean": {"reads": 1.0, "writes": 2.0}, "stock": None},
        "throughput": [{"batch": 1, "seconds": [1e-5]}, {"batch": 4, "seconds": [2e-5]}],
        "fit": {"a_s": 6.7e-6, "b_s": 3.3e-6, "r2": 1.0},
        "accuracy": {"n": 20, "errors": 2, "predictions": names[1]},
        "agreement": {"n": 60, "mismatches": 0, "bit_exact": True, "frames": 20, "outputs": names[2]},
        "energy": None,
        "sanity": [{"name": "clock", "passed": True, "detail": "100 MHz"}],
        "refused": [],
    }  # fmt: skip
    return item, dict(zip(names, map(array_bytes, (seconds, predictions, expected)), strict=True))


def make_result(job: JobFile, done: int | None = None) -> tuple[dict[str, Any], dict[str, bytes]]:
    """result.json and the arrays of a good result; `done`: items that were finished before it stopped."""
    expected = next(iter(job.expected.values()))
    items: dict[str, Any] = {}
    arrays: dict[str, bytes] = {}
    for number, item in enumerate(job.job.items[:done]):
        items[item.id], more = make_item(number, expected)
        arrays |= more
    value = {
        "schema": 1,
        "job": job.job.job,
        "agent": {"version": "1", "sha256": "0" * 64, "python": "3.10.4", "numpy": "1.21.5", "pynq": "3.1.2"},
        "board": {"name": job.job.board, "emulated": job.job.emulated, "part": "7z020clg400", "sensors": []},
        "started": CREATED,
        "finished": CREATED if done is None else None,
        "origin": "modelled" if job.job.emulated else "measured",
        "items": items,
        "attempts": {},
    }
    return value, arrays


def pack(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A .tar.gz as an agent's `tarfile` writes it, with dates that need extended headers."""
    out = io.BytesIO()
    with gzip.GzipFile("", "wb", 6, out, mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(content), 1700000000.25
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def write_result(
    path: Path, value: Any, arrays: dict[str, bytes], *more: tuple[tarfile.TarInfo, bytes]
) -> Path:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    members = [member("result/", type=tarfile.DIRTYPE), member("result/result.json", text)]
    members += [member(f"result/{name}", content) for name, content in sorted(arrays.items())]
    path.write_bytes(pack([*members, *more]))
    return path


def same(a: Result, b: Result) -> bool:
    """Whether two results say the same."""
    return (
        a.file == b.file
        and a.samples.keys() == b.samples.keys()
        and all(np.array_equal(a.samples[name], b.samples[name]) for name in a.samples)
    )
