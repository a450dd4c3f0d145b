"""What a fixed-point network costs before any tool has seen it: multiplications, bit operations, bits.

Counts are per inference: a convolution's kernel is counted once for each position of its output.
"""

from __future__ import annotations

import contextlib
import io
import math
from typing import Any

import numpy as np

from targets.fpga.fixed import FixedPoint, FixedType
from targets.fpga.layers import ARITHMETIC
from targets.fpga.qkeras_network import build


def layer_facts(row: Any, types: FixedPoint) -> list[dict[str, Any]]:
    """One entry a layer with weights: counts, bits and types."""
    found = []
    inputs = input_types(row, types)
    for layer in row.layers:
        if type(layer).__name__ not in ARITHMETIC:
            continue
        own, (kernel, bias) = types.layers[layer.name], layer.get_weights()
        assert own.weight is not None
        found.append(
            {
                "name": layer.name,
                "kind": type(layer).__name__,
                "shape": list(kernel.shape),
                "params": int(kernel.size + bias.size),
                "nonzero": int(np.count_nonzero(kernel) + np.count_nonzero(bias)),
                "unique": int(np.unique(kernel).size),
                "weight_bits": own.weight.bits,
                "weight_integer": own.weight.integer,
                "input_bits": inputs[layer.name].bits,
                "sparsity": 1.0 - np.count_nonzero(kernel) / kernel.size,
            }
        )
    return found


def input_types(row: Any, types: FixedPoint) -> dict[str, FixedType]:
    """Type of what goes into each layer: of the last layer before it that has one."""
    found, now = {}, types.input
    for layer in row.layers:
        found[layer.name] = now
        now = types.layers[layer.name].result or now
    return found


def cost(row: Any, types: FixedPoint) -> dict[str, Any]:
    """Multiplications, BOPs, EBOPs, bits of weights, modelled energy of one inference.

    macs: multiplications with every weight; macs_nonzero: with those that are not zero.
    bops: m·n·((1 − f)·b_a·b_w + b_a + b_w + log2 n) a dense layer of n inputs, m outputs and a share f
    of zeros, b_a bits of inputs, b_w of weights (Hawks et al. 2021, arXiv 2102.11289).
    ebops: sum over multiplications of b_a times the bits that the weight really uses, from its
    highest to its lowest one (Sun et al. 2024, arXiv 2405.00645).
    """
    inputs = input_types(row, types)
    macs = nonzero = weight_bits = weight_bits_nonzero = weights_nonzero = 0
    bops = ebops = 0.0
    for layer in row.layers:
        if type(layer).__name__ not in ARITHMETIC:
            continue
        own, (kernel, bias) = types.layers[layer.name], layer.get_weights()
        assert own.weight is not None and own.bias is not None
        positions = math.prod(layer.output_shape[1:-1])
        a, w = inputs[layer.name].bits, own.weight.bits
        n = kernel.size // kernel.shape[-1]
        share = np.count_nonzero(kernel) / kernel.size
        macs += kernel.size * positions
        nonzero += int(np.count_nonzero(kernel)) * positions
        bops += kernel.size * positions * (float(share) * a * w + a + w + math.log2(n))
        ebops += a * positions * float(used_bits(kernel, own.weight).sum())
        weight_bits += kernel.size * w + bias.size * own.bias.bits
        weight_bits_nonzero += int(np.count_nonzero(kernel)) * w + int(np.count_nonzero(bias)) * own.bias.bits
        weights_nonzero += int(np.count_nonzero(kernel) + np.count_nonzero(bias))
    energy, source = energy_pj(row, types)
    return {
        "macs": macs,
        "macs_nonzero": nonzero,
        "bops": bops,
        "ebops": ebops,
        "weight_bits": weight_bits,
        "weight_bits_nonzero": weight_bits_nonzero,
        "weights_nonzero": weights_nonzero,
        "energy_pj": energy,
        "energy_source": source,
    }


def used_bits(values: np.ndarray, type_: FixedType) -> np.ndarray:
    """Bits from the highest to the lowest one in |value|, for values on the type's grid; 0 for zero."""
    whole = np.rint(np.abs(np.asarray(values, np.float64)) / type_.step).astype(np.int64)
    top = np.zeros(whole.shape, np.int64)
    some = whole > 0
    top[some] = np.floor(np.log2(whole[some])).astype(np.int64) + 1
    lowest = np.zeros(whole.shape, np.int64)
    lowest[some] = np.log2(whole[some] & -whole[some]).astype(np.int64)
    return top - lowest


def energy_pj(row: Any, types: FixedPoint) -> tuple[float | None, str]:
    """QTools' energy of one inference in picojoules and where it comes from; None where it has none.

    A model of a 45 nm process (Horowitz 2014) with weights and activations in SRAM; never a
    measurement. It counts every multiplication, also those with zero.
    """
    if types.source != "qkeras":
        return None, "QTools knows QKeras networks only"
    network = build(row, types, stock=True)
    from qkeras import quantized_bits
    from qkeras.qtools import run_qtools
    from qkeras.qtools.settings import cfg

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            tools = run_qtools.QTools(
                network,
                process="horowitz",
                source_quantizers=[quantized_bits(types.input.bits, 0, alpha=1)],
                is_inference=True,
                weights_path=None,
                keras_quantizer="fp32",
                keras_accumulator="fp32",
                for_reference=False,
            )
            profile = tools.pe(
                weights_on_memory="sram",
                activations_on_memory="sram",
                min_sram_size=8 * 16 * 1024 * 1024,
                rd_wr_on_io=False,
            )
            return float(tools.extract_energy_sum(cfg.include_energy, profile)), "QTools, Horowitz 45 nm"
    except Exception as error:  # of a model that is shown beside other figures: never worth the variant
        return None, f"QTools cannot model it ({type(error).__name__}: {str(error)[:120]})"
