"""TFLite on the host CPU, through LiteRT (ai-edge-litert) or, where that is missing, TensorFlow's tf.lite.

One input at a time everywhere: accuracy is scored by the very call that is timed, and the float kernels of
the runtime give other last bits for batches.

`python -m targets.tflite MODEL.tflite INPUTS.npy OUTPUTS.npy` runs a file in a fresh process.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from bench.errors import ArtifactError, StepError, Unavailable
from bench.formats.tflite import check_header, find
from bench.formats.tflite_reader import read
from targets.base import Runner, Target, TargetOptions

_TYPES = ("float32", "int8", "uint8", "int16")


class TfliteOptions(TargetOptions):
    """threads: of the interpreter. xnnpack: whether the XNNPACK delegate may take over operators."""

    threads: int = Field(default=1, ge=1, le=1024, strict=True)
    xnnpack: bool = Field(default=True, strict=True)


class Runtime(NamedTuple):
    """A library with a TFLite interpreter."""

    name: str
    version: str
    interpreter: Any
    resolvers: Any


@functools.cache
def runtime() -> Runtime:
    """The runtime that this process uses. TensorFlow is imported only where LiteRT is not installed.

    Raises:
        Unavailable: there is neither.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        from bench.formats.keras_env import load

        try:
            tf = load().tf
        except Unavailable:
            raise Unavailable(
                "no TFLite runtime is installed",
                mend="Install LiteRT: pip install ai-edge-litert (or the extra: uv sync --extra train).",
            ) from None
        return Runtime("tf.lite", tf.__version__, tf.lite.Interpreter, tf.lite.experimental.OpResolverType)
    return Runtime("ai_edge_litert", _version("ai-edge-litert"), Interpreter, OpResolverType)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


#: files that were found sound in this process: path, size, time of change
_sound: set[tuple[str, int, int]] = set()


def check(file: Path) -> None:
    """Refuse what the runtime could crash on, before the runtime sees it. Quick when repeated.

    Raises:
        ArtifactError: truncated, foreign or inconsistent.
    """
    stat = file.stat()
    key = (str(file.resolve()), stat.st_size, stat.st_mtime_ns)
    if key in _sound:
        return
    content = file.read_bytes()
    check_header(content, str(file))
    read(content, str(file), values=False)
    _sound.add(key)


class Port:
    """An input or output tensor, and the way between float32 and its own type.

    Attributes:
        shape: (1, ...), the batch dimension included.
        scale, zero_point: real value = (stored - zero_point) x scale; None for float32.
    """

    def __init__(self, details: dict[str, Any], what: str, where: str) -> None:
        self.index = int(details["index"])
        self.shape = tuple(int(size) for size in details["shape"])
        self.dtype = np.dtype(details["dtype"])
        if self.dtype.name not in _TYPES:
            raise ArtifactError(
                f"its {what} is {self.dtype.name}; known are {', '.join(_TYPES)}", where=where
            )
        if not self.shape or self.shape[0] != 1:
            raise ArtifactError(
                f"its {what} has shape {list(self.shape)}; the first dimension must be 1", where=where
            )
        self.scale: np.float32 | None = None
        self.zero_point: np.float32 | None = None
        if self.dtype.kind in "iu":
            scale, zero_point = details["quantization"]
            if not scale > 0:
                raise ArtifactError(f"its {self.dtype.name} {what} has no scale", where=where)
            limits = np.iinfo(self.dtype)
            self.scale, self.zero_point = np.float32(scale), np.float32(zero_point)
            self._low, self._high = np.float32(limits.min), np.float32(limits.max)
            self._real = np.empty(self.shape, np.float32)
            self._stored = np.empty(self.shape, self.dtype)

    def to_stored(self, x: np.ndarray) -> np.ndarray:
        """One float32 input as the tensor wants it: divided by the scale, shifted, rounded, clipped.

        The array is used again by the next call.
        """
        if self.scale is None or self.zero_point is None:
            return x
        real = self._real
        np.divide(x, self.scale, out=real)
        np.add(real, self.zero_point, out=real)
        np.rint(real, out=real)
        np.maximum(real, self._low, out=real)
        np.minimum(real, self._high, out=real)
        np.copyto(self._stored, real, casting="unsafe")
        return self._stored

    def to_real(self, stored: np.ndarray) -> np.ndarray:
        """What the tensor holds, as float32."""
        if self.scale is None or self.zero_point is None:
            return stored
        return (stored.astype(np.float32) - self.zero_point) * self.scale

    def describe(self) -> dict[str, Any]:
        return {
            "dtype": self.dtype.name,
            "shape": list(self.shape),
            "scale": None if self.scale is None else float(self.scale),
            "zero_point": None if self.zero_point is None else int(self.zero_point),
        }


