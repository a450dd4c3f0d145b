"""How long planning, a finished sweep and one more task take (pytest-benchmark; no limits here)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.core.cells import Chain, Protocol, Sweep
from bench.run.engines.local import Exit, LocalEngine
from bench.run.keys import digest
from bench.run.plan import make_plan
from bench.run.progress import PlainReporter
from bench.run.run import run_sweep
from bench.run.worker import DONE
from bench.store.store import Store
from tests import toy


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    toy.activate(monkeypatch, tmp_path)
    return Store(tmp_path / "results")


def big_sweep() -> Sweep:
    """10,000 cells: 1,000 variants of three steps, ten seeds."""
    train = toy.step("train")
    prunes = [toy.step("prune", sparsity=n / 1000) for n in range(1000)]
    chains = {f"v{n}": Chain((train, prune, toy.step("quantize"))) for n, prune in enumerate(prunes)}
    return toy.sweep(chains, seeds=10, protocol=Protocol.preset("full"))


def test_planning_10_000_cells(benchmark: Any, store: Store) -> None:
    sweep = big_sweep()
    plan = benchmark.pedantic(make_plan, args=(sweep, store), rounds=3)
    assert len(plan.cells) == 10_000
    # 10 trainings, 1,000 x 10 of each other step and evaluation, 5 rounds of the first seed.
    assert len(plan.tasks) == 10 + 2 * 10_000 + 10_000 + 5


def test_a_second_run_of_a_finished_sweep(benchmark: Any, store: Store) -> None:
    sweep = toy.sweep()
    run_sweep(sweep, store, reporter=PlainReporter())

    def again() -> int:
        return run_sweep(sweep, Store(store.root), reporter=PlainReporter()).cached

    assert benchmark.pedantic(again, rounds=5) == 18


@pytest.fixture(params=["plain", pytest.param("tensorflow", marks=pytest.mark.tf)])
def warm(request: Any, store: Store) -> Iterator[tuple[LocalEngine, bool]]:
    """An engine whose server has done its imports."""
    engine, heavy = LocalEngine(store), request.param == "tensorflow"
    assert engine.submit(spec(store, 1000, heavy)).result(300) == Exit(DONE)
    yield engine, heavy
    engine.shutdown()


def spec(store: Store, number: int, heavy: bool) -> dict[str, Any]:
    params = toy.step("train", epochs=number).params
    task = {"kind": "build", "model": "toy", "seed": 0, "step": "toy_train", "params": params}
    return {
        "kind": "build",
        "key": digest(params),
        "store": str(store.root),
        "task": {**task, "parent": None, "teacher": None},
        "inputs": {},
        "timeout": 60,
        "heavy": heavy,
    }


def test_start_of_one_more_task(benchmark: Any, store: Store, warm: tuple[LocalEngine, bool]) -> None:
    engine, heavy = warm
    numbers = iter(range(1, 1000))

    def one() -> Exit:
        return engine.submit(spec(store, next(numbers), heavy)).result(60)

    assert benchmark.pedantic(one, rounds=10) == Exit(DONE)
