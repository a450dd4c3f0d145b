"""Result archives are untrusted: forged, cut off and foreign ones are refused with one clear error."""

from __future__ import annotations

import copy
import gzip
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import ArtifactError
from targets.pynq.exchange import archive
from targets.pynq.exchange.archive import array_bytes
from targets.pynq.exchange.jobs import JobFile
from targets.pynq.exchange.results import read_result
from tests.board_files import ITEMS, make_job, make_result, member, pack, same, write_result
from tests.synthetic_board import energy

FIRST = ITEMS[0]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobFile:
    return make_job(tmp_path_factory.mktemp("job") / "job.tar.gz")


def test_a_good_result(job: JobFile, tmp_path: Path) -> None:
    value, arrays = make_result(job)
    found = read_result(write_result(tmp_path / "r.tar.gz", value, arrays), job)
    assert found.missing == () and found.file.origin == "modelled" and len(found.samples) == 6
    item = found.file.items[FIRST]
    assert item.accuracy is not None and item.accuracy.errors == 2
    assert same(found, read_result(found.path))


def test_the_energy_of_the_rails_comes_whole(job: JobFile, tmp_path: Path) -> None:
    value, arrays = make_result(job)
    value["items"][FIRST]["energy"] = energy()
    item = read_result(write_result(tmp_path / "r.tar.gz", value, arrays), job).file.items[FIRST]
    assert item.energy is not None
    assert item.energy.model_dump(mode="json") == energy()


def test_an_interrupted_result_keeps_what_it_has(job: JobFile, tmp_path: Path) -> None:
    found = read_result(write_result(tmp_path / "r.tar.gz", *make_result(job, done=1)), job)
    assert found.missing == (ITEMS[1],) and list(found.file.items) == [FIRST]
    assert read_result(found.path).missing is None


def test_what_a_newer_agent_says_more_is_left_out_and_texts_are_made_printable(
    job: JobFile, tmp_path: Path
) -> None:
    value, arrays = make_result(job)
    value["new"] = {"x": 1}
    value["items"][FIRST] |= {"status": "failed", "reason": "\x1b]0;evil\x07\u202etxt\nline", "new": 1}
    item = read_result(write_result(tmp_path / "r.tar.gz", value, arrays), job).file.items[FIRST]
    assert item.reason == "?]0;evil??txt\nline" and not hasattr(item, "new")


def test_results_of_other_jobs_are_refused(job: JobFile, tmp_path: Path) -> None:
    other = make_job(tmp_path / "other.tar.gz", items=("other",))
    path = write_result(tmp_path / "r.tar.gz", *make_result(other))
    with pytest.raises(ArtifactError, match="not of " + job.job.job[:12]):
        read_result(path, job)
    value, arrays = make_result(job)
    value["items"]["other"] = value["items"][FIRST]
    with pytest.raises(ArtifactError, match="no item other"):
        read_result(write_result(tmp_path / "s.tar.gz", value, arrays), job)


def test_an_emulated_job_never_gives_measured_times(job: JobFile, tmp_path: Path) -> None:
    value, arrays = make_result(job)
    value["board"]["emulated"], value["origin"] = False, "measured"
    path = write_result(tmp_path / "r.tar.gz", value, arrays)
    with pytest.raises(ArtifactError, match="for the emulated board, the result is from a real board"):
        read_result(path, job)
    real = make_job(tmp_path / "real.tar.gz", emulated=False)
    value, arrays = make_result(real)
    value["board"]["emulated"], value["origin"] = True, "modelled"
    path = write_result(tmp_path / "r.tar.gz", value, arrays)
    with pytest.raises(ArtifactError, match="for a real board, the result is from the emulated board"):
        read_result(path, real)


def test_an_archive_without_a_result(tmp_path: Path) -> None:
    path = tmp_path / "r.tar.gz"
    path.write_bytes(pack([member("result/", type=tarfile.DIRTYPE)]))
    with pytest.raises(ArtifactError, match=r"result/result\.json is not in it"):
        read_result(path)


def _set(*path: Any) -> Any:
    *keys, last, new = path

    def change(value: Any, arrays: dict[str, bytes]) -> None:
        for key in keys:
            value = value[key]
        value[last] = new

    return change


