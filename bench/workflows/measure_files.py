"""`bench measure A.tflite B.tflite …`: size, accuracy and latency of files, without a sweep.

The same protocol as in a sweep (docs/latency.md): rounds in fresh processes, all files in shuffled
order within each, the first file twice (the A/A twin), ratios to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.cells import Protocol
from bench.core.packed import unpack
from bench.core.results import RoundResult
from bench.core.size import file_sizes
from bench.errors import ArtifactError, BenchError, DataError
from bench.timing.statistics import (
    Interval,
    LatencySummary,
    mcnemar,
    paired_difference,
    summarise,
    wilson,
)
from bench.workflows.fresh_process import ask, pack_floats
from models.datasets.from_file import fit, load

__all__ = ["PROTOCOL", "Accuracy", "FileResult", "MeasureResult", "measure_files"]

#: As many rounds as the full protocol, because intervals come from rounds; each as short as a quick one.
PROTOCOL = replace(Protocol.preset("quick"), name="measure", rounds=5)
#: different inputs that `end_to_end` takes in turn
INPUTS = 8
TARGET = "tflite"

#: (what is being done, steps done, steps in all)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Accuracy:
    """Share of n items classified rightly, with its Wilson interval, and paired against the first file.

    Attributes:
        difference: accuracy minus that of the reference on the same items, with Tango's interval;
            None for the reference itself. p: exact McNemar, two-sided.
    """

    n: int
    errors: int
    value: float
    low: float
    high: float
    difference: Interval | None = None
    p: float | None = None


@dataclass(frozen=True)
class FileResult:
    """What was found out about one file.

    Attributes:
        error: why it could not be measured at all; accuracy_error: why it has no accuracy.
        latency: scope -> summary, in seconds; empty where there is an error.
        runtime: what ran it: library, version, threads, operators, input and output types.
        free: axes of its input that may have any length; they were run at length 1.
    """

    name: str
    path: str
    bytes: int
    gzip_bytes: int
    error: str | None = None
    accuracy: Accuracy | None = None
    accuracy_error: str | None = None
    latency: dict[str, LatencySummary] = field(default_factory=dict)
    runtime: dict[str, Any] = field(default_factory=dict)
    free: tuple[int, ...] = ()


@dataclass(frozen=True)
class MeasureResult:
    """All files in the order given.

    Attributes:
        reference: name of the file that ratios refer to: the first that loads.
        rounds: the `result` of each round as in a measure record.
        failures: rounds that gave nothing, and why.
    """

    files: tuple[FileResult, ...]
    reference: str
    protocol: Protocol
    options: dict[str, Any]
    rounds: tuple[dict[str, Any], ...]
    failures: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether anything that was asked for is missing."""
        return bool(self.failures) or any(file.error or file.accuracy_error for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """Everything, JSON values only; durations of `files` in seconds, of `rounds` in ns."""
        return asdict(self)


def measure_files(
    files: Sequence[str | Path],
    *,
    threads: int = 1,
    xnnpack: bool = True,
    data: str | Path | None = None,
    protocol: Protocol = PROTOCOL,
    progress: Progress | None = None,
    timeout: float | None = None,
) -> MeasureResult:
    """Measure .tflite files against the first of them.

    Args:
        threads: of the interpreter.
        xnnpack: whether the XNNPACK delegate may be used.
        data: an .npz file with `x` and `y`; gives accuracy, and the inputs for latency.
            Without it inputs are uniform in [0, 1).
        progress: told before each step.
        timeout: seconds for each file: a round, which times them all in one process, may take as many
            times that.

    Raises:
        ArtifactError: a file does not exist, or none can be run. A damaged file among others only
            has `FileResult.error`.
        DataError: the data are damaged or fit none of the files.
        Unavailable: there is no TFLite runtime.
    """
    paths = [Path(file) for file in files]
    _check_paths(paths)
    split = load(Path(data)) if data is not None else None
    options = {"threads": threads, "xnnpack": xnnpack}
    _check_target(options)
    names = _names(paths)
    total = len(paths) + protocol.rounds
    tell = progress or (lambda text, done, of: None)

    found: dict[str, dict[str, Any]] = {}
    for done, (name, path) in enumerate(zip(names, paths, strict=True)):
        tell(f"reading {name}", done, total)
        found[name] = _inspect(path, options, data, timeout)
    usable = [name for name in names if not found[name]["error"]]
    if not usable:
        raise ArtifactError(
            "none of the files can be run\n  " + "\n  ".join(f["error"] for f in found.values())
        )
    if split is not None and not any(found[name]["score"] for name in usable):
        raise DataError(found[usable[0]]["score_error"])

    entries = {}
    for name, path in zip(names, paths, strict=True):
        if name in usable:
            shape = found[name]["runtime"]["input"]["shape"]
            scored = split is not None and found[name]["score"]
            x = fit(split.x[:INPUTS], shape) if split is not None and scored else _random(shape)
            entries[name] = {"file": str(path.resolve()), "input": pack_floats(x)}
    rounds, failures = [], []
    for number in range(protocol.rounds):
        tell(f"round {number + 1} of {protocol.rounds}", len(paths) + number, total)
        task = {
            "kind": "round",
            "target": TARGET,
            "options": options,
            "protocol": asdict(protocol),
            "round": number,
            "reference": usable[0],
            "entries": entries,
        }
        try:
            rounds.append(ask(task, None if timeout is None else timeout * len(entries)))
        except BenchError as error:
            failures.append(f"round {number + 1}: {error}")
    tell("done", total, total)

    latency = summarise([RoundResult.model_validate(one) for one in rounds])
    results = []
    for name, path in zip(names, paths, strict=True):
        reason = found[name]["error"]
        if not reason and protocol.rounds and name not in latency:
            reason = _round_error(name, rounds) or failures[0]
        results.append(
            FileResult(
                name=name,
                path=str(path),
                bytes=(sizes := file_sizes(path))["file_bytes"],
                gzip_bytes=sizes["gzip_bytes"],
                error=reason,
                accuracy=_accuracy(found[name]["score"], found[usable[0]]["score"], name == usable[0]),
                accuracy_error=found[name]["score_error"],
                latency=latency.get(name, {}),
                runtime=found[name]["runtime"] or {},
                free=tuple(found[name]["free"]),
            )
        )
    return MeasureResult(tuple(results), usable[0], protocol, options, tuple(rounds), tuple(failures))


def _check_paths(paths: Sequence[Path]) -> None:
    if not paths:
        raise ArtifactError("no files given")
    for path in paths:
        if not path.is_file():
            what = "is a folder, not a .tflite file" if path.is_dir() else "no such file"
            raise ArtifactError(what, where=str(path))


def _check_target(options: dict[str, Any]) -> None:
    from pydantic import ValidationError

    from bench.core.registry import TARGETS
    from bench.errors import ConfigError, Unavailable

    target = TARGETS.get(TARGET)
    reason = target.unavailable()
    if reason:
        raise Unavailable(reason)
    try:
        target.Options(**options)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(first["msg"], where=f"--{first['loc'][0]}") from error


#: characters of a folder's name that are shown of longer ones, such as digests
FOLDER = 10


def _names(paths: Sequence[Path]) -> list[str]:
    """Short and unique: as much of each path's end as tells it from the others, else with a number."""
    names: list[str] = []
    for path in paths:
        others = [other for other in paths if other != path]
        parts = 1
        while parts < len(path.parts) and any(o.parts[-parts:] == path.parts[-parts:] for o in others):
            parts += 1
        folders, file = path.parts[-parts:-1], path.name
        name = base = "/".join([*folders, file])
        short = "/".join([*(f if len(f) <= 2 * FOLDER else f[:FOLDER] + "…" for f in folders), file])
        if not any(o.parts[-1] == file and _begin(o, parts) == _begin(path, parts) for o in others):
            name = base = short
        count = 1
        while name in names:
            count += 1
            name = f"{base} #{count}"
        names.append(name)
    return names


def _begin(path: Path, parts: int) -> tuple[str, ...]:
    return tuple(folder[:FOLDER] for folder in path.parts[-parts:-1])


def _inspect(
    path: Path, options: dict[str, Any], data: str | Path | None, timeout: float | None
) -> dict[str, Any]:
    """What `process.do_inspect` gives; a file that kills its process has that as its error."""
    task = {
        "kind": "inspect",
        "target": TARGET,
        "file": str(path.resolve()),
        "options": options,
        "data": None if data is None else str(Path(data).resolve()),
    }
    try:
        return ask(task, timeout)
    except BenchError as error:
        return {"runtime": None, "score": None, "score_error": None, "error": f"{path}: {error}", "free": []}


def _random(shape: Sequence[int]) -> np.ndarray:
    return np.random.default_rng(0).random((INPUTS, *shape[1:]), np.float32)


def _round_error(name: str, rounds: Sequence[dict[str, Any]]) -> str | None:
    errors = [one["entries"][name]["error"] for one in rounds if one["entries"][name]["error"]]
    return str(errors[0]) if errors else None


def _accuracy(
    score: dict[str, Any] | None, reference: dict[str, Any] | None, is_reference: bool
) -> Accuracy | None:
    if not score:
        return None
    n, errors = int(score["n"]), int(score["errors"])
    accuracy = Accuracy(n, errors, 1 - errors / n, *wilson(n - errors, n))
    if is_reference or not reference:
        return accuracy
    mine, other = unpack(score["correct"]), unpack(reference["correct"])
    b, c = int(np.sum(other & ~mine)), int(np.sum(mine & ~other))
    return replace(accuracy, difference=paired_difference(b, c, n), p=mcnemar(b, c))
