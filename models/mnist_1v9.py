"""Digits 1 and 9 of MNIST: a network small enough for any FPGA."""

from __future__ import annotations

from models.base import Budget, Model
from models.networks import mlp

MODEL = Model(
    name="mnist_1v9",
    summary="MLP 784-5-7-10-2 that tells the digits 1 and 9 of MNIST apart",
    dataset="mnist_1v9",
    networks={"reference": mlp(784, (5, 7, 10), 2), "student": mlp(784, (2, 4), 2)},
    budget=Budget(epochs=8, batch_size=64, learning_rate=3e-3, schedule="cosine"),
    finetune=Budget(epochs=4, batch_size=64, learning_rate=1e-3, schedule="cosine"),
)
