"""Runs one task and writes its record: `python -m bench.run.worker SPEC.json`, or `run(spec)` in a fork.

A spec is plain JSON: {kind, key, store, task, inputs: {build key: digest|null}}. What comes of the
task travels through the store; the exit code says only whether a record was written.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.records import Record
from bench.core.results import BuildResult, parsed
from bench.errors import BenchError, CheckFailed, StoreError, Unavailable
from bench.store.store import Store

if TYPE_CHECKING:
    from models.base import Data, Dataset

#: exit codes: a record was written; the store could not be written
DONE, NO_STORE = 0, 74
#: errors of a disk that is full, or that has gone
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
#: artifacts loaded for `end_to_end` take turns with so many inputs
SAMPLES = 32

Spec = dict[str, Any]


def run(spec: Spec) -> int:
    """Run a task and write its record; returns the exit code of the process."""
    store = Store(spec["store"])
    record = Record(spec["kind"], spec["key"], "ok", spec["task"], inputs=spec["inputs"])

    def work() -> dict[str, Any]:
        with ExitStack() as stack:
            return _TASKS[spec["kind"]](spec, store, record, stack)

    try:
        fill(record, work)
        try:
            store.write(record)
        except (ValueError, TypeError) as error:
            record.result = {}
            _fail(record, f"the result is not JSON: {error}")
            store.write(record)
        if record.traceback:
            print(record.traceback, file=sys.stderr, flush=True)
    except StoreError as error:
        print(f"StoreError: {error}", file=sys.stderr, flush=True)
        return NO_STORE
    return DONE


def fill(record: Record, work: Callable[[], dict[str, Any]]) -> None:
    """Do a task's work, and put what came of it into its record, errors too.

    Raises:
        StoreError: the results folder cannot be used: nothing is known of the task.
    """
    record.started, clock = now(), time.monotonic()
    try:
        record.result = work()
        parsed(record.kind, record.result)  # a result that reports cannot rely on is an error of the task
    except StoreError:
        raise
    except Unavailable as error:
        record.status, record.reason = "skipped", str(error)
    except BenchError as error:
        _fail(record, str(error))
    except MemoryError:
        _fail(record, "out of memory")
    except OSError as error:
        if error.errno in _FULL:  # the machine's fault, and no outcome of the task
            where = str(error.filename or record.key)
            raise StoreError(f"cannot be written ({error.strerror})", where=where) from error
        _fail(record, f"{type(error).__name__}: {error}")
    except Exception as error:
        _fail(record, f"{type(error).__name__}: {error}")
    record.seconds = time.monotonic() - clock
    record.peak_rss = _peak_rss()
    record.environment |= {"python": sys.version.split()[0]}


def now() -> str:
    """UTC, such that text order is time order."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _fail(record: Record, reason: str) -> None:
    record.status, record.reason = "failed", reason
    record.traceback = traceback.format_exc()[-8000:]


def _build(spec: Spec, store: Store, record: Record, stack: ExitStack) -> dict[str, Any]:
    from bench.core import versions as fingerprint
    from bench.core.registry import DATASETS, MODELS, STEPS
    from bench.core.step import StepContext

    task = spec["task"]
    step = STEPS.get(task["step"])
    record.environment["versions"] = fingerprint.versions(step.needs)
    out = store.temporary()
    stack.callback(shutil.rmtree, out, ignore_errors=True)
    context = StepContext(
        model=MODELS.get(task["model"]),
        params=step.Params.model_validate(task["params"]),
        seed=task["seed"],
        parent=_artifact(spec, store, task["parent"]),
        teacher=_artifact(spec, store, task["teacher"]),
        out=out,
    )
    outcome = step.run(context)
    if "data" in vars(context):  # loaded by the step
        record.environment["data"] = _told(DATASETS.get(context.model.dataset), context.data)
    checks = [{"name": c.name, "passed": bool(c.passed), "detail": c.detail} for c in outcome.checks]
    broken = [check for check in checks if not check["passed"]]
    if broken:
        # Kept without an artifact: what was found helps to see why the label is not true.
        record.result = {"facts": outcome.facts, "checks": checks}
        raise CheckFailed("; ".join(f"check {check['name']!r} failed: {check['detail']}" for check in broken))
    return {
        "artifact": store.add_artifact(out),
        "format": step.gives,
        "facts": outcome.facts,
        "checks": checks,
    }


def _told(dataset: Dataset, data: Data) -> dict[str, Any]:
    return {"source": data.source, "real": dataset.real}


def _artifact(spec: Spec, store: Store, key: str | None) -> Any:
    from bench.core.step import Artifact

    if key is None:
        return None
    record = store.read("build", key)
    path = store.input(key, spec["inputs"])
    made = record.build if record is not None else BuildResult()
    return Artifact(path, made.format, path.name, made.facts)


def _evaluate(spec: Spec, store: Store, record: Record, stack: ExitStack) -> dict[str, Any]:
    from bench.core import versions as fingerprint
    from bench.core.registry import DATASETS, MODELS, TARGETS
    from bench.scoring.accuracy import evaluate

    task = spec["task"]
    target = TARGETS.get(task["target"])
    record.environment["versions"] = fingerprint.versions(target.modules)
    if target.board(task["options"]) is not None:
        from bench.run.on_board import run_on_board

        return run_on_board(spec, store, record)
    runner = target.open(
        store.input(task["artifact"], spec["inputs"]), target.Options.model_validate(task["options"])
    )
    stack.callback(runner.close)
    dataset = DATASETS.get(MODELS.get(task["model"]).dataset)
    data = dataset.load()
    record.environment["data"] = _told(dataset, data)
    result = dict(evaluate(runner, data))
    agreement = runner.agreement()
    return {**result, "agreement": agreement} if agreement else result


def _measure(spec: Spec, store: Store, record: Record, stack: ExitStack) -> dict[str, Any]:
    from functools import partial

    from bench.core import versions as fingerprint
    from bench.core.cells import Protocol
    from bench.core.registry import DATASETS, MODELS, TARGETS
    from bench.timing import machine
    from bench.timing.rounds import run_round

    task = spec["task"]
    target = TARGETS.get(task["target"])
    options = target.Options.model_validate(task["options"])
    record.environment["versions"] = fingerprint.versions(target.modules)
    present = {e["name"]: e["artifact"] for e in task["entries"] if spec["inputs"].get(e["artifact"])}
    paths = {name: store.input(key, spec["inputs"]) for name, key in present.items()}
    for path in paths.values():
        with suppress(BenchError):  # told again, and kept, when its turn comes
            target.check(path)
    openers = {name: partial(target.open, path, options) for name, path in paths.items()}
    inputs = DATASETS.get(MODELS.get(task["model"]).dataset).load().test.x[:SAMPLES]
    before = machine.state()
    result = run_round(openers, inputs, Protocol(**task["protocol"]), task["round"], target.scopes)
    return {**result, "machine": machine.identity(), "state_before": before, "state_after": machine.state()}


_TASKS = {"build": _build, "evaluate": _evaluate, "measure": _measure}


def _peak_rss() -> int:
    """Bytes. Of a forked task this includes the pages shared with its server."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(arguments: list[str]) -> None:
    """Run the spec in file `arguments[0]`, and end the process without its libraries' clean-up,
    which could still crash after the record is written."""
    code = run(json.loads(Path(arguments[0]).read_text()))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
