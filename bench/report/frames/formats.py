"""Numbers as people read them: digits that the uncertainty bears, units that fit."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
MINUS = "−"
MOST_DECIMALS = 12
#: An interval narrower than this share of its value is what rounding left of equal numbers.
DUST = 1e-12


class Scale(NamedTuple):
    """A display unit: shown = value × factor."""

    factor: float
    unit: str


PERCENT, POINTS, ONE = Scale(100, "%"), Scale(100, "points"), Scale(1, "")
_SECONDS = (Scale(1, "s"), Scale(1e3, "ms"), Scale(1e6, "µs"), Scale(1e9, "ns"))
_JOULES = (Scale(1, "J"), Scale(1e3, "mJ"), Scale(1e6, "µJ"), Scale(1e9, "nJ"), Scale(1e12, "pJ"))
_WATTS = (Scale(1, "W"), Scale(1e3, "mW"))
_HERTZ = (Scale(1e-6, "MHz"), Scale(1e-3, "kHz"), Scale(1, "Hz"))
_BYTES = (Scale(1e-6, "MB"), Scale(1e-3, "kB"), Scale(1, "B"))


def scale_for(unit: str, values: Iterable[float]) -> Scale:
    """The unit in which the median of positive values is 0.3 to 300 (bytes: 10 to 10,000)."""
    known = sorted(value for value in values if value > 0 and math.isfinite(value))
    choices = {
        "s": _SECONDS,
        "bytes": _BYTES,
        "J": _JOULES,
        "W": _WATTS,
        "Hz": _HERTZ,
    }.get(unit)
    if choices is None:
        return Scale(1, "" if unit == "1" else unit)
    if not known:
        return choices[len(choices) // 2]
    middle = known[len(known) // 2]
    least = 10 if unit == "bytes" else 0.3
    return next((scale for scale in choices if middle * scale.factor >= least), choices[-1])


def decimals(uncertainty: float) -> int:
    """Decimal places that an uncertainty bears: two digits if it starts with 1 or 2, else one; two before
    the point. Negative from 100 on: tens, hundreds, …"""
    if not math.isfinite(uncertainty) or uncertainty <= 0:
        return 3
    exponent = math.floor(math.log10(uncertainty))
    first = uncertainty / 10.0**exponent
    places = (1 if first < 2.95 else 0) - exponent
    return min(MOST_DECIMALS, places) if places >= 0 else min(0, 1 - exponent)


def plain(value: float, digits: int = 3) -> str:
    """`digits` significant digits, no exponent: 0.0123, 1.23, 123, 12,300."""
    if not math.isfinite(value):
        return ""
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return _fixed(value, min(places, 8))


def _fixed(value: float, places: int) -> str:
    """Rounded to decimal places, or to tens and hundreds where `places` is negative."""
    text = f"{round(value, places) if places < 0 else value:,.{max(0, places)}f}"
    if text.startswith("-"):
        text = text[1:] if float(text.replace(",", "")) == 0 else MINUS + text[1:]
    return text


def count(value: float) -> str:
    """A whole number with thousands separators; means of counts keep one decimal place."""
    return _fixed(value, 0 if float(value).is_integer() or abs(value) >= 1000 else 1)


def plus_minus(value: float, low: float, high: float, *, sign: bool = False, least: int = 0) -> str:
    """`97.43 ± 0.12`, both rounded to what the uncertainty bears; without an interval the value alone.
    `least` decimal places."""
    half = (high - low) / 2
    if abs(half) < DUST * max(1.0, abs(value)):
        half = 0.0
    known = math.isfinite(half)
    bears = decimals(half) if known and half > 0 else 2
    places = max(least, bears) if least or bears > 0 else bears
    text = _fixed(value, places)
    if sign and value > 0 and float(text.replace(",", "")) != 0:
        text = "+" + text
    return f"{text} ± {_fixed(half, places)}" if known else text


def bracketed(value: float, low: float, high: float, suffix: str = "", places: int | None = None) -> str:
    """`12.3 [12.1, 12.6]`; without an interval the value alone. Three significant digits, or `places`."""
    if places is None:
        size = math.floor(math.log10(abs(value))) if value else 0
        places = min(8, max(0, 2 - size))
    text = _fixed(value, places) + suffix
    if not (math.isfinite(low) and math.isfinite(high)):
        return text
    return f"{text} [{_fixed(low, places)}, {_fixed(high, places)}]"


def footnote(number: int) -> str:
    return str(number).translate(SUPERSCRIPTS)
