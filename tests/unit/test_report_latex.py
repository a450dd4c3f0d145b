"""report.tex: numbers in siunitx's form, syntax, hostile names, and a real compiler where there is one."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report import frame
from bench.report.frames import formats
from bench.report.frames.view import views
from bench.report.siunitx import UNITS, Entry, entry, table_format
from bench.report.tables.blocks import blocks
from bench.report.tables.column import Column
from bench.report.tables.comparison import Table, TableCell, TableRow, comparison
from bench.report.tables.latex import LONG, escape, latex
from tests.latex_syntax import NUMBER, check_syntax
from tests.synthetic import KINDS, Kind, build

HOSTILE = r"\input{/etc/passwd}%&_#$~^{}<b>|\"'`--,,"


# -- numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number", "interval", "sign", "times"),
    [
        ("91.52 ± 0.14", "91.52(14)", "", "", False),
        ("85.7 ± 1.9", "85.7(19)", "", "", False),
        ("97.4 ± 1.0", "97.4(10)", "", "", False),
        ("0.000 ± 0.019", "0.000(19)", "", "", False),
        ("97.43 ± 0.00", "97.43(0)", "", "", False),
        ("1,230 ± 120", "1230(120)", "", "", False),
        ("−0.3 ± 0.4", "-0.3(4)", "", "", False),
        ("+0.17 ± 0.21", "+0.17(21)", "", "", False),
        ("7,034,176", "7034176", "", "", False),
        ("10.9 [10.4, 12.5]", "10.9", "10.4, 12.5", "", False),
        ("1,234 [1,200, 1,300]", "1234", "1200, 1300", "", False),
        ("3.71× [3.07, 4.43]", "3.71", "3.07, 4.43", "", True),
        ("= 1.00×", "1.00", "", "=", True),
        ("? 0.96×", "0.96", "", "?", True),
    ],
)
def test_numbers_in_siunitx_form(text: str, number: str, interval: str, sign: str, times: bool) -> None:
    assert entry(text) == Entry(number, interval, sign, times)


@pytest.mark.parametrize("text", ["", "n/a", "failed", "…", "yes", "> 99.9", "50 % of seeds", "1.2.3", "nan"])
def test_words_and_inequalities_are_no_numbers(text: str) -> None:
    assert entry(text) is None


def as_numbers(text: str) -> tuple[Decimal, Decimal]:
    """Value and uncertainty of `-12.3(45)`."""
    value, _, digits = text.rstrip(")").partition("(")
    step = Decimal(1).scaleb(Decimal(value).as_tuple().exponent)  # type: ignore[arg-type]
    return Decimal(value), int(digits) * step


finite = st.floats(min_value=-1e7, max_value=1e7, allow_nan=False)
halves = st.floats(min_value=0, max_value=1e7, allow_nan=False)


@given(finite, halves)
def test_value_and_uncertainty_are_rounded_to_the_digits_that_it_bears(value: float, half: float) -> None:
    low, high = value - half, value + half
    half = (high - low) / 2
    found = entry(formats.plus_minus(value, low, high))
    assert found is not None and NUMBER.fullmatch(found.number)
    number, uncertainty = as_numbers(found.number)
    if half < formats.DUST * max(1.0, abs(value)):
        assert uncertainty == 0 and abs(number - Decimal(value)) <= Decimal("0.005")
        return
    # One or two digits (three where 99.6 becomes 100), of which none is invented.
    kept = str(uncertainty.normalize().as_tuple().digits)
    assert 1 <= len(uncertainty.normalize().as_tuple().digits) <= 2, kept
    step = Decimal(10) ** (math.floor(math.log10(half)) - (1 if half >= 10 or _first(half) < 2.95 else 0))
    assert abs(uncertainty - Decimal(half)) <= step * Decimal("0.500001")
    assert abs(number - Decimal(value)) <= step * Decimal("0.500001")


def _first(half: float) -> float:
    return half / 10.0 ** math.floor(math.log10(half))


@given(finite)
def test_no_interval_is_invented(value: float) -> None:
    for low, high in ((math.nan, math.nan), (-math.inf, math.inf), (value, math.inf)):
        found = entry(formats.plus_minus(value, low, high))
        assert found is not None and "(" not in found.number and not found.interval


@given(finite, halves)
def test_brackets_hold_the_ends_of_the_interval(value: float, half: float) -> None:
    text = formats.bracketed(value, value - half, value + half, places=2)
    found = entry(text)
    assert found is not None
    ends = [Decimal(end) for end in found.interval.split(", ")]
    for end, true in zip(ends, (value - half, value + half), strict=True):
        assert end == Decimal(true).quantize(Decimal("0.01"), ROUND_HALF_EVEN)


@given(st.lists(st.tuples(finite, st.none() | halves), min_size=1, max_size=8))
def test_a_column_has_room_for_every_number(pairs: list[tuple[float, float | None]]) -> None:
    texts = [
        formats.plus_minus(v, v - h, v + h, sign=True) if h is not None else formats.plain(v)
        for v, h in pairs
    ]
    entries = [one for one in map(entry, texts) if one is not None]
    found = re.fullmatch(r"(-?)(\d+)\.(\d+)(?:\((\d+)\))?", table_format(entries))
    assert found is not None and len(entries) == len(pairs)
    for one in entries:
        value, _, digits = one.number.rstrip(")").partition("(")
        whole, _, places = value.lstrip("+-").partition(".")
        assert len(whole) <= int(found[2]) and len(places) <= int(found[3])
        assert len(digits) <= int(found[4] or 0) and (value[0] not in "+-" or found[1] == "-")


def test_units_that_tables_show_are_known_to_siunitx() -> None:
    shown = {scale.unit for scales in (formats._SECONDS, formats._JOULES, formats._BYTES) for scale in scales}
    assert shown | {"%", "W", "dB"} <= set(UNITS)


# -- syntax -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    build(root, failed={"clustered": "loss is NaN & so on"})
    return root


def made(root: Path, warning: str = "") -> str:
    return latex([comparison(view) for view in views(frame(root))], warning)


def test_syntax_and_contents(results: Path) -> None:
    text = made(results)
    rows = check_syntax(text)
    names = [row[0] for row in rows]
    assert set(names) >= {r"{\textbf{baseline}}", r"{\textit{baseline\_longer}}", r"{ptq\_fp16}"}
    first = next(row for row in rows if row[0] == r"{\textbf{baseline}}")
    assert re.fullmatch(r"\d\d\.\d+\(\d{1,2}\)", first[1])
    for words in (r"\si{\percent}", r"\si{\micro\second}", r"\toprule", r"\cmidrule(lr)", r"In parentheses"):
        assert words in text
    assert r"{failed\textsuperscript{" in text and r"loss is NaN \& so on" in text
    assert r"{n/a\textsuperscript{" in text


def test_every_main_column_is_in_one_of_the_tables(results: Path) -> None:
    (view,) = views(frame(results))
    text = latex([comparison(view)])
    heads = re.findall(r"(?:variant|^    ) & (.*) \\\\$", text, re.M)
    for title in ("keras", r"$\Delta$ tflite", "file", "gzip", "median", "speed-up"):
        assert any(title in head for head in heads), title


def test_a_smoke_run_says_so_in_every_caption(results: Path) -> None:
    text = made(results, "only a smoke run")
    assert text.count("only a smoke run") == text.count(r"\caption{") >= 2


def test_hostile_names(tmp_path: Path) -> None:
    build(
        tmp_path,
        models=(HOSTILE, "模型 né", "模", "型"),
        variants={"baseline": KINDS["baseline"], HOSTILE: KINDS["pruned"], "π\n\x07": KINDS["qat"]},
        failed={"π\n\x07": HOSTILE},
    )
    text = made(tmp_path)
    check_syntax(text)
    assert r"\input{" not in text and r"\textbackslash{}input\{/etc/passwd\}\%" in text
    head = text.split("\n\n")[0]
    assert "Needs LuaLaTeX" in head and {"模", "型"} <= set(head)
    assert "\x07" not in text


def test_ligatures_do_not_change_a_name() -> None:
    assert escape("a--b---c,,d") == "a-{}-b-{}-{}-c,{},d"
    assert escape("'x'") == r"\textquotesingle{}x\textquotesingle{}"


@pytest.mark.parametrize(
    "bend",
    [
        {"variants": {}},
        {"variants": {"baseline": KINDS["baseline"]}, "seeds": (0,), "targets": ("tflite",)},
        {"failed": dict.fromkeys(KINDS, "no luck")},
        {"not_run": tuple(KINDS)},
        {"seeds": (0,)},
    ],
    ids=["no cells", "one cell", "only failures", "nothing run", "one seed"],
)
def test_edges(tmp_path: Path, bend: dict[str, object]) -> None:
    build(tmp_path, items=50, **bend)  # type: ignore[arg-type]
    check_syntax(made(tmp_path))


def test_one_seed_has_the_interval_of_its_test_items_alone(tmp_path: Path) -> None:
    build(tmp_path, variants={n: KINDS[n] for n in ("baseline", "pruned")}, seeds=(0,))
    row = next(row for row in check_syntax(made(tmp_path)) if "baseline" in row[0])
    assert "(" not in row[1] and re.fullmatch(r"\{\[\d\d\.\d, \d\d\.\d\]\}", row[2])


def test_very_many_rows_are_a_longtable(tmp_path: Path) -> None:
    many = {"baseline": KINDS["baseline"]} | {f"v{n}": KINDS["pruned"] for n in range(LONG)}
    build(tmp_path, variants=many, seeds=(0,), items=50, targets=("tflite",))
    text = made(tmp_path)
    assert r"\begin{longtable}" in text and r"\begin{table}" not in text
    check_syntax(text)


# -- width ------------------------------------------------------------------------------------------


def test_less_important_columns_fill_the_room() -> None:
    columns = [Column(name, "g", name, "", "", priority) for priority, name in enumerate("abcd")]
    sizes = {"a": 4, "b": 9, "c": 3, "d": 2}
    table = Table("s", "m", columns, [TableRow("v", "", [TableCell() for _ in columns])], [], [])

    def keys(fill: bool) -> list[str]:
        found = blocks(table, lambda part: sum(sizes[c.key] for c in part.columns) <= 10, 3, fill=fill)
        return ["".join(column.key for column in part.columns) for part in found]

    assert keys(False) == ["a", "b", "cd"] and keys(True) == ["acd", "b"]


# -- a real compiler --------------------------------------------------------------------------------

PAPER = r"""\documentclass{article}
\usepackage[T1]{fontenc}\usepackage{textcomp,amsmath,booktabs,longtable,siunitx}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\begin{document}\input{report}\end{document}
"""


def missing_for_latex() -> str:
    if shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None:
        return "no pdflatex: apt-get install texlive-latex-recommended texlive-science"
    found = subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True, text=True, check=False)
    return "" if found.stdout.strip() else "no siunitx: apt-get install texlive-science"


@pytest.mark.skipif(bool(missing_for_latex()), reason=missing_for_latex())
@pytest.mark.parametrize("case", ["usual", "hostile", "long"])
def test_it_compiles_and_fits_the_page(tmp_path: Path, case: str) -> None:
    kinds: dict[str, Kind] = dict(KINDS)
    if case == "hostile":
        kinds = {"baseline": KINDS["baseline"], HOSTILE: KINDS["pruned"], "[né]": KINDS["qat"]}
    if case == "long":
        kinds = {"baseline": KINDS["baseline"]} | {f"v{n}": KINDS["pruned"] for n in range(LONG)}
    build(tmp_path, variants=kinds, failed={"[né]": HOSTILE, "clustered": "NaN"}, items=50)
    (tmp_path / "report.tex").write_text(made(tmp_path), "utf-8")
    (tmp_path / "paper.tex").write_text(PAPER)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        timeout=300,
        check=False,
    )
    log = (tmp_path / "paper.log").read_text("latin-1")
    assert done.returncode == 0 and (tmp_path / "paper.pdf").exists(), log[-3000:]
    wide = [float(width) for width in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", log)]
    assert not [width for width in wide if width > 5], log
