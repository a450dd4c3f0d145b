"""The jet tagger of the hls4ml tutorial (Duarte et al. 2018)."""

from __future__ import annotations

from models.base import Budget, Model
from models.networks import mlp

MODEL = Model(
    name="jet_mlp",
    summary="MLP 16-64-32-32-5 that tags LHC jets",
    dataset="jets",
    networks={"reference": mlp(16, (64, 32, 32), 5), "student": mlp(16, (16, 8), 5)},
    budget=Budget(epochs=10, batch_size=1024, learning_rate=3e-3, schedule="cosine"),
    finetune=Budget(epochs=4, batch_size=1024, learning_rate=1e-3, schedule="cosine"),
)
