"""report.html in Chromium: what a reader does with it, by mouse, keyboard, screen reader and printer."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from bench.report import write_report
from bench.report.frames.tidy import sweep_frame
from bench.report.frames.view import views
from bench.report.live import refreshing
from bench.report.records.read import read_sweep
from bench.report.tables.comparison import comparison
from bench.report.write import Choice, render
from tests.browser.conftest import Browser
from tests.synthetic import KINDS, build
from tests.unit.test_reference_reports import REFERENCE, Drawn

NAMES = (
    "return [...document.querySelectorAll('.comparison tbody tr')]"
    ".filter(r => !r.hidden).map(r => r.dataset.place)"
)
SHOWN = (
    "return [...new Set([...document.querySelectorAll('.comparison [data-family]')]"
    ".filter(h => h.offsetParent).map(h => h.dataset.family))]"
)
HOSTILE = "<img src=x onerror=document.title='run'>|$&_%{}\\\"`"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    build(root, failed={"clustered": "loss is NaN"}, items=100)
    return write_report(root, "synthetic")["report.html"]


def header(browser: Browser, key: str) -> object:
    return browser.run(f"return document.querySelector('th[title*=\"{key}\"] button')")


def test_nothing_is_asked_for_and_nothing_complained_of(browser: Browser, page: Path) -> None:
    browser.open(page)
    asked, console = browser.logs()
    assert asked == [page.as_uri()] and console == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, page: Path, scheme: str) -> None:
    browser.emulate(scheme=scheme)
    browser.open(page)
    dark = browser.run("return matchMedia('(prefers-color-scheme: dark)').matches")
    assert dark == (scheme == "dark")
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.violations() == []


def test_headers_sort_up_down_and_back_by_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page)
    at_first = browser.run(NAMES)
    button = header(browser, "gzip level 9")
    values = (
        "return [...document.querySelectorAll('.comparison tbody tr')]"
        ".map(r => r.cells[arguments[0]].dataset.sort).filter(Boolean).map(Number)"
    )
    place = browser.run("return arguments[0].closest('th').cellIndex", button)
    state = "return arguments[0].closest('th').getAttribute('aria-sort')"
    button.send_keys(Keys.ENTER)  # type: ignore[attr-defined]
    up = browser.run(values, place)
    assert up == sorted(up) and len(up) > 5 and browser.run(state, button) == "ascending"
    # A variant without a number stays last, whichever way.
    last = browser.run(NAMES)[-1]
    button.send_keys(Keys.SPACE)  # type: ignore[attr-defined]
    assert browser.run(values, place) == up[::-1] and browser.run(state, button) == "descending"
    assert browser.run(NAMES)[-1] == last
    button.send_keys(Keys.ENTER)  # type: ignore[attr-defined]
    assert browser.run(NAMES) == at_first and browser.run(state, button) is None


def test_finding_a_variant(browser: Browser, page: Path) -> None:
    browser.open(page)
    field = browser.run("return document.querySelector('.filter')")
    field.send_keys("DISTILLED")
    assert len(browser.run(NAMES)) == 2
    assert browser.run("return document.querySelector('.count').textContent") == f"2 of {len(KINDS)} variants"
    field.clear()
    field.send_keys("nothing of this name")
    assert browser.run(NAMES) == []


def test_pareto_front_alone_with_the_baseline(browser: Browser, page: Path) -> None:
    browser.open(page)
    fronts = "return [...document.querySelectorAll('.comparison tbody tr')].map(r => r.className)"
    before = browser.run(fronts)
    browser.run("return document.querySelector('.pareto')").send_keys(Keys.SPACE)
    after = browser.run(fronts)
    wanted = [name for name in before if "front" in name or "reference" in name]
    assert after == wanted and 2 < len(after) < len(before)
    browser.run("return document.querySelector('.filter')").send_keys("qap")
    assert 0 < len(browser.run(fronts)) < len(after)  # both at once
    assert browser.violations() == []


def test_a_name_leads_to_its_lineage_and_back(browser: Browser, page: Path) -> None:
    browser.open(page)
    link = (
        "return [...document.querySelectorAll('.comparison tbody th a')].find(a => a.textContent === 'qap')"
    )
    active = "return document.activeElement.closest('details, tr')"
    browser.run(link).send_keys(Keys.ENTER)
    story = browser.until(active + "?.closest('details')")
    assert story.get_attribute("open")
    assert story.text.startswith("qap") and "prune" in story.text and story.is_displayed()
    # Back to a row that a filter has hidden meanwhile.
    field = browser.run("return document.querySelector('.filter')")
    back = browser.run("return arguments[0].querySelector('a')", story)
    field.send_keys("qap")
    assert len(browser.run(NAMES)) == 2
    back.send_keys(Keys.ENTER)
    assert browser.until(active + "?.closest('tr')").text.startswith("qap")
    # The same link again, after the lineage was closed.
    browser.run("arguments[0].open = false", story)
    for _ in range(2):
        browser.run(link).send_keys(Keys.ENTER)
        assert browser.until("return arguments[0].open", story)


def test_seeds_are_told_for_every_number(browser: Browser, page: Path) -> None:
    browser.open(page)
    told = browser.run("return [...document.querySelectorAll('thead small.seeds')].map(s => s.textContent)")
    assert set(told) == {"3 seeds", "1 seed"}  # only one seed is timed


def test_groups_of_columns_are_switched_by_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.run(SHOWN) == ["accuracy", "size", "TFLite", "CPU"]
    box = browser.run("return document.querySelector('.family[value=size]')")
    box.send_keys(Keys.SPACE)
    assert browser.run(SHOWN) == ["accuracy", "TFLite", "CPU"]
    # The heads of the groups span what is left.
    spans = (
        "const t = document.querySelector('.comparison'), seen = c => getComputedStyle(c).display !== 'none';"
        "return [[...t.tHead.rows[0].cells].filter(seen).reduce((n, c) => n + c.colSpan, 0),"
        "...[t.tHead.rows[1], ...t.tBodies[0].rows].map(r => [...r.cells].filter(seen).length)]"
    )
    assert len(set(browser.run(spans))) == 1
    browser.run("document.querySelector('.details').click()")
    assert len(set(browser.run(spans))) == 1 and "size" not in browser.run(SHOWN)
    box.send_keys(Keys.SPACE)
    assert "size" in browser.run(SHOWN)


def test_every_empty_cell_says_why(browser: Browser, page: Path) -> None:
    browser.open(page)
    silent = (
        "return [...document.querySelectorAll('.comparison tbody td:not(.fronts)')].filter(c => "
        "!c.dataset.sort && !c.querySelector('sup a') && c.textContent.trim().length < 10)"
        ".map(c => c.outerHTML)"
    )
    assert browser.run(silent) == []
    assert browser.run("return document.querySelectorAll('.comparison .none').length") > 5


def test_skip_link_is_the_first_stop(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.driver.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.driver.switch_to.active_element.get_attribute("class") == "skip"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.driver.switch_to.active_element.get_attribute("id") == "main"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_print_is_dark_on_white_and_without_tools(browser: Browser, page: Path, scheme: str) -> None:
    browser.emulate("print", scheme)
    browser.open(page)
    assert browser.run("return document.querySelector('.tools').offsetParent") is None
    colours = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    assert browser.run(colours) == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    pdf = base64.b64decode(browser.driver.print_page())
    assert pdf.startswith(b"%PDF") and len(pdf) > 20_000


def test_paper_holds_the_chosen_rows_and_columns(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.querySelector('.details').click()")
    browser.run("document.querySelector('.family[value=size]').click()")
    browser.run("return document.querySelector('.filter')").send_keys("q")
    chosen = len(browser.run(NAMES))
    shown = "return document.querySelectorAll('.comparing tr + tr th[scope=col]:not(.off)').length"
    columns = browser.run(shown)
    # As a browser does it: told before anything looks like paper.
    browser.run("dispatchEvent(new Event('beforeprint'))")
    browser.emulate("print")
    tables = browser.run(
        "return [...document.querySelectorAll('.printed')].map(t => [t.offsetWidth, t.tBodies[0].rows.length,"
        "...[...t.tHead.rows].map(r => [...r.cells].reduce((n, c) => n + c.colSpan, 0))])"
    )
    width = 1032  # A4 landscape less its margins, in CSS pixels
    assert len(tables) > 1 and all(wide <= width and rows == chosen for wide, rows, *_ in tables)
    assert all(spans == cells for *_, spans, cells in tables)
    assert sum(cells - 1 for *_, cells in tables) == columns - 1  # each once, after the name
    assert browser.run("return document.querySelector('.comparing').offsetParent") is None
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert browser.run("return document.querySelector('.printed')") is None


def test_narrow_window_scrolls_tables_not_the_page(browser: Browser, page: Path) -> None:
    browser.driver.set_window_size(500, 900)
    try:
        browser.open(page)
        assert browser.run("const e = document.documentElement; return e.scrollWidth <= e.clientWidth")
    finally:
        browser.driver.set_window_size(1400, 1000)


def test_hostile_names_do_nothing(browser: Browser, tmp_path: Path) -> None:
    variants = {"baseline": KINDS["baseline"], HOSTILE: KINDS["pruned"], "näme 名": KINDS["fiq"]}
    build(tmp_path, models=(HOSTILE,), variants=variants, title=HOSTILE, seeds=(0,), items=50)
    page = write_report(tmp_path, "synthetic")["report.html"]
    browser.open(page)
    asked, console = browser.logs()
    assert asked == [page.as_uri()] and console == []
    assert browser.driver.title.startswith(HOSTILE) and "näme 名" in browser.driver.page_source
    assert browser.violations() == []


@pytest.mark.parametrize(
    "bend",
    [{"variants": {}}, {"failed": dict.fromkeys(KINDS, "no luck")}, {"not_run": tuple(KINDS)}],
    ids=["no cells", "only failures", "nothing run"],
)
def test_pages_with_nothing_to_tell(browser: Browser, tmp_path: Path, bend: dict[str, object]) -> None:
    build(tmp_path, items=50, seeds=(0,), **bend)  # type: ignore[arg-type]
    page = write_report(tmp_path, "synthetic")["report.html"]
    browser.open(page)
    assert browser.logs() == ([page.as_uri()], []) and browser.violations() == []


def test_page_of_200_cells_is_small(tmp_path: Path) -> None:
    models = [f"model {n}" for n in range(4)]
    variants = dict(list(KINDS.items())[:13])
    built = build(tmp_path, models=models, variants=variants, seeds=(0, 1), items=50, share_times=True)
    assert len(built.manifest["cells"]) >= 200
    assert write_report(tmp_path, "synthetic")["report.html"].stat().st_size <= 2_000_000


def test_a_live_page_reloads_itself_and_keeps_its_place(browser: Browser, page: Path, tmp_path: Path) -> None:
    live = tmp_path / "report.html"
    live.write_bytes(refreshing(page.read_bytes(), 4, "Live."))
    browser.open(live)
    browser.run("window.mark = 1; window.scrollTo(0, 700)")
    time.sleep(6)  # after the first reload, before the second
    assert browser.run("return window.mark") is None
    assert browser.run("return Math.round(window.scrollY)") == 700
    assert browser.run("return document.querySelector('.live').textContent") == "Live."
    browser.run("document.querySelector('input').focus(); window.mark = 1")
    time.sleep(6)
    assert browser.run("return window.mark") == 1, "it reloaded while somebody was typing"
    asked, console = browser.logs()
    assert set(asked) == {live.as_uri()} and console == []
    browser.open(page)  # which does not reload


def rendered(sweep: str, folder: Path) -> tuple[Path, list[str]]:
    """A page of the committed records, and the group of each of its first table's columns."""
    data = read_sweep(REFERENCE, sweep)
    view = views(sweep_frame(data))[0]
    path = folder / f"{sweep}.html"
    path.write_bytes(render(data, sweep_frame(data), Choice(formats=("svg",)), Drawn())["report.html"])
    return path, [column.group for column in comparison(view).columns]


