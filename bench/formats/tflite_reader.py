"""Reads the flatbuffer of a .tflite file, as data that may be hostile, into `bench.formats.tflite`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.size import DTYPE_BITS
from bench.errors import ArtifactError, Unavailable
from bench.formats.tflite import KERNEL_OPS, Operator, Role, Tensor, TfliteFile, check_header, find

#: operators that only restore a stored constant: what they give plays the part of what they take
_RESTORING = ("DEQUANTIZE", "DENSIFY")
#: constants of these dtypes are numbers of the network; others are shapes, axes and the like
_PARAMETER_DTYPES = ("float32", "float16", "bfloat16", "float64", "int8", "uint8", "int16", "int4", "int2")
_MAX_ITEMS = 100_000


def inspect(path: Path) -> TfliteFile:
    """Read a .tflite file (or a folder with `model.tflite`).

    Raises:
        ArtifactError: truncated, foreign or inconsistent.
        Unavailable: no TFLite schema is installed.
    """
    file = find(path)
    return inspect_bytes(file.read_bytes(), str(file))


def inspect_bytes(content: bytes, where: str = "TFLite file") -> TfliteFile:
    """`inspect` for a file's contents."""
    check_header(content, where)
    return read(content, where)


def read(content: bytes, where: str, *, values: bool = True) -> TfliteFile:
    """Contents of a file whose header is right; errors as of `inspect`.

    Args:
        values: count zeros and distinct values; without it these are 0 and reading is faster.
    """
    schema = _schema()
    try:
        return _Reader(content, schema, values).read()
    except (struct.error, ValueError, IndexError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise ArtifactError(
            f"damaged TFLite file ({error})",
            where=where,
            mend="Make it again, or copy it again in binary mode.",
        ) from error


def _schema() -> Any:
    try:
        import ai_edge_litert.schema_py_generated as schema
    except ImportError:
        from bench.formats.keras_env import load

        try:
            load()
            from tensorflow.lite.python import schema_py_generated as schema
        except (ImportError, Unavailable):
            raise Unavailable(
                "reading .tflite files needs ai-edge-litert", mend="Install it: pip install ai-edge-litert."
            ) from None
    return schema


class _Reader:
    """Walks the flatbuffer. Every count is checked before it is looped over."""

    def __init__(self, content: bytes, schema: Any, values: bool) -> None:
        self.content = content
        self.values = values
        self.schema = schema
        self.dtypes = {code: name.lower() for name, code in vars(schema.TensorType).items() if name.isupper()}
        self.names: dict[int, str] = {
            code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()
        }
        self.measured: dict[tuple[int, str, int], tuple[int, int, int]] = {}

    def read(self) -> TfliteFile:
        root = struct.unpack_from("<I", self.content)[0]
        if not 8 <= root <= len(self.content) - 4:
            raise ValueError("the root lies outside the file")
        model = self.schema.Model.GetRootAs(self.content, 0)
        codes = self._items(model.OperatorCodes, model.OperatorCodesLength())
        opcodes = [self._opcode(code) for code in codes]
        self.buffers = list(self._items(model.Buffers, model.BuffersLength()))
        tensors: list[Tensor] = []
        operators: list[Operator] = []
        inputs: tuple[Tensor, ...] = ()
        outputs: tuple[Tensor, ...] = ()
        for number, graph in enumerate(self._items(model.Subgraphs, model.SubgraphsLength())):
            plain = list(self._items(graph.Tensors, graph.TensorsLength()))
            found = [
                self._operator(number, operator, opcodes, len(plain))
                for operator in self._items(graph.Operators, graph.OperatorsLength())
            ]
            roles = _roles(found)
            own = [self._tensor(number, i, tensor, roles.get(i)) for i, tensor in enumerate(plain)]
            if number == 0:
                inputs = tuple(own[i] for i in _indices(graph.InputsAsNumpy(), len(own)))
                outputs = tuple(own[i] for i in _indices(graph.OutputsAsNumpy(), len(own)))
            tensors += own
            operators += found
        if not inputs or not outputs:
            raise ValueError("there is no graph with inputs and outputs")
        description = model.Description() or b""
        return TfliteFile(
            file_bytes=len(self.content),
            version=model.Version(),
            description=description.decode("utf-8", "replace"),
            tensors=tuple(tensors),
            operators=tuple(operators),
            inputs=inputs,
            outputs=outputs,
            buffers={tensor.buffer: tensor.bytes for tensor in tensors if tensor.constant},
        )

    def _items(self, get: Callable[[int], Any], length: int) -> Iterator[Any]:
        if length > min(_MAX_ITEMS, len(self.content) // 4):
            raise ValueError(f"a list of {length} items does not fit")
        for i in range(length):
            item = get(i)
            if item is None:
                raise ValueError("an item is missing")
            yield item

    def _opcode(self, code: Any) -> str:
        # Files from before 2020 only have the first field, one byte wide.
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if builtin == self.schema.BuiltinOperator.CUSTOM:
            return str((code.CustomCode() or b"CUSTOM").decode("utf-8", "replace"))
        return self.names.get(builtin, f"OPERATOR_{builtin}")

    def _operator(self, number: int, operator: Any, opcodes: list[str], tensors: int) -> Operator:
        code = operator.OpcodeIndex()
        if not 0 <= code < len(opcodes):
            raise ValueError(f"an operator has the code {code} of {len(opcodes)}")
        return Operator(
            subgraph=number,
            name=opcodes[code],
            inputs=_indices(operator.InputsAsNumpy(), tensors, absent=True),
            outputs=_indices(operator.OutputsAsNumpy(), tensors),
        )

    def _tensor(self, number: int, index: int, tensor: Any, role: Role | None) -> Tensor:
        dtype = self.dtypes.get(tensor.Type(), f"type{tensor.Type()}")
        shape = tuple(max(1, int(size)) for size in _vector(tensor.ShapeAsNumpy()))
        if len(shape) > 16:
            raise ValueError(f"tensor {index} has {len(shape)} dimensions")
        buffer = tensor.Buffer()
        data = self._data(buffer)
        scales, zeros, axis = self._quantization(tensor)
        named = Tensor(
            number,
            index,
            (tensor.Name() or b"").decode("utf-8", "replace"),
            dtype,
            shape,
            scales=scales,
            zero_points=zeros,
        )
        if data is None:
            return named
        elements = int(np.prod(np.asarray(shape, dtype=object))) if shape else 1
        sparse = tensor.Sparsity() is not None
        bits = DTYPE_BITS.get(dtype)
        if bits is not None and not sparse and len(data) != (elements * bits + 7) // 8:
            raise ValueError(f"tensor {index} ({dtype} {shape}) has {len(data)} bytes")
        channel = axis if len(scales) > 1 and 0 <= axis < len(shape) and not sparse else -1
        key = (buffer, f"{dtype}{shape}", channel)
        if key not in self.measured:
            self.measured[key] = _measure(data, dtype, shape, channel, sparse) if self.values else (0, 0, 0)
        nonzero, unique, per_channel = self.measured[key]
        if role is None or (role == "parameter" and dtype not in _PARAMETER_DTYPES):
            role = "argument"
        return Tensor(
            **{
                **vars(named),
                "role": role,
                "buffer": buffer,
                "bytes": len(data),
                "elements": elements,
                "nonzero": nonzero,
                "unique": unique,
                "unique_per_channel": per_channel,
                "sparse": sparse,
            }
        )

    def _data(self, index: int) -> np.ndarray | None:
        """Stored bytes of a buffer, uint8 (n,); None for the empty one."""
        if not 0 <= index < len(self.buffers):
            raise ValueError(f"a tensor has the buffer {index} of {len(self.buffers)}")
        buffer = self.buffers[index]
        # Files above 2 GB keep their buffers behind the flatbuffer.
        offset, size = buffer.Offset(), buffer.Size()
        if offset > 1:
            if offset + size > len(self.content):
                raise ValueError(f"buffer {index} ends outside the file")
            return np.frombuffer(self.content, np.uint8, size, offset)
        data = _vector(buffer.DataAsNumpy())
        return data if len(data) else None

    def _quantization(self, tensor: Any) -> tuple[tuple[float, ...], tuple[int, ...], int]:
        found = tensor.Quantization()
        if found is None:
            return (), (), 0
        scales = tuple(float(value) for value in _vector(found.ScaleAsNumpy()))
        zeros = tuple(int(value) for value in _vector(found.ZeroPointAsNumpy()))
        return scales, zeros, int(found.QuantizedDimension())


def _vector(found: Any) -> np.ndarray:
    # The generated code gives the number 0 for a vector that is not there.
    return np.empty(0, np.uint8) if isinstance(found, int) else found


def _indices(found: Any, count: int, *, absent: bool = False) -> tuple[int, ...]:
    indices = tuple(int(index) for index in _vector(found))
    if any(not (-1 if absent else 0) <= index < count for index in indices):
        raise ValueError(f"an index of {indices} is none of {count} tensors")
    return indices


def _roles(operators: Sequence[Operator]) -> dict[int, Role]:
    """Part that a stored tensor plays, by tensor index. A kernel stays one behind DEQUANTIZE or DENSIFY."""
    roles: dict[int, Role] = {}
    for operator in operators:
        kernel, bias = KERNEL_OPS.get(operator.name, (-1, -1))
        for position, index in enumerate(operator.inputs):
            role: Role = "kernel" if position == kernel else "bias" if position == bias else "parameter"
            if role != "parameter" or index not in roles:
                roles[index] = role
    for operator in reversed(operators):
        if operator.name in _RESTORING and operator.outputs[0] in roles:
            roles[operator.inputs[0]] = roles[operator.outputs[0]]
    return roles


def _measure(
    data: np.ndarray, dtype: str, shape: tuple[int, ...], channel: int, sparse: bool
) -> tuple[int, int, int]:
    """(non-zero elements, distinct values, most distinct values within a channel) of stored bytes."""
    if dtype in ("int4", "uint4"):
        values = np.stack([data & 0xF, data >> 4], axis=1).ravel()
    else:
        try:
            values = data.view(np.dtype(dtype))
        except TypeError:
            values = data  # bfloat16, strings: bytes are the best that NumPy can tell
    if not sparse and len(values) >= (elements := int(np.prod(shape))):
        values = values[:elements]
    nonzero, unique = int(np.count_nonzero(values)), len(np.unique(values))
    if channel < 0 or len(values) != int(np.prod(shape)):
        return nonzero, unique, unique
    rows = np.sort(np.moveaxis(values.reshape(shape), channel, 0).reshape(shape[channel], -1), axis=1)
    return nonzero, unique, int((1 + (np.diff(rows, axis=1) != 0).sum(axis=1)).max())
