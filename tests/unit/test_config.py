"""Sweep files: what they come down to."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from bench.core.cells import Sweep
from bench.errors import ConfigError
from bench.sweep import load_sweep, parse_sweep, shipped_sweeps
from bench.sweep.loader import SWEEPS, Options
from tests import toy

BASELINE = "{name: baseline, summary: plain, trunk: [toy_train]}"
PRUNED = "{name: pruned, base: baseline, then: [toy_prune]}"


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toy.activate(monkeypatch, tmp_path)


def sweep(*variants: str, top: str = "", options: Options | None = None) -> Sweep:
    """A sweep of the toy model with these entries under `variants`."""
    lines = ["sweep: s", *(line for line in dedent(top).splitlines() if line)]
    for key, value in (("models", "[toy]"), ("targets", "[toy]"), ("seeds", "[0, 1]")):
        if not any(line.startswith(f"{key}:") for line in lines):
            lines.append(f"{key}: {value}")
    lines += ["variants:", *(f"  - {entry}" for entry in variants or (BASELINE,))]
    return parse_sweep("\n".join(lines), source="s.yaml", options=options)


def chain(found: Sweep, variant: str) -> list[tuple[str, dict[str, Any]]]:
    """Steps of a variant with the parameters that are not the toy's defaults."""
    cell = next(cell for cell in found.cells if cell.variant == variant)
    assert cell.chain is not None
    defaults = {name: toy.step(name).params for name in ("train", "prune", "quantize", "distill")}
    return [
        (
            spec.step,
            {k: v for k, v in spec.params.items() if v != defaults[spec.step.removeprefix("toy_")][k]},
        )
        for spec in cell.chain.steps
    ]


def names(found: Sweep) -> list[str]:
    return list(dict.fromkeys(cell.variant for cell in found.cells))


