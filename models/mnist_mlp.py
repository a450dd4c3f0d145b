"""A small fully connected network on MNIST."""

from __future__ import annotations

from models.base import Budget, Model
from models.networks import mlp

MODEL = Model(
    name="mnist_mlp",
    summary="MLP 784-64-32-10 on MNIST",
    dataset="mnist_flat",
    networks={"reference": mlp(784, (64, 32), 10), "student": mlp(784, (16,), 10)},
    budget=Budget(epochs=10, batch_size=128, learning_rate=2e-3, schedule="cosine"),
    finetune=Budget(epochs=4, batch_size=128, learning_rate=5e-4, schedule="cosine"),
)
