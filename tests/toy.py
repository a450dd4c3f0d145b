"""A model, data set, steps and target that need NumPy only and take milliseconds.

They run the whole harness without TensorFlow. `activate` registers them here and, through
`$BENCH_PLUGINS`, in child processes. Every execution is a line in `$TOY_LOG`; steps named in the
file `$TOY_BROKEN` fail, so that a later run finds them mended.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import sys
import time
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from bench.core import registry
from bench.core.cells import CellSpec, Chain, Protocol, StepSpec, Sweep
from bench.core.step import Check, Step, StepContext, StepOutcome, StepParams
from bench.errors import StepError, Unavailable
from models.base import Budget, Data, Dataset, Model, Split
from targets.base import Runner, Target, TargetOptions

Fault = Literal[
    "",
    "error",
    "bug",
    "check",
    "crash",
    "exit",
    "hang",
    "memory",
    "full",
    "nan",
    "unavailable",
    "link",
    "empty",
]


class ToyData(Dataset):
    """Three blobs in four dimensions."""

    name, digest, real = "toy", "toy-blobs-1", False
    input_shape, classes = (4,), ("a", "b", "c")

    def load(self) -> Data:
        rng = np.random.default_rng(0)
        centres = rng.normal(size=(3, 4)) * 2

        def split(n: int) -> Split:
            y = rng.integers(0, 3, n)
            return Split((centres[y] + rng.normal(size=(n, 4))).astype(np.float32), y.astype(np.int64))

        return Data(split(120), split(60), split(90), source="generated")

    def unavailable(self) -> str | None:
        return os.environ.get("TOY_NO_DATA")


MODEL = Model(
    name="toy",
    summary="one dense layer",
    dataset="toy",
    networks={"reference": lambda: None, "student": lambda: None},
    budget=Budget(20, 120, 0.5),
    finetune=Budget(5, 120, 0.1),
)


def log(event: str, **what: Any) -> None:
    """One line in `$TOY_LOG`, in one write, so that lines of several processes do not mix."""
    if path := os.environ.get("TOY_LOG"):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        process = {
            "pid": os.getpid(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "tensorflow": "tensorflow" in sys.modules,
        }
        os.write(handle, json.dumps({"event": event, **process, **what}).encode() + b"\n")
        os.close(handle)


def executions(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class ToyParams(StepParams):
    fault: Fault = ""
    seconds: float = 0.0
    #: makes the same step give other files every time
    noise: bool = False


class TrainParams(ToyParams):
    epochs: int = 20


class PruneParams(ToyParams):
    sparsity: float = 0.5


class QuantizeParams(ToyParams):
    bits: int = 8


def weights(folder: Path) -> np.ndarray:
    array: np.ndarray = np.load(folder / "weights.npy", allow_pickle=False)
    return array


class ToyStep(Step):
    needs = ("numpy",)

    def run(self, context: StepContext) -> StepOutcome:
        params: ToyParams = context.params
        parent = context.parent.digest if context.parent else None
        what = {"step": self.name, "seed": context.seed, "params": params.model_dump(), "parent": parent}
        log("begin", **what)
        time.sleep(params.seconds)
        self._fault(params.fault, context)
        new = self.change(context)
        if params.noise:
            # Large enough to outlive rounding to float32, also in the weights that pruning keeps.
            new = new + np.random.default_rng().normal(0, 1e-3, new.shape)
        path = context.out / "weights.npy"
        if params.fault != "empty":
            np.save(path, new, allow_pickle=False)
        if params.fault == "link":
            (context.out / "link").symlink_to("/etc/hostname")
        facts = self.facts(path, new) if path.exists() else {}
        if params.fault == "nan":
            facts["loss"] = float("nan")
        log("end", **what)
        return StepOutcome(
            facts,
            (
                Check("finite", bool(np.isfinite(new).all()), "weights are finite"),
                Check("honest", params.fault != "check", "label is true"),
            ),
        )

    def change(self, context: StepContext) -> np.ndarray:
        raise NotImplementedError

    def facts(self, path: Path, new: np.ndarray) -> dict[str, Any]:
        nonzero = int(np.count_nonzero(new))
        raw = path.read_bytes()
        return {
            "params": new.size,
            "params_nonzero": nonzero,
            "sparsity": 1 - nonzero / new.size,
            "file_bytes": len(raw),
            "gzip_bytes": len(zlib.compress(raw, 9)),
            "payload_bits": new.size * 32,
        }

    def _fault(self, fault: str, context: StepContext) -> None:
        broken = Path(os.environ.get("TOY_BROKEN", os.devnull))
        if fault == "error" or (broken.is_file() and self.name in broken.read_text().split()):
            raise StepError("the toy is broken", mend="Mend it.")
        if fault == "bug":
            raise ZeroDivisionError("a bug in a step")
        if fault == "memory":
            raise MemoryError
        if fault == "full":
            raise OSError(errno.ENOSPC, "No space left on device", "model.keras")
        if fault == "unavailable":
            raise Unavailable("no toy shop is near")
        if fault == "hang":
            time.sleep(600)
        if fault == "exit":
            print("last words before os._exit", flush=True)
            os._exit(3)
        if fault == "crash":
            print("last words before the crash", flush=True)
            ctypes.string_at(0)


class Train(ToyStep):
    """Softmax regression by gradient descent."""

    name, takes, gives = "toy_train", None, "toy"
    Params = TrainParams

    def change(self, context: StepContext) -> np.ndarray:
        x, y = context.data.train.x, context.data.train.y
        w = np.random.default_rng(context.seed).normal(size=(4, 3))
        for _ in range(context.params.epochs):
            p = np.exp(x @ w - (x @ w).max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            w = w - 0.5 * x.T @ (p - np.eye(3)[y]) / len(x)
        return w.astype(np.float32)


class Distill(Train):
    """Training that starts from the teacher's weights."""

    name, teacher = "toy_distill", "required"

    def change(self, context: StepContext) -> np.ndarray:
        assert context.teacher is not None
        return super().change(context) * 0.5 + weights(context.teacher.path) * 0.5


