"""The job: its archive, what is in it, and errors that have an exit code or a status of their own."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import struct
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

VERSION = "1.0.0"
SCHEMA = 1
#: what a job may hold
MAX_MEMBERS, MAX_FILE, MAX_TOTAL, MAX_JSON = 20000, 1 << 30, 4 << 30, 64 << 20
#: bytes that stay free on the board's disk
SPARE = 64 << 20
_SAFE_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.,=+@/-]{0,199}\Z")
_SAFE_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}\Z")
_SHA = re.compile(r"^[0-9a-f]{64}\Z")


class JobError(Exception):
    """The job cannot be run: exit code 2."""


class Held(Exception):
    """Another job is running: exit code 3."""


class ItemError(Exception):
    """An item cannot be measured."""


class Hung(ItemError):
    """The board did not answer in time."""


class Skip(ItemError):
    """This board cannot run the item."""


def unpack(archive: Path, into: Path) -> None:
    """Unpack a job: plain files under `job/` only, within limits.

    Raises:
        JobError: it is no such archive.
    """
    total = count = 0
    try:
        with tarfile.open(str(archive), "r:*") as tar:
            for member in tar:
                count += 1
                total += max(0, member.size)
                where = PurePosixPath(member.name)
                if member.isdir():
                    continue
                if not member.isreg():
                    raise JobError(f"{member.name}: links and special files are not taken")
                if where.is_absolute() or ".." in where.parts or where.parts[:1] != ("job",):
                    raise JobError(f"{member.name!r} leaves the folder of the job")
                if count > MAX_MEMBERS or member.size > MAX_FILE or total > MAX_TOTAL:
                    raise JobError("the archive is larger than any job")
                need_space(into, member.size)
                target = into.joinpath(*where.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                if source is None:
                    raise JobError(f"{member.name} cannot be read")
                with source, target.open("wb") as out:
                    shutil.copyfileobj(source, out)
            # to the very end, where the checksum of the compression is
            for _ in range(MAX_TOTAL >> 20):
                if tar.fileobj is None or not tar.fileobj.read(1 << 20):
                    break
    except (tarfile.TarError, EOFError, OSError, struct.error, ValueError) as error:
        if (
            isinstance(error, OSError)
            and error.errno is not None
            and not isinstance(error, FileNotFoundError)
        ):
            raise JobError(f"the job cannot be unpacked: {error}") from error
        raise JobError(f"{archive} is no job, or cut off: {error}") from error


def need_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(str(folder)).free
    if free < size + SPARE:
        raise JobError(f"the disk is full: {free >> 20} MB free, {size + SPARE >> 20} MB needed")


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest_of(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


def load_array(path: Path) -> np.ndarray:
    try:
        found: np.ndarray = np.load(str(path), allow_pickle=False)
        return found
    except (OSError, ValueError, EOFError) as error:
        raise ItemError(f"{path.name} cannot be read: {error}") from error


class Job:
    """A job in a folder, checked.

    Raises:
        JobError: it is not what it says.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            text = (folder / "job.json").read_bytes()
            if len(text) > MAX_JSON:
                raise ValueError("job.json is too large")
            self.value = json.loads(text.decode())
            value = self.value
            if value["schema"] != SCHEMA:
                raise ValueError(f"schema {value['schema']!r} is not known to this agent ({VERSION})")
            self.id = str(value["job"])
            rest = {key: entry for key, entry in value.items() if key != "job"}
            if hashlib.sha256(canonical(rest)).hexdigest() != self.id:
                raise ValueError("job.json was changed after it was written")
            self.emulated = value["emulated"] is True
            self.board = str(value["board"])
            self.protocol = Protocol(value["protocol"])
            self.items = [self._item(entry) for entry in value["items"]]
            if len({item["id"] for item in self.items}) != len(self.items):
                raise ValueError("two items have one id")
            self._data = {str(name): dict(entry) for name, entry in value["data"].items()}
            self._labels = {str(name): str(entry) for name, entry in (value.get("labels") or {}).items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobError(f"not a job: {said(error)}") from error

    @staticmethod
    def _item(entry: Any) -> dict[str, Any]:
        item = dict(entry)
        name = item["id"]
        if not isinstance(name, str) or not _SAFE_ID.match(name) or ".." in name:
            raise ValueError(f"id {name!r} has other than safe characters")
        if item["kind"] not in ("overlay", "tflite"):
            raise ValueError(f"{name}: kind {item['kind']!r}")
        for path, sha in item["files"].items():
            parts = PurePosixPath(path).parts
            if not parts or not all(_SAFE_NAME.match(part) for part in parts) or not _SHA.match(sha):
                raise ValueError(f"{name}: file {path!r}")
        return item

    def lay_out(self, item: dict[str, Any], folder: Path) -> Path:
        """The files of an item by their names, each checked; returns the folder."""
        shutil.rmtree(str(folder), ignore_errors=True)
        for name, sha in item["files"].items():
            source = self.folder / "files" / sha
            if not source.is_file():
                raise ItemError(f"{name} is missing in the job")
            if digest_of(source) != sha:
                raise ItemError(f"{name} is not the file that the job names (its sha256 differs)")
            target = folder.joinpath(*PurePosixPath(name).parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(source), str(target))
        return folder

    def data(self, name: str) -> np.ndarray:
        """An array of the job, checked."""
        entry = self._data.get(name)
        if entry is None:
            raise ItemError(f"the job has no data {name!r}")
        path = self._inside(str(entry["file"]))
        if digest_of(path) != entry["sha256"]:
            raise ItemError(f"data {name} is not what the job names (its sha256 differs)")
        found = load_array(path)
        if str(found.dtype) != entry["dtype"] or list(found.shape) != list(entry["shape"]):
            stored, said = f"{found.dtype}{list(found.shape)}", f"{entry['dtype']}{entry['shape']}"
            raise ItemError(f"data {name} is {stored}, the job says {said}")
        return found

    def labels(self, name: str) -> np.ndarray | None:
        path = self._labels.get(name)
        if path is None:
            return None
        for known, entry in self._data.items():
            if entry.get("file") == path:
                return self.data(known).reshape(-1)
        return load_array(self._inside(path)).reshape(-1)

    def _inside(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if len(parts) != 2 or parts[0] != "data" or not _SAFE_NAME.match(parts[1]):
            raise ItemError(f"{name!r} is no file of the job's data")
        path = self.folder.joinpath(*parts)
        if path.is_symlink() or not path.is_file():
            raise ItemError(f"{name} is missing in the job")
        return path


class Protocol:
    """How to measure."""

    def __init__(self, value: dict[str, Any]) -> None:
        self.preset = str(value["preset"])
        self.warmup_calls = max(1, int(value["warmup_calls"]))
        self.calls = max(1, int(value["calls"]))
        self.batches = sorted({int(batch) for batch in value["batches"] if int(batch) >= 1})
        self.windows = int(value.get("windows", 5))
        self.window_seconds = float(value.get("window_seconds", 10.0))
        self.timeout = float(value["timeout_seconds"])
        if not 0 < self.timeout < 3600 or not 0 < self.window_seconds < 3600:
            raise ValueError("a time limit that is none")
        self.repeats = 3 if self.preset == "quick" else 10


def said(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return f"{text} is missing" if isinstance(error, KeyError) else text[:500]


def read_text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
