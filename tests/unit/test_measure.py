"""`bench measure`: real .tflite files in real processes, and processes that misbehave."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.measure_table import render
from bench.core import registry
from bench.core.cells import Protocol
from bench.core.results import RoundResult
from bench.errors import ArtifactError, ConfigError, DataError
from bench.workflows import measure_files as measure
from bench.workflows.fresh_process import ProcessDied, ask, pack_floats, unpack_floats
from bench.workflows.measure_files import MeasureResult, measure_files
from models.datasets import from_file as measure_data
from models.datasets.from_file import fit, load
from tests.tflite_maker import dense, logits
from tests.timing_fakes import fake_round

FAST = Protocol("test", 3, 0.0, 1, 70, 0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """float.tflite, int8.tflite, cut.tflite, foreign.tflite and data.npz that fits."""
    pytest.importorskip("ai_edge_litert")
    made = tmp_path_factory.mktemp("files")
    (made / "float.tflite").write_bytes(dense())
    (made / "int8.tflite").write_bytes(dense("int8"))
    (made / "cut.tflite").write_bytes(dense()[:400])
    (made / "foreign.tflite").write_bytes(b"not a network at all" * 50)
    x = np.random.default_rng(0).normal(size=(200, 2, 4)).astype(np.float32)
    y = logits(x.reshape(200, 8)).argmax(axis=1)
    y[:20] = (y[:20] + 1) % 3
    np.savez(made / "data.npz", x=x, y=y)
    return made


@pytest.fixture(scope="module")
def result(folder: Path) -> MeasureResult:
    files = [folder / f"{name}.tflite" for name in ("float", "cut", "int8", "foreign")]
    (trap := folder / "trap" / "tensorflow").mkdir(parents=True)
    (trap / "__init__.py").write_text("raise SystemExit('TensorFlow was imported')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(trap.parent))
        return measure_files(files, data=folder / "data.npz", protocol=FAST)


def test_no_process_imports_tensorflow(result: MeasureResult) -> None:
    assert result.files[0].error is None  # the trap in `result` did not go off


def test_sizes_accuracy_and_latency_of_real_files(result: MeasureResult, folder: Path) -> None:
    one, _, other, _ = result.files
    assert (one.name, one.bytes) == ("float.tflite", (folder / "float.tflite").stat().st_size)
    assert 0 < one.gzip_bytes < one.bytes
    assert one.accuracy is not None
    assert (one.accuracy.n, one.accuracy.errors, one.accuracy.value) == (200, 20, 0.9)
    assert one.accuracy.low < 0.9 < one.accuracy.high
    assert one.accuracy.difference is None
    assert set(one.latency) == {"invoke", "end_to_end"}
    found = one.latency["invoke"]
    assert found.rounds == 3
    assert found.low is not None and found.high is not None
    assert 0 < found.low <= found.p50 <= found.high
    assert found.verdict_vs_baseline is None
    assert other.latency["invoke"].ratio is not None
    assert other.accuracy is not None and other.accuracy.difference is not None
    assert other.accuracy.difference.value == pytest.approx(other.accuracy.value - 0.9)
    assert 0 <= (other.accuracy.p or 0) <= 1
    assert other.runtime["input"]["dtype"] == "int8"


def test_damaged_files_have_an_error_and_the_others_numbers(result: MeasureResult) -> None:
    errors = {file.name: file.error for file in result.files}
    assert errors["float.tflite"] is None
    assert errors["int8.tflite"] is None
    assert "cut.tflite" in str(errors["cut.tflite"])
    assert "foreign.tflite" in str(errors["foreign.tflite"])
    assert result.failed
    assert result.reference == "float.tflite"


def test_every_round_is_a_process_with_machine_and_twin(result: MeasureResult) -> None:
    assert len(result.rounds) == 3
    for one in result.rounds:
        assert set(one["entries"]) == {"float.tflite", "int8.tflite", "baseline@twin"}
        assert one["machine"]["id"] == result.rounds[0]["machine"]["id"]
        assert one["state_after"]["at"] > one["state_before"]["at"]
        assert one["runtime"]["threads"] == 1
        assert one["state_before"]["own_seconds"] < 30
    assert len({tuple(one["order"]) for one in result.rounds}) > 1


def test_the_table_tells_it_all(result: MeasureResult) -> None:
    text = render(result)
    lines = text.splitlines()
    assert lines[0].startswith("ai_edge_litert")
    assert "1 thread, XNNPACK on, 3 rounds" in lines[0]
    assert lines[1] == "Reference: float.tflite"
    for word in (
        "invoke: ",
        "end_to_end: ",
        "accuracy % [95 %]",
        "90.00 [",
        "A/A gap",
        "cut.tflite failed: ",
    ):
        assert word in text
    assert max(len(line) for line in lines if " failed" not in line and "because" not in line) < 400


def test_json_of_a_result(result: MeasureResult) -> None:
    value = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert value["files"][0]["latency"]["invoke"]["p50"] == result.files[0].latency["invoke"].p50
    assert value["options"] == {"threads": 1, "xnnpack": True}


def test_the_first_that_loads_is_the_reference(folder: Path) -> None:
    told: list[tuple[str, int, int]] = []
    found = measure_files(
        [folder / "cut.tflite", folder / "int8.tflite"],
        xnnpack=False,
        protocol=Protocol("one", 1, 0.0, 1, 5, 0.0),
        progress=lambda *step: told.append(step),
    )
    assert found.reference == "int8.tflite"
    assert found.rounds[0]["runtime"]["xnnpack"] is False
    assert found.files[1].latency["invoke"].low is None
    assert [text for text, _, _ in told] == [
        "reading cut.tflite",
        "reading int8.tflite",
        "round 1 of 1",
        "done",
    ]
    assert told[-1][1:] == (3, 3)


def test_without_rounds_there_is_size_and_accuracy(folder: Path) -> None:
    found = measure_files(
        [folder / "float.tflite"], data=folder / "data.npz", protocol=Protocol.preset("off")
    )
    assert found.files[0].accuracy is not None
    assert not found.failed
    assert found.files[0].latency == {}
    assert "invoke" not in render(found)


def test_data_that_fit_no_file(folder: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "wide.npz", x=np.zeros((5, 9), np.float32), y=np.zeros(5, int))
    with pytest.raises(DataError, match=r"\[9\] do not fit a network that takes \[8\]"):
        measure_files([folder / "float.tflite"], data=tmp_path / "wide.npz", protocol=FAST)


def test_nothing_runs_before_what_was_asked_is_checked(
    folder: Path, tmp_path: Path, no_process: None
) -> None:
    good = folder / "float.tflite"
    with pytest.raises(ArtifactError, match=r"gone\.tflite: no such file"):
        measure_files([good, tmp_path / "gone.tflite"])
    with pytest.raises(ArtifactError, match="is a folder"):
        measure_files([tmp_path])
    with pytest.raises(ArtifactError, match="no files"):
        measure_files([])
    with pytest.raises(ConfigError, match="--threads"):
        measure_files([good], threads=0)
    with pytest.raises(DataError, match=r"not an \.npz file"):
        measure_files([good], data=good)


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(task: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
        raise AssertionError("a process was started")

    monkeypatch.setattr(measure, "ask", forbidden)


def test_no_file_can_be_run(folder: Path) -> None:
    with pytest.raises(ArtifactError, match=r"(?s)none of the files.*foreign\.tflite"):
        measure_files([folder / "foreign.tflite"], protocol=FAST)


# Processes that die, hang and talk.


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Files are run by `tests.timing_plugin`, here and in the processes."""
    monkeypatch.setenv("BENCH_PLUGINS", "tests.timing_plugin")
    monkeypatch.setitem(registry.TARGETS._places, "odd", "tests.timing_plugin:OddTarget")
    monkeypatch.setattr(measure, "TARGET", "odd")
    for name in ("good", "print", "abort", "abort at once", "sleep"):
        (tmp_path / name).write_text(name)
    return tmp_path


