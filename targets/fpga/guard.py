"""Runs a program with all that it starts under a time and a memory limit, and leaves nothing behind.

`run` starts this file as a process of its own, which starts the program. It ends the program and all its
descendants when a limit is reached, when the program has ended but left some running, and when `run`'s
process is gone, however that ended. Memory is what all of them hold together (resident, pages that they
share counted for each): an address space limit would end Java and Vivado at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.5
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    Attributes:
        code: exit code; minus the signal that ended it; None if it could not be started (`error`).
        limit: `time` or `memory` if a limit was reached.
        seconds, peak_bytes: how long it ran, and the most memory that was seen.
    """

    code: int | None
    limit: str | None
    seconds: float
    peak_bytes: int
    error: str | None = None


def run(
    command: Sequence[str],
    *,
    folder: Path,
    log: Path,
    environment: Mapping[str, str],
    seconds: float,
    memory_bytes: float,
    tell: Callable[[str], None] = lambda text: None,
) -> Ended:
    """Run a program in `folder` with what it prints added to `log`; `tell` gets the same as it comes."""
    request: dict[str, Any] = {"command": list(command), "folder": str(folder), "log": str(log.resolve())}
    request |= {"environment": dict(environment), "seconds": seconds, "memory": memory_bytes}
    start = log.stat().st_size if log.exists() else 0
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # so that it survives those who end our process group, and can clean up
    )
    assert guard.stdin is not None and guard.stdout is not None
    with guard.stdin as stdin, guard.stdout as stdout:
        stdin.write(json.dumps(request).encode() + b"\n")
        stdin.flush()  # and stays open: its end tells the guard that we are gone
        said = b""
        while True:
            ready, _, _ = select.select([stdout], [], [], POLL_SECONDS)
            start = _pass_on(log, start, tell)
            if ready:
                data = os.read(stdout.fileno(), 1 << 16)
                said += data
                if not data:
                    break
    guard.wait()
    _pass_on(log, start, tell)
    if not said:
        return Ended(None, None, 0.0, 0, f"the process that watches over it ended (code {guard.returncode})")
    return Ended(**json.loads(said))


def _pass_on(log: Path, start: int, tell: Callable[[str], None]) -> int:
    with contextlib.suppress(OSError), log.open("rb") as stream:
        stream.seek(start)
        if data := stream.read():
            tell(data.decode(errors="replace"))
            return start + len(data)
    return start


# -- the guard itself: nothing but the standard library ---------------------------------------------


def descendants(root: int) -> dict[int, int]:
    """Processes below `root` and their resident memory in bytes. Zombies are not counted."""
    parents: dict[int, int] = {}
    resident: dict[int, int] = {}
    page = os.sysconf("SC_PAGE_SIZE")
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                stat = Path("/proc", name, "stat").read_text(errors="replace").rpartition(")")[2].split()
                if stat[0] not in "ZX":
                    parents[int(name)], resident[int(name)] = int(stat[1]), int(stat[21]) * page
    found: dict[int, int] = {}
    new = {root}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new and pid not in found}
        found |= {pid: resident[pid] for pid in new}
    return found


def end_all(root: int) -> None:
    """Kill all processes below `root`, those too that they start meanwhile."""
    for _ in range(200):
        found = descendants(root)
        if not found:
            return
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _prctl(option: int, value: int) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _limit(process: subprocess.Popen[bytes], request: dict[str, Any], seen: dict[str, int]) -> str | None:
    """Wait for the program's end; which limit was reached before it."""
    deadline, pause = time.monotonic() + request["seconds"], 0.02
    while process.poll() is None:
        held = sum(descendants(os.getpid()).values())
        seen["peak"] = max(seen["peak"], held)
        if held > request["memory"]:
            return "memory"
        if time.monotonic() >= deadline:
            return "time"
        pause = min(2 * pause, POLL_SECONDS)  # short at first: what fails at once is told at once
        ready, _, _ = select.select([0], [], [], pause)
        if ready and not os.read(0, 1):
            return "gone"
    return None


def main() -> None:
    """Read a request, run it, write how it ended."""
    # Unbuffered: what follows, if only the end, is waited for on the descriptor itself.
    with open(0, "rb", buffering=0, closefd=False) as stream:
        request = json.loads(stream.readline())
    # What loses its parent becomes our child, so that we can find and end it.
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    begun, seen = time.monotonic(), {"peak": 0}
    limit, code, error = None, None, None
    try:
        with Path(request["log"]).open("ab") as log:
            process = subprocess.Popen(
                request["command"],
                cwd=request["folder"],
                env=request["environment"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: _prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )
        limit = _limit(process, request, seen)
        if limit:
            end_all(os.getpid())
        code = process.wait()
    except OSError as failure:
        error = f"{failure.filename or request['command'][0]}: {failure.strerror}"
    end_all(os.getpid())
    end = {"code": code, "limit": limit, "seconds": time.monotonic() - begun}
    with contextlib.suppress(OSError):
        os.write(1, json.dumps({**end, "peak_bytes": seen["peak"], "error": error}).encode())


if __name__ == "__main__":
    main()
