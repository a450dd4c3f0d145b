"""Odd, damaged, old, new and very many records: every output stands, and says what is missing."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.core.records import SCHEMA_VERSION
from bench.errors import StoreError
from bench.report import comparison_table, frame, read_csv, write_report
from bench.report.metrics import COLUMNS
from bench.report.records.read import read_sweep
from bench.report.write import Choice, model_parts
from tests.latex_syntax import check_syntax
from tests.synthetic import KINDS, build

FEW = {name: KINDS[name] for name in ("baseline", "pruned", "fiq")}
HOSTILE = r"<script>alert(1)</script>|\input{x}%&_#$~^{}`*[a](b)\"'"
FOREIGN = "modèle 模型 עברית ℕ"
OUTPUTS = ("report.html", "report.md", "report.tex", "report.csv", "terminal")


class Shape(HTMLParser):
    """Elements that opened, and whether all of them closed in order."""

    EMPTY = ("meta", "link", "br", "hr", "img", "input", "wbr", "col")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.told = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("p", "li", "dd", "dt") and self.open[-1] != tag:
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.told += data


def outputs(root: Path) -> dict[str, str]:
    """All that `bench report` writes and prints, each checked for its form."""
    written = write_report(root, "synthetic", root / "out", choice=Choice(False, ("svg",)))
    found = {name: written[name].read_text("utf-8") for name in OUTPUTS if name in written}
    found["terminal"] = comparison_table(frame(root, "synthetic"))
    rows = list(csv.DictReader(found["report.csv"].splitlines()))
    assert found["report.csv"].splitlines()[0] == ",".join(COLUMNS)
    assert len(read_csv(written["report.csv"])) == len(rows)
    page = Shape(found["report.html"])
    assert page.tags.count("script") == 1 and page.tags.count("html") == 1
    check_syntax(found["report.tex"])
    tables: dict[int, set[int]] = {}
    for number, line in enumerate(found["report.md"].splitlines()):
        if line.startswith("|"):
            start = max((n for n in tables if number - n == len(tables[n])), default=number)
            tables.setdefault(start, set())
            assert line.endswith("|")
    assert found["report.md"].startswith("# ")
    assert all(line.isprintable() for line in found["terminal"].splitlines())
    return found


def records(root: Path, kind: str) -> list[Path]:
    return sorted((root / "records" / kind).rglob("*.json"))


def bend(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text("utf-8"))
    change(value)
    path.write_text(json.dumps(value), "utf-8")


def test_no_cells(tmp_path: Path) -> None:
    build(tmp_path, variants={})
    assert outputs(tmp_path)["terminal"] == "No cells."


def test_no_records(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, not_run=tuple(FEW))
    for name, text in outputs(tmp_path).items():
        assert "not run yet" in text, name


def test_one_cell(tmp_path: Path) -> None:
    build(tmp_path, variants={"baseline": KINDS["baseline"]}, targets=("tflite",), seeds=(0,), items=50)
    for name, text in outputs(tmp_path).items():
        assert "baseline" in text, name


def test_one_seed_has_no_interval_between_seeds(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0,), items=200)
    found = outputs(tmp_path)
    rows = [row for row in csv.DictReader(found["report.csv"].splitlines()) if row["metric"] == "accuracy"]
    assert {(row["low"], row["high"]) for row in rows if not row["seed"]} == {("", "")}
    assert all(row["low"] and row["high"] for row in rows if row["seed"] and row["status"] == "ok")
    for name in ("report.html", "report.md", "report.tex"):
        assert "One seed: accuracy has the Wilson interval" in found[name], name


def test_only_failures(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, failed=dict.fromkeys(FEW, "no luck at all"), items=50)
    for name, text in outputs(tmp_path).items():
        assert "failed" in text and "no luck at all" in text, name


@pytest.mark.parametrize("word", [HOSTILE, FOREIGN], ids=["markup", "other alphabets"])
def test_names_and_reasons_are_shown_as_they_are(tmp_path: Path, word: str) -> None:
    variants = FEW | {word: KINDS["qat"], f"{word} 2": KINDS["pruned"]}
    build(tmp_path, models=(word,), variants=variants, failed={f"{word} 2": word}, items=50, title=word)
    found = outputs(tmp_path)
    rows = list(csv.DictReader(found["report.csv"].splitlines()))
    assert {word} == {row["model"] for row in rows} and word in {row["variant"] for row in rows}
    assert word in found["terminal"] and word in Shape(found["report.html"]).told
    assert "<script>alert" not in found["report.html"] + found["report.md"]
    assert r"\input{x}" not in found["report.tex"]
    if word == FOREIGN:
        assert all(word in found[name] for name in OUTPUTS)


# -- records that are not what they should be -------------------------------------------------------


def newer(value: dict[str, Any]) -> None:
    value["schema_version"] = SCHEMA_VERSION + 1


@pytest.mark.parametrize("kind", ["build", "evaluate", "measure"])
def test_a_record_of_a_newer_version_stops_no_report(tmp_path: Path, kind: str) -> None:
    build(tmp_path, variants={"baseline": KINDS["baseline"]}, seeds=(0,), targets=("tflite",), items=50)
    for path in records(tmp_path, kind):
        bend(path, newer)
    before = {path: path.read_bytes() for path in records(tmp_path, kind)}
    for name, text in outputs(tmp_path).items():
        assert "written by a newer version" in " ".join(text.split()), name
    assert before == {path: path.read_bytes() for path in records(tmp_path, kind)}


def test_old_records_are_read_beside_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of the version before with a way to lift them, then without one."""
    import bench.core.records

    def lift(value: dict[str, Any]) -> dict[str, Any]:
        return {**value, "result": value["outcome"], "schema_version": SCHEMA_VERSION + 1}

    def lower(value: dict[str, Any]) -> None:
        value["outcome"] = value.pop("result")

    build(tmp_path, variants=FEW, seeds=(0,), targets=("tflite",), items=50)
    plain = frame(tmp_path)
    monkeypatch.setattr(bench.core.records, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setitem(bench.core.records.UPGRADES, SCHEMA_VERSION, lift)
    old = records(tmp_path, "evaluate")[:2]
    for kind in ("build", "evaluate", "measure"):
        for path in records(tmp_path, kind):
            bend(path, lower if path in old else newer)
    assert frame(tmp_path).equals(plain)
    outputs(tmp_path)
    monkeypatch.delitem(bench.core.records.UPGRADES, SCHEMA_VERSION)
    accuracy = frame(tmp_path).query("metric == 'accuracy' and seed == seed")
    assert sorted(accuracy["status"]) == ["failed", "failed", "ok"]
    for name, text in outputs(tmp_path).items():
        assert f"too old to be read (schema {SCHEMA_VERSION})" in " ".join(text.split()), name
    assert len(records(tmp_path, "evaluate")) == 3, "what is old is not damaged, and stays"


def test_what_is_wrong_and_how_to_mend_it_are_two_sentences(tmp_path: Path) -> None:
    reasons = {"fiq": "it takes 26 minutes\n  Prune more.", "pruned": "It broke!\n  Mend it."}
    build(tmp_path, variants=FEW, failed=reasons, seeds=(0,), targets=("tflite",), items=50)
    for name, text in outputs(tmp_path).items():
        told = " ".join(text.replace("\\", "").split())
        assert "it takes 26 minutes. Prune more." in told, name
        assert "It broke! Mend it." in told, name


DAMAGE: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "no n": ("evaluate", lambda r: r.pop("n")),
    "more errors than items": ("evaluate", lambda r: r.update(errors=10**6)),
    "n is text": ("evaluate", lambda r: r.update(n="many")),
    "confusion is not square": ("evaluate", lambda r: r.update(confusion=[[1], [1, 2]])),
    "other items": ("evaluate", lambda r: r["correct"].update(n=3)),
    "facts are a list": ("build", lambda r: r.update(facts=[1])),
    "size is text": ("build", lambda r: r["facts"].update(gzip_bytes="12")),
    "size is negative": ("build", lambda r: r["facts"].update(file_bytes=-1)),
    "layers are a number": ("build", lambda r: r["facts"].update(layers=3)),
    "checks are text": ("build", lambda r: r.update(checks="all")),
    "no entries": ("measure", lambda r: r.pop("entries")),
    "no reference": ("measure", lambda r: r.pop("reference")),
    "entry is text": ("measure", lambda r: r["entries"].update(baseline="x")),
    "no scopes": ("measure", lambda r: r["entries"]["baseline"].pop("scopes")),
    "median is text": (
        "measure",
        lambda r: r["entries"]["baseline"]["scopes"]["invoke"].update(median_ns="fast"),
    ),
    "no time at all": (
        "measure",
        lambda r: r["entries"]["baseline"]["scopes"]["invoke"].update(total_seconds=0),
    ),
    "huge histogram": (
        "measure",
        lambda r: r["entries"]["baseline"]["scopes"]["invoke"]["histogram"].update(first=10**12),
    ),
    "histogram is no array": (
        "measure",
        lambda r: r["entries"]["baseline"]["scopes"]["invoke"]["histogram"]["counts"].update(data="AAAA"),
    ),
    "state is a list": ("measure", lambda r: r.update(state_before=[1], state_after=[1])),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_record_counts_as_failed_with_its_reason(tmp_path: Path, name: str) -> None:
    build(tmp_path, variants={n: KINDS[n] for n in ("baseline", "fiq")}, seeds=(0,), targets=("tflite",))
    kind, change = DAMAGE[name]
    for path in records(tmp_path, kind):
        bend(path, lambda value: change(value["result"]))
    table = frame(tmp_path)
    metric = {"evaluate": "accuracy", "build": "file_bytes", "measure": "latency_p50"}[kind]
    rows = table[(table["metric"] == metric) & (table["variant"] == "baseline")]
    assert set(rows["status"]) == {"failed"} and rows["value"].isna().all()
    assert all("its record is damaged" in reason for reason in rows["reason"])
    model_parts(read_sweep(tmp_path, "synthetic"), table)
    assert "its record is damaged" in " ".join(comparison_table(table).split())


def test_one_bad_round_of_five_leaves_four(tmp_path: Path) -> None:
    build(tmp_path, variants={"baseline": KINDS["baseline"]}, seeds=(0,), targets=("tflite",), items=50)
    bend(records(tmp_path, "measure")[0], lambda value: value["result"].pop("entries"))
    table = frame(tmp_path)
    row = table[(table["metric"] == "load_time") & table["seed"].notna()].iloc[0]
    assert row["status"] == "ok" and row["n"] == 4


def test_outcomes_that_cannot_be_unpacked_are_paired_with_nothing(tmp_path: Path) -> None:
    build(tmp_path, variants={n: KINDS[n] for n in ("baseline", "fiq")}, seeds=(0,), targets=("tflite",))
    for path in records(tmp_path, "evaluate"):
        bend(path, lambda value: value["result"]["correct"].update(data="not base64"))
    metrics = set(frame(tmp_path)["metric"])
    assert "accuracy" in metrics and "accuracy_delta" not in metrics and "agreement" in metrics


def test_a_damaged_cell_of_the_manifest_is_refused_by_name(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW, seeds=(0,), items=50)
    path = tmp_path / "sweeps" / "synthetic.json"
    bend(path, lambda value: value["cells"][0].pop("model"))
    with pytest.raises(StoreError, match=r"synthetic: a cell of its manifest is damaged"):
        frame(tmp_path)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sweep, to be read only."""
    folder = tmp_path_factory.mktemp("small")
    build(folder, variants={n: KINDS[n] for n in ("baseline", "fiq")}, seeds=(0,), items=30, rounds=2)
    return folder


JUNK: tuple[Any, ...] = (None, [], {}, "x", -1, 0, 1e308, True, [[1, 2]], {"a": 1})


def scramble(value: Any, rng: random.Random) -> Any:
    """The same with one field, at any depth, replaced by junk or gone."""
    place = value
    while isinstance(place, (dict, list)) and place:
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not isinstance(place[key], (dict, list)) or not place[key] or rng.random() < 0.3:
            if rng.random() < 0.2:
                del place[key]
            else:
                place[key] = rng.choice(JUNK)
            return value
        place = place[key]
    return value


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_wrong_with_a_record_the_report_stands(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    build(tmp_path, variants={n: KINDS[n] for n in ("baseline", "fiq")}, seeds=(0,), items=30, rounds=2)
    for path in rng.sample([p for k in ("build", "evaluate", "measure") for p in records(tmp_path, k)], 3):
        path.write_text(json.dumps(scramble(json.loads(path.read_text()), rng)))
    data = read_sweep(tmp_path, "synthetic")
    table = frame(tmp_path)
    model_parts(data, table)
    comparison_table(table)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_wrong_with_a_manifest_it_is_refused_or_the_report_stands(
    small: Path, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "records").symlink_to(small / "records")
    manifest = scramble(json.loads((small / "sweeps" / "synthetic.json").read_text()), rng)
    (tmp_path / "sweeps" / "synthetic.json").write_text(json.dumps(manifest))
    try:
        data = read_sweep(tmp_path, "synthetic")
    except StoreError as error:
        assert "synthetic" in str(error)
        return
    table = frame(tmp_path)
    model_parts(data, table)
    comparison_table(table)


@pytest.mark.slow
def test_10_000_cells(tmp_path: Path) -> None:
    many = {"baseline": KINDS["baseline"]} | {f"v{n}": KINDS["pruned"] for n in range(999)}
    build(tmp_path, variants=many, seeds=range(5), items=20, rounds=2, share_times=True)
    assert len(read_sweep(tmp_path, "synthetic").cells) == 10_000
    for name, text in outputs(tmp_path).items():
        assert "v998" in text, name
