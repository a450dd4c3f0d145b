"""The handwritten digits that come with scikit-learn: 1,797 images, 8×8 (UCI, Alpaydin and Kaynak)."""

from __future__ import annotations

import functools
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from bench.errors import DataError
from models.base import Data, Dataset
from models.datasets.contents import check_contents, frozen_split, recipe_digest, stratified
from models.datasets.formats import read_table

CONTENTS = (
    "a4ad5b94490959f4c826e9178fc211196aa379d5267de34a9d676b3f312ce115"  # x (1797, 64) and y (1797,) as uint8
)
SIZES = (1079, 359, 359)
NEEDS = "scikit-learn is not installed (uv sync --extra train, or pip install scikit-learn)"


@functools.cache
def _load() -> Data:
    from importlib.metadata import version

    spec = find_spec("sklearn")
    if spec is None or not spec.origin:
        raise DataError(f"the digits data set comes with scikit-learn; {NEEDS}")
    # Its file, read without importing scikit-learn: that import takes longer than training.
    path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = read_table(path, (1797, 65))
    source = f"scikit-learn {version('scikit-learn')}"
    check_contents("scikit-learn's digits", str(path), CONTENTS, table[:, :-1], table[:, -1])
    y = table[:, -1]
    x = table[:, :-1] / np.float32(16)
    train, validation, test = (frozen_split(x[part], y[part]) for part in stratified(y, SIZES))
    return Data(train, validation, test, source)


class Digits(Dataset):
    """x (n, 64) in [0, 1]; 1,079 train, 359 validation, 359 test, stratified."""

    name = "digits"
    digest = recipe_digest(CONTENTS, f"x/16; stratified {SIZES}, seed 0; version 1")
    input_shape = (64,)
    classes = tuple("0123456789")

    def load(self) -> Data:
        return _load()

    def unavailable(self) -> str | None:
        return None if find_spec("sklearn") else NEEDS
