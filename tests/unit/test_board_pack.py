"""Jobs of whole sweeps, carried to a board and back. A real sweep: tests/e2e/test_board_pack.py."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import run_cli
from bench.core.records import Record
from bench.errors import ArtifactError, ConfigError, StoreError
from bench.run.plan import make_plan
from bench.store.store import Store
from bench.sweep.loader import parse_sweep
from bench.workflows.offline_boards import Choice, pack, take_in, write
from targets.pynq.agent_file import PACKAGE, agent_path
from targets.pynq.checks import check_board
from targets.pynq.environment import board_python
from targets.pynq.inventory import Board, add, get
from tests.board_files import pack as packed
from tests.tflite_maker import dense
from tests.unit.test_board_sweeps import Bench, environment

__all__ = ["environment"]

SWEEP = """
sweep: boards
models: [digits_mlp]
variants: [ptq]
targets: %s
seeds: 1
protocol: off
"""


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCH_BOARDS", str(tmp_path / "boards.json"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def bench(tmp_path: Path, environment: None) -> Bench:
    return Bench(tmp_path)


def agent(job: Path, faults: str = "") -> subprocess.CompletedProcess[str]:
    """Where it was carried to, without this program."""
    command = [board_python(), str(agent_path()), job.name, "--emulator", str(PACKAGE.parent)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=job.parent, env={**environment, "EMULATED_FAULTS": faults}, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip


def carried(bench: Bench, specs: list[dict[str, Any]], faults: str = "") -> Path:
    """The result of a job of these tasks."""
    place = bench.folder / "board"
    place.mkdir(exist_ok=True)
    job = write(bench.store, "boards", "emulated", "quick", specs, place / "job.tar.gz")
    agent(job.path, faults)
    return place / "result.tar.gz"


def contents(store: Store) -> dict[str, bytes]:
    """All files of a results folder but for its locks."""
    return {
        str(path): path.read_bytes()
        for path in sorted(store.root.rglob("*"))
        if path.is_file() and "claims" not in path.parts
    }


def told(record: Record) -> dict[str, Any]:
    return {
        name: value
        for name, value in record.to_json().items()
        if name not in ("started", "seconds", "peak_rss", "traceback")
    }


@pytest.mark.parametrize("faults", ["", "missing_flush"])
def test_records_are_those_of_a_direct_run(
    faults: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.run import worker

    specs = [bench.spec(), bench.spec(0.25, style="m_axi")]
    taken = take_in(carried(bench, specs, faults), bench.store)
    assert taken.sweep == "boards" and taken.kept == 0 and taken.result.missing == ()
    found = {spec["key"]: bench.store.read("evaluate", spec["key"]) for spec in specs}
    samples = {key: (bench.store.root / "boards" / f"{key}.tar.gz").is_file() for key in found}
    monkeypatch.setenv("EMULATED_FAULTS", faults)
    for spec in specs:
        carried_here = found[spec["key"]]
        assert carried_here is not None and carried_here.status == ("failed" if faults else "ok")
        assert worker.run({**spec, "store": str(bench.store.root)}) == worker.DONE
        direct = bench.store.read("evaluate", spec["key"])
        assert direct is not None and told(direct) == told(carried_here)
    assert all(samples.values())


def test_each_cell_keeps_its_samples(bench: Bench) -> None:
    from targets.pynq.exchange.results import read_result

    specs = [bench.spec(), bench.spec(0.25)]
    whole = take_in(carried(bench, specs), bench.store).result
    for spec, name in zip(specs, whole.file.items, strict=True):
        own = read_result(bench.store.root / "boards" / f"{spec['key']}.tar.gz")
        assert list(own.file.items) == [name] and own.file.items[name] == whole.file.items[name]
        assert sorted(own.samples) == sorted(whole.file.items[name].samples())


def test_an_interrupted_agent_goes_on(bench: Bench) -> None:
    specs = [bench.spec(), bench.spec(0.25)]
    place = bench.folder / "board"
    place.mkdir()
    job = write(bench.store, "boards", "emulated", "quick", specs, place / "job.tar.gz")
    second = job.job.items[1].id
    assert agent(job.path, f"drop=9@{second}").returncode < 0
    assert not (place / "result.tar.gz").exists()
    done = agent(job.path)
    assert done.returncode == 0 and f"{job.job.items[0].id}: ok (before)" in done.stdout
    assert {record.status for record in take_in(place / "result.tar.gz", bench.store).records} == {"ok"}


def test_good_records_stay_and_failed_ones_do_not(bench: Bench) -> None:
    spec = bench.spec()
    result = carried(bench, [spec], "missing_flush")
    assert take_in(result, bench.store).records[0].status == "failed"
    for leftover in ("job.work", "result.tar.gz"):
        place = bench.folder / "board" / leftover
        place.rename(place.with_name("old-" + leftover))
    result = carried(bench, [spec])
    assert take_in(result, bench.store).records[0].status == "ok"
    before = contents(bench.store)
    again = take_in(result, bench.store)
    assert (again.records, again.kept) == ([], 1) and contents(bench.store) == before
    assert take_in(result, bench.store, force=True).records[0].status == "ok"


def test_cells_that_another_process_does(bench: Bench) -> None:
    spec = bench.spec()
    result = carried(bench, [spec])
    other = Store(bench.store.root)
    assert other.claims.acquire(spec["key"])
    before = contents(bench.store)
    with pytest.raises(StoreError, match="another process"):
        take_in(result, bench.store)
    assert contents(bench.store) == before
    other.claims.close()
    assert len(take_in(result, bench.store).records) == 1


# -- what is refused -------------------------------------------------------------------------------


def _members(path: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(path) as tar:
        return [(info, tar.extractfile(info).read()) for info in tar if info.isfile()]  # type: ignore[union-attr]


def _value(change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Another result.json: `change` gets it, and the only item of it."""

    def do(path: Path) -> None:
        members = []
        for info, content in _members(path):
            if info.name == "result/result.json":
                value = json.loads(content)
                change(value, next(iter(value["items"].values())))
                content = json.dumps(value).encode()
                info.size = len(content)
            members.append((info, content))
        path.write_bytes(packed(members))

    return do


