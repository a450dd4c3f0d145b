"""The page: one HTML file that needs nothing else, neither network nor scripts from elsewhere."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from bench.report.frames.view import ModelView
from bench.report.metrics import METRICS
from bench.report.notes import lineage
from bench.report.notes.machines import differing, machines
from bench.report.notes.notes import Note
from bench.report.page import families
from bench.report.pictures import Picture
from bench.report.records.read import BASELINE, Cell, SweepData
from bench.report.tables.comparison import MAIN, MARKS, Table
from bench.report.tables.fpga import is_first

#: Rows of a table that are in the page at once; more are shown page by page.
PAGE_ROWS = 100
STATUS_WORDS = {"failed": "failed", "timeout": "ran out of time", "skipped": "skipped"}


@dataclass
class ModelPart:
    """Everything the report shows of one model."""

    view: ModelView
    cells: list[Cell]
    table: Table
    notes: list[Note]
    pictures: list[Picture]
    headlines: list[str]

    @property
    def name(self) -> str:
        return self.view.model


def page(data: SweepData, parts: list[ModelPart]) -> str:
    """report.html of one sweep. Every text that comes from files is escaped by the template engine."""
    import jinja2

    folder = files("bench.report.page")
    measured_on = machines(data)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"family": families.family, "seeds": _seeds, "short": lambda x: f"{x:.6g}"}
    template = environment.from_string((folder / "page.html").read_text("utf-8"))
    return template.render(
        data=data,
        parts=[_part(number, part) for number, part in enumerate(parts, start=1)],
        # Our own files, in which nothing comes from outside.
        style=_trusted((folder / "page.css").read_text("utf-8")),
        script=_trusted((folder / "page.js").read_text("utf-8")),
        page_rows=PAGE_ROWS,
        counted=_counted(data),
        machines=measured_on,
        apart=differing(measured_on),
        places="; ".join(dict.fromkeys(_place(machine) for machine in measured_on)),
        runtimes=lineage.runtimes(data),
        versions=lineage.versions(data),
        protocol={k: lineage.value(v) for k, v in data.protocol.items()},
        metrics=METRICS.values(),
        quick=bool(data.manifest.get("quick")),
    )


def _part(number: int, part: ModelPart) -> dict[str, Any]:
    prefix = f"m{number}"
    return {
        "id": prefix,
        "part": part,
        "table": part.table,
        "notes": part.notes,
        "headlines": part.headlines,
        "pictures": [
            {"svg": _picture(p, f"{prefix}p{n}"), "name": p.name, "caption": p.caption}
            for n, p in enumerate(part.pictures, start=1)
        ],
        "made": lineage.made(part.cells),
        "places": {row.variant: place for place, row in enumerate(part.table.rows, start=1)},
        "heads": _heads(part.table),
        "reference": BASELINE if BASELINE in part.view.variants else "",
        "distillation": lineage.distillation(part.view, part.cells),
        "problems": problems(part.cells),
        "families": families.families(part.table),
        "absent": families.absent,
        "empties": families.empties(part.table),
        "verdicts": families.verdicts(part.table),
        "verdict": {mark: word for word, mark in MARKS.items()},
    }


@dataclass(frozen=True)
class Head:
    """Of a column: classes of its cells, and how many seeds most of its numbers rest on."""

    look: str
    seeds: int

    @property
    def detail(self) -> bool:
        return "detail" in self.look.split()


def _heads(table: Table) -> list[Head]:
    found, before = [], ""
    for place, column in enumerate(table.columns):
        cells = [row.cells[place] for row in table.rows]
        seeds = Counter(cell.seeds for cell in cells if cell.status == "ok").most_common(1)
        look = "detail" if column.priority > MAIN and not is_first(column) else ""
        look += " first" if column.group != before else ""
        found.append(Head(look.strip(), seeds[0][0] if seeds else 0))
        before = column.group
    return found


def _seeds(number: int) -> str:
    return f"{number} seed" + ("" if number == 1 else "s")


def _counted(data: SweepData) -> str:
    """`1 model, 18 variants, 4 targets, 3 seeds: 194 cells`."""
    parts = []
    for name in ("model", "variant", "target", "seed"):
        number = len({getattr(cell, name) for cell in data.cells})
        parts.append(f"{number:,} {name}" + ("" if number == 1 else "s"))
    return f"{', '.join(parts)}: {len(data.cells):,} cell" + ("" if len(data.cells) == 1 else "s")


def _place(machine: dict[str, str]) -> str:
    """A machine in a few words."""
    name, cores = machine.get("cpu") or "a processor without a name", machine.get("cores")
    return f"{name}, {cores} cores" if cores else name


def _picture(picture: Picture, prefix: str) -> Any:
    """The picture for the page, with words for those who cannot see it."""
    from markupsafe import escape

    label = f'<svg role="img" aria-label="{escape(picture.description)}" '
    return _trusted(picture.inline(prefix).replace('<svg role="img" ', label, 1))


def problems(cells: list[Cell]) -> list[tuple[str, str, int]]:
    """(status, reason, number of cells) of everything that failed, most frequent first."""
    counts: dict[tuple[str, str], int] = {}
    for cell in cells:
        outcome = cell.evaluate_outcome
        if outcome.status in ("failed", "timeout"):
            key = (STATUS_WORDS[outcome.status], f"{cell.variant}: {outcome.reason}")
            counts[key] = counts.get(key, 0) + 1
    return [(status, reason, n) for (status, reason), n in sorted(counts.items(), key=lambda item: -item[1])]


def _trusted(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)
