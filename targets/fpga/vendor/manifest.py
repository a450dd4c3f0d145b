"""`manifest.json`: what was made from what, by hash: network -> HLS project -> overlay -> results.

`kind` is `project` (written, not built: `bench build --write-only`) or `overlay` (built or taken in).
Results made with an overlay name the digest of its artifact, and that covers the manifest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import ArtifactError
from targets.fpga.vendor.products import digest_of

FILE, VERSION = "manifest.json", 1
KINDS = ("project", "overlay")
MAX_BYTES = 16 << 20


def hashes(folder: Path, *, below: str = "") -> dict[str, str]:
    """sha256 of all files below `folder/below` by their place in `folder`."""
    return {
        path.relative_to(folder).as_posix(): digest_of(path)
        for path in sorted((folder / below).rglob("*"))
        if path.is_file() and not path.is_symlink() and path != folder / FILE
    }


def write(folder: Path, kind: str, *, links: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Write the manifest of all that lies in a folder; returns it."""
    manifest = {"version": VERSION, "kind": kind, "links": dict(links), "files": hashes(folder), **more}
    (folder / FILE).write_text(json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False) + "\n")
    return manifest


def read(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder; None if it has none.

    Raises:
        ArtifactError: it is none of ours, damaged or newer than this program.
    """
    path = folder / FILE
    if path.is_symlink() or not path.is_file():
        return None
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("too large")
        value = json.loads(path.read_bytes())
        if value["version"] != VERSION:
            raise ValueError(f"version {value['version']}, this program knows {VERSION}")
        if value["kind"] not in KINDS or not isinstance(value["links"], dict):
            raise ValueError("no kind or no links")
        if not all(isinstance(item, str) for pair in value["files"].items() for item in pair):
            raise ValueError("no list of files")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(
            f"not a manifest of this program ({error})",
            where=str(path),
            mend="Take it away to import the project as a foreign one.",
        ) from error
    return dict(value)


def changed(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Files that are not as the manifest has them, with what is wrong."""
    found = []
    for name, digest in manifest["files"].items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            found.append(f"{name} (outside the folder)")
        elif path.is_symlink() or not path.is_file():
            found.append(f"{name} (missing)")
        elif digest_of(path) != digest:
            found.append(f"{name} (changed)")
    return found
