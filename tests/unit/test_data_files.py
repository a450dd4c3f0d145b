"""Where data files are looked for, the download, and readers that meet damaged and hostile files."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import DataError
from models.datasets import files
from models.datasets.arff import read_arff
from models.datasets.files import FileSet, RemoteFile
from models.datasets.formats import read_idx, read_npz, read_table

BODY = b"the contents" * 1000


@pytest.fixture(autouse=True)
def _own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_DATA_DIR", raising=False)
    monkeypatch.delenv("BENCH_OFFLINE", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, tuple[int, bytes, dict[str, str]]]]]:
    """Address, and what it answers: path -> (status, body, more headers)."""
    answers: dict[str, tuple[int, bytes, dict[str, str]]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, headers = answers.get(self.path, (404, b"", {}))
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Silence."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}", answers
    http.shutdown()
    http.server_close()
    thread.join()


def fileset(url: str, *, sha256: str = "", max_bytes: int = 100_000, **more: Any) -> FileSet:
    checksum = sha256 or hashlib.sha256(BODY).hexdigest()
    return FileSet("Things", (RemoteFile("things.gz", url, checksum, max_bytes, **more),), "things")


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def test_places_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, system = tmp_path / "data", tmp_path / "system"
    monkeypatch.setenv("BENCH_DATA_DIR", str(data))
    wanted = FileSet("Things", (RemoteFile("things.gz", "", "", 1),), "sub", (system,))
    keras, cache = tmp_path / "keras" / "datasets", tmp_path / "cache" / "edge-bench"
    assert files.find(wanted) is None
    # From the last place to the first: each one wins over those before it.
    for folder, source in (
        (cache / "sub", "download cache"),
        (keras / "sub", "Keras cache"),
        (keras, "Keras cache"),
        (system, str(system)),
        (data / "sub", "$BENCH_DATA_DIR"),
        (data, "$BENCH_DATA_DIR"),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "things").write_bytes(b"")
        found = files.find(wanted)
        assert found is not None
        assert (found.source, found.paths["things.gz"]) == (source, folder / "things")
        (folder / "things.gz").write_bytes(b"")
        found = files.find(wanted)
        assert found is not None and found.paths["things.gz"] == folder / "things.gz"


def test_all_files_from_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA_DIR", str(tmp_path / "data"))
    pair = FileSet("Pair", (RemoteFile("a", "", "", 1), RemoteFile("b", "", "", 1)), "sub")
    for folder, name in ((tmp_path / "data", "a"), (tmp_path / "keras" / "datasets", "b")):
        folder.mkdir(parents=True)
        (folder / name).write_bytes(b"")
    assert files.find(pair) is None
    (tmp_path / "keras" / "datasets" / "a").write_bytes(b"")
    found = files.find(pair)
    assert found is not None and found.source == "Keras cache"


def test_download_once_and_keep(server: Any, tmp_path: Path) -> None:
    address, answers = server
    answers["/things"] = (200, BODY, {})
    wanted = fileset(f"{address}/things")
    assert files.unavailable(wanted) is None
    found = files.locate(wanted)
    assert found.paths["things.gz"].read_bytes() == BODY
    answers.clear()
    assert files.locate(wanted).paths == found.paths
    assert left_over(tmp_path) == ["things.gz"]


def test_download_of_a_local_file(tmp_path: Path) -> None:
    original = tmp_path / "original"
    original.write_bytes(BODY)
    assert files.locate(fileset(original.as_uri())).paths["things.gz"].read_bytes() == BODY


def test_download_refused(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    address, answers = server
    answers["/things"] = (200, BODY, {})
    monkeypatch.setenv("BENCH_OFFLINE", "1")
    with pytest.raises(DataError, match="BENCH_OFFLINE forbids"):
        files.locate(fileset(f"{address}/things"))
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("answer", "more", "message"),
    [
        ((200, BODY + b"!", {}), {}, "sha256 is .* instead of"),
        ((200, BODY, {}), {"max_bytes": len(BODY) - 1}, "longer than the 11999 bytes"),
        ((200, BODY, {"Content-Length": str(len(BODY) + 9)}), {}, "Four ways"),
        ((404, b"", {}), {}, "(?s)404.*Four ways"),
    ],
    ids=["damaged", "too long", "cut", "absent"],
)
def test_bad_downloads_leave_nothing(
    answer: Any, more: dict[str, Any], message: str, server: Any, tmp_path: Path
) -> None:
    address, answers = server
    answers["/things"] = answer
    with pytest.raises(DataError, match=message):
        files.locate(fileset(f"{address}/things", **more))
    assert left_over(tmp_path) == []


def test_server_out_of_reach_and_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Any
) -> None:
    with pytest.raises(DataError, match="Four ways"):
        files.locate(fileset("http://127.0.0.1:9/things"))
    address, answers = server
    answers["/things"] = (200, BODY, {})

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.tempfile, "mkstemp", full)
    with pytest.raises(DataError, match="No space left"):
        files.locate(fileset(f"{address}/things"))


def described(url: str, md5: str = "") -> bytes:
    checksum = md5 or hashlib.md5(BODY, usedforsecurity=False).hexdigest()
    return json.dumps({"data_set_description": {"url": url, "md5_checksum": checksum}}).encode()


def test_openml_description_leads_to_the_file(server: Any) -> None:
    address, answers = server
    answers["/42"] = (200, described(f"{address}/things"), {})
    answers["/things"] = (200, BODY, {})
    found = files.locate(fileset(f"{address}/42", openml=True))
    assert found.paths["things.gz"].read_bytes() == BODY


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (lambda address: described(f"{address}/things", "0" * 32), "md5 is .* instead of 0000"),
        (lambda address: described("file:///etc/hostname"), "not OpenML"),
        (lambda address: described("http://www.openml.org/file"), "not OpenML"),
        (lambda address: described("https://notopenml.org/file"), "not OpenML"),
        (lambda address: b"[1, 2]", "not a description"),
        (lambda address: b"<html>", "not a description"),
        (lambda address: b" " * (1 << 20) + b"{}", "longer than"),
    ],
)
def test_openml_bad_descriptions(description: Any, message: str, server: Any, tmp_path: Path) -> None:
    address, answers = server
    answers["/42"] = (200, description(address), {})
    answers["/things"] = (200, BODY, {})
    with pytest.raises(DataError, match=message):
        files.locate(fileset(f"{address}/42", openml=True))
    assert left_over(tmp_path) == []


IDX = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes(range(6))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx(tmp_path: Path, pack: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(pack(IDX))
    assert read_idx(path, (2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header"),
        (IDX[:-1], "ends after 5 of 6"),
        (IDX + b"!", "goes on after"),
        (IDX[:2] + b"\x0d" + IDX[3:], "header"),
        (gzip.compress(IDX)[:-9], "damaged"),
        (gzip.compress(IDX)[:-5] + b"12345", "damaged"),
    ],
)
def test_damaged_idx(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, (2, 3))
    assert str(path) in str(caught.value)


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy(array: np.ndarray, **header: Any) -> bytes:
    import io

    file = io.BytesIO()
    if header:
        described = np.lib.format.header_data_from_array_1_0(array) | header
        np.lib.format.write_array_header_1_0(file, described)
        file.write(array.tobytes())
    else:
        np.save(file, array, allow_pickle=True)
    return file.getvalue()


def test_npz(tmp_path: Path) -> None:
    a = np.arange(6, dtype=np.uint8).reshape(2, 3)
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=a, other=np.zeros(3))
    assert np.array_equal(read_npz(path, {"a": (2, 3)})["a"], a)


A = np.arange(6, dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(A.astype(np.int64)), "<i8"),
        (npy(A[:5]), r"\(5,\), } instead of"),
        (npy(A, shape=(10**12,)), "instead of"),
        (npy(A[:4], shape=(6,)), "ends after 4 of 6"),
        (npy(A) + b"!", "goes on after"),
        (npy(np.array([{}], dtype=object)), "instead of"),
        (b"foreign", "not in npy format"),
        (b"\x93NUMPY\x01\x00\x10\x00{__import__('os')}", "damaged"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535, "instead of"),
        (b"\x93NUMPY\x01\x00\xc0\x00" + b"(" * 192, "damaged"),
        (b"\x93NUMPY\x03\x00", "not in npy format"),
    ],
)
def test_hostile_npz(tmp_path: Path, content: bytes, message: str) -> None:
    path = npz(tmp_path / "x.npz", a=content)
    with pytest.raises(DataError, match=message) as caught:
        read_npz(path, {"a": (6,)})
    assert str(path) in str(caught.value)


def test_truncated_npz_and_missing_member(tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", a=npy(A))
    with pytest.raises(DataError, match="no item named"):
        read_npz(path, {"b": (6,)})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="not a zip file"):
        read_npz(path, {"a": (6,)})
    with pytest.raises(DataError, match="No such file"):
        read_npz(tmp_path / "absent.npz", {"a": (6,)})


def test_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("1,2.0\n3,255\n")
    assert read_table(path, (2, 2)).tolist() == [[1, 2], [3, 255]]
    for text in ("1,2\n3\n", "1,2\n3,256\n", "1,2\n3,0.5\n", "1,2\n3,x\n", "1,2\n", "1,2\n3,-1\n"):
        path.write_text(text)
        with pytest.raises(DataError, match="damaged"):
            read_table(path, (2, 2))


HEADER = "@relation r\n@attribute 'a' numeric\n@attribute b REAL\n@attribute class {x, y}\n@data\n"


def test_arff(tmp_path: Path) -> None:
    path = tmp_path / "f.arff"
    path.write_text(
        "% note\n"
        + HEADER.upper().replace("{X, Y}", "{x, y}").replace("'A'", "'a'").replace(" B ", " b ")
        + "1,2,x\n3.5,-4e1,'y'\n"
    )
    x, y = read_arff(path, ("a", "b"), ("x", "y"), 2)
    assert x.tolist() == [[1, 2], [3.5, -40]] and y.tolist() == [0, 1]
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert read_arff(path, ("a", "b"), ("x", "y"), 2)[1].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not an ARFF file"),
        ("a,b,c\n1,2,3\n", "not an ARFF file"),
        (HEADER.replace("'a'", "'z'") + "1,2,x\n3,4,y\n", "columns"),
        (HEADER.replace("{x, y}", "{x, y, z}") + "1,2,x\n3,4,y\n", "columns"),
        (HEADER + "1,2,x\n", "1 rows, 2 expected"),
        (HEADER + "1,2,x\n" * 3, "more than 2 rows"),
        (HEADER + "1,2,x\n3,4,z\n", "unknown class 'z'"),
        (HEADER + "1,2,x\n3,,y\n", "missing or infinite"),
        (HEADER + "1,2,x\n3,inf,y\n", "missing or infinite"),
        (HEADER + "1,2,x\n3,four,y\n", "damaged"),
        (HEADER + "1,2,x\n3,4\n", "unknown class"),
        (HEADER + "1,2,x\n3,4,y,5\n", "damaged"),
        (HEADER + "1,2,x\n3,4,\udcff\n", "damaged"),
    ],
)
def test_damaged_arff(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "f.arff"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message) as caught:
        read_arff(path, ("a", "b"), ("x", "y"), 2)
    assert str(path) in str(caught.value)


@given(st.binary(max_size=300), st.sampled_from([b"", IDX, b"\x1f\x8b", b"PK\x03\x04", HEADER.encode()]))
def test_readers_never_fail_otherwise(tmp_path_factory: Any, rest: bytes, start: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz"
    path.write_bytes(start + rest)
    for read in (
        lambda: read_idx(path, (2, 3)),
        lambda: read_npz(path, {"a": (6,)}),
        lambda: read_table(path, (1, 2)),
        lambda: read_arff(path, ("a", "b"), ("x", "y"), 2),
    ):
        try:
            read()
        except DataError as error:
            assert str(path) in str(error)
