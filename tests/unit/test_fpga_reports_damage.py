"""Reports that are cut off, foreign or hostile: an error with its place, never a wrong number."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import ArtifactError
from targets.fpga.vendor.reports import read_report
from targets.fpga.vendor.reports import text as text_module

FILES = Path(__file__).resolve().parent.parent / "data" / "fpga_reports"
NAMES = sorted(path.name for path in FILES.iterdir() if path.suffix != ".md")
WHOLE = {name: (FILES / name).read_bytes() for name in NAMES}
VALUES = {name: read_report(FILES / name).values for name in NAMES}

HLS = "vivado_hls_2020.1_csynth.rpt"
XML = "vivado_hls_2020.1_csynth.xml"
SUMMARY = "vitis_hls_2023.2_hls_compile.rpt"
COSIM = "vitis_hls_2024.1_cosim.rpt"
PLACED = "vivado_2022.2_placed_ultrascale.rpt"
TREE = "vivado_2023.2_hierarchical_ultrascale.rpt"
TIMING = "vivado_2024.1_timing_failed.rpt"
POWER = "vivado_2023.2_power.rpt"
KERNELS = "vitis_2023.2_kernel_util_routed.rpt"
ROWS = ("Platform", "User Budget", "Used Resources")


def _cut(path: Path, name: str, size: int) -> None:
    path.write_bytes(WHOLE[name][:size])
    try:
        values = read_report(path).values
    except ArtifactError as error:
        assert str(path) in str(error)
        return
    for key, value in values.items():
        assert value is None or value == VALUES[name][key], (name, size, key)


@settings(max_examples=400)
@given(name=st.sampled_from(NAMES), share=st.floats(0, 1))
def test_a_cut_file_gives_no_wrong_number(
    tmp_path_factory: pytest.TempPathFactory, name: str, share: float
) -> None:
    _cut(tmp_path_factory.getbasetemp() / "cut.rpt", name, int(share * len(WHOLE[name])))


@pytest.mark.parametrize("name", NAMES)
def test_cut_around_the_end_of_each_line(tmp_path: Path, name: str) -> None:
    for end in [match.start() for match in re.finditer(b"\n", WHOLE[name])][::4]:
        for size in (end - 3, end - 1, end, end + 1):
            _cut(tmp_path / "cut.rpt", name, max(size, 0))


@pytest.mark.parametrize(
    ("name", "before", "says"),
    [
        (HLS, "+ Timing:", "no table of clocks|no table of utilization"),
        (HLS, "+ Latency:", "no table of latency"),
        (HLS, "== Utilization Estimates", "no table of utilization estimates"),
        (HLS, "|Available", "no table of utilization estimates"),
        (HLS, "80|    220|", "its last table has no end"),
        (XML, "<AreaEstimates>", "cut off XML"),
        (SUMMARY, "    +-----", "no table of performance"),
        (COSIM, "+-----", "no report that is known"),
        (COSIM, "|   Verilog", "its last table has no end"),
        (PLACED, "4. ARITHMETIC\n-", "section '4. ARITHMETIC' is missing"),
        (PLACED, "5. Black Boxes\n-", "section '5. Black Boxes' is missing"),
        (TREE, "|     axi_dma_0", "its last table has no end"),
        (TIMING, "| Design Timing Summary", "'Design Timing Summary' is missing"),
        (TIMING, "| Clock Summary", "'Clock Summary' is missing"),
        (TIMING, "| Intra Clock Table", "'Intra Clock Table' is missing"),
        (TIMING, "| Inter Clock Table", "'Inter Clock Table' is missing"),
        (POWER, "2. Detailed Reports\n-", "section '2. Detailed Reports' is missing"),
        (POWER, "|     digits_0", "its last table has no end"),
        (KERNELS, "1. System Utilization\n-", "section '1. System Utilization' is missing"),
        (KERNELS, "+----------------------+", "no table of system utilization"),
        (KERNELS, "|    digits_axi_1", "its last table has no end"),
    ],
)
def test_what_is_cut_off_is_said(tmp_path: Path, name: str, before: str, says: str) -> None:
    content = WHOLE[name].decode()
    place = content.index(before)
    (tmp_path / "cut.rpt").write_text(content[:place])
    with pytest.raises(ArtifactError, match=says) as caught:
        read_report(tmp_path / "cut.rpt")
    assert re.match(re.escape(str(tmp_path / "cut.rpt")) + r":\d+: ", str(caught.value))


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        (PLACED, "| 21733 |", "| 21,733 |", ":29: '21,733' should be a number"),
        (PLACED, "| 21733 |", "| 21e00733 |", "should be a number"),
        (PLACED, "| 21733 |", "| -1733 |", "should be a count"),
        (PLACED, "| 21733 |", "| 2173.5 |", "should be a count"),
        (PLACED, "| 21733 |", "| 21733 | 7 |", ":29: a row of a table of 6 columns is damaged"),
        (PLACED, " 24.5 |", " 24.3 |", "24.3 should be a number of tiles or half tiles"),
        (PLACED, "Site Type", "Site Sort", "says nothing of look-up tables"),
        (TREE, "|   design_1_i   ", "| design_1_i     ", "has 2 rows at its top"),
        (HLS, "| Estimated|", "| Fancied  |", "no table of clocks"),
        (HLS, "5.00 ns", "5.00 pc", "'5.00 pc' should be a period"),
        (HLS, "|       10|       10|", "|       10|      ten|", "'ten' should be a number"),
        (XML, "<LUT>2532</LUT>", "<LUT>many</LUT>", "'many' should be a number"),
        (XML, "<profile>", "<archive>", "damaged or cut off XML"),
        (SUMMARY, " (cycles)|", " (hours) |", "a table with unknown columns: .*Latency .hours.*"),
        (SUMMARY, "|+ digits_axi*", "|- digits_axi*", "no row for the top function"),
        (COSIM, "Interval(Clock Cycles)", "Duration(Clock Cycles)", "a table with unknown columns"),
        (COSIM, "|      Pass|", "|   P@ss!!|", "should be a status"),
        (COSIM, "|           1040|", "|           104O|", "'104O' should be a number"),
        (TIMING, "     -0.412  ", "     -O.412  ", "'-O.412' should be a number"),
        (POWER, "Total On-Chip Power (W)", "Total On-Chip Energy (J)", "there is no total power"),
        (KERNELS, "  18302 [", "  183O2 [", ":26: '183O2 .*' should be a number"),
        (KERNELS, "|  9.5 [", "|  9.4 [", "9.4 should be a number of tiles or half tiles"),
        *((KERNELS, f"{row} ", f"{row[:-1]}x ", f"has no row '{row}'") for row in ROWS),
    ],
)
def test_damage_is_named_with_its_line(tmp_path: Path, name: str, old: str, new: str, says: str) -> None:
    content = WHOLE[name].decode()
    assert old in content
    (tmp_path / name).write_text(content.replace(old, new, 1))
    with pytest.raises(ArtifactError, match=says) as caught:
        read_report(tmp_path / name)
    assert re.search(r":\d+: ", str(caught.value))


@pytest.mark.parametrize("cell", ["NA", "N/A", "-", "undef", "?", "", "---"])
def test_what_is_not_there_is_none_not_zero(tmp_path: Path, cell: str) -> None:
    content = WHOLE[PLACED].decode().replace("|  116 |", f"| {cell:>4} |", 1)
    (tmp_path / "u.rpt").write_text(content)
    assert read_report(tmp_path / "u.rpt").values["dsp"] is None
    content = WHOLE[XML].decode().replace("<DSP48E>73<", f"<DSP48E>{cell}<")
    (tmp_path / "c.xml").write_text(content)
    assert read_report(tmp_path / "c.xml").values["dsp"] is None


def test_memory_that_is_not_told_is_none(tmp_path: Path) -> None:
    content = WHOLE[PLACED].decode().replace("| 24.5 |", "|   NA |")
    assert content != WHOLE[PLACED].decode()
    (tmp_path / "u.rpt").write_text(content)
    values = read_report(tmp_path / "u.rpt").values
    assert (values["bram36"], values["bram18"]) == (None, None)


def test_a_sum_with_a_missing_part_is_none(tmp_path: Path) -> None:
    row = next(line for line in WHOLE[TREE].decode().splitlines() if "(top)" in line)
    cells = row.split("|")
    cells[5], cells[9] = " NA ".rjust(len(cells[5])), " NA ".rjust(len(cells[9]))
    (tmp_path / "u.rpt").write_text(WHOLE[TREE].decode().replace(row, "|".join(cells)))
    values = read_report(tmp_path / "u.rpt").values
    assert (values["lut_memory"], values["bram36"], values["bram18"]) == (None, None, None)


@pytest.mark.parametrize(
    "attack",
    [
        '<!DOCTYPE profile [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]>\n',
        '<!doctype profile SYSTEM "file:///etc/passwd">\n',
        '<!ENTITY a "lol">\n',
    ],
)
def test_document_types_and_entities_are_refused(tmp_path: Path, attack: str) -> None:
    (tmp_path / "c.xml").write_text("<?xml version='1.0'?>\n" + attack + WHOLE[XML].decode())
    with pytest.raises(ArtifactError, match=r"c\.xml:2: it has a document type or entities"):
        read_report(tmp_path / "c.xml")


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.xml").write_text("<profile>" + "<a>\n" * 100_000 + "</a>\n" * 100_000 + "</profile>")
    with pytest.raises(ArtifactError, match="nested too deeply"):
        read_report(tmp_path / "c.xml")


def test_xml_without_a_part_of_such_a_report(tmp_path: Path) -> None:
    (tmp_path / "c.xml").write_text("<profile><UserAssignments/><AreaEstimates/></profile>")
    with pytest.raises(ArtifactError, match="<profile> without PerformanceEstimates"):
        read_report(tmp_path / "c.xml")


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "MAX_BYTES", 1000)
    with pytest.raises(ArtifactError, match="larger than"):
        read_report(FILES / HLS)
    (tmp_path / "whole.rpt").write_bytes(b"x" * 1000)
    with pytest.raises(ArtifactError, match="no report that is known"):
        read_report(tmp_path / "whole.rpt")


def test_a_line_without_end(tmp_path: Path) -> None:
    (tmp_path / "long.rpt").write_bytes(b"a\n" + b"+-" * 60_000)
    with pytest.raises(ArtifactError, match=r"long\.rpt:2: a line is longer"):
        read_report(tmp_path / "long.rpt")


@pytest.mark.parametrize("content", [b"\x00\x01", b"PK\x03\x04zip", WHOLE[HLS].decode().encode("utf-16")])
def test_binary(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.rpt").write_bytes(content)
    with pytest.raises(ArtifactError, match="it is a binary file"):
        read_report(tmp_path / "b.rpt")


@pytest.mark.parametrize("content", [b"", b"\n \n\n"])
def test_empty(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "e.rpt").write_bytes(content)
    with pytest.raises(ArtifactError, match="it is empty"):
        read_report(tmp_path / "e.rpt")


def test_foreign(tmp_path: Path) -> None:
    (tmp_path / "f.rpt").write_text("\n\nInfo: Max frequency for clock 'clk': 64 MHz\n")
    with pytest.raises(ArtifactError, match=r"f\.rpt:3: no report that is known here\n  Known: .*_csynth"):
        read_report(tmp_path / "f.rpt")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.mkdir(), "this is not a file"),
        (lambda path: os.mkfifo(path), "this is not a file"),
    ],
)
def test_not_a_file(tmp_path: Path, make: Callable[[Path], None], says: str) -> None:
    make(tmp_path / "x.rpt")
    with pytest.raises(ArtifactError, match=says):
        read_report(tmp_path / "x.rpt")


def test_a_table_that_is_broken_off_in_the_middle(tmp_path: Path) -> None:
    lines = WHOLE[PLACED].decode().splitlines(keepends=True)
    row = next(i for i, line in enumerate(lines) if "21733" in line)
    end = next(i for i in range(row, len(lines)) if lines[i].startswith("+-"))
    (tmp_path / "u.rpt").write_text("".join(lines[:end] + lines[end + 1 :]))
    with pytest.raises(ArtifactError, match="says nothing of look-up tables"):
        read_report(tmp_path / "u.rpt")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (" -37.905 ", " ", "a row of a table of 12 columns is damaged"),
        ("    -0.412 ", "\n    -0.412 ", "should have one row"),
    ],
)
def test_a_damaged_timing_summary(tmp_path: Path, old: str, new: str, says: str) -> None:
    content = WHOLE[TIMING].decode()
    assert old in content
    (tmp_path / "t.rpt").write_text(content.replace(old, new, 1))
    with pytest.raises(ArtifactError, match=says):
        read_report(tmp_path / "t.rpt")


def test_the_main_of_two_equal_clocks_is_not_guessed(tmp_path: Path) -> None:
    content = WHOLE[TIMING].decode().replace(" 4020 ", "56200 ")
    (tmp_path / "t.rpt").write_text(content)
    assert read_report(tmp_path / "t.rpt").values["clock_ns"] is None


def test_timing_between_placing_and_routing_has_no_stage(tmp_path: Path) -> None:
    content = WHOLE["vivado_2018.3_timing_met.rpt"].decode().replace("(fo=1, routed)", "(fo=1, estimated)")
    (tmp_path / "t_routed.rpt").write_text(content)
    assert read_report(tmp_path / "t_routed.rpt").stage is None


def test_latency_of_two_rows(tmp_path: Path) -> None:
    content = WHOLE[HLS].decode()
    row = "    |       10|       10| 50.000 ns | 50.000 ns |    8|    8| dataflow |\n"
    assert row in content
    (tmp_path / "c.rpt").write_text(content.replace(row, row + row, 1))
    with pytest.raises(ArtifactError, match="the table of latency should have one row"):
        read_report(tmp_path / "c.rpt")


def test_no_confidence_is_none(tmp_path: Path) -> None:
    content = re.sub(r"(\| Confidence Level +\| +)Low", r"\g<1>---", WHOLE[POWER].decode())
    (tmp_path / "p.rpt").write_text(content)
    assert read_report(tmp_path / "p.rpt").values["power_confidence"] is None


def test_a_simulation_without_result_has_no_status(tmp_path: Path) -> None:
    content = WHOLE[COSIM].decode().replace("|      Pass|", "|        NA|")
    (tmp_path / "c.rpt").write_text(content)
    assert read_report(tmp_path / "c.rpt").values == {"cosim_status": None}


def test_a_simulation_report_with_another_table(tmp_path: Path) -> None:
    (tmp_path / "c.rpt").write_text(WHOLE[COSIM].decode().replace("+   RTL    +", "+   ???    +"))
    with pytest.raises(ArtifactError, match="there is no table of results"):
        read_report(tmp_path / "c.rpt")


def test_a_file_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ArtifactError, match=r"it cannot be read .*Permission denied"):
        read_report(FILES / HLS)


def test_a_report_that_names_no_part(tmp_path: Path) -> None:
    (tmp_path / "c.rpt").write_text(WHOLE[HLS].decode().replace("* Target device:", "* Other:"))
    assert read_report(tmp_path / "c.rpt").part is None
