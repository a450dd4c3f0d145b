"""Where the files of a data set come from: folders of this machine first, then a checked download.

Order: `$BENCH_DATA_DIR`, folders of system packages, the Keras cache (`$KERAS_HOME` or `~/.keras`),
this program's own cache (`$XDG_CACHE_HOME/edge-bench`), download into that cache. `BENCH_OFFLINE=1`
forbids the last.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from bench.errors import DataError

TIMEOUT_SECONDS = 30.0
CHUNK = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """One file: its name, where it can be downloaded, and what it must be.

    Attributes:
        sha256: of the file at `url`.
        max_bytes: a download longer than this is refused.
        openml: `url` gives OpenML's JSON description of the file: its address and its md5 sum, which is
            checked instead (OpenML publishes no other).
    """

    name: str
    url: str
    sha256: str
    max_bytes: int
    openml: bool = False


@dataclass(frozen=True)
class FileSet:
    """The files of a data set; all of them are taken from one place.

    Attributes:
        title: the data set, for messages.
        subfolder: looked in as well as the folder itself, and used in our cache.
        system: folders of distribution packages.
        package: the command that installs such a package, for messages.
    """

    title: str
    files: tuple[RemoteFile, ...]
    subfolder: str
    system: tuple[Path, ...] = ()
    package: str | None = None

    def __str__(self) -> str:
        return ", ".join(file.name for file in self.files)


@dataclass(frozen=True)
class Found:
    """Paths by the names in the file set.

    Attributes:
        source: which place they are from, without paths of this machine: it goes into records.
    """

    paths: dict[str, Path]
    source: str

    @property
    def where(self) -> str:
        """For error messages."""
        return ", ".join(str(path) for path in self.paths.values())


def offline() -> bool:
    """Whether the user has forbidden downloads."""
    return os.environ.get("BENCH_OFFLINE", "").strip().lower() not in ("", "0", "false", "no")


def cache_folder() -> Path:
    """Where downloads are kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edge-bench"


def keras_folder() -> Path:
    """Where Keras keeps its downloaded data sets."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "datasets"


def _places(files: FileSet) -> Iterator[tuple[str, Path]]:
    data = os.environ.get("BENCH_DATA_DIR")
    if data:
        yield "$BENCH_DATA_DIR", Path(data)
        yield "$BENCH_DATA_DIR", Path(data) / files.subfolder
    for folder in files.system:
        yield str(folder), folder
    yield "Keras cache", keras_folder()
    yield "Keras cache", keras_folder() / files.subfolder
    yield "download cache", cache_folder() / files.subfolder


def _in_folder(folder: Path, name: str) -> Path | None:
    """The file, or the same one with or without compression."""
    other = name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"
    return next((path for path in (folder / name, folder / other) if path.is_file()), None)


def find(files: FileSet) -> Found | None:
    """The first place on this machine that has all the files. Reads and downloads nothing."""
    for source, folder in _places(files):
        paths = {file.name: _in_folder(folder, file.name) for file in files.files}
        if all(paths.values()):
            return Found({name: path for name, path in paths.items() if path}, source)
    return None


def missing(files: FileSet, why: str) -> DataError:
    """The error that names the files and the four ways to get them."""
    packaged = files.package or "no distribution package is known for this one"
    urls = "\n     ".join(file.url for file in files.files)
    return DataError(
        f"{files.title} is not on this machine ({why}); wanted: {files}",
        mend="Four ways to get it:\n"
        f"  1. put the files into a folder (or its {files.subfolder}/) and name it in BENCH_DATA_DIR\n"
        f"  2. system package: {packaged}\n"
        f"  3. put them into the Keras cache: {keras_folder()}\n"
        f"  4. let this program download them (network needed, BENCH_OFFLINE not set):\n     {urls}",
    )


def locate(files: FileSet) -> Found:
    """Paths of all files, downloaded if need be.

    Raises:
        DataError: no place has them and they cannot be downloaded (says the four ways to get them).
    """
    found = find(files)
    if found:
        return found
    if offline():
        raise missing(files, "and BENCH_OFFLINE forbids downloading")
    folder = cache_folder() / files.subfolder
    paths = {}
    for file in files.files:
        try:
            paths[file.name] = _in_folder(folder, file.name) or download(file, folder)
        except OSError as error:
            raise missing(files, f"{file.url}: {error}") from error
    return Found(paths, "download cache")


def unavailable(files: FileSet) -> str | None:
    """Why the files cannot be had here, or None (they are here, or a download may be tried)."""
    if find(files) or not offline():
        return None
    return missing(files, "and BENCH_OFFLINE forbids downloading").what


def download(file: RemoteFile, folder: Path) -> Path:
    """Stream to a temporary name, check length and checksum, then move into place.

    Raises:
        OSError: it cannot be reached, or stops early.
        DataError: what came is longer than it may be, or is another file.
    """
    address, algorithm, expected = file.url, "sha256", file.sha256
    if file.openml:
        address, expected = _openml(file.url)
        algorithm = "md5"
    folder.mkdir(parents=True, exist_ok=True)
    print(f"downloading {address}", file=sys.stderr)
    digest = hashlib.new(algorithm, usedforsecurity=False)
    handle, name = tempfile.mkstemp(dir=folder, prefix=f".{file.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            for chunk in _chunks(address, file.max_bytes):
                digest.update(chunk)
                out.write(chunk)
        if digest.hexdigest() != expected:
            raise DataError(
                f"{algorithm} is {digest.hexdigest()} instead of {expected}: "
                f"the download is damaged or no longer {file.name}",
                where=address,
                mend="Try again later, or give the file by BENCH_DATA_DIR.",
            )
        target = folder / file.name
        temporary.replace(target)
        return target
    finally:
        temporary.unlink(missing_ok=True)


def _chunks(url: str, max_bytes: int) -> Iterator[bytes]:
    request = urllib.request.Request(url, headers={"User-Agent": "edge-bench"})
    size = 0
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as reply:
            while chunk := reply.read(CHUNK):
                size += len(chunk)
                if size > max_bytes:
                    raise DataError(f"longer than the {max_bytes} bytes that it may have", where=url)
                yield chunk
            expected = reply.headers.get("Content-Length", "")
    except HTTPException as error:
        raise OSError(f"broken reply ({error!r})") from error
    # http.client does not complain when a reply read in pieces ends too early.
    if expected.isdigit() and int(expected) != size:
        raise OSError(f"connection closed after {size} of {expected} bytes")


def _openml(url: str) -> tuple[str, str]:
    """Address and md5 sum of the file that OpenML's description at `url` tells of."""
    try:
        described = json.loads(b"".join(_chunks(url, 1 << 20)))["data_set_description"]
        address, md5 = str(described["url"]), str(described["md5_checksum"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"not a description of an OpenML data set ({error!r})", where=url) from error
    # A description must not be able to point at files of this machine or at anybody's server.
    described_at, found_at = urllib.parse.urlsplit(url), urllib.parse.urlsplit(address)
    trusted = found_at.scheme == "https" and f".{found_at.hostname}".endswith(".openml.org")
    if not trusted and (found_at.scheme, found_at.netloc) != (described_at.scheme, described_at.netloc):
        raise DataError(f"the description points to {address}, which is not OpenML", where=url)
    return address, md5
