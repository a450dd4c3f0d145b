"""Casts between fixed-point numbers as Verilog expressions, bit for bit those of ap_fixed."""

from __future__ import annotations

from targets.fpga.fixed import FixedType
from targets.fpga.rtl.stages import Cast, Number


def cast_lines(source: str, number: Number, cast: Cast, target: str) -> list[str]:
    """Declarations that cast the signed wire `source` (a code of `number`, `number.width` bits).

    The result is the wire `target`, signed, `Number.of(cast.type).width` bits.
    """
    lines: list[str] = []
    width = number.width
    if cast.relu:
        lines.append(
            f"wire signed [{width - 1}:0] {target}_r = {source}[{width - 1}] ? {width}'sd0 : {source};"
        )
        source = f"{target}_r"
    type_ = cast.type
    shift = number.fraction - (type_.bits - type_.integer)
    wide = max(width, shift + 1) + 2 if shift > 0 else width - shift
    lines.append(f"wire signed [{wide - 1}:0] {target}_w = {_extended(source, shift)};")
    lines.append(f"wire signed [{wide - 1}:0] {target}_q = {_rounded(f'{target}_w', wide, shift, type_)};")
    lines += _fitted(f"{target}_q", wide, type_, target)
    return lines


def _extended(source: str, shift: int) -> str:
    return f"{source} <<< {-shift}" if shift < 0 else source


def _rounded(source: str, wide: int, shift: int, type_: FixedType) -> str:
    if shift <= 0:
        return source
    half = f"{wide}'sd{1 << (shift - 1)}"
    if type_.rounding == "RND":
        return f"({source} + {half}) >>> {shift}"
    if type_.rounding == "RND_CONV":
        less = f"{wide}'sd{(1 << (shift - 1)) - 1}"
        return f"({source} + {less} + $signed({{{wide - 1}'d0, {source}[{shift}]}})) >>> {shift}"
    if type_.rounding == "TRN_ZERO":
        up = f"{wide}'sd{(1 << shift) - 1}"
        return f"({source}[{wide - 1}] ? {source} + {up} : {source}) >>> {shift}"
    return f"{source} >>> {shift}"


def _fitted(source: str, wide: int, type_: FixedType, target: str) -> list[str]:
    number = Number.of(type_)
    out = number.width
    if type_.overflow == "WRAP":
        taken = f"{source}[{type_.bits - 1}:0]" if wide > type_.bits else source
        if wide < type_.bits:
            return [f"wire signed [{out - 1}:0] {target} = {_unsigned_safe(source, wide, type_, out)};"]
        sign = "" if type_.signed else "1'b0, "
        return [f"wire signed [{out - 1}:0] {target} = $signed({{{sign}{taken}}});"]
    size = max(wide, out) + 1
    low, high = _literal(size, number.low), _literal(size, number.high)
    return [
        f"wire signed [{size - 1}:0] {target}_s = {source};",
        f"wire signed [{out - 1}:0] {target} = {target}_s < {low} ? {_literal(out, number.low)} : "
        f"{target}_s > {high} ? {_literal(out, number.high)} : {target}_s[{out - 1}:0];",
    ]


def _unsigned_safe(source: str, wide: int, type_: FixedType, out: int) -> str:
    """A narrower code in a wider wrapping type: a negative one in an unsigned type wraps to the top."""
    if type_.signed:
        return source
    missing = type_.bits - wide
    return f"$signed({{1'b0, {{{missing}{{{source}[{wide - 1}]}}}}, {source}}})"


def _literal(size: int, value: int) -> str:
    return f"-{size}'sd{-value}" if value < 0 else f"{size}'sd{value}"
