"""Texts of the pictures: nothing is cut off, no name is taken for another point's, legends have room."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.report import pictures
from bench.report.frames.tidy import sweep_frame
from bench.report.frames.view import Number, views
from bench.report.pictures import labels
from bench.report.pictures.labels import legend_room, shortened
from bench.report.pictures.placing import SIZE, Places, distance, overlap, width
from bench.report.pictures.style import STYLE, WIDTH, Plan, draw
from bench.report.records.read import read_sweep
from tests.synthetic import KINDS, build
from tests.synthetic_board import add_board
from tests.synthetic_fpga import BITS, CHAINS, add_fpga, design

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEW = {name: KINDS[name] for name in ("baseline", "pruned", "fiq", "qap")}
LONG = "distilled_with_a_name_that_its_author_liked_very_much[network=student,sparsity=0.75,bits=6]"


def plans(root: Path) -> dict[str, Plan]:
    data = read_sweep(root, "synthetic")
    view = views(sweep_frame(data))[0]
    return {plan.name: plan for plan in pictures.plans(view, data.cells, data.rounds, "m")}


def painted(plan: Plan) -> Figure:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=plan.size)
        plan.paint(figure, plan.data)
    return figure


def cut_off(plan: Plan) -> list[str]:
    """Texts that leave the picture; ticks are matplotlib's own affair."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = painted(plan)
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        width, height = figure.bbox.size
        found = []
        for text in [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]:
            box = text.get_window_extent(renderer)
            if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
                found.append(text.get_text())
    return found


@pytest.fixture(scope="module")
def all_kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plan]:
    """Every kind of picture, with names as long as grids give them."""
    root = tmp_path_factory.mktemp("texts")
    patch = pytest.MonkeyPatch()
    grid = {f"qap[sparsity={s},network=student]": KINDS["qap"] for s in (0.5, 0.9)}
    for bits, name in enumerate(grid, 10):
        patch.setitem(CHAINS, name, CHAINS["qap"])
        patch.setitem(BITS, name, bits)
    build(root, variants=FEW | grid | {LONG: KINDS["distilled"]}, items=100)
    targets = ("rtl", "rtl[style=parallel,cutoff=2]", "rtl[style=parallel,cutoff=4]")
    hardware = {f"{v}@{t}": design(1.0 + n) for n, v in enumerate([*FEW, *grid]) for t in targets}
    add_fpga(root, targets=targets, hardware=hardware)
    add_board(root)
    found = plans(root)
    patch.undo()
    return found


def test_no_text_is_cut_off(all_kinds: dict[str, Plan]) -> None:
    kinds = {name.split("-")[1] for name in all_kinds}
    assert kinds >= {"accuracy", "latency", "size", "layers", "disagreement", "confusion", "resources"}
    assert {"board", "curve", "fabric"} <= kinds
    assert {name: cut for name, plan in all_kinds.items() if (cut := cut_off(plan))} == {}


def test_names_of_rows_are_shortened_in_the_middle() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("distilled_qap[sparsity=0.5], style=parallel", 21) == "distilled_…e=parallel"
    assert len(shortened(LONG, 40)) == 40


def test_a_legend_takes_as_many_lines_as_it_needs() -> None:
    short = [labels.Entry("ptq", "black", "s")] * 4
    long = [labels.Entry("a name of forty characters, or about so", "black", "s")] * 4
    assert len(labels._lines(short)) == 1 and len(labels._lines(long)) == 2
    assert all(labels._wide(line) <= WIDTH - 0.1 for line in labels._lines(long))
    assert legend_room(long) == legend_room(short) + labels.LINE


def test_a_curve_has_two_points_at_least(tmp_path: Path) -> None:
    """Cells that are left out make no curve of what is left."""
    build(tmp_path, variants=FEW, items=50)
    targets = ("hls4ml", "hls4ml[reuse_factor=4]")
    add_fpga(tmp_path, targets=targets)
    path = tmp_path / "sweeps" / "synthetic.json"
    manifest = json.loads(path.read_text())
    kept = [c for c in manifest["cells"] if c["target_label"] != targets[1] or c["variant"] == "pruned"]
    manifest["cells"] = kept
    for cell in kept:
        if cell["target"] == "hls4ml":
            cell["options"] = {"reuse_factor": 4 if "4]" in cell["target_label"] else 1}
    path.write_text(json.dumps(manifest))
    plan = plans(tmp_path)["m-curve-reuse-factor-hls4ml"]
    assert [curve.name for curve in plan.data.curves] == ["pruned"]


