"""Which files of a report folder the tool wrote, so that it removes those that it no longer writes.

Only a file whose name and SHA-256 stand in the folder's list is removed: never one that somebody else
put there, or changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

LIST = "report.files.json"
ENDINGS = frozenset({".html", ".md", ".tex", ".csv", ".svg", ".pdf", ".png"})


def listed(folder: Path) -> dict[str, str]:
    """File name -> SHA-256 of what was written last time; empty where there is no list, or none of ours."""
    try:
        found = json.loads((folder / LIST).read_text("utf-8"))["files"]
        return {str(name): str(digest) for name, digest in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def contents(files: Mapping[str, bytes]) -> bytes:
    """The list of these files."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    text = "Files that `bench report` wrote here. It removes those that it no longer writes."
    return (json.dumps({"about": text, "files": digests}, indent=1) + "\n").encode()


def remove_old(folder: Path, before: Mapping[str, str], now: Mapping[str, bytes]) -> list[Path]:
    """Remove what was written before, is not written now, and is still as it was written."""
    removed = []
    for name, digest in before.items():
        path = folder / name
        # The list is a file like any other: nothing outside of the folder, nothing but reports.
        if name in now or path.name != name or path.suffix not in ENDINGS or path.is_symlink():
            continue
        with contextlib.suppress(OSError, ValueError):
            if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
                path.unlink()
                removed.append(path)
    return removed


def csv(table: pd.DataFrame) -> str:
    """A frame as report.csv has it.

    Twelve significant digits: the last ones of a float differ between processors, as NumPy sums
    in another order on each, and a report of the same records is to be the same file anywhere.
    """
    return table.to_csv(index=False, lineterminator="\n", float_format="%.12g")


def same_numbers(table: pd.DataFrame, path: Path) -> bool:
    """Whether a report.csv is that of a frame."""
    try:
        return path.read_text(encoding="utf-8") == csv(table)
    except (OSError, UnicodeDecodeError):
        return False
