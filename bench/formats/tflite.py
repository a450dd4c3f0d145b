"""What is inside a .tflite file, read without running it: tensors, operators, bytes by dtype, zeros, values.

Uses the schema that ships with LiteRT (https://ai.google.dev/edge/litert), not TensorFlow. Everything that
is read is checked against the length of the file, so a hostile file gives an ArtifactError and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from bench.core.size import payload_bits
from bench.errors import ArtifactError

FILE_NAME = "model.tflite"
Role = Literal["kernel", "bias", "parameter", "argument"]

#: operator -> (position of its kernel, position of its bias) among its inputs
KERNEL_OPS = {
    "CONV_2D": (1, 2),
    "DEPTHWISE_CONV_2D": (1, 2),
    "FULLY_CONNECTED": (1, 2),
    "CONV_3D": (1, 2),
    "TRANSPOSE_CONV": (1, 3),
    "BATCH_MATMUL": (1, -1),
    "EMBEDDING_LOOKUP": (1, -1),
}


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file.

    Attributes:
        shape: elements by dimension; a free dimension counts as 1.
        role: `kernel`, `bias`, `parameter` (another constant number), `argument` (shapes, axes); None
            for what is computed.
        bytes: stored bytes (0 where computed).
        sparse: stored with a sparse encoding; `nonzero` and `unique` then look at what is stored.
        unique_per_channel: most distinct values within one channel of its quantization (all of the
            tensor where it has a single scale or none).
        scales, zero_points: quantization, one per tensor or per channel; empty where there is none.
    """

    subgraph: int
    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    role: Role | None = None
    buffer: int = 0
    bytes: int = 0
    elements: int = 0
    nonzero: int = 0
    unique: int = 0
    unique_per_channel: int = 0
    sparse: bool = False
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()

    @property
    def constant(self) -> bool:
        return self.role is not None

    @property
    def sparsity(self) -> float:
        """Share of zeros among the elements (of a constant)."""
        return 1.0 - self.nonzero / self.elements if self.elements else 0.0


@dataclass(frozen=True)
class Operator:
    """One operator: name (`FULLY_CONNECTED`; custom ones by their own), indices of its tensors."""

    subgraph: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class TfliteFile:
    """Contents of a .tflite file. `inputs` and `outputs` are those of the first subgraph."""

    file_bytes: int
    version: int
    description: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    buffers: dict[int, int] = field(default_factory=dict)

    @cached_property
    def kernels(self) -> tuple[Tensor, ...]:
        return tuple(tensor for tensor in self.tensors if tensor.role == "kernel")

    @cached_property
    def parameters(self) -> tuple[Tensor, ...]:
        """Kernels, biases and other constant numbers."""
        return tuple(tensor for tensor in self.tensors if tensor.role in ("kernel", "bias", "parameter"))

    @property
    def ops(self) -> dict[str, int]:
        """Number of operators by name."""
        return dict(sorted(Counter(operator.name for operator in self.operators).items()))

    @property
    def constant_bytes(self) -> int:
        """Bytes of all stored tensors; one stored for several counts once."""
        return sum(self.buffers.values())

    @property
    def overhead_bytes(self) -> int:
        """Bytes of the file that are no tensor: graph, names, scales, metadata, padding."""
        return self.file_bytes - self.constant_bytes

    @property
    def bytes_by_dtype(self) -> dict[str, int]:
        """Stored bytes by dtype (`{"int8": 6464, "int32": 424}`)."""
        found: Counter[str] = Counter()
        for tensor in {tensor.buffer: tensor for tensor in self.tensors if tensor.constant}.values():
            found[tensor.dtype] += tensor.bytes
        return dict(sorted(found.items()))

    @property
    def scales(self) -> int:
        """Number of quantization scales of all tensors."""
        return sum(len(tensor.scales) for tensor in self.tensors)

    def kernel_share(self, dtype: str) -> float:
        """Share of the kernels' bytes that are of a dtype; 0 where there is no kernel."""
        total = sum(tensor.bytes for tensor in self.kernels)
        return sum(tensor.bytes for tensor in self.kernels if tensor.dtype == dtype) / total if total else 0.0

    def activations(self, operators: Sequence[str] = tuple(KERNEL_OPS)) -> set[str]:
        """Dtypes of what the operators with kernels compute."""
        at = {(tensor.subgraph, tensor.index): tensor for tensor in self.tensors}
        ours = [op for op in self.operators if op.name in operators and op.outputs]
        return {at[op.subgraph, op.outputs[0]].dtype for op in ours}

    def facts(self) -> dict[str, Any]:
        """Sizes and counts under the names that reports use; JSON values."""
        params = sum(tensor.elements for tensor in self.parameters)
        nonzero = sum(tensor.nonzero for tensor in self.parameters)
        elements = sum(tensor.elements for tensor in self.kernels)
        kernel_nonzero = sum(tensor.nonzero for tensor in self.kernels)
        widths: Counter[str] = Counter()
        for tensor in self.parameters:
            widths[tensor.dtype] += tensor.elements
        return {
            "params": params,
            "params_nonzero": nonzero,
            "sparsity": 1.0 - kernel_nonzero / elements if elements else 0.0,
            "sparsity_all": 1.0 - nonzero / params if params else 0.0,
            "payload_bits": payload_bits(widths),
            "bytes_by_dtype": self.bytes_by_dtype,
            "constant_bytes": self.constant_bytes,
            "overhead_bytes": self.overhead_bytes,
            "scales": self.scales,
            "int8_share": self.kernel_share("int8"),
            "input_dtype": [tensor.dtype for tensor in self.inputs],
            "output_dtype": [tensor.dtype for tensor in self.outputs],
            "activation_dtypes": sorted(self.activations()),
            "ops": self.ops,
            "op_count": len(self.operators),
            "weights": [
                {
                    "name": tensor.name,
                    "role": tensor.role,
                    "dtype": tensor.dtype,
                    "shape": list(tensor.shape),
                    "bytes": tensor.bytes,
                    "nonzero": tensor.nonzero,
                    "unique": tensor.unique,
                    "unique_per_channel": tensor.unique_per_channel,
                    "scales": len(tensor.scales),
                    "sparse": tensor.sparse,
                }
                for tensor in self.parameters
            ],
        }


def find(path: Path) -> Path:
    """The .tflite file of an artifact's folder, or the file itself.

    Raises:
        ArtifactError: there is none.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise ArtifactError("no such file", where=str(file))
    return file


def check_header(content: bytes, where: str) -> None:
    """Tell at once what is no TFLite file at all.

    Raises:
        ArtifactError: too short, or without the identifier `TFL3`.
    """
    if len(content) < 16:
        raise ArtifactError(f"not a TFLite file ({len(content)} bytes)", where=where)
    if content[4:8] != b"TFL3":
        raise ArtifactError("not a TFLite file (the identifier TFL3 is missing)", where=where)
