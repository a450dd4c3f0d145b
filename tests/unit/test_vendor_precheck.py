"""What cannot be built is told before hours of synthesis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.errors import ArtifactError
from targets.fpga.vendor.precheck import estimate
from tests import vendor


@pytest.mark.parametrize(
    ("design", "multipliers", "unrolled"),
    [
        ({}, 80, 80),
        ({"zeros": 30}, 50, 80),
        ({"reuse": 8}, 10, 80),
        ({"reuse": 8, "zeros": 30}, 10, 80),
        ({"strategy": "resource", "reuse": 8}, 10, 10),
        ({"strategy": "resource", "reuse": 8, "zeros": 30}, 10, 10),
    ],
)
def test_zeros_count_out_only_where_products_are_constants(
    design: dict[str, Any], multipliers: int, unrolled: int, tmp_path: Path
) -> None:
    (layer,) = estimate(vendor.project(tmp_path, **design)).layers
    assert (layer.name, layer.products) == ("dense_1", 80)
    assert (layer.multipliers, layer.unrolled) == (multipliers, unrolled)


def test_ebops_of_constants_count_used_bits(tmp_path: Path) -> None:
    # 0.25 has one bit that is set; inputs have six.
    assert estimate(vendor.project(tmp_path / "a")).ebops == 80 * 6 * 1
    # Shared multipliers are as wide as the weights' type, and a DSP slice does at most 55 LUT's worth.
    assert estimate(vendor.project(tmp_path / "b", reuse=8)).ebops == 10 * 36
    assert estimate(vendor.project(tmp_path / "c", reuse=8, bits=16)).ebops == 10 * 55


def test_unrolling_beyond_the_limit_says_what_to_change(tmp_path: Path) -> None:
    found = estimate(vendor.project(tmp_path, n_in=784, n_out=64)).refusals()
    assert "50,176 multiplications, the tool's limit is 4,096" in found[0]
    assert "reuse factor of 13 or more" in found[0]


def test_too_large_for_the_device(tmp_path: Path) -> None:
    design: dict[str, Any] = {"n_in": 63, "n_out": 65, "bits": 16, "reuse": 1, "strategy": "resource"}
    small = estimate(vendor.project(tmp_path / "a", **design))
    assert "xc7z020 has 65,300 (53,200 LUT, 220 DSP)" in small.refusals()[0]
    large = estimate(vendor.project(tmp_path / "b", part="xczu9eg-ffvb1156-2-e", **design))
    assert large.refusals() == []


def test_an_unknown_part_is_judged_by_unrolling_alone(tmp_path: Path) -> None:
    found = estimate(vendor.project(tmp_path, part="xcvu13p-flga2577-2-e", n_in=64, n_out=64, bits=16))
    assert found.capacity is None and found.refusals() == []


def test_what_is_no_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not a project"):
        estimate(tmp_path)
    vendor.project(tmp_path)
    (tmp_path / "firmware" / "parameters.h").unlink()
    with pytest.raises(ArtifactError, match="not a project"):
        estimate(tmp_path)


def test_an_array_split_into_too_many_elements(tmp_path: Path) -> None:
    project = vendor.project(tmp_path)
    with (project / "firmware" / "network.cpp").open("a") as stream:
        stream.write(
            "layer2_t layer2_out[26*26*16];\n#pragma HLS ARRAY_PARTITION variable=layer2_out complete\n"
        )
    found = estimate(project).refusals()
    assert "array 'layer2_out' of 10,816 elements" in found[0] and "io_stream" in found[0]
