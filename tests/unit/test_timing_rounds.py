"""One round with fake runners: what is loaded, in which order, what each number holds, what errors do."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from bench.core.cells import Protocol
from bench.core.records import TWIN
from bench.timing.rounds import reference_of, run_round
from tests.timing_fakes import FakeClock, FakeRunner

PROTOCOL = Protocol("test", 1, 0.001, 3, 20, 0.0)
X = np.arange(12, dtype=np.float64).reshape(3, 4)
SCOPES = ("invoke", "end_to_end")
LOAD_NS = 5_000_000


@pytest.fixture(autouse=True)
def _do_not_wait_for_a_clock_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.timing.clock._GIVE_UP", 2000)


class Bench:
    """Openers of fake runners on one clock."""

    def __init__(self, **runners: dict[str, Any]) -> None:
        self.fake = FakeClock()
        self.log: list[tuple[str, str]] = []
        self.opened: list[FakeRunner] = []
        self.runners = runners

    def open(self, name: str) -> FakeRunner:
        self.log.append((name, "open"))
        settings = dict(self.runners[name])
        self.fake.now += settings.pop("load_ns", LOAD_NS)
        if settings.pop("fail_open", False):
            raise ValueError("cannot open")
        self.opened.append(FakeRunner(self.fake, name, log=self.log, **settings))
        return self.opened[-1]

    def run(self, seed: int = 0, scopes: tuple[str, ...] = SCOPES, x: Any = X, **more: Any) -> dict[str, Any]:
        openers = {name: lambda name=name: self.open(name) for name in self.runners}
        return run_round(openers, x, PROTOCOL, seed, scopes, clock=self.fake.clock(), **more)


def test_each_number_holds_what_it_says() -> None:
    result = Bench(baseline={"first_ns": 1_000_000}, small={"invoke_ns": 4_000, "end_to_end_ns": 9_000}).run()
    base, small = result["entries"]["baseline"], result["entries"]["small"]
    assert (base["load_ns"], base["first_call_ns"], base["error"]) == (LOAD_NS, 1_010_000, None)
    assert (small["load_ns"], small["first_call_ns"]) == (LOAD_NS, 4_000)
    for entry, invoke, end_to_end in ((base, 10_000, 30_000), (small, 4_000, 9_000)):
        assert list(entry["scopes"]) == list(SCOPES)
        # Nothing but the call: `prepare` takes 77 ms here.
        assert entry["scopes"]["invoke"]["max_ns"] == entry["scopes"]["invoke"]["min_ns"] == invoke
        assert (
            entry["scopes"]["end_to_end"]["max_ns"] == entry["scopes"]["end_to_end"]["min_ns"] == end_to_end
        )
        assert entry["scopes"]["invoke"]["n"] == 20
    assert result["timer"]["clock"] == "fake"


def test_the_first_scope_is_warmed_up_by_time_and_later_ones_by_number() -> None:
    scopes = Bench(baseline={}).run()["entries"]["baseline"]["scopes"]
    assert scopes["invoke"]["warmup"]["calls"] == 100  # 1 ms of 10 µs calls
    assert scopes["end_to_end"]["warmup"]["calls"] == 3


def test_the_twin_is_a_second_loading_of_the_baseline() -> None:
    bench = Bench(baseline={}, small={})
    result = bench.run()
    assert result["reference"] == "baseline"
    assert set(result["entries"]) == {"baseline", "small", TWIN}
    measured = [runner for runner in bench.opened if runner.calls]
    assert sorted(runner.name for runner in measured) == ["baseline", "baseline", "small"]
    assert result["entries"][TWIN]["scopes"]["invoke"]["median_ns"] == 10_000


def test_the_runtime_is_loaded_once_before_anything_is_timed() -> None:
    bench = Bench(baseline={}, small={})
    result = bench.run()
    assert bench.log[:2] == [("baseline", "open"), ("baseline", "close")]
    assert result["runtime_load_ns"] == LOAD_NS
    assert [event for _, event in bench.log].count("open") == 4


def test_the_runtime_is_loaded_through_another_where_the_reference_fails() -> None:
    bench = Bench(baseline={"fail_open": True}, small={"load_ns": 7})
    assert bench.run()["runtime_load_ns"] == 7
    assert Bench(baseline={"fail_open": True}).run()["runtime_load_ns"] is None


def test_order_is_shuffled_by_the_seed_and_recorded() -> None:
    names = ["baseline", *"abcdef"]
    orders = []
    for seed in (0, 0, 1, 2):
        bench = Bench(**{name: {} for name in names})
        result = bench.run(seed)
        actual = [name for name, event in bench.log[2:] if event == "open"]
        assert [name if name != TWIN else "baseline" for name in result["order"]] == actual
        assert sorted(result["order"]) == sorted([*names, TWIN])
        orders.append(tuple(result["order"]))
    assert orders[0] == orders[1]
    assert len(set(orders)) == 3


def test_order_does_not_depend_on_the_order_of_the_names() -> None:
    one, other = Bench(baseline={}, a={}, b={}), Bench(b={}, a={}, baseline={})
    assert one.run(5)["order"] == other.run(5)["order"]


@pytest.mark.parametrize("bad", [{"fail_open": True}, {"fail_at_call": 1}, {"fail_at_call": 130}])
def test_one_failure_does_not_touch_the_others(bad: dict[str, Any]) -> None:
    bench = Bench(baseline={}, bad=bad, small={})
    result = bench.run()
    entry = result["entries"]["bad"]
    assert entry["error"] in ("ValueError: cannot open", "RuntimeError: broke down")
    assert entry["scopes"] == {}
    for name in ("baseline", "small", TWIN):
        assert result["entries"][name]["error"] is None
        assert set(result["entries"][name]["scopes"]) == set(SCOPES)
    events = [event for name, event in bench.log if name == "bad"]
    assert events.count("close") == sum(runner.name == "bad" for runner in bench.opened)


def test_collections_within_a_round_look_at_little(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[int] = []
    monkeypatch.setattr(FakeRunner, "prepare", lambda self, x: frozen.append(gc.get_freeze_count()))
    Bench(baseline={}).run()
    assert len(frozen) == 2
    assert min(frozen) > 1000
    assert gc.get_freeze_count() == 0


def test_a_runner_that_does_not_close_keeps_its_numbers() -> None:
    entry = Bench(baseline={}, sticky={"fail_close": True}).run()["entries"]["sticky"]
    assert entry["error"] is None
    assert entry["close_error"] == "OSError: will not close"
    assert entry["scopes"]["invoke"]["median_ns"] == 10_000


def test_one_artifact_is_loaded_at_a_time() -> None:
    bench = Bench(baseline={}, a={}, b={})
    bench.run()
    events = [event for _, event in bench.log if event in ("open", "close")]
    assert events == ["open", "close"] * 5


def test_invoke_runs_on_the_first_input_and_end_to_end_on_all() -> None:
    bench = Bench(baseline={})
    bench.run()
    runner = next(runner for runner in bench.opened if runner.calls)
    assert ("baseline", "prepare (1, 4) float32") in bench.log
    assert runner.seen[:4] == [0.0, 4.0, 8.0, 0.0]


def test_every_artifact_may_have_inputs_of_its_own() -> None:
    bench = Bench(baseline={}, small={})
    bench.run(x={"baseline": X, "small": np.ones((1, 2, 2))})
    assert ("small", "prepare (1, 2, 2) float32") in bench.log
    assert bench.log.count(("baseline", "prepare (1, 4) float32")) == 2


def test_without_baseline_the_first_is_the_reference() -> None:
    assert Bench(zebra={}, ant={}).run()["reference"] == "zebra"
    assert reference_of(["zebra", "baseline"]) == "baseline"
    assert Bench(a={}, b={}).run(reference="b")["reference"] == "b"


def test_what_all_runtimes_share_is_told_once() -> None:
    description = {"runtime": "fake", "threads": 1, "ops": 3}
    result = Bench(baseline={"runtime": description}, small={"runtime": {**description, "ops": 9}}).run()
    assert result["runtime"] == {"runtime": "fake", "threads": 1}
    assert [result["entries"][name]["runtime"] for name in ("baseline", "small", TWIN)] == [
        {"ops": 3},
        {"ops": 9},
        {"ops": 3},
    ]
    assert description == {"runtime": "fake", "threads": 1, "ops": 3}


def test_a_scope_alone_and_an_unknown_one() -> None:
    entry = Bench(baseline={}).run(scopes=("end_to_end",))["entries"]["baseline"]
    assert list(entry["scopes"]) == ["end_to_end"]
    assert entry["first_call_ns"] == 30_000
    assert (
        "no way to time scope 'kernel'"
        in Bench(baseline={}).run(scopes=("kernel",))["entries"][TWIN]["error"]
    )


def test_nothing_to_measure_and_nothing_to_measure_with() -> None:
    with pytest.raises(ValueError, match="nothing to measure"):
        run_round({}, X, PROTOCOL, 0, SCOPES)
    assert "no sample input" in Bench(baseline={}).run(x=X[:0])["entries"]["baseline"]["error"]