def refused(*variants: str, top: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        sweep(*variants, top=top)
    return str(caught.value)


class TestShipped:
    @pytest.mark.parametrize("name", ["digits", "fashion_mnist", "mnist"])
    def test_loads_with_three_seeds_and_three_targets(self, name: str) -> None:
        found = load_sweep(name)
        assert found.name == name and found.title
        assert {cell.target for cell in found.cells} - {"rtl"} == {"keras", "tflite", "hls4ml"}
        assert {cell.seed for cell in found.cells} == {0, 1, 2}
        assert all(cell.summary for cell in found.cells)
        assert all(
            any(other.variant == "baseline" for other in found.cells if other.model == cell.model)
            for cell in found.cells
        )

    def test_all_are_listed(self) -> None:
        found = shipped_sweeps()
        assert {"digits", "fashion_mnist", "mnist"} <= set(found)
        assert set(found) == {path.stem for path in SWEEPS.glob("*.yaml")}

    def test_the_eight_variants_are_simulated_and_no_more(self) -> None:
        runs = {c.variant for c in load_sweep("digits").cells if c.target == "hls4ml" and c.chain}
        eight = {"baseline", "pruned", "ptq", "qat", "qap", "distilled", "distilled_qap"}
        assert runs == eight  # dq and fiq, the other two, are not applicable
        rtl = [c for c in load_sweep("digits").cells if c.target == "rtl" and c.chain]
        assert {c.variant for c in rtl} == eight and {c.seed for c in rtl} == {0}

    def test_the_lectures_demo_differs_in_its_faults_only(self) -> None:
        cells = {c.variant: c.chain for c in load_sweep("mnist_1v9_qap").cells if c.chain}
        params = {name: cells[name].steps[0].params for name in cells if name.startswith("qap_")}
        lecture, corrected = params["qap_as_lecture"], params["qap_corrected"]
        assert lecture["validate_on"] == "test" and params["qap_own_split"]["validate_on"] == "validation"
        changed = {name for name in lecture if lecture[name] != corrected[name]}
        assert changed == {"validate_on", "activation", "loss"}
        assert cells["qap_as_lecture"].steps[1].params["reuse_factor"] == 16

    def test_digits_has_every_variant_that_ships(self) -> None:
        from bench.sweep.variants import VARIANTS

        assert set(names(load_sweep("digits"))) == set(VARIANTS)

    def test_distilled_shares_the_baselines_training(self) -> None:
        cells = {cell.variant: cell.chain for cell in load_sweep("digits").cells if cell.chain}
        baseline, distilled = cells["baseline"], cells["distilled"]
        assert distilled.teacher == baseline.steps[:1]

    def test_mnist_pruned_to_80_percent(self) -> None:
        cells = [cell for cell in load_sweep("mnist").cells if cell.variant == "pruned_80_dq"]
        assert {cell.model for cell in cells} == {"mnist_cnn"}
        chains = {cell.target: cell.chain for cell in cells}
        assert chains["keras"] is None and chains["tflite"] is not None
        prune, convert = chains["tflite"].steps[1:]
        assert prune.params["sparsity"] == 0.8 and convert.params["mode"] == "dynamic"

    def test_the_lectures_grid(self) -> None:
        found = load_sweep("fashion_mnist")
        assert "pruned[sparsity=0.2]" in names(found)
        assert {cell.variant for cell in found.cells if cell.model == "fashion_cnn"} < set(names(found))

    @pytest.mark.parametrize("name", ["digits", "fashion_mnist", "mnist"])
    def test_seeds_that_are_not_run_are_left_out_all_the_same(self, name: str) -> None:
        assert {cell.seed for cell in load_sweep(name, quick=True).cells} == {0}
        assert {cell.seed for cell in load_sweep(name, seeds=(7,)).cells} == {7}

    def test_quick_is_small_and_keeps_its_own_name(self) -> None:
        found = load_sweep("digits", quick=True)
        assert found.name == "digits-quick" and found.quick
        assert {cell.seed for cell in found.cells} == {0} and found.protocol.name == "quick"
        epochs = [
            s.params["epochs"] for c in found.cells if c.chain for s in c.chain.steps if "epochs" in s.params
        ]
        assert epochs and max(epochs) == 2


class TestCells:
    def test_model_variant_target_seed(self) -> None:
        found = sweep(BASELINE, PRUNED)
        assert [cell.label for cell in found.cells] == [
            f"toy/{variant}/toy/seed{seed}" for variant in ("baseline", "pruned") for seed in (0, 1)
        ]

    def test_only_first_seed_is_measured(self) -> None:
        assert [cell.measured for cell in sweep().cells] == [True, False]

    def test_all_seeds_are_measured_if_asked(self) -> None:
        assert all(cell.measured for cell in sweep(top="measure: {seeds: all}").cells)

    def test_protocol_off_measures_nothing(self) -> None:
        assert not any(cell.measured for cell in sweep(top="protocol: off").cells)

    def test_default_parameters_are_filled_in(self) -> None:
        (cell, *_) = sweep().cells
        assert cell.chain is not None
        assert cell.chain.steps == (toy.step("train"),)
        assert cell.options == {"fault": "", "threads": 1} and cell.target_label == "toy"

    def test_options_of_targets_are_grids(self) -> None:
        found = sweep(top="targets: [{toy: {threads: [1, 2]}}]")
        assert list(dict.fromkeys(c.target_label for c in found.cells)) == ["toy", "toy[threads=2]"]
        assert {c.options["threads"] for c in found.cells} == {1, 2}

    def test_format_without_chain_is_not_applicable(self) -> None:
        found = sweep(top="targets: [toy, keras]")
        reasons = {cell.target: cell.not_applicable for cell in found.cells}
        assert reasons["toy"] is None and "keras" in (reasons["keras"] or "")

    def test_reason_of_the_file_is_kept(self) -> None:
        entry = '{name: baseline, trunk: [toy_train], keras: "n/a: toys only"}'
        found = sweep(entry, top="targets: [toy, keras]")
        assert {c.not_applicable for c in found.cells if c.target == "keras"} == {"toys only"}

    def test_seeds_may_be_a_number(self) -> None:
        assert [cell.seed for cell in sweep(top="seeds: 3").cells] == [0, 1, 2]

    def test_baseline_is_added(self) -> None:
        found = parse_sweep({"models": ["digits_mlp"], "targets": ["tflite"], "variants": ["dq"], "seeds": 1})
        assert names(found) == ["baseline", "dq"]

    def test_title_timeouts_and_config_are_kept(self) -> None:
        found = sweep(top="title: A title\ntimeout: {build: 5, measure: 7.5}")
        assert found.title == "A title" and found.timeouts == {"build": 5.0, "measure": 7.5}
        assert found.config["title"] == "A title" and found.source == "s.yaml"

    def test_ten_thousand_cells_share_their_chains(self) -> None:
        grid = [round(n / 5000, 5) for n in range(5000)]
        entry = f"{{pruned: {{toy_prune.sparsity: {grid}}}}}"
        found = sweep(BASELINE, PRUNED.replace("- ", ""), entry)
        assert len(found.cells) == 2 * 5002
        first, second = found.cells[4], found.cells[5]
        assert first.chain is second.chain


class TestProtocol:
    @pytest.mark.parametrize(
        ("name", "rounds", "warmup", "seconds"),
        [("full", 5, 0.5, 1.0), ("quick", 3, 0.2, 0.3), ("mlperf", 5, 0.5, 10.0)],
    )
    def test_presets_are_those_of_the_docs(
        self, name: str, rounds: int, warmup: float, seconds: float
    ) -> None:
        found = sweep(top=f"protocol: {name}").protocol
        assert (found.rounds, found.warmup_seconds, found.min_seconds) == (rounds, warmup, seconds)
        assert (found.warmup_calls, found.min_samples) == (10, 50)

    def test_changed_preset(self) -> None:
        found = sweep(top="protocol: {preset: quick, rounds: 7}").protocol
        assert (found.name, found.rounds, found.min_seconds) == ("quick-custom", 7, 0.3)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("fast", "unknown protocol 'fast'"),
            ("{round: 3}", "Did you mean 'rounds'"),
            ("{rounds: many}", "a whole number was expected"),
            ("{rounds: 2.5}", "a whole number was expected"),
            ("{rounds: -1}", "not in [0"),
            ("{rounds: true}", "a whole number was expected"),
            ("{min_samples: 0}", "at least one sample"),
            ("[quick]", "a mapping"),
        ],
    )
    def test_wrong(self, text: str, words: str) -> None:
        assert words in refused(top=f"protocol: {text}")


