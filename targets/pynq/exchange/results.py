"""Result archives of boards: `result/result.json` and `result/samples/*.npy`. All of it untrusted.

What the numbers say of each other is checked: statistics against their samples, predictions against outputs,
and against the job, where that is at hand: outputs with the C simulation's, errors with the labels.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.errors import ArtifactError
from targets.pynq.exchange import archive
from targets.pynq.exchange.archive import read_archive, read_array
from targets.pynq.exchange.job_file import MAX_JSON, Item
from targets.pynq.exchange.jobs import JobFile
from targets.pynq.exchange.result_file import (
    SAMPLE,
    Accuracy,
    Agreement,
    Energy,
    ItemResult,
    Phase,
    ResultFile,
    parse_result,
)

RESULT = "result/result.json"
_SAMPLE = re.compile("result/" + SAMPLE.strip("^$"))
#: bytes of all arrays of a result together
MAX_SAMPLES = 1 << 30
_MEND = "Fetch it again; if it stays so, run the job again."


@dataclass(frozen=True)
class Result:
    """A result archive, checked.

    Attributes:
        file: what it says. samples: arrays by name in the archive.
        missing: items of the job that it has nothing of (the job was interrupted); None: no job to compare.
    """

    path: Path
    file: ResultFile
    samples: Mapping[str, np.ndarray]
    missing: tuple[str, ...] | None


def read_result(path: Path, job: JobFile | None = None) -> Result:
    """Read and check a result archive.

    Args:
        job: what it must be the result of; None: it is only checked in itself.

    Raises:
        ArtifactError: cut off, damaged, forged, of another job, or its numbers contradict each other.
    """
    where = str(path)
    text, samples, total = None, dict[str, np.ndarray](), 0
    for name, content in read_archive(path, _wanted):
        if name == RESULT:
            text = content
            continue
        total += len(content)
        if total > MAX_SAMPLES:
            raise ArtifactError(f"more than {MAX_SAMPLES >> 20:,} MB of samples", where=where, mend=_MEND)
        short = name.removeprefix("result/")
        samples[short] = read_array(content, f"{where}: {short}")
    if text is None:
        raise ArtifactError(f"no result: {RESULT} is not in it", where=where, mend="Give a result.tar.gz.")
    found = parse_result(text, where)
    if job is not None:
        _of_job(found, job, where)
    for name, item in found.items.items():
        try:
            _item(item, samples, job.job.item(name) if job else None, job)
        except _Contradiction as error:
            raise ArtifactError(f"{name}: {error}", where=where, mend=_MEND) from error
    missing = None
    if job is not None:
        missing = tuple(item.id for item in job.job.items if item.id not in found.items)
        if found.finished is not None and missing:
            raise ArtifactError(f"it says it is finished, but lacks {missing[0]}", where=where, mend=_MEND)
    return Result(path, found, samples, missing)


def alone(path: Path, items: Iterable[str]) -> dict[str, dict[str, bytes]]:
    """What an archive with one item only would hold, for some items of a checked one: contents by name."""
    members = dict(read_archive(path, _wanted))
    value = json.loads(members[RESULT])
    found = {}
    for name in items:
        item = value["items"][name]
        samples = [
            f"result/{sample}" for sample in ItemResult.model_validate_json(json.dumps(item)).samples()
        ]
        text = json.dumps({**value, "items": {name: item}}, indent=1).encode()
        found[name] = {RESULT: text, **{sample: members[sample] for sample in samples}}
    return found


def _wanted(name: str) -> int | None:
    if name == RESULT:
        return MAX_JSON
    return archive.MAX_FILE if _SAMPLE.fullmatch(name) else None


def _of_job(found: ResultFile, job: JobFile, where: str) -> None:
    if found.job != job.job.job:
        raise ArtifactError(
            f"it is the result of job {found.job[:12]}, not of {job.job.job[:12]}",
            where=where,
            mend="Give the result of this job, or the job of this result.",
        )
    if found.board.emulated != job.job.emulated:
        kinds = {True: "the emulated board", False: "a real board"}
        raise ArtifactError(
            f"the job is for {kinds[job.job.emulated]}, the result is from {kinds[found.board.emulated]}",
            where=where,
            mend=_MEND,
        )
    known = {item.id for item in job.job.items}
    if foreign := sorted(set(found.items) - known):
        raise ArtifactError(f"the job has no item {foreign[0]}", where=where, mend=_MEND)


class _Contradiction(Exception):
    """What of an item does not fit together."""


def _item(
    item: ItemResult, samples: Mapping[str, np.ndarray], asked: Item | None, job: JobFile | None
) -> None:
    for name in item.samples():
        if name not in samples:
            raise _Contradiction(f"{name} is missing")
    for name, phase in item.phases.items():
        if phase.samples is not None:
            _phase(name, phase, samples[phase.samples])
    data = job.job.data[asked.data] if job is not None and asked is not None else None
    rows = data.shape[0] if data is not None and data.shape else None
    labels = job.labels.get(asked.data) if job is not None and asked is not None else None
    outputs = None
    if item.agreement is not None:
        if item.agreement.outputs is not None:
            outputs = samples[item.agreement.outputs]
        wanted = job.expected.get(asked.expected or "") if job is not None and asked is not None else None
        _agreement(item.agreement, outputs, wanted, rows)
    if item.energy is not None:
        _energy(item.energy)
    if item.accuracy is not None:
        _accuracy(item.accuracy, samples, outputs, labels, rows)


def _agreement(
    agreement: Agreement, outputs: np.ndarray | None, wanted: np.ndarray | None, rows: int | None
) -> None:
    if agreement.mismatches > agreement.n or agreement.bit_exact != (agreement.mismatches == 0):
        raise _Contradiction(f"{agreement.mismatches} of {agreement.n} outputs differ, bit exact or not")
    if rows is not None and agreement.frames not in (None, rows):
        raise _Contradiction(f"{agreement.frames} frames were compared, the job has {rows}")
    if outputs is None or wanted is None:
        return
    # as the agent compares: in the type that came out of the kernel
    if outputs.size != wanted.size or outputs.dtype.kind == "b":
        raise _Contradiction(f"{outputs.size} outputs, the job expects {wanted.size}")
    with np.errstate(over="ignore"):
        differ = outputs.reshape(-1) != wanted.reshape(-1).astype(outputs.dtype)
    if (found := int(np.count_nonzero(differ))) != agreement.mismatches or agreement.n != outputs.size:
        raise _Contradiction(
            f"{agreement.mismatches} outputs differ, by the outputs themselves it is {found}"
        )


def _energy(energy: Energy) -> None:
    """Totals, counts and the idle power against each other."""
    if foreign := sorted(set(energy.total_of) - set(energy.rails)):
        raise _Contradiction(f"its energy is of rail {foreign[0]}, which it has not")
    said = (
        ("J", energy.total_j, energy.total_j_per_inference),
        ("J without idle", energy.net_j, energy.net_j_per_inference),
    )
    for what, total, each in said:
        if total is not None and each is not None and energy.inferences is not None:
            found = total / max(1, energy.inferences)
            if not math.isclose(found, each, rel_tol=1e-6, abs_tol=1e-15):
                raise _Contradiction(f"{each:g} {what} an inference, by its total it is {found:g}")
    if energy.idle is not None and energy.seconds is not None and energy.net_j is not None:
        net = energy.total_j - energy.idle.watt * energy.seconds
        if not math.isclose(net, energy.net_j, rel_tol=1e-6, abs_tol=1e-9 * abs(energy.total_j)):
            raise _Contradiction(f"{energy.net_j:g} J without idle, by its idle power it is {net:g}")


def _accuracy(
    accuracy: Accuracy,
    samples: Mapping[str, np.ndarray],
    outputs: np.ndarray | None,
    labels: np.ndarray | None,
    rows: int | None,
) -> None:
    if (accuracy.errors or 0) > accuracy.n or rows not in (None, accuracy.n):
        raise _Contradiction(f"{accuracy.errors} errors of {accuracy.n}, the job has {rows} inputs")
    if accuracy.predictions is None:
        return
    predictions = samples[accuracy.predictions]
    if predictions.shape != (accuracy.n,) or predictions.dtype.kind not in "iu":
        raise _Contradiction("its predictions are not one class for each input")
    whole = outputs is not None and outputs.ndim == 2 and len(outputs) == accuracy.n and outputs.shape[1] > 1
    if outputs is not None and whole and not np.array_equal(outputs.argmax(axis=1), predictions):
        raise _Contradiction("its predictions are not those of its outputs")
    if labels is not None and accuracy.errors is not None:
        errors = int(np.count_nonzero(predictions != labels)) if len(labels) == len(predictions) else -1
        if errors != accuracy.errors:
            raise _Contradiction(f"{accuracy.errors} errors, by its predictions it is {errors}")


def _phase(name: str, phase: Phase, values: np.ndarray) -> None:
    if values.shape != (phase.n,) or values.dtype.kind != "f":
        raise _Contradiction(f"phase {name}: {phase.n} samples are announced, {list(values.shape)} are there")
    if not np.all(np.isfinite(values)) or values.min() < 0:
        raise _Contradiction(f"phase {name}: a sample is no time")
    ordered = np.sort(values)
    for part, told in ((0.0, phase.min), (0.5, phase.p50), (0.95, phase.p95), (0.99, phase.p99)):
        place = part * (phase.n - 1)  # between which two samples it must lie, however it was interpolated
        low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
        if not low * (1 - 1e-9) <= told <= high * (1 + 1e-9):
            raise _Contradiction(f"phase {name}: p{part * 100:g} is {told:g} s, by its samples {low:g} s")
