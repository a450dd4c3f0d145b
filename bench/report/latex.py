"""Tables for papers: LaTeX with booktabs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.report.tables import MAIN, Table
from bench.report.text import one_line

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
    "±": r"$\pm$",
    "−": r"$-$",
    "×": r"$\times$",
    "µ": r"\textmu{}",
    "Δ": r"$\Delta$",
    "÷": r"$\div$",
    "…": r"\dots{}",
    "=": "=",
}
_HEAD = r"""% Made by `bench report`. Needs in the preamble:
%   \usepackage[T1]{fontenc}\usepackage{textcomp}\usepackage{booktabs}
"""


def escape(text: str) -> str:
    """Text that LaTeX prints as it is. Characters beyond ASCII without a command pass as UTF-8."""
    return "".join(_SPECIAL.get(char, char) for char in one_line(text))


def latex(tables: Sequence[Table]) -> str:
    """The main columns of each table as a `table` float with caption, label and reasons as notes."""
    return _HEAD + "\n" + "\n".join(_table(table.narrowed(lambda c: c.priority <= MAIN)) for table in tables)


def _table(table: Table) -> str:
    columns = table.columns
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(table.model)}, sweep {escape(table.sweep)}. {_caption(table)}}}",
        rf"  \label{{tab:{_label(table.sweep)}-{_label(table.model)}}}",
        rf"  \begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"    \toprule",
    ]
    groups, rules, place = [], [], 2
    for title, many in table.groups:
        groups.append(rf"\multicolumn{{{many}}}{{c}}{{{escape(title)}}}")
        rules.append(rf"\cmidrule(lr){{{place}-{place + many - 1}}}")
        place += many
    if columns:
        lines += ["    & " + " & ".join(groups) + r" \\", "    " + "".join(rules)]
    heads = [escape(c.title) + (f" / {escape(c.unit)}" if c.unit else "") for c in columns]
    lines += ["    " + " & ".join(["variant", *heads]) + r" \\", r"    \midrule"]
    for row in table.rows:
        name = escape(row.variant)
        name = rf"\textit{{{name}}}" if row.role == "control" else name
        name = rf"\textbf{{{name}}}" if row.fronts else name
        cells = []
        for cell in row.cells:
            note = rf"\textsuperscript{{{cell.note}}}" if cell.note else ""
            mark = escape(f" {cell.mark}") if cell.mark else ""
            # Braces: a text that begins with [ would be read as an argument of the line break before.
            cells.append(f"{{{escape(cell.text)}{mark}{note}}}" if cell.text else "")
        lines.append("    " + " & ".join([f"{{{name}}}", *cells]) + r" \\")
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    if table.footnotes:
        notes = "; ".join(
            rf"\textsuperscript{{{n}}}{escape(text)}" for n, text in enumerate(table.footnotes, 1)
        )
        lines += [r"  \par\smallskip{\footnotesize " + notes + "}"]
    return "\n".join([*lines, r"\end{table}", ""])


def _caption(table: Table) -> str:
    parts = ["Bold: on the Pareto front of accuracy against gzip size or latency; italic: control."]
    cells = [cell for row in table.rows for cell in row.cells]
    if any(cell.text.startswith("= ") for cell in cells):
        parts.append("=: no difference beyond the noise.")
    if any(cell.text.startswith("? ") for cell in cells):
        parts.append("?: not decided.")
    if any(cell.mark == "~" for cell in cells):
        parts.append(r"\textasciitilde{}: noisy.")
    if any(cell.mark == "!" for cell in cells):
        parts.append("!: unstable.")
    return " ".join([*parts, *(escape(remark) for remark in table.remarks)])


def _label(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or "table"
