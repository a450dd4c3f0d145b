"""Jobs that are damaged, forged, for another board, or too large: told, and nothing is done."""

from __future__ import annotations

import ast
import getpass
import io
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.pynq.agent import drivers
from targets.pynq.agent import job as job_module
from targets.pynq.agent.lock import Lock
from targets.pynq.agent_file import PACKAGE
from targets.pynq.emulated import hwh
from tests.board.jobs import Maker, run, sha


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, to
    return found


@pytest.mark.parametrize("bad, said", [
    (member("../outside"), "leaves the folder"),
    (member("job/../../outside"), "leaves the folder"),
    (member("/outside"), "leaves the folder"),
    (member("other/job.json"), "leaves the folder"),
    (member("job/link", tarfile.SYMTYPE, "/etc/passwd"), "links and special files"),
    (member("job/link", tarfile.LNKTYPE, "job/job.json"), "links and special files"),
    (member("job/pipe", tarfile.FIFOTYPE), "links and special files"),
])  # fmt: skip
def test_hostile_archives(bad: tarfile.TarInfo, said: str, tmp_path: Path) -> None:
    data = b"x" if bad.isreg() else b""
    done = run(archive(tmp_path / "job.tar.gz", (bad, data)), tmp_path)
    assert done.code == 2 and said in done.said
    assert not (tmp_path / "outside").exists() and not (tmp_path / "work" / "job").exists()


def test_archive_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maker = Maker(tmp_path)
    maker.overlay()
    job = maker.pack()
    for limit, value in (("MAX_MEMBERS", 2), ("MAX_FILE", 100), ("MAX_TOTAL", 1000)):
        with monkeypatch.context() as patch:
            patch.setattr(job_module, limit, value)
            done = run(job, tmp_path)
            assert done.code == 2 and "larger than any job" in done.said
    monkeypatch.setattr(job_module, "SPARE", 1 << 60)
    done = run(job, tmp_path)
    assert done.code == 2 and "disk is full" in done.said


