"""Data sets: fixed contents and splits, whatever file they come from, and no wrong file ever accepted."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.core.registry import DATASETS
from bench.errors import DataError
from models.base import Data, Dataset
from models.datasets import digits, fashion_mnist, jets, mnist
from models.datasets.contents import check_contents, contents_digest, stratified

# sha256 over train, validation and test (x, then y) as the networks get them. A change here is a
# change of the data set: raise the version in its recipe, so that old results are not reused.
SPLITS = {
    "digits": "9b35adc41c8c37519a898f6d1e97fc22bfb7263d92731aa5e8b55ade4625c83d",
    "mnist": "59b2f16faef77643c41c28d426477d7208240d696a12547f674578acf939c816",
    "mnist_flat": "315b9a2df5c7ba7803ed1083cddcbeeb4ac344fad77bf7436d903692b3f12f01",
    "mnist_1v9": "7f9d03744cd641e822dfa952f002b209db77720e162819faf1d2cff868dd3943",
    "fashion_mnist": "d8d339bda35fcd0882a990b07fd247a20e66f84e816dd9b8e8feab68f415ebe9",
    "fashion_mnist_flat": "805a4bdbc75b8ff50e5e7e5fca88b57bd74d324ca9e4ed684c5dcb47b651a0af",
    "jets_generated": "57996cc599b29cfe8dad490ffd8f70edd173f1915c49a93ded51767263a90025",
}
SIZES = {
    "digits": (1079, 359, 359),
    "mnist": (55000, 5000, 10000),
    "mnist_flat": (55000, 5000, 10000),
    "mnist_1v9": (11691, 1000, 2144),
    "fashion_mnist": (55000, 5000, 10000),
    "fashion_mnist_flat": (55000, 5000, 10000),
    "jets_generated": (36000, 4000, 10000),
}


@pytest.fixture
def forget() -> Iterator[None]:
    """Loaded data are kept for the whole process; tests that change the sources must not see them."""
    kept = (
        digits._load,
        mnist._arrays,
        mnist._images,
        mnist._one_and_nine,
        fashion_mnist._images,
        jets._load,
    )
    for function in kept:
        function.cache_clear()
    yield
    for function in kept:
        function.cache_clear()


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: None) -> Path:
    """A machine without any data; the folder is BENCH_DATA_DIR."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("BENCH_DATA_DIR", str(folder))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCH_OFFLINE", "1")
    return folder


def loaded(name: str) -> tuple[Dataset, Data]:
    dataset = DATASETS.get(name)
    try:
        return dataset, dataset.load()
    except DataError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", sorted(SPLITS))
def test_splits_are_the_published_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_OFFLINE", "1")
    dataset, data = loaded(name)
    splits = (data.train, data.validation, data.test)
    assert tuple(map(len, splits)) == SIZES[name]
    for split in splits:
        assert split.x.shape == (len(split), *dataset.input_shape)
        assert (split.x.dtype, split.y.dtype) == (np.float32, np.int64)
        assert set(np.unique(split.y)) == set(range(len(dataset.classes)))
        assert not split.x.flags.writeable and not split.y.flags.writeable
    assert data.train.x.max() == 1 or not dataset.real
    assert data.train.x.min() == 0 or not dataset.real
    assert contents_digest(*(array for split in splits for array in (split.x, split.y))) == SPLITS[name]


def test_one_against_nine() -> None:
    _, data = loaded("mnist_1v9")
    assert np.bincount(data.test.y).tolist() == [1135, 1009]


def test_loaded_once_per_process() -> None:
    dataset, data = loaded("digits")
    assert dataset.load() is data
    assert "/" not in data.source  # sources go into records, which leave this machine


