"""A small network on scikit-learn's digits: nothing to download, trained in seconds."""

from __future__ import annotations

from models.base import Budget, Model
from models.networks import mlp

MODEL = Model(
    name="digits_mlp",
    summary="MLP 64-64-32-10 on scikit-learn's 8×8 digits",
    dataset="digits",
    networks={"reference": mlp(64, (64, 32), 10), "student": mlp(64, (32, 16), 10)},
    budget=Budget(epochs=40, batch_size=32, learning_rate=4e-3, schedule="cosine"),
    finetune=Budget(epochs=30, batch_size=32, learning_rate=2e-3, schedule="cosine"),
)