class TestParameters:
    def test_params_of_the_sweep(self) -> None:
        found = sweep(BASELINE, PRUNED, top="params: {toy_train: {epochs: 5}}")
        assert chain(found, "pruned") == [("toy_train", {"epochs": 5}), ("toy_prune", {})]

    def test_params_of_a_model_are_stronger(self) -> None:
        found = sweep(top="params: {toy_train: {epochs: 5, noise: true}, toy: {toy_train: {epochs: 6}}}")
        assert chain(found, "baseline") == [("toy_train", {"epochs": 6, "noise": True})]

    def test_params_in_the_models_entry(self) -> None:
        found = sweep(top="models: [{toy: {params: {toy_train: {epochs: 6}}}}]")
        assert chain(found, "baseline") == [("toy_train", {"epochs": 6})]

    def test_the_chains_own_params_are_stronger(self) -> None:
        entry = "{name: baseline, trunk: [{toy_train: {epochs: 9}}]}"
        found = sweep(entry, top="params: {toy_train: {epochs: 5}}")
        assert chain(found, "baseline") == [("toy_train", {"epochs": 9})]

    def test_integers_serve_as_numbers(self) -> None:
        found = sweep(BASELINE, "{name: p, trunk: [toy_train, {toy_prune: {sparsity: 1}}]}")
        value = chain(found, "p")[1][1]["sparsity"]
        assert value == 1.0 and isinstance(value, float)


