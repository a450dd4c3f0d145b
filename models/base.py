"""What a reference model and a data set are. Importable without TensorFlow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True)
class Split:
    """x: float32 (n, *input_shape), already preprocessed; y: int64 (n,) class indices."""

    x: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Data:
    """Fixed splits of a data set; `source` says where it was found."""

    train: Split
    validation: Split
    test: Split
    source: str


class Dataset(ABC):
    """A data set with fixed splits.

    Attributes:
        digest: sha256 of the contents, known beforehand (part of every key that depends on it).
        real: False for generated data; reports say so.
    """

    name: str
    digest: str
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    real: bool = True

    @abstractmethod
    def load(self) -> Data:
        """Read it, from the first source that has it.

        Raises:
            DataError: no source has it (names the file and the ways to get it), or what was found
                is not the data set.
        """

    @abstractmethod
    def unavailable(self) -> str | None:
        """Why it cannot be had here, or None. Looks for files, loads nothing, downloads nothing."""


@dataclass(frozen=True)
class Budget:
    """A fixed training budget. Optimizer is Adam.

    Attributes:
        schedule: learning rate over the steps.
        label_smoothing, dropout and the like belong to the network, not here.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: Literal["constant", "cosine"] = "constant"
    patience: int | None = None


@dataclass(frozen=True)
class Model:
    """Reference architecture + data set + metric + fixed budgets.

    Attributes:
        networks: name -> function that builds an untrained tf_keras model which gives logits
            (n, classes). `reference` and `student` (smaller than its teacher) always exist.
        teacher: the network whose trained form teaches the student (`reference` or another).
        budget: training from scratch.
        budgets: training from scratch of single networks, where it is not `budget`: one for each
            network, whether it learns alone or from a teacher.
        finetune: each fine-tuning stage (prune, qat, qap, cluster, baseline_longer).
        kernels: the layer kinds, for readers (`mlp`, `cnn`).
    """

    name: str
    summary: str
    dataset: str
    networks: Mapping[str, Callable[[], Any]]
    budget: Budget
    finetune: Budget
    teacher: str = "reference"
    metric: str = "accuracy"
    kind: Literal["mlp", "cnn"] = "mlp"
    budgets: Mapping[str, Budget] = field(default_factory=dict)

    def budget_of(self, network: str) -> Budget:
        """Budget of training `network` from scratch."""
        return self.budgets.get(network, self.budget)
