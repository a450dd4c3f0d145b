"""Keys: what changes them and what does not; fingerprints of source."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import fingerprint, keys
from bench.cells import Protocol
from tests import toy


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toy.activate(monkeypatch, tmp_path)


def test_canonical_text_does_not_depend_on_order_and_refuses_nan() -> None:
    assert keys.canonical({"b": 1, "a": (1, 2)}) == '{"a":[1,2],"b":1}'
    with pytest.raises(ValueError):
        keys.canonical({"a": float("nan")})


def test_every_field_of_a_build_counts() -> None:
    base = {
        "model": "toy",
        "seed": 0,
        "step": "toy_prune",
        "params": {"a": 1},
        "parent": "p",
        "teacher": None,
    }
    changed = [
        base,
        base | {"seed": 1},
        base | {"step": "toy_quantize"},
        base | {"params": {"a": 2}},
        base | {"params": {"a": 1, "b": 1}},
        base | {"parent": "q"},
        base | {"teacher": "t"},
        base | {"model": "digits_mlp"},
    ]
    found = [keys.build_key(**fields) for fields in changed]  # type: ignore[arg-type]
    assert len(set(found)) == len(found)
    assert keys.build_key(**base) == found[0]  # type: ignore[arg-type]


def test_every_field_of_a_measurement_counts_but_the_order_of_entries() -> None:
    entries = [("baseline", "a"), ("pruned", "b")]
    base = ("toy", 0, "toy", {"threads": 1}, Protocol(), 0, entries, "machine")
    changed = [
        base,
        (*base[:1], 1, *base[2:]),
        (*base[:3], {"threads": 2}, *base[4:]),
        (*base[:4], Protocol(min_samples=51), *base[5:]),
        (*base[:5], 1, *base[6:]),
        (*base[:6], [("baseline", "a"), ("pruned", "c")], base[7]),
        (*base[:7], "other machine"),
    ]
    found = [keys.measure_key(*fields) for fields in changed]
    assert len(set(found)) == len(found)
    assert keys.measure_key(*base[:6], entries[::-1], base[7]) == found[0]


def test_evaluation_counts_target_options_and_artifact() -> None:
    found = {
        keys.evaluate_key("toy", 0, "toy", {}, "a"),
        keys.evaluate_key("toy", 0, "toy", {}, "b"),
        keys.evaluate_key("toy", 0, "toy", {"threads": 2}, "a"),
    }
    assert len(found) == 3


PLUGIN = '''
"""Doc."""
from plug.helper import factor
from . import other


def double(x):
    """Doubles."""
    return x * factor  # twice
'''


class Plugin:
    """A package whose sources a test changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "plug"
        self.folder.mkdir()
        self.write("__init__", "")
        self.write("step", PLUGIN)
        self.write("helper", "factor = 2\n")
        self.write("other", "import json\n")
        self.write("stranger", "x = 1\n")

    def write(self, name: str, text: str) -> str:
        (self.folder / f"{name}.py").write_text(text)
        for cached in (fingerprint.source, fingerprint._parsed):
            cached.cache_clear()
        importlib.invalidate_caches()
        return fingerprint.source("plug.step") if (self.folder / "step.py").exists() else ""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Plugin(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "plug"]:
        del sys.modules[name]
    fingerprint.source.cache_clear()
    fingerprint._parsed.cache_clear()


def test_fingerprint_ignores_comments_docstrings_and_layout(plugin: Plugin) -> None:
    before = fingerprint.source("plug.step")
    text = PLUGIN.replace("Doubles.", "Other words.").replace("  # twice", "").replace('"""Doc."""', "")
    assert plugin.write("step", text.replace("x * factor", "(x *\n        factor)")) == before


@pytest.mark.parametrize("module", ["step", "helper", "other"])
def test_fingerprint_follows_imports(plugin: Plugin, module: str) -> None:
    before = fingerprint.source("plug.step")
    text = (plugin.folder / f"{module}.py").read_text()
    assert plugin.write(module, text + "\nchanged = 1\n") != before


def test_fingerprint_leaves_out_what_is_not_imported(plugin: Plugin) -> None:
    before = fingerprint.source("plug.step")
    assert plugin.write("stranger", "x = 2\n") == before


def test_fingerprint_of_a_body_that_is_only_a_docstring(plugin: Plugin) -> None:
    assert plugin.write("step", 'class A:\n    """One."""\n') == plugin.write(
        "step", 'class A:\n    """Two."""\n'
    )


def test_a_steps_fingerprint_covers_shared_training_code_but_not_the_store() -> None:
    fingerprint.source("bench.steps.train")
    seen = _reached("bench.steps.train")
    assert "bench.steps.training" in seen and "bench.keras_env" in seen
    assert not seen & {"bench.store", "bench.records", "bench.errors", "bench.steps.base"}


def _reached(module: str) -> set[str]:
    from unittest import mock

    asked: set[str] = set()
    parsed = fingerprint._parsed

    def spy(name: str) -> tuple[str, tuple[str, ...]] | None:
        found = parsed(name)
        if found is not None:
            asked.add(name)
        return found

    fingerprint.source.cache_clear()
    with mock.patch.object(fingerprint, "_parsed", spy):
        fingerprint.source(module)
    fingerprint.source.cache_clear()
    return asked


def test_versions_by_import_name() -> None:
    assert fingerprint.versions(["numpy", "no_such_package"]) == {
        "no_such_package": None,
        "numpy": importlib.import_module("numpy").__version__,
    }
    assert fingerprint.version("yaml") is not None  # its distribution is called PyYAML
    assert not fingerprint.installed("no_such_package.at.all")


def test_another_runtime_of_tflite_is_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """tf.lite stands in for LiteRT: the step can run, and its key says by what."""
    there = {"tensorflow": "2.21.0"}
    monkeypatch.setattr(fingerprint, "installed", there.__contains__)
    monkeypatch.setattr(fingerprint, "version", there.get)
    assert fingerprint.usable("ai_edge_litert") and not fingerprint.usable("qkeras")
    assert fingerprint.versions(["ai_edge_litert"]) == {"ai_edge_litert": "tensorflow 2.21.0"}
    there["ai_edge_litert"] = "2.3.0"
    assert fingerprint.versions(["ai_edge_litert"]) == {"ai_edge_litert": "2.3.0"}
    there.clear()
    assert fingerprint.versions(["ai_edge_litert"]) == {"ai_edge_litert": None}
    assert not fingerprint.usable("ai_edge_litert")
