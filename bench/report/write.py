"""Write all reports of a sweep: page, markdown, LaTeX, CSV and pictures."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import StoreError
from bench.report import written
from bench.report.frames.tidy import sweep_frame
from bench.report.frames.view import views
from bench.report.metrics import COLUMN_DOCS
from bench.report.notes.headline import headlines
from bench.report.notes.notes import notes
from bench.report.page.page import ModelPart, page, problems
from bench.report.pictures import FORMATS, Picture, Plan, draw, plans, slug
from bench.report.pictures.drawing import Drawing, Files
from bench.report.records.read import SweepData, frozen, read_sweep, uncollected
from bench.report.tables.comparison import MAIN, comparison
from bench.report.tables.latex import latex
from bench.report.tables.text import escape_markdown, markdown

if TYPE_CHECKING:
    import pandas as pd

#: More pictures than `MANY` are too many to be drawn unasked; up to `FEW` come in all formats.
FEW, MANY = 16, 48
SMOKE = "A smoke run: training was cut short. These numbers say nothing about the networks."


@dataclass(frozen=True)
class Choice:
    """Which pictures are drawn, and as which files.

    Attributes:
        every: also those that are not main; None: unless there are more than `MANY`.
        formats: of `FORMATS`; None: all of them for up to `FEW` pictures, else SVG alone.
    """

    every: bool | None = None
    formats: tuple[str, ...] | None = None


def write_report(
    results: str | Path,
    sweep: str,
    out: str | Path | None = None,
    *,
    choice: Choice = Choice(),
    drawn: dict[str, Files] | None = None,
    finishing: Callable[[bytes], bytes] | None = None,
) -> dict[str, Path]:
    """Write report.html, .md, .tex, .csv and the pictures of one sweep; remove those of its last report
    that it has no more.

    Args:
        out: folder; `<results>/reports/<sweep>` if not given.
        drawn: pictures of an earlier report, which are not drawn again where nothing in them changed;
            those of this one are put into it.
        finishing: what becomes of report.html before it is written.

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
        contents = render(data, table, choice, drawn)
    if finishing is not None:
        contents["report.html"] = finishing(contents["report.html"])
    before = written.listed(folder)
    # Listed before they are there: what is left by a report that was killed is removed by the next one.
    write_file(folder / written.LIST, written.contents(contents))
    paths = {name: write_file(folder / name, content) for name, content in contents.items()}
    written.remove_old(folder, before, contents)
    return paths


def render(
    data: SweepData,
    table: pd.DataFrame,
    choice: Choice = Choice(),
    drawn: dict[str, Files] | None = None,
) -> dict[str, bytes]:
    """File name -> contents. The same records give the same bytes."""
    parts, planned = model_parts(data, table)
    if choice.every is False or (choice.every is None and sum(map(len, planned)) > MANY):
        planned = [[plan for plan in part if plan.main] for part in planned]
    few = sum(map(len, planned)) <= FEW
    formats = choice.formats or (FORMATS if few else ("svg",))
    # The page and report.md need the SVG.
    formats = ("svg", *(format_ for format_ in formats if format_ != "svg"))
    known = {} if drawn is None else drawn
    keys = {id(plan): f"{formats} {plan.key}" for part in planned for plan in part}
    todo = [plan for part in planned for plan in part if keys[id(plan)] not in known]
    with Drawing(todo, lambda plan: draw(plan, formats)) as drawing:
        # What needs no picture is written while a second process, if there is one, draws.
        tex = latex([part.table for part in parts], SMOKE if data.manifest.get("quick") else "").encode()
        csv = written.csv(table).encode()
        fresh = dict(zip((keys[id(plan)] for plan in todo), drawing.finish(), strict=True))
    known = {key: known[key] for key in keys.values() if key in known} | fresh
    if drawn is not None:
        drawn.clear()
        drawn.update(known)
    for part, wanted in zip(parts, planned, strict=True):
        part.pictures = [
            Picture(
                *(p.name, p.title, p.description, p.caption),
                dict(zip(formats, known[keys[id(p)]], strict=True)),
            )
            for p in wanted
        ]
    files = {
        "report.html": page(data, parts).encode(),
        "report.md": _markdown(data, parts).encode(),
        "report.tex": tex,
        "report.csv": csv,
    }
    for part in parts:
        for picture in part.pictures:
            files |= {f"{picture.name}.{format_}": content for format_, content in picture.files.items()}
    return files


def model_parts(data: SweepData, table: pd.DataFrame) -> tuple[list[ModelPart], list[list[Plan]]]:
    """Tables and notes of each model of a sweep, and the pictures that can be drawn of it."""
    by_model = data.by_model()
    parts: list[ModelPart] = []
    planned: list[list[Plan]] = []
    slugs: set[str] = set()
    for view in views(table):
        name = slug(view.model) or "model"
        while name in slugs:
            name += "-2"
        slugs.add(name)
        cells = by_model[view.model]
        # What a smoke run trained is nothing to make a headline of.
        told = [] if data.manifest.get("quick") else headlines(view)
        parts.append(ModelPart(view, cells, comparison(view), notes(view, cells), [], told))
        planned.append(list(plans(view, cells, data.rounds, name)))
    return parts, planned


def _markdown(data: SweepData, parts: list[ModelPart]) -> str:
    lines = [f"# {escape_markdown(data.title)}", ""]
    if data.manifest.get("quick"):
        lines += [f"**{SMOKE}**", ""]
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
        for picture in part.pictures:
            lines += [f"![{escape_markdown(picture.description)}]({picture.name}.svg)", ""]
            lines += [escape_markdown(picture.caption), ""]
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
