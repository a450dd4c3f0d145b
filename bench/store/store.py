"""The results folder: records, artifacts, logs and manifests as plain files.

    records/<kind>/<key[:2]>/<key>.json    artifacts/<digest>/…    logs/<key>.log
    sweeps/<name>.json (manifest)          claims/                 tmp/ (half-made things)

Everything appears under its final name in one atomic step, after it has reached the disk. No
database: the folder survives NFS, rsync and git.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.core.records import KINDS, Record
from bench.errors import ArtifactError, OtherVersion, StoreError
from bench.store.claims import Claims

MANIFEST_VERSION = 1
_KEY = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]{0,120}")


class Store:
    """One results folder. Opening one touches nothing: reading works where writing does not.

    Attributes:
        corrupt: files that were no records and have been set aside as `<name>.corrupt`.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.claims = Claims(self.root / "claims")
        self.corrupt: list[str] = []
        self._verified: set[str] = set()
        self._records = str(self.root / "records")

    # -- records ---------------------------------------------------------------------------------

    def record_path(self, kind: str, key: str) -> Path:
        if kind not in KINDS or not _KEY.fullmatch(key):
            raise StoreError(f"not a record's name: {kind}/{key}", where=str(self.root))
        return self.root / "records" / kind / key[:2] / f"{key}.json"

    def keys(self, kind: str) -> set[str]:
        """Keys of all records of a kind, from the folder's listing alone."""
        found: set[str] = set()
        place = self.root / "records" / kind
        try:
            with os.scandir(place) as folders:
                for folder in folders:
                    if folder.is_dir():
                        with os.scandir(folder) as files:
                            found.update(file.name[:-5] for file in files if file.name.endswith(".json"))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StoreError(f"cannot be read ({error.strerror})", where=str(place)) from error
        return found

    def read(self, kind: str, key: str) -> Record | None:
        """A task's record; None if there is none, or the file is damaged and has been set aside.

        Raises:
            StoreError: it cannot be read, or is of a version that this program does not know.
        """
        if kind not in KINDS or not _KEY.fullmatch(key):
            raise StoreError(f"not a record's name: {kind}/{key}", where=str(self.root))
        # Not a Path until something is wrong: a plan reads tens of thousands of these.
        place = f"{self._records}/{kind}/{key[:2]}/{key}.json"
        try:
            with open(place, "rb", buffering=0) as file:  # noqa: PTH123
                raw = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot be read ({error.strerror})", where=place) from error
        try:
            record = Record.from_json(json.loads(raw), where=place)
        except OtherVersion:
            raise
        except (ValueError, RecursionError, StoreError):
            self._set_aside(Path(place))
            return None
        if (record.kind, record.key) != (kind, key):
            self._set_aside(Path(place))
            return None
        return record

    def write(self, record: Record) -> None:
        """Write a record, in place of an older one of the same task.

        Raises:
            StoreError: it could not be written; nothing half-written is left.
            ValueError: a number in it is NaN or infinite.
        """
        self.write_json(self.record_path(record.kind, record.key), record.to_json())

    def _set_aside(self, path: Path) -> None:
        self.corrupt.append(str(path))
        with contextlib.suppress(OSError):  # a read-only folder: it counts as missing all the same
            path.replace(path.with_name(path.name + ".corrupt"))

    # -- artifacts -------------------------------------------------------------------------------

    def temporary(self) -> Path:
        """A new empty folder, on the file system of the artifacts."""
        path = self.root / "tmp" / uuid.uuid4().hex
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise StoreError(f"cannot be written ({error.strerror})", where=str(path)) from error
        return path

    def add_artifact(self, folder: Path) -> str:
        """Move a folder made by `temporary` to its place; returns its digest.

        Raises:
            ArtifactError: it is empty or holds something other than files and folders.
            StoreError: it could not be written.
        """
        digest = folder_digest(folder)
        place = self.root / "artifacts" / digest
        try:
            for path in (*sorted(folder.rglob("*")), folder):
                _fsync(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists() and self.artifact(digest) is not None:
                shutil.rmtree(folder)
            else:
                # Two processes may come here with the same contents: either one's will do.
                with contextlib.suppress(FileExistsError):
                    folder.rename(place)
                _fsync(place.parent)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise StoreError(f"cannot be written ({error.strerror})", where=str(place)) from error
        self._verified.add(digest)
        return digest

    def artifact(self, digest: str) -> Path | None:
        """Folder of an artifact, its contents checked once per process; None if it is not there or
        not what it was (then it is set aside)."""
        if not _KEY.fullmatch(digest):
            raise StoreError(f"not a digest: {digest!r}", where=str(self.root))
        path = self.root / "artifacts" / digest
        if digest in self._verified and path.is_dir():
            return path
        if not path.is_dir() or path.is_symlink():
            return None
        try:
            intact = folder_digest(path) == digest
        except ArtifactError:
            intact = False
        except OSError as error:
            raise StoreError(f"cannot be read ({error.strerror})", where=str(path)) from error
        if not intact:
            self.corrupt.append(str(path))
            with contextlib.suppress(OSError):
                path.rename(path.with_name(f"{digest}.corrupt-{uuid.uuid4().hex[:8]}"))
            return None
        self._verified.add(digest)
        return path

    def input(self, key: str, inputs: Mapping[str, str | None]) -> Path:
        """Folder of the artifact that a task was given. `inputs`: digests by key of the build.

        Raises:
            ArtifactError: it is gone or damaged.
        """
        digest = inputs[key]
        path = self.artifact(digest) if digest else None
        if path is None:
            raise ArtifactError(
                "the artifact is gone or damaged", where=str(digest), mend="Run the sweep again."
            )
        return path

    def has_artifact(self, digest: str) -> bool:
        """Whether its folder is there, unchecked."""
        return (self.root / "artifacts" / digest).is_dir()

    # -- manifests, logs, housekeeping -----------------------------------------------------------

    def log_path(self, key: str) -> Path:
        return self.root / "logs" / f"{key}.log"

    def write_manifest(self, manifest: dict[str, Any]) -> Path:
        path = self._manifest_path(str(manifest["sweep"]))
        self.write_json(path, {"schema_version": MANIFEST_VERSION, **manifest})
        return path

    def read_manifest(self, name: str) -> dict[str, Any]:
        """Raises StoreError if there is none, or it is damaged or newer than this program."""
        path = self._manifest_path(name)
        try:
            manifest = json.loads(path.read_bytes())
        except FileNotFoundError:
            known = ", ".join(self.sweeps()) or "none"
            raise StoreError(f"no sweep {name!r} here. Known: {known}.", where=str(self.root)) from None
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot be read ({error})", where=str(path)) from error
        version = manifest.get("schema_version") if isinstance(manifest, dict) else None
        if version != MANIFEST_VERSION or not isinstance(manifest.get("cells"), list):
            raise StoreError(f"not a manifest of schema version {MANIFEST_VERSION}", where=str(path))
        return dict(manifest)

    def sweeps(self) -> list[str]:
        """Names of the sweeps that have been run here."""
        return sorted(path.stem for path in (self.root / "sweeps").glob("*.json"))

    def _manifest_path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise StoreError(f"not a name for a sweep: {name!r}", mend="Use letters, digits, - _ . + =")
        return self.root / "sweeps" / f"{name}.json"

    def check_writable(self) -> None:
        """Raises StoreError if nothing can be written here."""
        probe = self.root / "tmp" / f"probe-{uuid.uuid4().hex}"
        self.write_json(probe, {"probe": "x" * 4096})
        probe.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what killed runs left in tmp/. Does nothing while any process works here."""
        folder = self.root / "tmp"
        # Listed before the claims are looked at: whoever works has a claim before it writes here.
        left = list(folder.iterdir()) if folder.is_dir() else []
        try:
            if self.claims.living():
                return
        except OSError:
            return  # read-only: whoever writes says so
        for path in left:
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime < 60:
                    continue
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def write_json(self, path: Path, value: Any) -> None:
        """Write a file of the results folder as a whole.

        Raises:
            StoreError: it could not be written; nothing half-written is left.
            ValueError: a number in it is NaN or infinite.
        """
        data = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, default=_plain).encode() + b"\n"
        temporary = self.root / "tmp" / f"{uuid.uuid4().hex}.json"
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(data)
                _fsync(temporary)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _fsync(path.parent)
        except OSError as error:
            raise StoreError(
                f"cannot be written ({error.strerror})",
                where=str(path),
                mend="Free space or choose another folder with --results; what is finished is kept.",
            ) from error


def folder_digest(folder: Path) -> str:
    """sha256 over names, sizes and contents of all files in a folder.

    Raises:
        ArtifactError: it is empty, or holds a link or a special file.
    """
    listing = []
    for path in sorted(folder.rglob("*"), key=lambda item: item.relative_to(folder).as_posix()):
        mode = path.lstat().st_mode
        name = path.relative_to(folder).as_posix()
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                listing.append([name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()])
        elif not stat.S_ISDIR(mode):
            raise ArtifactError("an artifact may hold files and folders only", where=f"{folder}/{name}")
    if not listing:
        raise ArtifactError("an artifact without files", where=str(folder))
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays, which steps may leave in their facts."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
