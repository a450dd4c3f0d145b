"""Tables for papers: LaTeX with booktabs, numbers in siunitx's columns.

A table is made to fit the text of a one-column article: what is too wide comes as several tables, what
is too long as a `longtable`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.report.siunitx import UNITS, Entry, entry, table_format, widest
from bench.report.tables.blocks import blocks
from bench.report.tables.column import Column
from bench.report.tables.comparison import MAIN, Table, TableCell, TableRow
from bench.report.tables.fpga import hardware_tables, is_hardware
from bench.report.tables.text import display_width, one_line

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "×": r"$\times$",
    "µ": r"\textmu{}",
    "Δ": r"$\Delta$",
    "Σ": r"$\Sigma$",
    "α": r"$\alpha$",
    "÷": r"$\div$",
    "→": r"$\rightarrow$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "…": r"\dots{}",
}
_HEAD = r"""% Made by `bench report`. Needs in the preamble:
%   \usepackage[T1]{fontenc}\usepackage{textcomp,amsmath,booktabs,longtable,siunitx}
% Half the 95 % interval stands in the last digits; \sisetup{separate-uncertainty} writes it out.
"""
#: Digits at \footnotesize that fit across an article of 345 pt.
WIDTH = 80.0
_NARROW, _BROAD = ".,:;[]()!'|il ", "mw%+−=_#&<>~\\^@"
#: Rows that fit on a page.
LONG = 45
_GAP = 1.5
#: Tables of the main columns of one model.
MOST = 4


def escape(text: str) -> str:
    """Text that LaTeX prints as it is. Characters beyond ASCII without a command pass as UTF-8."""
    escaped = "".join(_SPECIAL.get(char, char) for char in one_line(text))
    return re.sub(r"([-,])(?=\1)", r"\1{}", escaped)  # no ligatures: -- would become a dash


def latex(tables: Sequence[Table], warning: str = "") -> str:
    """The main columns of each model with caption, label and reasons as notes; figures of hardware apart.

    Args:
        warning: stands in every caption.
    """
    made = []
    labels: set[str] = set()
    for table in tables:
        label = f"{_label(table.sweep)}-{_label(table.model)}"
        while label in labels:
            label += "-x"
        labels.add(label)
        main = table.narrowed(lambda column: column.priority <= MAIN and not is_hardware(column))
        for place, part in enumerate(blocks(main, _fits, MOST, fill=True)):
            shown = part if place == 0 else replace(part, remarks=[])
            made.append(_table(shown, label + (f"-{place + 1}" if place else ""), warning))
        for place, part in enumerate(hardware_tables(table), start=1):
            near = part.narrowed(lambda column: column.priority <= MAIN + 1)
            for nth, block in enumerate(blocks(near, _fits, MOST, fill=True)):
                made.append(_table(block, f"{label}-hw{place}" + (f"-{nth + 1}" if nth else ""), warning))
    text = "\n".join(made)
    return _HEAD + _beyond(text) + "\n" + text


def _beyond(text: str) -> str:
    """A word on characters that pdfLaTeX does not know."""
    odd = "".join(sorted({char for char in text if ord(char) > 0x17F}))
    return f"% Needs LuaLaTeX or XeLaTeX and a font that has these characters: {odd}\n" if odd else ""


@dataclass(frozen=True)
class _Written:
    """A column as LaTeX: one or, where something stands beside the numbers, two columns of a tabular."""

    format: str
    head: tuple[str, str]
    cells: list[str]
    wide: int
    width: float


def _column(column: Column, cells: Sequence[TableCell]) -> _Written:
    # The short text of value ± uncertainty has as many digits as the uncertainty bears.
    texts = [cell.short if "±" in cell.text and cell.short else cell.text for cell in cells]
    found = [entry(text) for text in texts]
    numbers = [one for one in found if one is not None]
    beside = [_beside(one, cell) if one else "" for one, cell in zip(found, cells, strict=True)]
    wide = 2 if any(beside) else 1
    written = []
    for text, one, cell, more in zip(texts, found, cells, beside, strict=True):
        first = one.number if one else _words(text, cell)
        written.append(f"{first} & {more}" if wide > 1 else first)
    unit = rf"\si{{{UNITS[column.unit]}}}" if column.unit in UNITS else escape(column.unit)
    if any(one.times for one in numbers):
        unit = f"{unit}, $\\times$" if unit else r"$\times$"
    kind = f"S[table-format={table_format(numbers)}]" if numbers else "c"
    # siunitx sets a number and what stands in braces; the header is as wide as its words.
    width = max(
        *(_width(word) for word in (column.title, column.unit)),
        *(_width(text) for text, one in zip(texts, found, strict=True) if one is None),
        # Numbers stand by their points, and all intervals behind the widest of them.
        (_width(widest(numbers)) if numbers else 0.0)
        + max((_width(f" [{one.interval}] ?!") for one in numbers if one.interval), default=0.0),
    )
    return _Written(
        kind + (r"@{\;}l" if wide > 1 else ""), (escape(column.title), unit), written, wide, width + _GAP
    )


def _beside(one: Entry, cell: TableCell) -> str:
    """What stands after a number: its interval, a sign, the note."""
    text = f"[{one.interval.replace('-', '$-$')}]" if one.interval else ""
    marks = one.sign + (r"\textasciitilde{}" if cell.mark == "~" else cell.mark)
    text += rf"\,{marks}" if marks else ""
    return f"{{{text + _note(cell)}}}" if text or cell.note else ""


def _words(text: str, cell: TableCell) -> str:
    """A cell without a number; in braces, which keep it out of siunitx's hands."""
    return f"{{{escape(text)}{_note(cell)}}}" if text else "{}"