def _more(name: str, size: int = 1) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        info = tarfile.TarInfo(name)
        info.size = size
        path.write_bytes(packed([*_members(path), (info, bytes(size))]))

    return do


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _bomb(path: Path) -> None:
    """A member that says it has many gigabytes."""
    info = tarfile.TarInfo("result/samples/x.npy")
    info.size = 1 << 32
    path.write_bytes(gzip.compress(info.tobuf() + bytes(4096)))


FORGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut off": (_cut, "cut off"),
    "another job": (_value(lambda value, item: value.update(job="0" * 64)), "was not packed into"),
    "a foreign item": (_value(lambda value, item: value["items"].update(other=item)), "no item other"),
    "a real board": (
        _value(lambda value, item: (value.update(origin="measured"), value["board"].update(emulated=False))),
        "the result is from a real board",
    ),
    "fewer errors": (_value(lambda value, item: item["accuracy"].update(errors=0)), "by its predictions"),
    "a quicker median": (
        _value(lambda value, item: item["phases"]["execute"].update(p50=1e-9)), "by its samples"
    ),
    "a path that escapes": (_more("result/../../evil"), "evil"),
    "an absolute path": (_more("/evil"), "evil"),
    "a file of ours": (_more("result/records/x.json"), "does not belong"),
    "a huge file": (_bomb, "more than it may"),
    "no archive": (lambda path: path.write_bytes(b"hello"), "no .tar.gz"),
}  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, environment: None) -> tuple[Bench, bytes]:
    made = Bench(tmp_path_factory.mktemp("good"))
    return made, carried(made, [made.spec()]).read_bytes()


@pytest.mark.parametrize("name", list(FORGED))
def test_results_that_are_refused_change_nothing(
    name: str, good: tuple[Bench, bytes], tmp_path: Path
) -> None:
    made, data = good
    change, says = FORGED[name]
    path = tmp_path / "result.tar.gz"
    path.write_bytes(data)
    change(path)
    before = contents(made.store)
    with pytest.raises(ArtifactError, match=says):
        take_in(path, made.store)
    assert contents(made.store) == before
    assert run_cli(["--results", str(made.store.root), "board", "import", str(path)]) == 2
    assert contents(made.store) == before


def test_outputs_that_were_exchanged(good: tuple[Bench, bytes], tmp_path: Path) -> None:
    """One bit of one output is another: the number of mismatches is not what is said."""
    made, data = good
    path = tmp_path / "result.tar.gz"
    path.write_bytes(data)
    members = [
        (info, content[:-4] + bytes([content[-4] ^ 1]) + content[-3:] if "outputs" in info.name else content)
        for info, content in _members(path)
    ]
    path.write_bytes(packed(members))
    with pytest.raises(ArtifactError, match="by the outputs themselves"):
        take_in(path, made.store)


