"""Small .tflite files made by hand, without TensorFlow: one fully connected layer with known numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

FEATURES, CLASSES = 8, 3
_INT8 = {"scale": 0.1, "zero_point": -3}
_OUT = {"scale": 0.25, "zero_point": 5}


def weights(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (classes, features) of small multiples of 1/8, half of them zero, and bias (classes,)."""
    rng = np.random.default_rng(seed)
    kernel = rng.integers(-8, 9, (CLASSES, FEATURES)).astype(np.float32) / 8
    kernel[:, ::2] = 0
    return kernel, np.array([0.5, -0.25, 1.0], np.float32)


def dense(dtype: str = "float32", *, seed: int = 0, **changes: Any) -> bytes:
    """A file x (1, 8) -> x kernel' + bias (1, 3).

    Args:
        dtype: `float32`, or `int8` for everything, in and out too (input scale 0.1, zero point -3;
            kernel scale 1/8; output scale 0.25, zero point 5).
        changes: `operator_input` and `buffer`: an index to write in place of the right one;
            `shape`: another shape of the kernel; `batch`: first dimension of the input;
            `scaled=False`: int8 without scales; `inputs`: indices of the graph's inputs;
            `signature`: shape of the input with -1 for free axes.
    """
    import ai_edge_litert.schema_py_generated as schema
    import flatbuffers

    kernel, bias = weights(seed)
    buffers = [b""]

    def stored(array: np.ndarray) -> int:
        buffers.append(array.tobytes())
        return len(buffers) - 1

    def tensor(name: str, shape: tuple[int, ...], kind: str, buffer: int = 0, **quantized: Any) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), _code(schema, kind), buffer
        if quantized and changes.get("scaled", True):
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = [quantized["scale"]]
            made.quantization.zeroPoint = [quantized["zero_point"]]
        return made

    shape = changes.get("shape", (CLASSES, FEATURES))
    batch = changes.get("batch", 1)
    if dtype == "int8":
        whole = np.rint(kernel * 8).astype(np.int8)
        steps = np.rint(bias / (_INT8["scale"] / 8)).astype(np.int32)
        tensors = [
            tensor("x", (batch, FEATURES), "int8", **_INT8),
            tensor("dense/kernel", shape, "int8", stored(whole), scale=0.125, zero_point=0),
            tensor("dense/bias", (CLASSES,), "int32", stored(steps), scale=0.0125, zero_point=0),
            tensor("y", (batch, CLASSES), "int8", **_OUT),
        ]
    else:
        tensors = [
            tensor("x", (batch, FEATURES), "float32"),
            tensor("dense/kernel", shape, "float32", stored(kernel)),
            tensor("dense/bias", (CLASSES,), "float32", stored(bias)),
            tensor("y", (batch, CLASSES), "float32"),
        ]
    if "buffer" in changes:
        tensors[1].buffer = changes["buffer"]
    if "signature" in changes:
        tensors[0].shapeSignature = changes["signature"]
    operator = schema.OperatorT()
    operator.opcodeIndex = 0
    operator.inputs = [0, changes.get("operator_input", 1), 2]
    operator.outputs = [3]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 4
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = tensors, [operator]
    graph.inputs, graph.outputs = changes.get("inputs", [0]), [3]
    model = schema.ModelT()
    model.version, model.description = 3, "hand made"
    model.operatorCodes, model.subgraphs, model.buffers = [code], [graph], []
    for content in buffers:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8) if content else None
        model.buffers.append(buffer)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _code(schema: Any, kind: str) -> int:
    return int(getattr(schema.TensorType, kind.upper()))


def logits(x: np.ndarray, seed: int = 0) -> np.ndarray:
    """What the float32 file must give for x (n, 8)."""
    kernel, bias = weights(seed)
    return x @ kernel.T + bias
