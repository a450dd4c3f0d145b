"""Pictures of boards: phases of one call, time against batch; a title says what is modelled."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bench.report import pictures, write_report
from bench.report.frames.tidy import sweep_frame
from bench.report.frames.view import views
from bench.report.pictures import board
from bench.report.pictures.style import Plan, draw
from bench.report.records.read import read_sweep
from tests.synthetic import KINDS, build
from tests.synthetic_board import DESK, EMULATED, add_board, told
from tests.synthetic_fpga import add_fpga

FEW = {name: KINDS[name] for name in ("baseline", "ptq", "dq", "qat")}
SHOWN = ("board-phases", "board-batch")


def plans(root: Path) -> dict[str, Plan]:
    data = read_sweep(root, "synthetic")
    view = views(sweep_frame(data))[0]
    return {plan.name: plan for plan in pictures.plans(view, data.cells, data.rounds, "m")}


def words(plan: Plan) -> str:
    (svg,) = draw(plan)
    return " ".join(" ".join(ElementTree.fromstring(svg).itertext()).split())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    build(root, variants=FEW)
    add_fpga(root)
    add_board(root, DESK, {"qat": told(factor=0.5)})
    add_board(root, EMULATED)
    return root


@pytest.fixture(scope="module")
def drawn(root: Path) -> dict[str, Plan]:
    return plans(root)


def test_two_pictures_for_each_board_that_say_their_origin(drawn: dict[str, Plan]) -> None:
    names = {name for name in drawn if name.startswith(tuple(f"m-{kind}" for kind in SHOWN))}
    assert names == {
        f"m-{kind}-{where}"
        for kind in SHOWN
        for where in ("pynq-board-desk-measured", "pynq-board-emulated-modelled")
    }
    for name in names:
        plan, origin = drawn[name], name.rpartition("-")[2]
        assert f", {origin}, pynq[board=" in plan.title and origin in plan.data.label
        assert (board.VIRTUAL in plan.caption) == (origin == "modelled")
        assert plan.title in words(plan) and plan.title in plan.description


def test_no_picture_has_measured_and_modelled_times(tmp_path: Path) -> None:
    """Whatever a label says: the record decides."""
    build(tmp_path, variants=FEW)
    add_board(tmp_path, DESK, {"qat": told("modelled")})
    found = plans(tmp_path)
    for origin, names in (("measured", ("baseline", "ptq")), ("modelled", ("qat",))):
        assert found[f"m-board-phases-pynq-board-desk-{origin}"].data.names == names
        lines = found[f"m-board-batch-pynq-board-desk-{origin}"].data.lines
        assert tuple(name for line in lines for name in line.names) == names


def test_phases_are_stacked_in_their_order(drawn: dict[str, Plan]) -> None:
    data = drawn["m-board-phases-pynq-board-desk-measured"].data
    assert data.names == ("baseline", "ptq", "qat")  # dq has no design
    assert [name for name, _ in data.parts[0]] == ["encode", "copy_in", "execute", "copy_out", "decode"]
    assert [round(1e6 * seconds) for _, seconds in data.parts[0]] == [10, 40, 500, 40, 10]
    assert data.whole == (pytest.approx(600e-6), pytest.approx(600e-6), pytest.approx(300e-6))
    shown = words(drawn["m-board-phases-pynq-board-desk-measured"])
    assert all(word in shown for word in ("copy in", "copy out", "execute", "baseline", "qat"))


def test_a_batch_has_its_times_and_its_line(drawn: dict[str, Plan]) -> None:
    plan = drawn["m-board-batch-pynq-board-desk-measured"]
    usual, quick = plan.data.lines
    assert usual.names == ("baseline", "ptq") and quick.names == ("qat",)
    assert [n for n, _ in usual.points] == [1, 4, 16, 256]
    assert [t for _, t in usual.points] == pytest.approx([600e-6, 630e-6, 750e-6, 3150e-6])
    assert (usual.a, usual.b) == (pytest.approx(590e-6), pytest.approx(10e-6))
    shown = words(plan)
    assert "t = 0.590 ms + 10.0 µs · N" in shown and "t = 0.295 ms + 5.00 µs · N" in shown
    assert "t = 0.590 ms + 10.0 µs · N" in plan.description
    assert "all 3 variants" in words(drawn["m-board-batch-pynq-board-emulated-modelled"])


def test_no_two_pictures_of_the_same_points(drawn: dict[str, Plan]) -> None:
    assert [name for name in drawn if "accuracy-EBOPs" in name] == ["m-accuracy-EBOPs-hls4ml"]


def test_what_the_records_lack_is_not_drawn(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW)
    one = told()
    one |= {"throughput": one["throughput"][:1]}
    none = told(phases={}, fit=None, fit_execute=None, throughput=[])
    add_board(tmp_path, DESK, {"qat": none, "ptq": one})
    found = plans(tmp_path)
    assert found["m-board-phases-pynq-board-desk-measured"].data.names == ("baseline", "ptq")
    (line,) = found["m-board-batch-pynq-board-desk-measured"].data.lines
    assert line.names == ("baseline",)
    add_board(tmp_path, EMULATED, usual=none | {"origin": "modelled"})
    assert not [name for name in plans(tmp_path) if "emulated-modelled" in name]


def test_a_fit_below_zero_is_drawn_where_it_is_a_time(tmp_path: Path) -> None:
    build(tmp_path, variants=FEW)
    add_board(tmp_path, DESK, usual=told(fit={"a_s": -5e-6, "b_s": 2e-6, "r2": 0.4}))
    shown = words(plans(tmp_path)["m-board-batch-pynq-board-desk-measured"])
    assert "t = −5,000 ns" in shown or "t = −5.00 µs" in shown


def test_in_all_formats_and_the_same_bytes(root: Path, tmp_path: Path) -> None:
    from bench.report.write import Choice

    files = write_report(root, "synthetic", tmp_path, choice=Choice(True, ("svg", "pdf", "png")))
    for kind in SHOWN:
        for ending, start in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
            name = f"digits-mlp-{kind}-pynq-board-desk-measured.{ending}"
            assert files[name].read_bytes().startswith(start)
    plan = plans(root)["m-board-batch-pynq-board-desk-measured"]
    assert draw(plan) == draw(plan)
