"""MNIST: 70,000 handwritten digits, 28×28 (LeCun, Cortes, Burges), and the digits 1 and 9 of it."""

from __future__ import annotations

import functools

import numpy as np

from models.base import Data, Dataset
from models.datasets import files
from models.datasets.contents import check_contents, flattened, pixels, recipe_digest, stratified
from models.datasets.formats import read_npz

FILES = files.FileSet(
    "MNIST",
    (
        files.RemoteFile(
            "mnist.npz",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
            "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
            20_000_000,
        ),
    ),
    subfolder="mnist",
)
SHAPES = {"x_train": (60000, 28, 28), "y_train": (60000,), "x_test": (10000, 28, 28), "y_test": (10000,)}
# The uint8 arrays x_train, y_train, x_test, y_test in the original order. With idx headers put
# back they have the md5 sums of the original files (6bbc9ace…, a25bea73…, 2646ac64…, 27ae3e4e…).
CONTENTS = "b24b06c7f82492e214276c2737bd1c19b067ff2fe97fe31e21e38ce0cb76fc42"
VALIDATION = 5000
RECIPE = f"x/255; validation: {VALIDATION} of train, stratified, seed 0; version 1"


@functools.cache
def _arrays() -> tuple[dict[str, np.ndarray], str]:
    found = files.locate(FILES)
    arrays = read_npz(found.paths["mnist.npz"], SHAPES)
    check_contents("MNIST", found.where, CONTENTS, *arrays.values())
    return arrays, found.source


@functools.cache
def _images() -> Data:
    arrays, source = _arrays()
    x, y = arrays["x_train"], arrays["y_train"]
    train, validation = stratified(y, (len(y) - VALIDATION, VALIDATION))
    test = pixels(arrays["x_test"], arrays["y_test"])
    return Data(pixels(x[train], y[train]), pixels(x[validation], y[validation]), test, source)


@functools.cache
def _one_and_nine() -> Data:
    arrays, source = _arrays()
    parts = {}
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        chosen = (y == 1) | (y == 9)
        parts[part] = x[chosen], (y[chosen] == 9).astype(np.int64)
    x, y = parts["train"]
    size = 1000
    train, validation = stratified(y, (len(y) - size, size))
    return flattened(
        Data(pixels(x[train], y[train]), pixels(x[validation], y[validation]), pixels(*parts["test"]), source)
    )


class Mnist(Dataset):
    """x (n, 28, 28, 1) in [0, 1]; 55,000 train, 5,000 validation, 10,000 test."""

    name = "mnist"
    digest = recipe_digest(CONTENTS, RECIPE)
    input_shape: tuple[int, ...] = (28, 28, 1)
    classes: tuple[str, ...] = tuple("0123456789")

    def load(self) -> Data:
        return _images()

    def unavailable(self) -> str | None:
        return files.unavailable(FILES)


class MnistFlat(Mnist):
    """The same splits, x (n, 784)."""

    name = "mnist_flat"
    digest = recipe_digest(Mnist.digest, "flat")
    input_shape = (784,)

    def load(self) -> Data:
        return flattened(_images())


class Mnist1v9(Mnist):
    """The digits 1 (class 0) and 9 (class 1), x (n, 784); 11,691 train, 1,000 validation, 2,144 test."""

    name = "mnist_1v9"
    digest = recipe_digest(CONTENTS, "1 and 9; x/255; flat; validation: 1000, stratified, seed 0; version 1")
    input_shape = (784,)
    classes = ("1", "9")

    def load(self) -> Data:
        return _one_and_nine()
