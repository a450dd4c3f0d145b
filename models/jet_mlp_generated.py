"""The jet tagger's network on generated data of the jets' shape, where the real data cannot be had."""

from __future__ import annotations

from dataclasses import replace

from models import jet_mlp

MODEL = replace(
    jet_mlp.MODEL,
    name="jet_mlp_generated",
    summary="MLP 16-64-32-32-5 on generated data of the jets' shape (no jets)",
    dataset="jets_generated",
)
