"""Targets that misbehave in the process that measures them. `BENCH_PLUGINS=tests.timing_plugin`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from targets.base import Runner, Target, TargetOptions


class Options(TargetOptions):
    """Those of the real target."""

    threads: int = 1
    xnnpack: bool = True


class Odd(Runner):
    """Gives the input's mean as a logit and obeys the file's text: `abort`, `sleep`, `print`."""

    def __init__(self, what: str) -> None:
        self.what = what

    def describe(self) -> dict[str, Any]:
        return {"runtime": "odd", "version": "1", "input": {"shape": [1, 4]}}

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.stack([x.mean(axis=1), np.zeros(len(x))], axis=1)

    def prepare(self, x: np.ndarray) -> None:
        pass

    def invoke(self) -> None:
        if "abort" in self.what:
            os.abort()

    def end_to_end(self, x: np.ndarray) -> np.ndarray:
        return x


class OddTarget(Target):
    """Takes the place of `tflite`."""

    name: ClassVar[str] = "odd"
    format: ClassVar[str] = "odd"
    Options: ClassVar[type[TargetOptions]] = Options

    def unavailable(self) -> str | None:
        return None

    def open(self, artifact: Path, options: Any) -> Runner:
        what = artifact.read_text()
        if what == "sleep":
            time.sleep(60)
        if what == "abort at once":
            os.abort()
        if "print" in what:
            os.write(1, b"a runtime says hello\n")
            print("and again")
        return Odd(what)


def register(registries: Any) -> None:
    registries.TARGETS.add("odd", "tests.timing_plugin:OddTarget")
