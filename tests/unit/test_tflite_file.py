"""Reading .tflite files without running them: known numbers, real files, hostile files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.errors import ArtifactError
from bench.formats.tflite import TfliteFile
from bench.formats.tflite_reader import _measure, inspect, inspect_bytes
from tests.tflite_maker import dense, weights

pytest.importorskip("ai_edge_litert")


def test_float_file() -> None:
    content = dense()
    file = inspect_bytes(content)
    kernel, bias = weights()
    assert file.file_bytes == len(content)
    assert file.ops == {"FULLY_CONNECTED": 1}
    assert [tensor.name for tensor in file.inputs] == ["x"]
    assert file.inputs[0].shape == (1, 8)
    assert [tensor.shape for tensor in file.outputs] == [(1, 3)]
    assert file.description == "hand made"
    (found,) = file.kernels
    assert (found.dtype, found.shape, found.bytes, found.scales) == ("float32", (3, 8), 96, ())
    assert found.sparsity == pytest.approx(np.mean(kernel == 0))
    assert found.unique == len(np.unique(kernel))
    facts = file.facts()
    assert facts["params"] == kernel.size + bias.size
    assert facts["params_nonzero"] == np.count_nonzero(kernel) + np.count_nonzero(bias)
    assert facts["sparsity"] == pytest.approx(np.mean(kernel == 0))
    assert facts["bytes_by_dtype"] == {"float32": 108}
    assert facts["payload_bits"] == 27 * 32
    assert facts["overhead_bytes"] == len(content) - 108
    assert (facts["int8_share"], facts["scales"]) == (0.0, 0)


def test_int8_file() -> None:
    file = inspect_bytes(dense("int8"))
    facts = file.facts()
    assert facts["bytes_by_dtype"] == {"int32": 12, "int8": 24}
    assert facts["payload_bits"] == 24 * 8 + 3 * 32
    assert facts["int8_share"] == 1.0
    assert facts["scales"] == 4
    assert facts["input_dtype"] == facts["output_dtype"] == ["int8"]
    assert facts["activation_dtypes"] == ["int8"]
    assert file.inputs[0].scales == pytest.approx((0.1,))
    assert file.inputs[0].zero_points == (-3,)
    assert [tensor.role for tensor in file.parameters] == ["kernel", "bias"]


def test_facts_are_json() -> None:
    import json

    facts = inspect_bytes(dense("int8")).facts()
    assert json.loads(json.dumps(facts)) == facts


def test_distinct_values_are_counted_by_channel() -> None:
    values = np.array([[1, 1, 2, 2], [3, 4, 5, 5]], np.int8)
    data = values.view(np.uint8).ravel()
    assert _measure(data, "int8", (2, 4), -1, False) == (8, 5, 5)
    assert _measure(data, "int8", (2, 4), 0, False) == (8, 5, 3)
    assert _measure(data, "int8", (2, 4), 1, False) == (8, 5, 2)


def test_four_bit_values_are_counted_one_by_one() -> None:
    data = np.array([0x10, 0x02], np.uint8)  # 0, 1, 2 and a nibble of padding
    assert _measure(data, "int4", (3,), -1, False) == (2, 3, 3)


@pytest.mark.parametrize(
    ("name", "constants", "scales", "ops"),
    [
        ("kws_ref_model", 24_376, 1168, {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 4, "SOFTMAX": 1}),
        ("pretrainedResnet", 310_832, 0, {"CONV_2D": 9, "ADD": 3}),
        ("pretrainedResnet_quant", 78_752, 691, {"CONV_2D": 9, "ADD": 3}),
    ],
)
def test_mlperf_tiny_files(
    data_dir: Path, name: str, constants: int, scales: int, ops: dict[str, int]
) -> None:
    file = inspect(data_dir / "mlperf-tiny" / f"{name}.tflite")
    assert (file.constant_bytes, file.scales) == (constants, scales)
    assert ops.items() <= file.ops.items()
    assert file.kernel_share("int8") == (0.0 if name == "pretrainedResnet" else 1.0)


def test_a_folder_stands_for_its_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"model\.tflite: no such file"):
        inspect(tmp_path)
    (tmp_path / "model.tflite").write_bytes(dense())
    assert inspect(tmp_path).ops == {"FULLY_CONNECTED": 1}


@pytest.mark.parametrize(
    "content", [b"", b"TFL3", b"PK\x03\x04" + b"\0" * 100, b"\0" * 4 + b"TFL2" + b"\0" * 40]
)
def test_foreign_files(content: bytes) -> None:
    with pytest.raises(ArtifactError, match="not a TFLite file"):
        inspect_bytes(content)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_every_truncation_is_refused(dtype: str) -> None:
    content = dense(dtype)
    for n in range(len(content)):
        with pytest.raises(ArtifactError):
            inspect_bytes(content[:n])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"operator_input": 99}, "an index"),
        ({"operator_input": -7}, "an index"),
        ({"inputs": [17]}, "an index"),
        ({"inputs": []}, "inputs and outputs"),
        ({"buffer": 50}, "buffer 50 of 3"),
        ({"shape": (3, 9)}, r"\(3, 9\)\) has 96 bytes"),
        ({"shape": (1,) * 17}, "17 dimensions"),
    ],
)
def test_contents_that_contradict_themselves(change: dict[str, object], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        inspect_bytes(dense(**change))


def test_a_list_that_is_longer_than_the_file_is_not_walked() -> None:
    content = bytearray(dense())
    found = 0
    for place in range(8, len(content) - 4, 4):
        kept = content[place : place + 4]
        content[place : place + 4] = (0x7FFFFFFF).to_bytes(4, "little")
        try:
            inspect_bytes(bytes(content))
        except ArtifactError:
            found += 1
        content[place : place + 4] = kept
    assert found > 20


def read_or_refuse(content: bytes) -> TfliteFile | None:
    try:
        return inspect_bytes(content)
    except ArtifactError:
        return None


@settings(max_examples=150)
@given(st.binary(max_size=400))
def test_random_bytes(content: bytes) -> None:
    assert read_or_refuse(content) is None
    assert read_or_refuse(content[:4] + b"TFL3" + content[4:]) is None


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(8, 703), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6))
@example([(229, b"\x00\x00\x00\x00")])  # an operator without outputs
def test_changed_bytes_are_read_or_refused(changes: list[tuple[int, bytes]]) -> None:
    content = bytearray(dense("int8"))
    for place, piece in changes:
        content[place : place + len(piece)] = piece
    file = read_or_refuse(bytes(content))
    assert file is None or file.facts()["params"] >= 0


def test_no_tensorflow_is_imported(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(dense())
    code = (
        "import sys; from pathlib import Path; from targets.tflite import Tflite;"
        "from bench.formats.tflite_reader import inspect;"
        "path = Path(sys.argv[1]); inspect(path); Tflite().open(path).invoke();"
        "sys.exit('tensorflow' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, check=False).returncode == 0
