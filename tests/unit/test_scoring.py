"""Size, accuracy and agreement against numbers worked out by hand."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.agreement import compare
from bench.core.packed import unpack
from bench.core.size import entropy_bits, file_sizes, gzip_bytes, payload_bits
from bench.errors import StepError
from bench.scoring.accuracy import evaluate
from models.base import Data, Split
from targets.base import Runner


class Fixed(Runner):
    """Gives logits that were made beforehand."""

    def __init__(self, logits: Any) -> None:
        self.logits = np.asarray(logits, np.float32)

    def describe(self) -> dict[str, Any]:
        return {"runtime": "fixed"}

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.logits

    def prepare(self, x: np.ndarray) -> None: ...

    def invoke(self) -> None: ...

    def end_to_end(self, x: np.ndarray) -> np.ndarray:
        return self.logits[:1]


def split(labels: list[int]) -> Split:
    return Split(np.zeros((len(labels), 2), np.float32), np.array(labels, np.int64))


LOGITS = [[2, 1, 0], [0, 3, 1], [0, 1, 5], [4, 0, 0]]


def test_evaluate_counts_by_hand() -> None:
    result = evaluate(Fixed(LOGITS), split([0, 1, 0, 2]))
    assert (result["n"], result["errors"], result["accuracy"]) == (4, 2, 0.5)
    assert result["confusion"] == [[1, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert unpack(result["predictions"]).tolist() == [0, 1, 2, 0]
    assert result["predictions"]["dtype"] == "uint8"
    assert unpack(result["correct"]).tolist() == [True, True, False, False]
    assert result["runtime"] == {"runtime": "fixed"}
    labels = np.array([0, 1, 0, 2], "<i8").tobytes()
    assert result["labels_sha256"] == hashlib.sha256(labels).hexdigest()


def test_evaluate_scores_the_test_split_of_data() -> None:
    wrong = split([0])
    data = Data(train=wrong, validation=wrong, test=split([0, 1, 2, 0]), source="made")
    assert evaluate(Fixed(LOGITS), data)["errors"] == 0


def test_confusion_counts_labels_that_never_occur() -> None:
    confusion = evaluate(Fixed(LOGITS), split([0, 0, 0, 0]))["confusion"]
    assert confusion == [[2, 1, 1], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_are_refused(bad: float) -> None:
    logits = np.array(LOGITS, np.float32)
    logits[2, 1] = bad
    with pytest.raises(StepError, match="first at input 2: outputs of 1 of 4"):
        evaluate(Fixed(logits), split([0, 1, 2, 0]))


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (LOGITS, [0, 1, 2], "shape"),
        ([[1], [2]], [0, 0], "two classes"),
        (LOGITS, [0, 1, 2, 3], "labels 0 to 3 do not fit 3 outputs"),
        (LOGITS, [0, -1, 2, 0], "labels -1"),
        (np.zeros((0, 3)), [], "empty"),
    ],
)
def test_what_cannot_be_scored_is_refused(logits: Any, labels: list[int], message: str) -> None:
    with pytest.raises(StepError, match=message):
        evaluate(Fixed(logits), split(labels))


def test_many_classes_are_packed_wider() -> None:
    logits = np.zeros((2, 300), np.float32)
    logits[0, 299] = logits[1, 3] = 1
    result = evaluate(Fixed(logits), split([299, 3]))
    assert unpack(result["predictions"]).tolist() == [299, 3]


def test_gzip_is_the_same_for_the_same_contents(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    one, two = tmp_path / "a", tmp_path / "a-much-longer-name.tflite"
    for file in (one, two):
        file.write_bytes(content)
    assert gzip_bytes(one) == gzip_bytes(two) == gzip_bytes(content)
    assert gzip_bytes(content) == len(gzip.compress(content, compresslevel=9, mtime=0))


def test_sizes_of_a_folder_are_those_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"22")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(b"1" * 10)
    assert file_sizes(tmp_path) == {"file_bytes": 12, "gzip_bytes": gzip_bytes(b"22" + b"1" * 10)}


def test_payload_bits_by_dtype() -> None:
    assert payload_bits({"int8": 10, "int4": 3, "float32": 2, "float16": 1}) == 80 + 12 + 64 + 16
    with pytest.raises(KeyError):
        payload_bits({"decimal": 1})


def test_entropy_of_known_distributions() -> None:
    assert entropy_bits(np.zeros(100)) == 0
    assert entropy_bits(np.arange(256)) == pytest.approx(256 * 8)
    assert entropy_bits(np.array([0, 0, 0, 1])) == pytest.approx(4 * 0.8112781244591328)
    assert entropy_bits(np.empty(0)) == 0


def test_agreement_by_hand() -> None:
    result = compare(np.array([[3.0, 0.0], [0.0, 4.0]]), np.array([[3.0, 0.0], [1.0, 0.0]]))
    assert (result.n, result.mismatches, result.bit_exact, result.max_abs_diff) == (2, 1, 1, 4.0)
    assert result.sqnr_db == pytest.approx(10 * np.log10(25 / 17))
    assert result.share == 0.5
    assert result.to_json()["mismatches"] == 1


def test_equal_outputs_have_no_noise() -> None:
    result = compare(np.ones((3, 2)), np.ones((3, 2)))
    assert (result.mismatches, result.bit_exact, result.sqnr_db) == (0, 3, None)


@pytest.mark.parametrize("other", [np.ones((2, 2)), np.ones((3, 3)), np.full((3, 2), np.nan)])
def test_outputs_that_cannot_be_compared(other: np.ndarray) -> None:
    with pytest.raises(StepError):
        compare(np.ones((3, 2)), other)
