"""Result archives with random damage: the same result, or one clear error; never anything else."""

from __future__ import annotations

import copy
import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import ArtifactError
from targets.pynq.exchange.jobs import JobFile
from targets.pynq.exchange.results import Result, read_result
from tests.board_files import make_job, make_result, same, write_result


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobFile:
    return make_job(tmp_path_factory.mktemp("job") / "job.tar.gz")


@pytest.fixture(scope="module")
def good(job: JobFile, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Result]:
    path = write_result(tmp_path_factory.mktemp("good") / "r.tar.gz", *make_result(job))
    return path.read_bytes(), read_result(path, job)


def attempt(data: bytes, job: JobFile) -> Result | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.tar.gz"
        path.write_bytes(data)
        try:
            return read_result(path, job)
        except ArtifactError as error:
            assert str(path) in str(error)
            return None


def test_every_cut_is_noticed(good: tuple[bytes, Result], job: JobFile) -> None:
    data, _ = good
    for length in [*range(0, 40), *range(40, len(data), 41), *range(len(data) - 12, len(data))]:
        assert attempt(data[:length], job) is None
    plain = gzip.decompress(data)
    for length in range(0, len(plain) - 10240, 997):
        assert attempt(gzip.compress(plain[:length]), job) is None


@settings(max_examples=150)
@given(st.data())
def test_random_damage_gives_the_same_result_or_an_error(
    good: tuple[bytes, Result], job: JobFile, data: st.DataObject
) -> None:
    raw, before = good
    damaged = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        how = data.draw(st.sampled_from(["set", "cut", "insert", "copy"]))
        if how == "set":
            damaged[place] = data.draw(st.integers(0, 255))
        elif how == "cut":
            del damaged[place : place + data.draw(st.integers(1, 64))]
        elif how == "insert":
            damaged[place:place] = data.draw(st.binary(min_size=1, max_size=64))
        else:
            damaged[place:place] = damaged[: data.draw(st.integers(1, 600))]
        if not damaged:
            break
    found = attempt(bytes(damaged), job)
    assert found is None or same(found, before)


@settings(max_examples=150)
@given(st.data())
def test_random_damage_inside_the_archive_never_gets_past_the_checks_as_a_crash(
    good: tuple[bytes, Result], job: JobFile, data: st.DataObject
) -> None:
    raw, before = good
    plain = bytearray(gzip.decompress(raw))
    place = data.draw(st.integers(0, len(plain) - 1))
    length = data.draw(st.integers(1, 30))
    plain[place : place + length] = data.draw(st.binary(max_size=40))
    found = attempt(gzip.compress(bytes(plain), 1), job)
    if found is not None:  # a text or a number that nothing else tells of may be another one
        assert found.file.job == before.file.job and found.samples.keys() == before.samples.keys()


@settings(max_examples=100)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
    st.data(),
)
def test_any_json_in_any_field(job: JobFile, value: Any, data: st.DataObject) -> None:
    whole, arrays = make_result(job)
    whole = copy.deepcopy(whole)
    place: Any = whole
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            place[key] = value
            break
        place = place[key]
    with tempfile.TemporaryDirectory() as folder:
        path = write_result(Path(folder) / "r.tar.gz", json.dumps(whole).encode(), arrays)
        try:
            read_result(path, job)
        except ArtifactError as error:
            assert str(path) in str(error)
