"""Step build_overlay with a stand-in for the tools: products checked, limits kept, nothing left behind."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.core.registry import STEPS
from bench.core.step import StepContext, StepOutcome
from bench.errors import StepError, Unavailable
from targets.fpga import guard
from targets.fpga.vendor import flow
from targets.fpga.vendor.tools import Tool
from tests import vendor
from tests.tiny import failed
from tests.toy import MODEL


def build(folder: Path, design: dict[str, Any] | None = None, **params: Any) -> tuple[Path, StepOutcome]:
    parent = vendor.artifact(folder / "hls", **(design or {}))
    out = folder / "out"
    out.mkdir()
    step = STEPS.get("build_overlay")
    return out, step.run(StepContext(MODEL, step.Params(**params), 0, parent, None, out))


def alive(log: Path) -> list[int]:
    pids = [int(line.split()[0]) for line in log.read_text().splitlines()]
    return [pid for pid in pids if Path(f"/proc/{pid}").exists() and "Z" not in _state(pid)]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_an_overlay_has_its_files_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado")
    out, outcome = build(tmp_path)
    assert failed(outcome) == []
    stem = outcome.facts["stem"]
    assert stem.startswith("toy_")
    assert {path.name for path in (out / "overlay").iterdir()} == {
        f"{stem}.bit",
        f"{stem}.hwh",
        "axi_stream_driver.py",
    }
    assert not (out / "project").exists()
    assert (out / "reports/network_prj/solution1/syn/report/network_axi_csynth.xml").is_file()
    commands = [line.split(" ", 1)[1] for line in log.read_text().splitlines()]
    assert commands == [
        "vivado_hls -f build_prj.tcl "
        "reset=1 csim=0 synth=1 cosim=0 validation=0 export=1 vsynth=0 fifo_opt=0",
        "vivado -mode batch -source design.tcl",
    ]
    assert "INFO: vivado_hls begins" in (out / "build.log").read_text()


def test_manifest_links_network_project_and_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.store.store import folder_digest
    from targets.fpga.vendor import manifest
    from targets.fpga.vendor.products import digest_of

    vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado")
    out, _ = build(tmp_path)
    found = manifest.read(out)
    assert found is not None
    parent = tmp_path / "hls"
    assert found["links"]["model.keras"] == digest_of(parent / "model.keras")
    assert found["links"]["hls"] == folder_digest(parent)
    assert found["links"]["project"] == folder_digest(parent / "project")
    assert found["tools"] == {"vivado_hls": "2020.1", "vivado": "2020.1"}
    assert manifest.changed(out, found) == []
    next((out / "overlay").glob("*.bit")).write_bytes(b"another")
    assert len(manifest.changed(out, found)) == 1
    assert str(tmp_path) not in (out / "manifest.json").read_text()


def test_facts_are_those_that_reports_expect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado")
    _, outcome = build(tmp_path, vsynth=True)
    hardware = outcome.facts["hardware"]
    assert {"hls_est", "synth", "impl"} <= set(hardware)
    assert hardware["fits"]["hls_est"] is True
    assert hardware["percent"]["hls_est"]["lut"] == pytest.approx(100 * 2532 / 53200)
    assert hardware["timing"]["wns_ns"] == 1.204 and hardware["timing"]["clock_estimate_ns"] == 4.049
    # The clock of the routed design, not the one that HLS aimed at.
    assert hardware["kernel_latency_s"] == pytest.approx(10 * 10e-9)
    assert hardware["device"]["name"] == "xc7z020"
    assert json.dumps(outcome.facts, allow_nan=False)


@pytest.mark.parametrize(
    ("mode", "check"),
    [
        ("no-csynth", "C synthesis"),
        ("other-top", "C synthesis"),
        ("truncated", "reports readable"),
        ("no-bit", "bitstream"),
        ("bit-empty", "bitstream"),
        ("bit-short", "bitstream"),
        ("bit-part", "bitstream"),
        ("no-hwh", "hardware handoff"),
        ("hwh-part", "hardware handoff"),
        ("hwh-design", "hardware handoff"),
        ("hwh-young", "hardware handoff"),
        ("hwh-short", "hardware handoff"),
        ("no-timing", "timing met"),
        ("slack", "timing met"),
        ("no-use", "report of use"),
    ],
)
def test_a_bad_product_fails_its_check(
    mode: str, check: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado", mode=mode)
    out, outcome = build(tmp_path)
    assert check in failed(outcome)
    assert not (out / "manifest.json").exists()


def test_slack_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado", mode="slack")
    _, outcome = build(tmp_path)
    assert "WNS -0.412 ns" in next(check.detail for check in outcome.checks if check.name == "timing met")
    assert outcome.facts["hardware"]["timing"]["wns_ns"] == -0.412


@pytest.mark.parametrize(("mode", "names"), [("ok", []), ("no-ip", ["IP core"])])
def test_vitis_gives_an_ip_core(
    mode: str, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = vendor.on_path(monkeypatch, tmp_path, "vitis-run", mode=mode)
    monkeypatch.setenv("VENDOR_VERSION", "2024.1")
    out, outcome = build(tmp_path, {"backend": "vitis"}, backend="Vitis")
    assert failed(outcome) == names
    assert "vitis-run --tcl build_prj.tcl --mode hls" in log.read_text()
    if not names:
        assert (out / "ip" / "component.xml").is_file()
        assert outcome.facts["stages"]["bitstream"] is False


def test_older_vitis_hls_does_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = vendor.on_path(monkeypatch, tmp_path, "vitis-run", "vitis_hls")
    monkeypatch.setenv("VENDOR_VERSION", "2022.2")
    _, outcome = build(tmp_path, {"backend": "vitis"}, backend="Vitis")
    assert failed(outcome) == []
    assert "vitis_hls -f build_prj.tcl" in log.read_text()


def test_time_limit_ends_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado", mode="hang")
    begun = time.monotonic()
    with pytest.raises(StepError, match=r"(?s)time limit of 3 s.*--time-limit"):
        build(tmp_path, time_limit_s=3)
    assert time.monotonic() - begun < 20
    assert "child" in log.read_text()
    assert alive(log) == []


def test_memory_limit_ends_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado", mode="memory")
    with pytest.raises(StepError, match=r"held 0\.\d\d GB of memory.*limit of 0\.20 GB"):
        build(tmp_path, memory_limit_gb=0.2)
    assert alive(log) == []


def test_what_a_tool_leaves_running_is_ended(tmp_path: Path) -> None:
    leaves = (
        "import subprocess, sys\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "print(subprocess.Popen(sleep, start_new_session=True).pid)\n"
    )
    log = tmp_path / "log"
    ended = guard.run(
        [sys.executable, "-c", leaves],
        folder=tmp_path,
        log=log,
        environment=dict(os.environ),
        seconds=300,
        memory_bytes=1e12,
    )
    assert (ended.code, ended.limit) == (0, None)
    assert len(log.read_text().split()) == 1 and alive(log) == []


def test_the_time_limit_is_for_all_tools_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[float] = []

    def run(command: list[str], *, seconds: float, **_: Any) -> guard.Ended:
        left.append(seconds)
        return guard.Ended(0, None, 40.0, 1000)

    monkeypatch.setattr(flow, "run", run)
    tools = [Tool(name, tmp_path / name, "2020.1", "PATH") for name in ("vivado_hls", "vivado")]
    stages, limits = flow.Stages(bitstream=True, vsynth=True), flow.Limits(100.0, 1e9)
    flow.build(tmp_path, "VivadoAccelerator", stages, tools, limits, tmp_path / "log", lambda text: None)
    assert left == [100.0, 60.0, 20.0]


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("crash", r"failed \(exit code 1\).*ERROR: \[HLS 200-70\]"),
        ("killed", r"was killed \(signal 9"),
        ("y2k22", "answer record 76960"),
    ],
)
def test_a_tool_that_fails_says_why(
    mode: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado", mode=mode)
    with pytest.raises(StepError) as caught:
        build(tmp_path)
    import re

    assert re.search(text, str(caught.value), re.DOTALL)


def test_without_tools_it_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.nowhere(monkeypatch)
    with pytest.raises(Unavailable, match="vivado_hls was not found"):
        build(tmp_path)
    step = STEPS.get("build_overlay")
    reason = step.unavailable(step.Params().model_dump(mode="json"))
    assert reason is not None and "XILINX_HLS" in reason and "--write-only" in reason


def test_what_cannot_fit_is_refused_before_the_tools_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado")
    with pytest.raises(StepError, match=r"(?s)unrolls 6,400 multiplications.*limit is 4,096.*--force-build"):
        build(tmp_path, {"n_in": 640, "n_out": 10})
    assert not log.exists()


def test_force_builds_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado")
    _, outcome = build(tmp_path, {"n_in": 640, "n_out": 10}, force=True)
    assert failed(outcome) == []
    assert outcome.facts["precheck"]["refusals"]
