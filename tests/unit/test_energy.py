"""Traces of external power meters: EEMBC's published windows, the trapezoid rule, gaps, hostile files."""

from __future__ import annotations

import json
import math
import os
import re
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli.main import run_cli
from bench.errors import ArtifactError, ConfigError
from targets.pynq.meters.energy import Window, measure, parse_span, read_windows
from targets.pynq.meters.traces import MAX_WATT, read_trace


def eembc(path: Path, micro: np.ndarray, rate: float = 1000.0) -> Path:
    path.write_bytes(b"\xf1" + struct.pack("<f", rate) + micro.astype("<f4").tobytes())
    return path


def csv(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def sample() -> Path:
    folder = Path(os.environ.get("BENCH_DATA_DIR", "")) / "energy"
    if not (folder / "ad08-trace1-energy.bin").is_file():
        pytest.skip("no energy/ in BENCH_DATA_DIR")
    return folder


def test_published_windows_of_the_sample_are_reproduced(sample: Path) -> None:
    trace = read_trace(sample / "ad08-trace1-energy.bin")
    windows = read_windows(sample / "ad08-trace1-timestamps.json", 800_000)
    report = measure(trace, windows)
    text = (sample / "ad08-results.txt").read_text(encoding="utf-8")
    published = re.findall(
        r"Energy data for window (\d+) at .*?\n.*?Energy\s+: *([\d.]+) uJ\n.*?\n.*?Inf\.  : *([\d.]+)", text
    )
    assert [name for name, _, _ in published] == ["2", "4", "6", "8", "10"]
    one_sample = float(np.nanmax(trace.power)) / 1000.0
    found = {window.name: window for window in report.windows}
    exact = 0
    for name, energy, each in published:
        assert abs(found[name].energy_j - float(energy) * 1e-6) <= one_sample
        assert found[name].j_per_inference == pytest.approx(float(each) * 1e-6, rel=1e-4)
        exact += abs(found[name].energy_j * 1e6 - float(energy)) < 0.001
        assert found[name].whole
    assert exact >= 3
    assert [w.inferences for w in report.windows] == [None, 800_000] * 5
    median = re.search(r"Median energy cost is ([\d.]+)", text)
    assert median and report.median() == pytest.approx(float(median[1]) * 1e-6, abs=5e-10)
    runtimes = re.findall(r"Runtime      : *([\d.]+) sec", text)
    assert [f"{found[name].seconds:.3f}" for name, _, _ in published] == runtimes


def test_a_synthetic_eembc_trace_sums_its_samples(tmp_path: Path) -> None:
    micro = np.arange(10, 110, dtype=float)
    path = eembc(tmp_path / "x-energy.bin", micro, rate=100.0)
    (tmp_path / "x-timestamps.json").write_text("[0.1, 0.3, 0.8]")
    report = measure(read_trace(path), read_windows(tmp_path / "x-timestamps.json", 10), (0.0, 0.1))
    first, second = report.windows
    idle = micro[:10].sum() * 1e-6 / 0.1
    assert first.energy_j == pytest.approx(micro[10:30].sum() * 1e-6)
    assert first.j_per_inference is None  # between the runs
    assert second.energy_j == pytest.approx(micro[30:80].sum() * 1e-6)
    assert second.net_j == pytest.approx(second.energy_j - idle * 0.5)
    assert second.net_j_per_inference == pytest.approx((second.energy_j - idle * 0.5) / 10)
    assert (second.samples, second.rate_hz) == (50, pytest.approx(100.0))
    assert report.rate_hz == pytest.approx(100.0)


def test_dropped_samples_are_a_gap_and_no_energy_per_inference(tmp_path: Path) -> None:
    micro = np.full(100, 10.0)
    micro[20:25] = np.nan
    report = measure(read_trace(eembc(tmp_path / "e.bin", micro, 100.0)), [Window("a", 0.0, 1.0, 5)])
    (window,) = report.windows
    assert report.gaps == (pytest.approx((0.2, 0.25)),)
    assert window.covered_s == pytest.approx(0.95)
    assert window.energy_j == pytest.approx(95 * 10e-6)
    assert window.power_w == pytest.approx(1e-3)
    assert not window.whole and window.j_per_inference is None
    assert report.rate_hz == pytest.approx(95.0)


def test_trapezoid_of_irregular_samples_with_units_in_headers(tmp_path: Path) -> None:
    path = csv(
        tmp_path / "m.csv",
        "# meter: JS220\n# rail: 5 V input\nindex,Time [ms],Voltage (V),current_mA\n"
        "1,0,5,100\n2,100,5,200\n3,300,5,200\n4,400,5,0\n",
    )
    trace = read_trace(path)
    assert (trace.meter, trace.rail, trace.format) == ("JS220", "5 V input", "csv")
    report = measure(trace, [])
    assert report.windows[0].energy_j == pytest.approx(0.075 + 0.2 + 0.05)
    # Edges between samples: power there is on the straight line.
    (window,) = measure(trace, [Window("w", 0.05, 0.35)]).windows
    assert window.energy_j == pytest.approx(0.05 * (0.75 + 1.0) / 2 + 0.2 + 0.05 * (1.0 + 0.5) / 2)


@given(
    st.lists(st.floats(0.001, 0.004), min_size=2, max_size=60),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(0, 5),
)
def test_windows_add_up_and_a_straight_line_is_exact(
    steps: list[float], a: float, b: float, slope: int
) -> None:
    from targets.pynq.meters.traces import Trace

    times = np.concatenate(([0.0], np.cumsum(steps)))
    power = 1.0 + slope * times
    end = float(times[-1])
    first, last = sorted((a * end, b * end))
    trace = Trace("t", "csv", None, times, power)
    windows = [Window("1", 0.0, first), Window("2", first, last), Window("3", last, end)]
    report = measure(trace, windows)
    if not report.gaps:
        for window in report.windows:
            exact = (window.end - window.start) * (1.0 + slope * (window.end + window.start) / 2)
            assert window.energy_j == pytest.approx(exact, abs=1e-12)
            assert window.covered_s == pytest.approx(window.end - window.start, abs=1e-12)
    (whole,) = measure(trace, []).windows
    assert sum(window.energy_j for window in report.windows) == pytest.approx(whole.energy_j)


def test_a_pause_of_the_meter_is_not_counted(tmp_path: Path) -> None:
    rows = [f"{i * 0.01},5,1" for i in range(50)] + [f"{1 + i * 0.01},5,1" for i in range(50)]
    report = measure(read_trace(csv(tmp_path / "m.csv", "time_s,volt,ampere\n" + "\n".join(rows) + "\n")), [])
    assert report.gaps == (pytest.approx((0.49, 1.0)),)
    assert report.windows[0].covered_s == pytest.approx(0.98)
    assert report.windows[0].energy_j == pytest.approx(5 * 0.98)


@pytest.mark.parametrize(
    ("header", "row", "watt"),
    [
        ("time,volt,ampere", None, None),
        ("seconds,volt,ampere", "{t},5,0.1", 0.5),
        ("t_us;U [mV];I [mA]", "{us};5000,0;100", 0.5),
        ("Timestamp (ns)\tpower (mW)", "{ns}\t500", 0.5),
        ("time [s],voltage [V],current [MA]", None, None),
        ("time [s],voltage [V]", None, None),
        ("a,b,c", None, None),
    ],
)
def test_headers(tmp_path: Path, header: str, row: str | None, watt: float | None) -> None:
    rows = [
        (row or "{t},5,0.1").format(t=i * 0.01, us=i * 1e4, ns=i * 10_000_000).replace(".0;", ",0;")
        for i in range(5)
    ]
    path = csv(tmp_path / "m.csv", "\n".join([header, *rows]) + "\n")
    if watt is None:
        with pytest.raises(ArtifactError, match="columns"):
            read_trace(path)
        return
    (window,) = measure(read_trace(path), []).windows
    assert (window.power_w, window.seconds) == (pytest.approx(watt), pytest.approx(0.04))


def test_columns_by_hand(tmp_path: Path) -> None:
    path = csv(tmp_path / "m.csv", "0,x,5,100\n10,y,5,100\n20,z,5,100\n")
    with pytest.raises(ArtifactError, match=r"no number|columns"):
        read_trace(path)
    path = csv(tmp_path / "n.csv", "0,9,5,100\n10,9,5,100\n20,9,5,100\n")
    (window,) = measure(read_trace(path, "time:ms,-,volt:V,ampere:mA"), []).windows
    assert (window.energy_j, window.seconds) == (pytest.approx(0.01), pytest.approx(0.02))
    for spec in ("time:ms,volt:V", "time:kg,watt:W", "time:s,watt:MW", "hour:s,watt:W", ""):
        with pytest.raises(ConfigError, match="columns"):
            read_trace(path, spec)


def _bin(rate: float, samples: bytes) -> bytes:
    return b"\xf1" + struct.pack("<f", rate) + samples


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\xf1\0", "cut off"),
        (_bin(1000.0, b"\0" * 7), "cut off"),
        (_bin(math.nan, b"\0" * 8), "sample rate"),
        (_bin(-1.0, b"\0" * 8), "sample rate"),
        (_bin(1000.0, struct.pack("<f", math.nan)), "dropped"),
        (_bin(1000.0, struct.pack("<ff", 1.0, math.inf)), "not a trace of a board"),
        (_bin(1000.0, struct.pack("<f", MAX_WATT * 1e4)), "not a trace of a board"),
        (b"PK\x03\x04\0\0\0", "not a text file"),
        (b"x" * 100_000, "not a text file"),
        (b"time_s,volt,ampere\n", "fewer than two"),
        (b"time_s,volt,ampere\n0,1,1\n1,1,1\n0.5,1,1\n", "goes back"),
        (b"time_s,volt,ampere\n0,1,1\n1,1,one\n", "no number for ampere"),
        (b"time_s,volt,ampere\n0,1,1\n1,1\n", "no number for ampere"),
        (b"time_s,volt,ampere\n0,1,1\n1,1", "cut off"),
        (b"time_s,volt,ampere\nnan,1,1\n1,1,1\n", "no number for time"),
        (b"time_s,volt,ampere\n0,1e300,1e300\n1,1,1\n", "not a trace of a board"),
        (b"time_s,time_ms,volt,ampere\n0,0,1,1\n", "once each"),
    ],
)
def test_foreign_and_damaged_traces_are_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=says) as caught:
        read_trace(path)
    assert "t.csv" in str(caught.value)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xf1", b"\xf1\0\0\x7aD", b"time_s,watt\n0,1\n1,"]))
