"""Each note is told where the data show its effect, and not where one of its conditions is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.core.records import Record
from bench.report.frames.view import Number
from bench.report.notes import notes
from bench.report.notes.notes import Subject
from bench.report.records.read import Cell
from bench.sweep import load_sweep


def number(
    value: float, low: float = 0.0, high: float = 0.0, comparison: str = "", verdict: str = ""
) -> Number:
    words = {"comparison": comparison, "verdict": verdict}
    return Number(value, low or value, high or value, None, "ok", "a reason", **words)


class View:
    """As much of a view as the rules ask for: numbers by (variant, metric)."""

    primary = "tflite"

    def __init__(self, numbers: dict[tuple[str, str], Number], seeds: dict[str, list[float]]) -> None:
        self.numbers, self.by_seed = numbers, seeds
        self.seeds = list(range(max(map(len, seeds.values()), default=0)))
        self.variants = list(dict.fromkeys(variant for variant, _ in numbers))

    def scopes(self, target: str) -> list[str]:
        return ["invoke"]

    def get(self, variant: str, target: str, metric: str, scope: str = "") -> Number | None:
        return self.numbers.get((variant, metric))

    def value(self, variant: str, target: str, metric: str, scope: str = "") -> float:
        found = self.numbers.get((variant, metric))
        return found.value if found is not None else float("nan")

    def seed(self, variant: str, target: str, metric: str, scope: str, seed: int) -> Number | None:
        found = self.by_seed.get(variant, [])
        return number(found[seed]) if seed < len(found) else None


BASE = {
    "file_bytes": 1000.0,
    "gzip_bytes": 900.0,
    "params": 240.0,
    "overhead_bytes": 40.0,
    "accuracy": 0.95,
}
SAME = number(1.0, 0.98, 1.02, "same")
SLOWER = number(1.3, 1.2, 1.4, "slower")
FASTER = number(0.5, 0.48, 0.52, "faster")
UNDECIDED = number(1.0, 0.8, 1.2, "unclear")
NOISY = number(1.3, 1.2, 1.4, "slower", "noisy")
FAR_NOISY = number(9.0, 6.0, 14.0, "slower", "unstable")
PRUNED = {"sparsity": 0.75, "params": 240.0, "file_bytes": 1000.0, "gzip_bytes": 400.0}


def subject(
    variant: str = "pruned",
    numbers: dict[str, float | Number] | None = None,
    *,
    steps: dict[str, dict[str, Any]] | None = None,
    facts: dict[str, Any] | None = None,
    others: dict[tuple[str, str], Number] | None = None,
    seeds: dict[str, list[float]] | None = None,
) -> Subject:
    found = {("baseline", name): number(value) for name, value in BASE.items()}
    for name, value in (numbers or {}).items():
        found[variant, name] = value if isinstance(value, Number) else number(value)
    builds: list[Record | None] = [
        Record("build", name, "ok", {"step": name, "params": params}, {"facts": facts or {}})
        for name, params in (steps or {"train": {}}).items()
    ]
    cell = Cell({"model": "m", "variant": variant, "target": "tflite", "seed": 0}, builds)
    return Subject(View(found | (others or {}), seeds or {}), variant, cell)  # type: ignore[arg-type]


def told(rule: Any, **bent: Any) -> str:
    return rule(subject(**bent)) or ""


def test_zeros_take_room() -> None:
    rule = notes.zeros_take_room
    assert told(rule, numbers=PRUNED) == (
        "75 % zeros, yet no smaller file: zeros are stored like any other number. "
        "After gzip it is 2.25× smaller."
    )
    assert "gzip" not in told(rule, numbers=PRUNED | {"gzip_bytes": 890.0})
    for missing in ({"file_bytes": 900.0}, {"sparsity": 0.2}, {"params": 120.0}):
        assert not told(rule, numbers=PRUNED | missing)


def test_zeros_take_time() -> None:
    rule = notes.zeros_take_time
    for ratio in (SAME, SLOWER):
        assert "save no time" in told(rule, numbers=PRUNED | {"latency_ratio": ratio})
    for ratio in (FASTER, UNDECIDED, NOISY):
        assert not told(rule, numbers=PRUNED | {"latency_ratio": ratio})
    assert not told(rule, numbers=PRUNED)  # never timed
    slow = PRUNED | {"latency_ratio": SAME}
    assert not told(rule, numbers=slow | {"sparsity": 0.1})
    assert not told(rule, numbers=slow, steps={"to_tflite": {"mode": "int8"}})


@pytest.mark.parametrize("mode", ["static", "int8", "dynamic"])
def test_small_integers_not_faster(mode: str) -> None:
    rule, steps = notes.small_integers_not_faster, {"to_tflite": {"mode": mode}}
    assert "no faster here" in told(rule, numbers={"latency_ratio": SAME}, steps=steps)
    few = told(rule, numbers={"latency_ratio": SLOWER}, steps=steps, facts={"int8_share": 0.5})
    assert few.startswith("Only 50 % of the weight bytes are int8")
    for ratio in (FASTER, UNDECIDED, NOISY):
        assert not told(rule, numbers={"latency_ratio": ratio}, steps=steps)
    assert not told(rule, numbers={"latency_ratio": SAME}, steps={"to_tflite": {"mode": "float32"}})


def test_small_tensors_stay_float() -> None:
    rule, dynamic = notes.small_tensors_stay_float, {"to_tflite": {"mode": "dynamic"}}
    assert told(rule, steps=dynamic, facts={"int8_share": 0.83}).startswith("17 % of the weight bytes")
    assert not told(rule, steps=dynamic, facts={"int8_share": 0.95})
    assert not told(rule, steps=dynamic)
    assert not told(rule, steps={"to_tflite": {"mode": "int8"}}, facts={"int8_share": 0.5})


def test_reference_kernels() -> None:
    rule, steps = notes.reference_kernels, {"to_tflite": {"mode": "16x8"}}
    assert told(rule, numbers={"latency_ratio": SLOWER}, steps=steps).startswith("1.30× the baseline's time")
    # Whatever the noise: several times the baseline's in every round.
    assert told(rule, numbers={"latency_ratio": FAR_NOISY}, steps=steps).startswith("9.00×")
    for ratio in (SAME, FASTER, NOISY):
        assert not told(rule, numbers={"latency_ratio": ratio}, steps=steps)
    assert not told(rule, numbers={"latency_ratio": SLOWER}, steps={"to_tflite": {"mode": "int8"}})


def test_half_precision() -> None:
    rule, steps = notes.half_precision, {"to_tflite": {"mode": "float16"}}
    assert "widens" in told(rule, numbers={"latency_ratio": SAME}, steps=steps)
    assert not told(rule, numbers={"latency_ratio": FASTER}, steps=steps)
    assert not told(rule, numbers={"latency_ratio": SAME}, steps={"to_tflite": {"mode": "float32"}})


def test_mostly_overhead() -> None:
    rule = notes.mostly_overhead
    assert told(rule, numbers={"overhead_bytes": 40.0, "file_bytes": 100.0})
    assert not told(rule, numbers={"overhead_bytes": 39.0, "file_bytes": 100.0})
    assert not told(rule, numbers={"file_bytes": 100.0})


def test_extra_training() -> None:
    rule, steps = notes.extra_training, {"train": {}, "qat": {}}
    better = {"accuracy_delta": number(0.01, 0.005, 0.015)}
    control = {("baseline_longer", "accuracy_delta"): number(0.004, -0.001, 0.009)}
    assert "+0.40 points" in told(rule, variant="qat", numbers=better, steps=steps, others=control)
    assert not told(rule, variant="qat", numbers=better, steps=steps)  # no such control
    assert not told(rule, variant="qat", numbers=better, steps={"train": {}}, others=control)
    unsure = {"accuracy_delta": number(0.01, -0.005, 0.025)}
    assert not told(rule, variant="qat", numbers=unsure, steps=steps, others=control)
    worse = {("baseline_longer", "accuracy_delta"): number(-0.004, -0.009, 0.001)}
    assert not told(rule, variant="qat", numbers=better, steps=steps, others=worse)
    assert not told(rule, variant="baseline_longer", numbers=better, steps=steps, others=control)


def test_teacher_no_help() -> None:
    rule, alone = notes.teacher_no_help, {("student_scratch", "accuracy"): number(0.9)}
    hot = {"distill": {"temperature": 4.0, "alpha": 0.9}}
    for accuracy in (0.89, 0.9):
        text = told(rule, variant="distilled", numbers={"accuracy": accuracy}, others=alone, steps=hot)
        assert "did not help" in text and "at temperature 4;" in text and notes.TEACHER_GRID in text
    assert not told(rule, variant="distilled", numbers={"accuracy": 0.91}, others=alone, steps=hot)
    assert not told(rule, variant="distilled", numbers={"accuracy": 0.89}, steps=hot)  # no such control
    assert not told(rule, variant="qat", numbers={"accuracy": 0.89}, others=alone, steps=hot)
    assert not told(rule, variant="distilled_self", numbers={"accuracy": 0.89}, others=alone, steps=hot)


def test_no_hint_at_temperatures_that_were_tried() -> None:
    rule, alone = notes.teacher_no_help, {("student_scratch", "accuracy"): number(0.9)}
    worse = {"accuracy": 0.89}
    cold = told(
        rule, variant="distilled", numbers=worse, others=alone, steps={"distill": {"temperature": 1.0}}
    )
    assert cold.endswith("at least as accurate.")
    other = {**alone, ("distilled[temperature=2]", "accuracy"): number(0.88)}
    hot = {"distill": {"temperature": 4.0}}
    text = told(rule, variant="distilled[temperature=4]", numbers=worse, others=other, steps=hot)
    assert text == cold


def test_the_hint_is_a_line_of_a_sweep_file(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "sweep: s\nmodels: [digits_mlp]\ntargets: [tflite]\n"
        f"variants: [baseline, student_scratch, {{{notes.TEACHER_GRID}}}]\n"
    )
    chains = {cell.variant: cell.chain for cell in load_sweep(str(path)).cells}
    assert len(chains) == 2 + 3 * 2
    chain = chains["distilled[temperature=2,alpha=0.5]"]
    assert chain is not None
    (step,) = [step for step in chain.steps if step.step == "distill"]
    assert step.params["temperature"] == 2 and step.params["alpha"] == 0.5


def test_seeds_apart() -> None:
    rule = notes.seeds_apart
    text = told(rule, seeds={"pruned": [0.99, 0.05, 0.98]})
    assert "(5.0 %, 98.0 %, 99.0 %)" in text
    assert not told(rule, seeds={"pruned": [0.99, 0.95, 0.98]})
    assert not told(rule, seeds={"pruned": [0.05]})


def test_every_rule_has_a_test_here() -> None:
    assert {f"test_{rule.__name__}" for rule in notes.RULES} <= set(globals())