def test_very_many_points_are_pixels_without_bars(tmp_path: Path) -> None:
    grid = {f"pruned[sparsity={n / 1000}]": KINDS["pruned"] for n in range(1, 400, 3)}
    build(tmp_path, variants=FEW | grid, items=20, seeds=(0, 1), rounds=1, targets=("tflite",))
    plan = plans(tmp_path)["m-curve-sparsity-tflite"]
    (svg,) = draw(plan)
    assert len(svg) < 200_000 and b"data:image/png" in svg
    assert "None on curves of more than 100 points." in plan.caption
    # Nor are there more names on the axis than fit.
    assert svg.count(b"<text") < 60


def test_no_accuracy_above_100_percent(tmp_path: Path) -> None:
    """An interval over two seeds is wide; the axis ends where accuracy does."""
    grid = {f"pruned[sparsity={s}]": KINDS["pruned"] for s in (0.5, 0.9)}
    build(tmp_path, variants=FEW | grid, items=20, seeds=(0, 1), rounds=1, accuracy=0.9)
    found = plans(tmp_path)

    def wide(number: Number) -> Number:
        return number._replace(low=number.value - 0.4, high=number.value + 0.4)

    curve, size = found["m-curve-sparsity-tflite"], found["m-accuracy-size"]
    points = tuple((x, wide(number)) for x, number in curve.data.curves[0].accuracy)
    data = replace(curve.data, curves=(replace(curve.data.curves[0], accuracy=points),))
    spread = tuple(replace(point, accuracy=wide(point.accuracy)) for point in size.data.points)
    for plan in (replace(curve, data=data), replace(size, data=replace(size.data, points=spread))):
        low, high = painted(plan).axes[0].get_ylim()
        assert low < 60 and 100 < high < 106, plan.name


class TestPlaces:
    FRAME = (0.0, 0.0, 400.0, 300.0)

    def places(self, spots: list[tuple[float, float]]) -> Places:
        return Places(spots, [], self.FRAME, 1.0)

    def test_a_lonely_name_stands_beside_its_point(self) -> None:
        place = self.places([(200, 150)]).find(width("qap", False), (200, 150))
        assert place.line is None and place.side == "left" and place.area[0] == 207

    def test_a_name_is_nearer_to_its_own_point_or_has_a_line(self) -> None:
        spots = [(200.0 + 9 * n, 150.0 + (n % 2)) for n in range(6)]
        places = self.places(spots)
        found = {spot: places.find(34.0, spot) for spot in spots}
        for spot, place in found.items():
            others = min(distance(place.area, other) for other in spots if other != spot)
            assert place.line is not None or distance(place.area, spot) < others
        areas = [place.area for place in found.values()]
        assert not any(overlap(a, b) for n, a in enumerate(areas) for b in areas[:n])

    @pytest.mark.parametrize("weight", ["normal", "bold"])
    @pytest.mark.parametrize("name", ["qap", "pruned[sparsity=0.5]", "illi", "mmmm", "né ↓ 85.7 %"])
    def test_the_width_of_a_name_is_that_of_its_letters(self, name: str, weight: str) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(dpi=72)
        text = figure.text(0, 0, name, fontsize=SIZE, fontweight=weight)
        drawn = text.get_window_extent(FigureCanvasAgg(figure).get_renderer()).width
        assert width(name, weight == "bold") == pytest.approx(drawn, rel=0.05, abs=2)

    def test_a_letter_that_the_font_lacks_is_as_wide_as_it_is_high(self) -> None:
        assert width("名前", False) == 2 * SIZE

    def test_a_name_covers_a_bar_rather_than_a_name(self) -> None:
        places = self.places([(200, 150), (250, 150)])
        places.taken.append((196.0, 0.0, 204.0, 300.0))
        first = places.find(60.0, (200, 150))
        second = places.find(60.0, (250, 150))
        assert overlap(first.area, second.area) == 0
        assert not any(overlap(place.area, mark) for place in (first, second) for mark in places.marks)

    def test_at_the_edge_a_name_stays_inside(self) -> None:
        for spot in ((398.0, 150.0), (2.0, 150.0), (200.0, 299.0), (399.0, 299.0)):
            area = self.places([spot]).find(45.0, spot).area
            assert area[0] >= 0 and area[1] >= 0 and area[2] <= 400 and area[3] <= 300
