"""Every reference model as a fixed-point design: C simulation gives QKeras' bits, whatever the weights and
however wide each layer is, and the Verilog of style sequential gives those of the C simulation."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

from bench.core.registry import DATASETS, MODELS

BUILTIN = sorted(name for name in MODELS.names() if MODELS.place(name).startswith("models."))
INPUTS = 48
#: of them, in Verilog: two give an interval, too
IN_VERILOG = 2
#: bits of the layers of one network, one after the other
WEIGHTS, ACTIVATIONS = (8, 2, 4, 6), (6, 4, 8, 2)


@pytest.mark.tf
@pytest.mark.parametrize("name", BUILTIN)
def test_simulations_give_the_bits_of_qkeras(name: str, tmp_path: Path) -> None:
    from bench.formats.keras_env import load
    from bench.steps.fixed.qkeras import arithmetic
    from bench.steps.keras.training import predict
    from targets.fpga.hls.convert import Conversion, convert
    from targets.fpga.hls.simulator import Simulator, compile_project
    from targets.fpga.layers import in_a_row
    from targets.fpga.qkeras_network import build, choose_types, lint, quantized_weights
    from targets.fpga.rtl import simulators
    from targets.fpga.rtl.network import design
    from targets.fpga.rtl.simulate import simulate

    model = MODELS.get(name)
    load().keras.utils.set_random_seed(5)
    row = in_a_row(model.networks["reference"]())
    rng = np.random.default_rng(11)
    shape = DATASETS.get(model.dataset).input_shape
    # Images are between 0 and 1, other data are not: both signs, and values that saturate.
    low = 0.0 if model.dataset != "jets" else -3.0
    x = rng.uniform(low, -low or 1.0, size=(INPUTS, *shape)).astype(np.float32)
    for layer in row.layers:  # untrained biases are zero and would hide their rounding
        if layer.name in arithmetic(row):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, rng.normal(0, 0.1, bias.shape).astype(np.float32)])
    relus = [layer.name for layer in row.layers if type(layer).__name__ == "Activation"]
    types = choose_types(
        row,
        x,
        dict(zip(arithmetic(row), cycle(WEIGHTS), strict=False)),
        dict(zip(relus, cycle(ACTIVATIONS), strict=False)),
        bias_bits=8,
        input_bits=7,
        output_bits=16,
    )
    network = build(row, types)
    assert lint(network) == []
    expected = predict(network, x)
    for layer_name, arrays in quantized_weights(network, types).items():
        row.get_layer(layer_name).set_weights(arrays)
    io_type = "io_stream" if model.kind == "cnn" else "io_parallel"
    convert(row, types, Conversion(io_type=io_type), tmp_path / "project")
    (tmp_path / "csim").mkdir()
    compile_project(tmp_path / "project", tmp_path / "csim")
    outputs = Simulator.open(tmp_path / "csim").run(x)
    assert np.unique(outputs, axis=0).shape[0] > INPUTS // 2
    np.testing.assert_array_equal(outputs, expected)
    if simulators.available():
        made = design(row, types, 8)
        (tmp_path / "verilog").mkdir()
        found = simulate(made, x[:IN_VERILOG], tmp_path / "verilog")
        np.testing.assert_array_equal(found.outputs, expected[:IN_VERILOG])
        assert (found.last - found.first[0]).tolist() == made.ends(IN_VERILOG)
