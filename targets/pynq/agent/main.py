"""Measures a job on a PYNQ board. It comes as one file: copy it to the board and run it there.

    sudo -E python3 agent.pyz job.tar.gz --out result.tar.gz
    python3 agent.pyz --check

It loads each overlay of the job,
compares its outputs with the C simulation bit for bit, and only then times it; numbers that cannot be true
are refused, with the reason in the result. Every wait has a time limit. Each item is written when it is
finished: run it again on the same job and it goes on with what is missing.

Exit codes: 0 all items ok, 1 some are not, 2 the job cannot be run, 3 another job is running.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .drivers import Board, import_pynq
from .items import run_item
from .job import VERSION, Held, Job, JobError, Skip, digest_of, need_space, read_text, said, unpack
from .lock import Lock, default_lock, now_utc
from .measurement import Measurement
from .power import HWMON, find_rails
from .results import TIMES, Outcome, Results, plain
from .tflite import import_interpreter

OK, SOME_FAILED, BAD_JOB, LOCKED = 0, 1, 2, 3
#: an item that took the board down that often is given up
MAX_ATTEMPTS = 3


def say(text: str) -> None:
    """Progress; nobody has to listen (the connection may be gone)."""
    with contextlib.suppress(OSError, ValueError):
        print(text, flush=True)


def facts() -> dict[str, Any]:
    """What runs here."""
    try:
        from importlib.metadata import version  # Python 3.8 has it

        pynq_version: str | None = version("pynq")
    except Exception:
        pynq_version = None
    name = ""
    for line in read_text(Path("/etc/os-release")).splitlines():
        if line.startswith("PRETTY_NAME="):
            name = line.partition("=")[2].strip('"')
    return {
        "version": VERSION,
        "sha256": _digest(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pynq": pynq_version,
        "os": name,
        "kernel": platform.release(),
        "machine": platform.machine(),
    }


def _digest() -> str:
    """Of the archive that this runs from; of the modules, where they lie in a folder."""
    here = Path(__file__).resolve()
    for folder in here.parents:
        if folder.is_file():
            return digest_of(folder)
    modules = sorted(here.parent.glob("*.py"))
    return hashlib.sha256("".join(digest_of(module) for module in modules).encode()).hexdigest()


def check(lock: Path, hwmon: Path) -> dict[str, Any]:
    """What a board has and lacks, as one JSON object."""
    found: dict[str, Any] = dict(facts())
    found.update(
        root=os.geteuid() == 0,
        XILINX_XRT=os.environ.get("XILINX_XRT"),
        board=os.environ.get("BOARD")
        or read_text(Path("/proc/device-tree/chosen/pynq_board")).strip("\0")
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
        found["problems"].append(said(error))
    try:
        pynq = import_pynq()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not pynq.Device.devices:
                raise Skip("pynq finds no device: run as root with XILINX_XRT set (source xrt_setup.sh)")
            found["clock_mhz"] = float(pynq.Clocks.fclk0_mhz)
    except Exception as error:
        found["problems"].append(said(error))
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
    if read_text(whole) != sha:
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
        need_space(work, 0)
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
            result = run_item(Measurement(job, item, board, work, results, hwmon, Outcome()))
        results.value["board"]["part"] = result.get("part") or results.value["board"]["part"]
        results.end(name, result)
        said = f" ({result['reason']})" if result["reason"] else ""
        say(f"{number + 1}/{len(job.items)} {name}: {result['status']}{said}")
    results.value["finished"] = now_utc()
    results.write()
    results.pack(Path(options.out).resolve())
    good = all(results.items[item["id"]]["status"] == "ok" for item in job.items)
    return OK if good else SOME_FAILED


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="agent.pyz", description="Measures a job on a PYNQ board.")
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
        print(json.dumps(plain(check(lock, Path(options.hwmon or HWMON))), indent=1))
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
