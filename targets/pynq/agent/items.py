#!/usr/bin/env python3
"""Measures a job on a PYNQ board. One file: copy it to the board and run it there.

    sudo -E python3 agent.py job.tar.gz --out result.tar.gz
    python3 agent.py --check

Needs Python 3.8, numpy and the pynq of the board's image, nothing else. It loads each overlay of the job,
compares its outputs with the C simulation bit for bit, and only then times it; numbers that cannot be true
are refused, with the reason in the result. Every wait has a time limit. Each item is written when it is
finished: run it again on the same job and it goes on with what is missing.

Exit codes: 0 all items ok, 1 some are not, 2 the job cannot be run, 3 another job is running.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gc
import getpass
import hashlib
import json
import math
import os
import platform
import re
import shutil
import signal
import struct
import sys
import tarfile
import tempfile
import threading
import time
import warnings
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any, Callable, ClassVar

import numpy as np

VERSION = "1.0.0"
SCHEMA = 1
OK, SOME_FAILED, BAD_JOB, LOCKED = 0, 1, 2, 3
PHASES = ("encode", "copy_in", "execute", "copy_out", "decode", "end_to_end")
#: what a job may hold
MAX_MEMBERS, MAX_FILE, MAX_TOTAL, MAX_JSON = 20000, 1 << 30, 4 << 30, 64 << 20
#: bytes that stay free on the board's disk
SPARE = 64 << 20
#: an item that took the board down that often is given up
MAX_ATTEMPTS = 3
#: the fabric clock may differ from what was asked by that part
CLOCK_TOLERANCE = 0.005
#: frames at once when all outputs are compared; calls of which the register accesses are counted
COMPARE_BATCH, COUNTED_CALLS = 64, 20
HWMON = "/sys/class/hwmon"
_SAFE_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.,=+@/-]{0,199}\Z")
_SAFE_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}\Z")
_SHA = re.compile(r"^[0-9a-f]{64}\Z")


class JobError(Exception):
    """The job cannot be run: exit code 2."""


class Held(Exception):
    """Another job is running: exit code 3."""


class ItemError(Exception):
    """An item cannot be measured."""


class Hung(ItemError):
    """The board did not answer in time."""


class Skip(ItemError):
    """This board cannot run the item."""


# ------------------------------------------------------------------------------------ jobs


def unpack(archive: Path, into: Path) -> None:
    """Unpack a job: plain files under `job/` only, within limits.

    Raises:
        JobError: it is no such archive.
    """
    total = count = 0
    try:
        with tarfile.open(str(archive), "r:*") as tar:
            for member in tar:
                count += 1
                total += max(0, member.size)
                where = PurePosixPath(member.name)
                if member.isdir():
                    continue
                if not member.isreg():
                    raise JobError(f"{member.name}: links and special files are not taken")
                if where.is_absolute() or ".." in where.parts or where.parts[:1] != ("job",):
                    raise JobError(f"{member.name!r} leaves the folder of the job")
                if count > MAX_MEMBERS or member.size > MAX_FILE or total > MAX_TOTAL:
                    raise JobError("the archive is larger than any job")
                _need_space(into, member.size)
                target = into.joinpath(*where.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                if source is None:
                    raise JobError(f"{member.name} cannot be read")
                with source, target.open("wb") as out:
                    shutil.copyfileobj(source, out)
            # to the very end, where the checksum of the compression is
            for _ in range(MAX_TOTAL >> 20):
                if tar.fileobj is None or not tar.fileobj.read(1 << 20):
                    break
    except (tarfile.TarError, EOFError, OSError, struct.error, ValueError) as error:
        if (
            isinstance(error, OSError)
            and error.errno is not None
            and not isinstance(error, FileNotFoundError)
        ):
            raise JobError(f"the job cannot be unpacked: {error}") from error
        raise JobError(f"{archive} is no job, or cut off: {error}") from error


def _need_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(str(folder)).free
    if free < size + SPARE:
        raise JobError(f"the disk is full: {free >> 20} MB free, {size + SPARE >> 20} MB needed")


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest_of(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


def load_array(path: Path) -> np.ndarray:
    try:
        found: np.ndarray = np.load(str(path), allow_pickle=False)
        return found
    except (OSError, ValueError, EOFError) as error:
        raise ItemError(f"{path.name} cannot be read: {error}") from error


class Job:
    """A job in a folder, checked.

    Raises:
        JobError: it is not what it says.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            text = (folder / "job.json").read_bytes()
            if len(text) > MAX_JSON:
                raise ValueError("job.json is too large")
            self.value = json.loads(text.decode())
            value = self.value
            if value["schema"] != SCHEMA:
                raise ValueError(f"schema {value['schema']!r} is not known to this agent ({VERSION})")
            self.id = str(value["job"])
            rest = {key: entry for key, entry in value.items() if key != "job"}
            if hashlib.sha256(canonical(rest)).hexdigest() != self.id:
                raise ValueError("job.json was changed after it was written")
            self.emulated = value["emulated"] is True
            self.board = str(value["board"])
            self.protocol = Protocol(value["protocol"])
            self.items = [self._item(entry) for entry in value["items"]]
            if len({item["id"] for item in self.items}) != len(self.items):
                raise ValueError("two items have one id")
            self._data = {str(name): dict(entry) for name, entry in value["data"].items()}
            self._labels = {str(name): str(entry) for name, entry in (value.get("labels") or {}).items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobError(f"not a job: {_said(error)}") from error

    @staticmethod
    def _item(entry: Any) -> dict[str, Any]:
        item = dict(entry)
        name = item["id"]
        if not isinstance(name, str) or not _SAFE_ID.match(name) or ".." in name:
            raise ValueError(f"id {name!r} has other than safe characters")
        if item["kind"] not in ("overlay", "tflite"):
            raise ValueError(f"{name}: kind {item['kind']!r}")
        for path, sha in item["files"].items():
            parts = PurePosixPath(path).parts
            if not parts or not all(_SAFE_NAME.match(part) for part in parts) or not _SHA.match(sha):
                raise ValueError(f"{name}: file {path!r}")
        return item

    def lay_out(self, item: dict[str, Any], folder: Path) -> Path:
        """The files of an item by their names, each checked; returns the folder."""
        shutil.rmtree(str(folder), ignore_errors=True)
        for name, sha in item["files"].items():
            source = self.folder / "files" / sha
            if not source.is_file():
                raise ItemError(f"{name} is missing in the job")
            if digest_of(source) != sha:
                raise ItemError(f"{name} is not the file that the job names (its sha256 differs)")
            target = folder.joinpath(*PurePosixPath(name).parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(source), str(target))
        return folder

    def data(self, name: str) -> np.ndarray:
        """An array of the job, checked."""
        entry = self._data.get(name)
        if entry is None:
            raise ItemError(f"the job has no data {name!r}")
        path = self._inside(str(entry["file"]))
        if digest_of(path) != entry["sha256"]:
            raise ItemError(f"data {name} is not what the job names (its sha256 differs)")
        found = load_array(path)
        if str(found.dtype) != entry["dtype"] or list(found.shape) != list(entry["shape"]):
            stored, said = f"{found.dtype}{list(found.shape)}", f"{entry['dtype']}{entry['shape']}"
            raise ItemError(f"data {name} is {stored}, the job says {said}")
        return found

    def labels(self, name: str) -> np.ndarray | None:
        path = self._labels.get(name)
        if path is None:
            return None
        for known, entry in self._data.items():
            if entry.get("file") == path:
                return self.data(known).reshape(-1)
        return load_array(self._inside(path)).reshape(-1)

    def _inside(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if len(parts) != 2 or parts[0] != "data" or not _SAFE_NAME.match(parts[1]):
            raise ItemError(f"{name!r} is no file of the job's data")
        path = self.folder.joinpath(*parts)
        if path.is_symlink() or not path.is_file():
            raise ItemError(f"{name} is missing in the job")
        return path


class Protocol:
    """How to measure."""

    def __init__(self, value: dict[str, Any]) -> None:
        self.preset = str(value["preset"])
        self.warmup_calls = max(1, int(value["warmup_calls"]))
        self.calls = max(1, int(value["calls"]))
        self.batches = sorted({int(batch) for batch in value["batches"] if int(batch) >= 1})
        self.windows = int(value.get("windows", 5))
        self.window_seconds = float(value.get("window_seconds", 10.0))
        self.timeout = float(value["timeout_seconds"])
        if not 0 < self.timeout < 3600 or not 0 < self.window_seconds < 3600:
            raise ValueError("a time limit that is none")
        self.repeats = 3 if self.preset == "quick" else 10


# ------------------------------------------------------------------------------------ one job at a time


class Lock:
    """A file that only one agent holds. The system lets go of it when its process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def take(self, job: str) -> None:
        """Raises Held, with whose job it is."""
        try:
            self._file = os.open(str(self.path), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise JobError(f"the lock {self.path} cannot be opened: {error}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = self.holder() or {}
            os.close(self._file)
            self._file = None
            raise Held(f"the board is taken: {_holder_text(holder)}") from None
        user = os.environ.get("SUDO_USER") or _user()
        owner = {"user": user, "pid": os.getpid(), "job": job, "since": _now()}
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(owner).encode(), 0)

    def release(self) -> None:
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None

    def holder(self) -> dict[str, Any] | None:
        """Who holds it now, or None."""
        try:
            file = os.open(str(self.path), os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            except OSError:
                found = json.loads(os.pread(file, 4096, 0).decode() or "{}")
                return dict(found)
        except (ValueError, TypeError):
            return {}
        finally:
            os.close(file)


def _holder_text(holder: dict[str, Any]) -> str:
    job, user, since, pid = (str(holder.get(key, "?")) for key in ("job", "user", "since", "pid"))
    return f"job {job[:12]} of user {user} runs since {since} (process {pid})"


def default_lock() -> Path:
    folder = Path("/run/lock")
    if not (folder.is_dir() and os.access(str(folder), os.W_OK)):
        folder = Path(tempfile.gettempdir())
    return folder / "edge-bench-board.lock"


# ------------------------------------------------------------------------------------ results


class Results:
    """The folder `result/`: result.json and samples/, each file replaced as a whole."""

    def __init__(self, folder: Path, job: Job) -> None:
        self.folder = folder
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        self.value: dict[str, Any] = {}
        try:
            found = json.loads((folder / "result.json").read_text())
            if found["job"] == job.id and found["schema"] == SCHEMA and isinstance(found["items"], dict):
                self.value = found
        except (OSError, ValueError, KeyError, TypeError):
            pass
        if not self.value:
            self.value = {"schema": SCHEMA, "job": job.id, "started": _now(), "items": {}, "attempts": {}}
        self.value["finished"] = None
        self._number = 0

    @property
    def items(self) -> dict[str, Any]:
        found: dict[str, Any] = self.value["items"]
        return found

    def begin(self, item: str, number: int) -> int:
        """Note that an item is being measured; returns how often it has been begun before."""
        before = int(self.value["attempts"].get(item, 0))
        self.value["attempts"][item] = before + 1
        self._prefix, self._number = number, 0
        self.write()
        return before

    def end(self, item: str, result: dict[str, Any]) -> None:
        self.items[item] = result
        self.value["attempts"].pop(item, None)
        self.write()

    def sample(self, name: str, values: np.ndarray) -> str:
        """Write an array; returns its path in the archive."""
        self._number += 1
        path = f"samples/{self._prefix:04d}-{self._number:02d}-{name}.npy"
        temporary = self.folder / (path + ".new")
        with temporary.open("wb") as out:
            np.save(out, np.ascontiguousarray(values), allow_pickle=False)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(self.folder / path)
        return path

    def write(self) -> None:
        temporary = self.folder / "result.json.new"
        with temporary.open("w") as out:
            json.dump(_plain(self.value), out, indent=1, allow_nan=False)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(self.folder / "result.json")

    def pack(self, out: Path) -> None:
        """The archive, with those samples that are spoken of."""
        spoken = set(re.findall(r'"(samples/[\w.-]+\.npy)"', (self.folder / "result.json").read_text()))
        temporary = out.with_name(out.name + ".new")
        with tarfile.open(str(temporary), "w:gz", compresslevel=6) as tar:
            for name in ["result.json", *sorted(spoken)]:
                tar.add(str(self.folder / name), "result/" + name, filter=_anonymous)
        with temporary.open("rb") as done:
            os.fsync(done.fileno())
        temporary.replace(out)
        with contextlib.suppress(KeyError, ValueError, OSError):  # under sudo: the user's who asked
            os.chown(str(out), int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o644
    return member


def _plain(value: Any) -> Any:
    """JSON of it: no numpy types, no NaN."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())


def _said(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return f"{text} is missing" if isinstance(error, KeyError) else text[:500]


def say(text: str) -> None:
    """Progress; nobody has to listen (the connection may be gone)."""
    with contextlib.suppress(OSError, ValueError):
        print(text, flush=True)


# ------------------------------------------------------------------------------------ numbers on the wire


class Codec:
    """Values to what travels and back, whole arrays at once.

    Args:
        dtype: of an element on the wire.
        fixed: the type of the design's port, `fixed<8,1,RND_CONV,SAT>`, whose integer travels; None: the
            value itself travels as float32.
    """

    _FORM = re.compile(
        r"^(?:ap_)?(u?)fixed<\s*(\d+)\s*,\s*(-?\d+)\s*(?:,\s*(?:AP_)?(\w+)\s*)?"
        r"(?:,\s*(?:AP_)?(\w+)\s*)?(?:,\s*\d+\s*)?>$"
    )

    def __init__(self, dtype: str, fixed: str | None) -> None:
        if dtype not in ("float32", "float64", "int8", "int16", "int32"):
            raise ItemError(f"dtype {dtype!r} on the wire is not known")
        self.dtype = np.dtype(dtype)
        self.fixed = fixed
        if (self.dtype.kind == "f") != (fixed is None):
            raise ItemError(f"dtype {dtype} and type {fixed} do not go together")
        if fixed is None:
            return
        match = self._FORM.match(fixed)
        if match is None:
            raise ItemError(f"type {fixed!r} is not known")
        self.signed, self.bits = not match[1], int(match[2])
        self.scale = 2.0 ** (self.bits - int(match[3]))
        self.rounding, self.overflow = match[4] or "TRN", match[5] or "WRAP"
        if self.rounding not in self._ROUND:
            raise ItemError(f"rounding {self.rounding!r} is not known")
        if self.overflow not in ("WRAP", "SAT", "SAT_ZERO", "SAT_SYM"):
            raise ItemError(f"overflow {self.overflow!r} is not known")
        if self.bits > 8 * self.dtype.itemsize:
            raise ItemError(f"{fixed} does not fit into {dtype}")
        self.low = -(1 << (self.bits - 1)) if self.signed else 0
        self.high = (1 << (self.bits - int(self.signed))) - 1

    _ROUND: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "TRN": np.floor,
        "TRN_ZERO": np.trunc,
        "RND": lambda v: np.floor(v + 0.5),
        "RND_CONV": np.rint,
        "RND_ZERO": lambda v: np.sign(v) * np.ceil(np.abs(v) - 0.5),
        "RND_INF": lambda v: np.sign(v) * np.floor(np.abs(v) + 0.5),
        "RND_MIN_INF": lambda v: np.ceil(v - 0.5),
    }

    def encode(self, values: np.ndarray) -> np.ndarray:
        if self.fixed is None:
            return values if values.dtype == self.dtype else values.astype(self.dtype)
        raw = self._ROUND[self.rounding](values.astype(np.float64) * self.scale)
        if self.overflow == "WRAP":
            whole = raw.astype(np.int64) & ((1 << self.bits) - 1)
            if self.signed:
                whole = np.where(whole > self.high, whole - (1 << self.bits), whole)
        elif self.overflow == "SAT_ZERO":
            whole = np.where((raw < self.low) | (raw > self.high), 0, raw).astype(np.int64)
        else:
            low = -self.high if self.overflow == "SAT_SYM" and self.signed else self.low
            whole = np.clip(raw, low, self.high).astype(np.int64)
        return np.asarray(whole, self.dtype)

    def decode(self, raw: np.ndarray) -> np.ndarray:
        if self.fixed is None:
            return raw
        if not self.signed:
            raw = raw.view(np.dtype(f"u{self.dtype.name}"))
        return raw * (1.0 / self.scale)


# ------------------------------------------------------------------------------------ the board


class Board:
    """The board that this runs on, or the emulated one. All time that is reported comes from here."""

    def __init__(self, job: Job | None = None, emulator: Path | None = None) -> None:
        self.emulated = emulator is not None
        if self.emulated:
            assert job is not None
            sys.path.insert(0, str(emulator))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import emulated  # type: ignore[import-not-found,unused-ignore]

                self.device = emulated.activate(job.folder)
            self.now_ns: Callable[[], int] = self.device.clock.now_ns
            self.sleep: Callable[[float], None] = self.device.clock.sleep
            self._spend: Callable[[float], None] | None = self.device.clock.spend
        else:
            self.device = None
            self.now_ns, self.sleep, self._spend = time.perf_counter_ns, time.sleep, None

    def worked(self, nbytes: int) -> None:
        """The processor has gone through so many bytes. A real one takes its time by itself."""
        if self._spend is not None:
            self._spend(float(nbytes))


def import_pynq() -> Any:
    """pynq, without its warnings about the machine. Raises Skip."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import pynq
            import pynq.lib.dma
        except Exception as error:
            raise Skip(
                f"pynq cannot be imported ({_said(error)}); "
                "source /etc/profile.d/pynq_venv.sh and xrt_setup.sh"
            ) from error
    return pynq


def bit_part(path: Path) -> str:
    """The part in the header of a bitstream, without dashes and `xc`."""
    head = path.read_bytes()[:4096]
    try:
        (length,) = struct.unpack_from(">H", head, 0)
        place = 2 + length + 2
        texts = []
        for key in b"ab":
            if head[place] != key:
                raise ValueError
            (length,) = struct.unpack_from(">H", head, place + 1)
            texts.append(head[place + 3 : place + 3 + length].rstrip(b"\0").decode("ascii"))
            place += 3 + length
    except (struct.error, ValueError, IndexError) as error:
        raise ItemError("overlay.bit has no header of a bitstream") from error
    return _plain_part(texts[1])


def _plain_part(part: str) -> str:
    name = re.sub(r"[^a-z0-9]", "", part.lower())
    return name[2:] if name.startswith("xc") else name


class Counted:
    """Registers that count. Put before an array of registers; raises Hung when it takes too long."""

    def __init__(self, array: Any, board: Board, timeout: float) -> None:
        self._array, self._board = array, board
        self._until = board.now_ns() + timeout * 1e9
        self.reads = self.writes = 0

    def __getitem__(self, index: int) -> int:
        self.reads += 1
        if self._board.now_ns() > self._until:
            raise Hung("the stock driver waits without end")
        return int(self._array[index])

    def __setitem__(self, index: int, value: int) -> None:
        self.writes += 1
        self._array[index] = value


class Driver:
    """Buffers, allocated once, and how a batch of frames gets through the kernel.

    Subclasses: `arm` programs everything, `fire` starts a batch with as few accesses as can be, `poll`
    says whether it is done.
    """

    def __init__(self, board: Board, pynq: Any, item: dict[str, Any], most: int) -> None:
        interface = item["interface"]
        self.board, self.pynq, self.most = board, pynq, most
        #: frames that one transfer can hold
        self.largest = most
        self.inputs, self.outputs = int(interface["inputs"]), int(interface["outputs"])
        self.codec_in = Codec(interface["input_dtype"], interface.get("input_type"))
        self.codec_out = Codec(interface["output_dtype"], interface.get("output_type"))
        self.frame_in = self.inputs * self.codec_in.dtype.itemsize
        self.frame_out = self.outputs * self.codec_out.dtype.itemsize
        self.registers: Any = None
        self._source = pynq.allocate(shape=(most, self.inputs), dtype=self.codec_in.dtype)
        self._target = pynq.allocate(shape=(most, self.outputs), dtype=self.codec_out.dtype)
        # plain arrays for arithmetic: pynq makes up physical addresses for what is computed from a buffer
        self.source, self.target = self._source.view(np.ndarray), self._target.view(np.ndarray)
        self._views: dict[int, tuple[Any, Any]] = {}

    def views(self, frames: int) -> tuple[Any, Any]:
        """The buffers of the first frames: views, the only things with a true physical address."""
        found = self._views.get(frames)
        if found is None:
            found = self._views[frames] = (self._source[:frames], self._target[:frames])
        return found

    def check_address(self, buffer: Any, width: int) -> None:
        if buffer.physical_address % max(1, width // 8):
            raise ItemError(f"a buffer at {buffer.physical_address:#x} is not aligned to {width} bits")

    def arm(self, frames: int) -> None:
        raise NotImplementedError

    def fire(self, frames: int) -> None:
        raise NotImplementedError

    def poll(self) -> bool:
        raise NotImplementedError

    def received(self) -> int | None:
        """Bytes that came of the last batch, where the hardware tells."""
        return None

    def stop(self) -> None:
        """Whatever runs is ended."""

    def wait(self, timeout: float) -> None:
        """Raises Hung after `timeout` seconds."""
        for _ in range(64):
            if self.poll():
                return
        board = self.board
        begin = board.now_ns()
        while not self.poll():
            past = (board.now_ns() - begin) * 1e-9
            if past > timeout:
                raise Hung(f"no answer within {timeout:g} s: the stream is stuck")
            if past > 0.002:
                board.sleep(min(0.01, past / 10))

    def run(self, values: np.ndarray, timeout: float) -> np.ndarray:
        """Outputs of some frames, with everything checked. The careful path."""
        frames = len(values)
        source, target = self.views(frames)
        np.copyto(self.source[:frames], self.codec_in.encode(values))
        self.target[:frames] = 0
        target.flush()
        source.flush()
        self.arm(frames)
        self.fire(frames)
        self.wait(timeout)
        came = self.received()
        if came is not None and came != frames * self.frame_out:
            raise ItemError(
                f"{came} bytes came, not {frames * self.frame_out}: the kernel ends its packets elsewhere"
            )
        target.invalidate()
        return np.array(self.codec_out.decode(self.target[:frames].copy()))


def lookup(overlay: Any, name: str) -> dict[str, Any]:
    found = overlay.ip_dict.get(name)
    if found is None or "phys_addr" not in found:
        raise ItemError(f"the overlay has no {name!r}, only {', '.join(sorted(overlay.ip_dict))}")
    return dict(found)


class DmaDriver(Driver):
    """AXI DMA in simple mode."""

    #: indices of 32-bit registers
    _MM2S, _S2MM = 0x00 // 4, 0x30 // 4
    _STATUS, _ADDRESS, _LENGTH = 0x04 // 4, 0x18 // 4, 0x28 // 4
    _ERRORS = (
        (0x10, "internal error (a packet longer than its buffer, or a length of zero)"),
        (0x20, "slave error (the memory answers with an error)"),
        (0x40, "decode error (an address where there is no memory)"),
    )

    def __init__(self, board: Board, pynq: Any, overlay: Any, item: dict[str, Any], most: int) -> None:
        found = lookup(overlay, item["interface"]["dma"])
        parameters = {str(key).lower(): value for key, value in found["parameters"].items()}
        if int(parameters.get("c_include_sg", 0)):
            raise ItemError("the DMA is in scatter-gather mode; simple mode is needed")
        #: a longer transfer is cut by the hardware without a word
        self.limit = (1 << int(parameters.get("c_sg_length_width", 14))) - 1
        interface = item["interface"]
        sizes = [
            int(interface[side + "s"])
            * Codec(interface[side + "_dtype"], interface.get(side + "_type")).dtype.itemsize
            for side in ("input", "output")
        ]
        largest = self.limit // max(sizes)
        if largest < 1:
            raise ItemError(f"a frame has {max(sizes)} bytes, the DMA's length register takes {self.limit}")
        super().__init__(board, pynq, item, min(most, largest))
        self.largest = largest
        self.registers = pynq.MMIO(found["phys_addr"], 0x60).array
        for buffer, key in (
            (self._source, "c_m_axi_mm2s_data_width"),
            (self._target, "c_m_axi_s2mm_data_width"),
        ):
            self.check_address(buffer, int(parameters.get(key, 32)))
        self._reset()

    def _reset(self) -> None:
        registers = self.registers
        registers[self._MM2S] = 4
        until = self.board.now_ns() + 10**9
        while int(registers[self._MM2S]) & 4 or int(registers[self._S2MM]) & 4:
            if self.board.now_ns() > until:
                raise Hung("the DMA does not come back from its reset")
        for channel in (self._MM2S, self._S2MM):
            registers[channel] = 1
            while int(registers[channel + self._STATUS]) & 1:
                if self.board.now_ns() > until:
                    raise Hung("the DMA does not start")

    def stop(self) -> None:
        self._reset()

    def arm(self, frames: int) -> None:
        registers = self.registers
        if any(int(registers[channel + self._STATUS]) & 0x71 for channel in (self._MM2S, self._S2MM)):
            self._reset()  # before the addresses: a reset is of both channels
        for channel, buffer in ((self._MM2S, self._source), (self._S2MM, self._target)):
            address = buffer.physical_address
            registers[channel + self._ADDRESS] = address & 0xFFFFFFFF
            registers[channel + self._ADDRESS + 1] = address >> 32

    def fire(self, frames: int) -> None:
        # two writes; the addresses stay. The receiver first, so that no output has to wait.
        self.registers[self._S2MM + self._LENGTH] = frames * self.frame_out
        self.registers[self._MM2S + self._LENGTH] = frames * self.frame_in

    def poll(self) -> bool:
        status = int(self.registers[self._S2MM + self._STATUS])
        if status & 2 and not status & 0x71:
            return True
        if status & 0x71:
            self._raise(status, "receiving")
        return False

    def _raise(self, status: int, what: str) -> None:
        said = [text for bit, text in self._ERRORS if status & bit] or ["halted"]
        raise ItemError(f"DMA, {what}: {'; '.join(said)}")

    def wait(self, timeout: float) -> None:
        try:
            super().wait(timeout)
        except Hung:
            status = int(self.registers[self._MM2S + self._STATUS])
            if status & 0x70:
                self._raise(status, "sending")
            raise

    def received(self) -> int | None:
        return int(self.registers[self._S2MM + self._LENGTH])


class MaxiDriver(Driver):
    """An HLS kernel that reads and writes memory itself, by its control registers."""

    def __init__(self, board: Board, pynq: Any, overlay: Any, item: dict[str, Any], most: int) -> None:
        found = lookup(overlay, item["interface"]["kernel"])
        registers = {str(name): int(entry["address_offset"]) for name, entry in found["registers"].items()}
        pointers = sorted(
            name[:-2] for name in registers if name.endswith("_1") and name[:-2] + "_2" in registers
        )
        pointers.sort(key=lambda name: registers[name + "_1"])
        if "batch_size" not in registers or len(pointers) != 2:
            raise ItemError(
                f"kernel {item['interface']['kernel']}: one input, one output and batch_size are known, "
                f"its registers are {', '.join(sorted(registers))}"
            )
        if "out" in pointers[0].lower() and "out" not in pointers[1].lower():
            pointers.reverse()
        super().__init__(board, pynq, item, most)
        self.registers = pynq.MMIO(found["phys_addr"], min(int(found["addr_range"]), 0x1000)).array
        self._batch = registers["batch_size"] // 4
        self._pointers = [registers[name + "_1"] // 4 for name in pointers]
        if not int(self.registers[0]) & 4:
            raise Hung("the kernel is busy after its load")

    def arm(self, frames: int) -> None:
        for place, buffer in zip(self._pointers, (self._source, self._target)):
            self.registers[place] = buffer.physical_address & 0xFFFFFFFF
            self.registers[place + 1] = buffer.physical_address >> 32
        self.registers[self._batch] = frames

    def fire(self, frames: int) -> None:
        self.registers[0] = 1

    def poll(self) -> bool:
        return bool(int(self.registers[0]) & 2)


def make_driver(board: Board, pynq: Any, overlay: Any, item: dict[str, Any], most: int) -> Driver:
    style = item["interface"]["style"]
    if style == "axis_dma":
        return DmaDriver(board, pynq, overlay, item, most)
    if style == "m_axi":
        return MaxiDriver(board, pynq, overlay, item, most)
    raise ItemError(f"interface {style!r} is not known")


# ------------------------------------------------------------------------------------ timing


class Lean:
    """The timed path: what a program would do that knows its overlay.

    Two register writes start a batch. The status is not asked before the time at which the same batch was
    found done in the warm-up calls (which ask without a pause), so that one read is mostly enough.
    """

    def __init__(self, driver: Driver, frames: int, timeout: float) -> None:
        self.driver, self.frames, self.timeout = driver, frames, timeout
        self.hold = 0
        driver.arm(frames)

    def call(self, values: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int, int, int, int]]:
        """Outputs, and the clock before and after each phase."""
        driver, frames = self.driver, self.frames
        board, now = driver.board, driver.board.now_ns
        source, target = driver.views(frames)
        room, result = driver.source[:frames], driver.target[:frames]
        t0 = now()
        raw = driver.codec_in.encode(values)
        board.worked(values.nbytes if raw is not values else 0)
        t1 = now()
        np.copyto(room, raw)
        board.worked(raw.nbytes)
        source.flush()
        t2 = now()
        driver.fire(frames)
        if self.hold:
            until = t2 + self.hold
            while now() < until:
                pass
        driver.wait(self.timeout)
        t3 = now()
        target.invalidate()
        copied = result.copy()
        board.worked(copied.nbytes)
        t4 = now()
        found = driver.codec_out.decode(copied)
        board.worked(copied.nbytes if found is not copied else 0)
        t5 = now()
        return found, (t0, t1, t2, t3, t4, t5)

    def warm_up(self, values: np.ndarray, calls: int) -> int:
        """Shortest execution in ns, asked for without a pause; sets `hold` to just before it."""
        self.hold = 0
        shortest = min(t[3] - t[2] for t in (self.call(values)[1] for _ in range(max(1, calls))))
        begin = self.driver.board.now_ns()
        for _ in range(8):
            int(self.driver.registers[1])  # a register that reading does not change
        each = (self.driver.board.now_ns() - begin) // 8
        self.hold = max(0, shortest - each)
        return shortest


def statistics(seconds: np.ndarray) -> dict[str, Any]:
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99])
    return {"n": len(seconds), "p50": p50, "p95": p95, "p99": p99, "min": seconds.min(), "unit": "s"}


def straight_line(x: np.ndarray, y: np.ndarray) -> dict[str, float] | None:
    """Least squares of y = a + b x; None where there is nothing to fit."""
    if len(np.unique(x)) < 2:
        return None
    b, a = np.polyfit(x, y, 1)
    left = ((y - a - b * x) ** 2).sum()
    whole = ((y - y.mean()) ** 2).sum()
    return {"a_s": a, "b_s": b, "r2": 1.0 - left / whole if whole > 0 else 1.0}


class Outcome:
    """The result of one item, as it comes about."""

    def __init__(self) -> None:
        self.value: dict[str, Any] = {
            "status": "failed",
            "reason": None,
            "fabric_clock_mhz": None,
            "bitstream_loaded": False,
            "phases": {},
            "register_accesses": None,
            "throughput": [],
            "fit": None,
            "fit_execute": None,
            "loopback": None,
            "windows": [],
            "accuracy": None,
            "agreement": None,
            "energy": None,
            "sanity": [],
            "refused": [],
        }

    def check(self, name: str, passed: bool | None, detail: str) -> bool:
        """Note a check; None: it could not be made."""
        self.value["sanity"].append({"name": name, "passed": passed, "detail": detail})
        return passed is not False

    def refuse(self, names: tuple[str, ...], why: str) -> None:
        """These numbers are not given."""
        for name in names:
            if name not in [entry["name"] for entry in self.value["refused"]]:
                self.value["refused"].append({"name": name, "reason": why})
            if name == "phases":
                self.value["phases"] = {key: v for key, v in self.value["phases"].items() if key == "load"}
            elif name in ("throughput", "windows"):
                self.value[name] = []
            else:
                self.value[name] = None

    def failed_checks(self) -> list[str]:
        return [entry["detail"] for entry in self.value["sanity"] if entry["passed"] is False]


TIMES = ("phases", "throughput", "fit", "fit_execute", "windows", "energy")


def time_overlay(
    job: Job,
    item: dict[str, Any],
    driver: Driver,
    x: np.ndarray,
    expected: np.ndarray,
    out: Outcome,
    results: Results,
    mhz: float,
    energy: Energy | None,
) -> None:
    """Everything with a time, of an overlay whose outputs are right."""
    protocol, value = job.protocol, out.value
    interval = float((item.get("cycles") or {}).get("interval") or 0)
    bound = interval / (mhz * 1e6)

    def possible(frames: int, shortest_ns: int) -> bool:
        if not bound:
            return True
        shortest = shortest_ns * 1e-9
        return shortest >= frames * bound or out.check(
            "cycles_bound",
            False,
            f"{frames} frames took {shortest * 1e6:.3g} us; {interval:g} cycles each at {mhz:g} MHz need "
            f"{frames * bound * 1e6:.3g} us: it was not waited for the kernel",
        )

    def timed(lean: Lean, calls: int) -> np.ndarray | None:
        """(calls, 6) clock readings in ns, with the outputs compared; None: they were wrong."""
        frames, total = lean.frames, len(x)
        clocks = np.empty((calls, 6), np.int64)
        outputs = []
        gc.disable()
        try:
            for index in range(calls):
                start = (index * frames) % (total - frames + 1)
                found, clocks[index] = lean.call(x[start : start + frames])
                outputs.append(found)
        finally:
            gc.enable()
        wrong = 0
        for index, found in enumerate(outputs):
            start = (index * frames) % (total - frames + 1)
            wrong += int((found != expected[start : start + frames]).any())
        came = lean.driver.received()
        if came is not None and came != frames * lean.driver.frame_out:
            wrong += 1
        if wrong:
            out.check("outputs_timed", False, f"{wrong} of {calls} timed calls gave other outputs")
            return None
        return clocks

    # one frame
    gc.collect()
    lean = Lean(driver, 1, protocol.timeout)
    shortest = lean.warm_up(x[:1], protocol.warmup_calls)
    fine = possible(1, shortest)
    clocks = timed(lean, protocol.calls) if fine else None
    if clocks is None:
        out.refuse(TIMES, out.failed_checks()[-1])
        return
    phases = dict(zip(PHASES, [*(np.diff(clocks, axis=1).T), clocks[:, 5] - clocks[:, 0]]))
    fine = possible(1, int(phases["execute"].min()))
    for name, ns in phases.items():
        seconds = ns * 1e-9
        value["phases"][name] = {**statistics(seconds), "samples": results.sample(name, seconds)}
    value["register_accesses"] = {"lean": count_lean(driver, lean, x), "stock": None}

    # many frames
    for frames in protocol.batches:
        if frames > min(driver.largest, driver.most, len(x)):
            out.refuse(
                (f"throughput_batch_{frames}",),
                f"{frames} frames do not fit (at most {min(driver.largest, driver.most, len(x))})",
            )
            del value[f"throughput_batch_{frames}"]
            continue
        lean = Lean(driver, frames, protocol.timeout + 10 * frames * bound)
        fine = possible(frames, lean.warm_up(x[:frames], 3)) and fine
        clocks = timed(lean, protocol.repeats)
        if clocks is None:
            fine = False
            break
        value["throughput"].append(
            {
                "batch": frames,
                "seconds": (clocks[:, 5] - clocks[:, 0]) * 1e-9,
                "execute_seconds": (clocks[:, 3] - clocks[:, 2]) * 1e-9,
            }
        )
    for name, key in (("fit", "seconds"), ("fit_execute", "execute_seconds")):
        points = [(row["batch"], second) for row in value["throughput"] for second in row[key]]
        if points:
            value[name] = straight_line(*(np.array(column, np.float64) for column in zip(*points)))
    for row in value["throughput"]:
        row["seconds"], row["execute_seconds"] = row["seconds"].tolist(), row["execute_seconds"].tolist()

    # windows of a fixed time
    if protocol.preset == "mlperf":
        lean = Lean(driver, 1, protocol.timeout)
        lean.warm_up(x[:1], 10)
        # the emulated board's seconds are long: a thousandth of them shows as much
        seconds = protocol.window_seconds * (0.001 if driver.board.emulated else 1.0)
        for _ in range(protocol.windows):
            value["windows"].append(window(driver.board, lambda i: lean.call(x[i : i + 1]), len(x), seconds))
    if energy is not None:
        lean = Lean(driver, 1, protocol.timeout)
        lean.warm_up(x[:1], 10)
        value["energy"] = energy.measure(lambda i: lean.call(x[i : i + 1]), len(x))
    if bound and fine:
        out.check(
            "cycles_bound", True, f"no batch was done before {interval:g} cycles a frame at {mhz:g} MHz"
        )
    elif not bound:
        out.check("cycles_bound", None, "the job does not say how many cycles a frame takes")
    if not fine:
        out.refuse(TIMES, out.failed_checks()[-1])


def window(board: Board, call: Callable[[int], Any], total: int, seconds: float) -> dict[str, Any]:
    """Calls for some seconds."""
    since, begin, done = time.time(), board.now_ns(), 0
    until = begin + int(seconds * 1e9)
    while True:
        call(done % total)
        done += 1
        now = board.now_ns()
        if now >= until:
            break
    took = (now - begin) * 1e-9
    return {
        "seconds": took,
        "inferences": done,
        "per_second": done / took,
        "start_unix": since,
        "end_unix": time.time(),
    }


def count_lean(driver: Driver, lean: Lean, x: np.ndarray) -> dict[str, float]:
    """Register accesses of one call of the lean path, over some calls (which are not timed)."""
    counted, real = Counted(driver.registers, driver.board, 60.0), driver.registers
    driver.registers = counted
    try:
        for index in range(COUNTED_CALLS):
            lean.call(x[index % len(x)][np.newaxis])
    finally:
        driver.registers = real
    return {"reads": counted.reads / COUNTED_CALLS, "writes": counted.writes / COUNTED_CALLS}


def count_stock(
    board: Board, overlay: Any, driver: Driver, item: dict[str, Any], x: np.ndarray, timeout: float
) -> tuple[dict[str, float] | None, bool | None]:
    """The same with pynq's own driver of the DMA; also whether its outputs are ours."""
    if not isinstance(driver, DmaDriver):
        return None, None
    ip = overlay
    for part in item["interface"]["dma"].split("/"):
        ip = getattr(ip, part)
    channels = (ip.sendchannel, ip.recvchannel)
    counters = []
    source, target = driver.views(1)
    same = True
    for channel in channels:
        counter = Counted(channel._mmio.array, board, timeout)
        channel._mmio.array = counter
        counters.append(counter)
    if counters[0] is not counters[1] and channels[0]._mmio is channels[1]._mmio:
        counters = [channels[0]._mmio.array]
        counters[0]._array = driver.registers
    for index in range(COUNTED_CALLS):
        values = x[index % len(x)][np.newaxis]
        ours = driver.run(values, timeout)
        np.copyto(driver.source[:1], driver.codec_in.encode(values))
        driver.target[:1] = 0
        target.flush()
        for channel, buffer in zip(channels, (source, target)):
            channel.transfer(buffer)
        for channel in channels:
            channel.wait()
        same = same and bool((driver.codec_out.decode(driver.target[:1].copy()) == ours).all())
    return {
        "reads": sum(counter.reads for counter in counters) / COUNTED_CALLS,
        "writes": sum(counter.writes for counter in counters) / COUNTED_CALLS,
    }, same


# ------------------------------------------------------------------------------------ power


class Energy:
    """Power rails of hwmon, read directly.

    Args:
        root: /sys/class/hwmon.
        idle, busy: seconds of the two windows.
    """

    INTERVAL = 0.02

    def __init__(self, root: Path, idle: float, busy: float) -> None:
        self.rails = find_rails(root)
        self.idle, self.busy = idle, busy

    def measure(self, call: Callable[[int], Any], total: int) -> dict[str, Any] | None:
        """An idle window, then one of calls without a pause; None: there is no rail."""
        if not self.rails:
            return None
        quiet = self._window(lambda: time.sleep(self.idle))
        done = [0]

        def work() -> None:
            until = time.monotonic() + self.busy
            while time.monotonic() < until:
                call(done[0] % total)
                done[0] += 1

        loud = self._window(work)
        whole = total_rails(sorted(self.rails))
        joule = sum(loud["joule"][name] for name in whole)
        idle_w = sum(quiet["watt"][name] for name in whole)
        net = joule - idle_w * loud["seconds"]
        return {
            "rails": {
                name: {"watt": loud["watt"][name], "idle_watt": quiet["watt"][name]} for name in self.rails
            },
            "total_of": whole,
            "rate_hz": loud["rate_hz"],
            "samples": loud["samples"],
            "idle": {"seconds": quiet["seconds"], "watt": idle_w, "rate_hz": quiet["rate_hz"]},
            "seconds": loud["seconds"],
            "inferences": done[0],
            "total_j": joule,
            "total_j_per_inference": joule / max(1, done[0]),
            "net_j": net,
            "net_j_per_inference": net / max(1, done[0]),
        }

    def _window(self, work: Callable[[], Any]) -> dict[str, Any]:
        """Runs `work` while another thread reads the rails."""
        rows: list[tuple[float, dict[str, float]]] = []
        ended = threading.Event()
        failed: list[BaseException] = []

        def sample() -> None:
            try:
                while True:
                    rows.append((time.monotonic(), {name: read() for name, read in self.rails.items()}))
                    if ended.wait(self.INTERVAL):
                        break
                rows.append((time.monotonic(), {name: read() for name, read in self.rails.items()}))
            except (OSError, ValueError) as error:
                failed.append(error)

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            work()
        finally:
            ended.set()
            thread.join(10.0)
        if failed or len(rows) < 2:
            raise ItemError(f"a power rail cannot be read: {(failed or 'no answer')}")
        times = np.array([moment for moment, _ in rows])
        seconds = float(times[-1] - times[0])
        joule = {}
        for name in self.rails:
            watts = np.array([row[name] for _, row in rows])
            joule[name] = float(((watts[1:] + watts[:-1]) / 2 * np.diff(times)).sum())
        return {
            "seconds": seconds,
            "joule": joule,
            "watt": {name: e / seconds for name, e in joule.items()},
            "rate_hz": (len(rows) - 1) / seconds,
            "samples": len(rows),
        }


def find_rails(root: Path) -> dict[str, Callable[[], float]]:
    """Rails by name, each with a function that gives watts: a power sensor, or a voltage times a current."""
    found: dict[str, Callable[[], float]] = {}
    for chip in sorted(root.glob("hwmon*")) if root.is_dir() else []:
        name = _read_text(chip / "name") or chip.name
        for path in sorted(chip.glob("power*_input")):
            label = _read_text(chip / path.name.replace("_input", "_label")) or path.name[: -len("_input")]
            found[_unused(f"{name}/{label}", found)] = _reader((path, 1e-6))
        if any(chip.glob("power*_input")):
            continue
        volts = {_rail_of(path): path for path in sorted(chip.glob("in*_input"))}
        for path in sorted(chip.glob("curr*_input")):
            rail = _rail_of(path)
            if rail in volts:
                found[_unused(f"{name}/{rail}", found)] = _reader((volts[rail], 1e-3), (path, 1e-3))
    return found


def _rail_of(path: Path) -> str:
    """`vout1` and `iout1` are of one rail, so are in1 and curr1."""
    label = _read_text(path.with_name(path.name.replace("_input", "_label")))
    if label:
        return re.sub(r"^[vi](?=in|out)", "", label.lower())
    return re.sub(r"\D", "", path.name)


def _reader(*factors: tuple[Path, float]) -> Callable[[], float]:
    def read() -> float:
        value = 1.0
        for path, unit in factors:
            value *= float(path.read_text()) * unit
        return value

    return read


def _unused(name: str, taken: dict[str, Any]) -> str:
    number = 2
    whole = name
    while whole in taken:
        whole, number = f"{name} ({number})", number + 1
    return whole


def _read_text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""


def total_rails(names: list[str]) -> list[str]:
    """The rails whose sum is the whole: the board's input if it is among them, else all of them."""
    inputs = [name for name in names if re.search(r"12v|(^|/)in$|total|ina260|som", name.lower())]
    return inputs[:1] or names


# ------------------------------------------------------------------------------------ items


def compare(
    found: np.ndarray, expected: np.ndarray | None, exact: bool, out: Outcome, results: Results
) -> bool:
    """Output by output; True: nothing speaks against the numbers."""
    if expected is None:
        return out.check("outputs", None, "the job has no outputs to compare with")
    differ = found != expected
    frames = int(differ.any(axis=1).sum())
    gap = np.abs(found.astype(np.float64) - expected)
    out.value["agreement"] = {
        "n": int(differ.size),
        "mismatches": int(differ.sum()),
        "bit_exact": not differ.any(),
        "frames": len(found),
        "frames_mismatched": frames,
        "first_mismatch": int(differ.any(axis=1).argmax()) if frames else None,
        "max_difference": float(np.nanmax(gap)) if gap.size else 0.0,
        "outputs": results.sample("outputs", found),
    }
    if not exact:
        detail = f"{differ.sum()} of {differ.size} outputs differ, which the job allows"
        return out.check("outputs", True, detail)
    return out.check(
        "outputs",
        not frames,
        "all outputs are those of the C simulation"
        if not frames
        else f"{frames} of {len(found)} frames differ from the C simulation, "
        f"first frame {differ.any(axis=1).argmax()}",
    )


def score(found: np.ndarray, labels: np.ndarray | None, out: Outcome, results: Results) -> None:
    predictions = found.argmax(axis=1) if found.shape[1] > 1 else (found[:, 0] > 0).astype(np.int64)
    path = results.sample("predictions", predictions)
    errors = None
    if labels is not None:
        if len(labels) != len(found):
            raise ItemError(f"{len(labels)} labels for {len(found)} inputs")
        errors = int((predictions != labels).sum())
    out.value["accuracy"] = {"n": len(found), "errors": errors, "predictions": path}


def inputs_of(job: Job, item: dict[str, Any], size: int | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Inputs (n, size) and expected outputs (n, m), if the job has any."""
    x = job.data(item["data"])
    x = np.ascontiguousarray(x.reshape(len(x), -1), np.float32)
    if not len(x) or (size is not None and x.shape[1] != size):
        raise ItemError(f"the inputs are {list(x.shape)}, the overlay takes {size} values")
    if item.get("expected") is None:
        return x, None
    expected = job.data(item["expected"])
    expected = expected.reshape(len(expected), -1)
    if len(expected) != len(x):
        raise ItemError(f"{len(expected)} expected outputs for {len(x)} inputs")
    return x, expected


def check_facts(item: dict[str, Any], mhz: float | None, out: Outcome) -> None:
    """What is known before anything runs: clocks and slack."""
    sanity = item.get("sanity") or {}
    asked, target = float(item["clock_mhz"]), sanity.get("clock_target_ns")
    if mhz is None:
        out.check("clock", False, "the fabric clock cannot be read back")
    else:
        out.check(
            "clock",
            abs(mhz - asked) <= CLOCK_TOLERANCE * asked,
            f"fabric clock 0 is {mhz:g} MHz, {asked:g} MHz were asked for",
        )
    slack, estimate = sanity.get("wns_ns"), sanity.get("clock_estimate_ns")
    if slack is None:
        out.check("slack", None, "no routed timing in the job")
    else:
        out.check("slack", slack >= 0, f"worst slack after routing {slack:g} ns")
    if estimate is None or target is None:
        out.check("clock_estimate", None, "no estimated clock in the job")
    elif estimate > target and slack is not None and slack >= 0:
        out.check(
            "clock_estimate",
            True,
            f"estimated {estimate:g} ns over {target:g} ns, but the routed design keeps its clock",
        )
    else:
        out.check(
            "clock_estimate", estimate <= target, f"estimated clock {estimate:g} ns, target {target:g} ns"
        )
    if mhz is not None and target is not None and slack is not None:
        reach = 1000.0 / (target - min(0.0, slack))
        if mhz > reach * (1 + CLOCK_TOLERANCE):
            out.check("clock_reach", False, f"the design was routed for {reach:g} MHz and runs at {mhz:g}")


def run_overlay(
    job: Job,
    item: dict[str, Any],
    board: Board,
    work: Path,
    results: Results,
    hwmon: Path | None,
    out: Outcome,
) -> None:
    value, protocol, interface = out.value, job.protocol, item["interface"]
    for name in ("overlay.bit", "overlay.hwh"):
        if name not in item["files"]:
            raise ItemError(f"{name} is missing; pynq loads an overlay with both files")
    folder = job.lay_out(item, work / "item")
    out.check("files", True, "all files have the sha256 of the job")
    part = bit_part(folder / "overlay.bit")
    value["part"] = part
    wanted = _plain_part(str((item.get("sanity") or {}).get("part") or ""))
    if wanted and not (part.startswith(wanted) or wanted.startswith(part)):
        raise ItemError(f"the bitstream is for {part}, the board has {wanted}")
    x, expected = inputs_of(job, item, int(interface["inputs"]))
    if expected is not None and expected.shape[1] != int(interface["outputs"]):
        raise ItemError(f"{expected.shape[1]} outputs are expected, the overlay has {interface['outputs']}")
    if interface["output_dtype"] == "float32":
        expected = None if expected is None else expected.astype(np.float32)

    pynq = import_pynq()
    try:
        pynq.PL.reset()  # else pynq may take the description of another overlay with the same bitstream
        begin = board.now_ns()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            overlay = pynq.Overlay(str(folder / "overlay.bit"))
        took = (board.now_ns() - begin) * 1e-9
        value["bitstream_loaded"] = bool(overlay.is_loaded())
    except ItemError:
        raise
    except Exception as error:
        raise ItemError(f"the overlay cannot be loaded: {_said(error)}") from error
    if not value["bitstream_loaded"]:
        raise ItemError("pynq says that the overlay is not loaded")
    value["phases"]["load"] = statistics(np.array([took]))
    try:
        mhz: float | None = float(pynq.Clocks.fclk0_mhz)
    except Exception:
        mhz = None
    value["fabric_clock_mhz"] = mhz
    check_facts(item, mhz, out)

    most = max([COMPARE_BATCH, *protocol.batches])
    driver = make_driver(board, pynq, overlay, item, min(most, len(x)))
    longest = min(driver.most, driver.largest)
    value["largest_batch"] = driver.largest
    out.check(
        "transfer_size",
        True,
        f"a frame has {driver.frame_in} and {driver.frame_out} bytes, "
        f"at most {driver.largest} frames fit into one transfer",
    )
    try:
        step = min(longest, COMPARE_BATCH)
        begin = board.now_ns()
        first = driver.run(x[:1], protocol.timeout)
        value["first_call_s"] = (board.now_ns() - begin) * 1e-9
        parts = [driver.run(x[at : at + step], protocol.timeout) for at in range(0, len(x), step)]
        found = np.concatenate(parts)
        same = bool((first == found[:1]).all())
        out.check(
            "repeatable",
            same,
            "the first frame gives the same outputs alone and among others"
            if same
            else "the first frame gives other outputs alone than among others",
        )
        right = compare(found, expected, bool(item.get("exact", True)), out, results) and same
        if not right:
            out.refuse((*TIMES, "accuracy"), out.failed_checks()[-1])
            return
        score(found, job.labels(item["data"]), out, results)
        if out.failed_checks():
            out.refuse(TIMES, out.failed_checks()[0])
            return
        energy = None
        if hwmon is not None:
            seconds = 0.2 if board.emulated else protocol.window_seconds
            energy = Energy(hwmon, min(5.0, seconds), seconds)
        assert mhz is not None
        time_overlay(job, item, driver, x, found, out, results, mhz, energy)
        if value["register_accesses"] is not None:
            stock, same_stock = count_stock(board, overlay, driver, item, x, protocol.timeout)
            value["register_accesses"]["stock"] = stock
            if same_stock is not None:
                out.check(
                    "stock_driver",
                    same_stock,
                    f"pynq's own driver gives {('the same' if same_stock else 'other')} outputs",
                )
        if "loopback.bit" in item["files"] and value["phases"].get("execute"):
            try:
                value["loopback"] = time_loopback(job, item, board, pynq, folder, x, value)
            except Exception as error:  # the baseline only: what was measured of the kernel stands
                out.refuse(("loopback",), _said(error))
    except BaseException:
        with contextlib.suppress(Exception):  # the first error is the one to tell
            driver.stop()
        raise


def time_loopback(
    job: Job,
    item: dict[str, Any],
    board: Board,
    pynq: Any,
    folder: Path,
    x: np.ndarray,
    value: dict[str, Any],
) -> dict[str, Any]:
    """The same way to and from the fabric with a FIFO in place of the kernel, as a baseline."""
    asked = item["interface"]
    if asked["style"] != "axis_dma" or "loopback.hwh" not in item["files"]:
        raise ItemError("a loopback is an overlay with a DMA: loopback.bit and loopback.hwh")
    part = bit_part(folder / "loopback.bit")
    if part != value["part"]:
        raise ItemError(f"the loopback is for {part}, the overlay for {value['part']}")
    pynq.PL.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        overlay = pynq.Overlay(str(folder / "loopback.bit"))
    echo = {"output" + key[5:]: entry for key, entry in asked.items() if key.startswith("input")}
    driver = DmaDriver(board, pynq, overlay, {"interface": {**asked, **echo}}, 1)
    back, sent = driver.run(x[:1], job.protocol.timeout), driver.codec_in.encode(x[:1])
    if (back != driver.codec_in.decode(sent)).any():
        raise ItemError("the loopback gives back other values than were sent")
    lean = Lean(driver, 1, job.protocol.timeout)
    lean.warm_up(x[:1], job.protocol.warmup_calls)
    clocks = [lean.call(x[index % len(x)][np.newaxis])[1] for index in range(job.protocol.calls)]
    found = statistics(np.array([clock[3] - clock[2] for clock in clocks]) * 1e-9)
    more = value["phases"]["execute"]["p50"] - found["p50"]
    return {"execute": found, "bytes": driver.frame_in, "execute_above_loopback_s": more}


def import_interpreter() -> tuple[Any, str]:
    """A TFLite interpreter class and whose it is. Raises Skip."""
    for module in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite"):
        try:
            found = __import__(module, fromlist=["Interpreter"])
            return found.Interpreter, module
        except Exception:  # not there, or for another numpy
            continue
    raise Skip("no TFLite runtime: pip install tflite-runtime (armv7l: ==2.13.0) or ai-edge-litert (aarch64)")


def run_tflite(
    job: Job,
    item: dict[str, Any],
    board: Board,
    work: Path,
    results: Results,
    hwmon: Path | None,
    out: Outcome,
) -> None:
    """The model on the board's processor, one thread."""
    value, protocol = out.value, job.protocol
    interpreter_class, runtime = import_interpreter()
    folder = job.lay_out(item, work / "item")
    out.check("files", True, "all files have the sha256 of the job")
    x, expected = inputs_of(job, item, None)
    begin = board.now_ns()
    interpreter = interpreter_class(model_path=str(folder / "model.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    took = (board.now_ns() - begin) * 1e-9
    value["runtime"] = runtime
    taker, giver = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    shape = [int(size) for size in taker["shape"]]
    if int(np.prod(shape)) != x.shape[1]:
        raise ItemError(f"the inputs have {x.shape[1]} values, the model takes {shape}")

    def call(index: int) -> tuple[np.ndarray, tuple[int, ...]]:
        now = board.now_ns
        t0 = now()
        raw = _quantized(x[index].reshape(shape), taker)
        t1 = now()
        interpreter.set_tensor(taker["index"], raw)
        t2 = now()
        interpreter.invoke()
        t3 = now()
        got = interpreter.get_tensor(giver["index"])
        t4 = now()
        found = _dequantized(got, giver).reshape(-1)
        return found, (t0, t1, t2, t3, t4, now())

    found = np.stack([call(index)[0] for index in range(len(x))])
    if expected is not None and found.shape != expected.shape:
        raise ItemError(f"outputs are {list(found.shape)}, expected {list(expected.shape)}")
    if expected is not None:
        expected = expected.astype(found.dtype)
    if not compare(found, expected, bool(item.get("exact", False)), out, results):
        out.refuse((*TIMES, "accuracy"), out.failed_checks()[-1])
        return
    score(found, job.labels(item["data"]), out, results)
    if board.emulated:
        out.refuse(TIMES, "the emulated board has no processor of its own")
        return
    value["phases"]["load"] = statistics(np.array([took]))
    for index in range(protocol.warmup_calls):
        call(index % len(x))
    gc.collect()
    gc.disable()
    try:
        clocks = np.array([call(index % len(x))[1] for index in range(protocol.calls)], np.int64)
    finally:
        gc.enable()
    for name, ns in zip(PHASES, [*(np.diff(clocks, axis=1).T), clocks[:, 5] - clocks[:, 0]]):
        seconds = ns * 1e-9
        value["phases"][name] = {**statistics(seconds), "samples": results.sample(name, seconds)}
    if protocol.preset == "mlperf":
        for _ in range(protocol.windows):
            value["windows"].append(window(board, call, len(x), protocol.window_seconds))
    if hwmon is not None:
        energy = Energy(hwmon, min(5.0, protocol.window_seconds), protocol.window_seconds)
        value["energy"] = energy.measure(call, len(x))


def _quantized(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    if np.dtype(detail["dtype"]).kind == "f":
        return values.astype(detail["dtype"], copy=False)
    scale, zero = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    # halves are rounded with the zero point in them, as the host does it: else both get other inputs
    whole = np.clip(np.rint(values / np.float32(scale) + np.float32(zero)), limits.min, limits.max)
    return np.asarray(whole, detail["dtype"])


def _dequantized(raw: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    if raw.dtype.kind == "f":
        return raw
    scale, zero = detail["quantization"]
    return np.asarray((raw.astype(np.int32) - zero) * np.float32(scale), np.float32)


def run_item(
    job: Job, item: dict[str, Any], board: Board, work: Path, results: Results, hwmon: Path | None
) -> dict[str, Any]:
    """The result of one item; whatever goes wrong with it is in it."""
    out = Outcome()
    value = out.value
    try:
        run = run_overlay if item["kind"] == "overlay" else run_tflite
        run(job, item, board, work, results, hwmon, out)
        failed = out.failed_checks()
        value["status"], value["reason"] = ("failed", failed[0]) if failed else ("ok", None)
    except Skip as error:
        value["status"], value["reason"] = "skipped", _said(error)
    except Hung as error:
        value["status"], value["reason"] = "timeout", _said(error)
    except (MemoryError, Exception) as error:
        if isinstance(error, OSError) and error.errno in (28, 122):  # no space, quota
            raise
        value["reason"] = (
            _said(error) if isinstance(error, ItemError) else f"{type(error).__name__}: {_said(error)}"
        )
    finally:
        shutil.rmtree(str(work / "item"), ignore_errors=True)
    if value["status"] in ("failed", "timeout") and not value["refused"]:
        given = value["agreement"] is not None and value["agreement"]["bit_exact"]
        out.refuse(TIMES if given else (*TIMES, "accuracy"), str(value["reason"]))
    return value


# ------------------------------------------------------------------------------------ the whole


def facts() -> dict[str, Any]:
    """What runs here."""
    try:
        from importlib.metadata import version  # Python 3.8 has it

        pynq_version: str | None = version("pynq")
    except Exception:
        pynq_version = None
    name = ""
    for line in _read_text(Path("/etc/os-release")).splitlines():
        if line.startswith("PRETTY_NAME="):
            name = line.partition("=")[2].strip('"')
    return {
        "version": VERSION,
        "sha256": digest_of(Path(__file__).resolve()),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pynq": pynq_version,
        "os": name,
        "kernel": platform.release(),
        "machine": platform.machine(),
    }


def check(lock: Path, hwmon: Path) -> dict[str, Any]:
    """What a board has and lacks, as one JSON object."""
    found: dict[str, Any] = dict(facts())
    found.update(
        root=os.geteuid() == 0,
        XILINX_XRT=os.environ.get("XILINX_XRT"),
        board=os.environ.get("BOARD")
        or _read_text(Path("/proc/device-tree/chosen/pynq_board")).strip("\0")
        or None,
        clock_mhz=None,
        sensors=sorted(find_rails(hwmon)),
        tflite=None,
        lock=Lock(lock).holder(),
        free_bytes=shutil.disk_usage(tempfile.gettempdir()).free,
        problems=[],
    )
    try:
        found["tflite"] = import_interpreter()[1]
    except Skip as error:
        found["problems"].append(_said(error))
    try:
        pynq = import_pynq()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not pynq.Device.devices:
                raise Skip("pynq finds no device: run as root with XILINX_XRT set (source xrt_setup.sh)")
            found["clock_mhz"] = float(pynq.Clocks.fclk0_mhz)
    except Exception as error:
        found["problems"].append(_said(error))
    return found


def open_job(path: Path, work: Path) -> Job:
    """The job in a folder or an archive, unpacked into `work`."""
    if path.is_dir():
        return Job(path if (path / "job.json").is_file() else path / "job")
    if not path.is_file():
        raise JobError(f"{path} is not there")
    unpacked = work / "job"
    whole = work / "job.sha256"
    sha = digest_of(path)
    if _read_text(whole) != sha:
        shutil.rmtree(str(unpacked), ignore_errors=True)
        try:
            unpack(path, work)
        except JobError:
            shutil.rmtree(str(unpacked), ignore_errors=True)
            raise
        whole.write_text(sha)
    return Job(unpacked)


def measure(options: argparse.Namespace) -> int:
    path = Path(options.job)
    stem = re.sub(r"(\.tar)?\.gz$|\.tar$", "", path.name) or "job"
    work = Path(options.work) if options.work else path.resolve().parent / (stem + ".work")
    try:
        work.mkdir(parents=True, exist_ok=True)
        _need_space(work, 0)
    except OSError as error:
        raise JobError(f"{work} cannot be used: {error}") from error
    # the folder's own lock first: two agents must not unpack one job at once
    own = Lock(work / "lock")
    own.take("?")
    try:
        job = open_job(path, work)
        if job.emulated and not options.emulator:
            raise JobError("the job is for the emulated board: --emulator says where that is")
        if options.emulator and not job.emulated:
            raise JobError("the job is for a real board: --emulator is not for it")
        own.release()
        own.take(job.id)
        lock = None
        if not job.emulated or options.lock:
            lock = Lock(Path(options.lock) if options.lock else default_lock())
            lock.take(job.id)
        try:
            return _measure(job, work, options)
        finally:
            if lock is not None:
                lock.release()
    finally:
        own.release()


def _measure(job: Job, work: Path, options: argparse.Namespace) -> int:
    board = Board(job, Path(options.emulator).resolve() if options.emulator else None)
    hwmon: Path | None = Path(options.hwmon) if options.hwmon else None if board.emulated else Path(HWMON)
    rails = sorted(find_rails(hwmon)) if hwmon is not None else []
    if not rails:
        hwmon = None
    results = Results(work / "result", job)
    results.value.update(
        agent=facts(),
        origin="modelled" if board.emulated else "measured",
        board={
            "name": job.board,
            "emulated": board.emulated,
            "part": None,
            "sensors": rails,
            "says": None if board.emulated else os.environ.get("BOARD"),
        },
    )
    if not board.emulated and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for number, item in enumerate(job.items):
        name = item["id"]
        done = results.items.get(name)
        if done is not None and not (options.retry and done["status"] != "ok"):
            say(f"{number + 1}/{len(job.items)} {name}: {done['status']} (before)")
            continue
        before = results.begin(name, number)
        if before >= MAX_ATTEMPTS:
            out = Outcome()
            out.value["reason"] = f"the board, or this agent, went down {before} times while it was measured"
            out.refuse((*TIMES, "accuracy"), out.value["reason"])
            result = out.value
        else:
            result = run_item(job, item, board, work, results, hwmon)
        results.value["board"]["part"] = result.get("part") or results.value["board"]["part"]
        results.end(name, result)
        said = f" ({result['reason']})" if result["reason"] else ""
        say(f"{number + 1}/{len(job.items)} {name}: {result['status']}{said}")
    results.value["finished"] = _now()
    results.write()
    results.pack(Path(options.out).resolve())
    good = all(results.items[item["id"]]["status"] == "ok" for item in job.items)
    return OK if good else SOME_FAILED


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measures a job on a PYNQ board.")
    parser.add_argument("job", nargs="?", help="job.tar.gz, or the folder of one")
    parser.add_argument("--out", default="result.tar.gz", help="where the result goes (result.tar.gz)")
    parser.add_argument("--work", help="folder for what is in between (next to the job)")
    parser.add_argument("--emulator", help="folder of the emulated board; only for jobs that are for it")
    parser.add_argument("--hwmon", help=f"where the power sensors are ({HWMON})")
    parser.add_argument("--lock", help="the lock of the board")
    parser.add_argument("--retry", action="store_true", help="measure again what was not ok")
    parser.add_argument("--check", action="store_true", help="say what the board has, as JSON")
    options = parser.parse_args(arguments)
    if options.check:
        lock = Path(options.lock) if options.lock else default_lock()
        print(json.dumps(_plain(check(lock, Path(options.hwmon or HWMON))), indent=1))
        return OK
    if options.job is None:
        parser.error("which job?")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a lost connection does not end a measurement
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(SOME_FAILED))
    try:
        return measure(options)
    except Held as error:
        print(f"agent: {error}", file=sys.stderr)
        return LOCKED
    except JobError as error:
        print(f"agent: {error}", file=sys.stderr)
        return BAD_JOB
    except OSError as error:
        print(f"agent: {error}; what was measured is kept, run it again", file=sys.stderr)
        return SOME_FAILED


if __name__ == "__main__":
    sys.exit(main())
