"""`bench fpga export`: what is written stands alone, its test bench finds a flipped bit, its script runs in a
Tcl that has stand-ins for Vivado's commands."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from bench.cli.main import cli
from bench.errors import ArtifactError, BenchError, ConfigError
from bench.run.run import RunSummary
from bench.workflows import export_rtl as fpga_export
from targets.fpga.parts import BOARDS
from targets.fpga.rtl.axi_stream import Stream
from targets.fpga.rtl.export import Export, export
from targets.fpga.rtl.overlay_script import script
from targets.fpga.rtl.parallel import parallel
from targets.fpga.rtl.simulate import simulate
from targets.pynq.exchange.job_file import Cycles, Interface
from tests.rtl import expected, inputs_for
from tests.tiny import QAT, TRAIN, made, step
from tests.unit.test_rtl_networks import mlp, needs_iverilog

pytestmark = needs_iverilog
STYLES = [
    "sequential",
    pytest.param(
        "parallel",
        marks=pytest.mark.skipif(importlib.util.find_spec("da4ml") is None, reason="needs da4ml"),
    ),
]
WANTED = Export("some_mlp/qat/rtl/seed0", "pynq-z2", 80.0, vectors=7)


def artifact(folder: Path, style: str) -> tuple[Path, Stream]:
    """What step `to_rtl` leaves of a small network, without the network itself."""
    (folder / "verilog").mkdir(parents=True)
    design: Any = parallel(mlp(), 2) if style == "parallel" else mlp()
    x = inputs_for(mlp(), 9)
    found = simulate(design, x, folder / "verilog", expected=expected(mlp(), x))
    about = {"style": style, "multipliers": 4, "cutoff": 2, "vectors": 9}
    cycles = {"cycles": found.latency, "interval": found.interval}
    (folder / "rtl.json").write_text(json.dumps({**about, **cycles}))
    return folder, Stream.of(design)


def simulated(folder: Path) -> str:
    """The last line of the exported test bench, by the README's command."""
    line = "iverilog -g2005 -o simulation *.v && vvp -n simulation"
    assert line in (folder.parent / "README.md").read_text()
    done = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("style", STYLES)
def test_what_is_written_stands_alone(style: str, tmp_path: Path) -> None:
    source, stream = artifact(tmp_path / "artifact", style)
    out = tmp_path / "out"
    assert export(source, stream, out, WANTED) == 7
    shutil.rmtree(source)
    assert simulated(out / "verilog").startswith("PASS: 7 items, 21 of 21 words")
    written = {path.relative_to(out).as_posix() for path in out.rglob("*")}
    assert {"README.md", "interface.json", "vivado/overlay.tcl", "verilog/network_axis.v"} <= written
    assert not {"verilog/inputs.hex", "verilog/expected.hex"} & written, "the core's own vectors"
    text = (out / "README.md").read_text()
    assert "some_mlp/qat/rtl/seed0" in text and "xc7z020clg400-1" in text and "not run" in text


def test_a_flipped_bit_of_a_weight_fails(tmp_path: Path) -> None:
    source, stream = artifact(tmp_path / "artifact", "sequential")
    export(source, stream, tmp_path / "out", WANTED)
    path = tmp_path / "out" / "verilog" / "stage2_c_weights.hex"
    digits = path.read_text()
    path.write_text(f"{int(digits[0], 16) ^ 1:x}{digits[1:]}")
    assert simulated(path.parent).startswith("FAIL")


@pytest.mark.parametrize("style", STYLES)
def test_words_and_types_are_those_of_a_boards_job(style: str, tmp_path: Path) -> None:
    """The board's agent can drive it: its codec gives the words that the test bench sends and awaits."""
    from targets.pynq.agent.codec import Codec

    source, stream = artifact(tmp_path / "artifact", style)
    export(source, stream, tmp_path / "out", WANTED)
    described = json.loads((tmp_path / "out" / "interface.json").read_text())
    found = Interface(**described["interface"])
    assert (found.inputs, found.outputs, found.dma) == (7, 3, "hier_0/axi_dma_0")
    assert Cycles(**described["cycles"]).latency > 0 and described["clock_mhz"] == 80.0
    x = inputs_for(mlp(), 9)[:7]
    for name, codec, values in (
        ("inputs", Codec(found.input_dtype, found.input_type), x),
        ("outputs", Codec(found.output_dtype, found.output_type), expected(mlp(), x)),
    ):
        words = (tmp_path / "out" / "verilog" / f"stream_{name}.hex").read_text().split()
        assert codec.encode(values).view(np.uint32).ravel().tolist() == [int(word, 16) for word in words]


