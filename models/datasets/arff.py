"""Reader of dense numeric ARFF files with one class column at the end (OpenML's format)."""

from __future__ import annotations

import gzip
import re
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from bench.errors import DataError

MAX_HEADER_LINES = 10_000
ATTRIBUTE = re.compile(r"@attribute\s+(?:'([^']*)'|\"([^\"]*)\"|(\S+))\s+(.+)", re.IGNORECASE)


def read_arff(
    path: Path, features: Sequence[str], classes: Sequence[str], rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """x float64 (rows, len(features)) and y uint8 (rows,), indices into `classes`.

    Raises:
        DataError: truncated, foreign, or with other columns, classes or number of rows.
    """
    import pandas as pd

    try:
        with _text(path) as file:
            _check_header(file, features, classes)
            with warnings.catch_warnings():
                # A damaged column is reported below, not warned of
                warnings.simplefilter("ignore", pd.errors.DtypeWarning)
                frame = pd.read_csv(
                    file,
                    header=None,
                    comment="%",
                    skipinitialspace=True,
                    quotechar="'",
                    nrows=rows + 1,
                    names=[*features, "class"],
                    index_col=False,
                    dtype=dict.fromkeys(features, np.float64) | {"class": str},
                )
        if len(frame) != rows:
            raise ValueError(f"{'more' if len(frame) > rows else len(frame)} rows than {rows} expected")
        x = frame[list(features)].to_numpy(np.float64)
        if not np.isfinite(x).all():
            raise ValueError("missing or infinite values")
        y = pd.Categorical(frame["class"], categories=list(classes)).codes
        if (y < 0).any():
            raise ValueError(f"unknown class {frame['class'][int(np.argmax(y < 0))]!r}")
        return x, y.astype(np.uint8)
    except (OSError, ValueError, EOFError, zlib.error, pd.errors.ParserWarning) as error:
        raise DataError(
            f"damaged, or not the file it is named after ({error})",
            where=str(path),
            mend="Remove it or replace it by the original; the next source is used when it is gone.",
        ) from error


def _text(path: Path) -> IO[str]:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rt", encoding="utf-8") if compressed else path.open(encoding="utf-8")


def _check_header(file: IO[str], features: Sequence[str], classes: Sequence[str]) -> None:
    """Read up to and with the line @data."""
    names: list[str] = []
    kind = ""
    for _ in range(MAX_HEADER_LINES):
        line = file.readline(100_000)
        if not line:
            break
        text = line.strip()
        if text.lower() == "@data":
            found = {label.strip(" '\"") for label in kind.strip(" {}").split(",")}
            if names[:-1] != list(features) or found != set(classes):
                raise ValueError(f"columns {names} with last {kind!r}")
            return
        match = ATTRIBUTE.fullmatch(text)
        if match:
            names.append(match[1] or match[2] or match[3])
            kind = match[4]
    raise ValueError("no @data line: not an ARFF file")
