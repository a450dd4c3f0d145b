"""The reference tables in docs/ are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cells import StepSpec
from bench.report.metrics import COLUMN_DOCS, markdown_table
from bench.variants import VARIANTS, NotApplicable, Variant

DOCS = Path(__file__).parents[2] / "docs"


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
