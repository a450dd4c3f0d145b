"""Each check that refuses a number, and each figure of the agent: with made-up clocks, outputs and rails, so
that it is known what has to come out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.pynq.agent import checks, drivers, items, job, power, registers, results, timing
from targets.pynq.emulated import hwh
from tests.board.jobs import FRAMES, INPUTS, Maker, Run, run

TIMES = ("phases", "throughput", "fit", "fit_execute", "windows", "energy")
#: 200 cycles at 100 MHz, the interval of `Maker.overlay`
BOUND_NS = 2000
Clocks = tuple[int, ...]


def patch_call(
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[int, int, np.ndarray, Clocks], tuple[np.ndarray, Clocks]],
) -> list[int]:
    """`change(frames, number of the call with so many, outputs, clocks)` gives what a call returns instead;
    returns the frames of each call that was made."""
    real, made = timing.Lean.call, list[int]()

    def call(self: timing.Lean, values: np.ndarray) -> tuple[np.ndarray, Clocks]:
        found, clocks = real(self, values)
        made.append(self.frames)
        return change(self.frames, made.count(self.frames), found, clocks)

    monkeypatch.setattr(timing.Lean, "call", call)
    return made


def measured(folder: Path, **protocol: Any) -> Run:
    maker = Maker(folder)
    maker.protocol.update(protocol)
    maker.overlay()
    return run(maker.write(), folder)


def refused(item: dict[str, Any], reason: str) -> None:
    """Failed for that reason, and without any time; the accuracy, which is right, stays."""
    assert item["status"] == "failed" and reason in item["reason"], item["reason"]
    names = {entry["name"] for entry in item["refused"]}
    assert set(TIMES) <= names and all(reason in e["reason"] for e in item["refused"] if e["name"] in TIMES)
    assert set(item["phases"]) <= {"load"} and not item["throughput"] and not item["windows"]
    assert item["fit"] is None and item["fit_execute"] is None and item["energy"] is None
    assert item["accuracy"] is not None


def quicker(clocks: Clocks, ns: int) -> Clocks:
    """The same call with an execution of `ns`."""
    t0, t1, t2, t3, t4, t5 = clocks
    return t0, t1, t2, t2 + ns, t4 - t3 + t2 + ns, t5 - t3 + t2 + ns


def test_one_timed_call_shorter_than_its_cycles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # five calls of warm-up, which are as they should be; a batch that does not fit is refused besides
    patch_call(
        monkeypatch,
        lambda frames, number, found, clocks: (
            found,
            quicker(clocks, BOUND_NS - 1) if (frames, number) == (1, 12) else clocks,
        ),
    )
    refused(measured(tmp_path, batches=[4, 256]).item(), "it was not waited for the kernel")


def test_the_bound_itself_is_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_call(
        monkeypatch,
        lambda frames, number, found, clocks: (found, quicker(clocks, BOUND_NS * frames)),
    )
    item = measured(tmp_path).item()
    assert item["status"] == "ok" and item["phases"]["execute"]["p50"] == pytest.approx(BOUND_NS * 1e-9)
    assert {"name": "cycles_bound", "passed": True} in [
        {key: entry[key] for key in ("name", "passed")} for entry in item["sanity"]
    ]


def test_a_batch_shorter_than_its_cycles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_call(
        monkeypatch,
        lambda frames, number, found, clocks: (
            found,
            quicker(clocks, 4 * BOUND_NS - 1) if frames == 4 else clocks,
        ),
    )
    refused(measured(tmp_path).item(), "4 frames took")


@pytest.mark.parametrize("frames", [1, 4])
def test_other_outputs_while_timed(frames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warm = {1: 5, 4: 3}[frames]
    patch_call(
        monkeypatch,
        lambda n, number, found, clocks: (found + (n == frames and number == warm + 2), clocks),
    )
    refused(measured(tmp_path, batches=[4]).item(), "timed calls gave other outputs")


def test_fewer_bytes_while_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = drivers.DmaDriver.received, list[int]()
    careful = 1 + -(-FRAMES // items.COMPARE_BATCH)

    def received(self: drivers.DmaDriver) -> int | None:
        asked.append(1)
        return 4 if len(asked) == careful + 1 else real(self)

    monkeypatch.setattr(drivers.DmaDriver, "received", received)
    refused(measured(tmp_path).item(), "timed calls gave other outputs")


def test_other_outputs_alone_than_among_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = drivers.DmaDriver.run
    monkeypatch.setattr(
        drivers.DmaDriver,
        "run",
        lambda self, values, timeout: real(self, values, timeout) + (len(values) == 1),
    )
    item = measured(tmp_path).item()
    assert item["status"] == "failed" and "other outputs alone than among others" in item["reason"]
    assert {*TIMES, "accuracy"} <= {entry["name"] for entry in item["refused"]}


def test_pynqs_own_driver_with_other_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, alone = drivers.DmaDriver.run, list[int]()

    def careful(self: drivers.DmaDriver, values: np.ndarray, timeout: float) -> np.ndarray:
        # the second single frame is the first that pynq's driver runs too
        alone.extend([1] * (len(values) == 1))
        return real(self, values, timeout) + (len(values) == 1 and len(alone) == 2)

    monkeypatch.setattr(drivers.DmaDriver, "run", careful)
    item = measured(tmp_path).item()
    assert item["status"] == "failed" and item["reason"] == "pynq's own driver gives other outputs"
    assert set(TIMES) <= {entry["name"] for entry in item["refused"]} and set(item["phases"]) <= {"load"}


def test_a_design_that_cannot_keep_its_clock_is_not_timed(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.protocol["batches"] = [4, 256]  # what does not fit is refused besides
    maker.overlay()["sanity"]["wns_ns"] = -0.2
    item = run(maker.write(), tmp_path).item()
    refused(item, "worst slack after routing -0.2 ns")
    assert item["register_accesses"] is None


def facts(mhz: float | None = 100.0, **sanity: float) -> list[str]:
    out = results.Outcome()
    checks.check_facts({"clock_mhz": 100.0, "sanity": sanity}, mhz, out)
    return [entry["name"] for entry in out.value["sanity"] if entry["passed"] is False]


def test_clocks_and_slack() -> None:
    good = {"clock_target_ns": 10.0, "clock_estimate_ns": 8.0, "wns_ns": 0.1}
    assert facts(**good) == [] and facts() == []
    assert facts(None, **good) == ["clock"]
    assert facts(100.4, **good) == [] and facts(101.0, **good) == ["clock", "clock_reach"]
    assert facts(99.0, **good) == ["clock"]
    assert facts(**{**good, "wns_ns": -0.01}) == ["slack"]
    assert facts(**{**good, "wns_ns": 0.0}) == []
    assert facts(clock_target_ns=10.0, clock_estimate_ns=10.1) == ["clock_estimate"]
    assert facts(**{**good, "clock_estimate_ns": 10.1}) == []  # the routed design keeps its clock
    assert facts(**{**good, "clock_estimate_ns": 10.1, "wns_ns": -1.0}) == [
        *("slack", "clock_estimate", "clock_reach"),
    ]
    assert facts(**{**good, "clock_target_ns": 20.0}) == ["clock_reach"]


def test_phases_percentiles_batches_and_their_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure, from made-up clocks: µs of encode 1, copy in 2, execute, copy out 7, decode 11."""

    def made_up(frames: int, number: int, found: np.ndarray, clocks: Clocks) -> tuple[np.ndarray, Clocks]:
        # one frame: another time each call; batches: exactly 1000 + 300 N
        execute = 5000 + number if frames == 1 else 1000 + 300 * frames
        steps = np.cumsum([0, 1, 2, execute, 7, 11]) * 1000
        return found, tuple(int(step) for step in steps)

    made = patch_call(monkeypatch, made_up)
    done = measured(tmp_path, warmup_calls=7, calls=100, batches=[2, 4, 16])
    item = done.item()
    phases = item["phases"]
    for name, micro in (("encode", 1), ("copy_in", 2), ("copy_out", 7), ("decode", 11)):
        assert phases[name]["p50"] == phases[name]["p99"] == pytest.approx(micro * 1e-6), name
    execute = (5000 + np.arange(8, 108)) * 1e-6
    assert phases["execute"]["n"] == 100
    for key, part in (("p50", 50), ("p95", 95), ("p99", 99)):
        assert phases["execute"][key] == pytest.approx(np.percentile(execute, part)), key
        assert phases["end_to_end"][key] == pytest.approx(np.percentile(execute + 21e-6, part)), key
    assert phases["execute"]["min"] == pytest.approx(execute.min())
    assert [row["batch"] for row in item["throughput"]] == [2, 4, 16]
    for row in item["throughput"]:
        assert row["execute_seconds"] == pytest.approx([1e-6 * (1000 + 300 * row["batch"])] * 3)
        assert row["seconds"] == pytest.approx([1e-6 * (1021 + 300 * row["batch"])] * 3)
    assert (item["fit"]["a_s"], item["fit"]["b_s"]) == (pytest.approx(1021e-6), pytest.approx(300e-6))
    assert item["fit_execute"]["a_s"] == pytest.approx(1000e-6)
    assert item["fit_execute"]["b_s"] == pytest.approx(300e-6) and item["fit"]["r2"] == pytest.approx(1)
    # warm-up, the timed calls, and those of which the register accesses are counted
    assert made.count(1) == 7 + 100 + registers.COUNTED_CALLS and made.count(4) == 3 + 3


