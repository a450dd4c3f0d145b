"""Conversion of a Keras network to .tflite, in all the number formats of the TFLite converter.

Settings as in the TensorFlow Lite guide to post-training quantization
(https://ai.google.dev/edge/litert/models/post_training_quantization).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from bench.core.agreement import compare
from bench.core.size import file_sizes
from bench.core.step import Check, Step, StepContext, StepOutcome, StepParams
from bench.errors import StepError
from bench.formats.keras_env import load, without_autograph
from bench.formats.tflite import FILE_NAME
from bench.formats.tflite_reader import inspect_bytes
from models.base import Split

Mode = Literal["float32", "float16", "dynamic", "static", "int8", "16x8"]
#: fresh samples and the process that runs them: enough for a network of this harness's size
_LOAD_TIMEOUT = 300


class ToTfliteParams(StepParams):
    """
    mode: number format. `float32`; `float16` weights; `dynamic`: int8 weights, float activations;
        `static`: int8 weights and activations, float32 in and out; `int8`: in and out int8 too;
        `16x8`: int16 activations, int8 weights.
    calibration: training samples that set the ranges of activations, and on which the file is compared
        with its parent.
    min_agreement: lowest share of them on which both must give the same class; null: the mode's own
        (`tflite_checks.MIN_AGREEMENT`).
    stability: convert again with a second, disjoint calibration set and record how far the two agree.
    """

    mode: Mode = "float32"
    calibration: int = Field(default=256, ge=1, le=100_000, strict=True)
    min_agreement: float | None = Field(default=None, ge=0, le=1)
    stability: bool = Field(default=False, strict=True)


class ToTflite(Step):
    """Write `model.tflite` and look into it: does it hold what the mode says, and run like its parent?"""

    name = "to_tflite"
    Params = ToTfliteParams
    takes = "keras"
    gives = "tflite"
    needs = ("tensorflow", "tf_keras", "ai_edge_litert")

    def run(self, context: StepContext) -> StepOutcome:
        from bench.formats.keras import load_model
        from bench.steps.keras.training import predict, prepare
        from bench.steps.tflite.tflite_checks import claims

        assert context.parent is not None
        params: ToTfliteParams = context.params
        prepare(context.seed)
        model = load_model(context.parent.path)
        fake_quantized = has_fake_quantizers(model)
        if fake_quantized and params.mode not in ("static", "int8"):
            raise StepError(
                f"mode {params.mode!r} does not fit a network trained with int8 quantizers",
                mend="Use mode static (float32 in and out) or int8.",
            )
        chosen = calibration_indices(context.data.train, params.calibration)
        x = context.data.train.x[chosen]
        content = convert(model, params.mode, x, fake_quantized=fake_quantized)
        path = context.out / FILE_NAME
        path.write_bytes(content)
        file = inspect_bytes(content, FILE_NAME)
        facts: dict[str, Any] = {
            **file_sizes(path),
            **file.facts(),
            "mode": params.mode,
            "fake_quantized": fake_quantized,
            "calibration": {
                "split": "train",
                "n": len(chosen),
                "seed": 0,
                "used_for_ranges": needs_ranges(params.mode, fake_quantized),
                "digest": samples_digest(chosen, x),
            },
        }
        checks = list(claims(file, params.mode, context.parent.facts))
        expected = predict(model, x)
        found = run_fresh(path, x)
        if isinstance(found, str):
            checks.append(Check("loads in a fresh process", False, found))
            return StepOutcome(facts, tuple(checks))
        checks.append(Check("loads in a fresh process", True, f"{len(x)} inputs run"))
        agreement, agrees = agreement_check(expected, found, params)
        facts["agreement"] = agreement
        checks.append(agrees)
        if params.stability and needs_ranges(params.mode, fake_quantized):
            facts["stability"] = self._stability(context, model, x, found)
        return StepOutcome(facts, tuple(checks))

    def _stability(
        self, context: StepContext, model: Any, x: np.ndarray, found: np.ndarray
    ) -> dict[str, Any]:
        """Agreement with a file made from the next, disjoint calibration set."""
        train, params = context.data.train, context.params
        second = train.x[calibration_indices(train, params.calibration, part=1)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FILE_NAME
            path.write_bytes(convert(model, params.mode, second, fake_quantized=False))
            other = run_fresh(path, x)
        if isinstance(other, str):
            return {"error": other}
        return compare(found, other).to_json()


def has_fake_quantizers(model: Any) -> bool:
    """Whether tensorflow-model-optimization's quantization wrappers are in the network."""
    return any(type(layer).__name__.startswith("Quantize") for layer in model.layers)


def needs_ranges(mode: Mode, fake_quantized: bool) -> bool:
    """Whether conversion looks at samples for the ranges of activations."""
    return mode in ("static", "int8", "16x8") and not fake_quantized


