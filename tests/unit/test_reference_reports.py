"""The committed reports are what today's code writes of the committed records."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from bench.report import read_csv, written
from bench.report.frames.tidy import sweep_frame
from bench.report.frames.view import views
from bench.report.notes.headline import headlines
from bench.report.records.read import read_sweep
from bench.report.write import Choice, render
from tests.unit.test_reference_results import REFERENCE

SWEEPS = sorted(path.stem for path in (REFERENCE / "sweeps").glob("*.json"))
SHIPPED = sorted(path.stem for path in (Path(__file__).parents[2] / "bench" / "sweeps").glob("*.yaml"))


class Drawn(dict[str, Any]):
    """As if every picture had been drawn already: that takes long, and is tested elsewhere."""

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: str) -> Any:
        return (b"<svg></svg>",)


def test_every_shipped_sweep_has_its_run_and_its_report() -> None:
    assert SWEEPS == SHIPPED
    assert sorted(path.name for path in (REFERENCE / "reports").iterdir()) == SHIPPED


@pytest.mark.parametrize("sweep", SWEEPS)
def test_report_is_that_of_the_records(sweep: str) -> None:
    data = read_sweep(REFERENCE, sweep)
    files = render(data, sweep_frame(data), Choice(formats=("svg",)), Drawn())
    folder = REFERENCE / "reports" / sweep
    for name in ("report.md", "report.tex", "report.csv"):
        assert (folder / name).read_bytes() == files[name], f"bench report {sweep}: {name} is an old one"
    assert {p.name for p in folder.glob("*.svg")} == {name for name in files if name.endswith(".svg")}


def test_pages_have_a_column_of_fronts_where_a_variant_is_on_one() -> None:
    shown = {}
    for sweep in ("fashion_mnist", "digits_rtl"):
        data = read_sweep(REFERENCE, sweep)
        page = render(data, sweep_frame(data), Choice(formats=("svg",)), Drawn())["report.html"].decode()
        heads, cells = page.count("<span>Pareto</span>"), page.count('<td class="fronts">')
        corners = page.count('class="corner" colspan="1"'), page.count('class="corner" colspan="2"')
        shown[sweep] = heads > 0, cells > 0, corners[0] > 0, corners[1] > 0
    assert shown == {"fashion_mnist": (True, True, False, True), "digits_rtl": (False, False, True, False)}


@pytest.mark.parametrize("sweep", SWEEPS)
def test_nothing_in_a_report_was_changed_afterwards(sweep: str) -> None:
    folder = REFERENCE / "reports" / sweep
    listed = written.listed(folder)
    there = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert listed and there.pop(written.LIST) and there == listed


def test_headlines_are_the_ratios_of_the_report() -> None:
    """Worked out from report.csv, by other code: `qap is 10.5× smaller (gzip) and 3.86× faster …`."""
    told = 0
    for sweep in ("fashion_mnist", "mnist"):
        rows = read_csv(REFERENCE / "reports" / sweep / "report.csv")
        rows = rows[(rows.target == "tflite") & (rows.status == "ok")]
        for view in views(sweep_frame(read_sweep(REFERENCE, sweep))):
            for line in headlines(view):
                variant, _, rest = line.partition(" is ")
                own = rows[(rows.model == view.model) & rows.seed.notna()]

                def mean(name: str, metric: str, own: Any = own) -> float:
                    found = own[(own.variant == name) & (own.metric == metric)].value
                    assert len(found) == 3, (name, metric)
                    return float(found.mean())

                delta = 100 * (mean(variant, "accuracy") - mean("baseline", "accuracy"))
                said = rest.partition("than baseline for ")[2].split()[0].replace("−", "-")
                assert float(said) == pytest.approx(delta, abs=0.051), line
                if "smaller (gzip)" in rest:
                    ratio = mean("baseline", "gzip_bytes") / mean(variant, "gzip_bytes")
                    assert float(rest.partition("×")[0]) == pytest.approx(ratio, rel=0.01), line
                    told += 1
                if "faster (tflite" in rest:
                    pooled = rows[(rows.model == view.model) & (rows.variant == variant) & rows.seed.isna()]
                    (ratio,) = pooled[(pooled.metric == "latency_ratio") & (pooled.scope == "invoke")].value
                    said = rest.partition("× faster")[0].split()[-1]
                    assert float(said) == pytest.approx(1 / ratio, rel=0.01), line
                    told += 1
    assert told >= 6
