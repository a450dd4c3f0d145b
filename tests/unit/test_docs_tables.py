"""The reference tables in docs/ are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.report.metrics import COLUMN_DOCS, markdown_table
from bench.variants import VARIANTS

DOCS = Path(__file__).parents[2] / "docs"


def test_every_metric_is_documented_as_the_code_defines_it() -> None:
    assert markdown_table().strip() in (DOCS / "metrics.md").read_text(encoding="utf-8")


def test_every_column_is_documented() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    assert [name for name, text in COLUMN_DOCS.items() if f"| `{name}` | {text} |" not in page] == []


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_every_variant_is_documented(name: str) -> None:
    variant = VARIANTS[name]
    row = next(
        line
        for line in (DOCS / "variants.md").read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| `{name}`")
    )
    assert variant.summary in row
    assert all(f"`{spec.step}`" in row for spec in (*variant.trunk, *variant.teacher))
