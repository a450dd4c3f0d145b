"""Cells that run on boards: an artifact becomes a job of one item, the agent's answer the record's result."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.agreement import compare
from bench.core.registry import DATASETS, MODELS, TARGETS
from bench.errors import StepError, Unavailable
from bench.scoring.accuracy import evaluate
from bench.store.store import Store
from models.base import Split
from targets.base import Runner

if TYPE_CHECKING:
    from bench.core.records import Record
    from targets.fpga.hls.simulator import Simulator
    from targets.pynq.exchange.job_file import Job
    from targets.pynq.exchange.jobs import ItemSource
    from targets.pynq.exchange.result_file import ItemResult, ResultFile
    from targets.pynq.exchange.results import Result
    from targets.pynq.inventory import Board

#: the same job whenever it is made, so that a board knows it again
CREATED = ""
#: folder of what boards gave, in the results folder
KEPT = "boards"
#: seconds of a task's limit that are left for what comes after the board
AROUND = 60.0


def run_on_board(spec: Mapping[str, Any], store: Store, record: Record) -> dict[str, Any]:
    """The result of an evaluate task whose target is on a board. Files of the run stay in `boards/`.

    Raises:
        Unavailable: the board cannot run it. BoardError: the board failed; what it had finished is kept
            there, and the next try goes on with it. StepError: the item failed; what is known of it is in
            `record.result`.
    """
    from targets.pynq.exchange.jobs import write_job
    from targets.pynq.exchange.protocols import protocol
    from targets.pynq.inventory import get
    from targets.pynq.transport import Remote

    task, key = spec["task"], str(spec["key"])
    board = get(task["options"]["board"])
    name, split = name_of(task, key), test_of(task)
    wanted = expected_of(task, spec["inputs"], store, split.x)
    item = source_of(name, task, spec["inputs"], store, split, wanted)
    kept = store.root / KEPT
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
    return result_of(name, split, done.result, wanted, record, job.job)


def name_of(task: Mapping[str, Any], key: str) -> str:
    """Id of a task's item in a job."""
    from targets.pynq.exchange.items import item_id

    return item_id(f"{task['model']}/{task['target']}/seed{task['seed']}", key)


def test_of(task: Mapping[str, Any]) -> Split:
    """What a task is scored on."""
    return DATASETS.get(MODELS.get(task["model"]).dataset).load().test


@dataclass(frozen=True)
class Expected:
    """What a board's outputs are held against.

    Attributes:
        against: what gave the outputs: `csim`, or the host's `tflite`.
        outputs: (n, classes); None where nothing on this host gives them.
        chain: of agreement, up to these outputs.
        simulator: the C simulation, where it gave them.
    """

    against: str
    outputs: np.ndarray | None
    chain: list[dict[str, Any]]
    simulator: Simulator | None = None


def expected_of(
    task: Mapping[str, Any], inputs: Mapping[str, str | None], store: Store, x: np.ndarray
) -> Expected:
    """Run the network on this host: the C simulation of an overlay, the runtime of a TFLite model."""
    if TARGETS.get(task["target"]).format == "tflite":
        target = TARGETS.get("tflite")
        if target.unavailable():
            return Expected("tflite", None, [])
        runner = target.open(store.input(task["artifact"], inputs), target.Options())
        try:
            return Expected("tflite", np.asarray(runner.predict(x), np.float32), [])
        finally:
            runner.close()
    from targets.fpga.hls4ml_target import CsimRunner

    csim = CsimRunner(store.input(task.get("reference") or task["artifact"], inputs))
    return Expected("csim", csim.predict(x), csim.agreement(), csim.simulator)


def source_of(
    name: str,
    task: Mapping[str, Any],
    inputs: Mapping[str, str | None],
    store: Store,
    split: Split,
    wanted: Expected,
) -> ItemSource:
    """The artifact of a task as an item of a job.

    Raises:
        ArtifactError: it is gone, or not what its format says.
    """
    from targets.pynq.exchange import items
    from targets.pynq.inventory import get

    board = get(task["options"]["board"])
    artifact = store.input(task["artifact"], inputs)
    x, labels = split.x, np.ascontiguousarray(split.y, dtype=np.int64)
    if wanted.simulator is None or wanted.outputs is None:
        return items.tflite(name, artifact, x, labels, wanted.outputs)
    if task.get("reference") is None:
        # codes are wider than float32 can hold: there they are held against the simulation's own float64
        codes = task["options"].get("kernel") == "rtl"
        expected = wanted.simulator.run(x) if codes else wanted.outputs
        return _with_loopback(items.emulated_overlay(name, artifact, x, labels, expected), board)
    built = store.read("build", task["artifact"])
    facts = built.build.facts if built is not None else {}
    hardware = facts.get("hardware") or {}
    overlay = items.built_overlay(
        name, artifact, hardware, wanted.simulator, x, labels, wanted.outputs, board.device_part
    )
    return _with_loopback(overlay, board)


def _with_loopback(item: ItemSource, board: Board) -> ItemSource:
    """With the board's loopback overlay, where it has one and the kernel is reached by a DMA."""
    if item.facts["interface"]["style"] != "axis_dma":
        return item
    return replace(item, files={**item.files, **board.loopback_files()})


def result_of(
    name: str, split: Split, found: Result, wanted: Expected, record: Record, job: Job
) -> dict[str, Any]:
    """`result` of the evaluate record: accuracy by the board's own outputs, the chain of agreement, and
    under `board` what was measured.

    Raises:
        Unavailable: the board cannot run it. StepError: it failed; `record.result` has what is known.
    """
    item, asked = found.file.items[name], job.item(name)
    cycles = asked.cycles.model_dump() if asked is not None and asked.cycles is not None else None
    protocol = job.protocol.model_dump(mode="json")
    told = {**board_facts(found.file, item), "cycles": cycles, "protocol": protocol}
    record.environment["agent"] = told["agent"]
    if item.status == "skipped":
        raise Unavailable(str(item.reason), where=f"board {found.file.board.name}")
    outputs = item.agreement.outputs if item.agreement is not None else None
    if item.status != "ok" or outputs is None:
        record.result = {"board": told}
        raise StepError(item.reason or "it gave no outputs", where=f"board {found.file.board.name}")
    given = np.asarray(found.samples[outputs], np.float32).reshape(len(split.y), -1)
    scored = evaluate(_Answers(given, found.file), split)
    chain = list(wanted.chain)
    if wanted.outputs is not None:
        last = compare(wanted.outputs, given).to_json()
        chain.append({"of": "board", "against": wanted.against, **last, "first_layer": None})
    return {**scored, "agreement": chain, "board": told}


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
