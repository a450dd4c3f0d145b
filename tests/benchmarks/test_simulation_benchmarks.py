"""How long C simulation takes (pytest-benchmark; no limits here). Untrained weights, generated images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.registry import MODELS

IMAGES = 10_000


@pytest.fixture(scope="module", params=["mnist_mlp", "mnist_cnn"])
def simulator(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, np.ndarray]:
    from bench.steps.fixed.qkeras import arithmetic
    from targets.fpga.hls.convert import Conversion, convert
    from targets.fpga.hls.simulator import Simulator, compile_project
    from targets.fpga.layers import in_a_row
    from targets.fpga.qkeras_network import choose_types

    folder: Path = tmp_path_factory.mktemp(request.param)
    row = in_a_row(MODELS.get(request.param).networks["reference"]())
    x = np.random.default_rng(0).uniform(size=(IMAGES, *row.input_shape[1:])).astype(np.float32)
    weights = dict.fromkeys(arithmetic(row), 6)
    activations = {layer.name: 6 for layer in row.layers}
    types = choose_types(row, x[:256], weights, activations, bias_bits=8, input_bits=8, output_bits=16)
    for name in weights:
        own, layer = types.layers[name], row.get_layer(name)
        kernel, bias = layer.get_weights()
        assert own.weight is not None and own.bias is not None
        layer.set_weights([own.weight.quantize(kernel), own.bias.quantize(bias)])
    io_type = "io_stream" if len(row.input_shape) > 2 else "io_parallel"
    convert(row, types, Conversion(io_type=io_type), folder / "project")
    (folder / "csim").mkdir()
    compile_project(folder / "project", folder / "csim")
    return Simulator.open(folder / "csim"), x


@pytest.mark.tf
def test_simulating_10_000_images(benchmark: Any, simulator: tuple[Any, np.ndarray]) -> None:
    program, x = simulator
    outputs = benchmark.pedantic(program.run, args=(x,), rounds=1)
    assert outputs.shape == (IMAGES, 10) and len(np.unique(outputs, axis=0)) > 1
