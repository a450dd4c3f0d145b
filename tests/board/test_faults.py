"""Each fault that the emulated board can have is seen by the agent, and no number of it gets through."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from targets.pynq.emulated import faults
from tests.board.jobs import Maker, command, run

TIMES = ("phases", "throughput", "fit", "windows", "energy")
A, B = "tiny/a/seed0", "tiny/b/seed0"

#: fault: (style, status, what the reason says)
SEEN = {
    "missing_flush": ("axis_dma", "failed", "differ from the C simulation"),
    "missing_flush ": ("m_axi", "failed", "differ from the C simulation"),
    "missing_invalidate": ("axis_dma", "failed", "differ"),
    "short_receive": ("axis_dma", "failed", "8 bytes came, not 12"),
    "short_receive ": ("m_axi", "failed", "other outputs"),
    "stuck_stream": ("axis_dma", "timeout", "no answer within 1 s"),
    "stuck_stream ": ("m_axi", "timeout", "no answer within 1 s"),
    "dma_error=internal": ("axis_dma", "failed", "DMA, sending: internal error"),
    "dma_error=slave": ("axis_dma", "failed", "DMA, sending: slave error"),
    "dma_error=decode": ("axis_dma", "failed", "DMA, sending: decode error"),
    "wrong_address": ("axis_dma", "failed", "decode error"),
    "wrong_address ": ("m_axi", "timeout", "no answer"),
    "other_overlay": ("axis_dma", "failed", "frames differ from the C simulation"),
}


@pytest.mark.parametrize("fault", list(SEEN))
def test_no_number_of_a_faulty_board(fault: str, tmp_path: Path) -> None:
    style, status, reason = SEEN[fault]
    maker = Maker(tmp_path)
    maker.overlay(A, style=style)
    maker.overlay(B, style=style, factor=0.25)
    done = run(maker.write(), tmp_path, faults=f"{fault.strip()}@{A}")
    item = done.item(A)
    assert done.code == 1 and item["status"] == status and reason in item["reason"], item["reason"]
    assert set(item["phases"]) <= {"load"} and not item["throughput"] and item["accuracy"] is None
    assert {*TIMES, "accuracy"} <= {entry["name"] for entry in item["refused"]}
    assert done.item(B)["status"] == "ok"  # the next one is not harmed


@pytest.mark.parametrize("fault, check, reason", [
    # pynq 3 sets dividers, pynq 4 a frequency: with this PLL neither gets 100 MHz
    ("clock=150", "clock", "MHz, 100 MHz were asked for"),
    ("fast", "cycles_bound", "it was not waited for the kernel"),
])  # fmt: skip
def test_right_outputs_but_no_time(fault: str, check: str, reason: str, tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    # so slow a kernel that no access to a register takes as long
    maker.overlay(cycles={"latency": 9000, "interval": 9000, "source": "csynth"})
    done = run(maker.write(), tmp_path, faults=fault)
    item = done.item()
    assert item["status"] == "failed" and reason in item["reason"], item["reason"]
    assert next(entry["name"] for entry in item["sanity"] if entry["passed"] is False) == check
    assert item["agreement"]["bit_exact"] and item["accuracy"]["errors"] == 7
    assert set(item["phases"]) <= {"load"} and item["fit"] is None and not item["throughput"]


@pytest.mark.parametrize("sanity, reason", [
    ({"wns_ns": -0.2}, "worst slack after routing -0.2 ns"),
    ({"wns_ns": None, "clock_estimate_ns": 10.4}, "estimated clock 10.4 ns, target 10 ns"),
    ({"clock_target_ns": 20.0}, "routed for 50 MHz and runs at 100"),
])  # fmt: skip
def test_design_that_cannot_keep_its_clock(sanity: dict[str, Any], reason: str, tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.overlay()["sanity"].update(sanity)
    item = run(maker.write(), tmp_path).item()
    assert item["status"] == "failed" and reason in item["reason"]
    assert item["accuracy"] is not None and set(item["phases"]) == {"load"}


def test_estimate_over_target_with_routed_slack(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.overlay()["sanity"].update({"clock_estimate_ns": 10.4})
    assert run(maker.write(), tmp_path).item()["status"] == "ok"


def test_differences_that_are_allowed(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.overlay(exact=False)
    item = run(maker.write(), tmp_path, faults="other_overlay").item()
    assert item["status"] == "ok" and item["agreement"]["mismatches"] > 0
    assert item["phases"]["execute"]["n"] == 20


def test_full_disk_keeps_what_was_measured(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.overlay(A)
    maker.overlay(B)
    job = maker.write()
    done = run(job, tmp_path, faults="full_disk=14")
    assert done.code == 1 and "No space left" in done.said, done.said
    assert done.item(A)["status"] == "ok" and B not in done.result["items"]
    assert not (tmp_path / "result.tar.gz").exists()
    done = run(job, tmp_path)
    assert done.code == 0 and f"{A}: ok (before)" in done.said and done.item(B)["status"] == "ok"


def test_board_that_goes_down_every_time(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.overlay(A)
    maker.overlay(B)
    job = maker.write()
    assert run(job, tmp_path, faults=f"drop=9@{B}", own_process=True).code == -signal.SIGKILL
    path = tmp_path / "work" / "result" / "result.json"
    value = json.loads(path.read_text())
    assert value["attempts"] == {B: 1} and value["items"][A]["status"] == "ok"
    path.write_text(json.dumps({**value, "attempts": {B: 3}}))
    done = run(job, tmp_path)
    assert done.code == 1 and done.item(A)["status"] == "ok"
    assert "went down 3 times" in done.item(B)["reason"]


def test_killed_agent_goes_on(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.overlay(A)
    maker.overlay(B)
    job = maker.pack()
    environment = {**os.environ, "EMULATED_FAULTS": f"slow=0.2@{B}"}
    child = subprocess.Popen(command(job, tmp_path), env=environment, stdout=subprocess.PIPE)
    assert child.stdout is not None
    line = child.stdout.readline()
    assert b"ok" in line
    time.sleep(0.3)
    # another one is not let in, and is told by whom
    other = run(job, tmp_path)
    assert other.code == 3 and f"process {child.pid}" in other.said and " of user " in other.said
    # nobody listens any more: it goes on
    child.stdout.close()
    child.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert child.poll() is None
    child.kill()
    child.wait()
    done = run(job, tmp_path)
    assert done.code == 0 and f"{A}: ok (before)" in done.said


def test_connection_lost_before_the_first_word(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.overlay(A)
    child = subprocess.Popen(command(maker.write(), tmp_path), stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.close()
    assert child.wait(timeout=60) == 0 and (tmp_path / "result.tar.gz").is_file()


def test_names_of_faults() -> None:
    tested = {fault.strip().partition("=")[0] for fault in SEEN}
    # `slow` is none by itself: it makes room for the others to happen
    assert tested | {"clock", "fast", "full_disk", "drop", "slow"} == set(faults.KNOWN)
    with pytest.raises(ValueError, match="no fault 'nonsense'"):
        faults.Faults("nonsense")
    found = faults.Faults("dma_error=slave@x, fast")
    assert found.value("dma_error") is None and found.active("fast")
    found.item = "x"
    assert found.value("dma_error") == "slave"
