"""What steps record of a Keras network, and the checks that several of them share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.step import Artifact, Check, StepContext, StepOutcome
from bench.formats.keras import MODEL_FILE, clone, load_float, load_model

#: layer kinds whose kernel is pruned, clustered and counted in `sparsity`
PRUNABLE = ("Dense", "Conv1D", "Conv2D")


def kernels(model: Any) -> dict[str, np.ndarray]:
    """Kernel of each prunable layer of a float network by layer name, inputs on axis -2."""
    return {layer.name: layer.kernel.numpy() for layer in model.layers if type(layer).__name__ in PRUNABLE}


def sparsity(arrays: Iterable[np.ndarray]) -> float:
    """Share of zeros over all elements; 0.0 where there are none."""
    arrays = list(arrays)
    total = sum(array.size for array in arrays)
    return 1.0 - sum(int(np.count_nonzero(array)) for array in arrays) / total if total else 0.0


def describe(model: Any) -> dict[str, Any]:
    """Counts over a float network: params, params_nonzero, sparsity (prunable kernels),
    sparsity_all, payload_bits, and one entry a layer that has weights."""
    layers = []
    for layer in model.layers:
        weights = [np.asarray(weight) for weight in layer.get_weights()]
        if not weights:
            continue
        layers.append(
            {
                "name": layer.name,
                "kind": type(layer).__name__,
                "shape": list(weights[0].shape),
                "params": sum(weight.size for weight in weights),
                "nonzero": sum(int(np.count_nonzero(weight)) for weight in weights),
                "unique": int(np.unique(weights[0]).size),
            }
        )
    arrays = model.get_weights()
    return {
        "params": int(sum(array.size for array in arrays)),
        "params_nonzero": int(sum(np.count_nonzero(array) for array in arrays)),
        "sparsity": sparsity(kernels(model).values()),
        "sparsity_all": sparsity(arrays),
        "payload_bits": int(sum(array.size * array.dtype.itemsize * 8 for array in arrays)),
        "layers": layers,
    }


def weights_digest(model: Any) -> str:
    """sha256 over shapes and values of all weights in order."""
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(str((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _state(model: Any, folder: Path) -> tuple[str, str]:
    return weights_digest(model), hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest()


@dataclass(frozen=True)
class Frozen:
    """A trained network that a step learns from and must leave as it is."""

    model: Any
    folder: Path
    before: tuple[str, str]

    @classmethod
    def open(cls, artifact: Artifact) -> Frozen:
        model = load_model(artifact.path)
        return cls(model, artifact.path, _state(model, artifact.path))

    def copy(self) -> Any:
        """A network to change: tfmot's wrappers would otherwise change this one's layers in place."""
        return clone(self.model)

    def check(self, who: str) -> Check:
        """Its weights, in memory and on disk, are what they were."""
        same = _state(self.model, self.folder) == self.before
        return Check(f"{who} unchanged", same, "weights and file as before" if same else "weights changed")


def finish(
    context: StepContext,
    predict: Callable[[Any, np.ndarray], np.ndarray],
    model: Any,
    facts: dict[str, Any],
    checks: Iterable[Check],
    claims: Callable[[Any], Iterable[Check]] = lambda _: (),
) -> StepOutcome:
    """Facts and checks of the network that was saved into `context.out`, read back from disk.

    Args:
        predict: logits (n, classes) of a network for x.
        model: the network in memory that was saved.
        claims: checks of the float network as read back.
    """
    from bench.core.size import file_sizes

    again = load_model(context.out)
    x = context.data.validation.x[:64]
    gap = float(np.max(np.abs(predict(again, x) - predict(model, x)), initial=0.0))
    reloads = Check("reloads", gap == 0.0, f"largest difference of logits after reading back: {gap:g}")
    read_back = load_float(context.out)
    everything = {**describe(read_back), **facts, **file_sizes(context.out)}
    return StepOutcome(everything, (*checks, reloads, *claims(read_back)))