def optimizations(tf: Any, mode: Mode) -> list[Any]:
    """DEFAULT for all but float32. A network with fake quantizers stays float without it, silently."""
    return [] if mode == "float32" else [tf.lite.Optimize.DEFAULT]


@without_autograph
def convert(model: Any, mode: Mode, samples: np.ndarray, *, fake_quantized: bool) -> bytes:
    """The .tflite file of a tf_keras model.

    Args:
        samples: float32 (n, *input_shape), preprocessed like all data; set the ranges of activations.
        fake_quantized: ranges are in the network already.

    Raises:
        StepError: the converter refuses the network.
    """
    tf, _ = load()

    def representative() -> Iterator[list[np.ndarray]]:
        for i in range(len(samples)):
            yield [samples[i : i + 1]]

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # One function of a fixed batch of 1, and a module that holds its variables alone: saving
            # the Keras model on the way costs seconds of tracing what is not converted, and an open
            # batch size leaves shape arithmetic in the file.
            signature = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
            run = tf.function(lambda x: model(x, training=False), autograph=False)
            holder = tf.Module()
            holder.weights = model.weights
            concrete = run.get_concrete_function(signature)
            converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], holder)
            converter.optimizations = optimizations(tf, mode)
            if mode == "float16":
                converter.target_spec.supported_types = [tf.float16]
            if needs_ranges(mode, fake_quantized):
                converter.representative_dataset = representative
                ops = tf.lite.OpsSet
                converter.target_spec.supported_ops = [
                    ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
                    if mode == "16x8"
                    else ops.TFLITE_BUILTINS_INT8
                ]
            if mode == "int8":
                converter.inference_input_type = converter.inference_output_type = tf.int8
            return bytes(converter.convert())
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise StepError(f"the TFLite converter refuses this network in mode {mode!r}: {lines[0]}") from error


def calibration_indices(train: Split, n: int, *, part: int = 0) -> np.ndarray:
    """Indices (≤ n,) of training samples in the classes' own proportions, the same for every seed.

    Args:
        part: 0 is the calibration set, 1 a second one that shares no sample with it.

    Raises:
        StepError: the training split is too small for this part.
    """
    rng = np.random.default_rng(0)
    n = min(n, len(train))
    # Ordered by rank within the class: any run of them has the classes in their proportions.
    place = np.empty(len(train))
    for label in np.unique(train.y):
        own = rng.permutation(np.flatnonzero(train.y == label))
        place[own] = (np.arange(len(own)) + rng.random()) / len(own)
    chosen = np.argsort(place, kind="stable")[part * n : (part + 1) * n]
    if len(chosen) < n:
        raise StepError(f"{len(train)} training samples are too few for {part + 1} sets of {n}")
    return np.asarray(np.sort(chosen))


def samples_digest(indices: np.ndarray, x: np.ndarray) -> str:
    """sha256 over which samples they are and what is in them."""
    digest = hashlib.sha256(indices.astype("<i8").tobytes())
    digest.update(np.ascontiguousarray(x, dtype="<f4").tobytes())
    return digest.hexdigest()


def agreement_check(
    expected: np.ndarray, found: np.ndarray, params: ToTfliteParams
) -> tuple[dict[str, Any], Check]:
    """Facts of the file's logits against its parent's, and whether they agree as far as the mode must."""
    from bench.steps.tflite.tflite_checks import MIN_AGREEMENT, float_bound

    if found.shape != expected.shape or not np.isfinite(found).all():
        return {}, Check("agrees with its parent", False, f"outputs {found.shape} or not finite")
    result = compare(expected, found)
    bound = MIN_AGREEMENT[params.mode] if params.min_agreement is None else params.min_agreement
    passed, detail = result.share >= bound, f"{result.share:.2%} of classes agree (at least {bound:.0%})"
    if params.mode == "float32":
        limit = float_bound(expected)
        passed = passed and result.max_abs_diff <= limit
        detail += f"; logits differ by at most {result.max_abs_diff:.3g} (limit {limit:.3g})"
    return result.to_json(), Check("agrees with its parent", passed, detail)


def run_fresh(path: Path, x: np.ndarray) -> np.ndarray | str:
    """Logits (n, classes) of a file for x, from a fresh process without TensorFlow; or why it did not run."""
    root = Path(__file__).resolve().parents[3]
    paths = [str(root), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder) / "inputs.npy", Path(folder) / "outputs.npy"
        np.save(inputs, x, allow_pickle=False)
        command = [sys.executable, "-m", "targets.tflite", str(path), str(inputs), str(outputs)]
        try:
            done = subprocess.run(
                command,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_LOAD_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no answer after {_LOAD_TIMEOUT} s"
        if done.returncode < 0:
            return f"the process that loaded it died of signal {-done.returncode}"
        if done.returncode or not outputs.is_file():
            return " ".join(done.stderr.split())[-500:] or f"exit code {done.returncode}"
        result: np.ndarray = np.load(outputs, allow_pickle=False)
        return result
