"""Kills a run in the middle of what it writes: loaded through `$BENCH_PLUGINS` in all its processes.

`$KILL_AT` is `operation:number`: the process that is about to do that operation for the number-th time,
counted over all processes of the run, kills the run and itself with SIGKILL. `half` is writing a file,
of which one half is on the disk by then; the others are functions of `os`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def count(operation: str) -> int:
    """How often it was done in this run, this time included. One byte is appended for each."""
    counter = os.open(f"{os.environ['KILL_COUNT']}.{operation}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(counter, b".")
        # Not the file's size, which counts what others have appended since: this number is nobody else's.
        return os.lseek(counter, 0, os.SEEK_CUR)
    finally:
        os.close(counter)


def kill() -> None:
    os.kill(int(os.environ["KILL_RUN"]), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # until the signal comes


def register(registries: Any) -> None:
    place = os.environ.get("KILL_AT")
    if not place:
        return
    os.environ.setdefault("KILL_RUN", str(os.getpid()))
    wanted, number = place.split(":")

    def wrap(function: Callable[..., Any], before: Callable[..., None]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if count(wanted) == int(number):
                before(*arguments)
                kill()
            return function(*arguments, **options)

        return wrapped

    if wanted == "half":

        def half(path: Path, data: bytes) -> None:
            with path.open("wb") as file:
                file.write(data[: len(data) // 2])

        Path.write_bytes = wrap(Path.write_bytes, half)  # type: ignore[method-assign]
    else:
        setattr(os, wanted, wrap(getattr(os, wanted), lambda *_: None))
