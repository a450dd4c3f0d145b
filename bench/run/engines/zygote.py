"""A process that forks one child per task, so that TensorFlow's import is paid once.

Started by `.local` as `python -m bench.run.engines.zygote tensorflow|plain`. Reads one JSON request a line
from its standard input and writes one JSON report a line to its standard output. It never runs an operation
itself: after that, a fork would not be safe. When its input ends (its parent is gone, by kill -9 too) it ends
all children and itself.

Requests: {"id", "spec", "log", "timeout", "fresh", "environment"} or {"kill": id}. Reports:
{"ready": true} or {"error"} once, then {"id", "code", "signal", "timeout"}.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import sys
import threading
import time
import warnings
from dataclasses import dataclass
from typing import Any

PR_SET_PDEATHSIG = 1


@dataclass
class Child:
    id: int
    deadline: float
    timed_out: bool = False


class Zygote:
    def __init__(self, reports: int) -> None:
        self.reports = reports
        self.children: dict[int, Child] = {}
        self.wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        os.set_blocking(self.wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    def serve(self, requests: int) -> None:
        pending = b""
        while True:
            ready, _, _ = select.select([requests, self.wake], [], [], self._until_deadline())
            if self.wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.wake, 4096)
            self._reap()
            self._end_overdue()
            if requests in ready:
                data = os.read(requests, 1 << 16)
                if not data:
                    return self._end_all()
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    self._request(json.loads(line), requests)

    def _request(self, request: dict[str, Any], requests: int) -> None:
        if "kill" in request:
            for pid, child in self.children.items():
                if child.id == request["kill"]:
                    end(pid)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 warns of any fork beside threads
            pid = os.fork()
        if pid == 0:
            self._child(request, requests)
        deadline = time.monotonic() + request["timeout"] if request["timeout"] else float("inf")
        self.children[pid] = Child(request["id"], deadline)

    def _child(self, request: dict[str, Any], requests: int) -> None:
        """Never returns."""
        code = 70
        try:
            server = os.getppid()
            os.setsid()  # a process group of its own: a timeout ends its children too
            die_with_parent(server)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            for handle in (requests, self.reports, self.wake, self._waker):
                os.close(handle)
            log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            null = os.open(os.devnull, os.O_RDONLY)
            for source, place in ((null, 0), (log, 1), (log, 2)):
                os.dup2(source, place)
            if request["fresh"]:
                os.execve(sys.executable, request["fresh"], request["environment"])
            from bench.run import worker

            code = worker.run(request["spec"])
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        while self.children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            child = self.children.pop(pid, None)
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)  # what it started and left behind
            if child is not None:
                killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
                code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
                self.report({"id": child.id, "code": code, "signal": killed, "timeout": child.timed_out})

    def _end_overdue(self) -> None:
        for pid, child in self.children.items():
            if time.monotonic() >= child.deadline:
                child.timed_out, child.deadline = True, float("inf")
                end(pid)

    def _until_deadline(self) -> float | None:
        first = min((child.deadline for child in self.children.values()), default=float("inf"))
        return None if first == float("inf") else max(0.0, first - time.monotonic())

    def _end_all(self) -> None:
        for pid in self.children:
            end(pid)

    def report(self, report: dict[str, Any]) -> None:
        os.write(self.reports, json.dumps(report).encode() + b"\n")


def end(pid: int) -> None:
    """Kill a child's process group, or the child if it has none yet."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    except PermissionError:
        pass


def die_with_parent(parent: int) -> None:
    """Have this process killed when its parent ends, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:

        def watch() -> None:
            while os.getppid() == parent:
                time.sleep(0.5)
            os.killpg(0, signal.SIGKILL)

        threading.Thread(target=watch, daemon=True).start()
    if os.getppid() != parent:  # it ended before the line above
        os._exit(70)


def preload(what: str) -> None:
    """Import what tasks need. No operation may run and no thread start."""
    from bench.core import registry
    from bench.core import versions as fingerprint
    from bench.formats import keras_env
    from bench.scoring import accuracy  # noqa: F401

    if what not in ("plain", "tensorflow"):
        raise ValueError(f"no such kind of server: {what}")
    if what == "tensorflow":
        keras_env.load()
        if fingerprint.installed("tensorflow_model_optimization"):
            keras_env.load_tfmot()
    modules = {"bench.run.worker", "ai_edge_litert.interpreter", "ai_edge_litert.schema_py_generated"}
    for names in (registry.MODELS, registry.DATASETS, registry.STEPS, registry.TARGETS):
        modules.update(names.place(name).partition(":")[0] for name in names.names())
    for module in sorted(modules):
        # What is broken is the error of the task that needs it.
        with contextlib.suppress(Exception):
            importlib.import_module(module)


def main(arguments: list[str]) -> None:
    requests, reports = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for place in (0, 1):  # libraries print to standard output
        os.dup2(null, place)
    zygote = Zygote(reports)
    try:
        preload(arguments[0])
    except Exception as error:
        zygote.report({"error": f"{type(error).__name__}: {error}"})
        return
    # A child's collections leave alone what is there now: below TensorFlow they take tenths of a second.
    gc.collect()
    gc.freeze()
    zygote.report({"ready": True})
    zygote.serve(requests)


if __name__ == "__main__":
    main(sys.argv[1:])
