"""Job bundles: the same description gives the same bytes, and nothing damaged or forged is taken."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import ArtifactError
from targets.pynq.agent_file import agent_path
from targets.pynq.exchange.archive import array_bytes, read_array
from targets.pynq.exchange.job_file import canonical, id_of
from targets.pynq.exchange.jobs import ItemSource, protocol, read_job, tree, write_job
from tests.board_files import CREATED, ITEMS, make_job, member, pack

ROOT = Path(__file__).parents[2]


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


def test_a_bundle_depends_on_nothing_but_its_description(tmp_path: Path) -> None:
    first = make_job(tmp_path / "a.tar.gz")
    (tmp_path / "other").mkdir()
    second = make_job(tmp_path / "other" / "b.tar.gz")
    assert first.sha256 == second.sha256 and first.job == second.job
    with tarfile.open(first.path) as tar:
        infos = tar.getmembers()
    assert [info.name for info in infos] == sorted(info.name for info in infos)
    assert {(info.mtime, info.uid, info.gid, info.uname, info.gname) for info in infos} == {(0, 0, 0, "", "")}
    head = first.path.read_bytes()[:10]
    assert head[3] == 0 and head[4:8] == b"\0\0\0\0", "no name and no date in the gzip header"


def test_what_is_shared_is_stored_once_and_by_content(tmp_path: Path) -> None:
    job = make_job(tmp_path / "job.tar.gz")
    found = contents(job.path)
    assert sum(name.startswith("job/files/") for name in found) == 3
    assert sum(name.startswith("job/data/") for name in found) == 3
    value = json.loads(found["job/job.json"])
    assert value["job"] == id_of(value) and [item["id"] for item in value["items"]] == list(ITEMS)
    inputs = value["data"][value["items"][0]["data"]]
    assert (inputs["dtype"], inputs["shape"]) == ("float32", [20, 4])
    (labels,) = job.labels.values()
    (expected,) = job.expected.values()
    assert (labels != expected.argmax(axis=1)).tolist() == [True] * 2 + [False] * 18


def test_the_agent_takes_the_bundle(tmp_path: Path) -> None:
    job = make_job(tmp_path / "job.tar.gz")
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); from agent import main\n"
        "job = main.open_job(Path(sys.argv[2]), Path(sys.argv[3])); item = job.items[0]\n"
        "print(job.id, job.data(item['data']).shape, job.data(item['expected']).shape,\n"
        "      len(job.labels(item['data'])), job.lay_out(item, Path(sys.argv[3], 'item')).is_dir())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(agent_path()), str(job.path), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=1) == [job.job.job, "(20, 4) (20, 3) 20 True\n"]


def test_files_of_a_folder_without_its_links(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.txt").write_text("1")
    (tmp_path / "simulator").write_text("x")
    (tmp_path / "evil").symlink_to("/etc/passwd")
    assert sorted(tree(tmp_path, "kernel")) == ["kernel/simulator", "kernel/weights/w.txt"]


def test_canonical_json() -> None:
    assert canonical({"b": [1, 2.5], "a": "µ"}) == b'{"a":"\\u00b5","b":[1,2.5]}'
    with pytest.raises(ValueError):
        canonical({"a": float("nan")})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": "../../etc"}, "id"),
        ({"id": "a b"}, "id"),
        ({"id": "a/..b/c"}, "'\\.\\.'"),
        ({"kind": "shell"}, "kind"),
        ({"files": {"overlay.bit": b"x"}}, r"overlay\.hwh is missing"),
        ({"files": {"overlay.bit": b"", "overlay.hwh": b"", "/etc/passwd": b""}}, "files"),
        ({"files": {"overlay.bit": b"", "overlay.hwh": b"", "../x": b""}}, "files"),
        ({"facts": {}}, "interface"),
        ({"facts": {"run": "rm"}}, "run"),
        ({"inputs": np.array([object()])}, "object"),
    ],
)
def test_descriptions_that_cannot_be(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    source: dict[str, Any] = {
        "id": "a", "kind": "overlay", "files": {"overlay.bit": b"", "overlay.hwh": b""},
        "inputs": np.zeros((1, 2), np.float32),
    }  # fmt: skip
    source["facts"] = {
        "clock_mhz": 100.0,
        "interface": {
            "style": "axis_dma", "inputs": 2, "outputs": 1, "input_dtype": "int8", "output_dtype": "int8",
            "input_type": "fixed<8,1>", "output_type": "fixed<8,1>",
        },
    }  # fmt: skip
    write_job(tmp_path / "ok.tar.gz", [ItemSource(**source)], board="pynq-z2", protocol=protocol())
    with pytest.raises(ArtifactError, match=says):
        write_job(
            tmp_path / "job.tar.gz",
            [ItemSource(**{**source, **change})],
            board="pynq-z2",
            protocol=protocol(),
        )
    assert not (tmp_path / "job.tar.gz").exists()
    with pytest.raises(ArtifactError, match="no protocol"):
        protocol("slow")


def rewrite(path: Path, out: Path, change: Any) -> Path:
    found = contents(path)
    change(found)
    out.write_bytes(pack([member(name, content) for name, content in found.items()]))
    return out


def _without(prefix: str) -> Any:
    def change(found: dict[str, bytes]) -> None:
        del found[next(name for name in found if name.startswith(prefix))]

    return change


def _other(prefix: str) -> Any:
    def change(found: dict[str, bytes]) -> None:
        found[next(name for name in found if name.startswith(prefix))] += b"x"

    return change


def _json(**fields: Any) -> Any:
    def change(found: dict[str, bytes]) -> None:
        value = {**json.loads(found["job/job.json"]), **fields}
        found["job/job.json"] = json.dumps({**value, "job": id_of(value)}).encode()

    return change


def _inside(*path: Any) -> Any:
    """A field further in, of data and items in the order of the file: the last of `path` is its value."""
    *keys, last, new = path

    def change(found: dict[str, bytes]) -> None:
        whole = value = json.loads(found["job/job.json"])
        for key in keys:
            value = value[list(value)[key] if isinstance(key, int) and isinstance(value, dict) else key]
        value[last] = new
        found["job/job.json"] = json.dumps({**whole, "job": id_of(whole)}).encode()

    return change


def _labels_elsewhere(found: dict[str, bytes]) -> None:
    (name,) = json.loads(found["job/job.json"])["labels"]
    _json(labels={name: "data/none.npy"})(found)


def _one_file_twice(found: dict[str, bytes]) -> None:
    first = next(iter(json.loads(found["job/job.json"])["data"].values()))
    _inside("data", 1, "file", first["file"])(found)


def _expected_of_another_kind(found: dict[str, bytes]) -> None:
    value = json.loads(found["job/job.json"])
    _inside("data", value["items"][0]["expected"], "shape", [60])(found)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_inside("items", 1, "id", ITEMS[0]), "two items have one id"),
        (_inside("data", 0, "dtype", "object"), "dtype object"),
        (_one_file_twice, "two data have one file"),
        (_labels_elsewhere, r"data/none\.npy is missing"),
        (_expected_of_another_kind, "is not of the kind it says"),
        (_without("job/job.json"), "no job"),
        (_without("job/files/"), "is missing"),
        (_other("job/files/"), "sha256"),
        (_other("job/data/"), "sha256"),
        (lambda found: found.update({"job/files/" + "0" * 64: b""}), "belongs to no item"),
        (lambda found: found.update({"job/run.sh": b""}), "does not belong"),
        (
            lambda found: found.update({"job/job.json": found["job/job.json"].replace(b"quick", b"full")}),
            "id",
        ),
        (lambda found: found.update({"job/job.json": b"[" * 100_000}), "not a job"),
        (_json(schema=2), "schema"),
        (_json(surprise=1), "surprise"),
        (_json(items=[]), "items"),
        (_json(labels={"x": "data/x.npy"}), "no data"),
        (_json(labels={"x": "data/../../etc"}), "labels"),
    ],
)
def test_bundles_that_were_changed(tmp_path: Path, change: Any, says: str) -> None:
    job = make_job(tmp_path / "job.tar.gz")
    assert read_job(rewrite(job.path, tmp_path / "same.tar.gz", lambda _: None)).job == job.job
    with pytest.raises(ArtifactError, match=says):
        read_job(rewrite(job.path, tmp_path / "other.tar.gz", change))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint16", "int64", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (1, 2, 2, 2)])
def test_arrays_travel(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    for packed in (array_bytes(array), _saved(array)):
        found = read_array(packed, "x")
        assert found.dtype == array.dtype and found.shape == shape and np.array_equal(found, array)


def _saved(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def _header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode() + data


_FIVE = "{'descr': '<f8', 'fortran_order': False, 'shape': (5,), }"


def _pickled() -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([{}]), allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x93NUMPY", _saved(np.zeros(5))[:-1], _saved(np.zeros(5)) + b"\0", _pickled(),
        _saved(np.asfortranarray(np.zeros((3, 2)))), _saved(np.zeros(2, "f4,i4")), _saved(np.zeros(3, ">f4")),
        _saved(np.zeros((1, 1, 1, 1, 1))), _saved(np.array(["a"])),
        _header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"),
        _header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }"),
        _header("{'descr': '<f8', 'fortran_order': False, 'shape': (__import__('os').getpid(),), }"),
        _header("(" * 5000), b"\x93NUMPY\3\0" + b"\0" * 100,
        _header(_FIVE, bytes(40)).replace(b"NUMPY", b"NUMPX"), _header(_FIVE + " " * 5000, bytes(40)),
        b"\x93NUMPY\3\0" + len(_FIVE).to_bytes(4, "little") + _FIVE.encode() + bytes(40),
    ],
)  # fmt: skip
def test_arrays_that_are_none(data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"f\.npy"):
        read_array(data, "f.npy")
    assert read_array(_header(_FIVE, bytes(40)), "f.npy").shape == (5,)


def test_gzip_only(tmp_path: Path) -> None:
    path = tmp_path / "job.tar.gz"
    for data in (b"", b"hello", gzip.compress(b""), gzip.compress(b"x" * 5000), gzip.compress(bytes(1024))):
        path.write_bytes(data)
        with pytest.raises(ArtifactError, match=r"job\.tar\.gz"):
            read_job(path)
    with pytest.raises(ArtifactError, match="no such file"):
        read_job(tmp_path / "none")
    assert CREATED
