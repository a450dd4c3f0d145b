"""Traces of external power meters, read as untrusted files: `Trace`s that `.energy` integrates.

Formats:
`*-energy.bin`  of EEMBC's EnergyRunner with a Joulescope: byte 0xF1, sample rate (float32, little endian,
                Hz), then energy per sample (float32, little endian, µJ). A sample that was dropped is NaN.
CSV             columns time, volt, ampere (or watt), units in the headers (`time [ms]`, `current_mA`) or
                given; separators comma, semicolon or tab; irregular sampling is fine. Comment lines may name
                the meter and the rail: `# meter: JS110`, `# rail: 5 V input`.
"""

from __future__ import annotations

import math
import re
import struct
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.errors import ArtifactError, ConfigError
from targets.pynq.printable import one_line

EEMBC_MARK = b"\xf1"
MAX_BYTES, MAX_ROWS, MAX_LINE = 1 << 30, 20_000_000, 4096
#: No meter is faster, no board takes more: beyond it, the file is something else.
MAX_RATE_HZ, MAX_WATT = 20e6, 1e5
#: A pause this many times the usual distance of two samples is a gap.
GAP_FACTOR = 5.0
QUANTITIES = {"time": "s", "volt": "V", "ampere": "A", "watt": "W"}
_NAMES = {
    "time": r"time|timestamp|t|elapsed|seconds?",
    "volt": r"volts?|voltage|v|u",
    "ampere": r"amperes?|amps?|current|i|a",
    "watt": r"watts?|power|p|w",
}
#: Headers that are units themselves.
_SPELLED = re.compile(r"seconds?|volts?|v|amperes?|amps?|a|watts?|w", re.I)
_HEADER = re.compile(r"([A-Za-z]+)(?:\s*[\[(_/ ]\s*([A-Za-zµμ]{1,2})\s*[\])]?)?")
_UNIT = re.compile(r"([munµμ]?)([svaw])", re.I)
_PREFIX = {"": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "n": 1e-9}
_NOTE = re.compile(r"#\s*(meter|rail)\s*:\s*(.{1,200})", re.I)
_AGAIN = "Copy the file again from the meter's computer."


@dataclass(frozen=True)
class Trace:
    """What a meter saw.

    Attributes:
        file: its name. format: `eembc` or `csv`.
        rate_hz: that the file claims; None for CSV.
        times: seconds. CSV: of the samples. EEMBC: of the samples' beginnings.
        power: watts, at each sample (CSV: at that instant; EEMBC: mean of the sample). NaN: dropped.
        meter, rail: as the file or the user names them.
    """

    file: str
    format: str
    rate_hz: float | None
    times: np.ndarray
    power: np.ndarray
    meter: str | None = None
    rail: str | None = None


def read_trace(path: Path, columns: str | None = None) -> Trace:
    """Read a trace; its first byte tells the format.

    Args:
        columns: of a CSV file without (usable) headers: `time:ms,volt:V,ampere:mA`, `-` for one to leave out.

    Raises:
        ArtifactError: missing, empty, cut off, foreign, too large, or its values cannot be.
        ConfigError: `columns` cannot be understood.
    """
    named = _columns(columns) if columns is not None else None
    where = str(path)
    if not path.is_file():
        raise ArtifactError("no such file", where=where)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ArtifactError(
            f"{size:,} bytes: more than {MAX_BYTES:,}", where=where, mend="Cut it into pieces."
        )
    with path.open("rb") as stream:
        first = stream.read(1)
    if not first:
        raise ArtifactError("it is empty", where=where, mend=_AGAIN)
    return _eembc(path, size) if first == EEMBC_MARK else _csv(path, named)


def _eembc(path: Path, size: int) -> Trace:
    where, data = str(path), path.read_bytes()
    if size < 9 or (size - 5) % 4:
        raise ArtifactError("cut off in the middle of a sample", where=where, mend=_AGAIN)
    (rate,) = struct.unpack("<f", data[1:5])
    if not (math.isfinite(rate) and 0 < rate <= MAX_RATE_HZ):
        raise ArtifactError(f"a sample rate of {rate:g} Hz cannot be", where=where, mend=_AGAIN)
    energy = np.frombuffer(data, "<f4", offset=5).astype(np.float64) * 1e-6
    power = energy * rate
    _possible(power, where)
    return Trace(path.name, "eembc", float(rate), np.arange(len(power)) / rate, power)


def _possible(power: np.ndarray, where: str) -> None:
    known = power[~np.isnan(power)]
    if not len(known):
        raise ArtifactError("every sample of it was dropped", where=where, mend="Measure again.")
    worst = int(np.nanargmax(np.abs(power)))
    if not abs(power[worst]) <= MAX_WATT:
        raise ArtifactError(
            f"sample {worst + 1:,} is {power[worst]:g} W: not a trace of a board, or damaged",
            where=where,
            mend="See that the units are right." if where.endswith(".csv") else _AGAIN,
        )


@dataclass(frozen=True)
class _Column:
    quantity: str
    factor: float


def _unit(text: str, quantity: str) -> float | None:
    """Factor to the base unit; None if it is no unit of the quantity."""
    found = _UNIT.fullmatch(text)
    if not found or found[2].upper() != QUANTITIES[quantity].upper():
        return None
    return _PREFIX.get(found[1])  # M (mega) is none that a meter writes


