"""The simulation of a design's Verilog as the emulated board's kernel: words and cycles are the RTL's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.fpga.fixed import FixedType
from targets.fpga.rtl import simulators
from targets.fpga.rtl.axi_stream import WRAPPER, Stream, wrapper
from targets.fpga.rtl.served import BENCH, compile_server
from targets.fpga.rtl.simulate import input_codes
from targets.fpga.rtl.stages import Cast, Design, Number
from targets.fpga.rtl.verilog import write
from targets.pynq.emulated import hwh
from targets.pynq.emulated.fabric import DMA_CYCLES
from targets.pynq.emulated.kernels import KernelError
from targets.pynq.emulated.rtl import PROGRAM, RtlProgram
from tests.board.jobs import INPUTS, OUTPUTS, Maker, run
from tests.rtl import INPUT, expected, inputs_for, multiply, row, whole_input

pytestmark = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog")
ID = "tiny/qat8/seed0"


def network(seed: int = 1) -> Design:
    layer = multiply(
        np.random.default_rng(seed), "a", whole_input(INPUTS), Number.of(INPUT), OUTPUTS,
        Cast(FixedType(16, 10, True, "RND", "SAT")),
    )  # fmt: skip
    return row(INPUT, layer)


def compiled(design: Design, folder: Path) -> Path:
    folder.mkdir(parents=True)
    write(design, folder)
    (folder / f"{WRAPPER}.v").write_text(wrapper(Stream.of(design)))
    (one,) = [one for one in simulators.available() if one.name == "iverilog"]
    return compile_server(one, folder)


def overlay(maker: Maker, design: Design, soc: hwh.Soc = hwh.ZYNQ) -> dict[str, Any]:
    """An item whose kernel is the design; what the job says of its cycles is far too little."""
    item = maker.overlay(ID, soc=soc)
    folder = compiled(design, maker.folder / "rtl").parent
    item["files"] = {name: sha for name, sha in item["files"].items() if name.startswith("overlay.")}
    item["files"] |= {f"kernel/{path.name}": maker.file(path) for path in sorted(folder.iterdir())}
    stream = Stream.of(design)
    item["interface"] |= {
        "input_dtype": "int32", "output_dtype": "int32", "input_type": str(stream.input),
        "output_type": str(stream.output_type),
    }  # fmt: skip
    item["cycles"] = {"latency": 1, "interval": 1, "source": "rtl"}
    x = np.load(maker.job / "data" / "x.npy")
    item["expected"] = maker.array("rtl", expected(design, x.reshape(len(x), -1)))
    maker.labels.clear()
    return item


@pytest.mark.parametrize("soc", [hwh.ZYNQ, hwh.ULTRASCALE])
def test_outputs_and_times_are_those_of_the_rtl(soc: hwh.Soc, tmp_path: Path) -> None:
    maker, design = Maker(tmp_path), network()
    maker.protocol["batches"] = [1, 64, 128]
    overlay(maker, design, soc)
    done = run(maker.pack(), tmp_path)
    assert done.code == 0, done.said
    item = done.item(ID)
    assert done.result["origin"] == "modelled" and item["agreement"]["bit_exact"]
    assert item["fit_execute"]["b_s"] == pytest.approx(design.interval / 100e6, rel=0.1)
    least = (DMA_CYCLES + design.latency) / 100e6
    assert item["phases"]["execute"]["min"] >= least > 2 / 100e6


def test_a_design_that_is_not_the_simulated_one_is_seen(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    item = overlay(maker, network(1))
    x = np.load(maker.job / "data" / "x.npy")
    item["expected"] = maker.array("other", expected(network(2), x.reshape(len(x), -1)))
    found = run(maker.write(), tmp_path).item(ID)
    assert found["status"] == "failed" and "differ from the C simulation" in found["reason"]


@pytest.mark.parametrize("fault, status", [("other_overlay", "failed"), ("stuck_stream", "timeout")])
def test_faults_are_seen_here_too(fault: str, status: str, tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    overlay(maker, network())
    assert run(maker.write(), tmp_path, faults=fault).item(ID)["status"] == status


def test_packets_of_the_program(tmp_path: Path) -> None:
    """Words in and out, cycles as the design's formula says, the same packet the same again."""
    design = network()
    program = RtlProgram(compiled(design, tmp_path / "rtl").parent)
    x = inputs_for(design, 200)
    codes, wanted = input_codes(design, x), expected(design, x)
    for frames in (1, 3, 200, 1):
        answer = program.packet(codes[:frames].astype("<i4").tobytes())
        assert answer is not None
        words = np.frombuffer(answer[0], "<i4").reshape(frames, -1)
        np.testing.assert_array_equal(words * 2.0**-design.output.fraction, wanted[:frames])
        assert answer[1] == pytest.approx(design.cycles(frames), abs=5)
    program.close()


def test_programs_that_fail(tmp_path: Path) -> None:
    for text, says in (("exit 3", "code 3"), ("echo xx; sleep 5", "says 'xx'")):
        path = tmp_path / PROGRAM
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        with pytest.raises(KernelError, match=says):
            RtlProgram(tmp_path).packet(bytes(4))
    path.write_text("#!/bin/sh\nread n; read w; echo stuck; sleep 5\n")
    assert RtlProgram(tmp_path).packet(bytes(4)) is None
    path.write_text("#!/nowhere/vvp\n")
    with pytest.raises(KernelError, match="apt-get install iverilog"):
        RtlProgram(tmp_path).packet(bytes(4))


def test_no_end_of_a_packet(tmp_path: Path) -> None:
    """A wrapper that never gives TLAST is told, and not waited for without end."""
    folder = compiled(network(), tmp_path / "rtl").parent
    path = folder / f"{WRAPPER}.v"
    path.write_text(
        path.read_text().replace("assign m_axis_tlast = last &&", "assign m_axis_tlast = 1'b0 &&")
    )
    bench = folder / f"{BENCH}.v"
    assert "1000000" in bench.read_text()
    program = RtlProgram(_again(folder, bench.read_text().replace("1000000", "2000")))
    assert program.packet(bytes(4 * INPUTS)) is None
    program.close()


def _again(folder: Path, bench: str) -> Path:
    """The same design with another test bench."""
    (folder / f"{BENCH}.v").write_text(bench)
    sources = sorted(path.name for path in folder.glob("*.v"))
    simulators.execute(["iverilog", "-g2005", "-s", BENCH, "-o", PROGRAM, *sources], folder, 60)
    return folder
