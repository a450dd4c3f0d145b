"""How boards measure: the presets of a job's protocol."""

from __future__ import annotations

from typing import Any

from bench.errors import ArtifactError

PRESETS: dict[str, dict[str, Any]] = {
    "full": {"warmup_calls": 200, "calls": 5000, "batches": [1, 2, 4, 8, 16, 32, 64, 128, 256]},
    "quick": {"warmup_calls": 20, "calls": 200, "batches": [1, 4, 16]},
    "mlperf": {"warmup_calls": 200, "calls": 5000, "batches": [1, 4, 16, 64]},
}


def protocol(preset: str = "full", **changes: Any) -> dict[str, Any]:
    """Protocol of a preset, with what is to be otherwise."""
    if preset not in PRESETS:
        raise ArtifactError(f"no protocol {preset!r}", mend=f"Known: {', '.join(PRESETS)}.")
    base = {"windows": 5, "window_seconds": 10.0, "timeout_seconds": 5.0}
    return {"preset": preset, **base, **PRESETS[preset], **changes}
