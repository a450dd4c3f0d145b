"""Job bundles: `job.tar.gz` with `job/job.json`, `job/files/<sha256>`, `job/data/*.npy`.

The same description gives the same bytes, so that a job that was sent before is known again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from bench.errors import ArtifactError
from targets.pynq.exchange import archive
from targets.pynq.exchange.archive import array_bytes, read_archive, read_array
from targets.pynq.exchange.job_file import MAX_JSON, SCHEMA, Job, canonical, first_of, id_of, parse_job
from targets.pynq.exchange.protocols import PRESETS, protocol

__all__ = ["PRESETS", "ItemSource", "JobFile", "protocol", "read_job", "tree", "write_job"]


@dataclass(frozen=True)
class ItemSource:
    """One thing to measure, before it is packed.

    Attributes:
        files: by the name that the agent knows: `overlay.bit`, `model.tflite`, `kernel/weights/w1.txt`, …
        inputs, expected: of the test set; items that share an array pass the same one. labels: classes.
        facts: the other fields of the item as in job.json (`interface`, `clock_mhz`, `cycles`, …).
    """

    id: str
    kind: str
    files: Mapping[str, Path | bytes]
    inputs: np.ndarray
    expected: np.ndarray | None = None
    labels: np.ndarray | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class JobFile:
    """A bundle on disk, checked. For checking what a board says: `labels` by the inputs' name, `expected`
    outputs by their own."""

    path: Path
    job: Job
    sha256: str
    labels: Mapping[str, np.ndarray]
    expected: Mapping[str, np.ndarray]


def tree(folder: Path, below: str) -> dict[str, Path]:
    """Files of a folder by name `<below>/<place in folder>`; links are left out."""
    return {
        f"{below}/{path.relative_to(folder).as_posix()}": path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def write_job(
    out: Path,
    items: Sequence[ItemSource],
    *,
    board: str,
    protocol: Mapping[str, Any],
    emulated: bool = False,
    created: str | None = None,
) -> JobFile:
    """Write a bundle.

    Args:
        created: UTC, part of the job's id; None: now. The same one gives the same job.

    Raises:
        ArtifactError: the description is not one that the agent understands.
    """
    content: dict[str, bytes | Path] = {}
    data: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    labels: dict[str, str] = {}

    def add(array: np.ndarray, name: str) -> str:
        packed = array_bytes(array)
        digest = hashlib.sha256(packed).hexdigest()
        if digest not in names:
            names[digest] = name = f"{name}_{digest[:12]}"
            place = {"file": f"data/{name}.npy", "sha256": digest}
            data[name] = {**place, "dtype": array.dtype.name, "shape": list(array.shape)}
            content[f"job/data/{name}.npy"] = packed
        return names[digest]

    described = []
    for item in items:
        hashes = {}
        for name, source in sorted(item.files.items()):
            hashes[name] = digest = _digest(source)
            content[f"job/files/{digest}"] = source
        entry: dict[str, Any] = {
            "id": item.id,
            "kind": item.kind,
            "files": hashes,
            "data": add(item.inputs, "inputs"),
        }
        entry["expected"] = add(item.expected, "expected") if item.expected is not None else None
        if item.labels is not None:
            labels[entry["data"]] = data[add(item.labels, "labels")]["file"]
        described.append({**entry, **item.facts})
    value: dict[str, Any] = {
        "schema": SCHEMA,
        "created": created or datetime.now(UTC).isoformat(timespec="seconds"),
        "board": board,
        "emulated": emulated,
        "protocol": dict(protocol),
        "items": described,
        "data": data,
        "labels": labels,
    }
    try:
        text = canonical({**value, "job": id_of(value)})
        Job.model_validate_json(text)
    except ValidationError as error:
        raise ArtifactError(first_of(error), where=str(out), mend="This job cannot be described.") from error
    content["job/job.json"] = text + b"\n"
    temporary = out.with_name(f".{out.name}.new")
    try:
        archive.write_archive(temporary, content.items())
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    return read_job(out)


def _digest(source: Path | bytes) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with source.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


_MEMBER = re.compile(r"job/(?:job\.json|files/[0-9a-f]{64}|data/[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}\.npy)")


def _wanted(name: str) -> int | None:
    if name == "job/job.json":
        return MAX_JSON
    return archive.MAX_FILE if _MEMBER.fullmatch(name) else None


def read_job(path: Path) -> JobFile:
    """Read a bundle and check that everything is in it, and is what it says.

    Raises:
        ArtifactError: cut off, damaged, forged, incomplete.
    """
    where = str(path)
    hashes: dict[str, str] = {}
    arrays: dict[str, bytes] = {}
    text: bytes | None = None
    for name, content in read_archive(path, _wanted):
        if name == "job/job.json":
            text = content
        else:
            hashes[name] = hashlib.sha256(content).hexdigest()
            if name.startswith("job/data/"):
                arrays[name] = content
    if text is None:
        raise ArtifactError("no job: job/job.json is not in it", where=where, mend="Give a job.tar.gz.")
    job = parse_job(text, where)
    wanted = {f"job/files/{sha}": sha for item in job.items for sha in item.files.values()}
    wanted |= {f"job/{entry.file}": entry.sha256 for entry in job.data.values()}
    for name, sha in sorted(wanted.items()):
        if hashes.get(name) != sha:
            how = "is not what the job names (its sha256 differs)" if name in hashes else "is missing"
            raise ArtifactError(f"{name} {how}", where=where, mend="Make the job again: bench board pack.")
    # Labels of ours are among the data, and so covered by the id; a job need not have them there.
    named = {f"job/{file}" for file in job.labels.values()}
    if missing := sorted(named - set(arrays)):
        raise ArtifactError(f"{missing[0]} is missing", where=where, mend="Make the job again.")
    if more := sorted(set(hashes) - set(wanted) - named):
        raise ArtifactError(f"{more[0]} belongs to no item", where=where, mend="Make the job again.")
    labels = {
        name: read_array(arrays[f"job/{file}"], f"{where}: {file}").reshape(-1)
        for name, file in job.labels.items()
    }
    expected = {
        name: read_array(arrays[f"job/{job.data[name].file}"], f"{where}: {name}")
        for name in {item.expected for item in job.items if item.expected is not None}
    }
    for name, entry in job.data.items():
        if name in expected and (expected[name].dtype.name, expected[name].shape) != (
            entry.dtype,
            entry.shape,
        ):
            raise ArtifactError(
                f"data {name} is not of the kind it says", where=where, mend="Make the job again."
            )
    with path.open("rb") as stream:
        return JobFile(path, job, hashlib.file_digest(stream, "sha256").hexdigest(), labels, expected)
