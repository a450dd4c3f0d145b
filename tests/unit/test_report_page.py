"""The written reports: one file, no network, nothing hostile gets through, the same bytes again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.errors import StoreError
from bench.report import write_report
from bench.report.written import LIST
from bench.store.store import Store
from tests.synthetic import KINDS, Kind, build

VOID = {"meta", "input", "br", "hr", "img", "link"}
HOSTILE = "<script>alert('x')</script>|$&_%{}\\\"`**"


class Page(HTMLParser):
    """Tags, texts and attributes of a page; fails on tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("results")
    build(root, failed={"clustered": "loss is NaN"})
    return write_report(root, "synthetic")


def test_all_files_are_there(written: dict[str, Path]) -> None:
    assert set(written) == {
        "report.html",
        "report.md",
        "report.tex",
        "report.csv",
        *(
            f"digits-mlp-{kind}.{ending}"
            for kind in (
                *("accuracy-size", "accuracy-latency-keras", "accuracy-latency-tflite"),
                *("latency-keras", "latency-tflite", "size-by-type", "disagreement"),
                *("layers-tflite", "confusion-distilled-qap"),
            )
            for ending in ("svg", "pdf", "png")
        ),
    }
    folder = written["report.html"].parent
    assert folder.name == "synthetic" and folder.parent.name == "reports"
    assert {path.name for path in folder.iterdir()} == {*written, LIST}  # no temporary files left


def test_page_needs_nothing_from_elsewhere(written: dict[str, Path]) -> None:
    text = written["report.html"].read_text("utf-8")
    page = Page(text)
    for tag, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "action", "data", "poster"):
            value = attrs.get(name)
            assert value is None or value.startswith("#"), (tag, name, value)
    assert not page.all("link") and not page.all("iframe")
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    policy = next(m for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert (policy["content"] or "").startswith("default-src 'none'")


def test_page_tells_everything(written: dict[str, Path]) -> None:
    text = written["report.html"].read_text("utf-8")
    page = Page(text)
    told = " ".join(" ".join(page.texts).split())
    for words in (
        "Made-up sweep",
        "than baseline for",
        "not applicable: quantized after training",
        "cluster: loss is NaN",
        "Why is it so?",
        "student alone",
        "temperature=4.0",
        "Example CPU",
        "warmup_seconds",
        "2.21.0",
        "Two loadings of the same baseline differ",
        "How to read this",
        "accuracy minus the baseline's",
    ):
        assert words in told, words
    assert len(page.all("svg")) == 9


def test_ids_are_unique_and_references_lead_somewhere(written: dict[str, Path]) -> None:
    text = written["report.html"].read_text("utf-8")
    page = Page(text)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {str(attrs[n])[1:] for _, attrs in page.tags for n in ("href", "xlink:href") if attrs.get(n)}
    links |= set(re.findall(r"url\(#([^)]+)\)", text))
    assert links <= set(ids)


def test_pictures_follow_the_page_colour_and_are_whole(written: dict[str, Path]) -> None:
    text = written["report.html"].read_text("utf-8")
    assert "currentColor" in text and "prefers-color-scheme: dark" in text
    for name, path in written.items():
        if name.endswith(".svg"):
            root = ElementTree.fromstring(path.read_text("utf-8"))
            words = "".join(root.itertext())
            assert "digits_mlp: " in words and ("pruned" in words or "confusion" in name)
            assert ("test accuracy" in words) == ("accuracy" in name)
        if name.endswith(".png"):
            assert path.read_bytes().startswith(b"\x89PNG")
        if name.endswith(".pdf"):
            assert path.read_bytes().startswith(b"%PDF") and b"CreationDate" not in path.read_bytes()


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    variants = {name: KINDS[name] for name in ("baseline", "pruned", "fiq")}
    build(tmp_path, variants=variants)
    first = {name: path.read_bytes() for name, path in write_report(tmp_path, "synthetic").items()}
    second = write_report(tmp_path, "synthetic", tmp_path / "elsewhere")
    assert {name: path.read_bytes() for name, path in second.items()} == first


def test_hostile_names_are_shown_not_run(tmp_path: Path) -> None:
    variants = {"baseline": KINDS["baseline"], HOSTILE: KINDS["pruned"], "näme 名": KINDS["fiq"]}
    build(
        tmp_path,
        models=(HOSTILE,),
        variants=variants,
        title=HOSTILE,
        failed_evaluate={HOSTILE: HOSTILE},
        machine={"id": "m", "cpu": HOSTILE},
        seeds=(0,),
    )
    written = write_report(tmp_path, "synthetic")
    text = written["report.html"].read_text("utf-8")
    page = Page(text)
    assert len(page.all("script")) == 1
    assert "<script>alert" not in text
    assert "alert('x')" in " ".join(page.texts)
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    lines = [line for line in written["report.md"].read_text("utf-8").splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines if "Δ" in line or "名" in line}) == 1
    assert "<script" not in written["report.md"].read_text("utf-8")
    tex = written["report.tex"].read_text("utf-8")
    assert r"\textless{}script\textgreater{}alert" in tex and "</script>" not in tex
    for name, path in written.items():
        assert path.parent == written["report.html"].parent and "/" not in name
        if name.endswith(".svg"):
            ElementTree.fromstring(path.read_text("utf-8"))


