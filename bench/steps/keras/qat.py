"""8-bit quantization-aware training (tensorflow-model-optimization), also on a pruned network.

The quantizers start from the float network's own activation ranges: tfmot starts them at ±6 and
moves them by 0.1 % a step, so that a short training ends with ranges that clip or waste bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from bench.core.step import Check, Step, StepContext, StepOutcome
from bench.errors import StepError
from bench.formats.keras import quantize, save_quantized
from bench.formats.keras_env import load, without_autograph
from bench.steps.keras.facts import Frozen, finish, kernels, sparsity
from bench.steps.keras.training import SoftTargets, fit, optional_teacher, predict, prepare

#: how much of the parent's sparsity may be lost (a weight may be trained to exactly zero or from it)
SPARSITY_LOSS = 0.02
_CALIBRATION = 1024


class Qat(Step):
    """Train with weights and activations rounded to 8 bits in the forward pass."""

    name = "qat"
    Params = SoftTargets
    takes = "keras"
    gives = "keras"
    teacher = "optional"
    needs = ("tensorflow", "tf_keras", "tensorflow_model_optimization")
    keeps_zeros = False

    @without_autograph
    def run(self, context: StepContext) -> StepOutcome:
        assert context.parent is not None
        prepare(context.seed)
        params: SoftTargets = context.params
        data, budget = context.data, params.fine_tuning(context.model)
        parent = Frozen.open(context.parent)
        teacher, distillation = optional_teacher(context)
        plain = parent.copy()
        model = _quantize(plain)
        start_ranges(model, plain, data.train.x[:_CALIBRATION])
        masks = {name: (k != 0).astype(k.dtype) for name, k in kernels(plain).items()}
        project = zero_keeper(model, masks) if self.keeps_zeros else None
        history = fit(model, data, budget, context.seed, distillation=distillation, after_step=project)
        save_quantized(plain, model, context.out)
        checks = [parent.check("parent"), ranges_check(model)]
        checks += [teacher.check("teacher")] if teacher else []

        def claims(saved: Any) -> Iterable[Check]:
            if self.keeps_zeros:
                yield zeros_check(kernels(saved), sparsity(kernels(parent.model).values()))

        return finish(context, predict, model, {**history.facts(), "weight_bits": 8}, checks, claims)


class Qap(Qat):
    """Quantization-aware training of a pruned network: its zeros stay zeros.

    Equal to tfmot's prune-preserving scheme, which masks the kernels in the forward pass: here they
    are masked after each update, so that the saved weights themselves are sparse.
    """

    name = "qap"
    keeps_zeros = True


def _quantize(model: Any) -> Any:
    try:
        return quantize(model)
    except (ValueError, RuntimeError) as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise StepError(f"8-bit quantization-aware training does not know this network: {line}") from error


def start_ranges(model: Any, plain: Any, x: np.ndarray) -> None:
    """Set each activation quantizer to the range of that layer's output in the float network."""
    _, keras = load()
    layers = [layer for layer in plain.layers if hasattr(layer, "output")]
    outputs = keras.Model(plain.inputs, {layer.name: layer.output for layer in layers})
    found = outputs(x, training=False)
    for wrapper in model.layers:
        output = found.get(wrapper.layer.name) if hasattr(wrapper, "layer") else None
        if output is None:
            continue
        for variable in wrapper.weights:
            kind = variable.name.rsplit("/", 1)[-1].split(":")[0]
            if kind in ("post_activation_min", "output_min"):
                variable.assign(min(0.0, float(np.min(output))))
            elif kind in ("post_activation_max", "output_max"):
                variable.assign(max(0.0, float(np.max(output))))


def zero_keeper(model: Any, masks: dict[str, np.ndarray]) -> Callable[[], None]:
    """A function that puts the zeros of the masks back into the quantized network's kernels."""
    tf, _ = load()
    pairs = []
    for wrapper in model.layers:
        mask = masks.get(wrapper.layer.name) if hasattr(wrapper, "layer") else None
        if mask is not None:
            named = f"{wrapper.layer.name}/kernel:0"
            (kernel,) = (variable for variable in wrapper.trainable_variables if variable.name == named)
            pairs.append((kernel, tf.constant(mask)))

    def project() -> None:
        for kernel, mask in pairs:
            kernel.assign(kernel * mask)

    return project


def ranges_check(model: Any) -> Check:
    """No quantizer has the range that it was created with: evaluated like that it gives nonsense."""
    values = {v.name.split(":")[0]: v.numpy() for v in model.weights}
    wrong = []
    for name, low in values.items():
        if name.endswith("_min"):
            high = values[name[:-4] + "_max"]
            if np.all((low == -6.0) & (high == 6.0)) or np.all(low == high) or not np.all(low <= high):
                wrong.append(name[:-4])
    ranges = sum(name.endswith("_min") for name in values)
    detail = f"untouched: {', '.join(wrong)}" if wrong else f"{ranges} ranges learnt"
    return Check("ranges initialised", ranges > 0 and not wrong, detail)


def zeros_check(found: dict[str, np.ndarray], target: float) -> Check:
    """The kernels are still as sparse as the parent's, and those were sparse."""
    reached = sparsity(found.values())
    passed = target > SPARSITY_LOSS and reached >= target - SPARSITY_LOSS
    return Check("zeros kept", passed, f"{reached:.4f} of the parent's {target:.4f}")
