"""The named chains (docs/variants.md). Data only: a sweep file may define more of the same shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from bench.core.cells import Params, StepSpec
from models.base import Model


@dataclass(frozen=True)
class NotApplicable:
    """Why a variant does not exist in a format."""

    reason: str


Tail = tuple[StepSpec, ...] | NotApplicable


@dataclass(frozen=True)
class Variant:
    """One network made in one way.

    Attributes:
        summary: one sentence for reports.
        trunk: the steps that all formats share; parameters are overrides of the steps' defaults.
        tails: the further steps to each format. A format that is not named cannot be had yet.
        teacher: the chain that makes the teacher, empty where there is none.
        role: a `core` variant, one `more`, or a `control` that others are judged against.
    """

    name: str
    summary: str
    trunk: tuple[StepSpec, ...]
    tails: Mapping[str, Tail]
    teacher: tuple[StepSpec, ...] = ()
    role: Literal["core", "more", "control"] = "core"


def resolve(spec: StepSpec, model: Model) -> StepSpec:
    """`spec` with `network: teacher` replaced by the model's teacher, so that equal work has equal keys."""
    if spec.params.get("network") != "teacher":
        return spec
    return replace(spec, params={**spec.params, "network": model.teacher})


def _step(name: str, **params: object) -> StepSpec:
    values: Params = dict(params)
    return StepSpec(name, values)


def _tflite(mode: str) -> tuple[StepSpec, ...]:
    return (_step("to_tflite", mode=mode),)


_TRAIN = _step("train")
_TEACHER = (_step("train", network="teacher"),)
_FIXED_16 = (_step("to_fixed"),)
_FIXED_32 = (_step("to_fixed", bits=32, integer=16, rounding="TRN", overflow="WRAP", accum="same"),)
_FLOAT: Mapping[str, Tail] = {"keras": (), "tflite": _tflite("float32"), "fixed": _FIXED_16}


def _quantized(*steps: StepSpec, fixed: StepSpec) -> Mapping[str, Tail]:
    """tfmot's 8-bit steps for Keras and TFLite, QKeras' for fixed-point hardware."""
    return {"keras": steps, "tflite": (*steps, *_tflite("static")), "fixed": (fixed,)}


def _converted(mode: str, what: str, **others: Tail) -> Mapping[str, Tail]:
    keras = NotApplicable(f"{what} exists only as a TFLite file; its Keras network is the baseline")
    return {"keras": keras, "tflite": _tflite(mode), **others}


_ALL = (
    Variant(
        "baseline",
        "Trained in float32, nothing else done to it.",
        (_TRAIN,),
        {**_FLOAT, "fixed": _FIXED_32},
    ),
    Variant(
        "pruned",
        "75 % of each kernel's weights, the smallest, set to zero while fine-tuning.",
        (_TRAIN, _step("prune")),
        {**_FLOAT, "fixed": _FIXED_32},
    ),
    Variant(
        "ptq",
        "Weights and activations in 8 bits after training, calibrated; float32 in and out.",
        (_TRAIN,),
        _converted("static", "post-training quantization", fixed=_FIXED_16),
    ),
    Variant(
        "dq",
        "Weights in 8 bits after training, activations in float32 (dynamic range).",
        (_TRAIN,),
        _converted(
            "dynamic",
            "dynamic-range quantization",
            fixed=NotApplicable("an FPGA design has no float activations to quantize while it runs"),
        ),
    ),
    Variant(
        "fiq",
        "Everything in 8 bits after training, inputs and outputs too.",
        (_TRAIN,),
        _converted(
            "int8",
            "full-integer quantization",
            fixed=NotApplicable("every FPGA design computes with integers only: see ptq and qat"),
        ),
    ),
    Variant(
        "qat",
        "Fine-tuned with weights and activations rounded: to 8 bits, on FPGA to 6.",
        (_TRAIN,),
        _quantized(_step("qat"), fixed=_step("qkeras_qat")),
    ),
    Variant(
        "qap",
        "Pruned to 75 % and fine-tuned with rounding (8 bits, on FPGA 6) while the zeros stay zeros.",
        (_TRAIN,),
        _quantized(_step("prune"), _step("qap"), fixed=_step("qkeras_qap")),
    ),
    Variant(
        "distilled",
        "A smaller student taught by the trained teacher's logits.",
        (_step("distill"),),
        _FLOAT,
        _TEACHER,
    ),
    Variant(
        "distilled_qap",
        "The student, pruned to 75 % and fine-tuned with rounding (8 bits, FPGA 6), taught at every stage.",
        (_step("distill"),),
        _quantized(
            _step("prune", distill=True),
            _step("qap", distill=True),
            fixed=_step("qkeras_qap", distill=True),
        ),
        _TEACHER,
    ),
    Variant(
        "ptq_fp16",
        "Weights in float16: half the size; CPUs still compute in float32.",
        (_TRAIN,),
        _converted(
            "float16",
            "float16 conversion",
            fixed=NotApplicable("float16 is no fixed-point format: see baseline and ptq"),
        ),
        role="more",
    ),
    Variant(
        "ptq_16x8",
        "Weights in 8 bits, activations in 16 bits after training; CPUs have only slow kernels for it.",
        (_TRAIN,),
        _converted(
            "16x8",
            "16x8 quantization",
            fixed=NotApplicable("16x8 is a scheme of TFLite's kernels: see ptq and qat"),
        ),
        role="more",
    ),
    Variant(
        "pruned_filters",
        "Half of each hidden layer's filters or neurons removed by L1 norm: a smaller dense network.",
        (_TRAIN, _step("prune_filters")),
        _FLOAT,
        role="more",
    ),
    Variant(
        "pruned_2_4",
        "Two of each four consecutive weights along the inputs set to zero.",
        (_TRAIN, _step("prune", pattern="2:4", sparsity=0.5, schedule="constant")),
        _FLOAT,
        role="more",
    ),
    Variant(
        "clustered",
        "16 distinct values in each kernel; smaller only after compression.",
        (_TRAIN, _step("cluster")),
        _FLOAT,
        role="more",
    ),
    Variant(
        "distilled_online",
        "Two students that teach each other while they learn; no teacher.",
        (_step("distill_online"),),
        _FLOAT,
        role="more",
    ),
    Variant(
        "distilled_self",
        "A fresh network of the baseline's architecture taught by the baseline.",
        (_step("distill", network="reference"),),
        _FLOAT,
        (_TRAIN,),
        role="more",
    ),
    Variant(
        "baseline_longer",
        "The baseline trained on for as many epochs as one fine-tuning, nothing else.",
        (_TRAIN, _step("finetune")),
        _FLOAT,
        role="control",
    ),
    Variant(
        "student_scratch",
        "The student's architecture trained alone, without a teacher.",
        (_step("train", network="student"),),
        _FLOAT,
        role="control",
    ),
)
VARIANTS: dict[str, Variant] = {variant.name: variant for variant in _ALL}
