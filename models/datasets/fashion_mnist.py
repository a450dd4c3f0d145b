"""Fashion-MNIST: 70,000 pictures of clothes, 28×28 (Zalando, MIT licence)."""

from __future__ import annotations

import functools
from pathlib import Path

from models.base import Data, Dataset
from models.datasets import files
from models.datasets.contents import check_contents, flattened, pixels, recipe_digest, stratified
from models.datasets.formats import read_idx

URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
SHAPES = {
    "train-images-idx3-ubyte.gz": (60000, 28, 28),
    "train-labels-idx1-ubyte.gz": (60000,),
    "t10k-images-idx3-ubyte.gz": (10000, 28, 28),
    "t10k-labels-idx1-ubyte.gz": (10000,),
}
# Of the files as published (md5 sums in the data set's README); Debian's package compresses anew,
# so local files are judged by their contents alone.
SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
FILES = files.FileSet(
    "Fashion-MNIST",
    tuple(files.RemoteFile(name, URL + name, SHA256[name], 40_000_000) for name in SHAPES),
    subfolder="fashion-mnist",
    system=(Path("/usr/share/datasets/fashion-mnist"),),
    package="apt-get install dataset-fashion-mnist (Debian, Ubuntu)",
)
# The uint8 arrays of the four files in the order above. The idx files have the md5 sums
# f4a8712d…, 9018921c…, 8181f547…, 15d48437… uncompressed.
CONTENTS = "8035d6b6ebfa3a85bd76bc2f83dc22ffdf47ef3dfd72c2198af2457c730a6a99"
VALIDATION = 5000
RECIPE = f"x/255; validation: {VALIDATION} of train, stratified, seed 0; version 1"


@functools.cache
def _images() -> Data:
    found = files.locate(FILES)
    arrays = [read_idx(found.paths[name], shape) for name, shape in SHAPES.items()]
    check_contents("Fashion-MNIST", found.where, CONTENTS, *arrays)
    x, y, x_test, y_test = arrays
    train, validation = stratified(y, (len(y) - VALIDATION, VALIDATION))
    return Data(
        pixels(x[train], y[train]), pixels(x[validation], y[validation]), pixels(x_test, y_test), found.source
    )


class FashionMnist(Dataset):
    """x (n, 28, 28, 1) in [0, 1]; 55,000 train, 5,000 validation, 10,000 test."""

    name = "fashion_mnist"
    digest = recipe_digest(CONTENTS, RECIPE)
    input_shape: tuple[int, ...] = (28, 28, 1)
    classes = (
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )

    def load(self) -> Data:
        return _images()

    def unavailable(self) -> str | None:
        return files.unavailable(FILES)


class FashionMnistFlat(FashionMnist):
    """The same splits, x (n, 784)."""

    name = "fashion_mnist_flat"
    digest = recipe_digest(FashionMnist.digest, "flat")
    input_shape = (784,)

    def load(self) -> Data:
        return flattened(_images())