class Prune(ToyStep):
    name, takes, gives = "toy_prune", "toy", "toy"
    Params = PruneParams

    def change(self, context: StepContext) -> np.ndarray:
        assert context.parent is not None
        w = weights(context.parent.path).copy()
        w[np.abs(w) < np.quantile(np.abs(w), context.params.sparsity)] = 0
        return w


class Quantize(ToyStep):
    name, takes, gives = "toy_quantize", "toy", "toy"
    Params = QuantizeParams

    def change(self, context: StepContext) -> np.ndarray:
        assert context.parent is not None
        w = weights(context.parent.path)
        scale = np.abs(w).max() / (2 ** (context.params.bits - 1) - 1)
        return np.asarray(np.round(w / scale) * scale, np.float32)


class Needy(Prune):
    """Needs a package that is nowhere."""

    name = "toy_needy"
    needs = ("no_such_package_anywhere",)


class ToyOptions(TargetOptions):
    fault: Literal["", "error", "hang"] = ""
    threads: int = 1


class ToyRunner(Runner):
    def __init__(self, w: np.ndarray) -> None:
        self.w = w
        self.x = np.zeros((1, 4), np.float32)

    def describe(self) -> dict[str, Any]:
        return {"runtime": "toy", "version": "1"}

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x @ self.w)

    def prepare(self, x: np.ndarray) -> None:
        self.x = x

    def invoke(self) -> None:
        self.predict(self.x)

    def end_to_end(self, x: np.ndarray) -> np.ndarray:
        return self.predict(x)


class ToyTarget(Target):
    name, format, modules = "toy", "toy", ("numpy",)
    Options = ToyOptions

    def unavailable(self) -> str | None:
        return os.environ.get("TOY_NO_TARGET")

    def open(self, artifact: Path, options: Any) -> ToyRunner:
        log("open", artifact=artifact.name, options=options.model_dump())
        if options.fault == "hang":
            time.sleep(600)
        if options.fault == "error":
            raise StepError("the toy target is broken")
        return ToyRunner(weights(artifact))


def register(registries: Any) -> None:
    for name, attribute in (
        ("toy_train", "Train"),
        ("toy_distill", "Distill"),
        ("toy_prune", "Prune"),
        ("toy_quantize", "Quantize"),
        ("toy_needy", "Needy"),
    ):
        registries.STEPS.add(name, f"tests.toy:{attribute}")
    registries.MODELS.add("toy", "tests.toy:MODEL")
    registries.DATASETS.add("toy", "tests.toy:ToyData")
    registries.TARGETS.add("toy", "tests.toy:ToyTarget")


def activate(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Register the toy here and in child processes; returns the path of the executions' log."""
    register(registry)
    monkeypatch.setenv("BENCH_PLUGINS", "tests.toy")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("TOY_LOG", str(folder / "toy.log"))
    monkeypatch.setenv("TOY_BROKEN", str(folder / "toy.broken"))
    return folder / "toy.log"


def step(name: str, **params: Any) -> StepSpec:
    """`toy_<name>` with complete parameters."""
    full = f"toy_{name}"
    return StepSpec(full, registry.STEPS.get(full).Params(**params).model_dump(mode="json"))


def variants() -> dict[str, Chain]:
    train = step("train")
    return {
        "baseline": Chain((train,)),
        "pruned": Chain((train, step("prune"))),
        "quantized": Chain((train, step("prune"), step("quantize"))),
        "distilled": Chain((step("distill"),), teacher=(train,)),
    }


TINY = Protocol("tiny", rounds=2, warmup_seconds=0.0, warmup_calls=2, min_samples=20, min_seconds=0.0)


def sweep(
    chains: dict[str, Chain] | None = None,
    *,
    seeds: int = 2,
    protocol: Protocol = TINY,
    name: str = "toy",
    options: dict[str, Any] | None = None,
    timeouts: dict[str, float] | None = None,
) -> Sweep:
    """A sweep of the toy model, measured at the first seed."""
    full = ToyOptions(**(options or {})).model_dump(mode="json")
    cells = tuple(
        CellSpec("toy", variant, "toy", "toy", full, seed, chain, measured=seed == 0)
        for variant, chain in (variants() if chains is None else chains).items()
        for seed in range(seeds)
    )
    return Sweep(name, cells, protocol, {}, timeouts=timeouts or {})