def test_at_most_three_register_accesses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accesses = measured(tmp_path).item()["register_accesses"]
    assert accesses["lean"] == {"reads": 1.0, "writes": 2.0}
    assert accesses["stock"]["reads"] + accesses["stock"]["writes"] >= 20
    # without the pause before the first look at the status it looks again and again
    real = timing.Lean.warm_up

    def impatient(self: timing.Lean, values: np.ndarray, calls: int) -> int:
        shortest = real(self, values, calls)
        self.hold = 0
        return shortest

    monkeypatch.setattr(timing.Lean, "warm_up", impatient)
    maker = Maker(tmp_path / "again")
    maker.overlay(cycles={"latency": 9000, "interval": 9000, "source": "csynth"})
    lean = run(maker.write(), tmp_path / "again").item()["register_accesses"]["lean"]
    assert lean["reads"] + lean["writes"] > 3


def loopback(folder: Path) -> Run:
    maker = Maker(folder)
    item = maker.overlay()
    bit, handoff = hwh.write_overlay(folder / "echo", dma="hier_0/axi_dma_0", what="loopback")
    item["files"].update({"loopback.bit": maker.file(bit), "loopback.hwh": maker.file(handoff)})
    return run(maker.write(), folder)


def test_a_loopback_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = drivers.DmaDriver.run
    monkeypatch.setattr(
        drivers.DmaDriver,
        "run",
        lambda self, values, timeout: real(self, values, timeout) + (self.outputs == INPUTS),
    )
    item = loopback(tmp_path).item()
    (refused,) = item["refused"]
    assert refused["name"] == "loopback" and "gives back other values than were sent" in refused["reason"]
    # it is the baseline only: what was measured of the kernel stands
    assert item["status"] == "ok" and item["loopback"] is None and item["phases"]["execute"]["n"] == 20