def test_every_data_set_has_its_own_digest() -> None:
    digests = [DATASETS.get(name).digest for name in DATASETS.names() if name in SPLITS or name == "jets"]
    assert len(set(digests)) == len(SPLITS) + 1
    assert all(len(digest) == 64 for digest in digests)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_stratified_parts_are_disjoint_and_proportional(seed: int) -> None:
    y = np.random.RandomState(seed).choice(5, size=997, p=[0.5, 0.3, 0.1, 0.07, 0.03])
    sizes = (600, 197, 200)
    parts = stratified(y, sizes, seed)
    assert tuple(map(len, parts)) == sizes
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(997))
    for part in parts:
        expected = np.bincount(y) * len(part) / len(y)
        assert np.abs(np.bincount(y[part], minlength=5) - expected).max() <= 2
    other = stratified(y, sizes, seed + 1)
    assert not np.array_equal(parts[0], other[0])
    with pytest.raises(ValueError, match="add up"):
        stratified(y, (600, 200))


def test_digest_sees_values_shapes_and_types_but_not_layout() -> None:
    a = np.arange(6, dtype=np.int32).reshape(2, 3)
    digest = contents_digest(a)
    assert digest == contents_digest(np.asfortranarray(a)) == contents_digest(a.astype(">i4"))
    others = (a.reshape(3, 2), a.astype(np.int64), a + 1)
    assert digest not in {contents_digest(other) for other in others}
    with pytest.raises(DataError, match=r"(?s)place: this is not Things.*expected"):
        check_contents("Things", "place", "0" * 64, a)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "mnist.npz"),
        ("mnist_1v9", "mnist.npz"),
        ("fashion_mnist", "t10k-images-idx3-ubyte.gz"),
        ("jets", "hls4ml_lhc_jets_hlf.arff"),
    ],
)
def test_nothing_found_names_the_file_and_four_ways(name: str, file: str, nothing: Path) -> None:
    dataset = DATASETS.get(name)
    if "fashion" in name and fashion_mnist.FILES.system[0].is_dir():
        pytest.skip("the system package is installed here")
    with pytest.raises(DataError) as caught:
        dataset.load()
    message = str(caught.value)
    for part in (file, "BENCH_DATA_DIR", "system package", "Keras cache", "https://", "BENCH_OFFLINE"):
        assert part in message
    reason = dataset.unavailable()
    assert reason is not None and file in reason and "\n" not in reason


def test_available_when_a_download_may_be_tried(nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_OFFLINE", "0")
    assert DATASETS.get("mnist").unavailable() is None


def test_other_arrays_under_the_right_name_are_refused(nothing: Path) -> None:
    arrays = {name: np.zeros(shape, np.uint8) for name, shape in mnist.SHAPES.items()}
    np.savez(nothing / "mnist.npz", **arrays)
    with pytest.raises(DataError, match="this is not MNIST"):
        DATASETS.get("mnist").load()


def test_fashion_mnist_other_contents_refused(nothing: Path) -> None:
    folder = nothing / "fashion-mnist"
    folder.mkdir()
    for name, shape in fashion_mnist.SHAPES.items():
        header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
        plain = folder / name.removesuffix(".gz")
        plain.write_bytes(header + bytes(int(np.prod(shape))))
    with pytest.raises(DataError, match="this is not Fashion-MNIST"):
        DATASETS.get("fashion_mnist").load()


def test_digits_without_scikit_learn(monkeypatch: pytest.MonkeyPatch, forget: None) -> None:
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    reason = digits.Digits().unavailable()
    assert reason is not None and "scikit-learn" in reason
    with pytest.raises(DataError, match="scikit-learn is not installed"):
        digits.Digits().load()


def test_digits_that_are_not_the_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: None
) -> None:
    folder = tmp_path / "datasets" / "data"
    folder.mkdir(parents=True)
    with gzip.open(folder / "digits.csv.gz", "wt") as file:
        file.write(("0," * 64 + "1\n") * 1797)

    class Spec:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr(digits, "find_spec", lambda name: Spec)
    with pytest.raises(DataError, match="this is not scikit-learn's digits"):
        digits.Digits().load()


