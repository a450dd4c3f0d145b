"""The network of the TensorFlow pruning tutorial: one convolution, pooling, one Dense layer, on MNIST."""

from __future__ import annotations

from models.base import Budget, Model
from models.networks import cnn

SHAPE = (28, 28, 1)
MODEL = Model(
    name="mnist_cnn",
    summary="CNN with 12 filters 3×3, pooling and one Dense layer on MNIST",
    dataset="mnist",
    networks={"reference": cnn(SHAPE, (12,), (), 10), "student": cnn(SHAPE, (4,), (), 10)},
    budget=Budget(epochs=12, batch_size=64, learning_rate=3e-3, schedule="cosine"),
    finetune=Budget(epochs=10, batch_size=128, learning_rate=1e-2, schedule="cosine"),
    kind="cnn",
)
