"""The texts of table cells as siunitx wants them: uncertainties in the last digits, columns `S`.

The numbers are those of the other forms of the table, digit by digit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bench.report.frames.formats import MINUS

_NUMBER = r"[\d,]+(?:\.\d+)?"
_CELL = re.compile(
    rf"(?:(?P<sign>[=?]) )?(?P<value>[+{MINUS}]?{_NUMBER})(?P<times>×)?"
    rf"(?: ± (?P<half>{_NUMBER})| \[(?P<low>{MINUS}?{_NUMBER}), (?P<high>{MINUS}?{_NUMBER})\])?"
)

#: Units of tables, with a prefix or without, as siunitx macros.
UNITS = {
    "%": r"\percent",
    "B": r"\byte",
    "dB": r"\decibel",
    **{
        f"{sign}{unit}": rf"{prefix}\{name}"
        for unit, name in (("s", "second"), ("J", "joule"), ("W", "watt"))
        for sign, prefix in (
            *(("", ""), ("m", r"\milli"), ("µ", r"\micro")),
            *(("n", r"\nano"), ("p", r"\pico")),
        )
    },
    "kB": r"\kilo\byte",
    "MB": r"\mega\byte",
}


@dataclass(frozen=True)
class Entry:
    """One number of a table.

    Attributes:
        number: for an S column: `-1234.50(12)`.
        interval: `10.4, 12.5` where it has no symmetrical uncertainty; may be empty.
        sign: `=` or `?` of a comparison; may be empty.
        times: whether it is a factor.
    """

    number: str
    interval: str = ""
    sign: str = ""
    times: bool = False


def entry(text: str) -> Entry | None:
    """What a cell's text says as a number; None for words, inequalities, and an empty cell."""
    found = _CELL.fullmatch(text)
    if found is None:
        return None
    number, half = _plain(found["value"]), _plain(found["half"] or "")
    if half:
        if _places(number) != _places(half):
            return None
        number += f"({half.replace('.', '').lstrip('0') or '0'})"
    interval = f"{_plain(found['low'])}, {_plain(found['high'])}" if found["low"] else ""
    return Entry(number, interval, found["sign"] or "", bool(found["times"]))


def table_format(entries: Iterable[Entry]) -> str:
    """`-2.2(2)`: room for every number of a column, so that points stand below each other."""
    sign, whole, places, digits = _room(entries)
    return f"{sign}{whole}.{places}" + (f"({digits})" if digits else "")


def widest(entries: Iterable[Entry]) -> str:
    """A number that takes as much room as the column of all of them."""
    sign, whole, places, digits = _room(entries)
    return f"{sign}{'0' * whole}.{'0' * places}" + (f"({'0' * digits})" if digits else "")


def _room(entries: Iterable[Entry]) -> tuple[str, int, int, int]:
    """Sign, digits before and after the point, digits of the uncertainty."""
    sign, whole, places, digits = "", 1, 0, 0
    for one in entries:
        value, _, uncertainty = one.number.rstrip(")").partition("(")
        if value[0] in "+-":
            sign, value = "-", value[1:]
        before, _, after = value.partition(".")
        whole, places = max(whole, len(before)), max(places, len(after))
        digits = max(digits, len(uncertainty))
    return sign, whole, places, digits


def _plain(text: str) -> str:
    return text.replace(",", "").replace(MINUS, "-")


def _places(number: str) -> int:
    return len(number.partition(".")[2])
