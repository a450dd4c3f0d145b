"""Synthesis with yosys: what is counted, what is refused, and the limits."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from bench.core import versions as fingerprint
from bench.core.registry import STEPS
from bench.core.step import Artifact
from bench.errors import StepError
from targets.fpga.parameters import SynthesizeRtlParams
from targets.fpga.rtl import synthesis
from targets.fpga.rtl.stages import Number
from targets.fpga.rtl.synthesis import count, family_of, read_cells, read_delay, synthesize
from targets.fpga.rtl.verilog import write
from targets.fpga.rtl_target import Rtl, RtlOptions
from tests.rtl import INPUT, multiply, row, whole_input
from tests.tiny import run

needs_pyosys = pytest.mark.skipif(importlib.util.find_spec("pyosys") is None, reason="needs pyosys")
ENOUGH = {"seconds": 120.0, "memory_bytes": 8e9}


def small(folder: Path, p: int = 2) -> Path:
    """Verilog of a layer of 6 inputs and 4 outputs."""
    stage = multiply(np.random.default_rng(0), "a", whole_input(6), Number.of(INPUT), 4, p=p)
    folder.mkdir(parents=True)
    write(row(INPUT, stage), folder)
    return folder


def test_cells_are_counted_like_vendors_reports() -> None:
    cells = {
        **{"LUT1": 1, "LUT2": 10, "LUT6": 5, "INV": 2, "MUXF7": 3, "MUXF8": 1, "CARRY4": 7, "$scopeinfo": 4},
        **{"FDRE": 20, "FDSE": 2, "FDCE": 1, "FDPE_1": 1, "DSP48E1": 6, "RAMB18E1": 3, "RAMB36E1": 2},
        **{"RAM32M": 2, "RAM64X1D": 1, "SRL16E": 5, "SRLC32E": 1, "BUFG": 1, "IBUF": 9, "OBUF": 3},
    }
    used, detail = count(cells)
    assert used == {"lut": 18 + 10 + 6, "ff": 24, "dsp": 6, "bram18": 7, "uram": 0}
    assert detail == {
        "lut_by_size": {"INV": 2, "LUT1": 1, "LUT2": 10, "LUT6": 5},
        "lut_memory": 10,
        "lut_shift": 6,
        "carry": 7,
        "mux": 4,
    }


@pytest.mark.parametrize("cell", ["LUT7", "FDXE", "DSP58", "$mul", "RAMB72E1"])
def test_cells_that_are_not_known_are_refused(cell: str) -> None:
    with pytest.raises(StepError, match="3 "):
        count({"LUT2": 1, cell: 3})


@pytest.mark.parametrize("text", ["", "{}", '{"creator": "Yosys 0.70"}', '{"design": {}}', "{"])
def test_counts_that_are_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "cells.json").write_text(text)
    with pytest.raises(StepError, match="no counts of cells"):
        read_cells(tmp_path / "cells.json")


def test_delay_is_read() -> None:
    assert read_delay("7. Executing STA\nLatest arrival time in 'network' is 3941:\n 3941 x") == 3.941
    assert read_delay("No timing paths found.") is None
    # Without the flip-flops' delays what is left are a few paths from the inputs, or none.
    blind = "Warning: Module 'FDRE' has no timing arcs!\nLatest arrival time in 'network' is 472:\n"
    assert read_delay(blind) is None
    assert read_delay(blind.replace("FDRE", "RAM32M")) == 0.472


def test_families() -> None:
    assert family_of("pynq-z2") == "xc7" and family_of("kv260") == family_of("zcu104") == "xcup"


def test_boards_that_are_none_are_refused() -> None:
    for kind in (SynthesizeRtlParams, RtlOptions):
        with pytest.raises(ValidationError, match="unknown board"):
            kind(board="pynq-z9")


@pytest.mark.parametrize(
    "version, told",
    [(None, "pyosys is not installed,"), ("0.69.2", r"pyosys 0.69.2 is too old (0.70 is needed),")],
)
def test_without_a_fit_pyosys_it_says_how_to_get_it(
    version: str | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "version", lambda name: version)
    reason = STEPS.get("synthesize_rtl").unavailable({})
    assert reason is not None and reason.startswith(told) and "--extra rtl" in reason
    monkeypatch.setattr(fingerprint, "version", lambda name: "0.70")
    assert STEPS.get("synthesize_rtl").unavailable({}) is None


def test_target_leaves_it_out_where_asked() -> None:
    names = [[s.step for s in Rtl().finish({"synthesize": wanted})] for wanted in (True, False)]
    assert names[0] == [*names[1], "synthesize_rtl"]


@pytest.mark.parametrize("style, mapping", [("sequential", "thorough"), ("parallel", "quick")])
def test_designs_of_adders_are_mapped_quickly(
    style: str, mapping: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def instead(*_: object, mapping: str, **__: object) -> None:
        asked.append(mapping)
        raise StepError("far enough")

    monkeypatch.setattr("bench.steps.hardware.synthesize_rtl.synthesize", instead)
    for folder in ("parent", "out"):
        (tmp_path / folder).mkdir()
    (tmp_path / "parent" / "rtl.json").write_text(json.dumps({"style": style}))
    context = SimpleNamespace(
        parent=SimpleNamespace(path=tmp_path / "parent"), params=SynthesizeRtlParams(), out=tmp_path / "out"
    )
    with pytest.raises(StepError, match="far enough"):
        STEPS.get("synthesize_rtl").run(context)  # type: ignore[arg-type]
    assert asked == [mapping]


@needs_pyosys
@pytest.mark.parametrize("board", ["pynq-z2", "kv260"])
def test_small_design_is_synthesized(board: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    found = synthesize(small(tmp_path / "verilog"), tmp_path / "out", board, **ENOUGH)
    assert found.used["dsp"] <= 4 and 20 < found.used["lut"] < 400 and 20 < found.used["ff"] < 300
    assert found.version[0].isdigit() and json.loads(json.dumps(found.cells)) == found.cells
    assert (found.logic_delay_ns is not None) == (board == "pynq-z2")
    if found.logic_delay_ns is not None:
        assert 1 < found.logic_delay_ns < 10
    assert sum(n for name, n in found.cells.items() if name.startswith("FD")) == found.used["ff"]


@needs_pyosys
@pytest.mark.parametrize("board, device", [("pynq-z2", "xc7z020"), ("kv260", "xck26")])
def test_shares_are_of_the_boards_device(board: str, device: str, tmp_path: Path) -> None:
    small(tmp_path / "rtl" / "verilog")
    (tmp_path / "rtl" / "rtl.json").write_text(json.dumps({"style": "sequential"}))
    parent = Artifact(tmp_path / "rtl", "rtl", "", {})
    _, outcome = run("synthesize_rtl", tmp_path / "out", parent=parent, board=board)
    told, synthesis = outcome.facts["hardware"], outcome.facts["synthesis"]
    assert told["device"]["name"] == device and told["fits"]["synth"] is True
    for name in ("lut", "ff", "dsp", "bram18"):
        share = 100 * told["synth"][name] / told["device"][name]
        assert told["percent"]["synth"][name] == pytest.approx(share)
    assert told["synth"]["lut"] > 0 and told["origin"] == "estimated"
    assert told["tool"] == f"yosys {synthesis['tool_version']}" and synthesis["tool_version"][0].isdigit()
    # yosys has no delays of UltraScale+: no bound rather than another family's.
    assert (told["timing"]["logic_delay_ns"] is None) == (board == "kv260")
    assert all(check.passed for check in outcome.checks)


@needs_pyosys
@pytest.mark.parametrize("board", ["pynq-z2", "kv260"])
def test_the_quick_mapping_takes_little_more(board: str, tmp_path: Path) -> None:
    sources = small(tmp_path / "verilog")
    used = {}
    for mapping in ("thorough", "quick"):
        (tmp_path / mapping).mkdir()
        used[mapping] = synthesize(sources, tmp_path / mapping, board, **ENOUGH, mapping=mapping).used
    quick, thorough = used["quick"], used["thorough"]
    assert {name: n for name, n in quick.items() if name != "lut"} == {
        name: n for name, n in thorough.items() if name != "lut"
    }
    assert 0.9 < quick["lut"] / thorough["lut"] < 1.2


@needs_pyosys
def test_the_bound_is_of_paths_between_flip_flops(tmp_path: Path) -> None:
    """A counter of 32 bits: clock to output, eight carry chains, and nothing else."""
    (tmp_path / "out").mkdir()
    (tmp_path / "network.v").write_text(
        "module network(input wire clk, output reg [31:0] n); always @(posedge clk) n <= n + 1; endmodule\n"
    )
    found = synthesize(tmp_path, tmp_path / "out", "pynq-z2", **ENOUGH)
    text = (tmp_path / "out" / "timing.txt").read_text()
    assert "FDRE.D" in text and "FDRE.C->Q" in text
    assert found.logic_delay_ns is not None and 1.5 < found.logic_delay_ns < 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cells.json", "timing.txt"]


@needs_pyosys
def test_more_multipliers_take_more(tmp_path: Path) -> None:
    used = []
    for p in (1, 4):
        (tmp_path / f"out{p}").mkdir()
        sources = small(tmp_path / f"verilog{p}", p)
        used.append(synthesize(sources, tmp_path / f"out{p}", "pynq-z2", **ENOUGH).used)
    assert used[1]["ff"] > used[0]["ff"] and used[1]["lut"] + 100 * used[1]["dsp"] > used[0]["lut"] + 100


@needs_pyosys
def test_damaged_verilog_is_told(tmp_path: Path) -> None:
    sources = small(tmp_path / "verilog")
    (sources / "network.v").write_text("module network (; endmodule\n")
    with pytest.raises(StepError, match=r"yosys failed: .*ERROR.*syntax"):
        synthesize(sources, tmp_path, "pynq-z2", **ENOUGH)


@needs_pyosys
@pytest.mark.parametrize(
    "limit, told", [({"seconds": 0.5}, r"more than 0\.5 s"), ({"memory_bytes": 20e6}, r"more than 0\.02 GB")]
)
def test_limits(limit: dict[str, float], told: str, tmp_path: Path) -> None:
    with pytest.raises(StepError, match=told):
        synthesize(small(tmp_path / "verilog"), tmp_path, "pynq-z2", **{**ENOUGH, **limit})


def test_crash_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(synthesis, "CHILD", child)
    with pytest.raises(StepError, match="ended by signal 11"):
        synthesize(small(tmp_path / "verilog"), tmp_path, "pynq-z2", **ENOUGH)
