"""Vendor builds through the engine: skipped, keyed, resumed, recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bench.core import registry
from bench.run.engines.local import python
from bench.run.plan import make_plan
from bench.run.progress import PlainReporter
from bench.run.run import RunSummary, run_sweep
from bench.store.store import Store
from tests import vendor
from tests.unit.test_vendor_build import alive


@pytest.fixture(autouse=True)
def _activated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    vendor.nowhere(monkeypatch)
    vendor.activate(monkeypatch, tmp_path)


def run(root: Path, *, retry_failed: bool = False, **options: Any) -> tuple[RunSummary, Store]:
    store = Store(root)
    sweep = vendor.sweep(**options)
    return run_sweep(sweep, store, reporter=PlainReporter(), retry_failed=retry_failed), store


def key(**options: Any) -> str:
    vendor_sweep = vendor.sweep(**options)
    return make_plan(vendor_sweep, Store("nowhere")).cells[0].build_keys[-1]


def test_without_tools_the_cell_is_skipped_with_the_reason(tmp_path: Path) -> None:
    plan = make_plan(vendor.sweep(), Store(tmp_path / "r"))
    (cell,) = plan.cells
    assert cell.skipped is not None and "vivado_hls was not found" in cell.skipped
    assert cell.evaluate_key is None
    assert {task.state for task in plan.tasks.values()} == {"skipped"}


def test_a_build_is_recorded_and_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado")
    summary, store = run(tmp_path / "r")
    assert (summary.exit_code, summary.ran) == (0, 2), summary.failed
    record = store.read("build", key())
    assert record is not None and record.status == "ok"
    assert record.result["format"] == "overlay"
    assert "INFO: vivado begins" in store.log_path(record.key).read_text()
    assert run(tmp_path / "r")[0].ran == 0
    assert len(log.read_text().splitlines()) == 2


def test_reports_cope_with_a_cell_that_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import report

    vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado")
    run(tmp_path / "r")
    frame = report.frame(tmp_path / "r", "vendor")
    row = frame[frame.metric == "accuracy"].iloc[0]
    assert row.status == "skipped" and "nothing here runs it" in row.reason
    lut = frame[(frame.metric == "lut") & frame.seed.notna()]
    assert dict(zip(lut.stage, lut.value, strict=True)) == {"hls_est": 2532.0, "impl": 1200.0}
    assert set(lut.origin) == {"estimated"}
    assert (frame[frame.metric == "slack"].value == 1.204e-9).all()


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("no-bit", "there is no .bit file"), ("slack", "WNS -0.412 ns"), ("crash", "HLS 200-70")],
)
def test_a_build_that_gave_nothing_good_is_a_failed_record(
    mode: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado", mode=mode)
    summary, store = run(tmp_path / "r")
    assert summary.exit_code == 1
    record = store.read("build", key())
    assert record is not None and record.status == "failed" and reason in (record.reason or "")
    assert "artifact" not in record.result
    monkeypatch.setenv("VENDOR_MODE", "ok")
    assert run(tmp_path / "r")[0].exit_code == 1  # on record
    assert run(tmp_path / "r", retry_failed=True)[0].exit_code == 0


def test_the_version_is_part_of_the_key_and_limits_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.on_path(monkeypatch, tmp_path / "a", "vivado_hls", "vivado")
    first = key()
    assert key(time_limit_s=60.0, memory_limit_gb=3.0, force=True) == first
    assert key(csim=True) != first
    monkeypatch.setenv("VENDOR_VERSION", "2019.2")
    vendor.on_path(monkeypatch, tmp_path / "b", "vivado_hls", "vivado")
    assert key() != first


def test_keys_of_other_steps_hold_no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.run import keys

    seen: list[Any] = []
    monkeypatch.setattr(keys, "digest", lambda value: seen.append(value) or "0" * 64)
    keys.build_key("toy", 0, "toy_train", {}, None, None)
    assert "identity" not in seen[-1]
    keys.build_key("toy", 0, "build_overlay", vendor.sweep().cells[0].chain.steps[-1].params, None, None)  # type: ignore[union-attr]
    assert seen[-1]["identity"] == {"vivado_hls": None, "vivado": None}


def test_the_task_may_take_as_long_as_its_tools(tmp_path: Path) -> None:
    plan = make_plan(vendor.sweep(time_limit_s=40_000.0), Store(tmp_path / "r"))
    (task,) = [task for task in plan.tasks.values() if task.task["step"] == "build_overlay"]
    assert task.timeout > 40_000


def test_a_killed_run_is_resumed_and_leaves_no_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado", mode="hang")
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        python("tests.vendor", str(tmp_path / "r")), cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (log.exists() and "child" in log.read_text()):
        time.sleep(0.1)
    assert "child" in log.read_text()
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and alive(log):
        time.sleep(0.2)
    assert alive(log) == []
    monkeypatch.setenv("VENDOR_MODE", "ok")
    summary, _ = run(tmp_path / "r")
    assert (summary.exit_code, summary.ran, summary.cached) == (0, 1, 1)


def test_an_interrupt_ends_the_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado", mode="hang")
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        python("tests.vendor", str(tmp_path / "r")), cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (log.exists() and "child" in log.read_text()):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and alive(log):
        time.sleep(0.2)
    assert alive(log) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"board": "kv260"}, "has no board 'kv260'"),
        ({"backend": "VitisUnified", "board": "pynq-z2"}, "only zcu102, kv260"),
        ({"board": "zcu102", "part": "xc7z020clg400-1"}, "board zcu102 has part xczu9eg"),
        ({"clock_ns": 20.0}, "block design runs at 10 ns"),
        ({"backend": "VitisUnified", "io_type": "io_parallel"}, "io_stream only"),
        ({"backend": "Vitis", "board": "nonesuch"}, "unknown board"),
        ({"reuse_factor": 0}, "greater than or equal to 1"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        registry.TARGETS.get("fpga").Options(**options)


def test_options_that_do_not_go_together_are_told_without_a_parameters_name() -> None:
    from bench.errors import ConfigError
    from bench.sweep.loader import parse_sweep

    text = "sweep: a\nmodels: [digits_mlp]\nvariants: [qat]\ntargets: [{fpga: {board: kv260}}]\n"
    with pytest.raises(ConfigError) as caught:
        parse_sweep(text)
    assert caught.value.what.startswith("target 'fpga': backend VivadoAccelerator has no board 'kv260'")


def test_grids_of_a_sweep_file() -> None:
    from bench.sweep.loader import parse_sweep

    sweep = parse_sweep(
        {
            "models": ["digits_mlp"],
            "variants": ["qat"],
            "seeds": [0],
            "targets": [{"fpga": {"backend": "Vitis", "reuse_factor": [1, 4], "clock_ns": [5, 10]}}],
        }
    )
    cells = [cell for cell in sweep.cells if cell.variant == "qat"]
    assert len(cells) == 4
    steps = [cell.chain.steps for cell in cells if cell.chain is not None]
    assert {(s[-2].params["reuse_factor"], s[-2].params["clock_ns"]) for s in steps} == {
        (1, 5.0),
        (1, 10.0),
        (4, 5.0),
        (4, 10.0),
    }
    assert not any(cell.measured for cell in cells)


ZYNQ, MPSOC = "xc7z020clg400-1", "xczu9eg-ffvb1156-2-e"


@pytest.mark.parametrize(
    ("backend", "option", "values", "written"),
    [
        ("Vitis", "reuse_factor", [1, 16], {"reuse_factor": [1, 16]}),
        ("Vitis", "strategy", ["latency", "resource"], {"strategy": ["latency", "resource"]}),
        ("Vitis", "clock_ns", [5.0, 10.0], {"clock_ns": [5.0, 10.0]}),
        ("Vivado", "io_type", ["io_parallel", "io_stream"], {"io_type": ["io_parallel", "io_stream"]}),
        ("Vitis", "part", [ZYNQ, MPSOC], {"part": [ZYNQ, MPSOC], "board": [None, None]}),
        (
            "VivadoAccelerator",
            "board",
            ["pynq-z2", "zcu102"],
            {"board": ["pynq-z2", "zcu102"], "part": [ZYNQ, MPSOC]},
        ),
    ],
)
def test_each_option_is_a_grid_of_projects(
    backend: str, option: str, values: list[Any], written: dict[str, list[Any]]
) -> None:
    from bench.sweep.loader import parse_sweep
    from bench.workflows.vendor_build import make_sweep

    target = {"fpga": {"backend": backend, option: values}}
    sweep = parse_sweep({"models": ["digits_mlp"], "variants": ["qat"], "seeds": [0], "targets": [target]})
    from_a_file = [cell for cell in sweep.cells if cell.variant == "qat"]
    by_command = make_sweep("digits_mlp/qat", {"backend": backend, option: values}).cells
    for cells in (from_a_file, by_command):
        chains = [cell.chain.steps for cell in cells if cell.chain is not None]
        assert [chain[-1].step for chain in chains] == ["build_overlay"] * 2
        for name, wanted in written.items():
            assert [chain[-2].params[name] for chain in chains] == wanted


class TestMakeSweep:
    """The sweep that `bench build` makes of a cell."""

    def test_has_the_variant_alone(self) -> None:
        from bench.workflows.vendor_build import make_sweep

        options = {"backend": "Vivado", "reuse_factor": [1, 4], "clock_ns": 5.0, "part": None}
        sweep = make_sweep("digits_mlp/qat", options, seed=3)
        assert {(cell.variant, cell.seed) for cell in sweep.cells} == {("qat", 3)}
        assert [cell.options["reuse_factor"] for cell in sweep.cells] == [1, 4]
        assert sweep.protocol.rounds == 0

    def test_written_and_built_share_the_project(self) -> None:
        from bench.workflows.vendor_build import make_sweep

        store = Store("nowhere")
        built = make_plan(make_sweep("digits_mlp/qat", {"backend": "Vitis"}), store).cells[0]
        written = make_plan(
            make_sweep("digits_mlp/qat", {"backend": "Vitis"}, target="fpga_project"), store
        ).cells[0]
        assert built.build_keys[:-1] == written.build_keys

    @pytest.mark.parametrize(
        ("cell", "options", "text"),
        [
            ("digits_mlp", {"backend": "Vitis"}, "not a cell"),
            ("digits_mlp/qat/0", {"backend": "Vitis"}, "not a cell"),
            ("digits_mlp/qut", {"backend": "Vitis"}, "qat"),
            ("digit_mlp/qat", {"backend": "Vitis"}, "digits_mlp"),
            ("digits_mlp/dq", {"backend": "Vitis"}, "no float activations"),
            ("digits_mlp/qat", {"backend": "VivadoAccelerator", "board": "kv260"}, "no board 'kv260'"),
            ("digits_mlp/qat", {"backend": "Vitis", "reuse_factor": 0}, "reuse_factor"),
        ],
    )
    def test_says_what_is_wrong(self, cell: str, options: dict[str, Any], text: str) -> None:
        from bench.errors import ConfigError
        from bench.workflows.vendor_build import make_sweep

        with pytest.raises(ConfigError) as caught:
            make_sweep(cell, options)
        assert text in str(caught.value)

    def test_a_backend_that_is_not_there_is_refused(self) -> None:
        from bench.errors import Unavailable
        from bench.workflows.vendor_build import make_sweep
        from targets.fpga.vendor.tools import no_backend

        if no_backend("VitisUnified") is None:
            pytest.skip("the installed hls4ml has it, or is not there")
        with pytest.raises(Unavailable, match="has no backend VitisUnified"):
            make_sweep("digits_mlp/qat", {"backend": "VitisUnified"})
