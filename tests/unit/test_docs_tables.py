"""The reference tables in docs/ are those of the code, those of the README the committed results'."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import report
from bench.core.cells import StepSpec
from bench.report.frames.view import views
from bench.report.metrics import COLUMN_DOCS, markdown_table
from bench.report.notes.headline import headlines
from bench.sweep.variants import VARIANTS, NotApplicable, Variant

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_every_metric_is_documented_as_the_code_defines_it() -> None:
    assert markdown_table().strip() in (DOCS / "metrics.md").read_text(encoding="utf-8")


def test_every_column_is_documented() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    assert [name for name, text in COLUMN_DOCS.items() if f"| `{name}` | {text} |" not in page] == []


def _chain(specs: tuple[StepSpec, ...]) -> str:
    shown = []
    for spec in specs:
        given = ", ".join(f"{name}: {value}" for name, value in spec.params.items())
        shown.append(f"`{spec.step}`" + (f" ({given})" if given else ""))
    return " → ".join(shown)


def row(variant: Variant) -> str:
    """The line of docs/variants.md on a variant."""
    mark = " †" if variant.role == "control" else ""
    learnt = f" · teacher: {_chain(variant.teacher)}" if variant.teacher else ""
    tails = {
        format: "n/a" if isinstance(tail, NotApplicable) else _chain(tail) or "as it is"
        for format, tail in variant.tails.items()
    }
    ends = " | ".join(tails[format] for format in ("keras", "tflite", "fixed"))
    return f"| `{variant.name}`{mark} | {variant.summary} | {_chain(variant.trunk)}{learnt} | {ends} |"


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_every_variant_is_documented(name: str) -> None:
    assert row(VARIANTS[name]) in (DOCS / "variants.md").read_text(encoding="utf-8").splitlines()


README = (ROOT / "README.md").read_text(encoding="utf-8")
TABLES = re.findall(r"^```text\n(.*?)^```$", README, re.M | re.S)


def test_the_readme_opens_with_the_purpose_the_two_commands_and_a_table() -> None:
    purpose, demo, test, table = (
        README.index(text) for text in ("**All ", "make demo", "make test", TABLES[0])
    )
    assert purpose < demo < test < table
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^demo:.*\n\t\.venv/bin/bench run digits$", rules, re.M)
    assert re.search(r"^test:.*\n\t\.venv/bin/python -m pytest$", rules, re.M)
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").rstrip().endswith("\nmake test")


@pytest.mark.parametrize("table", TABLES, ids=lambda text: text.splitlines()[0])
def test_the_readmes_tables_are_those_of_the_committed_records(table: str) -> None:
    """All but the legend, which counts what else a report of all its models has."""
    sweep = re.search(r"\((\w+)\)$", table.splitlines()[0])
    assert sweep
    body = table.partition("\n†")[0].rstrip()
    frame = report.frame(ROOT / "results" / "reference", sweep[1])
    shown = [report.comparison_table(frame, width=width) for width in (100, 111)]
    assert body in shown[0] or body in shown[1], shown[0]


def test_the_readmes_headline_is_that_of_the_committed_records() -> None:
    (view, _) = views(report.frame(ROOT / "results" / "reference", "fashion_mnist"))
    (line,) = headlines(view)
    assert f"“{line}”" in " ".join(README.split())
