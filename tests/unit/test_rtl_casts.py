"""Casts in Verilog against `FixedType.quantize`, which other tests hold against ap_fixed, bit for bit."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from targets.fpga.fixed import OVERFLOWS, ROUNDINGS, FixedType
from targets.fpga.rtl.cast import cast_lines
from targets.fpga.rtl.stages import Cast, Number
from tests.rtl import cast_codes

pytestmark = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog")
CODES = 300


def drawn(count: int, seed: int) -> list[tuple[Number, Cast]]:
    """Casts between random types; every pair of modes with and without ReLU, and odd types first."""
    rng = random.Random(seed)
    modes = [(rounding, overflow) for rounding in ROUNDINGS for overflow in OVERFLOWS]
    sources = [Number(1, 0), Number(1, 0, False), Number(2, 5), Number(6, -4), Number(40, 30)]
    widths = [(1, 1, True), (1, 0, False), (2, 1, True), (8, -3, True), (6, 12, False), (32, 16, True)]
    found = []
    for i in range(count):
        bits = rng.randint(1, 20)
        target = widths[i // 16] if i < 16 * len(widths) else (
            bits, rng.randint(-5, bits + 4), rng.random() < 0.6
        )  # fmt: skip
        source = rng.choice(sources) if i % 5 == 0 else Number(
            rng.randint(1, 24), rng.randint(-4, 20), rng.random() < 0.7
        )  # fmt: skip
        found.append((source, Cast(FixedType(*target, *modes[i % 8]), relu=i // 8 % 2 == 1)))
    return found


def drawn_codes(number: Number, seed: int) -> np.ndarray:
    """Its edges, small ones of both signs, and random ones."""
    rng = np.random.default_rng(seed)
    near = [edge + k for edge in (number.low, 0, number.high) for k in range(-9, 10)]
    near += [sign * (1 << k) + d for k in range(number.bits) for sign in (-1, 1) for d in (-1, 0, 1)]
    near += rng.integers(number.low, number.high, CODES, endpoint=True).tolist()
    kept = [code for code in near if number.low <= code <= number.high]
    return np.resize(np.array(kept, np.int64), CODES)


def simulated(casts: list[tuple[Number, Cast]], codes: list[np.ndarray], folder: Path) -> np.ndarray:
    """Codes (casts, CODES) that Icarus gives."""
    lines = ["module test;", "integer i;"]
    shown = []
    for k, (number, cast) in enumerate(casts):
        width = number.width
        text = "\n".join(f"{int(code) & ((1 << width) - 1):x}" for code in codes[k])
        (folder / f"c{k}.hex").write_text(text + "\n")
        lines += [
            f"reg [{width - 1}:0] codes{k} [0:{CODES - 1}];",
            f'initial $readmemh("c{k}.hex", codes{k});',
            f"wire signed [{width - 1}:0] x{k} = codes{k}[i];",
            *cast_lines(f"x{k}", number, cast, f"y{k}"),
        ]
        shown.append(f'$write("%0d ", y{k});')
    lines += [
        f"initial for (i = 0; i < {CODES}; i = i + 1) begin #1;",
        *shown,
        '$write("\\n"); end',
        "endmodule",
    ]
    (folder / "test.v").write_text("\n".join(lines) + "\n")
    subprocess.run(["iverilog", "-g2005", "-o", "test", "test.v"], cwd=folder, check=True, timeout=120)
    done = subprocess.run(
        ["vvp", "-n", "test"], cwd=folder, capture_output=True, text=True, check=True, timeout=120
    )
    assert "x" not in done.stdout and "z" not in done.stdout
    return np.array([[int(word) for word in line.split()] for line in done.stdout.splitlines()]).T


def test_casts_are_those_of_ap_fixed(tmp_path: Path) -> None:
    casts = drawn(320, 5)
    assert {(c.type.rounding, c.type.overflow, c.relu) for _, c in casts} == {
        (r, o, relu) for r in ROUNDINGS for o in OVERFLOWS for relu in (False, True)
    }
    codes = [drawn_codes(number, k) for k, (number, _) in enumerate(casts)]
    found = simulated(casts, codes, tmp_path)
    for (number, cast), before, after in zip(casts, codes, found, strict=True):
        values = before * 2.0**-number.fraction
        if cast.relu:
            values = np.maximum(values, 0)
        wanted = cast.type.quantize(values) / cast.type.step
        wrong = np.flatnonzero(wanted != after)
        assert wrong.size == 0, (
            f"{number} to {cast}: code {before[wrong[0]]} is {wanted[wrong[0]]}, not {after[wrong[0]]}"
        )


def test_model_of_the_tests_casts_like_ap_fixed() -> None:
    """The NumPy model that whole networks are compared with."""
    for k, (number, cast) in enumerate(drawn(160, 6)):
        codes = drawn_codes(number, k)
        wanted = cast.type.quantize(codes * 2.0**-number.fraction) / cast.type.step
        assert cast_codes(codes, number.fraction, cast.type).tolist() == wanted.tolist(), (number, cast)
