"""What the pictures show: the numbers of the records, nothing mixed, nothing invented."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.packed import pack, unpack
from bench.core.records import Record
from bench.core.results import Histogram, ScopeTimes
from bench.report import pictures, write, write_report
from bench.report.frames.tidy import sweep_frame
from bench.report.frames.view import ModelView, views
from bench.report.pictures import curves, fabric, latency, layers, resources, scatter, sizes
from bench.report.pictures.labels import fewer
from bench.report.pictures.style import GREY, INK, Plan, draw, look, round_numbers, tick_text
from bench.report.records import weights
from bench.report.records.read import SweepData, read_sweep
from bench.report.write import Choice
from bench.store.store import Store
from tests.synthetic import KINDS, build
from tests.synthetic_fpga import BITS, CHAINS, add_fpga, design

FEW = {name: KINDS[name] for name in ("baseline", "pruned", "fiq")}


def opened(root: Path) -> tuple[ModelView, SweepData]:
    data = read_sweep(root, "synthetic")
    return views(sweep_frame(data))[0], data


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    build(root, items=200)
    return root


def all_plans(root: Path) -> dict[str, Plan]:
    view, data = opened(root)
    return {plan.name: plan for plan in pictures.plans(view, data.cells, data.rounds, "m")}


def edit(root: Path, kind: str, change: Callable[[Record], None]) -> None:
    store = Store(root)
    for key in store.keys(kind):
        record = store.read(kind, key)
        assert record is not None
        change(record)
        store.record_path(kind, key).write_text(json.dumps(record.to_json()))


def words(plan: Plan) -> str:
    (svg,) = draw(plan)
    return " ".join(" ".join(ElementTree.fromstring(svg).itertext()).split())


class TestLook:
    def test_a_variant_looks_the_same_with_other_parameters(self) -> None:
        assert look("pruned[sparsity=0.9]") == look("pruned") and look("baseline").colour == INK
        assert look("baseline_longer").colour == look("student_scratch").colour == GREY

    def test_no_two_variants_that_ship_look_the_same(self) -> None:
        from bench.report.frames.view import CONTROLS
        from bench.report.pictures.style import _LOOKS
        from bench.sweep.variants import VARIANTS

        shipped = {name for name in VARIANTS if name not in CONTROLS}
        looks = [look(name) for name in shipped if name in _LOOKS]
        assert len(set(looks)) == len(looks) >= 14

    @pytest.mark.parametrize(
        ("name", "like"), [("my_pruned_net", "pruned"), ("qat_2bit", "qat"), ("q8", "ptq")]
    )
    def test_others_by_the_words_in_their_names(self, name: str, like: str) -> None:
        assert look(name).colour == look(like).colour


class TestScatter:
    def test_controls_and_noisy_latencies_are_not_on_the_front(self, root: Path) -> None:
        for plan in all_plans(root).values():
            if isinstance(plan.data, scatter.Scatter):
                assert not plan.data.front & {"baseline_longer", "student_scratch"}
                assert not plan.data.front & {p.name for p in plan.data.points if p.noisy}
                assert "over 3 seeds" in plan.caption and plan.main

    def test_one_seed_has_no_interval_between_seeds(self, tmp_path: Path) -> None:
        build(tmp_path, variants=FEW, seeds=(0,), items=50)
        plan = all_plans(tmp_path)["m-accuracy-size"]
        assert "over the test items (one seed)" in plan.caption

    def test_every_name_stands_in_the_picture(self, root: Path) -> None:
        plan = all_plans(root)["m-accuracy-size"]
        told = words(plan)
        assert all(point.name in told for point in plan.data.points)
        assert "gzip size (tflite) / kB" in told and "test accuracy (tflite) / %" in told

    def test_of_a_crowd_only_the_front_and_the_baseline_are_named(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = all_plans(root)["m-accuracy-size"]
        before = words(plan)
        monkeypatch.setattr(scatter, "NAMED", 5)
        assert plan.data.named == {"baseline", *plan.data.front} and len(plan.data.named) < len(before)
        told = words(plan)
        assert "ptq_fp16" in before and "ptq_fp16" not in told and "baseline" in told
        assert "Named and with bars: these and the baseline, of 14 variants." in scatter._caption(plan.data)

    def test_a_point_far_below_makes_no_heap_of_the_others(self, tmp_path: Path) -> None:
        kinds = {n: KINDS[n] for n in ("baseline", "pruned", "ptq", "dq", "fiq", "qat", "qap", "ptq_fp16")}
        build(tmp_path, variants=kinds, gain={"pruned": -0.3}, items=400)
        plan = all_plans(tmp_path)["m-accuracy-size"]
        assert plan.data.below == {"pruned"} and "below the axis" in plan.caption
        value = next(p.accuracy.value for p in plan.data.points if p.name == "pruned")
        assert f"pruned ↓ {100 * value:.1f} %" in words(plan)
        build(tmp_path / "b", variants=kinds, gain={"qap": -0.3}, items=400)
        assert not all_plans(tmp_path / "b")["m-accuracy-size"].data.below  # one of the front

    def test_a_point_that_the_bars_of_others_reach_is_on_the_axis(self, root: Path) -> None:
        plan = all_plans(root)["m-accuracy-size"]
        first = plan.data.points[0]
        values = [0.98] * 7 + [0.968, 0.9]

        def crowd(low: float) -> scatter.Scatter:
            bars = [first.accuracy._replace(value=v, low=v - 0.001, high=v + 0.001) for v in values]
            bars[0] = bars[0]._replace(low=low)
            points = [replace(first, name=f"v{n}", accuracy=bar) for n, bar in enumerate(bars)]
            return replace(plan.data, points=tuple(points), front=frozenset({"v0"}))

        assert crowd(low=0.979).below == {"v7", "v8"}
        assert crowd(low=0.95).below == {"v8"}
        bottom, _ = crowd(low=0.95).accuracies(frozenset({"v8"}))
        assert 0.9 < bottom < 0.95

    def test_seeds_of_the_bars_are_those_of_the_points(self, root: Path) -> None:
        plan = all_plans(root)["m-accuracy-size"]
        one = [replace(p, accuracy=p.accuracy._replace(seeds=1)) for p in plan.data.points[:1]]
        mixed = replace(plan.data, points=(*one, *plan.data.points[1:]))
        assert "over 3 seeds or over the test items (one seed)" in scatter._caption(mixed)


class TestRows:
    def test_many_rows_are_the_baseline_the_front_and_the_first(self) -> None:
        names = [f"v{n}" for n in range(100)] + ["baseline", "best, reuse=2"]
        kept, told = fewer(names, {"best"})
        assert len(kept) == 60 and kept[-2:] == ["baseline", "best, reuse=2"] and kept[0] == "v0"
        assert told.startswith(" 60 of 102 rows")
        assert fewer(names[:60], set()) == (names[:60], "")

    def test_large_ticks_are_short(self) -> None:
        assert [tick_text(x) for x in (0.3, 30_000, 3e6, 1e9)] == ["0.3", "30,000", "3M", "1,000M"]


class TestLatency:
    def test_outlines_hold_the_samples_of_all_rounds(self, root: Path) -> None:
        view, data = opened(root)
        plan = next(p for p in latency.plans(view, data.cells, data.rounds, "m") if "tflite" in p.name)
        (keys,) = {c.measure_keys for c in data.cells if c.target == "tflite" and c.measure_keys}
        windows = [r.result["entries"]["fiq"]["scopes"]["invoke"] for r in data.rounds[keys]]
        (fiq,) = [one for one in plan.data.variants if one.name == "fiq"]
        assert fiq.rounds == tuple(w["median_ns"] / 1e9 for w in windows)
        assert fiq.median == pytest.approx(view.value("fiq", "tflite", "latency_p50", "invoke"))
        start, end = fiq.outline[0][0], fiq.outline[-1][0]
        assert min(w["min_ns"] for w in windows) / 1e9 <= start < fiq.median < end
        assert end <= max(w["max_ns"] for w in windows) / 1e9 * 1.02
        assert max(height for _, height in fiq.outline) == 1 and len(fiq.outline) <= latency.POINTS
        assert plan.data.gap == view.noise("tflite", "invoke") and "A/A gap, ±" in plan.caption

    def test_tails_are_cut_off_and_it_is_said(self) -> None:
        def window(counts: list[int]) -> ScopeTimes:
            packed = pack(np.array(counts, np.uint32))
            histogram = Histogram.model_validate({"ratio": 1.005, "first": 1000, "counts": packed})
            return ScopeTimes.model_construct(histogram=histogram)

        outline = latency._outline([window([1000, 1000, 0, 0, 5])])
        assert [height for _, height in outline] == [1, 1]
        assert outline[0][0] == pytest.approx(1.005**1000.5 / 1e9, rel=1e-3)

    def test_without_twin_there_is_no_band(self, root: Path) -> None:
        plan = all_plans(root)["m-latency-tflite"]
        data = latency.Spreads(*[*plan.data.__dict__.values()][:3], gap=math.nan)
        assert "A/A" not in latency._caption(5, data)
        _, with_band = draw(plan), draw(plan)[0]
        without = draw(Plan(*("n", "m", "t", "d", "c"), data, latency.paint))[0]
        assert len(without) != len(with_band)

    def test_blocks_of_calls_are_named(self, tmp_path: Path) -> None:
        build(tmp_path, variants=FEW, seeds=(0,), items=50)

        def block(record: Record) -> None:
            for entry in record.result["entries"].values():
                for scope in entry["scopes"].values():
                    scope["block"] = 8

        edit(tmp_path, "measure", block)
        assert "mean of a block of calls" in all_plans(tmp_path)["m-latency-tflite"].data.label

    def test_rounds_that_failed_or_lack_a_variant_are_left_out(self, tmp_path: Path) -> None:
        build(tmp_path, variants=FEW, seeds=(0,), items=50)

        def damage(record: Record) -> None:
            if record.task["round"] == 0:
                record.status, record.reason = "failed", "killed"
            elif record.task["round"] == 1:
                record.result["entries"]["fiq"] = {"error": "no luck", "scopes": {}}

        edit(tmp_path, "measure", damage)
        data = all_plans(tmp_path)["m-latency-tflite"].data
        assert {one.name: len(one.rounds) for one in data.variants} == {"baseline": 4, "pruned": 4, "fiq": 3}


class TestSizes:
    def test_parts_are_weights_by_type_and_the_rest(self, root: Path) -> None:
        data = all_plans(root)["m-size-by-type"].data
        fiq = dict(data.parts[data.names.index("fiq")])
        assert fiq == {"int8": 29_100, "float32": 3_600, sizes.REST: 1500}
        assert data.parts[data.names.index("fiq")][-1][0] == sizes.REST
        assert (
            data.gzip[data.names.index("fiq")]
            == opened(root)[0].seed(*("fiq", "tflite", "gzip_bytes", "", 0)).value
        )  # type: ignore[union-attr]

    def test_none_where_files_tell_nothing(self, tmp_path: Path) -> None:
        build(tmp_path, variants={n: KINDS[n] for n in ("baseline", "pruned")}, targets=("keras",), items=50)
        assert not any("size-by-type" in name for name in all_plans(tmp_path))


class TestLayers:
    def test_tensors_are_put_in_the_order_of_the_network(self) -> None:
        order = ["conv_1", "dense_2", "logits"]

        def weight(name: str, dtype: str = "int8") -> dict[str, Any]:
            return {"name": name, "role": "kernel", "dtype": dtype, "shape": [10, 4], "nonzero": 10}

        name = "sequential/quant_dense_2/MatMul;sequential/quant_dense_2/LastValueQuant"
        one = weights.tensor(weight(name), order)
        assert (one.layer, one.zeros, one.bits) == ("dense_2", 0.75, 8)
        other = weights.tensor(weight("a/other/x", "complex64"), order)
        assert other.layer == "other" and math.isnan(other.bits)
        assert weights.tensor(weight("lonely"), order).layer == "lonely"

    def test_designs_have_bits_of_their_own(self, tmp_path: Path) -> None:
        build(tmp_path, variants={n: KINDS[n] for n in ("baseline", "qat", "ptq")}, items=50)
        add_fpga(tmp_path)
        data = all_plans(tmp_path)["m-layers-hls4ml"].data
        bits = dict(zip(data.names, data.bits, strict=True))
        assert set(bits["qat"]) == {6} and set(bits["ptq"]) == {8} and set(bits["baseline"]) == {16}
        assert "m-layers-tflite" in all_plans(tmp_path)

    def test_hostile_facts_are_no_layers(self) -> None:
        for facts in ("x", [1, "a"], None, {"name": 3}):
            assert weights.dicts(facts) == []
        assert math.isnan(layers._zeros({"params": "many", "nonzero": True}))


class TestAgreement:
    def test_items_that_a_variant_gains_and_loses(self, root: Path) -> None:
        _, data = opened(root)
        plan = all_plans(root)["m-disagreement"]
        chosen = {c.variant: c for c in data.cells if (c.target, c.seed) == ("tflite", 0)}
        right = {n: unpack(chosen[n].evaluate.result["correct"]) for n in ("baseline", "qap")}  # type: ignore[union-attr]
        place = plan.data.names.index("qap")
        assert plan.data.gained[place] == int((right["qap"] & ~right["baseline"]).sum())
        assert plan.data.lost[place] == int((~right["qap"] & right["baseline"]).sum()) > 0
        assert plan.data.n == 200 and "baseline" not in plan.data.names
        assert 0 < plan.data.p[place] <= 1 and "McNemar" in plan.caption

    def test_confusion_is_that_of_the_records(self, root: Path) -> None:
        _, data = opened(root)
        (plan,) = [p for n, p in all_plans(root).items() if "confusion" in n]
        chosen = {c.variant: c for c in data.cells if (c.target, c.seed) == ("tflite", 0)}
        before, after = (
            np.array(chosen[name].evaluate.result["confusion"])  # type: ignore[union-attr]
            for name in ("baseline", plan.data.variant)
        )
        assert np.array_equal(plan.data.baseline, before) and np.array_equal(plan.data.change, after - before)
        assert plan.data.variant == "distilled_qap"  # the smallest on the front

    @pytest.mark.parametrize("bad", [[], [[1, 2]], "x", [[1, "a"], [2, 3]], [[1] * 30] * 30, None])
    def test_no_matrix_where_there_is_none_to_show(self, tmp_path: Path, bad: object) -> None:
        build(tmp_path, variants=FEW, seeds=(0,), items=50)
        edit(tmp_path, "evaluate", lambda record: record.result.update(confusion=bad))
        assert not any("confusion" in name for name in all_plans(tmp_path))


class TestResources:
    def test_percent_by_stage(self, tmp_path: Path) -> None:
        build(tmp_path, variants=FEW, items=50)
        add_fpga(tmp_path, hardware={"pruned": design(), "baseline": design(2.0, stages=("hls_est",))})
        view, _ = opened(tmp_path)
        (plan,) = resources.plans(view, "m")
        assert plan.name == "m-resources-hls4ml-xc7z020-estimated"
        panels = dict(plan.data.panels)
        assert list(panels) == ["LUT", "FF", "DSP", "BRAM18"]  # nothing of URAM, which the device has not
        rows = {(plan.data.names[row], stage): p for row, stage, p in panels["DSP"]}
        assert rows["pruned", "impl"] == pytest.approx(100 * 180 / 220)
        assert ("baseline", "impl") not in rows and rows["baseline", "hls_est"] > 100
        assert "HLS estimate" in words(plan)
        assert "Dotted: all that the device has." in plan.caption

    def test_a_limit_that_is_not_drawn_is_not_told(self, tmp_path: Path) -> None:
        build(tmp_path, variants=FEW, items=50)
        add_fpga(tmp_path, hardware={"pruned": design(0.1), "baseline": design(0.1)})
        (plan,) = resources.plans(opened(tmp_path)[0], "m")
        assert max(p for _, points in plan.data.panels for *_, p in points) < 90
        assert "Dotted" not in plan.caption

    def test_numbers_of_different_origin_are_never_in_one_picture(self, tmp_path: Path) -> None:
        build(tmp_path, variants=FEW, items=50)
        add_fpga(
            tmp_path,
            hardware={"pruned": design(), "baseline": design() | {"origin": "modelled"}},
        )
        names = [plan.name for plan in resources.plans(opened(tmp_path)[0], "m")]
        assert len(names) == 2 and {n.rpartition("-")[2] for n in names} == {"estimated", "modelled"}


class TestCurves:
    def test_a_grid_of_variants_with_the_plain_one(self, tmp_path: Path) -> None:
        grid = {f"pruned[sparsity={s}]": KINDS["pruned"] for s in (0.5, 0.9)}
        build(tmp_path, variants=FEW | grid, items=50)
        view, data = opened(tmp_path)
        (plan,) = curves.plans(view, data.cells, "m")
        assert plan.name == "m-curve-sparsity-tflite"
        (curve,) = plan.data.curves
        value = next(
            r.task["params"]["sparsity"]
            for c in data.cells
            for r in c.builds
            if c.variant == "pruned" and r is not None and "sparsity" in r.task["params"]
        )
        assert [x for x, _ in curve.accuracy] == sorted([0.5, 0.9, value]) and curve.name == "pruned"
        assert "Dashed: accuracy of the baseline" in plan.caption

    def test_curves_of_one_colour_are_told_apart_by_their_lines(self, tmp_path: Path) -> None:
        grid = {f"pruned[alpha={a},sparsity={s}]": KINDS["pruned"] for a in (1, 2) for s in (0.5, 0.9)}
        build(tmp_path, variants=FEW | grid, items=50)
        view, data = opened(tmp_path)
        plan = next(p for p in curves.plans(view, data.cells, "m") if "sparsity" in p.name)
        one, two = curves.entries(plan.data.curves)
        assert one.colour == two.colour and (one.style, two.style) == ("-", "--")
        (alone,) = curves.entries(plan.data.curves[:1])
        assert alone.style == ""

    def test_a_cost_that_hardly_changes_is_not_drawn(self, tmp_path: Path) -> None:
        points = [(0.1, "pruned", "tflite"), (0.2, "baseline", "tflite")]
        build(tmp_path, variants=FEW, items=50)
        view = opened(tmp_path)[0]
        usual = curves._cost(view, points)[0]
        sizes = {v: view.get(v, "tflite", usual) for _, v, _ in points}
        assert usual == "gzip_bytes" and None not in sizes.values()
        real = curves._number

        def alike(view: Any, variant: str, target: str, metric: str, place: Any) -> Any:
            found = real(view, variant, target, metric, place)
            if metric != "gzip_bytes" or found is None:
                return found
            return found._replace(value=1000.0 if variant == "pruned" else 1005.0)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(curves, "_number", alike)
            assert curves._cost(view, points)[0] != "gzip_bytes"

    def test_a_grid_of_targets(self, tmp_path: Path) -> None:
        build(tmp_path, variants=FEW, items=50)
        targets = ("hls4ml", "hls4ml[reuse_factor=4]")
        hardware = {f"pruned@{t}": design(scale) for t, scale in zip(targets, (1.0, 0.3), strict=True)}
        add_fpga(tmp_path, targets=targets, hardware=hardware)
        path = tmp_path / "sweeps" / "synthetic.json"
        manifest = json.loads(path.read_text())
        for cell in manifest["cells"]:
            if cell["target"] == "hls4ml":
                cell["options"] = {"reuse_factor": 4 if "4]" in cell["target_label"] else 1}
        path.write_text(json.dumps(manifest))
        view, data = opened(tmp_path)
        (plan,) = [p for p in curves.plans(view, data.cells, "m") if "reuse" in p.name]
        pruned = next(c for c in plan.data.curves if c.name == "pruned")
        assert [(x, n.value) for x, n in pruned.cost] == [(1.0, 180.0), (4.0, 54.0)]
        assert plan.data.cost == "DSP, impl, estimated" and "simulated" in plan.data.accuracy

    def test_a_design_of_another_style_is_no_point_of_a_curve(self, tmp_path: Path) -> None:
        """Its option has the usual value too, but means nothing there."""
        build(tmp_path, variants=FEW, items=50)
        styles: dict[str, dict[str, object]] = {
            "rtl": {"style": "sequential", "cutoff": 5},
            "rtl[style=parallel]": {"style": "parallel", "cutoff": 5},
            "rtl[style=parallel,cutoff=2]": {"style": "parallel", "cutoff": 2},
        }
        hardware = {f"pruned@{t}": design(1.0 + i) for i, t in enumerate(styles)}
        add_fpga(tmp_path, targets=tuple(styles), hardware=hardware)
        path = tmp_path / "sweeps" / "synthetic.json"
        manifest = json.loads(path.read_text())
        for cell in manifest["cells"]:
            cell["options"] = styles.get(cell["target_label"], {})
        path.write_text(json.dumps(manifest))
        view, data = opened(tmp_path)
        for plans, name in ((curves.plans, "m-curve-cutoff-rtl"), (fabric.plans, "m-fabric-cutoff-rtl")):
            (plan,) = plans(view, data.cells, "m")
            assert plan.name == name
            points = {c.name: [x for x, _ in c.cost] for c in plan.data.curves}
            assert points["pruned, style=parallel"] == [2.0, 5.0] and "pruned" not in points
            assert draw(plan)[0].startswith(b"<?xml")

    def test_fabric_of_both_styles_by_a_parameter_of_the_variant(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        grid = {f"pruned[sparsity={s}]": KINDS["pruned"] for s in (0.5, 0.9)}
        for bits, name in enumerate(grid, 10):
            monkeypatch.setitem(CHAINS, name, CHAINS["pruned"])
            monkeypatch.setitem(BITS, name, bits)
        build(tmp_path, variants=FEW | grid, items=50)
        targets = ("rtl", "rtl[style=parallel]")
        scales = {"pruned[sparsity=0.5]": 1.0, "pruned[sparsity=0.9]": 0.4}
        hardware = {f"{v}@{t}": design(s) for v, s in scales.items() for t in targets}
        add_fpga(tmp_path, targets=targets, hardware=hardware)
        view, data = opened(tmp_path)
        (plan,) = fabric.plans(view, data.cells, "m")
        assert plan.name == "m-fabric-sparsity-rtl" and plan.data.labels[0] == "LUT, impl, estimated"
        assert [c.name for c in plan.data.curves] == ["pruned, rtl", "pruned, rtl[style=parallel]"]
        for curve in plan.data.curves:
            (_, first), (_, second) = curve.cost  # DSP slices
            assert [x for x, _ in curve.accuracy] == [0.5, 0.9] and second.value < first.value

    def test_one_value_is_no_curve(self, root: Path) -> None:
        assert not any("curve" in name for name in all_plans(root))

    def test_labels(self) -> None:
        assert curves._parsed("qat[bits=4,symmetric=true,x=inf]") == (
            "qat",
            {"bits": 4.0, "symmetric": "true", "x": "inf"},
        )
        assert curves._parsed("plain") == ("plain", {})


class TestChoice:
    def test_very_many_pictures_are_only_the_main_ones(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(write, "MANY", 8)
        names = {name for name in write_report(root, "synthetic", tmp_path) if name.endswith(".svg")}
        assert {name.partition("-")[2].rpartition("-")[0] for name in names} <= {
            "mlp-accuracy",
            "mlp-accuracy-latency",
        }
        every = write_report(root, "synthetic", tmp_path, choice=Choice(every=True))
        assert len([name for name in every if name.endswith(".svg")]) == 9

    def test_formats(self, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(write, "FEW", 8)
        endings = {name.rpartition(".")[2] for name in write_report(root, "synthetic", tmp_path)}
        assert endings == {"html", "md", "tex", "csv", "svg"}
        chosen = write_report(root, "synthetic", tmp_path, choice=Choice(every=False, formats=("pdf",)))
        assert {name.rpartition(".")[2] for name in chosen} == {"html", "md", "tex", "csv", "svg", "pdf"}

    def test_what_was_drawn_is_not_drawn_again(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        drawn: dict[str, Any] = {}
        first = write_report(root, "synthetic", tmp_path / "a", choice=Choice(formats=("svg",)), drawn=drawn)
        assert len(drawn) == 9

        def fail(*_: object) -> None:
            raise AssertionError("drawn again")

        monkeypatch.setattr(write, "draw", fail)
        svg = Choice(formats=("svg",))
        again = write_report(root, "synthetic", tmp_path / "b", choice=svg, drawn=drawn)
        assert {n: p.read_bytes() for n, p in first.items()} == {n: p.read_bytes() for n, p in again.items()}
        with pytest.raises(AssertionError, match="drawn again"):
            write_report(
                root, "synthetic", tmp_path / "c", choice=Choice(formats=("svg", "png")), drawn=drawn
            )

    def test_keys_tell_plans_apart(self, root: Path) -> None:
        keys = [plan.key for plan in all_plans(root).values()]
        assert len(set(keys)) == len(keys)


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    hostile = "<b>$x_1$ & 名[k=1]"
    build(tmp_path, variants=FEW | {hostile: KINDS["qat"]}, items=50)
    for plan in all_plans(tmp_path).values():
        assert hostile in words(plan) or "pruned" in words(plan)
    assert hostile in words(all_plans(tmp_path)["m-accuracy-size"])


@pytest.mark.parametrize(("low", "high"), [(1.0, 2.0), (0.3, 900.0), (1e-9, 1e9), (5.0, 5.001)])
def test_round_numbers_lie_on_the_axis(low: float, high: float) -> None:
    ticks = round_numbers(low, high)
    assert all(low <= tick <= high for tick in ticks) and len(ticks) <= 20
