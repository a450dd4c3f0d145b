"""Pictures drawn by two processes where that is safe, by one where it is not; the same pictures either way.

A forked child draws beside its parent: each takes the next picture from a pipe of numbers until there
is none. What the child did not hand back (it failed, or was killed) the parent draws itself, so an
error is raised where and as it would be without a child.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Generic, TypeVar

_T = TypeVar("_T")

#: Fewer than these are drawn before a child would be of use.
WORTH_A_CHILD = 4
#: Numbers beyond would not fit into the pipe's buffer.
MOST = 10_000
#: Libraries with threads of their own that do not survive a fork.
THREADED = ("tensorflow", "tf_keras", "keras", "ai_edge_litert", "torch", "jax", "grpc")
_NUMBER, _HEAD, _LENGTH = struct.Struct("<H"), struct.Struct("<HB"), struct.Struct("<I")

#: One picture in each format that was asked for.
Files = tuple[bytes, ...]


def fork_is_safe() -> bool:
    """Linux, a second core, no other thread, and no library loaded that has threads unknown to Python."""
    return (
        sys.platform == "linux"
        and len(os.sched_getaffinity(0)) > 1
        and threading.active_count() == 1
        and threading.current_thread() is threading.main_thread()
        and not any(name in sys.modules for name in THREADED)
    )


class Drawing(Generic[_T]):
    """Begins to draw when made; `finish` draws what is left and gives all in order.

    Use as a context manager: leaving it ends the child, whatever happened.

    Args:
        draw: gives the files of one picture; must not depend on the order of drawing.
        fork: whether to use a child; None: where it is safe and worth it.
    """

    def __init__(self, plans: Sequence[_T], draw: Callable[[_T], Files], fork: bool | None = None) -> None:
        self._plans, self._draw = plans, draw
        self._child = 0
        if fork is None:
            fork = len(plans) >= WORTH_A_CHILD and fork_is_safe()
        if fork and len(plans) <= MOST:
            with contextlib.suppress(OSError):  # no process or memory to be had: draw alone
                self._start()

    def _start(self) -> None:
        self._numbers, numbers = os.pipe()
        self._results = -1
        try:
            self._results = os.memfd_create("pictures")
            os.write(numbers, b"".join(_NUMBER.pack(n) for n in range(len(self._plans))))
            os.close(numbers)
            numbers = -1
            self._child = os.fork()
        except OSError:
            for descriptor in (self._numbers, self._results, numbers):
                if descriptor >= 0:
                    os.close(descriptor)
            raise
        if self._child == 0:
            self._draw_as_child()

    def _next(self) -> int | None:
        """Takes a number; each is given to one process only."""
        found = os.read(self._numbers, _NUMBER.size)
        return int(_NUMBER.unpack(found)[0]) if len(found) == _NUMBER.size else None

    def _draw_as_child(self) -> None:
        """Never returns, and leaves nothing behind but its pictures: no exit handlers, no flushed buffers."""
        code = 1
        with contextlib.suppress(BaseException):
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            parent = os.getppid()
            with os.fdopen(self._results, "wb", closefd=False) as out:
                while os.getppid() == parent and (n := self._next()) is not None:
                    files = self._draw(self._plans[n])
                    lengths = b"".join(_LENGTH.pack(len(file)) for file in files)
                    out.write(_HEAD.pack(n, len(files)) + lengths + b"".join(files))
                    out.flush()
            code = 0
        os._exit(code)

    def finish(self) -> list[Files]:
        """The files of each picture in the order of the plans.

        Raises:
            Exception: whatever drawing raised.
        """
        found: dict[int, Files] = {}
        if self._child:
            while (n := self._next()) is not None:
                found[n] = self._draw(self._plans[n])
            found |= self._of_child()
        return [found[n] if n in found else self._draw(plan) for n, plan in enumerate(self._plans)]

    def _of_child(self) -> dict[int, Files]:
        """What the child drew, without a last picture that is not whole."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._child, 0)
        self._child = 0
        os.close(self._numbers)
        with os.fdopen(self._results, "rb") as file:
            file.seek(0)
            data = file.read()
        found: dict[int, Files] = {}
        place = 0
        while place + _HEAD.size <= len(data):
            n, many = _HEAD.unpack_from(data, place)
            start = place + _HEAD.size + many * _LENGTH.size
            if start > len(data):
                break
            lengths = [length for (length,) in _LENGTH.iter_unpack(data[place + _HEAD.size : start])]
            place = start + sum(lengths)
            if place <= len(data):
                ends = [start + sum(lengths[: i + 1]) for i in range(many)]
                found[n] = tuple(data[end - size : end] for end, size in zip(ends, lengths, strict=True))
        return found

    def __enter__(self) -> Drawing[_T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._child, 0)
            self._child = 0
            os.close(self._numbers)
            os.close(self._results)
