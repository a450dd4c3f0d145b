"""LHC jets: 830,000 simulated jets, 16 observables, 5 kinds (OpenML 42468, hls4ml_lhc_jets_hlf).

Also the same shape generated, for machines where the real data cannot be had.
"""

from __future__ import annotations

import functools

import numpy as np

from models.base import Data, Dataset
from models.datasets import files
from models.datasets.arff import read_arff
from models.datasets.contents import check_contents, contents_digest, frozen_split, recipe_digest, stratified
from models.datasets.pins import pinned

FEATURES = (
    *("zlogz", "c1_b0_mmdt", "c1_b1_mmdt", "c1_b2_mmdt", "c2_b1_mmdt", "c2_b2_mmdt", "d2_b1_mmdt"),
    *("d2_b2_mmdt", "d2_a1_b1_mmdt", "d2_a1_b2_mmdt", "m2_b1_mmdt", "m2_b2_mmdt", "n2_b1_mmdt"),
    *("n2_b2_mmdt", "mass_mmdt", "multiplicity"),
)
CLASSES = ("g", "q", "t", "w", "z")
ROWS = 830_000
FILES = files.FileSet(
    "the LHC jets data set (OpenML 42468, hls4ml_lhc_jets_hlf)",
    (
        files.RemoteFile(
            "hls4ml_lhc_jets_hlf.arff",
            "https://www.openml.org/api/v1/json/data/42468",
            "",
            1_000_000_000,
            openml=True,
        ),
    ),
    subfolder="jets",
)
# sha256 of x float64 (830000, 16) and y uint8 (830000,) in the file's order. OpenML publishes an md5
# of its file only. None: what has these columns, classes and rows is trusted on first use, pinned on
# this machine and held against that from then on; `Data.source` tells the digest.
CONTENTS: str | None = None
RECIPE = (
    "test 20 %, seed 42; validation 10 % of train, stratified, seed 0; standard scaling of train; version 1"
)


def split(x: np.ndarray, y: np.ndarray, source: str) -> Data:
    """The hls4ml tutorial's test set (20 %, seed 42), and every column scaled as in the train split.

    Args:
        x: float64 (n, 16), y: class indices (n,).
    """
    # What scikit-learn's train_test_split(test_size=0.2, random_state=42) does.
    order = np.random.RandomState(42).permutation(len(y))
    tests = -(-len(y) // 5)
    test, rest = order[:tests], order[tests:]
    size = len(rest) // 10
    train, validation = (rest[part] for part in stratified(y[rest], (len(rest) - size, size)))
    mean, deviation = x[train].mean(axis=0), x[train].std(axis=0)
    scaled = (x - mean) / np.where(deviation > 0, deviation, 1.0)
    parts = [frozen_split(scaled[part], y[part]) for part in (train, validation, test)]
    return Data(parts[0], parts[1], parts[2], source)


@functools.cache
def _load() -> Data:
    found = files.locate(FILES)
    path = found.paths[FILES.files[0].name]
    x, y = read_arff(path, FEATURES, CLASSES, ROWS)
    if CONTENTS is not None:
        check_contents(FILES.title, found.where, CONTENTS, x, y)
        return split(x, y, found.source)
    digest = contents_digest(x, y)
    kept = pinned(FILES.title, files.cache_folder() / FILES.subfolder, digest, found.where)
    how = "pinned on first use" if kept else "not pinned: the cache cannot be written"
    return split(x, y, f"{found.source}, contents sha256 {digest} ({how})")


class Jets(Dataset):
    """x (n, 16) with mean 0 and deviation 1; 597,600 train, 66,400 validation, 166,000 test."""

    name = "jets"
    digest = recipe_digest(CONTENTS or "OpenML 42468, contents not pinned", RECIPE)
    input_shape = (16,)
    classes = CLASSES

    def load(self) -> Data:
        return _load()

    def unavailable(self) -> str | None:
        return files.unavailable(FILES)


@functools.cache
def _generate(rows: int) -> Data:
    random = np.random.RandomState(0)
    y = random.randint(len(CLASSES), size=rows)
    # Overlapping clouds on curved surfaces: linear models do badly, small networks well but not
    # perfectly, as with the real jets.
    centres = 1.2 * random.normal(size=(len(CLASSES), 6))
    hidden = centres[y] + random.normal(size=(rows, 6))
    mixed = np.tanh(hidden @ random.normal(size=(6, 16)) / 2) + 0.3 * (hidden**2) @ random.normal(
        size=(6, 16)
    )
    return split(mixed + 0.5 * random.normal(size=mixed.shape), y, "generated, seed 0")


class JetsGenerated(Dataset):
    """Not jets: 50,000 generated items in the shape of the jets, for trying things without the data."""

    name = "jets_generated"
    digest = recipe_digest("generated: 50000 items, 5 clouds, 6 dimensions, seed 0; version 1", RECIPE)
    input_shape = (16,)
    classes = CLASSES
    real = False

    def load(self) -> Data:
        return _generate(50_000)

    def unavailable(self) -> str | None:
        return None
