"""Whether a report.tex is LaTeX, as far as that can be told without a compiler."""

from __future__ import annotations

import re

#: a number as siunitx reads it
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(\(\d+\))?")


def cells_of(line: str) -> list[str]:
    """What stands between the & of a row, braces respected."""
    found, depth, escaped = [""], 0, False
    for char in line.strip().removesuffix(r"\\"):
        depth += (char == "{") - (char == "}") if not escaped else 0
        if char == "&" and depth == 0 and not escaped:
            found.append("")
        else:
            found[-1] += char
        escaped = char == "\\" and not escaped
    return [cell.strip() for cell in found]


def check_syntax(text: str) -> list[list[str]]:
    """Braces and environments close in order, every row has as many cells as columns, and what stands in an
    S column is a number or in braces. Returns the rows of all tables."""
    code = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    bare = re.sub(r"\\[\\{}%&#$_]", "", code)
    depth = 0
    for char in bare:
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    assert depth == 0 and "%" not in bare and "#" not in bare
    assert bare.count("$") % 2 == 0
    stack: list[str] = []
    for word, name in re.findall(r"\\(begin|end)\{(\w+)\}", code):
        stack.append(name) if word == "begin" else None
        assert word == "begin" or stack.pop() == name
    assert not stack
    labels = re.findall(r"\\label\{([^}]*)\}", code)
    assert len(labels) == len(set(labels)) and all(re.fullmatch(r"tab:[A-Za-z0-9-]+", one) for one in labels)
    rows = []
    for spec, body in re.findall(
        r"\\begin\{(?:tabular|longtable)\}\{(.*?)\}\n(.*?)\\end\{(?:tabular|longtable)\}", code, re.S
    ):
        kinds = re.findall(r"S\[table-format=-?\d+\.\d+(?:\(\d+\))?\]|[lcr]", spec.replace(r"@{\;}", ""))
        for line in body[body.index(r"\midrule") : body.index(r"\bottomrule")].splitlines()[1:]:
            if line.strip() in ("", r"\endhead"):
                continue
            assert line.endswith(r" \\")
            row = cells_of(line)
            assert len(row) == len(kinds), line
            for cell, kind in zip(row, kinds, strict=True):
                braced = cell.startswith("{") and cell.endswith("}")
                assert braced or not cell or (kind[0] == "S" and NUMBER.fullmatch(cell)), cell
            rows.append(row)
        for line in body[: body.index(r"\midrule")].splitlines():
            if "&" in line:
                spans = [re.match(r"\\multicolumn\{(\d+)\}", cell) for cell in cells_of(line)]
                assert sum(int(span[1]) if span else 1 for span in spans) == len(kinds)
    return rows