def test_nothing_is_overwritten_and_damage_is_told(tmp_path: Path) -> None:
    source, stream = artifact(tmp_path / "artifact", "sequential")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="something already"):
        export(source, stream, tmp_path / "full", WANTED)
    words = (source / "verilog" / "expected.hex").read_text().split()
    for damaged in ("", "xx\n", "\n".join(words[:-3])):
        (source / "verilog" / "expected.hex").write_text(damaged)
        with pytest.raises(BenchError, match=r"not a simulated design|undefined"):
            export(source, stream, tmp_path / "out", WANTED)
        assert not (tmp_path / "out").exists()
    (source / "rtl.json").unlink()
    with pytest.raises(ArtifactError):
        export(source, stream, tmp_path / "out", WANTED)


# ---------------------------------------------------------------- the command


@pytest.mark.tf
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a trained network's artifact, and a store that has it."""
    chain = (TRAIN, QAT, step("to_hls"), step("compile_hls"), step("to_rtl", multipliers=3))
    design = made("tiny_mlp", *chain)
    sweeps: list[Any] = []
    record = SimpleNamespace(status="ok", reason=None, build=SimpleNamespace(artifact="x"))
    store = SimpleNamespace(read=lambda kind, key: record, artifact=lambda digest: design.path, root="r")
    monkeypatch.setattr(fpga_export, "Store", lambda results: store)
    monkeypatch.setattr(fpga_export, "run_sweep", lambda sweep, store: RunSummary("s"))
    planned = SimpleNamespace(build_keys=["k"], skipped=None, cell=SimpleNamespace(label="digits_mlp/qat"))
    monkeypatch.setattr(
        fpga_export,
        "make_plan",
        lambda sweep, store: sweeps.append(sweep) or SimpleNamespace(cells=[planned]),
    )
    command = ["fpga", "export", "digits_mlp/qat", "-o", str(tmp_path / "out"), "--multipliers", "3"]
    done = CliRunner().invoke(cli, [*command, "--vectors", "5", "--board", "zcu104"], catch_exceptions=False)
    assert done.exit_code == 0 and "PASS: 5 items" in done.output, done.output
    (cell,) = sweeps[0].cells
    assert (cell.target, cell.options["multipliers"], cell.options["synthesize"]) == ("rtl", 3, False)
    assert "xczu7ev-ffvc1156-2-e" in (tmp_path / "out" / "vivado" / "overlay.tcl").read_text()
    record.status, record.reason = "failed", "RTL and C simulation differ"
    with pytest.raises(BenchError, match="there is no design: RTL and C simulation differ"):
        CliRunner().invoke(cli, command, catch_exceptions=False)


# ---------------------------------------------------------------- the script

#: Vivado's commands: they note what they are given, and a run leaves its files
STAND_INS = r"""
set told {}
proc unknown {args} { global told; lappend told [join $args]; return "" }
proc get_ipdefs {pattern} { set ip [string range $pattern 0 end-1]; return [list ${ip}2.0 ${ip}10.1] }
proc get_board_parts {args} { global boards; if {[string match "*:${boards}:*" [lindex $args end]]} {
  return [list "vendor:$boards:part0:1.0" "vendor:$boards:part0:1.2"] } ; return {} }
proc get_bd_cells {args} { if {[lindex $args 0] eq "-filter"} { return /rst_0 } ; return [lindex $args end] }
foreach name {get_bd_pins get_bd_intf_pins get_files get_runs current_project current_fileset} {
  proc $name {args} { return [lindex $args end] }
}
proc get_property {name of} { global slack; return [dict get [list PROGRESS 100% STATS.WNS $slack] $name] }
proc launch_runs {args} {
  global told folder handoff; lappend told [join $args]
  file mkdir $folder/build/overlay.runs/impl_1 $folder/build/overlay.gen/sources_1/bd/overlay/hw_handoff
  close [open $folder/build/overlay.runs/impl_1/overlay_wrapper.bit w]
  if {$handoff} { close [open $folder/build/overlay.gen/sources_1/bd/overlay/hw_handoff/overlay.hwh w] }
}
proc puts {args} {}
"""


