"""Why is it so: known effects that explain a row, each told only where the data show it.

A rule looks at one variant on the primary target and gives a sentence or None. Facts behind the
rules: docs/ and the documentation of TensorFlow Lite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.report.frames.formats import plain
from bench.report.frames.view import ModelView, Number, base_name, role
from bench.report.notes.board import board_notes
from bench.report.records.read import BASELINE, Cell


@dataclass(frozen=True)
class Note:
    variant: str
    text: str


class Subject:
    """One variant on the primary target: its numbers, the baseline's, its steps and facts."""

    def __init__(self, view: ModelView, variant: str, cell: Cell) -> None:
        self.view, self.variant, self.cell, self.target = view, variant, cell, view.primary
        self.facts: dict[str, Any] = cell.facts
        self.steps: dict[str, dict[str, Any]] = {
            str(record.task.get("step")): dict(record.task.get("params") or {})
            for record in cell.builds
            if record is not None
        }
        scopes = view.scopes(self.target)
        self.scope = scopes[0] if scopes else ""

    def value(self, metric: str) -> float:
        return self.view.value(self.variant, self.target, metric)

    def base(self, metric: str) -> float:
        return self.view.value(BASELINE, self.target, metric)

    @property
    def ratio(self) -> Number | None:
        """Time over the baseline's, where it is known and to be trusted."""
        number = self.view.get(self.variant, self.target, "latency_ratio", self.scope) if self.scope else None
        return number if number is not None and number.known and not number.verdict else None

    @property
    def far_slower(self) -> Number | None:
        """Time over the baseline's where even the interval's lower end is twice, whatever the verdict."""
        number = self.view.get(self.variant, self.target, "latency_ratio", self.scope) if self.scope else None
        return number if number is not None and number.known and number.low >= 2 else None

    @property
    def faster(self) -> bool:
        return self.ratio is not None and self.ratio.comparison == "faster"

    @property
    def not_faster(self) -> bool:
        """Decided so: where the interval leaves it open there is nothing to explain."""
        return self.ratio is not None and self.ratio.comparison in ("same", "slower")

    @property
    def mode(self) -> str:
        return str(self.steps.get("to_tflite", {}).get("mode", ""))

    @property
    def dense_sparsity(self) -> bool:
        """Many zeros in a network that has as many weights as the baseline."""
        return self.value("sparsity") >= 0.3 and self.value("params") >= 0.98 * self.base("params")


def zeros_take_room(x: Subject) -> str | None:
    if x.dense_sparsity and x.value("file_bytes") >= 0.95 * x.base("file_bytes"):
        gain = x.base("gzip_bytes") / x.value("gzip_bytes")
        tail = f" After gzip it is {plain(gain)}× smaller." if gain > 1.05 else ""
        share = f"{100 * x.value('sparsity'):.0f} % zeros"
        return f"{share}, yet no smaller file: zeros are stored like any other number.{tail}"
    return None


def zeros_take_time(x: Subject) -> str | None:
    if x.dense_sparsity and x.mode in ("", "float32") and x.not_faster:
        return "Zeros spread over a dense kernel save no time: they are multiplied like any other weight."
    return None


def small_integers_not_faster(x: Subject) -> str | None:
    if x.mode in ("static", "int8", "dynamic") and x.not_faster:
        share = x.facts.get("int8_share")
        if isinstance(share, (int, float)) and share < 0.9:
            return f"Only {100 * share:.0f} % of the weight bytes are int8; the rest is computed in float32."
        return (
            "int8 is no faster here: on a network this small the fixed cost of a call outweighs the "
            "arithmetic, or the runtime has no fast int8 kernels on this machine."
        )
    return None


def reference_kernels(x: Subject) -> str | None:
    # A machine that is not quiet does not make a call take several times as long in every round.
    ratio = x.ratio or x.far_slower
    if x.mode == "16x8" and ratio is not None and ratio.comparison == "slower":
        return (
            f"{plain(ratio.value)}× the baseline's time: 16-bit activations run on plain reference kernels; "
            "the mode is meant for microcontrollers and DSPs."
        )
    return None


def half_precision(x: Subject) -> str | None:
    if x.mode == "float16" and x.not_faster:
        return "float16 saves size, not time: the CPU widens the weights to float32 before it computes."
    return None


def small_tensors_stay_float(x: Subject) -> str | None:
    share = x.facts.get("int8_share")
    if x.mode == "dynamic" and isinstance(share, (int, float)) and share < 0.9:
        return (
            f"{100 * (1 - share):.0f} % of the weight bytes stayed float32: dynamic-range "
            "quantization leaves tensors below 1024 elements alone."
        )
    return None


def mostly_overhead(x: Subject) -> str | None:
    overhead, size = x.value("overhead_bytes"), x.value("file_bytes")
    if size > 0 and overhead / size >= 0.4:
        return (
            "40 % of the file or more is not weights (graph, scales, metadata): "
            "no compression of weights makes that smaller."
        )
    return None


def extra_training(x: Subject) -> str | None:
    """A fine-tuned variant beats the baseline, and so does the baseline trained as long."""
    if role(x.variant) or not {"prune", "qat", "qap", "cluster"} & set(x.steps):
        return None
    delta = x.view.get(x.variant, x.target, "accuracy_delta")
    control = x.view.get("baseline_longer", x.target, "accuracy_delta")
    if delta is None or control is None or not (delta.low > 0 and control.value > 0):
        return None
    return (
        f"More accurate than the baseline, but so is baseline_longer ({100 * control.value:+.2f} points): "
        "compare with that control before crediting the compression."
    )