def test_packed_jobs_that_were_damaged(good: tuple[Bench, bytes], tmp_path: Path) -> None:
    made, data = good
    path = tmp_path / "result.tar.gz"
    path.write_bytes(data)
    (note,) = (made.store.root / "boards" / "jobs").glob("*.json")
    text = note.read_text()
    try:
        note.write_text(text.replace('"version": 1', '"version": 7'))
        with pytest.raises(StoreError, match="version 7"):
            take_in(path, made.store)
    finally:
        note.write_text(text)


# -- which cells -----------------------------------------------------------------------------------


def test_one_board_and_preset_a_job(tmp_path: Path) -> None:
    add(Board("desk", None, "pynq-z2"))
    store, out = Store(tmp_path / "r"), tmp_path / "job.tar.gz"

    def refused(targets: str, choice: Choice = Choice()) -> str:  # noqa: B008
        with pytest.raises(ConfigError) as error:
            pack(parse_sweep(SWEEP % targets), store, out, choice)
        return str(error.value)

    assert "no cell of it runs on a board" in refused("[hls4ml]")
    both = "[{pynq: {board: [emulated, desk]}}]"
    assert "one of desk, emulated" in refused(both) and "--board" in refused(both)
    presets = "[{pynq: {board: emulated, preset: [quick, full]}}]"
    assert "one of full, quick" in refused(presets) and "--preset" in refused(presets)
    assert "runs on a board 'shelf'" in refused(both, Choice("shelf"))
    with pytest.raises(ConfigError, match="no such folder"):
        pack(parse_sweep(SWEEP % both), store, tmp_path / "x" / "job.tar.gz", Choice())
    (tmp_path / "agent.pyz").write_text("print('mine')")
    with pytest.raises(ConfigError, match="not our agent"):
        pack(parse_sweep(SWEEP % both), store, out, Choice("emulated"))
    assert (tmp_path / "agent.pyz").read_text() == "print('mine')" and not out.exists()


def test_tflite_models_are_packed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the processor of a real board; without a runtime here there are no outputs to compare with."""
    monkeypatch.setattr("targets.tflite.Tflite.unavailable", lambda self: "no runtime")
    add(Board("desk", None, "pynq-z2"))
    store = Store(tmp_path / "r")
    out = store.temporary()
    (out / "model.tflite").write_bytes(dense())
    digest, build = store.add_artifact(out), "0" * 64
    task = {
        "kind": "evaluate", "model": "digits_mlp", "seed": 0, "target": "pynq_tflite",
        "options": {"board": "desk", "preset": "quick"}, "artifact": build,
    }  # fmt: skip
    spec = {"key": "1" * 64, "task": task, "inputs": {build: digest}}
    job = write(store, "boards", "desk", "quick", [spec], tmp_path / "job.tar.gz")
    (item,) = job.job.items
    assert (item.kind, item.exact, job.job.emulated, job.job.board) == ("tflite", False, False, "pynq-z2")
    assert item.id == "digits_mlp/pynq_tflite/seed0/111111111111" and list(item.files) == ["model.tflite"]
    assert item.expected is None and len(job.labels) == 1


def test_a_board_without_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["board", "add", "desk", "--board", "pynq-z2"]) == 2
    assert "--host USER@HOST, --offline, or --emulated" in capsys.readouterr().err
    assert run_cli(["board", "add", "desk", "--board", "pynq-z2", "--offline"]) == 0
    assert get("desk").offline and "bench board pack" in capsys.readouterr().out
    assert run_cli(["board", "check", "desk"]) == 1
    assert "bench board pack" in capsys.readouterr().out
    assert [check.name for check in check_board(get("desk"))] == ["reachable"]
    sweep = parse_sweep(SWEEP % "[tflite, {pynq: {board: desk}}]")
    cells = [cell for cell in make_plan(sweep, Store(tmp_path)).cells if cell.cell.target == "pynq_tflite"]
    assert {str(cell.skipped) for cell in cells} == {
        "board desk has no network: bench board pack makes a job for it"
    }
    plan = make_plan(sweep, Store(tmp_path), packing=True)
    on_board = [task for task in plan.tasks.values() if task.device == "board desk"]
    assert {task.state for task in on_board if task.task["target"] == "pynq_tflite"} == {"run"}
