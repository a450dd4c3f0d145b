"""`bench build` and `bench import-build` with a stand-in for the tools and for the networks' chains."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import run_cli
from bench.core.cells import Chain
from bench.run.plan import make_plan
from bench.store.store import Store
from bench.workflows import vendor_build as building
from targets.fpga.vendor import manifest
from tests import vendor, vendor_tool, vitis_unified

CELL = "toy/baseline"


def sweep(cell: str, options: Any, *, seed: int = 0, target: str = "fpga", suffix: str = "") -> Any:
    """As `make_sweep`, of a chain that needs no TensorFlow."""
    assert cell == CELL
    lists = {name: value for name, value in options.items() if value is not None}
    reuses = lists.pop("reuse_factor", 1)
    found = []
    for reuse in reuses if isinstance(reuses, list) else [reuses]:
        one = vendor.sweep(**{"reuse_factor": reuse, **lists}).cells[0]
        label = f"{target}[reuse_factor={reuse}]" if isinstance(reuses, list) else target
        one = replace(one, target=target, target_label=label)
        if target == "fpga_project":
            assert one.chain is not None
            one = replace(one, chain=Chain(one.chain.steps[:1]))
        found.append(one)
    return replace(vendor.sweep(f"build-toy-baseline{suffix}"), cells=tuple(found))


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    vendor.nowhere(monkeypatch)
    vendor.activate(monkeypatch, tmp_path)
    monkeypatch.setattr(building, "make_sweep", sweep)


def bench(root: Path, *arguments: object) -> int:
    return run_cli(["--results", str(root / "results"), *map(str, arguments)])


def written(root: Path, *arguments: str) -> Path:
    out = root / "project"
    assert bench(root, "build", CELL, "--tool", "vivado", "--write-only", "--out", out, *arguments) == 0
    return out


def finished(root: Path, mode: str = "ok") -> Path:
    """A written project that build.sh has built, with the tools elsewhere."""
    out = written(root)
    place = vendor.install(root / "elsewhere", *vendor.TOOLS)
    environment = {**os.environ, "PATH": f"{place}:/usr/bin:/bin", "VENDOR_MODE": mode}
    subprocess.run(["sh", str(out / "build.sh")], env=environment, check=True, capture_output=True)
    return out


def record_of(root: Path) -> Any:
    store = Store(root / "results")
    plan = make_plan(sweep(CELL, {}), store)
    return store.read("build", plan.cells[0].build_keys[-1]), plan


def test_build_prints_stages_and_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado")
    assert bench(tmp_path, "build", CELL, "--tool", "vivado", "--reuse", "1,4") == 0
    said = capsys.readouterr().out
    assert "toy/baseline/fpga[reuse_factor=4]/seed0: ok" in said
    assert "impl     1,200 LUT (2.3 %)" in said and "fits" in said and "slack 1.204 ns at 10.0 ns" in said


def test_build_tells_of_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vendor.on_path(monkeypatch, tmp_path, "vivado_hls", "vivado", mode="slack")
    assert bench(tmp_path, "build", CELL, "--tool", "vivado", "--json") == 1
    (row,) = json.loads(capsys.readouterr().out)
    assert row["status"] == "failed" and "timing met" in row["reason"]
    assert row["facts"]["hardware"]["timing"]["wns_ns"] == -0.412


def test_build_without_tools_says_which_and_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(tmp_path, "build", CELL, "--tool", "vitis") == 2
    said = capsys.readouterr().err
    assert "vitis-run (or vitis_hls) was not found" in said and "XILINX_VITIS" in said


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "--tool vivado or --tool vitis"),
        (["--tool", "vitis", "--backend", "Vivado"], "not built with --tool vitis"),
        (["--tool", "vivado", "--write-only"], "Name a new one with --out"),
        (["--tool", "vivado", "--out", "x"], "--out is for --write-only"),
        (["--tool", "vivado", "--reuse", "1,x"], "write one value"),
        (["--tool", "vivado", "--time-limit", "0"], "--time-limit"),
    ],
)
def test_wrong_options(
    arguments: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(tmp_path, "build", CELL, *arguments) == 2
    assert text in capsys.readouterr().err


def test_write_only_needs_no_tools_and_is_complete(tmp_path: Path) -> None:
    out = written(tmp_path)
    files = {"project", "build.sh", "README.txt", "manifest.json", "model.keras", "fixed_point.json"}
    assert {path.name for path in out.iterdir()} == files
    found = manifest.read(out)
    assert found is not None and found["kind"] == "project"
    assert found["cell"]["variant"] == "baseline"
    assert "project/design.tcl" in found["files"] and manifest.changed(out, found) == []
    texts = [(out / path).read_text() for path in ("build.sh", "README.txt", "manifest.json")]
    assert not any(str(tmp_path) in text for text in texts)


def test_write_only_does_not_overwrite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = written(tmp_path)
    assert bench(tmp_path, "build", CELL, "--tool", "vivado", "--write-only", "--out", out) == 2
    assert "there is something already" in capsys.readouterr().err


def test_write_only_of_a_grid_has_a_folder_each(tmp_path: Path) -> None:
    out = written(tmp_path, "--reuse", "1,2")
    assert len([path for path in out.iterdir() if (path / "build.sh").is_file()]) == 2


def test_ours_comes_back_as_the_record_of_its_cell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished(tmp_path)
    assert bench(tmp_path, "import-build", out) == 0
    assert "Imported (ours)." in capsys.readouterr().out
    record, plan = record_of(tmp_path)
    assert record.status == "ok" and record.result["facts"]["imported"] == "ours"
    assert plan.cells[0].skipped is None
    assert {task.state for task in plan.tasks.values()} == {"cached"}
    artifact = Store(tmp_path / "results").artifact(record.result["artifact"])
    assert artifact is not None
    links = json.loads((artifact / "manifest.json").read_text())["links"]
    assert links["hls"] == next(iter(record.inputs.values()))
    from bench import report

    frame = report.frame(tmp_path / "results", "build-toy-baseline")
    assert (frame[frame.metric == "lut"].stage == "impl").any()


def test_a_changed_project_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = finished(tmp_path)
    with (out / "project" / "firmware" / "network.cpp").open("a") as stream:
        stream.write("// faster\n")
    assert bench(tmp_path, "import-build", out) == 2
    assert "project/firmware/network.cpp (changed)" in capsys.readouterr().err


def test_the_project_must_be_that_of_the_results_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished(tmp_path)
    found = json.loads((out / "manifest.json").read_text())
    found["links"]["hls"] = "0" * 64
    (out / "manifest.json").write_text(json.dumps(found))
    assert bench(tmp_path, "import-build", out) == 2
    assert "another HLS project" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "results")
    assert bench(tmp_path, "import-build", out) == 2
    assert "is not in the results folder" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["{", '{"version": 9}', '{"version": 1, "kind": "x", "links": {}}', "[]"])
def test_a_bad_manifest_is_refused(change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = finished(tmp_path)
    (out / "manifest.json").write_text(change)
    assert bench(tmp_path, "import-build", out) == 2
    assert "not a manifest of this program" in capsys.readouterr().err


def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = finished(tmp_path)
    found = json.loads((out / "manifest.json").read_text())
    found["files"]["../../secret"] = "0" * 64
    (out / "manifest.json").write_text(json.dumps(found))
    assert bench(tmp_path, "import-build", out) == 2
    assert "outside the folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("no-hwh", "hardware handoff"),
        ("no-bit", "no .bit file"),
        ("hwh-part", "the bit is for 7z020clg400, the hwh for xczu9eg"),
        ("hwh-design", "of design"),
        ("bit-part", "not for xc7z020clg400-1"),
        ("slack", "WNS -0.412 ns"),
        ("no-timing", "no timing report"),
        ("truncated", "reports readable"),
    ],
)
def test_what_a_build_would_fail_by_is_not_taken_in(
    mode: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished(tmp_path, mode)
    assert bench(tmp_path, "import-build", out) == 2
    assert text in capsys.readouterr().err
    assert record_of(tmp_path)[0] is None


def foreign(root: Path, mode: str = "ok") -> Path:
    place = root / "theirs"
    shutil.copytree(finished(root, mode) / "project", place)
    return place


def test_foreign_without_a_cell_lies_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(tmp_path, "import-build", foreign(tmp_path)) == 0
    assert "imported" in capsys.readouterr().out
    (place,) = (tmp_path / "results" / "imports").iterdir()
    assert {path.suffix for path in (place / "overlay").iterdir()} == {".bit", ".hwh", ".py"}
    assert {path.stem for path in (place / "overlay").glob("*.[bh]*")} == {place.name}
    found = json.loads((place / "import.json").read_text())
    assert found["facts"]["imported"] == "foreign" and found["facts"]["hardware"]["impl"]["lut"] == 1200
    assert record_of(tmp_path)[0] is None


def test_a_project_of_vitis_unified_is_taken_in_with_its_final_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = vitis_unified.project(tmp_path / "theirs")
    assert bench(tmp_path, "import-build", theirs) == 0
    assert "fits" in capsys.readouterr().out
    (place,) = (tmp_path / "results" / "imports").iterdir()
    assert {path.suffix for path in (place / "overlay").iterdir()} == {".bit", ".hwh", ".py"}
    facts = json.loads((place / "import.json").read_text())["facts"]
    assert (facts["hwh"]["name"], facts["bit"]["design"]) == ("vitis_design", "vitis_design_wrapper")
    told = facts["hardware"]
    assert told["impl"]["lut"] == vitis_unified.ROUTED and told["fits"]["impl"] is True
    assert "synth" not in told  # only single blocks were synthesized alone
    assert told["kernel_latency_s"] == pytest.approx(1_040 * 10e-9)
    assert {report["file"].split("/")[0] for report in facts["reports"]} == {"final_reports"}


@pytest.mark.parametrize(("slack", "code"), [(" 1.204 ", 0), ("-1.204 ", 2)])
def test_reports_alone_are_taken_in_where_timing_is_met(
    slack: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = vitis_unified.final_reports(tmp_path / "final_reports")
    (timing,) = folder.glob("*timing*")
    timing.write_text(timing.read_text().replace(" 1.204 ", slack))
    assert bench(tmp_path, "import-build", folder) == code
    shown = capsys.readouterr()
    if code:
        assert "timing met: at this clock results may be wrong: WNS -1.204 ns" in shown.err
        assert not (tmp_path / "results" / "imports").exists()
    else:
        (place,) = (tmp_path / "results" / "imports").iterdir()
        assert place.name == vitis_unified.TOP and not (place / "overlay").exists()


def test_a_final_report_that_is_cut_off_is_not_taken_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = vitis_unified.project(tmp_path / "theirs")
    path = theirs / "final_reports/impl_1_kernel_util_routed.rpt"
    path.write_text(path.read_text()[:2_000])
    assert bench(tmp_path, "import-build", theirs) == 2
    assert "impl_1_kernel_util_routed.rpt: the report is cut off" in capsys.readouterr().err


def test_foreign_with_a_cell_is_marked_and_links_to_nothing(tmp_path: Path) -> None:
    assert bench(tmp_path, "import-build", foreign(tmp_path), "--cell", CELL) == 0
    record, _ = record_of(tmp_path)
    assert record.result["facts"]["imported"] == "foreign"
    artifact = Store(tmp_path / "results").artifact(record.result["artifact"])
    assert artifact is not None
    found = json.loads((artifact / "manifest.json").read_text())
    assert found["links"] == {} and found["imported"] == "foreign"


@pytest.mark.parametrize("mode", ["no-hwh", "hwh-part", "hwh-design", "hwh-young", "slack", "bit-short"])
def test_bad_foreign_files_are_refused(mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(tmp_path, "import-build", foreign(tmp_path, mode)) == 2
    assert "it is not taken in" in capsys.readouterr().err
    assert not (tmp_path / "results" / "imports").exists()


def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = foreign(tmp_path)
    (place / "network_prj" / "more").symlink_to("/etc")
    assert bench(tmp_path, "import-build", place) == 2
    assert "a link leaves the folder" in capsys.readouterr().err


def test_several_bitstreams_must_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = foreign(tmp_path)
    (place / "old.bit").write_bytes(vendor_tool.bit(date="2023/01/01"))
    assert bench(tmp_path, "import-build", place) == 2
    assert "old.bit" in capsys.readouterr().err
    good = "network_vivado_accelerator/project_1.runs/impl_1/design_1_wrapper.bit"
    assert bench(tmp_path, "import-build", place, "--bit", good) == 0
    shutil.copyfile(place / good, tmp_path / "secret.bit")
    for outside in ("../secret.bit", str(tmp_path / "secret.bit")):
        assert bench(tmp_path, "import-build", place, "--bit", outside) == 2
        assert "no such bitstream" in capsys.readouterr().err


def test_the_same_bit_twice_is_one(tmp_path: Path) -> None:
    place = foreign(tmp_path)
    good = place / "network_vivado_accelerator/project_1.runs/impl_1/design_1_wrapper.bit"
    shutil.copyfile(good, place / "copy.bit")
    assert bench(tmp_path, "import-build", place) == 0


def test_absurd_sizes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from targets.fpga.vendor import overlay_files

    place = foreign(tmp_path)
    monkeypatch.setattr(overlay_files, "MAX_BIT_BYTES", 100)
    assert bench(tmp_path, "import-build", place) == 2
    assert "more than any real one" in capsys.readouterr().err


def test_an_empty_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(tmp_path, "import-build", tmp_path) == 2
    assert "neither a bitstream nor a report" in capsys.readouterr().err


def test_the_wrong_cell_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(tmp_path, "import-build", finished(tmp_path), "--cell", "toy/pruned") == 2
    assert "is of cell toy/baseline" in capsys.readouterr().err