class TestOverrides:
    def test_grid_names_its_values(self) -> None:
        found = sweep(BASELINE, PRUNED, "{pruned: {sparsity: [0.25, 0.75]}}")
        assert names(found) == ["baseline", "pruned", "pruned[sparsity=0.25]", "pruned[sparsity=0.75]"]
        assert chain(found, "pruned[sparsity=0.75]")[1] == ("toy_prune", {"sparsity": 0.75})

    def test_summary_of_a_grid_says_the_value(self) -> None:
        entry = "{name: pruned, summary: half is zero, base: baseline, then: [toy_prune]}"
        found = sweep(BASELINE, entry, "{pruned: {sparsity: 0.25}}")
        assert found.cells[-1].summary == "pruned with sparsity = 0.25."

    def test_product_of_grids(self) -> None:
        found = sweep(BASELINE, PRUNED, "{pruned: {sparsity: [0.1, 0.2], toy_train.epochs: [1, 2]}}")
        assert len(names(found)) == 2 + 4
        assert chain(found, "pruned[sparsity=0.2,epochs=1]") == [
            ("toy_train", {"epochs": 1}),
            ("toy_prune", {"sparsity": 0.2}),
        ]

    def test_step_may_be_named(self) -> None:
        found = sweep(BASELINE, PRUNED, "{pruned: {toy_prune.noise: true}}")
        assert chain(found, "pruned[noise=true]")[1] == ("toy_prune", {"noise": True})

    def test_same_parameter_of_two_steps_is_told_apart_in_the_name(self) -> None:
        found = sweep(BASELINE, PRUNED, "{pruned: {toy_prune.noise: true, toy_train.noise: false}}")
        assert names(found)[-1] == "pruned[toy_prune.noise=true,toy_train.noise=false]"

    def test_teachers_steps(self) -> None:
        entry = "{name: distilled, teacher: [toy_train], trunk: [toy_distill]}"
        found = sweep(BASELINE, entry, "{distilled: {teacher.toy_train.epochs: 3}}")
        cell = next(c for c in found.cells if c.variant == "distilled[teacher.toy_train.epochs=3]")
        assert cell.chain is not None
        assert cell.chain.teacher[0].params["epochs"] == 3 and cell.chain.steps[0].params["epochs"] == 20

    def test_lists_in_a_chain_are_grids(self) -> None:
        entry = "{name: p, trunk: [toy_train, {toy_prune: {sparsity: [0.1, 0.9]}}]}"
        assert names(sweep(BASELINE, entry)) == ["baseline", "p[sparsity=0.1]", "p[sparsity=0.9]"]

    def test_lists_in_params_of_a_definition_are_grids(self) -> None:
        entry = "{name: p, base: pruned, params: {sparsity: [0.1, 0.9]}}"
        found = sweep(BASELINE, PRUNED, entry)
        assert names(found)[2:] == ["p[sparsity=0.1]", "p[sparsity=0.9]"]

    def test_plain_params_of_a_definition_are_not_in_its_name(self) -> None:
        found = sweep(BASELINE, PRUNED, "{name: p90, base: pruned, params: {sparsity: 0.9}}")
        assert chain(found, "p90")[1] == ("toy_prune", {"sparsity": 0.9})

    @pytest.mark.parametrize(
        ("entry", "words"),
        [
            ("{pruned: {noise: true}}", "Write toy_train.noise or toy_prune.noise"),
            ("{pruned: {sparsty: 0.1}}", "Did you mean 'sparsity'"),
            ("{pruned: {toy_prun.sparsity: 0.1}}", "Did you mean 'toy_prune'"),
            ("{pruned: {toy_prune.sparsty: 0.1}}", "Did you mean 'sparsity'"),
            ("{pruned: {sparsity: []}}", "nothing to run"),
            ("{pruned: {sparsity: [0.1, 0.1]}}", "is there twice"),
            ("{pruned: {sparsity: 0.1, toy_prune.sparsity: 0.2}}", "twice under two names"),
            ("{pruned: {sparsity: '0.5'}}", "valid number"),
            ("{pruned: {sparsity: half}}", "valid number"),
            ("{pruned: {sparsity: true}}", "valid number"),
            ("{pruned: {sparsity: [[0.1]]}}", "valid number"),
            ("{pruned: {sparsity: {a: 1}}}", "valid number"),
            ("{name: q, base: pruned, then: [toy_prune], params: {sparsity: 0.1}}", "more than once"),
            ("{pruned: {sparsity: 0.1}, baseline: {}}", "name of a variant"),
        ],
    )
    def test_wrong(self, entry: str, words: str) -> None:
        message = refused(BASELINE, PRUNED, entry)
        assert words in message and message.startswith("s.yaml:8: variants[2]")


