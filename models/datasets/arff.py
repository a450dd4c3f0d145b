"""Reader of dense numeric ARFF files with one class column at the end (OpenML's format)."""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from models.datasets.formats import damaged, decompressed

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
        with io.TextIOWrapper(decompressed(path), "utf-8") as file:
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
            found = f"{len(frame)} rows, {rows} expected" if len(frame) < rows else f"more than {rows} rows"
            raise ValueError(found)
        x = frame[list(features)].to_numpy(np.float64)
        if not np.isfinite(x).all():
            raise ValueError("missing or infinite values")
        y = pd.Index(classes).get_indexer(pd.Index(frame["class"]))
        if (y < 0).any():
            raise ValueError(f"unknown class {frame['class'][int(np.argmax(y < 0))]!r}")
        return x, y.astype(np.uint8)
    except (OSError, ValueError, EOFError, zlib.error, pd.errors.ParserWarning) as error:
        raise damaged(path, error) from error


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