def _array(name: str, array: Any) -> Any:
    def change(value: Any, arrays: dict[str, bytes]) -> None:
        arrays[name] = array if isinstance(array, bytes) else array_bytes(array)

    return change


ITEM = ("items", FIRST)
ENERGY = energy()
PHASE = (*ITEM, "phases", "execute")
EXECUTE, PREDICTIONS = "samples/0000-01-execute.npy", "samples/0000-02-predictions.npy"
OUTPUTS = "samples/0000-03-outputs.npy"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_set("schema", 2), "schema"),
        (_set("job", "0" * 64), "result of job"),
        (_set("job", "x"), "job"),
        (_set("job", None), "job"),
        (_set("agent", "sha256", 1), "agent.sha256"),
        (_set("origin", "measured"), "emulated"),
        (_set("origin", "guessed"), "origin"),
        (_set("board", "emulated", False), "emulated"),
        (_set("items", "../x", {}), "items"),
        (_set("items", []), "items"),
        (_set(*ITEM, {}), "status"),
        (_set(*ITEM, "status", "great"), "status"),
        (_set(*ITEM, "fabric_clock_mhz", "100"), "fabric_clock_mhz"),
        (_set(*ITEM, "fabric_clock_mhz", -1.0), "fabric_clock_mhz"),
        (_set(*ITEM, "fit", "b_s", float("nan")), "b_s"),
        (_set(*PHASE, "p50", 1e-9), "p50"),
        (_set(*PHASE, "min", 0.0), "p0"),
        (_set(*PHASE, "n", 51), "51 samples"),
        (_set(*PHASE, "unit", "ms"), "unit"),
        (_set(*PHASE, "samples", "samples/none.npy"), "missing"),
        (_set(*PHASE, "samples", "../result.json"), "samples"),
        (_set(*PHASE, "samples", "/etc/passwd"), "samples"),
        (_set(*ITEM, "accuracy", "errors", 1), "by its predictions it is 2"),
        (_set(*ITEM, "accuracy", "n", 19), "19"),
        (_set(*ITEM, "accuracy", "errors", 21), "21 errors of 20"),
        (_set(*ITEM, "agreement", "mismatches", 1), "differ"),
        (_set(*ITEM, "agreement", "bit_exact", False), "bit exact or not"),
        (_set(*ITEM, "agreement", "frames", 10), "10 frames"),
        (_set(*ITEM, "energy", ENERGY | {"total_j_per_inference": 1.0}), "1 J an inference"),
        (_set(*ITEM, "energy", ENERGY | {"net_j_per_inference": 1.25e-3}), "J without idle an inference"),
        (
            _set(*ITEM, "energy", ENERGY | {"net_j": 12.5, "net_j_per_inference": 1.25e-3}),
            "by its idle power",
        ),
        (_set(*ITEM, "energy", ENERGY | {"total_of": ["a/other"]}), "rail a/other, which it has not"),
        (_set(*ITEM, "energy", ENERGY | {"rate_hz": 0.0}), "rate_hz"),
        (_set(*ITEM, "energy", ENERGY | {"idle": {"watt": 2.0}}), "energy.idle.seconds"),
        (lambda value, arrays: value["items"].pop(FIRST), "lacks"),
        (lambda value, arrays: arrays.pop(EXECUTE), "missing"),
        (_array(EXECUTE, np.zeros(50)), "p0"),
        (_array(EXECUTE, np.full(50, np.nan)), "no time"),
        (_array(EXECUTE, np.zeros(50, np.int64)), "samples"),
        (_array(EXECUTE, b"\x93NUMPY"), "not an array"),
        (_array(PREDICTIONS, np.zeros((20, 1), np.int64)), "one class"),
        (_array(PREDICTIONS, np.zeros(20, np.int64)), "not those of its outputs"),
        (_array(OUTPUTS, np.zeros((20, 3), np.float32)), "by the outputs themselves it is 60"),
        (_array(OUTPUTS, np.zeros((20, 2), np.float32)), "40 outputs"),
        (_array("samples/x.pkl", b""), "does not belong"),
    ],
)
def test_forged_results(job: JobFile, tmp_path: Path, change: Any, says: str) -> None:
    value, arrays = make_result(job)
    value = copy.deepcopy(value)
    change(value, arrays)
    with pytest.raises(ArtifactError, match=says) as caught:
        read_result(write_result(tmp_path / "r.tar.gz", value, arrays), job)
    assert "r.tar.gz" in str(caught.value) and caught.value.mend


