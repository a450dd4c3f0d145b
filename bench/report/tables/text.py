"""Tables in plain text and markdown."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.report.frames.view import views
from bench.report.tables.blocks import blocks
from bench.report.tables.column import Column
from bench.report.tables.comparison import NO_TIMES, Table, comparison
from bench.report.tables.fpga import EVERY_BIT, hardware_tables

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 100
#: tables of a model below each other on a terminal; the report has all columns
BLOCKS = 2
#: A space at which no line ends.
TOGETHER = "\u00a0"


def comparison_table(frame: pd.DataFrame, width: int = WIDTH) -> str:
    """Plain text for the terminal: one table a model, at most `width` columns wide, and a second one
    where there are figures of hardware.

    Main columns that do not fit come in a second block below; what does not fit there either is left out and
    counted.
    """
    parts = []
    for view in views(frame):
        table = comparison(view)
        parts += [_plain(part, max(40, width)) for part in (table, *hardware_tables(table))]
    return "\n\n".join(parts) if parts else "No cells."


def display_width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def one_line(text: str) -> str:
    """Without control characters and line breaks: names and reasons come from files."""
    return re.sub(
        r"\s+", " ", "".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in text)
    ).strip()


def _header(column: Column) -> list[str]:
    return [column.title, column.unit]


def _pad(text: str, width: int, right: bool) -> str:
    gap = " " * max(0, width - display_width(text))
    return gap + text if right else text + gap


def _plain(table: Table, width: int) -> str:
    names = [one_line(row.variant) + _role_sign(row.role) for row in table.rows]
    fronts = ["".join(sorted({_front_sign(f) for f in row.fronts} - {""})) for row in table.rows]
    first = max(display_width(name) for name in ["variant", *names])
    parts = blocks(table, lambda block: _total(block, first) <= width, BLOCKS)
    main = {column.key for block in parts for column in block.columns}
    shown = table.narrowed(lambda column: column.key in main)  # its footnotes are numbered for all blocks
    lines = [f"{one_line(table.model)} ({one_line(table.sweep)})"]
    for block in parts:
        lines += [""] if block is not parts[0] else []
        kept = {column.key for column in block.columns}
        places = [place for place, column in enumerate(shown.columns) if column.key in kept]
        lines += _block([shown.columns[place] for place in places], shown, places, names, fronts)
    lines += _below(shown, len(table.columns) - len(main), width, names, fronts)
    return "\n".join(lines)


def _widths(table: Table) -> list[int]:
    return [
        max(
            display_width(text)
            for text in [*_header(column), *(r.cells[place].shown_short for r in table.rows)]
        )
        for place, column in enumerate(table.columns)
    ]


def _total(table: Table, first: int) -> int:
    return first + 7 + sum(size + 2 for size in _stretched(table.groups, _widths(table)))


def _block(
    columns: list[Column], table: Table, places: list[int], names: list[str], fronts: list[str]
) -> list[str]:
    """Header and rows of some columns of a table."""
    first = max(display_width(name) for name in ["variant", *names])
    part = Table(
        table.sweep,
        table.model,
        columns,
        [replace(row, cells=[row.cells[place] for place in places]) for row in table.rows],
        [],
        [],
    )
    sizes = _stretched(part.groups, _widths(part))
    lines = []
    place = 0
    head = _pad("", first, False)
    for title, many in part.groups:
        room = sum(sizes[place : place + many]) + 2 * (many - 1)
        text = one_line(title)
        head += (
            "  " + f" {text} ".center(room, "─")
            if display_width(text) + 2 <= room
            else "  " + _pad(text[:room], room, False)
        )
        place += many
    lines.append(head.rstrip())
    for level in range(2):
        line = _pad("variant" if level == 0 else "", first, False)
        for column, size in zip(columns, sizes, strict=True):
            line += "  " + _pad(_header(column)[level], size, True)
        lines.append((line + ("  front" if level == 0 and any(fronts) else "")).rstrip())
    lines.append("─" * (first + sum(size + 2 for size in sizes) + (7 if any(fronts) else 0)))
    for row, name, front in zip(part.rows, names, fronts, strict=True):
        line = _pad(name, first, False)
        for cell, size in zip(row.cells, sizes, strict=True):
            line += "  " + _pad(one_line(cell.shown_short), size, True)
        lines.append((line + "  " + front).rstrip())
    return lines


def _role_sign(role: str) -> str:
    return {"control": " †"}.get(role, "")


def _front_sign(front: str) -> str:
    return "S" if front == "size" else "T" if front.startswith("time") else ""


def _stretched(groups: list[tuple[str, int]], sizes: list[int]) -> list[int]:
    """Column widths with room for the titles of their groups."""
    sizes, place = list(sizes), 0
    for title, many in groups:
        missing = display_width(one_line(title)) - (sum(sizes[place : place + many]) + 2 * (many - 1))
        if missing > 0:
            sizes[place] += missing
        place += many
    return sizes


def _below(table: Table, left_out: int, width: int, names: list[str], fronts: list[str]) -> list[str]:
    legend = []
    if any("†" in name for name in names):
        legend.append(f"†{TOGETHER}control")
    if any(fronts):
        legend.append("front: no other is as accurate and smaller (S, gzip) or faster (T)")
    shown = [cell for row in table.rows for cell in row.cells]
    legend += [
        f"{mark}{TOGETHER}{word}"
        for mark, word in (("~", "noisy"), ("!", "unstable"))
        if any(c.mark == mark for c in shown)
    ]
    if any(cell.text.startswith("= ") for cell in shown):
        legend.append(f"={TOGETHER}no difference beyond the noise")
    if any(cell.text.startswith("? ") for cell in shown):
        legend.append(f"?{TOGETHER}not decided")
    if left_out:
        legend.append(f"{left_out} more columns in the report")
    lines = ["; ".join(legend)] if legend else []
    lines += [
        one_line(remark) for remark in table.remarks if remark.startswith(NO_TIMES) or EVERY_BIT in remark
    ]
    lines += [f"{number} {one_line(text)}" for number, text in enumerate(table.footnotes, start=1)]
    wrapped: list[str] = []
    for line in lines:
        wrapped += textwrap.wrap(line, width, subsequent_indent="  ")
    return [line.replace(TOGETHER, " ") for line in wrapped]


def markdown(table: Table) -> str:
    """A GitHub table with every column; units and groups in the header, reasons below."""
    fronts = any(row.fronts for row in table.rows)
    heads = ["variant", *map(_markdown_head, table.columns), *(["Pareto"] if fronts else [])]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * len(table.columns) + "---|" * fronts]
    for row in table.rows:
        name = (
            f"**{escape_markdown(row.variant)}**" if row.role == "reference" else escape_markdown(row.variant)
        )
        name += f" ({row.role})" if row.role in ("control",) else ""
        cells = [escape_markdown(cell.shown) for cell in row.cells]
        last = [", ".join(map(escape_markdown, row.fronts))] if fronts else []
        lines.append("| " + " | ".join([name, *cells, *last]) + " |")
    for number, text in enumerate(table.footnotes, start=1):
        lines += (
            ["", f"{number}. {escape_markdown(text)}"]
            if number == 1
            else [f"{number}. {escape_markdown(text)}"]
        )
    return "\n".join(lines) + "\n"


def _markdown_head(column: Column) -> str:
    unit = f" ({column.unit})" if column.unit else ""
    group = column.group if column.group != "accuracy" else "accuracy,"
    return escape_markdown(f"{group} {column.title}{unit}")


def escape_markdown(text: str) -> str:
    """Text that markdown shows as it is, also inside a table."""
    text = one_line(text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|~$!])", r"\\\1", text)