def _columns(spec: str) -> list[_Column | None]:
    found: list[_Column | None] = []
    for word in spec.split(","):
        quantity, _, unit = word.strip().partition(":")
        if quantity == "-":
            found.append(None)
            continue
        factor = _unit(unit or QUANTITIES.get(quantity, ""), quantity) if quantity in QUANTITIES else None
        if factor is None:
            raise ConfigError(
                f"columns: {word.strip()!r} is not understood",
                mend="Write them in order, like time:ms,volt:V,ampere:mA or time:s,-,watt:mW.",
            )
        found.append(_Column(quantity, factor))
    if not _complete(found):
        raise ConfigError("columns: needed once each: time, and volt with ampere or watt")
    return found


def _complete(columns: Sequence[_Column | None]) -> bool:
    names = sorted(column.quantity for column in columns if column)
    return names in (["ampere", "time", "volt"], ["time", "watt"], ["ampere", "time", "volt", "watt"])


def _header(cells: Sequence[str], where: str) -> list[_Column | None]:
    """Columns by the words of the header line; columns of other names are left out."""
    found: list[_Column | None] = []
    for cell in cells:
        match = _HEADER.fullmatch(cell.strip().strip('"').strip())
        word, unit = (match[1], match[2]) if match else ("", None)
        quantity = next((name for name, words in _NAMES.items() if re.fullmatch(words, word, re.I)), None)
        if quantity is None:
            found.append(None)
            continue
        factor = _unit(unit, quantity) if unit else (1.0 if _SPELLED.fullmatch(word) else None)
        if factor is None:
            raise ArtifactError(
                f"column {one_line(cell.strip(), 40)!r} has no unit of {quantity} that is known",
                where=where,
                mend="Name the columns: --columns time:ms,volt:V,ampere:mA (with the units they have).",
            )
        found.append(_Column(quantity, factor))
    if not _complete(found):
        raise ArtifactError(
            "not a trace: columns time, volt and ampere (or watt) are needed, once each",
            where=where,
            mend="Name the columns: --columns time:ms,volt:V,ampere:mA, with - for those to leave out.",
        )
    return found


def _numbers(cells: Iterable[str], semicolon: bool) -> list[float | None]:
    found: list[float | None] = []
    for cell in cells:
        text = cell.strip().strip('"')
        try:
            found.append(float(text.replace(",", ".") if semicolon else text))
        except ValueError:
            found.append(None)
    return found


def _csv(path: Path, columns: list[_Column | None] | None) -> Trace:
    where, notes = str(path), dict[str, str]()
    values = {name: array("d") for name in QUANTITIES}
    begun, separator = False, ","
    with path.open("rb") as stream:
        number = 0
        while raw := stream.readline(MAX_LINE):
            number += 1
            at = f"{where}:{number}"
            if len(raw) == MAX_LINE or b"\0" in raw:
                raise ArtifactError(
                    "not a text file of a meter", where=at, mend="Give a .csv or *-energy.bin."
                )
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8", "replace").strip()
            if line.startswith("#") and not begun:
                if note := _NOTE.match(line):
                    notes[note[1].lower()] = one_line(note[2].strip(), 200)
                continue
            if not line:
                continue
            if not begun:
                separator = next((char for char in ";\t," if char in line), ",")
            cells = line.split(separator)
            numbers = _numbers(cells, separator == ";")
            if not begun:
                begun = True
                if None in numbers:
                    columns = columns or _header(cells, at)
                    continue
                if columns is None:
                    raise ArtifactError(
                        "no header line",
                        where=at,
                        mend="Name the columns: --columns time:ms,volt:V,ampere:mA (with their units).",
                    )
            assert columns is not None
            if not raw.endswith(b"\n") and len(cells) < len(columns):
                raise ArtifactError("cut off in the middle of a line", where=at, mend=_AGAIN)
            if len(values["time"]) >= MAX_ROWS:
                raise ArtifactError(f"more than {MAX_ROWS:,} samples", where=at, mend="Cut it into pieces.")
            _row(columns, numbers, values, at)
    return _made(path, values, notes)


def _row(
    columns: Sequence[_Column | None],
    numbers: Sequence[float | None],
    values: dict[str, array[float]],
    at: str,
) -> None:
    for i, column in enumerate(columns):
        if column is None:
            continue
        number = numbers[i] if i < len(numbers) else None
        if number is None or (not math.isfinite(number) and (column.quantity == "time" or number == number)):
            raise ArtifactError(f"no number for {column.quantity}", where=at, mend="Mend or cut the line.")
        values[column.quantity].append(number * column.factor)
    times = values["time"]
    if len(times) > 1 and times[-1] < times[-2]:
        raise ArtifactError(
            f"time goes back, from {times[-2]:g} s to {times[-1]:g} s",
            where=at,
            mend="One file is one trace: cut it there.",
        )


def _made(path: Path, values: dict[str, array[float]], notes: dict[str, str]) -> Trace:
    times = np.array(values["time"])
    if len(times) < 2 or times[-1] <= times[0]:
        raise ArtifactError("fewer than two samples", where=str(path), mend="Give the whole trace.")
    if values["watt"]:
        power = np.array(values["watt"])
    else:
        with np.errstate(over="ignore"):
            power = np.array(values["volt"]) * np.array(values["ampere"])
    _possible(power, str(path))
    return Trace(path.name, "csv", None, times, power, notes.get("meter"), notes.get("rail"))