def played(
    folder: Path, board: str, slack: float = 0.5, boards: str = "none", handoff: bool = True
) -> list[str]:
    """Run a board's script with stand-ins; returns the commands that it gave."""
    tkinter = pytest.importorskip("tkinter")
    vivado, verilog = folder / "vivado", folder / "verilog"
    for place in (vivado, verilog):
        place.mkdir(parents=True)
    for name in ("network.v", "network_axis.v", "test_bench.v", "stage0_weights.hex", "stream_inputs.hex"):
        (verilog / name).touch()
    (vivado / "overlay.tcl").write_text(script(board, 80.0))
    tcl = tkinter.Tcl()
    for name, value in {"folder": vivado, "slack": slack, "boards": boards, "handoff": int(handoff)}.items():
        tcl.setvar(name, str(value))
    tcl.eval(STAND_INS)
    with contextlib.chdir(folder):  # the script's `cd` is this process's
        tcl.call("source", str(vivado / "overlay.tcl"))
    return str(tcl.eval("join $told \\n")).splitlines()


@pytest.mark.parametrize("board", BOARDS)
def test_script_makes_bit_and_hwh_of_one_stem(board: str, tmp_path: Path) -> None:
    told = played(tmp_path, board)
    assert {path.name for path in (tmp_path / "vivado").iterdir()} >= {"overlay.bit", "overlay.hwh"}
    assert told[0].endswith(f"-part {BOARDS[board]}")
    zynq = BOARDS[board].startswith("xc7")
    cells = [line for line in told if line.startswith("create_bd_cell")]
    processor = "processing_system7" if zynq else "zynq_ultra_ps_e"
    assert cells == [
        f"create_bd_cell -type ip -vlnv xilinx.com:ip:{processor}:10.1 {processor}_0",
        "create_bd_cell -type ip -vlnv xilinx.com:ip:axi_dma:10.1 axi_dma_0",
        "create_bd_cell -type module -reference network_axis network_0",
    ]
    joined = [line for line in told if line.startswith("apply_bd_automation -rule xilinx.com:bd_rule:axi4")]
    assert len(joined) == 3 and "group_bd_cells hier_0 axi_dma_0 network_0" in told
    added = {
        Path(line.split()[-1]).name for line in told if line.startswith("add_files") and ".bd" not in line
    }
    assert {"network.v", "network_axis.v", "stage0_weights.hex"} <= added
    assert not {"test_bench.v", "stream_inputs.hex"} & added
    assert sum("Memory Initialization Files" in line for line in told) == 1
    assert any("FREQMHZ 80" in line for line in told)


def test_script_uses_the_boards_files_where_they_are(tmp_path: Path) -> None:
    crystal, preset = "PCW_CRYSTAL_PERIPHERAL_FREQMHZ 50", "apply_board_preset 1"
    bare = "\n".join(played(tmp_path / "bare", "pynq-z2"))
    assert crystal in bare and preset not in bare and "board_part" not in bare
    there = "\n".join(played(tmp_path / "there", "pynq-z2", boards="pynq-z2"))
    assert crystal not in there and preset in there and "board_part vendor:pynq-z2:part0:1.2" in there
    assert "vendor:ultra96v2:part0:1.2" in "\n".join(
        played(tmp_path / "other", "ultra96-v2", boards="ultra96v2")
    )


def test_script_fails_where_timing_is_not_met_or_the_handoff_is_missing(tmp_path: Path) -> None:
    tkinter = pytest.importorskip("tkinter")
    with pytest.raises(tkinter.TclError, match="timing is not met at 80 MHz"):
        played(tmp_path / "slow", "pynq-z2", slack=-0.1)
    with pytest.raises(tkinter.TclError, match=r"no overlay\.hwh"):
        played(tmp_path / "half", "pynq-z2", handoff=False)
    assert not list(tmp_path.glob("*/vivado/overlay.bit"))