ONE = Protocol("one", 1, 0.0, 1, 3, 0.0)


def test_a_file_that_kills_its_process_is_left_out(odd: Path) -> None:
    found = measure_files([odd / "good", odd / "abort at once", odd / "print"], protocol=ONE)
    good, dead, noisy = found.files
    assert (good.error, good.latency["invoke"].n) == (None, 3)
    assert "SIGABRT" in str(dead.error)
    # What a runtime writes to stdout does not spoil the result.
    assert (noisy.error, noisy.latency["invoke"].n) == (None, 3)


def test_a_round_that_dies_is_told(odd: Path) -> None:
    found = measure_files([odd / "good", odd / "abort"], protocol=ONE)
    assert found.failed
    assert "round 1" in found.failures[0] and "SIGABRT" in found.failures[0]
    assert all("round 1" in str(file.error) for file in found.files)
    assert "Lost: round 1" in render(found)


def test_free_axes_are_told(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "free.tflite").write_bytes(dense(signature=[-1, -1]))
    (tmp_path / "fixed.tflite").write_bytes(dense(signature=[-1, 8]))
    found = measure_files([tmp_path / "free.tflite", tmp_path / "fixed.tflite"], protocol=ONE)
    assert [file.free for file in found.files] == [(1,), ()]
    assert "free.tflite: axis 1 of its input may have any length; it was run at length 1." in render(found)
    assert "fixed.tflite: axis" not in render(found)


