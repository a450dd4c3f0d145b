"""Executors that run tasks in processes of their own: `submit(spec) -> Future[Exit]`.

A spec is plain JSON (`bench.run.worker`) with what the executor must know beside it: `timeout`, `heavy`
(runs inside TensorFlow), `fresh` (an interpreter of its own). What comes of the task travels
through the store, so that any executor on any machine that sees the store will do.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.errors import StoreError
from bench.run.worker import Spec
from bench.store.store import Store

#: builds run side by side, one thread each: the same result whatever runs beside them
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}
#: runs a module as __main__ with this process's import path, not the current folder's
_BOOT = (
    "import json,runpy,sys; sys.path[:]=json.loads(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1),run_name='__main__')"
)


@dataclass(frozen=True)
class Exit:
    """How a task's process ended. `code` 0: a record was written.

    Attributes:
        error: why there was no process at all.
    """

    code: int | None
    signal: int | None = None
    timeout: bool = False
    error: str | None = None

    def reason(self, log: Path, seconds: float) -> str:
        """Why there is no record, with the end of what the process printed."""
        if self.error:
            return self.error
        tail = log_tail(log)
        last = f"; last line printed: {tail.splitlines()[-1].strip()}" if tail.strip() else ""
        if self.timeout:
            return f"ended after its time limit of {seconds:g} s{last}"
        if self.signal == signal.SIGKILL:
            return f"the process was killed (SIGKILL; out of memory?){last}"
        if self.signal is not None:
            names = {int(known): known.name for known in signal.Signals}
            return f"the process died of {names.get(self.signal, f'signal {self.signal}')}{last}"
        return f"the process ended itself with exit code {self.code}{last}"


def log_tail(log: Path, size: int = 4000) -> str:
    """End of a log; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - size))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


class Executor(Protocol):
    """What `bench.run.run` needs of an engine."""

    def submit(self, spec: Spec) -> Future[Exit]:
        """Start a task; the future never waits for a free place."""

    def cancel(self, future: Future[Exit]) -> None:
        """End a task that runs; its future still completes."""

    def shutdown(self) -> None:
        """End all that runs, at once."""


class LocalEngine:
    """Processes on this machine, forked from a server per kind (`.zygote`), started when needed."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._servers: dict[str, _Server] = {}

    def submit(self, spec: Spec) -> Future[Exit]:
        """Raises StoreError if the results folder cannot be written."""
        fresh = bool(spec.get("fresh"))
        kind = "tensorflow" if spec.get("heavy") and not fresh else "plain"
        if kind in self._servers and self._servers[kind].lost:
            self._servers.pop(kind).close()
        if kind not in self._servers:
            self._servers[kind] = _Server(kind)
        log = self.store.log_path(spec["key"])
        request: dict[str, Any] = {"spec": spec, "log": str(log.resolve()), "timeout": spec.get("timeout")}
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            request["fresh"] = None
            if fresh:
                place = self.store.root / "tmp" / f"{uuid.uuid4().hex}.spec.json"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(json.dumps(spec))
                request["fresh"] = python("bench.run.worker", str(place))
                request["environment"] = dict(os.environ)
        except OSError as error:
            raise StoreError(f"cannot be written ({error.strerror})", where=str(self.store.root)) from error
        future = self._servers[kind].submit(request)
        if fresh:
            future.add_done_callback(lambda _: place.unlink(missing_ok=True))
        return future

    def cancel(self, future: Future[Exit]) -> None:
        for server in self._servers.values():
            server.cancel(future)

    def shutdown(self) -> None:
        for server in self._servers.values():
            server.close()
        self._servers.clear()


class _Server:
    """One `bench.run.engines.zygote`. A thread reads its reports; starting does not wait for its imports."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._futures: dict[int, Future[Exit]] = {}
        self._number = 0
        self._lock = threading.Lock()
        self.process = subprocess.Popen(
            python("bench.run.engines.zygote", kind),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **ONE_THREAD, "CUDA_VISIBLE_DEVICES": "-1"},
        )
        self._ended = False
        self._error: str | None = None
        self._reader = threading.Thread(target=self._read, daemon=True, name=f"zygote-{kind}")
        self._reader.start()

    def submit(self, request: dict[str, Any]) -> Future[Exit]:
        future: Future[Exit] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            self._number += 1
            if self._ended:
                future.set_result(self._gone())
                return future
            self._futures[self._number] = future
            self._send({"id": self._number, **request})
        return future

    def cancel(self, future: Future[Exit]) -> None:
        with self._lock:
            for number, known in self._futures.items():
                if known is future:
                    self._send({"kill": number})

    def close(self) -> None:
        """End it and its children."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()

    def _send(self, request: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it is gone: `_read` says so
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as reports:
            for line in reports:
                report = json.loads(line)
                if "error" in report:
                    self._error = report["error"]
                elif "id" in report:
                    with self._lock:
                        future = self._futures.pop(report["id"])
                    end = Exit(report["code"], report["signal"], report["timeout"])
                    if end.signal == signal.SIGKILL and not end.timeout:
                        _later(future, end)
                    else:
                        future.set_result(end)
        with self._lock:
            self._ended = True
            left = list(self._futures.values())
            self._futures.clear()
        for future in left:
            if self._error:
                future.set_result(self._gone())
            else:
                _later(future, self._gone())

    @property
    def lost(self) -> bool:
        """Whether it ended although it had worked."""
        return self._ended and self._error is None

    def _gone(self) -> Exit:
        if self._error:
            return Exit(None, error=f"{self.kind} cannot be used here: {self._error}")
        return Exit(None, error=f"the process server for {self.kind} tasks was killed")


def _later(future: Future[Exit], end: Exit) -> None:
    """Whoever kills a run may kill this process next: then the task has not failed."""
    timer = threading.Timer(1.0, future.set_result, (end,))
    timer.daemon = True
    timer.start()


def python(module: str, *arguments: str) -> list[str]:
    """Command line of a fresh interpreter that runs one of our modules as this one would."""
    path = [str(Path(entry).resolve()) for entry in sys.path]
    return [sys.executable, "-P", "-c", _BOOT, json.dumps(path), module, *arguments]