@pytest.mark.parametrize("size", [0, 40, 500, -1])
def test_archive_that_is_cut_off(size: int, tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.overlay()
    job = maker.pack()
    job.write_bytes(job.read_bytes()[:size])
    done = run(job, tmp_path)
    assert done.code == 2 and "agent: " in done.said and "Traceback" not in done.said


CHANGES: dict[str, tuple[Any, str]] = {
    "not JSON": (lambda value: None, "not a job"),
    "another schema": (lambda value: {**value, "schema": 9}, "schema 9"),
    "changed": (lambda value: {**value, "board": "other"}, "changed after it was written"),
    "no items": (lambda value: {key: v for key, v in value.items() if key != "items"}, "not a job"),
}


@pytest.mark.parametrize("name", list(CHANGES))
def test_job_that_is_none(name: str, tmp_path: Path) -> None:
    change, said = CHANGES[name]
    maker = Maker(tmp_path)
    maker.overlay()
    path = maker.write() / "job.json"
    value = change(json.loads(path.read_text()))
    path.write_text(json.dumps(value) if value else "{")
    done = run(maker.job, tmp_path)
    assert done.code == 2 and said in done.said, done.said


def _twice(maker: Maker) -> None:
    maker.overlay("a")


def _other_kind(maker: Maker) -> None:
    maker.items[0]["kind"] = "script"


def _file_elsewhere(maker: Maker) -> None:
    maker.items[0]["files"]["../../etc/cron.d/x"] = "0" * 64


def _no_digest(maker: Maker) -> None:
    maker.items[0]["files"]["overlay.bit"] = "../" * 20 + "etc"


def _no_limit(maker: Maker) -> None:
    maker.protocol["timeout_seconds"] = 0.0


BAD_JOBS = {
    _twice: "two items have one id",
    _other_kind: "a: kind 'script'",
    _file_elsewhere: "a: file '../../etc/cron.d/x'",
    _no_digest: "a: file 'overlay.bit'",
    _no_limit: "a time limit that is none",
}


@pytest.mark.parametrize("change", list(BAD_JOBS))
def test_jobs_that_make_no_sense(change: Any, tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.overlay("a")
    change(maker)
    done = run(maker.write(), tmp_path)
    assert done.code == 2 and BAD_JOBS[change] in done.said, done.said


def test_a_description_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maker = Maker(tmp_path)
    maker.overlay("a")
    monkeypatch.setattr(job_module, "MAX_JSON", 100)
    done = run(maker.write(), tmp_path)
    assert done.code == 2 and "job.json is too large" in done.said


@pytest.mark.parametrize("name", ["../x", "a/../b", "", "a b", "x" * 300, "/x", "a\n"])
def test_ids_with_other_than_safe_characters(name: str, tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.overlay(name)
    done = run(maker.write(), tmp_path)
    assert done.code == 2 and "safe characters" in done.said


def test_emulator_only_for_its_own_jobs(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.overlay()
    done = run(maker.write(), tmp_path, emulator=False)
    assert done.code == 2 and "for the emulated board" in done.said
    maker.emulated = False
    done = run(maker.write(), tmp_path)
    assert done.code == 2 and "for a real board" in done.said


def test_real_job_without_a_board(tmp_path: Path) -> None:
    """On a machine that is none, each overlay fails with a reason and the job ends."""
    maker = Maker(tmp_path, emulated=False)
    maker.overlay()
    done = run(maker.write(), tmp_path, "--lock", str(tmp_path / "lock"), emulator=False, own_process=True)
    assert done.code == 1 and done.result["origin"] == "measured"
    assert done.item()["status"] == "failed" and "No Devices Found" in done.item()["reason"]


def test_overlay_of_another_model(tmp_path: Path) -> None:
    """The files of a job were exchanged: seen before anything is loaded."""
    maker = Maker(tmp_path)
    first, second = maker.overlay("a"), maker.overlay("b", factor=0.25)
    job = maker.write()
    names = first["files"]["overlay.bit"], second["files"]["overlay.bit"]
    (job / "files" / names[0]).write_bytes((job / "files" / names[1]).read_bytes())
    done = run(job, tmp_path)
    assert done.item("a")["reason"].startswith("overlay.bit is not the file that the job names")
    assert not done.item("a")["bitstream_loaded"] and done.item("b")["status"] == "ok"


def _drop_hwh(maker: Maker, item: dict[str, Any]) -> None:
    del item["files"]["overlay.hwh"]


def _drop_file(maker: Maker, item: dict[str, Any]) -> None:
    (maker.job / "files" / item["files"]["overlay.hwh"]).unlink()


def _other_part(maker: Maker, item: dict[str, Any]) -> None:
    item["sanity"]["part"] = "xczu3eg"


def _no_bit(maker: Maker, item: dict[str, Any]) -> None:
    path = maker.folder / "raw.bin"
    path.write_bytes(b"\xff" * 200)
    item["files"]["overlay.bit"] = maker.file(path)


def _other_dma(maker: Maker, item: dict[str, Any]) -> None:
    item["interface"]["dma"] = "axi_dma_7"


def _other_shape(maker: Maker, item: dict[str, Any]) -> None:
    item["interface"]["inputs"] = 11


def _other_type(maker: Maker, item: dict[str, Any]) -> None:
    item["interface"]["input_type"] = "fixed<8,4>"


def _changed_data(maker: Maker, item: dict[str, Any]) -> None:
    np.save(maker.job / "data" / "x.npy", np.zeros((3, 12), np.float32))


def _pickled_data(maker: Maker, item: dict[str, Any]) -> None:
    path = maker.job / "data" / "x.npy"
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    maker.data["x"]["sha256"] = sha(path)


def _data_elsewhere(maker: Maker, item: dict[str, Any]) -> None:
    maker.data["x"]["file"] = "data/../job.json"


def _no_data(maker: Maker, item: dict[str, Any]) -> None:
    item["data"] = "y"


def _other_dtype(maker: Maker, item: dict[str, Any]) -> None:
    maker.data["x"]["dtype"] = "float64"


def _linked_data(maker: Maker, item: dict[str, Any]) -> None:
    path = maker.job / "data" / "x.npy"
    path.rename(maker.folder / "x.npy")
    path.symlink_to(maker.folder / "x.npy")


def _few_expected(maker: Maker, item: dict[str, Any]) -> None:
    item["expected"] = maker.array("few", np.zeros((149, 3)))


def _narrow_expected(maker: Maker, item: dict[str, Any]) -> None:
    item["expected"] = maker.array("narrow", np.zeros((150, 2)))


def _forged_labels(maker: Maker, item: dict[str, Any]) -> None:
    maker.data["labels"] = {**maker.data["x"], "file": "data/x_labels.npy"}


BAD_ITEMS = {
    _forged_labels: "data labels is not what the job names",
    _no_data: "the job has no data 'y'",
    _other_dtype: "data x is float32[150, 4, 3], the job says float64[150, 4, 3]",
    _linked_data: "data/x.npy is missing in the job",
    _few_expected: "149 expected outputs for 150 inputs",
    _narrow_expected: "2 outputs are expected, the overlay has 3",
    _drop_hwh: "overlay.hwh is missing; pynq loads an overlay with both files",
    _drop_file: "overlay.hwh is missing in the job",
    _other_part: "the bitstream is for 7z020clg400, the board has zu3eg",
    _no_bit: "no header of a bitstream",
    _other_dma: "the overlay has no 'axi_dma_7', only axi_timer_0, hier_0/axi_dma_0",
    _other_shape: "the overlay takes 11 values",
    _other_type: "dtype float32 and type fixed<8,4> do not go together",
    _changed_data: "data x is not what the job names",
    _pickled_data: "cannot be read",
    _data_elsewhere: "is no file of the job's data",
}


@pytest.mark.parametrize("change", list(BAD_ITEMS))
def test_items_that_cannot_be_measured(change: Any, tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    change(maker, maker.overlay("a"))
    done = run(maker.write(), tmp_path)
    assert done.code == 1, done.said
    item = done.item("a")
    assert item["status"] == "failed" and BAD_ITEMS[change] in item["reason"], item["reason"]
    assert item["accuracy"] is None and set(item["phases"]) <= {"load"}


def test_no_job_at_all(tmp_path: Path) -> None:
    done = run(tmp_path / "job.tar.gz", tmp_path)
    assert done.code == 2 and "job.tar.gz is not there" in done.said


def test_transfers_that_the_dma_cannot_count(tmp_path: Path) -> None:
    """Eight bits of length: 255 bytes, five frames of 48. Longer ones would be cut without a word."""
    maker = Maker(tmp_path)
    maker.overlay(length_width=8)
    maker.overlay("small", length_width=5)
    done = run(maker.write(), tmp_path)
    item = done.item()
    assert item["status"] == "ok" and item["largest_batch"] == 5
    assert [row["batch"] for row in item["throughput"]] == [1, 4]
    assert {"name": "throughput_batch_16", "reason": "16 frames do not fit (at most 5)"} in item["refused"]
    assert "a frame has 48 bytes, the DMA's length register takes 31" in done.item("small")["reason"]


def test_result_of_another_job_is_not_continued(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.overlay("a")
    assert run(maker.pack(), tmp_path).code == 0
    first = json.loads((tmp_path / "work" / "result" / "result.json").read_text())
    maker.overlay("b")
    done = run(maker.pack(), tmp_path)
    assert done.code == 0 and done.result["job"] != first["job"] and set(done.result["items"]) == {"a", "b"}
    assert "(before)" not in done.said


def test_retry(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.overlay("a")
    job = maker.write()
    assert run(job, tmp_path, faults="stuck_stream").code == 1
    assert run(job, tmp_path).code == 1
    assert run(job, tmp_path, "--retry").code == 0


def test_lock_of_the_board(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.overlay()
    path = tmp_path / "lock"
    lock = Lock(path)
    lock.take("f" * 64)
    assert (lock.holder() or {})["job"] == "f" * 64
    done = run(maker.write(), tmp_path, "--lock", str(path))
    user = os.environ.get("SUDO_USER") or getpass.getuser()
    assert done.code == 3 and f"job ffffffffffff of user {user} runs since" in done.said
    lock.release()
    assert Lock(path).holder() is None
    assert run(maker.job, tmp_path, "--lock", str(path)).code == 0


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_runs_on_python_3_8(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported.add((node.module or "").split(".")[0])
    alone = {"numpy", "pynq", "emulated", *sys.stdlib_module_names}
    assert imported <= alone, "it runs alone on the board"
    for newer in (".removeprefix(", ".removesuffix(", "datetime.UTC", "zip(strict", "strict=True"):
        assert newer not in text
    # a union or a subscripted builtin is fine in an annotation only
    for node in tree.body:
        if isinstance(node, ast.Assign):
            assert not any(isinstance(part, ast.BitOr) for part in ast.walk(node.value))


def test_part_of_a_bitstream(tmp_path: Path) -> None:
    path = tmp_path / "x.bit"
    for part, plain in (("7z020clg400", "7z020clg400"), ("xczu3eg-sbva484-1-i", "zu3egsbva4841i")):
        path.write_bytes(hwh.bitstream(part, b"data"))
        assert drivers.bit_part(path) == plain
