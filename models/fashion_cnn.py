"""Two convolution blocks with fewer than 100,000 parameters, on Fashion-MNIST."""

from __future__ import annotations

from models.base import Budget, Model
from models.networks import cnn

SHAPE = (28, 28, 1)
MODEL = Model(
    name="fashion_cnn",
    summary="CNN with two blocks (16, 32 filters) and Dense 48 on Fashion-MNIST",
    dataset="fashion_mnist",
    networks={
        "reference": cnn(SHAPE, (16, 32), (48,), 10, padding="same", dropout=0.2),
        "student": cnn(SHAPE, (8, 16), (32,), 10, padding="same"),
    },
    budget=Budget(epochs=12, batch_size=128, learning_rate=3e-3, schedule="cosine"),
    finetune=Budget(epochs=12, batch_size=128, learning_rate=6e-3, schedule="cosine"),
    kind="cnn",
)