class TestDefinitions:
    def test_base_gives_what_is_not_said(self) -> None:
        entry = "{name: q, base: pruned, then: [{toy_quantize: {bits: 4}}]}"
        found = sweep(BASELINE, PRUNED, entry)
        assert [step for step, _ in chain(found, "q")] == ["toy_train", "toy_prune", "toy_quantize"]

    def test_base_may_come_later_and_may_be_one_that_ships(self) -> None:
        data = {
            "models": ["digits_mlp"],
            "targets": ["tflite"],
            "variants": [
                {"name": "b", "base": "a"},
                {"name": "a", "base": "pruned", "params": {"sparsity": 0.8}},
            ],
        }
        found = parse_sweep(data)
        cell = next(cell for cell in found.cells if cell.variant == "b")
        assert cell.chain is not None and cell.chain.steps[1].params["sparsity"] == 0.8
        assert cell.chain.steps[2].step == "to_tflite"

    def test_models_may_have_their_own_lists(self) -> None:
        models = "[toy, {digits_mlp: {variants: [baseline, q]}}]"
        found = sweep(PRUNED, "{name: q, base: pruned}", BASELINE, top=f"models: {models}")
        own = {cell.variant for cell in found.cells if cell.model == "digits_mlp"}
        assert own == {"baseline", "q"}

    def test_models_may_add_to_the_list(self) -> None:
        models = "[{toy: {more_variants: [{name: q, base: pruned}]}}]"
        assert names(sweep(BASELINE, PRUNED, top=f"models: {models}")) == ["baseline", "pruned", "q"]

    def test_lists_in_lists_are_laid_flat(self) -> None:
        assert names(sweep(BASELINE, f"[{PRUNED}, [{{name: q, base: pruned}}]]")) == [
            "baseline",
            "pruned",
            "q",
        ]

    @pytest.mark.parametrize(
        ("entry", "words"),
        [
            ("{name: a}", "neither a trunk nor a base"),
            ("{name: a, trunk: []}", "empty chain"),
            ("{name: a, base: a}", "in a circle: a → a"),
            ("{name: a, base: prund}", "Did you mean 'pruned'"),
            ("{name: a, base: [x]}", "one line of text was expected"),
            ("{name: a, trunk: toy_train}", "a list"),
            ("{name: a, trunk: [toy_trin]}", "Did you mean 'toy_train'"),
            ("{name: a, trunk: [toy_train, {toy_prune: {sparse: 1}}]}", "Did you mean 'sparsity'"),
            ("{name: a, trunk: [{toy_train: 3}]}", "a mapping"),
            ("{name: a, trunk: [{toy_train: {}, toy_prune: {}}]}", "the name of a step"),
            ("{name: a, trunk: [toy_prune]}", "needs something to start from"),
            ("{name: a, trunk: [toy_train, toy_train]}", "can only come first"),
            ("{name: a, trunk: [toy_train, qat]}", "takes format 'keras'"),
            ("{name: a, trunk: [toy_train], keras: [toy_prune]}", "ends in format 'toy'"),
            ("{name: a, trunk: [toy_train], keras: no}", '"n/a: reason" was expected'),
            ("{name: a, trunk: [toy_train], keras: 'n/a:'}", "needs a reason"),
            ("{name: a, trunk: [toy_train], kers: [toy_prune]}", "Did you mean 'keras'"),
            ("{name: a, trunk: [toy_distill]}", "needs a teacher"),
            ("{name: a, trunk: [toy_train], teacher: [toy_train]}", "that no step learns from"),
            ("{name: a, trunk: [toy_distill], teacher: [toy_prune]}", "needs something to start from"),
            ("{name: baseline, trunk: [toy_train]}", "defined twice"),
            ("{name: 3, trunk: [toy_train]}", "one line of text was expected"),
            ("nowhere", "unknown variant 'nowhere'"),
            ("basline", "Did you mean 'baseline'"),
            ("3", "the name of a variant"),
            ("~", "the name of a variant"),
            ("baseline", "is there twice"),
        ],
    )
    def test_wrong(self, entry: str, words: str) -> None:
        message = refused(BASELINE, PRUNED, entry)
        assert words in message and "s.yaml:8: variants[2]" in message

    def test_circle_of_three(self) -> None:
        entries = [f"{{name: {a}, base: {b}}}" for a, b in ("ab", "bc", "ca")]
        assert "in a circle" in refused(BASELINE, *entries)

    @pytest.mark.parametrize(
        "name", ["../x", "a/b", "a b", "a&b", "a_$", "-x", ".x", "a..b", "<b>", "x" * 121, "a\u0301", "%"]
    )
    def test_unsafe_names(self, name: str) -> None:
        with pytest.raises(ConfigError, match="the name"):
            parse_sweep(
                {"models": ["toy"], "targets": ["toy"], "variants": [{"name": name, "trunk": ["toy_train"]}]}
            )
        with pytest.raises(ConfigError, match="the name"):
            parse_sweep({"sweep": name, "models": ["toy"], "targets": ["toy"], "variants": ["baseline"]})

    def test_names_of_any_language(self) -> None:
        entry = {"name": "größe_小", "trunk": ["toy_train"]}
        found = parse_sweep({"models": ["toy"], "targets": ["toy"], "variants": [entry]})
        assert names(found) == ["größe_小"]

    def test_override_whose_value_cannot_be_in_a_name_is_made_safe(self) -> None:
        data: dict[str, Any] = {"models": ["digits_mlp"], "targets": ["keras"], "seeds": 1}
        data["variants"] = [{"pruned": {"pattern": "2:4", "sparsity": 0.5}}]
        assert names(parse_sweep(data))[-1] == "pruned[pattern=2-4,sparsity=0.5]"