def jets_file(folder: Path, rows: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(3)
    x, y = random.normal(size=(rows, 16)), random.randint(5, size=rows)
    header = [f"@ATTRIBUTE {name} REAL" for name in jets.FEATURES] + ["@ATTRIBUTE class {g, q, t, w, z}"]
    lines = [
        ",".join(map(repr, row.tolist())) + f",{jets.CLASSES[label]}" for row, label in zip(x, y, strict=True)
    ]
    text = "\n".join(["% comment", "@RELATION jets", *header, "@DATA", *lines])
    (folder / "hls4ml_lhc_jets_hlf.arff").write_text(text + "\n")
    return x, y.astype(np.uint8)


def test_jets_are_pinned_on_first_use(nothing: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(jets, "ROWS", 500)
    x, y = jets_file(nothing, 500)
    data = DATASETS.get("jets").load()
    assert (len(data.train), len(data.validation), len(data.test)) == (360, 40, 100)
    assert f"contents sha256 {contents_digest(x, y)} (pinned on first use)" in data.source
    jets._load.cache_clear()
    assert DATASETS.get("jets").load().source == data.source
    # Another file of the same form is not taken for it.
    path = nothing / "hls4ml_lhc_jets_hlf.arff"
    path.write_text(path.read_text().rpartition(",")[0] + (",g\n" if y[-1] else ",q\n"))
    jets._load.cache_clear()
    with pytest.raises(DataError, match=rf"(?s)arff: these are not .* first seen.*{contents_digest(x, y)}"):
        DATASETS.get("jets").load()
    (pin,) = (tmp_path / "cache").rglob("contents.sha256")
    pin.unlink()
    assert "pinned on first use" in DATASETS.get("jets").load().source
    pin.write_bytes(b"\xff\xff")
    jets._load.cache_clear()
    with pytest.raises(DataError, match="cannot be read"):
        DATASETS.get("jets").load()


def test_jets_say_where_they_could_not_be_pinned(
    nothing: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(jets, "ROWS", 500)
    jets_file(nothing, 500)
    (tmp_path / "cache").write_text("no folder")
    assert "not pinned: the cache cannot be written" in DATASETS.get("jets").load().source


def test_jets_with_a_pinned_digest(nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jets, "ROWS", 500)
    x, y = jets_file(nothing, 500)
    monkeypatch.setattr(jets, "CONTENTS", "0" * 64)
    with pytest.raises(DataError, match="this is not the LHC jets"):
        DATASETS.get("jets").load()
    monkeypatch.setattr(jets, "CONTENTS", contents_digest(x, y))
    assert DATASETS.get("jets").load().source == "$BENCH_DATA_DIR"


def test_jets_test_set_is_the_tutorials_and_scaling_knows_train_only() -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    random = np.random.RandomState(0)
    x, y = random.normal(5, 3, size=(1001, 16)), random.randint(5, size=1001)
    x[:, 3] = 7  # a constant column must not divide by zero
    data = jets.split(x, y, "here")
    rest, test, rest_y, test_y = selection.train_test_split(x, y, test_size=0.2, random_state=42)
    assert np.array_equal(data.test.y, test_y)
    assert len(data.train) + len(data.validation) == len(rest_y)
    assert np.allclose(data.train.x.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(np.delete(data.train.x.std(axis=0), 3), 1, atol=1e-5)
    # The same scaling for all: from two items of the test set the train split's moments follow.
    mean = test[0, 0] - data.test.x[0, 0] * (test[1, 0] - test[0, 0]) / (
        data.test.x[1, 0] - data.test.x[0, 0]
    )
    train = rest[stratified(rest_y, (len(rest_y) - len(data.validation), len(data.validation)))[0]]
    assert mean == pytest.approx(train[:, 0].mean(), abs=1e-4)


def test_generated_jets_say_that_they_are() -> None:
    assert DATASETS.get("jets_generated").real is False
    assert DATASETS.get("jets").real is True