def test_a_loopback_for_another_part_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maker = Maker(tmp_path)
    item = maker.overlay()
    bit, handoff = hwh.write_overlay(tmp_path / "echo", dma="hier_0/axi_dma_0", soc=hwh.ULTRASCALE)
    item["files"].update({"loopback.bit": maker.file(bit), "loopback.hwh": maker.file(handoff)})
    found = run(maker.write(), tmp_path).item()
    assert found["refused"] == [
        {"name": "loopback", "reason": "the loopback is for zu9egffvb11562e, the overlay for 7z020clg400"}
    ]


def test_what_the_kernel_takes_above_the_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made_up(self: timing.Lean, values: np.ndarray) -> tuple[np.ndarray, Clocks]:
        # the way there and back takes 40 µs, the kernel 60
        found, clocks = real(self, values)
        return found, quicker(clocks, 40_000 if self.driver.outputs == INPUTS else 100_000)

    real = timing.Lean.call
    monkeypatch.setattr(timing.Lean, "call", made_up)
    item = loopback(tmp_path).item()
    assert item["phases"]["execute"]["p50"] == pytest.approx(100e-6)
    assert item["loopback"]["execute"]["p50"] == pytest.approx(40e-6)
    assert item["loopback"]["execute_above_loopback_s"] == pytest.approx(60e-6)