#: of each table: what is seen of its two rows of headers, as (text, left, right)
EDGES = """
const edges = (cells) => [...cells].filter((c) => c.offsetParent)
  .map((c) => [c.textContent.trim(), c.getBoundingClientRect().left, c.getBoundingClientRect().right]);
return [...document.querySelectorAll(arguments[0])].map((t) => [...t.tHead.rows].map((r) => edges(r.cells)));
"""


def grouped(tables: list[list[list[list[Any]]]]) -> list[tuple[str, str]]:
    """(header, the group that stands above it) of every column that is seen."""
    found = []
    for groups, heads in tables:
        for head, left, right in heads:
            above = [text for text, start, end in groups if start - 1 <= left and right <= end + 1]
            found.append((head, above[0] if above else "nothing"))
    return found


@pytest.mark.parametrize("sweep", ["digits_rtl", "digits"])
def test_every_column_stands_under_its_group(browser: Browser, tmp_path: Path, sweep: str) -> None:
    """With a column of fronts (digits) and without one, with all columns, and on paper."""
    path, groups = rendered(sweep, tmp_path)
    browser.open(path)
    first = "#m1 table.comparison:not(.printed)"
    table = browser.run(f"return document.querySelector('{first}')")
    before = browser.run("return arguments[0].tHead.rows[0].cells[0].colSpan", table)
    assert before == (2 if sweep == "digits" else 1)
    names = browser.run("return [...arguments[0].tHead.rows[1].cells].map(c => c.textContent.trim())", table)
    lead, true = names[:before], [("", "")] * before + list(zip(names[before:], groups, strict=True))
    main = grouped(browser.run(EDGES, first))
    assert [head for head, _ in main[:before]] == lead and "nothing" not in dict(main).values()
    assert set(main[before:]) < set(true) and any("LUT" in head for head, _ in main)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    browser.emulate("print")
    printed = grouped(browser.run(EDGES, "#m1 .printed"))
    browser.emulate()
    browser.run("dispatchEvent(new Event('afterprint'))")
    told = [one for one in printed if one[0] not in lead]
    assert told == main[before:], "on paper: the same columns under the same groups"
    browser.run("arguments[0].closest('section').querySelector('.details').click()", table)
    assert grouped(browser.run(EDGES, first))[before:] == true[before:]