#: What to try where a teacher did not help; a line for the variants of a sweep file.
TEACHER_GRID = "distilled: {temperature: [1, 2, 4], alpha: [0.5, 0.9]}"


def teacher_no_help(x: Subject) -> str | None:
    if base_name(x.variant) != "distilled":
        return None
    gain = x.value("accuracy") - x.view.value("student_scratch", x.target, "accuracy")
    if not math.isfinite(gain) or gain > 0:
        return None
    told = "The teacher did not help: student_scratch, the same student alone, is at least as accurate."
    temperature = x.steps.get("distill", {}).get("temperature")
    varied = sum(base_name(variant) == "distilled" for variant in x.view.variants) > 1
    # Whoever varies them already needs no hint.
    if varied or not isinstance(temperature, (int, float)) or temperature <= 1:
        return told
    return (
        f"{told} It learned at temperature {temperature:g}; the smaller a student, the lower the temperature "
        f"that suits it (Hinton et al. 2015). Vary temperature and alpha, in a sweep file by {TEACHER_GRID}."
    )


#: Seeds further apart than this are no scatter: training failed in some of them.
COLLAPSE = 0.1


def seeds_apart(x: Subject) -> str | None:
    """The mean over seeds stands for none of them."""
    numbers = [x.view.seed(x.variant, x.target, "accuracy", "", seed) for seed in x.view.seeds]
    found = sorted(number.value for number in numbers if number is not None and number.known)
    if len(found) < 2 or found[-1] - found[0] < COLLAPSE:
        return None
    told = ", ".join(f"{100 * value:.1f} %" for value in found)
    return f"Training did not succeed with every seed ({told}): the mean stands for none of them."


RULES: tuple[Callable[[Subject], str | None], ...] = (
    zeros_take_room,
    zeros_take_time,
    small_integers_not_faster,
    small_tensors_stay_float,
    reference_kernels,
    half_precision,
    mostly_overhead,
    extra_training,
    teacher_no_help,
    seeds_apart,
)


def notes(view: ModelView, cells: Sequence[Cell]) -> list[Note]:
    """All notes on one model, in the order of its variants; each text once, with all it is true of."""
    built: dict[str, Cell] = {}
    for cell in cells:
        if cell.target == view.primary and cell.build_outcome.ok:
            built.setdefault(cell.variant, cell)
    found: dict[str, list[str]] = {}
    for variant in view.variants:
        if variant not in built:
            continue
        subject = Subject(view, variant, built[variant])
        for rule in (mostly_overhead, seeds_apart) if variant == BASELINE else RULES:
            text = rule(subject)
            if text is not None:
                found.setdefault(text, []).append(variant)
    found_here = [Note(", ".join(variants), text) for text, variants in found.items()]
    on_boards = [Note(subject, text) for subject, text in board_notes(view)]
    return [*generated_data(cells), *found_here, *fpga_notes(view), *on_boards]


def generated_data(cells: Sequence[Cell]) -> list[Note]:
    """That a model learned and was scored on data that somebody's program made."""
    told = [cell.evaluate.environment.get("data") for cell in cells if cell.evaluate is not None]
    made = sorted({str(data["source"]) for data in told if data and not data["real"]})
    if not made:
        return []
    text = (
        f"The data are generated, not real ({'; '.join(made)}): accuracies say nothing about real data. "
        "Sizes, cycles and resources are those of a network of this shape."
    )
    return [Note("all", text)]


def fpga_notes(view: ModelView) -> list[Note]:
    """What simulated designs show: rounding after training, a design that is not what was trained."""
    found: dict[str, list[str]] = {}
    for target in view.fpga_targets:
        for variant in view.variants:
            for link in view.links(target):
                text = _rounding(view, variant, target, link) or _not_exact(view, variant, target, link)
                if text is not None:
                    found.setdefault(text, []).append(variant)
    notes = [Note(", ".join(dict.fromkeys(variants)), text) for text, variants in found.items()]
    silent = [
        target
        for target in view.simulated
        if not view.hardware(target, "phase_p50") and not _timed(view, target)
    ]
    if silent:
        text = (
            "C simulation computes what the design computes, bit by bit, but not when: it has no time. "
            "Latency needs synthesis, simulation of the hardware, or a board."
        )
        notes.append(Note(", ".join(silent), text))
    return notes


def _timed(view: ModelView, target: str) -> bool:
    """Whether the cycles of every simulated design of a target are known."""
    counted = view.hardware(target, "cycles").values()
    timed = {variant for numbers in counted for variant, number in numbers.items() if number.known}
    return all(variant in timed for variant, _ in view.known(target, "accuracy"))


def _rounding(view: ModelView, variant: str, target: str, link: str) -> str | None:
    """Other classes than the float network's, straight after a conversion without training."""
    if link not in ("csim vs float", "fixed vs float"):
        return None
    number = view.get(variant, target, "mismatches", link)
    if number is None or not number.known or number.value == 0:
        return None
    return (
        "Fixed point is not float: the trained network was rounded without training it again, and some test "
        f"items get another class ({link}). Δ on {target} compares with the baseline rounded likewise."
    )


def _not_exact(view: ModelView, variant: str, target: str, link: str) -> str | None:
    """The design differs from the network that it was made from, and the layer is known."""
    number = view.get(variant, target, "bit_exact", link)
    if number is None or not number.known or not number.first_difference:
        return None
    return (
        f"The simulated design is not bit-exact ({link}, {target}): outputs differ from layer "
        f"{number.first_difference} on. "
        "Overflow or another rounding there; the accuracy shown is the design's."
    )