def test_five_windows_of_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window lasts until its time is over by the board's clock, and counts what was finished."""

    class Clock:
        ns = 0

        def now_ns(self) -> int:
            return self.ns

    clock = Clock()

    def call(index: int) -> None:
        clock.ns += 400_000_000

    found = timing.window(clock, call, 7, 10.0)  # type: ignore[arg-type]
    assert found["seconds"] == pytest.approx(10.0) and found["inferences"] == 25
    assert found["per_second"] == pytest.approx(2.5)


def test_the_preset_decides_about_windows(tmp_path: Path) -> None:
    (tmp_path / "mlperf").mkdir()
    found = measured(tmp_path / "mlperf", preset="mlperf", windows=5, window_seconds=2.0).item()["windows"]
    assert len(found) == 5
    # the emulated board's seconds are a thousandth of what is asked
    assert all(0.002 <= window["seconds"] < 0.004 for window in found)
    assert measured(tmp_path, windows=5).item()["windows"] == []


def metered(
    rails: dict[str, Callable[[], float]], call: Callable[[int], Any], busy: float = 0.3
) -> dict[str, Any]:
    energy = power.Energy(Path("/nowhere"), 0.2, busy)
    energy.rails = rails
    found = energy.measure(call, 3)
    assert found is not None
    return found


def test_energy_of_the_input_rail_with_idle_taken_off() -> None:
    loud = [False]

    def call(index: int) -> None:
        assert index < 3
        loud[0] = True
        time.sleep(0.01)

    def slow() -> float:
        time.sleep(0.03)  # so that it cannot be read as often as asked
        return 5.0 if loud[0] else 2.0

    found = metered({"ina/12v": slow, "ina/1v8": lambda: 1.0}, call)
    assert found["total_of"] == ["ina/12v"] and set(found["rails"]) == {"ina/12v", "ina/1v8"}
    assert found["idle"]["watt"] == pytest.approx(2.0)
    # the first sample may still be of the quiet board
    assert 4.0 < found["total_j"] / found["seconds"] <= 5.0 + 1e-9
    net = found["total_j"] - 2.0 * found["seconds"]
    assert found["net_j"] == pytest.approx(net) and found["inferences"] > 1
    assert found["net_j_per_inference"] == pytest.approx(net / found["inferences"])
    assert found["total_j_per_inference"] == pytest.approx(found["total_j"] / found["inferences"])
    # achieved, not asked for
    assert found["rate_hz"] == pytest.approx((found["samples"] - 1) / found["seconds"])
    assert found["rate_hz"] < 34 < 1 / power.Energy.INTERVAL


def test_rails_without_an_input_are_summed() -> None:
    found = metered({"a/int": lambda: 1.0, "a/aux": lambda: 0.5}, lambda index: time.sleep(0.01))
    assert found["total_of"] == ["a/aux", "a/int"]
    assert found["total_j"] == pytest.approx(1.5 * found["seconds"])


def test_a_rail_that_cannot_be_read_is_no_energy() -> None:
    read = [0]

    def broken() -> float:
        read[0] += 1
        if read[0] == 4:  # once, while it is idle
            raise OSError("no answer")
        return 1.0

    with pytest.raises(job.ItemError, match="power rail cannot be read"):
        metered({"a": broken}, lambda index: time.sleep(0.01))


def test_an_overlay_that_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pynq

    monkeypatch.setattr(pynq.Overlay, "is_loaded", lambda self: False)
    item = measured(tmp_path).item()
    assert item["status"] == "failed" and "the overlay is not loaded" in item["reason"]
    assert item["bitstream_loaded"] is False and item["phases"] == {} and item["accuracy"] is None


def test_outputs_and_frames_that_differ_are_counted(tmp_path: Path) -> None:
    class Kept:
        def sample(self, name: str, values: np.ndarray) -> str:
            return f"samples/{name}.npy"

    expected = np.zeros((4, 3), np.float32)
    found = expected.copy()
    found[1, 0], found[1, 2], found[3, 1] = 1.0, -2.0, 0.5
    out = results.Outcome()
    assert not checks.compare(found, expected, True, out, Kept())  # type: ignore[arg-type]
    told = out.value["agreement"]
    assert (told["n"], told["mismatches"], told["bit_exact"]) == (12, 3, False)
    assert (told["frames"], told["frames_mismatched"], told["first_mismatch"]) == (4, 2, 1)
    assert told["max_difference"] == 2.0