@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("/etc/cron.d/x", {}, "leaves its folder"),
        ("result/../../x", {}, "leaves its folder"),
        ("result/samples/../../../x.npy", {}, "leaves its folder"),
        ("result/samples/..\\x.npy", {}, "leaves its folder"),
        ("../", {"type": tarfile.DIRTYPE}, "leaves its folder"),
        ("result/samples/x.npy", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "symbolic link"),
        ("result/samples/x.npy", {"type": tarfile.LNKTYPE, "linkname": "result/result.json"}, "hard link"),
        ("result/samples/x.npy", {"type": tarfile.CHRTYPE, "devmajor": 1}, "device"),
        ("result/samples/x.npy", {"type": tarfile.BLKTYPE}, "device"),
        ("result/samples/x.npy", {"type": tarfile.FIFOTYPE}, "pipe"),
        ("result/samples/x.npy", {"type": tarfile.GNUTYPE_SPARSE}, "sparse"),
        ("result/samples/x.npy", {"type": b"7"}, "no plain file"),
        ("result/result.json", {}, "twice"),
        ("result/agent.py", {}, "does not belong"),
        ("result/samples/.npy", {}, "does not belong"),
        ("result/samples/" + "x" * 200 + ".npy", {}, "does not belong"),
        ("result/samples/x\x1b[31m.npy", {}, "does not belong"),
    ],
)
def test_members_that_no_result_has(
    job: JobFile, tmp_path: Path, name: str, fields: dict[str, Any], says: str
) -> None:
    path = write_result(tmp_path / "r.tar.gz", *make_result(job), member(name, **fields))
    with pytest.raises(ArtifactError, match=says) as caught:
        read_result(path, job)
    assert "\x1b" not in str(caught.value)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["r.tar.gz"], "nothing is ever unpacked"


def test_sizes_are_limited(job: JobFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value, arrays = make_result(job)
    big = [
        member("result/samples/huge.npy", size=1 << 40),
        member("result/samples/huge.npy", size=archive.MAX_FILE + 1),
        member("result/result.json", size=1 << 33),
    ]
    for info, _ in big:
        raw = info.tobuf(tarfile.GNU_FORMAT)
        path = tmp_path / "r.tar.gz"
        path.write_bytes(gzip.compress(raw + bytes(10_000)))
        with pytest.raises(ArtifactError, match=r"more than it may|larger than any"):
            read_result(path, job)
    pax = member("x", type=tarfile.XHDTYPE, size=1 << 30)[0].tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(gzip.compress(pax))
    with pytest.raises(ArtifactError, match="extended header"):
        read_result(path, job)
    good = write_result(tmp_path / "good.tar.gz", value, arrays)
    monkeypatch.setattr(archive, "MAX_TOTAL", 5000)
    with pytest.raises(ArtifactError, match="unpacks to more"):
        read_result(good, job)
    monkeypatch.undo()
    monkeypatch.setattr(archive, "MAX_ARCHIVE", 100)
    with pytest.raises(ArtifactError, match="larger than"):
        read_result(good, job)
    monkeypatch.undo()
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    with pytest.raises(ArtifactError, match="members"):
        read_result(good, job)
    monkeypatch.undo()
    monkeypatch.setattr("targets.pynq.exchange.results.MAX_SAMPLES", 1000)
    with pytest.raises(ArtifactError, match="MB of samples"):
        read_result(good, job)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "r.tar.gz"
    one = gzip.compress(bytes(1 << 24), 9)
    path.write_bytes(one * 64)  # 1 GB of zeros: an empty archive with a long end
    with pytest.raises(ArtifactError, match="follows its end"):
        read_result(path)
    path.write_bytes(gzip.compress(member("result/", type=tarfile.DIRTYPE)[0].tobuf() + bytes(2048) + b"x"))
    with pytest.raises(ArtifactError, match="follows its end"):
        read_result(path)
