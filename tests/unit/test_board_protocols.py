"""The presets are those that the documentation names."""

from __future__ import annotations

import pytest

from bench.errors import ArtifactError
from targets.pynq.exchange.protocols import PRESETS, protocol


def test_full_and_mlperf_rest_on_enough_calls() -> None:
    for preset in ("full", "mlperf"):
        found = protocol(preset)
        assert found["calls"] >= 5000 and found["warmup_calls"] >= 200
        assert found["windows"] == 5 and found["window_seconds"] >= 10
    assert protocol("full")["batches"][0] == 1 and len(protocol("full")["batches"]) > 4
    assert set(PRESETS) == {"full", "quick", "mlperf"}
    assert protocol("quick")["calls"] < 1000


def test_changes_and_names_that_are_none() -> None:
    assert protocol("quick", calls=7) == {**protocol("quick"), "calls": 7}
    with pytest.raises(ArtifactError, match="no protocol 'fast'"):
        protocol("fast")