@pytest.mark.parametrize(
    "bend",
    [
        {"variants": {}},
        {"variants": {"baseline": KINDS["baseline"]}, "seeds": (0,), "targets": ("tflite",)},
        {"failed": dict.fromkeys(KINDS, "no luck")},
        {"variants": {"dq": KINDS["dq"]}, "targets": ("keras",)},
        {"not_run": tuple(KINDS)},
        {"not_run": ("fiq", "qat"), "rounds": 2},
        {"skipped": {"tflite": "no LiteRT"}},
        {"rounds": 0},
    ],
    ids=[
        "no cells",
        "one cell",
        "only failures",
        "only n/a",
        "nothing run",
        "partial",
        "no target",
        "not timed",
    ],
)
def test_edge_inputs(tmp_path: Path, bend: dict[str, object]) -> None:
    build(tmp_path, items=50, **bend)  # type: ignore[arg-type]
    written = write_report(tmp_path, "synthetic")
    Page(written["report.html"].read_text("utf-8"))
    assert written["report.csv"].read_text("utf-8").startswith("sweep,model,variant")


def test_where_everything_failed_the_table_says_why(tmp_path: Path) -> None:
    build(tmp_path, failed=dict.fromkeys(KINDS, "no luck at all"), seeds=(0,), items=50)
    written = write_report(tmp_path, "synthetic")
    for name in ("report.html", "report.md", "report.tex"):
        assert "no luck at all" in written[name].read_text("utf-8"), name


def test_damaged_record_counts_as_not_run(tmp_path: Path) -> None:
    build(tmp_path, variants={"baseline": KINDS["baseline"]}, seeds=(0,), targets=("tflite",))
    store = Store(tmp_path)
    (key,) = store.keys("evaluate")
    store.record_path("evaluate", key).write_text('{"schema_version": 1, "ki')
    text = write_report(tmp_path, "synthetic")["report.html"].read_text("utf-8")
    assert "not run yet" in text


def test_old_report_stays_whole_when_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    build(tmp_path, variants={"baseline": KINDS["baseline"]}, seeds=(0,))
    place = tmp_path / "file"
    place.write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        write_report(tmp_path, "synthetic", place)
    assert place.read_text() == "in the way"


def test_unknown_sweep_is_named(tmp_path: Path) -> None:
    build(tmp_path, variants={"baseline": KINDS["baseline"]}, seeds=(0,))
    with pytest.raises(StoreError, match=r"(?s)'other'.*synthetic"):
        write_report(tmp_path, "other")


def test_two_models_do_not_share_pictures_or_ids(tmp_path: Path) -> None:
    variants = {name: KINDS[name] for name in ("baseline", "pruned")}
    build(tmp_path, models=("a_b", "a-b"), variants=variants, seeds=(0,), items=50)
    written = write_report(tmp_path, "synthetic")
    assert len([name for name in written if name.endswith("size.svg")]) == 2
    page = Page(written["report.html"].read_text("utf-8"))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_a_smoke_run_says_so(tmp_path: Path) -> None:
    build(tmp_path, variants={name: KINDS[name] for name in ("baseline", "dq")}, seeds=(0, 1, 2))
    path = tmp_path / "sweeps" / "synthetic.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quick": True}))
    written = write_report(tmp_path, "synthetic")
    page = written["report.html"].read_text("utf-8")
    assert "smoke run" in page and "than baseline for" not in page  # no headlines
    assert "smoke run" in written["report.md"].read_text("utf-8")


def test_report_imports_no_tensorflow(tmp_path: Path) -> None:
    build(
        tmp_path, variants={"baseline": KINDS["baseline"], "pruned": Kind(("train",))}, seeds=(0,), items=50
    )
    code = (
        "import sys; from bench import report; "
        f"report.write_report({str(tmp_path)!r}, 'synthetic'); "
        f"f = report.frame({str(tmp_path)!r}); report.comparison_table(f); str(report.compare(f, f)); "
        "bad = {'tensorflow', 'tf_keras', 'keras', 'ai_edge_litert', 'scipy'} & set(sys.modules); "
        "assert not bad, bad"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_without_the_student_alone_nothing_is_compared_with_it(tmp_path: Path) -> None:
    kinds = {name: KINDS[name] for name in ("baseline", "distilled")}
    build(tmp_path, variants=kinds, items=50)
    assert "to student alone" not in write_report(tmp_path, "synthetic")["report.html"].read_text("utf-8")
    build(tmp_path / "b", variants=kinds | {"student_scratch": KINDS["student_scratch"]}, items=50)
    assert "to student alone" in write_report(tmp_path / "b", "synthetic")["report.html"].read_text("utf-8")
