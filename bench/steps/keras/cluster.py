"""Weight clustering (tensorflow-model-optimization): few distinct values in each kernel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from pydantic import Field

from bench.core.step import Check, Step, StepContext, StepOutcome
from bench.formats.keras import save_model
from bench.formats.keras_env import load, load_tfmot, without_autograph
from bench.steps.keras.facts import Frozen, finish, kernels
from bench.steps.keras.training import TrainingParams, fit, predict, prepare


class ClusterParams(TrainingParams):
    clusters: int = Field(default=16, ge=2, le=256)


class Cluster(Step):
    """k-means++ centroids in each kernel, fine-tuned together; smaller only after compression."""

    name = "cluster"
    Params = ClusterParams
    takes = "keras"
    gives = "keras"
    needs = ("tensorflow", "tf_keras", "tensorflow_model_optimization")

    @without_autograph
    def run(self, context: StepContext) -> StepOutcome:
        assert context.parent is not None
        prepare(context.seed)
        params: ClusterParams = context.params
        parent = Frozen.open(context.parent)
        wrapped = _wrap(parent.copy(), params.clusters)
        history = fit(wrapped, context.data, params.fine_tuning(context.model), context.seed)
        model = load_tfmot().clustering.keras.strip_clustering(wrapped)
        save_model(model, context.out)

        def claims(saved: Any) -> Iterable[Check]:
            yield clusters_check(kernels(saved), params.clusters)

        return finish(context, predict, model, history.facts(), [parent.check("parent")], claims)


def _wrap(model: Any, clusters: int) -> Any:
    _, keras = load()
    tfmot = load_tfmot().clustering.keras
    # A kernel with no more weights than clusters has nothing to gain and makes k-means fail.
    fits = {name for name, kernel in kernels(model).items() if kernel.size > clusters}

    def wrap(layer: Any) -> Any:
        if layer.name not in fits:
            return layer
        return tfmot.cluster_weights(
            layer,
            number_of_clusters=clusters,
            cluster_centroids_init=tfmot.CentroidInitialization.KMEANS_PLUS_PLUS,
        )

    return keras.models.clone_model(model, clone_function=wrap)


def clusters_check(found: dict[str, np.ndarray], clusters: int) -> Check:
    """No kernel has more distinct values than there are clusters."""
    counts = {name: int(np.unique(kernel).size) for name, kernel in found.items()}
    wrong = [f"{name} {count}" for name, count in counts.items() if count > clusters]
    detail = f"more than {clusters} values: {', '.join(wrong)}" if wrong else f"at most {clusters} values"
    return Check("clusters", bool(counts) and not wrong, detail)
