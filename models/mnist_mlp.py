"""A small fully connected network on MNIST."""

from __future__ import annotations

from models.base import Budget, Model
from models.networks import mlp

MODEL = Model(
    name="mnist_mlp",
    summary="MLP 784-64-32-10 on MNIST",
    dataset="mnist_flat",
    networks={
        "reference": mlp(784, (64, 32), 10),
        "student": mlp(784, (48, 24), 10),
        "wide": mlp(784, (256, 128), 10, dropout=0.3),
    },
    teacher="wide",
    budget=Budget(epochs=10, batch_size=128, learning_rate=2e-3, schedule="cosine"),
    budgets={
        "student": Budget(epochs=30, batch_size=128, learning_rate=3e-3, schedule="cosine"),
        "wide": Budget(epochs=25, batch_size=128, learning_rate=2e-3, schedule="cosine"),
    },
    finetune=Budget(epochs=6, batch_size=128, learning_rate=3e-3, schedule="cosine"),
)
