"""Claims: which process does a task now, so that two processes never do the same work.

A claim is a file made in one atomic step, whose mtime is the heartbeat. The claim of a process of
this host that is gone is stale at once, that of another host after `STALE_SECONDS` without a
heartbeat. Works over NFS; nothing is left to wait for after a kill -9.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from bench.errors import StoreError

HEARTBEAT_SECONDS = 20.0
STALE_SECONDS = 180.0


@cache
def host_identity() -> str:
    """Host, boot and process-id namespace: where a process id means the same process."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return "/".join(parts)


def process_start(pid: int) -> str | None:
    """When a process of this host started (ticks since boot); "" if unknown, None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except OSError:
            pass
        return ""
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


class Claims:
    """The claims of one store; the heartbeat of those held by this process is a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[str, str] = {}
        self._stop: threading.Event | None = None

    def acquire(self, key: str) -> bool:
        """Take the claim of a task; False if a living process holds it (this one included).

        Raises:
            StoreError: the folder cannot be written.
        """
        path = self.folder / f"{key}.claim"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._create(path, key):
                if not self._stale(path):
                    return False
                with self._takeover():
                    # Looked at again inside the lock: another process may have taken it over.
                    if path.exists():
                        if not self._stale(path):
                            return False
                        path.unlink(missing_ok=True)
                    if not self._create(path, key):
                        return False
        except OSError as error:
            raise StoreError(f"cannot claim a task ({error.strerror})", where=str(path)) from error
        if self._stop is None:
            self._stop = threading.Event()
            threading.Thread(target=self._beat, args=(self._stop,), daemon=True, name="claims").start()
        return True

    def release(self, key: str) -> None:
        """Give a claim of this process back."""
        token = self._held.pop(key, None)
        path = self.folder / f"{key}.claim"
        if token is not None and (_read(path) or {}).get("token") == token:
            with contextlib.suppress(OSError):
                path.unlink()

    def close(self) -> None:
        """Give all back and stop the heartbeat."""
        for key in list(self._held):
            self.release(key)
        if self._stop is not None:
            self._stop.set()
            self._stop = None

    def living(self) -> bool:
        """Whether any process holds a claim. Those of dead ones are removed."""
        left = list(self.folder.glob("*.claim"))
        if not left:
            return False
        with self._takeover():
            stale = [path for path in left if self._stale(path)]
            for path in stale:
                path.unlink(missing_ok=True)
        return len(stale) < len(left)

    def _create(self, path: Path, key: str) -> bool:
        token = uuid.uuid4().hex
        content = {
            "pid": os.getpid(),
            "start": process_start(os.getpid()),
            "host": host_identity(),
            "token": token,
        }
        temporary = self.folder / f".{token}"
        temporary.write_text(json.dumps(content))
        try:
            # link() makes name and content appear in one step, and fails where the name exists.
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            try:
                with path.open("x") as file:
                    file.write(json.dumps(content))
            except FileExistsError:
                return False
        finally:
            temporary.unlink(missing_ok=True)
        self._held[key] = token
        return True

    def _stale(self, path: Path) -> bool:
        try:
            beat = path.stat().st_mtime
        except FileNotFoundError:
            return True
        claim = _read(path)
        if claim is not None and claim.get("host") == host_identity():
            start = process_start(int(claim["pid"]))
            return start is None or start != claim.get("start")
        if claim is not None and str(claim.get("host")).split("/")[0] == socket.gethostname():
            same_boot = str(claim.get("host")).split("/")[1:2] == host_identity().split("/")[1:2]
            if not same_boot:
                return True
        return self._now() - beat > STALE_SECONDS

    def _now(self) -> float:
        """Time by the clock of the file system, which need not be this host's."""
        probe = self.folder / f".{uuid.uuid4().hex}"
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            for key in list(self._held):
                with contextlib.suppress(OSError):
                    os.utime(self.folder / f"{key}.claim")

    @contextlib.contextmanager
    def _takeover(self) -> Iterator[None]:
        with _locked(self.folder / "takeover.lock", exclusive=True, wait=True):
            yield

    @contextlib.contextmanager
    def host(self, *, exclusive: bool) -> Iterator[bool]:
        """Hold this host: shared while building, alone while measuring. Gives False, at once, if
        another process does not let it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        place = self.folder / f"host-{socket.gethostname()}.lock"
        with _locked(place, exclusive=exclusive, wait=False) as held:
            yield held


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("pid"), int) else None


@contextlib.contextmanager
def _locked(path: Path, *, exclusive: bool, wait: bool) -> Iterator[bool]:
    import fcntl

    with path.open("ab") as file:
        held = True
        try:
            flags = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
            fcntl.flock(file, flags if wait else flags | fcntl.LOCK_NB)
        except BlockingIOError:
            held = False
        except OSError:
            pass  # some network file systems have no locks: then two processes may measure at once
        yield held
