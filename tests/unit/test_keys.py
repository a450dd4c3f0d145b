"""Keys: what changes them and what does not; versions of packages."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from bench.core import versions as fingerprint
from bench.core.cells import Protocol
from bench.run import keys
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
