"""Summaries over rounds, what is called faster, and verdicts with their reasons."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bench.core.intervals import Interval
from bench.core.records import TWIN
from bench.core.results import MachineState, RoundResult
from bench.timing.disturbances import disturbances
from bench.timing.samples import scope_times
from bench.timing.statistics import aa_gap, round_ratios, summarise
from bench.timing.verdicts import versus_reference
from tests.timing_fakes import fake_round, fake_rounds

BASE = (1000.0, 1010.0, 990.0, 1005.0, 995.0)
TWINS = (1004.0, 1008.0, 991.0, 1003.0, 996.0)
HALF = tuple(value / 2 for value in BASE)


def test_seconds_and_intervals_of_quiet_rounds() -> None:
    found = summarise(fake_rounds({"baseline": BASE, "small": HALF}, TWINS))
    assert set(found) == {"baseline", "small"}  # the twin is no artifact
    base, small = found["baseline"]["invoke"], found["small"]["invoke"]
    assert (base.p50, base.low, base.high) == pytest.approx((1000e-9, 990e-9, 1010e-9))
    assert base.confidence == 0.9375
    assert (base.n, base.rounds, base.block) == (3500, 5, 1)
    assert (base.load, base.first_call) == (0.002, 50e-6)
    assert base.round_medians == pytest.approx([value / 1e9 for value in BASE])
    assert base.verdict_vs_baseline is None
    assert (small.ratio, small.ratio_low, small.ratio_high) == pytest.approx((0.5, 0.5, 0.5))
    assert small.verdict_vs_baseline == "faster"
    assert (small.verdict, small.reasons) == ("ok", ())
    assert small.throughput == pytest.approx(2e6)
    assert small.fastest == pytest.approx(495e-9)
    json.dumps(small.to_json(), allow_nan=False)


def test_percentiles_of_all_rounds_together() -> None:
    rounds = [fake_round({"baseline": 1000.0}, twin=1000.0, n=n) for n in (30, 30, 69)]
    found = summarise(rounds)["baseline"]["invoke"]
    assert (found.n, found.p95, found.p99) == (129, None, None)
    assert found.p90 == pytest.approx(1000e-9)


def test_drift_between_rounds_cancels_in_the_ratio() -> None:
    slower = [1000.0, 1100.0, 1200.0, 1300.0, 1400.0]
    found = summarise(fake_rounds({"baseline": slower, "a": [v * 0.8 for v in slower]}, slower))
    assert found["a"]["invoke"].ratio == pytest.approx(0.8)
    assert found["a"]["invoke"].ratio_high == pytest.approx(0.8)
    assert found["a"]["invoke"].verdict == "unstable"
    assert "rounds differ by 33%" in found["a"]["invoke"].reasons


def test_one_round_gives_no_interval_and_calls_nothing_faster() -> None:
    found = summarise([fake_round({"baseline": 1000.0, "a": 10.0}, twin=1000.0)])["a"]["invoke"]
    assert found.p50 == pytest.approx(10e-9)
    assert (found.low, found.high, found.confidence) == (None, None, None)
    assert found.ratio == pytest.approx(0.01)
    assert (found.ratio_low, found.ratio_high) == (None, None)
    assert found.verdict_vs_baseline == "unclear"
    assert (found.verdict, found.reasons) == ("noisy", ("1 round(s): too few for an interval",))


def test_a_difference_inside_the_aa_gap_is_never_called_faster() -> None:
    twins = [1030.0, 970.0, 1040.0, 1000.0, 1010.0]  # one file, up to 4 % from itself
    base = [1000.0] * 5
    better = [970.0] * 5  # 3 % faster in every single round
    found = summarise(fake_rounds({"baseline": base, "a": better}, twins))["a"]["invoke"]
    assert found.aa_gap == pytest.approx(0.04)
    assert found.ratio_high == pytest.approx(0.97)
    assert found.verdict_vs_baseline == "same"
    quiet = summarise(fake_rounds({"baseline": base, "a": better}, base))["a"]["invoke"]
    assert quiet.verdict_vs_baseline == "faster"


@pytest.mark.parametrize(
    ("ratio", "gap", "verdict"),
    [
        (Interval(0.5, 0.4, 0.6), 0.05, "faster"),
        (Interval(0.5, 0.4, 0.96), 0.05, "unclear"),  # reaches into the gap
        (Interval(2.0, 1.06, 3.0), 0.05, "slower"),
        (Interval(2.0, 1.04, 3.0), 0.05, "unclear"),
        (Interval(1.01, 0.97, 1.03), 0.05, "same"),
        (Interval(0.9, 0.8, 0.95), 0.30, "unclear"),  # a large gap hides anything: not the same
        (Interval(1.0, 0.5, 2.0), 0.01, "unclear"),
        (Interval(0.5), 0.05, "unclear"),
        (Interval(0.5, 0.4, 0.6), None, "unclear"),
        (None, 0.05, "unclear"),
    ],
)
def test_versus_reference(ratio: Interval | None, gap: float | None, verdict: str) -> None:
    assert versus_reference(ratio, gap) == verdict


def test_aa_gap_is_the_farther_end_in_either_direction() -> None:
    assert aa_gap(
        fake_rounds({"baseline": [1000.0] * 3}, [1000.0, 1020.0, 900.0]), "invoke"
    ) == pytest.approx(1 / 0.9 - 1)
    assert aa_gap(fake_rounds({"baseline": [1000.0] * 2}, [1000.0, 1030.0]), "invoke") == pytest.approx(0.03)
    assert aa_gap([fake_round({"baseline": 1000.0})], "invoke") is None


def test_without_twin_nothing_is_certain() -> None:
    rounds = [fake_round({"baseline": 1000.0, "a": 100.0}) for _ in range(5)]
    found = summarise(rounds)["a"]["invoke"]
    assert (found.aa_gap, found.verdict_vs_baseline, found.verdict) == (None, "unclear", "noisy")
    assert found.reasons == ("no A/A twin: the noise floor is unknown",)


def test_failed_rounds_are_told_and_left_out() -> None:
    rounds = fake_rounds({"baseline": BASE, "a": HALF}, TWINS)
    rounds[1] = fake_round({"baseline": 1010.0, "a": None}, twin=1008.0)
    found = summarise(rounds)["a"]["invoke"]
    assert (found.rounds, len(found.round_medians)) == (4, 4)
    assert found.reasons == ("failed in 1 of 5 rounds: ValueError: no",)
    assert round_ratios(rounds, "a", "invoke") == pytest.approx([0.5] * 4)
    assert "a" not in summarise([fake_round({"baseline": 1.0, "a": None}, twin=1.0)])


def test_without_the_reference_there_is_no_ratio() -> None:
    rounds = [fake_round({"baseline": None, "a": 100.0}) for _ in range(3)]
    found = summarise(rounds)["a"]["invoke"]
    assert (found.ratio, found.verdict_vs_baseline) == (None, "unclear")
    assert found.p50 == pytest.approx(1e-7)


def test_another_reference() -> None:
    rounds = [fake_round({"b.tflite": 100.0, "a.tflite": 200.0}, twin=100.0, reference="b.tflite")] * 3
    found = summarise(rounds)
    assert found["a.tflite"]["invoke"].ratio == 2
    assert found["a.tflite"]["invoke"].verdict_vs_baseline == "slower"
    assert found["b.tflite"]["invoke"].verdict_vs_baseline is None


def test_blocks_are_marked_and_have_no_percentiles() -> None:
    rounds = [fake_round({"baseline": 100.0}, twin=100.0, block=20) for _ in range(3)]
    found = summarise(rounds)["baseline"]["invoke"]
    assert (found.block, found.p90, found.p99) == (20, None, None)
    assert found.p50 == pytest.approx(100e-9)
    assert found.throughput == pytest.approx(1e7)


def test_nothing_gives_nothing() -> None:
    assert summarise([]) == {}
    assert summarise([RoundResult(reference="a", entries={})]) == {}


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((1000.0, 1050.0, 1090.0), "ok"),
        ((1000.0, 1100.0, 1150.0), "noisy"),
        ((700.0, 1000.0, 1000.0), "unstable"),
    ],
)
def test_spread_between_rounds(values: tuple[float, ...], verdict: str) -> None:
    assert summarise(fake_rounds({"baseline": values}, values))["baseline"]["invoke"].verdict == verdict


@pytest.mark.parametrize(
    ("drift", "verdict"),
    [(0.09, "ok"), (0.2, "noisy"), (-0.2, "noisy"), (0.3, "unstable"), (-0.3, "unstable")],
)
def test_drift_within_a_round(drift: float, verdict: str) -> None:
    rounds = fake_rounds({"baseline": [1000.0] * 3}, [1000.0] * 3)
    rounds[1] = fake_round({"baseline": 1000.0}, twin=1000.0, drift=drift)
    found = summarise(rounds)["baseline"]["invoke"]
    assert found.verdict == verdict
    assert any("drift" in reason for reason in found.reasons) == (verdict != "ok")


@pytest.mark.parametrize(("twin", "verdict"), [(1040.0, "ok"), (1060.0, "noisy"), (1200.0, "unstable")])
def test_aa_gap_in_the_verdict(twin: float, verdict: str) -> None:
    found = summarise(fake_rounds({"baseline": [1000.0] * 3}, [twin] * 3))["baseline"]["invoke"]
    assert found.verdict == verdict


QUIET: dict[str, Any] = {
    "at": 100.0,
    "throttle_count": 4,
    "swap_pages": 10,
    "cpu_seconds": {"busy": 50.0, "stolen": 1.0},
    "own_seconds": 1.0,
    "load_average": [0.1, 0.1, 0.1],
    "on_battery": False,
}


def state(value: dict[str, Any]) -> MachineState:
    return MachineState.model_validate(value)


def cpu(busy: float, stolen: float) -> dict[str, Any]:
    return {"cpu_seconds": {"busy": busy, "stolen": stolen}}


def after(**changes: Any) -> dict[str, Any]:
    """10 s later, of which 9 were computed, all by this process."""
    later = {"at": 110.0, "cpu_seconds": {"busy": 59.0, "stolen": 1.0}, "own_seconds": 10.0}
    return {**QUIET, **later, **changes}


@pytest.mark.parametrize(
    ("changes", "severity", "text"),
    [
        ({"throttle_count": 5}, "unstable", "the CPU throttled itself"),
        ({"swap_pages": 11}, "noisy", "memory was swapped"),
        ({"on_battery": True}, "noisy", "the machine ran on battery"),
        ({"cpu_seconds": {"busy": 62.0, "stolen": 1.0}}, "noisy", "other processes took 15% of the CPU time"),
        (
            {"cpu_seconds": {"busy": 71.0, "stolen": 1.0}},
            "unstable",
            "other processes took 60% of the CPU time",
        ),
        ({"cpu_seconds": {"busy": 59.0, "stolen": 2.0}}, "noisy", "the hypervisor took 5% of the CPU time"),
        (
            {"cpu_seconds": {"busy": 59.0, "stolen": 4.0}},
            "unstable",
            "the hypervisor took 15% of the CPU time",
        ),
    ],
)
def test_disturbances(changes: dict[str, Any], severity: str, text: str) -> None:
    found = disturbances(state(QUIET), state(after(**changes)), cores=2)
    assert [(item.severity, item.text) for item in found] == [(severity, text)]


def test_a_quiet_machine_and_an_unknown_one() -> None:
    assert disturbances(state(QUIET), state(after()), cores=2) == []
    assert disturbances(None, state(after())) == []
    assert disturbances(state({}), state({})) == []
    nothing = dict.fromkeys(QUIET) | {"at": 100.0, "own_seconds": 0.0}
    assert disturbances(state(nothing), state(nothing | {"at": 110.0})) == []
    assert disturbances(state({"load": 0.1}), state({"load": 0.2})) == []


def test_shares_of_a_moment_mean_nothing() -> None:
    shortly = after(at=100.5, cpu_seconds={"busy": 80.0, "stolen": 9.0})
    assert disturbances(state(QUIET), state(shortly), cores=2) == []


def test_load_average_counts_where_cpu_times_are_unknown() -> None:
    loaded = {**QUIET, "load_average": [3.0, 0.0, 0.0]}
    blind = {**loaded, "cpu_seconds": None}
    assert disturbances(state(blind), state(after(cpu_seconds=None)), cores=2)[0].kind == "load"
    assert disturbances(state(loaded), state(after()), cores=2) == []


def test_the_worst_disturbance_of_a_kind_is_told_once() -> None:
    states = [
        {
            "machine": {"cores": 2},
            "state_before": QUIET,
            "state_after": after(cpu_seconds={"busy": busy, "stolen": 1.0}),
        }
        for busy in (59.0, 62.0, 71.0)
    ]
    rounds = fake_rounds({"baseline": [1000.0] * 3}, [1000.0] * 3, *states)
    found = summarise(rounds)["baseline"]["invoke"]
    assert found.verdict == "unstable"
    assert found.reasons == ("other processes took 60% of the CPU time (in 2 of 3 rounds)",)


def test_noise_alone_is_hardly_ever_called_a_difference() -> None:
    """3 rounds, the fewest that give an interval: 2 / (2^3 C(6, 3)) = 1.25 % at most."""
    generator = np.random.default_rng(4)
    called = 0
    for _ in range(400):
        noise = generator.lognormal(7, 0.03, (3, 3))
        rounds = []
        for base, twin, other in noise:
            entries = {
                name: {
                    "error": None,
                    "load_ns": 1,
                    "first_call_ns": 1,
                    "scopes": {"invoke": {**ONE, "median_ns": v}},
                }
                for name, v in (("baseline", base), (TWIN, twin), ("a", other))
            }
            rounds.append(RoundResult.model_validate({"reference": "baseline", "entries": entries}))
        called += summarise(rounds)["a"]["invoke"].verdict_vs_baseline in ("faster", "slower")
    assert called <= 0.0125 * 400 + 3


ONE = scope_times(np.full(10, 1000), 1, 1.0)
