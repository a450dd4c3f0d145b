"""The named variants are complete, fit together and say what they are."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.core.cells import Chain, StepSpec
from bench.core.registry import STEPS
from bench.sweep import parse_sweep
from bench.sweep.chains import check_chain
from bench.sweep.variants import VARIANTS, NotApplicable, Variant, resolve
from tests.tiny import MLP

CORE = ["baseline", "pruned", "ptq", "dq", "fiq", "qat", "qap", "distilled", "distilled_qap"]
MORE = [
    "ptq_fp16",
    "ptq_16x8",
    "pruned_filters",
    "pruned_2_4",
    "clustered",
    "distilled_online",
    "distilled_self",
]
CONTROLS = ["baseline_longer", "student_scratch"]


def test_all_variants_exist_in_the_order_of_reports() -> None:
    assert list(VARIANTS) == CORE + MORE + CONTROLS
    roles = {name: variant.role for name, variant in VARIANTS.items()}
    assert [n for n in roles if roles[n] == "core"] == CORE
    assert [n for n in roles if roles[n] == "control"] == CONTROLS


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_chains_fit_and_parameters_are_known(variant: Variant) -> None:
    assert {"keras", "tflite"} <= set(variant.tails)
    for format, tail in variant.tails.items():
        if isinstance(tail, NotApplicable):
            assert len(tail.reason) > 20
            continue
        check_chain(Chain(variant.trunk + tail, variant.teacher), format, where=variant.name)
        for spec in variant.trunk + tail + variant.teacher:
            STEPS.get(spec.step).Params(**spec.params)
    assert variant.summary.endswith(".") and len(variant.summary) < 110


def test_tflite_exists_for_all_and_fixed_point_says_why_not() -> None:
    for variant in VARIANTS.values():
        assert not isinstance(variant.tails["tflite"], NotApplicable)
    without = {n for n, v in VARIANTS.items() if isinstance(v.tails["fixed"], NotApplicable)}
    assert without == {"dq", "fiq", "ptq_fp16", "ptq_16x8"}


def test_fixed_point_networks_are_made_by_the_steps_that_docs_name() -> None:
    """docs/variants.md: 32 bits for what is only trained or pruned, 16 after training, QKeras else."""
    last = {n: v.tails["fixed"][-1] for n, v in VARIANTS.items() if isinstance(v.tails["fixed"], tuple)}
    assert last["baseline"] == last["pruned"] and last["baseline"].params["bits"] == 32
    assert last["ptq"] == last["distilled"] == StepSpec("to_fixed")
    assert [last[n].step for n in ("qat", "qap", "distilled_qap")] == ["qkeras_qat", *["qkeras_qap"] * 2]
    assert last["distilled_qap"].params == {"distill": True}


def test_a_student_learns_from_the_network_that_the_model_names() -> None:
    (spec,) = VARIANTS["distilled"].teacher
    assert resolve(spec, MLP) == StepSpec("train", {"network": "reference"})
    untouched = StepSpec("prune", {"sparsity": 0.5})
    assert resolve(untouched, MLP) is untouched


@pytest.mark.parametrize(
    ("variant", "parameter", "values", "target", "step"),
    [
        ("pruned", "sparsity", [0.5, 0.9], "keras", "prune"),
        ("pruned", "prune.epochs", [1, 3], "tflite", "prune"),
        ("qat", "bits", [4, 8], "hls4ml", "qkeras_qat"),
        ("ptq", "bits", [8, 12], "hls4ml", "to_fixed"),
        ("distilled", "temperature", [2.0, 8.0], "tflite", "distill"),
        ("distilled", "alpha", [0.1, 0.5], "keras", "distill"),
        ("distilled_qap", "qap.alpha", [0.1, 0.5], "tflite", "qap"),
        ("fiq", "calibration", [100, 500], "tflite", "to_tflite"),
        ("clustered", "clusters", [8, 32], "tflite", "cluster"),
        ("baseline", "train.epochs", [1, 9], "keras", "train"),
        ("baseline", "learning_rate", [0.1, 0.01], "keras", "train"),
    ],
)
def test_a_sweep_overrides_any_parameter_by_a_grid(
    variant: str, parameter: str, values: list[float], target: str, step: str
) -> None:
    data = {"models": ["digits_mlp"], "targets": [target], "seeds": 1}
    found = parse_sweep({**data, "variants": ["baseline", {variant: {parameter: values}}]})
    cells = [c for c in found.cells if c.variant.startswith(f"{variant}[")]
    assert len({cell.variant for cell in cells}) == len(cells) == len(values)
    name, got = parameter.rpartition(".")[2], []
    for cell in cells:
        assert cell.chain is not None, cell.not_applicable
        got += [spec.params[name] for spec in cell.chain.steps if spec.step == step]
    assert got == values


def test_planning_needs_no_tensorflow() -> None:
    code = (
        "import sys, bench.sweep.variants, bench.core.registry as r;"
        "[r.STEPS.get(n) for n in r.STEPS.names()];"
        "sys.exit('tensorflow' in sys.modules or 'tf_keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
