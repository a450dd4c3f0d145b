"""How each variant was made: steps, parameters, hashes, layers; what distillation gained; tool versions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.core.records import Record
from bench.report.frames import formats
from bench.report.frames.view import ModelView, Number, role
from bench.report.records import fpga
from bench.report.records.read import BASELINE, Cell, SweepData
from bench.report.records.weights import Tensor, dicts, number, tensors


@dataclass(frozen=True)
class StepLine:
    """One step as it was run."""

    step: str
    params: str
    key: str
    artifact: str
    seconds: str
    status: str
    checks: str
    teacher: bool


@dataclass(frozen=True)
class Layer:
    name: str
    kind: str
    shape: str
    params: str
    zeros: str
    unique: str
    bits: str = ""


@dataclass(frozen=True)
class Lineage:
    """How one variant was made for one format, for one seed."""

    variant: str
    format: str
    seed: int
    summary: str
    role: str
    steps: list[StepLine]
    layers: list[Layer]
    reason: str
    design: str = ""

    @property
    def fixed(self) -> bool:
        """Whether bit widths of the layers are known."""
        return any(layer.bits for layer in self.layers)


@dataclass(frozen=True)
class Made:
    """How one variant was made: for each format, or why there is none (reason, formats)."""

    variant: str
    summary: str
    role: str
    formats: list[Lineage]
    absent: list[tuple[str, str]]


def made(cells: Sequence[Cell]) -> dict[str, Made]:
    """The lineages of each variant together."""
    found: dict[str, Made] = {}
    missing: dict[str, dict[str, list[str]]] = {}
    for line in lineages(cells):
        one = found.setdefault(line.variant, Made(line.variant, line.summary, line.role, [], []))
        if line.steps:
            one.formats.append(line)
        else:
            missing.setdefault(line.variant, {}).setdefault(line.reason, []).append(line.format)
    for variant, reasons in missing.items():
        found[variant].absent.extend((reason, ", ".join(places)) for reason, places in reasons.items())
    return found


def lineages(cells: Sequence[Cell]) -> list[Lineage]:
    """One lineage for each variant and format, of the first seed; the keys of others differ by the seed."""
    found: dict[tuple[str, str], Lineage] = {}
    keys: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        place = str(cell.entry.get("format") or cell.entry.get("target"))
        own = list(cell.entry.get("build_keys") or ())
        if (cell.variant, place) in found:
            first = found[cell.variant, place]
            # The same format made in another way, such as for another backend.
            if cell.seed != first.seed or own == keys[cell.variant, place]:
                continue
            place = cell.target
            if (cell.variant, place) in found:
                continue
        steps = [_step(key, record, True) for key, record in _keyed(cell, "teacher_keys", cell.teacher)]
        steps += [_step(key, record, False) for key, record in _keyed(cell, "build_keys", cell.builds)]
        keys[cell.variant, place] = own
        found[cell.variant, place] = Lineage(
            cell.variant,
            place,
            cell.seed,
            str(cell.entry.get("summary") or ""),
            role(cell.variant),
            steps,
            _layers(cell),
            cell.build_outcome.reason,
            _design(cell),
        )
    return list(found.values())


def _design(cell: Cell) -> str:
    """Settings of the hardware design in one line; empty for other artifacts."""
    facts: dict[str, Any] = next((f for f in reversed(cell.chain_facts) if "backend" in f), {})
    names = ("backend", "io_type", "strategy", "reuse_factor", "part", "clock_ns")
    return ", ".join(f"{name} {value(facts[name])}" for name in names if facts.get(name) is not None)


def _keyed(cell: Cell, name: str, records: Sequence[Record | None]) -> Iterable[tuple[str, Record | None]]:
    return zip(cell.entry.get(name) or (), records, strict=True)


def _step(key: str, record: Record | None, teacher: bool) -> StepLine:
    if record is None:
        return StepLine("…", "", key[:12], "", "", "not run", "", teacher)
    params = ", ".join(f"{name}={value(item)}" for name, item in (record.task.get("params") or {}).items())
    told = "; ".join(f"{check.name}: {check.detail}" for check in record.build.checks)
    artifact = record.build.artifact or ""
    seconds = f"{record.seconds:.1f} s" if record.seconds else ""
    return StepLine(
        str(record.task.get("step", "?")),
        params,
        key[:12],
        artifact[:12],
        seconds,
        record.status,
        told,
        teacher,
    )


def value(item: Any) -> str:
    """A JSON value in short."""
    return item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)


def _layers(cell: Cell) -> list[Layer]:
    """Of a network in fixed point or in Keras by layer, of a .tflite file by tensor."""
    fixed = fpga.fixed_facts(cell)
    if not fixed and (found := tensors(cell)):
        return [_of_tensor(one) for one in found]
    # A network for QAT holds float32 and rounds when it runs.
    rounded = number(cell.facts.get("weight_bits"))
    kept = "32 (float32)" + (f", rounded to {rounded:g} in use" if math.isfinite(rounded) else "")
    layers = []
    for layer in dicts((fixed or cell.facts).get("layers")):
        params, nonzero = layer.get("params"), layer.get("nonzero")
        counted = isinstance(params, int) and isinstance(nonzero, int) and params > 0
        layers.append(
            Layer(
                str(layer.get("name", "")),
                str(layer.get("kind", "")),
                "×".join(str(n) for n in layer.get("shape") or ()),
                formats.count(params) if isinstance(params, int) else "",
                f"{100 * (1 - nonzero / params):.1f} %" if counted else "",  # type: ignore[operator]
                str(layer.get("unique") or ""),
                _bits(layer) if fixed else kept,
            )
        )
    return layers


def _of_tensor(one: Tensor) -> Layer:
    return Layer(
        one.layer,
        one.role,
        "×".join(str(n) for n in one.shape),
        formats.count(one.size) if one.shape else "",
        f"{100 * one.zeros:.1f} %" if math.isfinite(one.zeros) else "",
        f"{one.unique:g}" if math.isfinite(one.unique) else "",
        f"{one.bits:g} ({one.dtype})" if math.isfinite(one.bits) else one.dtype,
    )


def _bits(layer: dict[str, Any]) -> str:
    """`6 (2 before the point), inputs 8`: bits of weights and activations, as far as they are known."""
    weight, integer = layer.get("weight_bits"), layer.get("weight_integer")
    parts = []
    if weight is not None:
        parts.append(value(weight) + (f" ({value(integer)} before the point)" if integer is not None else ""))
    for name, word in (("input_bits", "inputs"), ("activation_bits", "activations")):
        if layer.get(name) is not None:
            parts.append(f"{word} {value(layer[name])}")
    return ", ".join(parts)


@dataclass(frozen=True)
class TeacherRow:
    """Teacher, student alone and student distilled, side by side."""

    part: str
    variant: str
    params: str
    accuracy: str
    against_alone: str


def distillation(view: ModelView, cells: Sequence[Cell]) -> list[TeacherRow]:
    """Empty where the model has no distilled variant with an accuracy."""
    target = view.primary
    taught = [v for v, _ in view.known(target, "accuracy") if v.startswith("distilled")]
    if not taught:
        return []
    alone = view.get("student_scratch", target, "accuracy")
    result = [_teacher(view, cells, taught)]
    if alone is not None and alone.known:
        result.append(_teacher_row(view, "student alone", "student_scratch", None))
    student = view.value("student_scratch", target, "params")
    for variant in taught:
        # A larger network is not to be compared with the student alone.
        if view.value(variant, target, "params") > 1.02 * student:
            result.append(_teacher_row(view, "larger, taught", variant, None))
        else:
            result.append(_teacher_row(view, "student taught", variant, alone))
    return result


def _teacher_row(view: ModelView, part: str, variant: str, alone: Number | None) -> TeacherRow:
    target = view.primary
    number = view.get(variant, target, "accuracy")
    params = view.value(variant, target, "params")
    gain = ""
    if alone is not None and alone.known and number is not None:
        pairs = [
            (mine.value, other.value)
            for seed in view.seeds
            if (mine := view.seed(variant, target, "accuracy", "", seed)) is not None
            and (other := view.seed("student_scratch", target, "accuracy", "", seed)) is not None
            and mine.known
            and other.known
        ]
        if pairs:
            from bench.report.frames.seeds import mean_interval

            mean, (low, high) = mean_interval([100 * (mine - other) for mine, other in pairs])
            gain = formats.plus_minus(mean, low, high, sign=True)
    return TeacherRow(
        part,
        variant,
        formats.count(params) if math.isfinite(params) else "",
        _accuracy(view, number),
        gain,
    )


def _accuracy(view: ModelView, number: Number | None) -> str:
    if number is None or not number.known:
        return ""
    value, low, high = (100 * x for x in number[:3])
    if len(view.seeds) == 1:
        return formats.bracketed(value, low, high, places=2)
    return formats.plus_minus(value, low, high, least=2)


def _teacher(view: ModelView, cells: Sequence[Cell], taught: Sequence[str]) -> TeacherRow:
    """The teacher: the variant of this sweep that is the same artifact, else what its training recorded."""
    pupil = next((c for c in cells if c.variant == taught[0] and c.entry.get("teacher_keys")), None)
    if pupil is None:
        return TeacherRow("teacher", "none (peers)", "", "", "")
    key = pupil.entry["teacher_keys"][-1]
    for cell in cells:
        keys = cell.entry.get("build_keys") or [""]
        # The teacher in Keras, or the same network converted without any compression.
        if cell.variant == BASELINE and key in keys and cell.target == view.primary:
            return _teacher_row(view, "teacher", cell.variant, None)
    record = pupil.teacher[-1] if pupil.teacher else None
    facts = record.build.facts if record is not None else {}
    found = facts.get("val_accuracy")
    text = f"{100 * found:.2f} (validation)" if isinstance(found, (int, float)) else ""
    params = facts.get("params")
    return TeacherRow("teacher", "own network", formats.count(params) if params else "", text, "")


def runtimes(data: SweepData) -> dict[str, dict[str, str]]:
    """Target label -> what ran it."""
    labels = {cell.measure_keys: cell.target for cell in data.cells if cell.measure_keys}
    found: dict[str, dict[str, str]] = {}
    for keys, records in data.rounds.items():
        for record in records:
            runtime = record.round.runtime if record.status == "ok" else {}
            if runtime and keys in labels:
                found.setdefault(labels[keys], {k: value(v) for k, v in runtime.items()})
    return found


def versions(data: SweepData) -> dict[str, str]:
    """Tools that mattered, over all records; several versions are all told."""
    found: dict[str, set[str]] = {}

    def add(environment: Any) -> None:
        for name, item in (environment or {}).items():
            if name == "data":
                found.setdefault("data", set()).add(value(item["source"]))
            elif isinstance(item, dict):
                add(item)
            elif name not in ("fingerprint", "source"):
                found.setdefault(str(name), set()).add(value(item))

    seen: set[int] = set()
    for record in _records(data):
        if id(record) not in seen:
            seen.add(id(record))
            add(record.environment)
    return {name: ", ".join(sorted(items)) for name, items in sorted(found.items())}


def _records(data: SweepData) -> Iterable[Record]:
    for cell in data.cells:
        yield from (record for record in (*cell.builds, cell.evaluate) if record is not None)
    yield from data.measured()
