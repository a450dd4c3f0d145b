"""Sweeps on boards without a network: one job for all cells of a board, and records from its result.

What is packed stays in the results folder as `boards/jobs/<job>.tar.gz`, with a note beside it of the tasks
that its items stand for. A result is taken in only if it is one of those jobs'.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.core import versions as fingerprint
from bench.core.cells import Sweep
from bench.core.records import Record
from bench.core.registry import TARGETS
from bench.errors import ArtifactError, ConfigError, StoreError
from bench.run.on_board import CREATED, KEPT, Expected, expected_of, name_of, result_of, source_of, test_of
from bench.run.plan import make_plan
from bench.run.run import run_sweep
from bench.run.tasks import Plan, Task
from bench.run.worker import fill
from bench.store.store import Store
from targets.pynq.agent_file import NAME as AGENT_NAME
from targets.pynq.agent_file import agent_bytes, is_agent
from targets.pynq.exchange import archive
from targets.pynq.exchange.job_file import MAX_ITEMS
from targets.pynq.exchange.jobs import JobFile, read_job, write_job
from targets.pynq.exchange.protocols import protocol
from targets.pynq.exchange.results import Result, alone, read_result
from targets.pynq.inventory import get

NOTE_VERSION = 1


@dataclass(frozen=True)
class Choice:
    """Which cells of a sweep a job is for. None: the only ones that there are."""

    board: str | None = None
    preset: str | None = None

    def takes(self, task: Task) -> bool:
        options = task.task.get("options", {})
        return (
            bool(task.device)
            and task.kind == "evaluate"
            and TARGETS.get(task.task["target"]).board(options) is not None
            and self.board in (None, options["board"])
            and self.preset in (None, options["preset"])
        )


@dataclass(frozen=True)
class Packed:
    """A job that was written. `left`: (label, reason) of cells that are not in it; `done`: how many are on
    record already."""

    job: JobFile
    board: str
    left: list[tuple[str, str]]
    done: int


def pack(
    sweep: Sweep, store: Store, out: Path, choice: Choice, *, jobs: int | None = None, retry: bool = False
) -> Packed:
    """Build what a sweep's cells on a board need, and write them as one job, the agent beside it.

    Raises:
        ConfigError: no cells on a board, several boards or presets, nothing left to measure, or a file
            that is not ours would be replaced.
        BenchError: nothing of it can be built here.
    """
    if not out.parent.is_dir():
        raise ConfigError("there is no such folder", where=str(out.parent), mend="Make it, or name another.")
    agent = out.with_name(AGENT_NAME)
    if agent.exists() and not is_agent(agent.read_bytes()):
        raise ConfigError(
            "this is not our agent, and is not replaced", where=str(agent), mend="Name another folder."
        )
    board, preset = _one_job(make_plan(sweep, store, packing=True), choice, sweep)
    choice = Choice(board, preset)

    def builds(*arguments: Any, **options: Any) -> Plan:
        return _only_builds(make_plan(*arguments, **options, packing=True), choice)

    summary = run_sweep(sweep, store, jobs=jobs, retry_failed=retry, planner=builds)
    if summary.interrupted:
        raise KeyboardInterrupt
    plan = make_plan(sweep, store, retry_failed=retry, packing=True)
    tasks = [task for task in plan.tasks.values() if choice.takes(task)]
    ready = [task for task in tasks if task.state == "run"]
    left = [(task.label, task.reason or "") for task in tasks if task.state in ("skipped", "failed")]
    if not ready:
        reasons = "\n  ".join(dict.fromkeys(reason for _, reason in left))
        raise ConfigError(
            "nothing is left to measure there",
            where=f"sweep {sweep.name}, board {board}",
            mend=reasons or "All of its cells are on record: bench report.",
        )
    if len(ready) > MAX_ITEMS:
        raise ConfigError(
            f"{len(ready):,} cells: more than the {MAX_ITEMS:,} of a job", mend="Choose some: --only."
        )
    specs = [
        {"key": t.key, "task": t.task, "inputs": {key: plan.tasks[key].digest for key in t.inputs}}
        for t in ready
    ]
    job = write(store, sweep.name, board, preset, specs, out)
    agent.write_bytes(agent_bytes())
    return Packed(job, board, left, len(tasks) - len(ready) - len(left))


def write(
    store: Store, sweep: str, board: str, preset: str, specs: Sequence[Mapping[str, Any]], out: Path
) -> JobFile:
    """Write a job of evaluate tasks, and beside its copy in the store what takes its result in.

    Args:
        specs: of the tasks, as a worker takes them: {key, task, inputs}.
    """
    kind = get(board)
    items, entries = [], {}
    for spec in specs:
        task, inputs = spec["task"], spec["inputs"]
        name, split = name_of(task, spec["key"]), test_of(task)
        wanted = expected_of(task, inputs, store, split.x)
        items.append(source_of(name, task, inputs, store, split, wanted))
        about = {"against": wanted.against, "chain": wanted.chain}
        entries[name] = {"key": spec["key"], "task": task, "inputs": inputs, **about}
    job = write_job(
        out, items, board=kind.board, protocol=protocol(preset), emulated=kind.emulated, created=CREATED
    )
    place, note = _places(store, job.job.job)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(out, place)
    store.write_json(note, {"version": NOTE_VERSION, "sweep": sweep, "board": board, "items": entries})
    return job


def _one_job(plan: Plan, choice: Choice, sweep: Sweep) -> tuple[str, str]:
    """The board and preset of the cells that are meant. Raises ConfigError."""
    found = {
        (task.task["options"]["board"], task.task["options"]["preset"])
        for task in plan.tasks.values()
        if choice.takes(task)
    }
    if not found:
        named = f" {choice.board!r}" if choice.board else ""
        raise ConfigError(
            f"no cell of it runs on a board{named}",
            where=sweep.source or sweep.name,
            mend="Add a target: - pynq: {board: NAME}.",
        )
    for place, option in enumerate(("--board", "--preset")):
        values = sorted({pair[place] for pair in found})
        if len(values) > 1:
            raise ConfigError(
                f"a job is for one of {', '.join(values)}",
                where=sweep.source or sweep.name,
                mend=f"Say {option}.",
            )
    return found.pop()


def _only_builds(plan: Plan, choice: Choice) -> Plan:
    """The builds that the chosen cells need."""
    waiting = [key for task in plan.tasks.values() if choice.takes(task) for key in task.inputs]
    wanted: set[str] = set()
    while waiting:
        key = waiting.pop()
        if key not in wanted:
            wanted.add(key)
            waiting += plan.tasks[key].inputs
    return replace(plan, tasks={key: task for key, task in plan.tasks.items() if key in wanted})


# ------------------------------------------------------------------------------------ results


@dataclass(frozen=True)
class Imported:
    """What a result became. `kept`: how many cells had a good record already, which stays."""

    result: Result
    sweep: str
    records: list[Record] = field(default_factory=list)
    kept: int = 0


def take_in(path: Path, store: Store, *, force: bool = False) -> Imported:
    """Records of a result that an agent wrote, as a run on the board itself would have made them.

    Everything is checked before the first record is written.

    Args:
        force: also where a good record is there.

    Raises:
        ArtifactError: cut off, damaged, forged, or not of a job that was packed into this folder.
        StoreError: another process does these tasks, or the folder cannot be written.
    """
    id_ = read_result(path).file.job
    place, beside = _places(store, id_)
    if not place.is_file() or not beside.is_file():
        raise ArtifactError(
            f"it is the result of job {id_[:12]}, which was not packed into {store.root}",
            where=str(path),
            mend="Name the results folder that it was packed into: --results; or only check it: --dry-run.",
        )
    job = read_job(place)
    result, note = read_result(path, job), _note(beside)
    with _claimed(store, [note["items"][name]["key"] for name in result.file.items]):
        due = [name for name in result.file.items if force or not _good(store, note["items"][name])]
        records = {name: _record(name, note["items"][name], result, job) for name in due}
        for name, members in alone(path, due).items():
            kept = store.root / KEPT / f"{records[name].key}.tar.gz"
            temporary = kept.with_name(f".{kept.name}.new")
            archive.write_archive(temporary, members.items())
            temporary.replace(kept)
            store.write(records[name])
    return Imported(result, str(note["sweep"]), list(records.values()), len(result.file.items) - len(due))


def _places(store: Store, job: str) -> tuple[Path, Path]:
    """Where a packed job is, and the note beside it."""
    folder = store.root / KEPT / "jobs"
    return folder / f"{job}.tar.gz", folder / f"{job}.json"


def _note(path: Path) -> dict[str, Any]:
    """Raises StoreError: it is damaged, or of another version."""
    try:
        note = json.loads(path.read_text())
        if note["version"] != NOTE_VERSION or not isinstance(note["items"], dict):
            raise ValueError(f"version {note['version']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"not the note of a packed job ({error})", where=str(path), mend="Pack the sweep again."
        ) from error
    return dict(note)


def _good(store: Store, entry: Mapping[str, Any]) -> bool:
    found = store.read("evaluate", entry["key"])
    return found is not None and found.status == "ok" and found.inputs == entry["inputs"]


def _record(name: str, entry: Mapping[str, Any], result: Result, job: JobFile) -> Record:
    task = entry["task"]
    record = Record("evaluate", entry["key"], "ok", task, inputs=entry["inputs"])
    record.environment["versions"] = fingerprint.versions(TARGETS.get(task["target"]).modules)
    item, split = job.job.item(name), test_of(task)
    outputs = job.expected.get(item.expected) if item is not None and item.expected is not None else None
    outputs = outputs.astype(np.float32) if outputs is not None else None
    wanted = Expected(entry["against"], outputs, entry["chain"])
    fill(record, lambda: result_of(name, split, result, wanted, record, job.job))
    return record


@contextmanager
def _claimed(store: Store, keys: Sequence[str]) -> Iterator[None]:
    """Hold the claims of tasks. Raises StoreError: another process has one of them."""
    try:
        for key in keys:
            if not store.claims.acquire(key):
                raise StoreError(
                    "another process is at these cells", where=str(store.root), mend="Wait for it to end."
                )
        yield
    finally:
        store.claims.close()
