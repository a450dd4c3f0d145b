"""The lecture's network for its pruning and quantization demos, on Fashion-MNIST."""

from __future__ import annotations

from models.base import Budget, Model
from models.networks import cnn, mlp

MODEL = Model(
    name="fashion_mlp",
    summary="MLP 784-256-64-32-10 on Fashion-MNIST",
    dataset="fashion_mnist_flat",
    networks={
        "reference": mlp(784, (256, 64, 32), 10),
        "student": mlp(784, (128, 32), 10),
        # A network as good as the student alone has nothing to teach it: the teacher is a CNN.
        "cnn": cnn((28, 28, 1), (16, 32), (96,), 10, padding="same", dropout=0.2, flat=True),
    },
    teacher="cnn",
    budget=Budget(epochs=12, batch_size=128, learning_rate=2e-3, schedule="cosine"),
    budgets={
        "student": Budget(epochs=50, batch_size=128, learning_rate=3e-3, schedule="cosine"),
        "cnn": Budget(epochs=10, batch_size=128, learning_rate=3e-3, schedule="cosine"),
    },
    finetune=Budget(epochs=6, batch_size=128, learning_rate=1e-3, schedule="cosine"),
)