def test_a_round_has_time_for_every_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limits: list[float | None] = []

    def limit(task: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
        limits.append(timeout)
        raise ProcessDied("no")

    given(monkeypatch, tmp_path, [fake_round({"a": 1.0, "b": 1.0}, twin=1.0, reference="a")])
    usual = measure.ask

    def reply(task: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
        return usual(task) if task["kind"] == "inspect" else limit(task, timeout)

    monkeypatch.setattr(measure, "ask", reply)
    measure_files([tmp_path / "a", tmp_path / "b"], protocol=ONE, timeout=7)
    assert limits == [14]


def test_a_file_that_hangs_is_killed(odd: Path) -> None:
    with pytest.raises(ArtifactError, match="no result within 1 s"):
        measure_files([odd / "sleep"], protocol=ONE, timeout=1)


def test_a_process_without_result_and_a_folder_named_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").write_text("raise RuntimeError('shadowed')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProcessDied, match=r"exit code 1.*KeyError"):
        ask({"kind": "nonsense"})


# Rounds that are given.


def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rounds: list[RoundResult]) -> MeasureResult:
    """Files `a` and `b` whose rounds come out as given."""
    replies = iter(rounds)

    def reply(task: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
        if task["kind"] == "inspect":
            score = {"runtime": {"input": {"shape": [1, 4]}}, "score": None}
            return {**score, "error": None, "score_error": None, "free": []}
        return next(replies).model_dump(mode="json") | {"machine": {"cpu": "Example", "cores": 1}}

    monkeypatch.setattr(measure, "ask", reply)
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"x" * 1000)
    return measure_files([tmp_path / "a", tmp_path / "b"], protocol=Protocol("given", len(rounds)))


def test_microseconds_ratios_and_percentiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rounds = [fake_round({"a": 20_000.0, "b": 5_000.0}, twin=20_000.0, reference="a", n=150)] * 5
    text = render(given(monkeypatch, tmp_path, rounds))
    row = next(line for line in text.splitlines() if line.startswith("b ") and "faster" in line)
    assert " ".join(row.split()) == "b 5.00 [5.00, 5.00] 0.250 [0.250, 0.250] faster 5.00 5.00 5.00 ok"
    assert "1  reference  20.00" in text
    assert "Example (1 core)" in text


def test_blocks_and_missing_percentiles_are_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    block = [fake_round({"a": 200.0, "b": 100.0}, twin=200.0, reference="a", block=20)] * 3
    text = render(given(monkeypatch, tmp_path, block))
    assert "0.100* [0.100, 0.100]" in text
    assert "* too short a call" in text
    few = [fake_round({"a": 2000.0, "b": 1000.0}, twin=2000.0, reference="a", n=10)] * 3
    text = render(given(monkeypatch, tmp_path, few))
    assert "662 for p99" in text
    assert "only 75% are sure" in text


