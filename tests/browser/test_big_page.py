"""A report of 10,000 cells in Chromium: all rows are found and sorted, few are there at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from bench.report import write_report
from tests.browser.conftest import Browser
from tests.synthetic import KINDS, build

pytestmark = pytest.mark.slow

VARIANTS = 5_000
ROWS = "[...document.querySelectorAll('.comparing tbody tr')]"
COLUMN = f"return {ROWS}.map(r => r.cells[arguments[0]].dataset.sort)"
NAMES = "return [...document.querySelectorAll('.comparing tbody th a')].map(a => a.textContent)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("big")
    kinds = [kind for kind in KINDS if kind != "baseline"]
    variants = {"baseline": KINDS["baseline"]}
    variants |= {
        f"{kinds[n % len(kinds)]}[run={n}]": KINDS[kinds[n % len(kinds)]] for n in range(1, VARIANTS)
    }
    built = build(
        root,
        variants=variants,
        targets=("tflite",),
        seeds=(0, 1),
        items=60,
        rounds=2,
        share_times=True,
    )
    assert len(built.manifest["cells"]) == 10_000
    return write_report(root, "synthetic")["report.html"]


def test_pages_of_rows(browser: Browser, page: Path) -> None:
    assert page.stat().st_size < 25_000_000
    browser.open(page)
    asked, console = browser.logs()
    assert asked == [page.as_uri()] and console == []
    first = browser.run(NAMES)
    assert len(first) == 100 and first[0] == "baseline"
    assert browser.run("return document.querySelectorAll('.lineages details').length") == 100
    where = "return document.querySelector('.pages .where').textContent"
    assert browser.run(where) == "1–100 of 5000"
    forth = browser.run("return document.querySelector('.forth')")
    forth.send_keys(Keys.ENTER)
    assert browser.run(where) == "101–200 of 5000" and not set(browser.run(NAMES)) & set(first)

    # Sorted over all rows, not those of the page.
    head = browser.run("return document.querySelector('th[title*=\"gzip level 9\"] button')")
    place = browser.run("return arguments[0].closest('th').cellIndex", head)
    head.send_keys(Keys.ENTER)
    up = [float(value) for value in browser.run(COLUMN, place)]
    head.send_keys(Keys.ENTER)
    down = [float(value) for value in browser.run(COLUMN, place)]
    assert up == sorted(up) and down == sorted(down, reverse=True) and up[-1] < down[-1]

    # So is what is found; and a link leads to a row of another page.
    browser.run("return document.querySelector('.filter')").send_keys("run=4321]")
    (name,) = browser.run(NAMES)
    assert name.endswith("[run=4321]")
    browser.run("return document.querySelector('.comparing tbody th a')").send_keys(Keys.ENTER)
    # Read at once: finding others takes this lineage out of the page.
    target = browser.until("return document.activeElement?.closest('details')?.querySelector('a')?.hash")
    field = browser.run("return document.querySelector('.filter')")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys("pruned[")
    assert "run=4321]" not in " ".join(browser.run(NAMES))
    # A link that is out of sight is followed from the address bar.
    browser.run("location.hash = arguments[0]", target)
    row = browser.until("return document.activeElement?.closest('tr')?.id")
    assert f"#{row}" == target and "of 5000" in browser.run(where)


def test_paper_holds_what_was_found(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("return document.querySelector('.filter')").send_keys("qap[")
    found = int(browser.run("return document.querySelector('.count').textContent").split()[0])
    assert found > 100
    browser.run("dispatchEvent(new Event('beforeprint'))")
    rows = browser.run("return document.querySelector('.printed').tBodies[0].rows.length")
    assert rows == found


def test_pictures_name_only_the_front(page: Path) -> None:
    folder = page.parent
    text = (folder / "digits-mlp-accuracy-size.svg").read_text("utf-8")
    assert text.count("[run=") < 100 and "data:image/png" in text
    assert "of 5,000 variants" in (folder / "report.md").read_text("utf-8").replace("\\", "")
    assert all(path.stat().st_size < 2_000_000 for path in folder.glob("*.svg"))
