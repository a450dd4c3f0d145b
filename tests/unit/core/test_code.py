"""Identity of code: by what it does, wherever it lies."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.core import code
from tests import same_code

STEP = '''
"""Doc."""
from pathlib import Path
from plug.helper import factor as times
from plug import data
from . import other

LIMIT = 3
SOURCE = Path(__file__).with_name("kernel.v")
CHILD = ["python", "-m", "plug.child"]


class Step(other.Base):
    """Doubles."""

    def run(self, x):
        """Runs."""
        assert SOURCE and CHILD
        return x * times * data.SCALE  # twice


def unused():
    return other.never()
'''


class Plugin:
    """A package whose sources a test changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "plug"
        self.folder.mkdir()
        for name in ("__init__", "step", "helper", "other", "child", "stranger"):
            self.file(f"{name}.py", "")
        self.file("kernel.v", "module top; endmodule\n")
        self.file("step.py", STEP)
        self.file("helper.py", "factor = 2\nunread = 3\n")
        self.file("other.py", "class Base:\n    size = 1\n\ndef never():\n    return 1\n")
        self.file("child.py", "print(1)\n")
        (self.folder / "data").mkdir()
        self.file("data/__init__.py", "from plug.data.tables import SCALE\n")
        self.file("data/tables.py", "SCALE = 1.5\n")

    def file(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text
        self.file(name, text.replace(old, new))

    def digest(self, place: str = "plug.step:Step") -> str:
        code._parsed.cache_clear()
        for name in [name for name in sys.modules if name.partition(".")[0] == "plug"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        return code.digest(place)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Plugin(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "plug"]:
        del sys.modules[name]
    code._parsed.cache_clear()


def test_comments_docstrings_layout_and_imports_do_not_count(plugin: Plugin) -> None:
    before = plugin.digest()
    text = STEP.replace("Doubles.", "Other words.").replace("  # twice", "").replace('"""Doc."""', "")
    text = text.replace("factor as times", "factor").replace("* times", "*\\\n            factor")
    plugin.file("step.py", text.replace('"""Runs."""\n', "\n"))
    assert plugin.digest() == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("step.py", "x * times", "x + times"),
        ("step.py", "data.SCALE", "data.SCALE + LIMIT"),
        ("helper.py", "factor = 2", "factor = 4"),
        ("other.py", "size = 1", "size = 2"),
        ("data/tables.py", "1.5", "2.5"),
        ("child.py", "print(1)", "print(2)"),
        ("kernel.v", "top", "bottom"),
        ("helper.py", "factor = 2", "factor = 2\nprint('on import')"),
    ],
)
def test_what_is_reached_counts(plugin: Plugin, name: str, old: str, new: str) -> None:
    before = plugin.digest()
    plugin.replace(name, old, new)
    assert plugin.digest() != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("step.py", "LIMIT = 3", "LIMIT = 4"),
        ("step.py", "other.never()", "2"),
        ("helper.py", "unread = 3", "unread = 4"),
        ("other.py", "return 1", "return 2"),
        ("stranger.py", "", "x = 1"),
    ],
)
def test_what_is_not_reached_does_not_count(plugin: Plugin, name: str, old: str, new: str) -> None:
    before = plugin.digest()
    plugin.replace(name, old, new)
    assert plugin.digest() == before


def test_moved_files_and_definitions_keep_their_identity(plugin: Plugin) -> None:
    before = plugin.digest()
    room = plugin.folder / "room"
    room.mkdir()
    plugin.file("room/__init__.py", '"""A room."""\n')
    for name in ("step.py", "kernel.v", "child.py"):
        shutil.move(plugin.folder / name, room / name)
    plugin.file("room/numbers.py", "factor = 2\n")
    plugin.replace("room/step.py", "plug.helper", "plug.room.numbers")
    plugin.replace("room/step.py", "from . import other", "from .. import other as base")
    plugin.replace("room/step.py", "other.", "base.")
    plugin.replace("room/step.py", "plug.child", "plug.room.child")
    assert plugin.digest("plug.room.step:Step") == before


def test_a_module_that_is_passed_on_counts_as_a_whole(plugin: Plugin) -> None:
    plugin.replace("step.py", "data.SCALE", "getattr(other, 'nev' + 'er')()")
    before = plugin.digest()
    plugin.replace("other.py", "return 1", "return 2")
    assert plugin.digest() != before


def test_an_import_inside_a_function_is_followed(plugin: Plugin) -> None:
    plugin.replace("step.py", "assert SOURCE and CHILD", "from plug.stranger import value")
    plugin.replace("step.py", "* data.SCALE", "* value")
    plugin.file("stranger.py", "value = 1\n")
    before = plugin.digest()
    plugin.file("stranger.py", "value = 2\n")
    assert plugin.digest() != before


def test_a_body_that_is_only_a_docstring(plugin: Plugin) -> None:
    plugin.file("step.py", 'class Step:\n    """One."""\n')
    before = plugin.digest()
    plugin.file("step.py", 'class Step:\n    """Two."""\n')
    assert plugin.digest() == before


def test_code_of_other_packages_counts_by_name(plugin: Plugin) -> None:
    plugin.file("step.py", "import math\n\ndef Step(x):\n    return math.sin(x)\n")
    before = plugin.digest()
    plugin.file("step.py", "import cmath\n\ndef Step(x):\n    return cmath.sin(x)\n")
    assert plugin.digest() != before


def test_a_step_covers_shared_training_code_but_not_the_store() -> None:
    reach = code._Reach(code._scope(("bench.steps.keras.train:Train",)))
    reach.definition("bench.steps.keras.train", "Train")
    modules = {module for module, _ in reach._seen}
    assert "bench.steps.keras.training" in modules and "bench.formats.keras_env" in modules
    assert not modules & {"bench.store.store", "bench.core.records", "bench.errors", "bench.core.step"}


def test_rewritten_code_keeps_the_identity_of_its_results(
    plugin: Plugin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = tmp_path / "same.json"
    entry = {"code": plugin.digest(), "known_as": "a" * 64}
    table.write_text(json.dumps({"step x": entry}))
    monkeypatch.setattr(code, "SAME_CODE", table)
    try:
        for cached in (code._known, code.identity):
            cached.cache_clear()
        assert code.identity("plug.step:Step") == "a" * 64
        plugin.replace("step.py", "x * times", "x + times")
        code.identity.cache_clear()
        digest = plugin.digest()  # reads the changed file
        assert code.identity("plug.step:Step") == digest != "a" * 64
    finally:
        monkeypatch.undo()
        for cached in (code._known, code.identity):
            cached.cache_clear()


def test_of_all_code_that_changed_it_is_decided_whether_its_results_stand() -> None:
    assert not same_code.changed(), same_code.__doc__
    gone = code.same_code().keys() - same_code.places().keys()
    assert not gone, f"no longer there: {gone}"


@pytest.mark.parametrize("keep", [True, False])
def test_a_decision_is_written_down(
    keep: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "same.json"
    table.write_text(json.dumps({"scoring": {"code": "b" * 64, "known_as": "a" * 64}}))
    monkeypatch.setattr(code, "SAME_CODE", table)
    with pytest.raises(SystemExit, match="'timing' has not changed"):
        same_code.decide(keep, ["timing"])
    same_code.decide(keep, ["scoring"])
    today = code.digest(*same_code.places()["scoring"])
    expected = {"scoring": {"code": today, "known_as": "a" * 64}} if keep else {}
    assert json.loads(table.read_text()) == expected
