"""Trust on first use: the contents of a data set of which nobody has published a SHA-256."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bench.errors import DataError

FILE_NAME = "contents.sha256"


def pinned(title: str, folder: Path, digest: str, where: str) -> bool:
    """Hold a digest against the one that was first seen on this machine; the first is kept in `folder`.

    Returns:
        False where it could not be kept (the folder cannot be written).

    Raises:
        DataError: the first one was another.
    """
    pin = folder / FILE_NAME
    try:
        first = pin.read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return _keep(pin, digest)
    except (OSError, ValueError) as error:
        raise DataError(f"the digest that was seen first cannot be read ({error})", where=str(pin)) from error
    if first != digest:
        raise DataError(
            f"these are not {title} as first seen on this machine: sha256 of the arrays is {digest}, "
            f"it was {first}",
            where=where,
            mend=f"Put the first files back; if the change is right, delete {pin} "
            "and make the results of this data set anew (`--force`).",
        )
    return True


def _keep(pin: Path, digest: str) -> bool:
    try:
        pin.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=pin.parent, prefix=f".{pin.name}.")
        with os.fdopen(handle, "w") as file:
            file.write(digest + "\n")
        Path(name).replace(pin)
    except OSError:
        return False
    return True
