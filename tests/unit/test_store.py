"""The store: nothing half-written, nothing lost, nothing damaged counted as done."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core import records
from bench.core.records import Record
from bench.errors import ArtifactError, OtherVersion, StoreError
from bench.store.store import Store

KEY = "ab" * 32
GOLDEN = Path(__file__).parent.parent / "golden"


def record(**changes: Any) -> Record:
    return Record("build", KEY, "ok", {"kind": "build", "step": "train"}, {"artifact": "cd" * 32}, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def files(store: Store) -> list[str]:
    return sorted(p.relative_to(store.root).as_posix() for p in store.root.rglob("*") if p.is_file())


def test_a_record_comes_back_as_it_was_written(store: Store) -> None:
    written = record(seconds=1.5, inputs={"a": None})
    store.write(written)
    assert store.read("build", KEY) == written
    assert store.keys("build") == {KEY}
    assert files(store) == [f"records/build/ab/{KEY}.json"]


def test_opening_and_reading_write_nothing(store: Store) -> None:
    assert store.read("build", KEY) is None
    assert store.keys("measure") == set() and store.sweeps() == [] and store.artifact(KEY) is None
    assert not store.root.exists()


def test_numpy_values_are_json_and_nan_is_refused(store: Store) -> None:
    written = record()
    written.result = {"a": np.float32(0.5), "b": np.arange(2)}
    store.write(written)
    found = store.read("build", KEY)
    assert found is not None and found.result == {"a": 0.5, "b": [0, 1]}
    written.result = {"loss": float("nan")}
    with pytest.raises(ValueError):
        store.write(written)
    written.result = {"path": Path("x")}
    with pytest.raises(TypeError, match="PosixPath is not a JSON value"):
        store.write(written)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"",
        lambda raw: b"\xff\xfe",
        lambda raw: b"[1, 2]",
        lambda raw: b'{"schema_version": 1}',
        lambda raw: b"[" * 100_000,
        lambda raw: raw.replace(b'"ok"', b'"fine"'),
        lambda raw: raw.replace(KEY.encode(), b"0" * 64),
        lambda raw: raw.replace(b'"schema_version": 2', b'"schema_version": true'),
    ],
)
def test_a_damaged_record_is_set_aside_and_not_done(store: Store, damage: Any) -> None:
    store.write(record())
    path = store.record_path("build", KEY)
    path.write_bytes(damage(path.read_bytes()))
    assert store.read("build", KEY) is None
    assert store.corrupt == [str(path)]
    assert not path.exists() and path.with_name(path.name + ".corrupt").exists()
    assert store.keys("build") == set()


def test_a_record_of_a_newer_version_is_kept_and_said(store: Store) -> None:
    store.write(record())
    path = store.record_path("build", KEY)
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 999'))
    with pytest.raises(StoreError, match="newer version"):
        store.read("build", KEY)
    assert path.exists()


@pytest.mark.parametrize("name", ["task", "result", "inputs", "environment"])
def test_a_field_that_is_no_object_is_refused_by_name(name: str) -> None:
    value = record().to_json()
    assert Record.from_json(value, "here").key == KEY
    with pytest.raises(StoreError, match=f"field '{name}' is not a dict"):
        Record.from_json(value | {name: "x"}, "here")


@pytest.mark.parametrize("key", ["../../etc/passwd", "ab", "AB" * 32, KEY + "\n"])
def test_names_that_leave_the_folder_are_refused(store: Store, key: str) -> None:
    with pytest.raises(StoreError):
        store.record_path("build", key)
    with pytest.raises(StoreError, match="not a record's name"):
        store.read("build", key)
    with pytest.raises(StoreError):
        store.artifact(key)
    with pytest.raises(StoreError):
        store.write_manifest({"sweep": "../x", "cells": []})


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_a_full_disk_is_an_error_with_the_path_and_leaves_the_old_record(
    store: Store, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    store.write(record(seconds=1.0))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space) if call == "fsync" else patch.setattr(
            Path, "write_bytes", no_space
        )
        with pytest.raises(StoreError, match=f"{KEY}.*No space left"):
            store.write(record(seconds=2.0))
    found = store.read("build", KEY)
    assert found is not None and found.seconds == 1.0
    assert files(store) == [f"records/build/ab/{KEY}.json"]


def test_a_full_disk_leaves_no_artifact(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store.temporary()
    (folder / "model").write_bytes(b"abc")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        with pytest.raises(StoreError, match="No space left"):
            store.add_artifact(folder)
    assert files(store) == []


def test_a_results_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("not a folder")
    store = Store(tmp_path / "results")
    for act in (
        store.temporary,
        store.check_writable,
        lambda: store.write(record()),
        lambda: store.claims.acquire(KEY),
    ):
        with pytest.raises(StoreError, match="results"):
            act()


def make(store: Store, content: bytes = b"abc") -> Path:
    folder = store.temporary()
    (folder / "sub").mkdir()
    (folder / "sub" / "model").write_bytes(content)
    return folder


def test_artifacts_are_named_by_content(store: Store) -> None:
    first, second = store.add_artifact(make(store)), store.add_artifact(make(store))
    other = store.add_artifact(make(store, b"abd"))
    assert first == second != other
    path = store.artifact(first)
    assert path is not None and (path / "sub" / "model").read_bytes() == b"abc"
    assert list((store.root / "tmp").iterdir()) == []


def test_an_artifacts_digest_covers_names(store: Store) -> None:
    folder = store.temporary()
    (folder / "model").write_bytes(b"abc")
    assert store.add_artifact(folder) != store.add_artifact(make(store))


def test_a_changed_artifact_is_set_aside(store: Store) -> None:
    digest = store.add_artifact(make(store))
    (store.root / "artifacts" / digest / "sub" / "model").write_bytes(b"abX")
    fresh = Store(store.root)
    assert fresh.artifact(digest) is None and not fresh.has_artifact(digest)
    assert fresh.corrupt
    assert fresh.add_artifact(make(fresh)) == digest and fresh.artifact(digest) is not None


def test_a_link_out_of_an_artifact_is_refused(store: Store) -> None:
    folder = make(store)
    (folder / "sub" / "link").symlink_to("/etc/hostname")
    with pytest.raises(ArtifactError, match="files and folders only"):
        store.add_artifact(folder)
    with pytest.raises(ArtifactError, match="without files"):
        store.add_artifact(store.temporary())


def test_a_link_put_in_place_of_an_artifact_is_not_followed(store: Store, tmp_path: Path) -> None:
    digest = store.add_artifact(make(store))
    place = store.root / "artifacts" / digest
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    assert Store(store.root).artifact(digest) is None


def test_an_artifact_that_is_gone_is_gone_though_it_was_checked(store: Store) -> None:
    digest = store.add_artifact(make(store))
    assert store.artifact(digest) is not None
    shutil.rmtree(store.root / "artifacts" / digest)
    assert store.artifact(digest) is None


def test_an_input_that_is_gone_or_never_was_is_an_error(store: Store) -> None:
    with pytest.raises(ArtifactError, match="gone or damaged"):
        store.input(KEY, {KEY: "a" * 64})
    with pytest.raises(ArtifactError, match="gone or damaged"):
        store.input(KEY, {KEY: None})


def test_manifests(store: Store) -> None:
    store.write_manifest({"sweep": "digits", "cells": []})
    assert store.sweeps() == ["digits"]
    assert store.read_manifest("digits")["cells"] == []
    with pytest.raises(StoreError, match="Known: digits"):
        store.read_manifest("digit")
    (store.root / "sweeps" / "digits.json").write_text("{")
    with pytest.raises(StoreError, match=r"digits\.json"):
        store.read_manifest("digits")
    (store.root / "sweeps" / "digits.json").write_text('{"schema_version": 1}')
    with pytest.raises(StoreError, match="not a manifest"):
        store.read_manifest("digits")


def test_tidy_removes_what_killed_runs_left_but_nothing_of_a_living_one(store: Store) -> None:
    left = make(store)
    os.utime(left, (0, 0))
    assert store.claims.acquire(KEY)
    store.tidy()
    assert left.exists()
    store.claims.close()
    fresh = store.temporary()
    store.tidy()
    assert not left.exists() and fresh.exists()


def test_old_records_can_be_read(store: Store) -> None:
    """Files of each schema version there has been; never edit them."""
    kinds = set()
    for path in GOLDEN.glob("record-v*.json"):
        found = Record.from_json(json.loads(path.read_text()), where=str(path))
        assert found.schema_version == records.SCHEMA_VERSION
        assert found.inputs and not found.damage and not found.parsed.model_extra, path
        kinds.add(found.kind)
    assert kinds == {"build", "evaluate", "measure"}
    assert (GOLDEN / f"record-v{records.SCHEMA_VERSION}.json").exists()


def test_version_1_told_in_prose_whether_data_are_real() -> None:
    old = json.loads((GOLDEN / "record-v1-evaluate.json").read_text())
    assert old["environment"]["data"] == "generated, seed 0"
    lifted = Record.from_json(old, where="old").environment
    assert lifted["data"] == {"source": "generated, seed 0", "real": False}
    assert lifted["versions"] == old["environment"]["versions"]
    old["environment"]["data"] = "scikit-learn 1.9.1"
    assert Record.from_json(old, where="old").environment["data"]["real"] is True


def test_upgrades_run_one_after_the_other(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(records, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(
        records,
        "UPGRADES",
        {
            1: lambda v: {**v, "schema_version": 2, "reason": "lifted"},
            2: lambda v: {**v, "schema_version": 3, "reason": v["reason"] + " twice"},
        },
    )
    old = json.loads((GOLDEN / "record-v1.json").read_text())
    path = store.record_path(old["kind"], old["key"])
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(old))
    found = store.read(old["kind"], old["key"])
    assert found is not None and found.reason == "lifted twice" and found.schema_version == 3
    monkeypatch.setattr(records, "UPGRADES", {})
    with pytest.raises(OtherVersion, match=r"too old to be read \(schema 1\)\n.*another results folder"):
        store.read(old["kind"], old["key"])
    assert path.exists(), "what is old is not damaged, and stays"
    path.write_text(json.dumps({**old, "schema_version": 0}))  # there has been no such version
    assert store.read(old["kind"], old["key"]) is None and not path.exists()
