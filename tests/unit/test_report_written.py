"""A report leaves no pictures of earlier reports behind, and touches nothing that is not its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.report import write_report, written
from tests.synthetic import KINDS, build


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a list of three files, as a report would leave it."""
    files = {"old.svg": b"old", "changed.svg": b"as written", "kept.svg": b"kept"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / written.LIST).write_bytes(written.contents(files))
    (tmp_path / "changed.svg").write_bytes(b"by its user")
    (tmp_path / "notes.svg").write_bytes(b"a user's")
    return tmp_path


def test_only_own_unchanged_files_are_removed(folder: Path) -> None:
    removed = written.remove_old(folder, written.listed(folder), {"kept.svg": b"new"})
    assert [path.name for path in removed] == ["old.svg"]
    assert {path.name for path in folder.iterdir()} == {
        *("changed.svg", "kept.svg", "notes.svg", written.LIST)
    }


@pytest.mark.parametrize(
    "name", ["../outside.svg", "sub/inside.svg", "script.py", "link.svg", "\0.svg", ".."]
)
def test_a_list_leads_to_no_other_file(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "report"
    (folder / "sub").mkdir(parents=True)
    outside = tmp_path / "outside.svg"
    places = [outside, folder / "sub" / "inside.svg", folder / "script.py"]
    for path in places:
        path.write_bytes(b"x")
    (folder / "link.svg").symlink_to(outside)
    (digest,) = json.loads(written.contents({name: b"x"}))["files"].values()
    assert written.remove_old(folder, {name: digest}, {}) == []
    assert all(path.exists() for path in (*places, folder / "link.svg"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', "[" * 100_000, '{"files": {"a.svg": 1'])
def test_a_list_that_is_none_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / written.LIST).write_text(text)
    assert written.listed(tmp_path) == {}


def test_pictures_of_variants_that_are_gone_go_too(tmp_path: Path) -> None:
    few = {name: KINDS[name] for name in ("baseline", "qap")}
    build(tmp_path, variants=few, seeds=(0,), items=50)
    first = write_report(tmp_path, "synthetic")
    folder = first["report.html"].parent
    (folder / "mine.png").write_bytes(b"mine")
    build(tmp_path, variants={"baseline": KINDS["baseline"]}, seeds=(0,), items=50)
    second = write_report(tmp_path, "synthetic")
    assert set(second) < set(first)
    assert {path.name for path in folder.iterdir()} == {*second, "mine.png", written.LIST}
