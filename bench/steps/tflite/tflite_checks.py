"""What each mode of `to_tflite` claims, looked for in the tensors of the file it wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np

from bench.core.step import Check
from bench.formats.tflite import TfliteFile
from bench.steps.keras.facts import PRUNABLE

#: lowest share of calibration samples on which file and parent must give the same class. Not a bound on
#: quality: 8-bit rounding costs a few percent at most, a wrong scale or order of inputs costs most of it.
MIN_AGREEMENT: Mapping[str, float] = {
    "float32": 0.99,
    "float16": 0.98,
    "dynamic": 0.90,
    "static": 0.90,
    "int8": 0.90,
    "16x8": 0.95,
}
#: the converter leaves smaller tensors as they are in mode `dynamic` (`minimum_elements_for_weights`)
DYNAMIC_MIN_ELEMENTS = 1024
INT8_SHARE = 0.90
#: how much sparsity a conversion may lose
SPARSITY_LOSS = 0.02

_IN_OUT = {"int8": "int8"}
_ACTIVATIONS = {
    "float32": "float32",
    "float16": "float32",
    "dynamic": "float32",
    "static": "int8",
    "int8": "int8",
    "16x8": "int16",
}


def float_bound(expected: np.ndarray) -> float:
    """Largest difference of logits that float32 kernels with another order of additions may show."""
    return 1e-4 * max(1.0, float(np.abs(expected).max()))


def claims(file: TfliteFile, mode: str, parent: Mapping[str, Any]) -> Iterator[Check]:
    """Checks of a converted file.

    Args:
        parent: facts of the Keras artifact it was made from.
    """
    yield _weights(file, mode)
    yield _in_out(file, _IN_OUT.get(mode, "float32"))
    wanted, found = _ACTIVATIONS[mode], file.activations()
    yield Check("activations", found == {wanted}, f"{', '.join(sorted(found)) or 'none'} (wanted {wanted})")
    yield from _zeros(file, parent)
    yield from _values(file, parent)


def _weights(file: TfliteFile, mode: str) -> Check:
    if not file.kernels:
        return Check("weights", False, "there is no kernel in the file")
    share = {dtype: file.kernel_share(dtype) for dtype in sorted({tensor.dtype for tensor in file.kernels})}
    listing = ", ".join(f"{dtype} {part:.1%}" for dtype, part in share.items())
    if mode in ("float32", "float16"):
        return Check("weights", share.get(mode, 0.0) == 1.0, f"{listing} of kernel bytes (wanted {mode})")
    if mode != "dynamic":
        passed = share.get("int8", 0.0) > INT8_SHARE
        return Check("weights", passed, f"{listing} of kernel bytes (wanted int8 > {INT8_SHARE:.0%})")
    large = [tensor for tensor in file.kernels if tensor.elements >= DYNAMIC_MIN_ELEMENTS]
    if not large:
        sizes = ", ".join(str(tensor.elements) for tensor in file.kernels)
        return Check(
            "weights",
            False,
            f"no kernel has {DYNAMIC_MIN_ELEMENTS} elements ({sizes}): the converter quantizes none, "
            "so this is the float network under another name",
        )
    wrong = [f"{tensor.name} {tensor.dtype}" for tensor in large if tensor.dtype != "int8"]
    detail = f"{listing} of kernel bytes; every kernel of {DYNAMIC_MIN_ELEMENTS} elements and more is int8"
    return Check("weights", not wrong, f"not int8: {', '.join(wrong)}" if wrong else detail)


def _in_out(file: TfliteFile, wanted: str) -> Check:
    found = [tensor.dtype for tensor in (*file.inputs, *file.outputs)]
    return Check("inputs and outputs", set(found) == {wanted}, f"{', '.join(found)} (wanted {wanted})")


def _kernel_shapes(parent: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(elements, distinct values) of each prunable kernel of the parent."""
    layers = parent.get("layers") or []
    return [(prod(layer["shape"]), layer["unique"]) for layer in layers if layer["kind"] in PRUNABLE]


def _zeros(file: TfliteFile, parent: Mapping[str, Any]) -> Iterator[Check]:
    """Rounding makes zeros and never takes them: what pruning won must still be in the file."""
    elements = sum(size for size, _ in _kernel_shapes(parent))
    wanted = float(parent.get("sparsity", 0.0))
    if not elements or wanted <= SPARSITY_LOSS:
        return
    # Kernels of kinds that are not pruned (depthwise) may be in the file besides.
    found = sum(tensor.elements - tensor.nonzero for tensor in file.kernels if not tensor.sparse) / elements
    found += sum(prod(tensor.shape) - tensor.nonzero for tensor in file.kernels if tensor.sparse) / elements
    yield Check(
        "sparsity kept",
        found >= wanted - SPARSITY_LOSS,
        f"{found:.2%} zeros in the file, {wanted:.2%} in its parent",
    )


def _values(file: TfliteFile, parent: Mapping[str, Any]) -> Iterator[Check]:
    """Rounding by one scale joins values and never splits them: clusters must still be in the file."""
    shapes = _kernel_shapes(parent)
    kinds = {layer["kind"] for layer in parent.get("layers") or []}
    if not shapes or "BatchNormalization" in kinds:
        return  # folding a batch normalization gives every channel factors of its own
    wrong = []
    for tensor in file.kernels:
        limits = [unique for size, unique in shapes if size == tensor.elements]
        if limits and tensor.unique_per_channel > max(limits):
            wrong.append(f"{tensor.name}: {tensor.unique_per_channel} values, its parent has {max(limits)}")
    most = max((tensor.unique_per_channel for tensor in file.kernels), default=0)
    yield Check("distinct values", not wrong, "; ".join(wrong) or f"at most {most} a kernel and channel")