class TestTop:
    @pytest.mark.parametrize(
        ("top", "words"),
        [
            ("models: []", "no models"),
            ("targets: []", "no targets"),
            ("models: toy", "a list"),
            ("models: [toi]", "Did you mean 'toy'"),
            ("models: [toy, toy]", "twice"),
            ("models: [{toy: {variant: []}}]", "Did you mean 'variants'"),
            ("models: [{toy: {variants: []}}]", "no variants for model 'toy'"),
            ("targets: [toi]", "Did you mean 'toy'"),
            ("targets: [toy, toy]", "twice"),
            ("targets: [{toy: {thread: 1}}]", "Did you mean 'threads'"),
            ("targets: [{toy: {threads: one}}]", "valid integer"),
            ("targets: [{toy: {threads: []}}]", "nothing to run"),
            ("seeds: []", "seeds are needed"),
            ("seeds: [0, 0]", "seed 0 is there twice"),
            ("seeds: [-1]", "not in [0"),
            ("seeds: [a]", "a whole number"),
            ("seeds: 0", "not in [1"),
            ("seeds: all", "a whole number"),
            ("measure: {seeds: some}", "'first' or 'all'"),
            ("measure: all", "a mapping"),
            ("timeout: {build: 0}", "not in [1"),
            ("timeout: {bild: 9}", "Did you mean 'build'"),
            ("timeout: 9", "a mapping"),
            ("title: [a]", "one line of text"),
            ("seed: [0]", "Did you mean 'seeds'"),
            ("params: {toy_trin: {}}", "Did you mean 'toy_train'"),
            ("params: {toy_train: {epoch: 3}}", "Did you mean 'epochs'"),
            ("params: {toy_train: {epochs: 1.5}}", "valid integer"),
            ("params: {toy_train: {epochs: [1, 2]}}", "Lists as grids belong to"),
            ("params: {toy_train: 3}", "a mapping"),
            ("params: {toy: {toy_train: {epoch: 3}}}", "Did you mean 'epochs'"),
            ("models: [{toy: {params: {toy_train: {epoch: 3}}}}]", "Did you mean 'epochs'"),
        ],
    )
    def test_wrong(self, top: str, words: str) -> None:
        message = refused(top=top)
        assert words in message and message.startswith("s.yaml:")

    @pytest.mark.parametrize("value", ["[a]", "3", "text"])
    def test_not_a_mapping(self, value: str) -> None:
        with pytest.raises(ConfigError, match="a mapping"):
            parse_sweep(value)

    def test_all_problems_at_once(self) -> None:
        message = refused(
            "nowhere", "{baseline: {epoch: 3}}", top="seeds: [a]\nprotocol: fast\nmodels: [toi]"
        )
        for words in ("'nowhere'", "'epoch'", "a whole number", "'fast'", "'toi'"):
            assert words in message
        assert "problems in s.yaml" in message

    def test_many_problems_are_cut_short(self) -> None:
        message = refused(*(f"nowhere{n}" for n in range(100)))
        assert "100 problems" in message and "and 80 more" in message

    def test_nothing_runnable(self) -> None:
        message = refused("{name: a, trunk: [toy_train], keras: 'n/a: toys only'}", top="targets: [keras]")
        assert "nothing of this sweep can run" in message and "toys only" in message

    def test_baseline_alone_is_nothing(self) -> None:
        data: dict[str, Any] = {"models": ["digits_mlp"], "targets": ["keras"], "variants": ["dq"]}
        with pytest.raises(ConfigError, match="nothing of this sweep can run"):
            parse_sweep(data)
        with pytest.raises(ConfigError, match="nothing of this sweep can run"):
            parse_sweep({**data, "variants": ["baseline", "dq"]}, options=Options(only=("dq",)))

    def test_too_many_variants(self) -> None:
        grid = list(range(2000))
        assert "more than" in refused(
            BASELINE, PRUNED, f"{{pruned: {{toy_train.epochs: {grid}, toy_prune.seconds: {grid}}}}}"
        )

    def test_too_many_cells(self) -> None:
        grid = list(range(900))
        top = "seeds: 200"
        assert "180,400 cells" in refused(
            BASELINE, PRUNED, f"{{pruned: {{toy_train.epochs: {grid}}}}}", top=top
        )

    def test_unknown_network_of_a_model(self) -> None:
        data = {"models": ["digits_mlp"], "targets": ["keras"], "params": {"train": {"network": "studnt"}}}
        with pytest.raises(ConfigError, match="Did you mean 'student'"):
            parse_sweep({**data, "variants": ["baseline"]})

    def test_plugin_that_does_not_import_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from bench.core.registry import TARGETS

        monkeypatch.setitem(TARGETS._places, "broken", "no_such_module_anywhere:X")
        assert "cannot be loaded: ModuleNotFoundError" in refused(top="targets: [broken]")


