"""Reading report files as text that may be cut off, foreign or hostile: lines, tables, numbers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import ArtifactError
from targets.fpga.vendor.reports.model import Number

#: Real ones: up to 1 MB; timing reports of many paths 20 MB.
MAX_BYTES = 64 << 20
#: Longest line of a real one: 500 characters; very long hierarchical names 4,000.
MAX_LINE = 100_000
#: what the tools print for "there is no number here"
NOTHING = ("", "-", "--", "---", "_", "?", "x", "na", "n/a", "undef", "unknown", "inf", "-inf")

_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{0,15})?(e[+-]?\d{1,2})?", re.IGNORECASE)
_AGAIN = "Copy the file again, or let the tool write it again."


@dataclass(frozen=True)
class Text:
    """A report as lines. `name` is the file as it was given."""

    name: str
    lines: tuple[str, ...]

    def at(self, line: int) -> str:
        """`file:line`; `line` counts from 0."""
        return f"{self.name}:{line + 1}"

    def damaged(self, line: int, what: str) -> ArtifactError:
        """The error for a line that is not as it should be."""
        return ArtifactError(what, where=self.at(line), mend=_AGAIN)

    def cut_off(self, what: str) -> ArtifactError:
        """The error for a file that ends too early."""
        return self.damaged(max(len(self.lines) - 1, 0), f"the report is cut off: {what}")

    def find(self, pattern: str, start: int = 0) -> int | None:
        """Number of the first line that matches from its beginning, or None."""
        compiled = re.compile(pattern)
        found = (i for i in range(start, len(self.lines)) if compiled.match(self.lines[i]))
        return next(found, None)


@dataclass(frozen=True)
class Table:
    """A table drawn with + - |.

    Attributes:
        title: the nearest line above that is not empty, stripped.
        line: where it begins.
        labels: one for each column; headers of two lines are joined (`Latency (cycles) min`).
        rows: number of the line and the cells, not stripped.
    """

    title: str
    line: int
    labels: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def column(self, *names: str) -> int | None:
        """Place of the first of these labels that there is."""
        return next((self.labels.index(name) for name in names if name in self.labels), None)


def read_text(path: Path) -> Text:
    """The file as text.

    Raises:
        ArtifactError: not a file, unreadable, too large, binary.
    """
    name = str(path)
    try:
        if not path.is_file():  # a device or a pipe would never end
            raise ArtifactError(
                "this is not a file" if path.exists() else "there is no such file",
                where=name,
                mend="Name a report file, or a folder that holds some.",
            )
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"it cannot be read ({error})", where=name) from error
    if len(content) > MAX_BYTES:
        raise ArtifactError(
            f"it is larger than {MAX_BYTES >> 20} MiB",
            where=name,
            mend="Let the tool write fewer paths: report_timing_summary -max_paths 10.",
        )
    if re.search(rb"[\x00-\x08\x0e-\x1f]", content):
        raise ArtifactError(
            "it is a binary file",
            where=name,
            mend="Give the text report (.rpt or .xml), not the .pb, .rpx or .xclbin beside it.",
        )
    # Names of machines and people may be in any encoding; all that is read from here is ASCII.
    text = content.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")
    lines = tuple(text.split("\n"))
    for i, line in enumerate(lines):
        if len(line) > MAX_LINE:
            raise ArtifactError(f"a line is longer than {MAX_LINE:,} characters", where=f"{name}:{i + 1}")
    return Text(name, lines[:-1] if lines[-1] == "" else lines)


def number(cell: str, text: Text, line: int) -> Number | None:
    """A number with or without unit ns, mark `*` or share in brackets; None where the tool prints nothing.

    Raises:
        ArtifactError: it is something else (also `1,234`: which mark that is depends on the locale).
    """
    plain = re.sub(r"[(\[].*$", "", cell).strip().removesuffix("*").removesuffix("ns").strip()
    if plain.lower() in NOTHING or plain.startswith("<"):  # "<0.001" is a bound, not a number
        return None
    if not _NUMBER.fullmatch(plain):
        raise text.damaged(line, f"{cell.strip()[:40]!r} should be a number")
    return int(plain) if re.fullmatch(r"[+-]?\d+", plain) else float(plain)


def count(cell: str, text: Text, line: int) -> int | None:
    """A whole number that is not negative.

    Raises:
        ArtifactError: it is something else.
    """
    found = number(cell, text, line)
    if found is None:
        return None
    if found < 0 or found != int(found):
        raise text.damaged(line, f"{cell.strip()[:40]!r} should be a count")
    return int(found)


def tables(text: Text) -> Iterator[Table]:
    """All tables of the report.

    Raises:
        ArtifactError: the file ends inside a table.
    """
    i, title = 0, ""
    while i < len(text.lines):
        if not _is_border(text.lines[i]):
            stripped = text.lines[i].strip()
            title = stripped if stripped and set(stripped) != {"-"} else title
            i += 1
            continue
        start = i
        while i < len(text.lines) and _is_part(text.lines[i]):
            i += 1
        found = _table(text, start, i, title)
        if found is not None:
            yield found


def _is_border(line: str) -> bool:
    stripped = line.strip()
    return stripped.startswith("+-") and set(stripped) <= {"+", "-"}


def _is_part(line: str) -> bool:
    """Also the header line of co-simulation reports that mixes both: `+   RTL    +  Status  +-----+`."""
    stripped = line.strip()
    return stripped.startswith("|") or _is_border(line) or (stripped[:2] == "+ " and stripped.count("+") > 2)


def _table(text: Text, start: int, end: int, title: str) -> Table | None:
    first = text.lines[start].rstrip()
    borders = [i for i in range(start, end) if _is_border(text.lines[i])]
    closed = len(borders) > 1 and borders[-1] == end - 1 and text.lines[end - 1].rstrip() == first
    if not closed:
        if end == len(text.lines):
            raise text.cut_off("its last table has no end")
        return None
    header = list(range(start + 1, borders[1])) if len(borders) > 2 else []
    body = range(borders[1] + 1 if header else start + 1, end - 1)
    labels = _labels([text.lines[i] for i in header])
    rows = [(i, text.lines[i].strip()) for i in body if not _is_border(text.lines[i])]
    width = len(labels) or first.strip().count("+") - 1
    cells = []
    for i, row in rows:
        parts = tuple(row[1:-1].split("|"))
        if not (row.startswith("|") and row.endswith("|") and len(row) > 1 and len(parts) == width):
            raise text.damaged(i, f"a row of a table of {width} columns is damaged")
        cells.append((i, parts))
    return Table(title, start, labels, tuple(cells))


def _labels(header: Sequence[str]) -> tuple[str, ...]:
    """Labels of the columns of the last header line, each with what stands above it."""
    if not header:
        return ()
    bars = [i for i, mark in enumerate(header[-1]) if mark == "|"]
    found = []
    for left, right in itertools.pairwise(bars):
        words = []
        for line in header:
            marks = "|+" if line.lstrip().startswith("+") else "|"
            begin = max(line.rfind(mark, 0, left + 1) for mark in marks) + 1
            ends = [place for mark in marks if (place := line.find(mark, right)) >= 0]
            words.append(line[begin : min(ends, default=len(line))].strip())
        found.append(" ".join(word for word in words if word and set(word) != {"-"}))
    return tuple(found)
