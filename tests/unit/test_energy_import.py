"""`bench energy --into`: a meter's trace in a cell's record and in the report; wrong traces are refused."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.cli.main import run_cli
from bench.core.records import Record, energy_key
from bench.report import frame
from bench.report.frames.view import views
from bench.report.records.read import read_sweep
from bench.report.tables.comparison import comparison
from bench.store.store import Store
from tests.synthetic import KINDS, build
from tests.synthetic_board import DESK, EMULATED, add_board, edit_cells, told
from tests.synthetic_fpga import add_fpga, pick

FEW = {name: KINDS[name] for name in ("baseline", "ptq", "qat")}
CELL = f"digits_mlp/qat/{DESK}/seed0"
NAMED = ["--meter", "Joulescope JS110", "--rail", "5 V input"]
SCOPE = "Joulescope JS110, 5 V input"
RUN = ["--idle", "0.5:4.5"]

Call = Callable[..., int]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    root = tmp_path / "results"
    build(root, variants=FEW)
    add_fpga(root)
    add_board(root, DESK, usual=told(energy=None))
    return root


@pytest.fixture
def take(results: Path, tmp_path: Path) -> Call:
    """`bench energy TRACE --into synthetic` with the options of a good trace, or others."""

    def call(trace: Path | None = None, *options: str, cell: str = CELL, windows: str = WINDOWS) -> int:
        path = trace or write(tmp_path / "t.csv")
        beside = tmp_path / "w.json"
        beside.write_text(windows)
        line = ["--results", str(results), "energy", str(path), "--windows", str(beside)]
        return run_cli([*line, "--into", "synthetic", "--cell", cell, *(options or (*NAMED, *RUN))])

    return call


#: two runs of 8,000 inferences, 5 s each
WINDOWS = '[{"start": 5, "end": 10, "inferences": 8000}, {"start": 12, "end": 17, "inferences": 8000}]'


def write(path: Path, idle: float = 2.0, busy: float = 2.5, gap: bool = False, rate: float = 100.0) -> Path:
    """17 s: idle, from second 5 on busy, with a pause at 11 s."""
    times = np.arange(0, 17.5, 1 / rate)
    keep = ~((times > 6) & (times < 7)) if gap else np.ones(len(times), bool)
    watt = np.where(times < 5, idle, busy)
    rows = [f"{t:.4f},{w}" for t, w in zip(times[keep], watt[keep], strict=True)]
    path.write_text("time_s,watt\n" + "\n".join(rows) + "\n")
    return path


def energies(results: Path) -> dict[str, float]:
    rows = pick(frame(results), target=DESK, variant="qat", scope=SCOPE)
    assert set(rows["origin"]) == {"measured"}
    return dict(zip(rows["metric"], rows["value"], strict=True))


def test_a_trace_gives_the_energy_columns(
    results: Path, take: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert take() == 0
    assert f"the energy of {CELL}; next: bench report synthetic" in capsys.readouterr().out
    found = energies(results)
    assert found["energy"] == pytest.approx(5 * 2.5 / 8000, rel=2e-3)
    assert found["energy_net"] == pytest.approx(5 * 0.5 / 8000, rel=1e-2)
    assert found["power_busy"] == pytest.approx(2.5, rel=2e-3)
    assert found["power_idle"] == pytest.approx(2.0)
    assert found["energy_rate"] == pytest.approx(100, rel=1e-2)
    shown = comparison(views(frame(results))[0])
    columns = [c for c in shown.columns if c.group == f"energy, measured ({DESK}; {SCOPE})"]
    assert [c.title for c in columns] == ["energy", "energy, net", "power", "idle power", "sample rate"]
    place = shown.columns.index(columns[0])
    texts = {row.variant: row.cells[place] for row in shown.rows}
    assert texts["qat"].text == "1.56" and columns[0].unit == "mJ"
    assert texts["ptq"].text == "skipped" and texts["ptq"].reason == "no power was measured there"


def test_the_record_names_the_trace_and_the_rail(results: Path, take: Call) -> None:
    assert take() == 0
    cell = next(c for c in read_sweep(results, "synthetic").cells if c.energy is not None)
    assert cell.energy is not None and cell.evaluate is not None
    assert (cell.variant, cell.target, cell.seed) == ("qat", DESK, 0)
    assert cell.energy.task["trace"]["file"] == "t.csv" and len(cell.energy.task["trace"]["sha256"]) == 64
    assert cell.energy.task["evaluate"] == cell.evaluate.key
    assert (cell.energy.result["rails"], cell.energy.result["meter"]) == (["5 V input"], "Joulescope JS110")
    assert cell.energy.result["idle"]["power_w"] == pytest.approx(2.0)


def test_without_an_idle_window_there_is_no_net_energy(results: Path, take: Call) -> None:
    assert take(None, *NAMED) == 0
    found = energies(results)
    assert found["energy"] > 0 and np.isnan(found["energy_net"]) and "power_idle" not in found


@pytest.mark.parametrize(
    ("trace", "options", "windows", "says"),
    [
        ({}, [*RUN, "--meter", "JS110"], WINDOWS, "the rail is not named"),
        ({}, [*RUN, "--rail", "5 V"], WINDOWS, "the meter is not named"),
        ({}, [*NAMED, *RUN], '[{"start": 5, "end": 10}]', "no window of it has inferences"),
        ({"gap": True}, [*NAMED, *RUN], WINDOWS, "have no samples"),
        ({"rate": 2.0}, [*NAMED, *RUN], WINDOWS, "20 are needed"),
        ({}, [*NAMED, "--idle", "4:6"], WINDOWS, "lies in a run"),
        ({"idle": 2.5}, [*NAMED, *RUN], WINDOWS, "one of them is something else"),
        ({"idle": 3.0}, [*NAMED, *RUN], WINDOWS, "one of them is something else"),
        ({"busy": -2.5}, [*NAMED, *RUN], WINDOWS, "the wrong way round"),
        ({}, [*NAMED, *RUN], WINDOWS.replace("8000", "8000000"), "the cell takes 10 µs"),
        ({}, [*NAMED, *RUN], WINDOWS.replace("17", "170"), "another trace"),
    ],
)  # fmt: skip
def test_a_wrong_trace_is_refused(
    trace: dict[str, float],
    options: list[str],
    windows: str,
    says: str,
    results: Path,
    take: Call,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert take(write(tmp_path / "wrong.csv", **trace), *options, windows=windows) == 2  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert says in said and "wrong.csv" in said
    assert Store(results).keys("energy") == set()


def test_dropped_samples_in_the_idle_window_are_refused(
    results: Path, take: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    micro = np.full(1750, 2.5e4)
    micro[:500], micro[100:120] = 2e4, np.nan
    path = tmp_path / "x-energy.bin"
    path.write_bytes(b"\xf1" + struct.pack("<f", 100.0) + micro.astype("<f4").tobytes())
    assert take(path) == 2
    assert "samples of the idle window are missing" in capsys.readouterr().err


def test_a_quicker_run_than_the_record_of_a_cell_without_batches(
    results: Path, take: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    """TFLite on the board's processor has phases alone: 600 µs a call, the trace says 62."""
    edit_cells(results, DESK, lambda cell, result: result["board"].update(fit=None, fit_execute=None))
    assert take(None, windows=WINDOWS.replace("8000", "80000")) == 2
    assert "the cell takes 600 µs" in capsys.readouterr().err
    assert take() == 0


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (f"digits_mlp/qta/{DESK}/seed0", "did you mean"),
        ("digits_mlp/qat/hls4ml/seed0", "ran on no hardware"),
        (f"digits_mlp/qat/{EMULATED}/seed0", "ran on no hardware"),
    ],
)
def test_a_cell_that_no_meter_can_have_seen(
    cell: str, says: str, results: Path, take: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    add_board(results, EMULATED)
    assert take(cell=cell) == 2
    assert says.lower() in capsys.readouterr().err.lower()
    assert Store(results).keys("energy") == set()


def test_a_cell_that_failed_has_no_energy(
    results: Path, take: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(results)
    cell = next(c for c in read_sweep(results, "synthetic").cells if c.target == DESK and c.variant == "qat")
    assert cell.evaluate is not None
    store.write(Record("evaluate", cell.evaluate.key, "failed", cell.evaluate.task, {}, reason="it hung"))
    assert take() == 2
    assert "it hung" in capsys.readouterr().err


def test_a_second_trace_needs_to_be_asked_for(
    results: Path, take: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert take() == 0
    other = write(tmp_path / "other.csv", busy=3.0)
    assert take(other) == 2
    assert "has an energy already, of t.csv" in capsys.readouterr().err
    assert energies(results)["power_busy"] == pytest.approx(2.5, rel=2e-3)
    assert take(other, *NAMED, *RUN, "--replace") == 0
    assert energies(results)["power_busy"] == pytest.approx(3.0, rel=2e-3)


def test_the_trace_of_an_artifact_that_was_made_anew_is_not_shown(results: Path, take: Call) -> None:
    assert take() == 0
    store = Store(results)
    cell = next(c for c in read_sweep(results, "synthetic").cells if c.energy is not None)
    assert cell.evaluate is not None
    cell.evaluate.inputs = {"0" * 64: "1" * 64}
    store.write(cell.evaluate)
    assert all(c.energy is None for c in read_sweep(results, "synthetic").cells)
    assert pick(frame(results), target=DESK, variant="qat", scope=SCOPE).empty
    assert store.read("energy", energy_key(cell.evaluate.key)) is not None
    assert take() == 0  # nothing is in its way


def test_options_that_do_not_go_together(results: Path, tmp_path: Path) -> None:
    path, line = write(tmp_path / "t.csv"), ["--results", str(results), "energy"]
    assert run_cli([*line, str(path), "--into", "synthetic"]) == 2
    assert run_cli([*line, str(path), "--cell", CELL]) == 2
    assert run_cli([*line, str(path), str(path), "--into", "synthetic", "--cell", CELL]) == 2
    assert run_cli([*line, str(tmp_path), "--into", "synthetic", "--cell", CELL]) == 2
    assert Store(results).keys("energy") == set()


def test_the_published_sample_as_the_energy_of_a_cell(results: Path) -> None:
    """EEMBC's own trace of a PYNQ-Z2: its published median, as a column."""
    folder = Path(os.environ.get("BENCH_DATA_DIR", "")) / "energy"
    trace = folder / "ad08-trace1-energy.bin"
    if not trace.is_file():
        pytest.skip("no energy/ in BENCH_DATA_DIR")
    line = ["--results", str(results), "energy", str(trace), "--inferences", "800000", *NAMED]
    assert run_cli([*line, "--into", "synthetic", "--cell", CELL]) == 0
    text = (folder / "ad08-results.txt").read_text(encoding="utf-8")
    median = float(text.partition("Median energy cost is ")[2].split()[0])
    assert energies(results)["energy"] * 1e6 == pytest.approx(median, abs=1e-3)