class TestFiles:
    def test_path(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(f"\ufeffmodels: [toy]\ntargets: [toy]\nvariants: [{BASELINE}]", encoding="utf-8")
        found = load_sweep(str(path))
        assert found.name == "mine" and found.source == str(path)

    def test_errors_name_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text("models: [toi]\ntargets: [toy]\nvariants: [baseline]")
        with pytest.raises(ConfigError, match=r"^mine.yaml:1: models\[0\]: unknown model 'toi'"):
            load_sweep(str(path))

    @pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x80abc", b"a" * 1_000_001])
    def test_not_text(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "x.yaml"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"x\.yaml"):
            load_sweep(str(path))

    def test_unknown_name(self) -> None:
        with pytest.raises(ConfigError, match="Did you mean 'digits'"):
            load_sweep("digit")

    @pytest.mark.parametrize("name", ["nowhere.yaml", "a/b", "x\0y", "y" * 5000])
    def test_no_such_file(self, name: str) -> None:
        with pytest.raises(ConfigError):
            load_sweep(name)

    def test_a_folder_is_no_sweep(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError):
            load_sweep(str(tmp_path))


class TestSelection:
    def labels(self, *only: str) -> set[str]:
        options = Options(only=only)
        found = sweep(BASELINE, PRUNED, "{pruned: {sparsity: 0.25}}", options=options)
        assert found.name == "s-custom"
        return {cell.label for cell in found.cells}

    def test_part_of_a_label(self) -> None:
        assert self.labels("pruned") == {
            f"toy/{v}/toy/seed{s}" for v in ("baseline", "pruned") for s in (0, 1)
        }

    def test_brackets_are_literal(self) -> None:
        assert "toy/pruned[sparsity=0.25]/toy/seed1" in self.labels("pruned[sparsity=0.25]")
        assert "toy/pruned/toy/seed1" not in self.labels("pruned[sparsity=0.25]")

    def test_wildcards(self) -> None:
        assert len(self.labels("prun*")) == 6

    def test_whole_label_and_its_beginning(self) -> None:
        assert self.labels("toy/pruned/toy/seed1") == {"toy/pruned/toy/seed1", "toy/baseline/toy/seed1"}
        assert self.labels("toy/pruned") == self.labels("pruned")

    def test_several(self) -> None:
        assert len(self.labels("pruned", "*0.25*")) == 6

    def test_nothing_found(self) -> None:
        with pytest.raises(ConfigError, match="Did you mean 'pruned'"):
            self.labels("prund")

    def test_seeds_and_protocol_instead_of_the_files(self) -> None:
        found = sweep(options=Options(seeds=(7,), protocol="mlperf", timeout=5.0))
        assert [cell.seed for cell in found.cells] == [7] and found.protocol.name == "mlperf"
        assert found.timeouts == {"build": 5.0, "evaluate": 5.0, "measure": 5.0}
        assert found.cells[0].measured

    def test_wrong_protocol(self) -> None:
        with pytest.raises(ConfigError, match="--protocol: unknown protocol 'fast'"):
            sweep(options=Options(protocol="fast"))

    def test_quick_caps_epochs_but_raises_none(self) -> None:
        entry = "{name: baseline, trunk: [{toy_train: {epochs: 1}}]}"
        assert chain(sweep(entry, options=Options(quick=True)), "baseline") == [("toy_train", {"epochs": 1})]
        assert chain(sweep(options=Options(quick=True)), "baseline") == [("toy_train", {"epochs": 2})]