class TfliteRunner(Runner):
    """A .tflite file in an interpreter.

    Raises:
        ArtifactError: the file is truncated, foreign, or cannot run here.
    """

    def __init__(self, file: Path, options: TfliteOptions) -> None:
        self._where, self._options, self._runtime = str(file), options, runtime()
        check(file)
        content = file.read_bytes()
        resolvers = self._runtime.resolvers
        resolver = resolvers.AUTO if options.xnnpack else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            with warnings.catch_warnings():
                # tf.lite announces its move to LiteRT with every interpreter.
                warnings.simplefilter("ignore")
                self._interpreter = self._runtime.interpreter(
                    model_content=content,
                    num_threads=options.threads,
                    experimental_op_resolver_type=resolver,
                )
            self._interpreter.allocate_tensors()
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        except (ValueError, RuntimeError, MemoryError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ArtifactError(
                f"{self._runtime.name} cannot run this file ({reason})",
                where=self._where,
                mend="It is truncated or damaged, or uses operators that this runtime does not have.",
            ) from error
        if len(inputs) != 1 or len(outputs) != 1:
            raise ArtifactError(
                f"it has {len(inputs)} inputs and {len(outputs)} outputs; one of each is expected",
                where=self._where,
            )
        self.input = Port(inputs[0], "input", self._where)
        self.output = Port(outputs[0], "output", self._where)
        self._set: Callable[[int, np.ndarray], None] = self._interpreter.set_tensor
        self._get: Callable[[int], np.ndarray] = self._interpreter.get_tensor
        # The interpreter's own bound method: nothing of ours runs in the timed region.
        self.invoke = self._interpreter.invoke  # type: ignore[method-assign]

    def invoke(self) -> None:
        self._interpreter.invoke()

    def prepare(self, x: np.ndarray) -> None:
        self._set(self.input.index, self.input.to_stored(self._checked(x, 1)))

    def end_to_end(self, x: np.ndarray) -> np.ndarray:
        self._set(self.input.index, self.input.to_stored(x))
        self.invoke()
        return self.output.to_real(self._get(self.output.index))

    def predict(self, x: np.ndarray) -> np.ndarray:
        x = self._checked(x, len(x))
        stored = np.empty((len(x), *self.output.shape[1:]), self.output.dtype)
        for i in range(len(x)):
            self._set(self.input.index, self.input.to_stored(x[i : i + 1]))
            self.invoke()
            stored[i] = self._get(self.output.index)[0]
        return self.output.to_real(stored)

    def _checked(self, x: np.ndarray, n: int) -> np.ndarray:
        if x.shape != (n, *self.input.shape[1:]):
            raise StepError(
                f"inputs have shape {list(x.shape)}, the file wants {['n', *self.input.shape[1:]]}",
                where=self._where,
            )
        return np.ascontiguousarray(x, dtype=np.float32)

    def describe(self) -> dict[str, Any]:
        operators, delegated = self._operators()
        return {
            "runtime": self._runtime.name,
            "version": self._runtime.version,
            "threads": self._options.threads,
            "xnnpack": self._options.xnnpack,
            "ops": operators,
            "ops_delegated": delegated,
            "input": self.input.describe(),
            "output": self.output.describe(),
        }

    def _operators(self) -> tuple[int | None, int | None]:
        """Number of operators, and how many of them a delegate took over; None where it cannot be told."""
        try:
            nodes = self._interpreter._get_ops_details()
        except (AttributeError, ValueError):
            return None, None
        own = [node for node in nodes if node["op_name"] != "DELEGATE"]
        producer = {int(tensor): i for i, node in enumerate(own) for tensor in node["outputs"]}
        taken: set[int] = set()
        for node in nodes:
            if node["op_name"] != "DELEGATE":
                continue
            # A delegate's node stands for all operators between its outputs and its inputs.
            ends = {int(tensor) for tensor in node["inputs"]}
            open_tensors = [int(tensor) for tensor in node["outputs"]]
            while open_tensors:
                tensor = open_tensors.pop()
                made_by = producer.get(tensor)
                if tensor in ends or made_by is None or made_by in taken:
                    continue
                taken.add(made_by)
                open_tensors += [int(source) for source in own[made_by]["inputs"]]
        return len(own), len(taken)

    def close(self) -> None:
        # The bound methods hold the interpreter: without this its memory stays until the runner goes.
        for name in ("invoke", "_set", "_get", "_interpreter"):
            vars(self).pop(name, None)


class Tflite(Target):
    """A .tflite file on this machine's CPU."""

    name: ClassVar[str] = "tflite"
    format: ClassVar[str] = "tflite"
    Options: ClassVar[type[TargetOptions]] = TfliteOptions
    modules: ClassVar[tuple[str, ...]] = ("ai_edge_litert",)

    def unavailable(self) -> str | None:
        if find_spec("ai_edge_litert") or find_spec("tensorflow"):
            return None
        return "no TFLite runtime is installed: pip install ai-edge-litert"

    def check(self, artifact: Path) -> None:
        check(find(artifact))

    def open(self, artifact: Path, options: Any = None) -> TfliteRunner:
        return TfliteRunner(find(artifact), options or TfliteOptions())


def main(arguments: list[str]) -> int:
    """Run a file on inputs (n, ...) of an .npy file and write its outputs to another."""
    model, inputs, outputs = (Path(argument) for argument in arguments)
    try:
        runner = Tflite().open(model)
        np.save(outputs, runner.predict(np.load(inputs, allow_pickle=False)), allow_pickle=False)
    except (ArtifactError, StepError, Unavailable, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
