"""Cells that run on boards: an artifact becomes an item of a job, the agent's answer the record's result.

A direct run sends a job of one item; `bench board pack` writes one of many. Both go through `source_of` and
`result_of`, and so give the same records.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import ArtifactError, StepError, Unavailable
from bench.registry import DATASETS, MODELS, TARGETS
from bench.scoring.accuracy import evaluate
from bench.scoring.agreement import compare
from bench.store import Store
from models.base import Split
from targets.base import Runner

if TYPE_CHECKING:
    from bench.records import Record
    from targets.pynq.jobs import ItemSource
    from targets.pynq.result_file import ItemResult, ResultFile
    from targets.pynq.results import Result

#: the same job whenever it is made, so that a board knows it again
CREATED = ""
#: seconds of a task's limit that are left for what comes after the board
AROUND = 60.0


def run_on_board(spec: Mapping[str, Any], store: Store, record: Record) -> dict[str, Any]:
    """The result of an evaluate task whose target is on a board. Files of the run stay in `boards/`.

    Raises:
        Unavailable: the board cannot run it. BoardError: the board failed; what it had finished is kept
            there, and the next try goes on with it. StepError: the item failed; what is known of it is in
            `record.result`.
    """
    from targets.pynq.inventory import get
    from targets.pynq.items import item_id
    from targets.pynq.jobs import write_job
    from targets.pynq.protocols import protocol
    from targets.pynq.transport import Remote

    task, key = spec["task"], str(spec["key"])
    board = get(task["options"]["board"])
    name = item_id(f"{task['model']}/{task['target']}/seed{task['seed']}", key)
    split = _split(task["model"])
    item = source_of(name, task, spec["inputs"], store, split)
    kept = store.root / "boards"
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-job-") as folder:
        job = write_job(
            Path(folder) / "job.tar.gz",
            [item],
            board=board.board,
            protocol=protocol(task["options"]["preset"]),
            emulated=board.emulated,
            created=CREATED,
        )
        remote = Remote(board, say=lambda line: print(line, flush=True))
        done = remote.run(job, kept / f"{key}.tar.gz", seconds=max(AROUND, spec["timeout"] - AROUND))
    if name not in done.result.file.items:
        where = f"board {board.name}"
        raise StepError(f"it had not finished after {spec['timeout']:g} s", where=where)
    return result_of(name, task, spec["inputs"], store, split, done.result, record)


def source_of(
    name: str, task: Mapping[str, Any], inputs: Mapping[str, str | None], store: Store, split: Split
) -> ItemSource:
    """The artifact of a task as an item of a job.

    Raises:
        ArtifactError: it is gone, or not what its format says.
    """
    from targets.pynq import items

    artifact = artifact_of(task["artifact"], inputs, store)
    x, labels = split.x, np.ascontiguousarray(split.y, dtype=np.int64)
    if TARGETS.get(task["target"]).format == "tflite":
        return items.tflite(name, artifact, x, labels, _host_outputs(artifact, x))
    csim = _csim(artifact, task, inputs, store)
    expected = csim.predict(x)
    if task.get("reference") is None:
        return items.emulated_overlay(name, artifact, x, labels, expected)
    built = store.read("build", task["artifact"])
    facts = built.result.get("facts", {}) if built is not None else {}
    return items.built_overlay(
        name, artifact, facts.get("hardware") or {}, csim.simulator, x, labels, expected
    )


def result_of(
    name: str,
    task: Mapping[str, Any],
    inputs: Mapping[str, str | None],
    store: Store,
    split: Split,
    found: Result,
    record: Record,
) -> dict[str, Any]:
    """`result` of the evaluate record: accuracy by the board's own outputs, the chain of agreement, and
    under `board` what was measured.

    Raises:
        Unavailable: the board cannot run it. StepError: it failed; `record.result` has what is known.
    """
    item = found.file.items[name]
    told = board_facts(found.file, item)
    record.environment["agent"] = told["agent"]
    if item.status == "skipped":
        raise Unavailable(str(item.reason), where=f"board {found.file.board.name}")
    outputs = item.agreement.outputs if item.agreement is not None else None
    if item.status != "ok" or outputs is None:
        record.result = {"board": told}
        raise StepError(item.reason or "it gave no outputs", where=f"board {found.file.board.name}")
    given = np.asarray(found.samples[outputs], np.float32).reshape(len(split.y), -1)
    scored = evaluate(_Answers(given, found.file), split)
    links = _links(task, inputs, store, split.x, given)
    return {**scored, "agreement": links, "board": told}


def board_facts(file: ResultFile, item: ItemResult) -> dict[str, Any]:
    """What a board says of an item, JSON values, without the samples of single calls."""
    told = item.model_dump(
        mode="json",
        include={
            *("fabric_clock_mhz", "phases", "register_accesses", "throughput", "fit", "fit_execute"),
            *("loopback", "windows", "energy", "sanity", "refused"),
        },
    )
    for phase in told["phases"].values():
        phase.pop("samples", None)
    return {
        "origin": file.origin,
        "board": file.board.model_dump(mode="json"),
        "agent": file.agent.model_dump(mode="json"),
        **told,
    }


def artifact_of(key: str, inputs: Mapping[str, str | None], store: Store) -> Path:
    digest = inputs.get(key)
    path = store.artifact(digest) if digest else None
    if path is None:
        raise ArtifactError("the artifact is gone or damaged", where=str(digest), mend="Run the sweep again.")
    return path


def _split(model: str) -> Split:
    return DATASETS.get(MODELS.get(model).dataset).load().test


def _csim(artifact: Path, task: Mapping[str, Any], inputs: Mapping[str, str | None], store: Store) -> Any:
    """The C simulation that an overlay must agree with."""
    from targets.fpga.csim import CsimRunner

    reference = task.get("reference")
    return CsimRunner(artifact_of(reference, inputs, store) if reference else artifact)


def _host_outputs(artifact: Path, x: np.ndarray) -> np.ndarray | None:
    """Those of the host's TFLite runtime, where there is one."""
    target = TARGETS.get("tflite")
    if target.unavailable():
        return None
    runner = target.open(artifact, target.Options())
    try:
        return np.asarray(runner.predict(x), np.float32)
    finally:
        runner.close()


def _links(
    task: Mapping[str, Any],
    inputs: Mapping[str, str | None],
    store: Store,
    x: np.ndarray,
    given: np.ndarray,
) -> list[dict[str, Any]]:
    """The chain of agreement, the board's outputs against the last before it."""
    artifact = artifact_of(task["artifact"], inputs, store)
    if TARGETS.get(task["target"]).format == "tflite":
        before, expected, chain = "tflite", _host_outputs(artifact, x), []
        if expected is None:
            return []
    else:
        csim = _csim(artifact, task, inputs, store)
        before, expected, chain = "csim", csim.predict(x), csim.agreement()
    last = compare(expected, given).to_json()
    return [*chain, {"of": "board", "against": before, **last, "first_layer": None}]


class _Answers(Runner):
    """What a board gave for the whole test set."""

    def __init__(self, outputs: np.ndarray, file: ResultFile) -> None:
        self._outputs, self._file = outputs, file

    def describe(self) -> dict[str, Any]:
        board, agent = self._file.board, self._file.agent
        return {
            "runtime": "emulated PYNQ board" if board.emulated else "PYNQ board",
            "version": agent.pynq,
            "part": board.part,
            "python": agent.python,
        }

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._outputs

    def prepare(self, x: np.ndarray) -> None:
        raise NotImplementedError("what a board gave is not run again")

    invoke = end_to_end = prepare  # type: ignore[assignment]
