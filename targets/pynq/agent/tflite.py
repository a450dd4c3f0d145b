"""A TFLite model on the board's own processor."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np

from .checks import compare, score
from .drivers import Board
from .job import ItemError, Skip
from .measurement import Measurement, statistics
from .results import TIMES
from .timing import PHASES, window


def import_interpreter() -> tuple[Any, str]:
    """A TFLite interpreter class and whose it is. Raises Skip."""
    for module in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite"):
        try:
            found = __import__(module, fromlist=["Interpreter"])
            return found.Interpreter, module
        except Exception:  # not there, or for another numpy
            continue
    raise Skip("no TFLite runtime: pip install tflite-runtime (armv7l: ==2.13.0) or ai-edge-litert (aarch64)")


class Model:
    """A TFLite model on one thread of the board's processor; inputs and outputs are float32."""

    def __init__(self, path: Path, board: Board) -> None:
        interpreter_class, self.runtime = import_interpreter()
        begin = board.now_ns()
        self.interpreter = interpreter_class(model_path=str(path), num_threads=1)
        self.interpreter.allocate_tensors()
        self.load_seconds = (board.now_ns() - begin) * 1e-9
        self.now = board.now_ns
        self.taker = self.interpreter.get_input_details()[0]
        self.giver = self.interpreter.get_output_details()[0]
        self.shape = [int(size) for size in self.taker["shape"]]

    def call(self, values: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
        """Outputs (m,), and the clock before and after each phase, ns."""
        now = self.now
        t0 = now()
        raw = _quantized(values.reshape(self.shape), self.taker)
        t1 = now()
        self.interpreter.set_tensor(self.taker["index"], raw)
        t2 = now()
        self.interpreter.invoke()
        t3 = now()
        got = self.interpreter.get_tensor(self.giver["index"])
        t4 = now()
        found = _dequantized(got, self.giver).reshape(-1)
        return found, (t0, t1, t2, t3, t4, now())


def run_tflite(of: Measurement) -> None:
    """The model on the board's processor, one thread."""
    import_interpreter()
    path = of.lay_out() / "model.tflite"
    x, expected = of.inputs(None)
    model = Model(path, of.board)
    of.value["runtime"] = model.runtime
    if int(np.prod(model.shape)) != x.shape[1]:
        raise ItemError(f"the inputs have {x.shape[1]} values, the model takes {model.shape}")
    found = np.stack([model.call(values)[0] for values in x])
    if expected is not None and found.shape != expected.shape:
        raise ItemError(f"outputs are {list(found.shape)}, expected {list(expected.shape)}")
    if expected is not None:
        expected = expected.astype(found.dtype)
    if not compare(found, expected, bool(of.item.get("exact", False)), of.out, of.results):
        of.out.refuse((*TIMES, "accuracy"), of.out.failed_checks()[-1])
        return
    score(found, of.job.labels(of.item["data"]), of.out, of.results)
    if of.board.emulated:
        of.out.refuse(TIMES, "the emulated board has no processor of its own")
        return
    _time(of, model, x)


def _time(of: Measurement, model: Model, x: np.ndarray) -> None:
    protocol = of.job.protocol

    def call(index: int) -> tuple[np.ndarray, tuple[int, ...]]:
        return model.call(x[index])

    of.value["phases"]["load"] = statistics(np.array([model.load_seconds]))
    for index in range(protocol.warmup_calls):
        call(index % len(x))
    gc.collect()
    gc.disable()
    try:
        clocks = np.array([call(index % len(x))[1] for index in range(protocol.calls)], np.int64)
    finally:
        gc.enable()
    of.phases(PHASES, clocks)
    if protocol.preset == "mlperf":
        for _ in range(protocol.windows):
            of.value["windows"].append(window(of.board, call, len(x), protocol.window_seconds))
    energy = of.energy(protocol.window_seconds)
    if energy is not None:
        of.value["energy"] = energy.measure(call, len(x))


def _quantized(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    if np.dtype(detail["dtype"]).kind == "f":
        return values.astype(detail["dtype"], copy=False)
    scale, zero = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    # halves are rounded with the zero point in them, as the host does it: else both get other inputs
    whole = np.clip(np.rint(values / np.float32(scale) + np.float32(zero)), limits.min, limits.max)
    return np.asarray(whole, detail["dtype"])


def _dequantized(raw: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    if raw.dtype.kind == "f":
        return raw
    scale, zero = detail["quantization"]
    return np.asarray((raw.astype(np.int32) - zero) * np.float32(scale), np.float32)