def test_any_bytes_are_a_trace_or_an_artifact_error(data: bytes, start: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t"
        path.write_bytes(start + data)
        try:
            report = measure(read_trace(path), [])
        except ArtifactError:
            return
        assert math.isfinite(report.windows[0].energy_j)


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[]", "[1]", "[1, 1]", "[2, 1]", '["a", "b"]', "[true, 2]", "[0, 1e999]", "[0, NaN]",
        "[" * 10_000,
        '[{"start": 1}]', '[{"start": 2, "end": 1}]', '[{"start": 0, "end": 1, "inferences": 0}]',
        "[1, {}]", '[{"start": 0, "end": 1}, 3]',
    ],
)  # fmt: skip
def test_windows_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "w.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match="windows cannot be read"):
        read_windows(path)


def test_windows_with_names_and_counts(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    path.write_text(
        '[{"name": "run\\u001b[31m", "start": 0, "end": 1, "inferences": 7}, {"start": 1, "end": 2}]'
    )
    assert read_windows(path, 3) == [Window("run?[31m", 0.0, 1.0, 7), Window("2", 1.0, 2.0, 3)]


def test_windows_of_another_trace_and_truncated_traces_are_refused(tmp_path: Path) -> None:
    trace = read_trace(eembc(tmp_path / "e.bin", np.ones(100), 100.0))
    with pytest.raises(ArtifactError, match="another trace"):
        measure(trace, [Window("9", 0.5, 1.5)])


@pytest.mark.parametrize("text", ["", "1", "2:1", "a:b", "0:inf", "nan:1"])
def test_idle_that_is_no_span(text: str) -> None:
    with pytest.raises(ConfigError, match="START:END"):
        parse_span(text)
    assert parse_span("0.5:9") == (0.5, 9.0)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    eembc(tmp_path / "a-energy.bin", np.full(1000, 1580.0), 1000.0)
    (tmp_path / "a-timestamps.json").write_text("[0, 0.2, 0.7]")
    arguments = ["energy", str(tmp_path), "--inferences", "1000", "--idle", "0:0.1", "--rail", "5 V"]
    assert run_cli(arguments) == 0
    shown = capsys.readouterr().out
    assert "rail: 5 V, meter: not named" in shown and "median: 790.000 µJ per inference" in shown
    assert "idle: 0 to 0.1 s, 1.580000 W" in shown
    assert run_cli([*arguments, "--json"]) == 0
    trace = json.loads(capsys.readouterr().out)["traces"][0]
    assert trace["windows"][1]["j_per_inference"] == pytest.approx(790e-6)
    assert trace["windows"][1]["net_j_per_inference"] == pytest.approx(0, abs=1e-9)
    assert (trace["rails"], trace["origin"], trace["achieved_rate_hz"]) == (["5 V"], "measured", 1000.0)
    (tmp_path / "a-timestamps.json").unlink()
    assert run_cli(["energy", str(tmp_path / "a-energy.bin"), "--inferences", "10"]) == 0
    assert "158000.000 µJ per inference" in capsys.readouterr().out
    assert run_cli(["energy", str(tmp_path / "a-energy.bin"), str(tmp_path / "no.csv")]) == 1
    assert "no such file" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run_cli(["energy", str(tmp_path / "empty")]) == 2
