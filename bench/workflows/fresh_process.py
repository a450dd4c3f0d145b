"""A fresh process for one round, or for a first look at one file: `python -m bench.workflows.fresh_process`.

A JSON object comes in on stdin and another goes out on stdout. The parent sleeps in a blocking read
meanwhile; nothing of it runs beside the measurement.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.cells import Protocol
from bench.core.packed import pack, unpack
from bench.errors import BenchError

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_TAIL = 400


class ProcessDied(BenchError):
    """The process gave no result: it crashed, or ran out of its time."""


def ask(task: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
    """Run one task in a process of its own and give its result.

    Raises:
        ProcessDied: there is no result; the message holds the end of what it wrote to stderr.
    """
    paths = [str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        # -P: a folder named `bench` where the user stands must not be taken for this package.
        done = subprocess.run(
            [sys.executable, "-P", "-m", "bench.workflows.fresh_process"],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
    except subprocess.TimeoutExpired as error:
        raise ProcessDied(f"no result within {timeout:g} s") from error
    if done.returncode == 0:
        try:
            result: dict[str, Any] = json.loads(done.stdout)
            return result
        except ValueError:
            pass
    tail = " ".join(done.stderr.split())[-_TAIL:]
    raise ProcessDied(f"its process ended with {_ending(done.returncode)}: {tail or 'no message'}")


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def pack_floats(x: np.ndarray) -> dict[str, Any]:
    """A float32 array as JSON, bit for bit."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).ravel()
    return {"shape": list(x.shape), "bits": pack(bits)}


def unpack_floats(packed: Mapping[str, Any]) -> np.ndarray:
    """The array that `pack_floats` was given."""
    return unpack(packed["bits"]).view(np.float32).reshape(packed["shape"])


def do_round(task: Mapping[str, Any]) -> dict[str, Any]:
    """`result` of a measure record: {entries: {name: {file, input}}, reference, options, protocol, round}."""
    from bench.core.registry import TARGETS
    from bench.timing import machine
    from bench.timing.rounds import Opener, run_round

    target = TARGETS.get(task["target"])
    options = target.Options(**task["options"])

    def opener(file: str) -> Opener:
        with suppress(BenchError):  # told again, and kept, when its turn comes
            target.check(Path(file))
        return lambda: target.open(Path(file), options)

    before = machine.state()
    result = run_round(
        {name: opener(entry["file"]) for name, entry in task["entries"].items()},
        {name: unpack_floats(entry["input"]) for name, entry in task["entries"].items()},
        Protocol(**task["protocol"]),
        task["round"],
        target.scopes,
        reference=task["reference"],
    )
    return {
        "machine": machine.identity(),
        "state_before": before,
        "state_after": machine.state(),
        **result,
    }


def do_inspect(task: Mapping[str, Any]) -> dict[str, Any]:
    """{file, data} -> {runtime, score|null, error|null, score_error|null, free: [axis of the input]}."""
    from bench.core.registry import TARGETS
    from bench.scoring.accuracy import evaluate
    from models.base import Split
    from models.datasets.from_file import fit, load

    found: dict[str, Any] = {"runtime": None, "score": None, "error": None, "score_error": None, "free": []}
    target = TARGETS.get(task["target"])
    try:
        runner = target.open(Path(task["file"]), target.Options(**task["options"]))
    except BenchError as error:
        return {**found, "error": str(error)}
    found["runtime"] = runner.describe()
    found["free"] = _free_axes(runner)
    if task["data"]:
        try:
            data = load(Path(task["data"]))
            found["score"] = evaluate(runner, Split(fit(data.x, found["runtime"]["input"]["shape"]), data.y))
        except BenchError as error:
            found["score_error"] = str(error)
    runner.close()
    return found


def _free_axes(runner: Any) -> list[int]:
    """Axes of a .tflite file's input that may have any length, the batch aside: the runtime takes 1."""
    interpreter = getattr(runner, "_interpreter", None)
    if interpreter is None:
        return []
    signature = interpreter.get_input_details()[0].get("shape_signature", ())
    return [axis for axis, length in enumerate(signature) if axis and int(length) < 0]


def main() -> int:
    """Read a task, do it, write its result."""
    task = json.loads(sys.stdin.read())
    # Runtimes write to stdout as they please: from here on that is stderr, and the result alone
    # goes where stdout went.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    result = {"round": do_round, "inspect": do_inspect}[task["kind"]](task)
    with out:
        json.dump(result, out, allow_nan=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
