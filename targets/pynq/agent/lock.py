"""One job at a time on a board: a lock that names its holder."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .job import Held, JobError


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
        owner = {
            "user": os.environ.get("SUDO_USER") or user(),
            "pid": os.getpid(),
            "job": job,
            "since": now_utc(),
        }
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


def now_utc() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())
