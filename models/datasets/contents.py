"""What a data set's arrays must be, and how they become fixed splits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from bench.errors import DataError
from models.base import Data, Split


def contents_digest(*arrays: np.ndarray) -> str:
    """sha256 over types, shapes and values, independent of the file format they came in."""
    digest = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{little.dtype.str} {little.shape}\n".encode())
        digest.update(little.data)
    return digest.hexdigest()


def recipe_digest(contents: str, recipe: str) -> str:
    """Digest of a data set: what it is made of and how (selection, scaling, splits, version)."""
    return hashlib.sha256(f"{contents}\n{recipe}".encode()).hexdigest()


def check_contents(title: str, source: str, expected: str, *arrays: np.ndarray) -> None:
    """Raise a DataError unless the arrays are exactly those of the published data set."""
    found = contents_digest(*arrays)
    if found != expected:
        raise DataError(
            f"this is not {title}: sha256 of the arrays is {found}, expected {expected}",
            where=source,
            mend="Replace the files by the original ones.",
        )


def stratified(y: np.ndarray, sizes: Sequence[int], seed: int = 0) -> list[np.ndarray]:
    """Disjoint sorted index arrays of the given sizes, with the classes in the proportions of y.

    Args:
        y: class indices (n,).
        sizes: number of items of each part; their sum is n.
    """
    # RandomState, because its streams are frozen for ever; those of Generator are not.
    random = np.random.RandomState(seed)
    shuffled = random.permutation(len(y))
    # Position of each item within its class, as a fraction: cutting the items sorted by it gives
    # every part its share of every class, whatever the rounding.
    fraction = np.empty(len(y))
    for label in np.unique(y):
        members = shuffled[y[shuffled] == label]
        fraction[members] = (np.arange(len(members)) + random.uniform()) / len(members)
    order = np.argsort(fraction, kind="stable")
    if sum(sizes) != len(y):
        raise ValueError(f"sizes {list(sizes)} do not add up to {len(y)}")
    return [np.sort(part) for part in np.split(order, np.cumsum(sizes)[:-1])]


def frozen_split(x: np.ndarray, y: np.ndarray) -> Split:
    """float32/int64 arrays that cannot be written to: one copy serves a whole process."""
    x = np.ascontiguousarray(x, dtype=np.float32)
    y = np.ascontiguousarray(y, dtype=np.int64)
    x.flags.writeable = False
    y.flags.writeable = False
    return Split(x, y)


def pixels(images: np.ndarray, labels: np.ndarray) -> Split:
    """uint8 images (n, height, width) as float32 (n, height, width, 1) in [0, 1]."""
    return frozen_split(np.multiply(images, np.float32(1 / 255), dtype=np.float32)[..., None], labels)


def flattened(data: Data) -> Data:
    """The same splits with each x as one row; no copy."""

    def flat(split: Split) -> Split:
        return Split(split.x.reshape(len(split), -1), split.y)

    return Data(flat(data.train), flat(data.validation), flat(data.test), data.source)
