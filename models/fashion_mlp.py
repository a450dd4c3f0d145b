"""The lecture's network for its pruning and quantization demos, on Fashion-MNIST."""

from __future__ import annotations

from models.base import Budget, Model
from models.networks import mlp

MODEL = Model(
    name="fashion_mlp",
    summary="MLP 784-256-64-32-10 on Fashion-MNIST",
    dataset="fashion_mnist_flat",
    networks={"reference": mlp(784, (256, 64, 32), 10), "student": mlp(784, (16, 16), 10)},
    budget=Budget(epochs=12, batch_size=128, learning_rate=2e-3, schedule="cosine"),
    finetune=Budget(epochs=4, batch_size=128, learning_rate=5e-4, schedule="cosine"),
)