def test_a_file_that_fails_in_every_round(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rounds = [fake_round({"a": 2000.0, "b": None}, twin=2000.0, reference="a")] * 3
    found = given(monkeypatch, tmp_path, rounds)
    assert found.files[1].error == "ValueError: no"
    assert "b failed: ValueError: no" in render(found)


def test_reasons_are_told_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rounds = [fake_round({"a": 2000.0, "b": 1000.0}, twin=2500.0, reference="a")] * 3
    text = render(given(monkeypatch, tmp_path, rounds))
    assert text.count("one file timed twice") == 1
    assert "differs by that much: all" in text


def test_names_are_short_and_unique(tmp_path: Path) -> None:
    a, b, c = Path("x/net.tflite"), Path("y/net.tflite"), Path("z/other.tflite")
    assert measure._names([a, b, c]) == ["x/net.tflite", "y/net.tflite", "other.tflite"]
    assert measure._names([c, c]) == ["other.tflite", "other.tflite #2"]
    # Of artifacts, whose folders are digests, the beginning is enough, unless it is not.
    folder = Path("results/artifacts")
    digests = ["a2c80ddaa2c8" + "e" * 52, "77bf4df27db4" + "a" * 52]
    both = [folder / digest / "model.tflite" for digest in digests]
    assert measure._names(both) == ["a2c80ddaa2…/model.tflite", "77bf4df27d…/model.tflite"]
    near = [folder / ("a" * 63 + last) / "model.tflite" for last in "01"]
    assert measure._names(near) == [f"{'a' * 63}{last}/model.tflite" for last in "01"]
    deep = [Path("x/1/net.tflite"), Path("y/1/net.tflite"), Path("net.tflite")]
    assert measure._names(deep) == ["x/1/net.tflite", "y/1/net.tflite", "net.tflite"]


def test_floats_travel_bit_for_bit() -> None:
    x = np.array([[0.1, -0.0], [np.inf, 1e-45]], np.float32)
    back = unpack_floats(json.loads(json.dumps(pack_floats(x))))
    assert back.tobytes() == x.tobytes()
    assert back.shape == x.shape


def test_the_parent_waits_in_a_blocking_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """`subprocess.run` with a timeout of None blocks in poll(); nothing here may spin."""
    seen: dict[str, Any] = {}

    class Done:
        returncode, stdout, stderr = 0, "{}", ""

    def run(command: list[str], **options: Any) -> Done:
        seen.update(options)
        return Done()

    monkeypatch.setattr("bench.workflows.fresh_process.subprocess.run", run)
    assert ask({}) == {}
    assert seen["timeout"] is None
    assert seen["capture_output"] is True


# The data file.


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((3, 4))}, "no array y"),
        ({"a": np.zeros(3)}, r"no array x and y \(it holds a\)"),
        ({"x": np.zeros((3, 4)), "y": np.zeros(2, int)}, "x has 3 items and y has 2"),
        ({"x": np.zeros((0, 4)), "y": np.zeros(0, int)}, "x has 0 items"),
        ({"x": np.zeros((3, 4)), "y": np.zeros((3, 2), int)}, "not class indices"),
        ({"x": np.zeros((3, 4)), "y": np.zeros(3)}, "not class indices"),
        ({"x": np.zeros(3), "y": np.zeros(3, int)}, "not numbers"),
        ({"x": np.full((3, 4), "a"), "y": np.zeros(3, int)}, "not numbers"),
        ({"x": np.full((3, 4), np.nan), "y": np.zeros(3, int)}, "NaN"),
        ({"x": np.full((3, 4), 1e300), "y": np.zeros(3, int)}, "NaN or infinite"),
        ({"x": np.array([{}] * 3), "y": np.zeros(3, int)}, "cannot be read"),
    ],
)
def test_data_that_are_none(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "data.npz")


def test_damaged_data_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).random((50, 40)), y=np.zeros(50, int))
    whole = (tmp_path / "data.npz").read_bytes()
    for content in (b"", b"PK\x03\x04", whole[:2000], whole[:3000] + bytes(2000) + whole[5000:]):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"bad\.npz"):
            load(tmp_path / "bad.npz")
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path / "missing.npz")


def test_data_that_unpack_to_more_than_there_is_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros((3000, 1000)), y=np.zeros(3000, int))
    assert (tmp_path / "bomb.npz").stat().st_size < 60_000
    monkeypatch.setattr(measure_data, "_memory", lambda: 10_000_000)
    with pytest.raises(DataError, match=r"bomb\.npz.*unpacks to 0\.0 GB, too much"):
        load(tmp_path / "bomb.npz")
    monkeypatch.setattr(measure_data, "_memory", lambda: 200_000_000)
    assert len(load(tmp_path / "bomb.npz")) == 3000


def test_a_header_that_asks_for_all_memory_there_is(tmp_path: Path) -> None:
    header = str({"descr": "<f8", "fortran_order": False, "shape": (1 << 45, 4)})
    head = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header.encode() + b"\n"
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("x.npy", head)
        archive.writestr("y.npy", head)
    with pytest.raises(DataError, match=r"data\.npz: (its arrays do not fit into memory|cannot be read)"):
        load(tmp_path / "data.npz")


def test_data_as_they_may_be(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.full((3, 2, 2), 7, np.uint8), y=np.array([[0], [1], [2]]))
    data = load(tmp_path / "data.npz")
    assert (str(data.x.dtype), str(data.y.dtype), data.y.tolist()) == ("float32", "int64", [0, 1, 2])
    assert data.x.max() == 7


@pytest.mark.parametrize(
    ("shape", "network", "fits"),
    [
        ((28, 28), [1, 28, 28, 1], True),
        ((28, 28, 1), [1, 28, 28], True),
        ((28, 28), [1, 784], True),
        ((784,), [1, 28, 28], False),
        ((3, 32, 32), [1, 32, 32, 3], False),
        ((8,), [1, 9], False),
    ],
)
def test_shapes_that_fit(shape: tuple[int, ...], network: list[int], fits: bool) -> None:
    x = np.arange(2 * np.prod(shape), dtype=np.float32).reshape(2, *shape)
    if fits:
        fitted = fit(x, network)
        assert fitted.shape == (2, *network[1:])
        assert (fitted.ravel() == x.ravel()).all()
    else:
        with pytest.raises(DataError, match="do not fit"):
            fit(x, network)
