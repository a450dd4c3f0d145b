"""Every registered model: complete, importable without TensorFlow, and fit for every step."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from bench.core.registry import DATASETS, MODELS
from models.base import Model

NAMES = MODELS.names()
WIDTHS = {
    "digits_mlp": [64, 32, 10],
    "fashion_mlp": [256, 64, 32, 10],
    "mnist_mlp": [64, 32, 10],
    "mnist_1v9": [5, 7, 10, 2],
    "jet_mlp": [64, 32, 32, 5],
    "mnist_cnn": [12, 10],
}


def built(model: Model, name: str) -> Any:
    from bench.formats.keras_env import load

    load().keras.utils.set_random_seed(1)
    return model.networks[name]()


def test_models_and_data_sets_need_no_tensorflow() -> None:
    code = (
        "import sys; from bench.core.registry import DATASETS, MODELS\n"
        "for names in (MODELS, DATASETS):\n"
        "    for name in names.names(): names.get(name)\n"
        "heavy = {'tensorflow', 'tf_keras', 'sklearn', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", NAMES)
def test_description(name: str) -> None:
    model = MODELS.get(name)
    assert model.name == name and model.summary
    assert {"reference", "student", model.teacher} <= set(model.networks)
    assert set(model.budgets) <= set(model.networks)
    for budget in (model.budget, model.finetune, *model.budgets.values()):
        assert budget.epochs >= 1 and budget.batch_size >= 1 and 0 < budget.learning_rate < 0.1
        # The test set decides nothing, and neither does validation: budgets are fixed.
        assert budget.patience is None
    assert model.finetune.epochs <= model.budget.epochs
    assert DATASETS.get(model.dataset).classes


@pytest.mark.tf
@pytest.mark.parametrize("name", NAMES)
def test_networks(name: str) -> None:
    model = MODELS.get(name)
    dataset = DATASETS.get(model.dataset)
    params = {}
    for network in model.networks:
        keras_model = built(model, network)
        assert keras_model.input_shape == (None, *dataset.input_shape)
        assert keras_model.output_shape == (None, len(dataset.classes))
        assert keras_model.layers[-1].activation.__name__ == "linear", "networks give logits"
        params[network] = keras_model.count_params()
        kernels = [layer for layer in keras_model.layers if type(layer).__name__ in ("Dense", "Conv2D")]
        # A name that Keras counts up ("dense_7") would differ from process to process.
        assert [layer.name for layer in kernels] == [layer.name for layer in kernels_of(model, network)]
    assert params["student"] < params[model.teacher]
    expected = WIDTHS.get(name)
    if expected:
        assert [layer.output_shape[-1] for layer in kernels_of(model, "reference")] == expected
    if name == "fashion_cnn":
        assert params["reference"] < 100_000


def kernels_of(model: Model, network: str) -> list[Any]:
    return [layer for layer in built(model, network).layers if type(layer).__name__ in ("Dense", "Conv2D")]


@pytest.mark.tf
@pytest.mark.parametrize("name", NAMES)
def test_initial_weights_follow_the_seed(name: str) -> None:
    from bench.formats.keras_env import load

    model = MODELS.get(name)
    first, again = built(model, "reference"), built(model, "reference")
    pairs = zip(first.get_weights(), again.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    load().keras.utils.set_random_seed(2)
    other = model.networks["reference"]().get_weights()
    assert not np.array_equal(first.get_weights()[0], other[0])


@pytest.mark.tf
@pytest.mark.parametrize("name", NAMES)
def test_every_network_can_be_quantized_and_pruned(name: str) -> None:
    from bench.formats.keras_env import load_tfmot

    tfmot = load_tfmot()
    model = MODELS.get(name)
    for network in sorted({"reference", "student", model.teacher}):
        quantized = tfmot.quantization.keras.quantize_model(built(model, network))
        kinds = [type(layer).__name__ for layer in quantized.layers]
        assert kinds.count("QuantizeWrapperV2") >= len(kernels_of(model, network))
        pruned = tfmot.sparsity.keras.prune_low_magnitude(built(model, network))
        kinds = [type(layer).__name__ for layer in pruned.layers]
        assert kinds.count("PruneLowMagnitude") >= len(kernels_of(model, network))
