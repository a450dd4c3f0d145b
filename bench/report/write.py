"""Write all reports of a sweep: page, markdown, LaTeX, CSV and pictures."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import StoreError
from bench.report.drawing import Drawing
from bench.report.headline import headlines
from bench.report.latex import latex
from bench.report.metrics import COLUMN_DOCS
from bench.report.notes import notes
from bench.report.page import ModelPart, page, problems
from bench.report.pictures import Picture, Plan, draw, plans
from bench.report.read import SweepData, frozen, read_sweep, uncollected
from bench.report.tables import MAIN, comparison
from bench.report.text import escape_markdown, markdown
from bench.report.tidy import sweep_frame
from bench.report.view import views

if TYPE_CHECKING:
    import pandas as pd


def write_report(results: str | Path, sweep: str, out: str | Path | None = None) -> dict[str, Path]:
    """Write report.html, .md, .tex, .csv and the pictures (.svg, .png) of one sweep.

    Args:
        out: folder; `<results>/reports/<sweep>` if not given.

    Returns:
        file name -> path. The frame itself is `frame(results, sweep)`.

    Raises:
        StoreError: there is no such sweep, or the folder cannot be written.
    """
    folder = Path(out) if out is not None else Path(results) / "reports" / sweep
    with uncollected():
        data = read_sweep(results, sweep)
        table = sweep_frame(data)
    with frozen():
        contents = render(data, table)
    return {name: write_file(folder / name, content) for name, content in contents.items()}


def render(data: SweepData, table: pd.DataFrame) -> dict[str, bytes]:
    """File name -> contents. The same records give the same bytes."""
    parts, planned = model_parts(data, table)
    with Drawing([plan for part in planned for plan in part], draw) as drawing:
        # What needs no picture is written while a second process, if there is one, draws.
        tex = latex([part.table for part in parts]).encode()
        csv = table.to_csv(index=False, lineterminator="\n").encode()
        drawn = iter(drawing.finish())
    for part, wanted in zip(parts, planned, strict=True):
        part.pictures = [Picture(p.name, p.title, p.description, *next(drawn)) for p in wanted]
    files = {
        "report.html": page(data, parts).encode(),
        "report.md": _markdown(data, parts).encode(),
        "report.tex": tex,
        "report.csv": csv,
    }
    for part in parts:
        for picture in part.pictures:
            files[f"{picture.name}.svg"] = picture.svg.encode()
            files[f"{picture.name}.png"] = picture.png
    return files


def model_parts(data: SweepData, table: pd.DataFrame) -> tuple[list[ModelPart], list[list[Plan]]]:
    """Tables and notes of each model of a sweep, and the pictures that are to be drawn of it."""
    by_model = data.by_model()
    parts: list[ModelPart] = []
    planned: list[list[Plan]] = []
    slugs: set[str] = set()
    for view in views(table):
        slug = re.sub(r"[^A-Za-z0-9]+", "-", view.model).strip("-") or "model"
        while slug in slugs:
            slug += "-2"
        slugs.add(slug)
        cells = by_model[view.model]
        # What a smoke run trained is nothing to make a headline of.
        told = [] if data.manifest.get("quick") else headlines(view)
        parts.append(ModelPart(view, cells, comparison(view), notes(view, cells), [], told))
        planned.append(plans(view, slug))
    return parts, planned


def _markdown(data: SweepData, parts: list[ModelPart]) -> str:
    lines = [f"# {escape_markdown(data.title)}", ""]
    if data.manifest.get("quick"):
        lines += [
            "**A smoke run: training was cut short. These numbers say nothing about the networks.**",
            "",
        ]
    lines += [
        "The same with sorting, lineage and definitions: `report.html`; every number: `report.csv`.",
        "",
    ]
    for part in parts:
        lines += [f"## {escape_markdown(part.name)}", ""]
        lines += [f"**{escape_markdown(line)}**  " for line in part.headlines]
        lines.append("")
        for status, reason, count in problems(part.cells):
            lines += [f"- {escape_markdown(status)} ({count}): {escape_markdown(reason)}"]
        lines += ["", markdown(part.table.narrowed(lambda column: column.priority <= MAIN))]
        lines += [f"- {escape_markdown(text)}" for text in part.table.remarks]
        lines += [
            "- Speed-up is the baseline's time over the variant's; = no difference beyond the noise, "
            "? not decided, \\~ noisy, \\! unstable. Smaller: bytes, baseline over variant.",
            "",
        ]
        lines += [
            f"![{escape_markdown(picture.description)}]({picture.name}.svg)" for picture in part.pictures
        ]
        if part.notes:
            lines += ["", "### Why is it so?", ""]
            lines += [
                f"- **{escape_markdown(note.variant)}**: {escape_markdown(note.text)}" for note in part.notes
            ]
        lines.append("")
    lines += ["## Columns of report.csv", "", "| column | meaning |", "|---|---|"]
    lines += [f"| {name} | {escape_markdown(text)} |" for name, text in COLUMN_DOCS.items()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def write_file(path: Path, content: bytes) -> Path:
    """Appears whole under its name, or not at all."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)  # noqa: PTH105
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(
            f"cannot be written ({error.strerror})", where=str(path), mend="Choose another folder with --out."
        ) from error
    return path