def _note(cell: TableCell) -> str:
    return rf"\textsuperscript{{{cell.note}}}" if cell.note else ""


def _written(table: Table) -> list[_Written]:
    return [_column(column, [row.cells[n] for row in table.rows]) for n, column in enumerate(table.columns)]


def _fits(table: Table) -> bool:
    columns = _written(table)
    names = (_width(row.variant) * (1.15 if row.fronts else 1.0) for row in table.rows)  # bold is wider
    width = max(names, default=7.0) + _GAP
    place = 0
    for title, many in table.groups:
        own = sum(column.width for column in columns[place : place + many])
        width += max(own, _width(title) + _GAP)
        place += many
    return width <= WIDTH


def _width(text: str) -> float:
    """About how wide a text is in Computer Modern, in digits."""
    return sum(
        (0.6 if char in _NARROW else 1.4 if char.isupper() or char in _BROAD else 1.0) * display_width(char)
        for char in text
    )


def _table(table: Table, name: str, warning: str) -> str:
    columns = _written(table)
    long = len(table.rows) > LONG
    kind = "longtable" if long else "tabular"
    what = ", ".join(dict.fromkeys(title for title, _ in table.groups))
    caption = f"{table.model} (sweep {table.sweep}): {what}." + (f" {warning}" if warning else "")
    title = rf"\caption{{{escape(caption)}}}"
    label = rf"\label{{tab:{name}}}"
    begin = rf"\begin{{{kind}}}{{l{''.join(column.format for column in columns)}}}"
    style = r"\footnotesize\setlength{\tabcolsep}{3pt}\sisetup{retain-explicit-plus}"
    if long:
        lines = [rf"{{{style}", begin, rf"  {title}{label}\\"]
    else:
        # Classes for articles leave no room below a caption.
        style += r"\setlength{\belowcaptionskip}{4pt}"
        lines = [r"\begin{table}", rf"  \centering{style}", f"  {title}", f"  {label}", f"  {begin}"]
    lines += [r"    \toprule", *_heads(table, columns), r"    \midrule", *([r"    \endhead"] if long else [])]
    for place, row in enumerate(table.rows):
        lines.append("    " + " & ".join([_name(row), *(column.cells[place] for column in columns)]) + r" \\")
    lines += [r"    \bottomrule", rf"  \end{{{kind}}}"]
    if notes := _notes(table):
        lines += [r"  \par\smallskip\noindent\begin{minipage}{\linewidth}\footnotesize\raggedright"]
        lines += [f"    {note}" for note in notes]
        lines += [r"  \end{minipage}"]
    return "\n".join([*lines, "}" if long else r"\end{table}", ""])


def _name(row: TableRow) -> str:
    name = escape(row.variant)
    name = rf"\textit{{{name}}}" if row.role == "control" else name
    # Braces: a text that begins with [ would be read as an argument of the line break before.
    return rf"{{\textbf{{{name}}}}}" if row.fronts else f"{{{name}}}"


def _heads(table: Table, columns: Sequence[_Written]) -> list[str]:
    """Groups with their rules, titles, units."""
    groups, rules, place, nth = [], [], 2, 0
    for title, many in table.groups:
        wide = sum(column.wide for column in columns[nth : nth + many])
        groups.append(rf"\multicolumn{{{wide}}}{{c}}{{{escape(title)}}}")
        rules.append(rf"\cmidrule(lr){{{place}-{place + wide - 1}}}")
        place, nth = place + wide, nth + many
    lines = []
    if columns:
        lines += [rf"    & {' & '.join(groups)} \\", f"    {''.join(rules)}"]
    for level, first in ((0, "variant"), (1, "")):
        heads = [
            rf"\multicolumn{{{column.wide}}}{{c}}{{{column.head[level]}}}"
            if column.wide > 1
            else f"{{{column.head[level]}}}"
            for column in columns
        ]
        lines.append(f"    {' & '.join([first, *heads])} \\\\")
    return lines


def _notes(table: Table) -> list[str]:
    """Reasons by number, what the signs say, and remarks; one paragraph each."""
    found = [
        rf"\textsuperscript{{{number}}}\,{escape(text)}\par" for number, text in enumerate(table.footnotes, 1)
    ]
    cells = [cell for row in table.rows for cell in row.cells]
    signs = []
    if any(row.fronts for row in table.rows):
        signs.append("Bold: on the Pareto front of accuracy against gzip size or latency.")
    if any(row.role == "control" for row in table.rows):
        signs.append("Italic: control.")
    if any("±" in cell.text for cell in cells):
        signs.append("In parentheses: half the 95 \\% interval, in units of the last digits.")
    if any(cell.text.endswith("]") for cell in cells):
        signs.append("In brackets: 95 \\% interval.")
    if any(cell.text.startswith("= ") for cell in cells):
        signs.append("=: no difference beyond the noise.")
    if any(cell.text.startswith("? ") for cell in cells):
        signs.append("?: not decided.")
    if any(cell.mark == "~" for cell in cells):
        signs.append(r"\textasciitilde{}: noisy.")
    if any(cell.mark == "!" for cell in cells):
        signs.append("!: unstable.")
    return [*found, *([" ".join(signs) + r"\par"] if signs else []), *(escape(r) for r in table.remarks)]


def _label(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or "table"
