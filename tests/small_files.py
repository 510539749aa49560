"""Small model files for the tests, written by hand: one int8 network as ONNX and as TFLite, and its float twin.

The network: convolution 3x3 with padding and ReLU (2 to 4 channels on 4x4), mean over the image, fully connected (4 to 3).
Both int8 files hold the same integers and the same scales. ONNX: NCHW, Q/DQ form, uint8 activations, float edges.
TFLite: NHWC, int8 edges.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]

INPUT, HIDDEN, POOLED, OUTPUT = (0.02, -1), (0.03, -128), (0.015, -128), (0.01, 5)
"""(scale, int8 zero point) of the activations."""


@dataclass(frozen=True)
class Weights:
    """`conv` [4, 2, 3, 3] and `dense` [3, 4] int8 with a scale a channel; biases float32."""

    conv: Array
    conv_scales: Array
    conv_bias: Array
    dense: Array
    dense_scales: Array
    dense_bias: Array


def weights(seed: int = 0) -> Weights:
    random = np.random.default_rng(seed)
    conv_scales = np.linspace(0.004, 0.007, 4).astype(np.float32)
    dense_scales = np.linspace(0.01, 0.02, 3).astype(np.float32)
    return Weights(
        conv=random.integers(-127, 128, (4, 2, 3, 3)).astype(np.int8),
        conv_scales=conv_scales,
        conv_bias=(random.integers(-500, 500, 4) * conv_scales * np.float32(INPUT[0])).astype(np.float32),
        dense=random.integers(-127, 128, (3, 4)).astype(np.int8),
        dense_scales=dense_scales,
        dense_bias=(random.integers(-500, 500, 3) * dense_scales * np.float32(POOLED[0])).astype(np.float32),
    )


def samples(count: int = 8, seed: int = 1) -> Array:
    """Return inputs [count, 2, 4, 4], float32, on the input's grid."""
    stored = np.random.default_rng(seed).integers(-128, 128, (count, 2, 4, 4))
    return ((stored - INPUT[1]) * np.float32(INPUT[0])).astype(np.float32)


# ONNX


def write_onnx(
    path: Path,
    *,
    made_of: Weights | None = None,
    hidden: tuple[float, int] = HIDDEN,
    pool: str = "GlobalAveragePool",
    float_weights: bool = False,
    batch: str | int = "batch",
) -> Path:
    """Write the int8 network; `pool="ReduceMean"` is a mean that ONNX Runtime has no int8 kernel for."""
    given = made_of or weights()
    constants: dict[str, Array] = {"conv.bias": given.conv_bias, "dense.bias": given.dense_bias}
    if pool == "ReduceMean":
        constants["axes"] = np.array([2, 3], np.int64)
    nodes = [
        *_edge("x", "x1", INPUT, constants),
        *_weight("conv", given.conv, given.conv_scales, constants, as_float=float_weights),
        helper.make_node("Conv", ["x1", "conv.weight", "conv.bias"], ["c"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c"], ["r"]),
        *_edge("r", "r1", hidden, constants),
        helper.make_node(pool, ["r1", *(["axes"] if pool == "ReduceMean" else [])], ["p"]),
        *_edge("p", "p1", POOLED, constants),
        helper.make_node("Flatten", ["p1"], ["m"]),
        *_edge("m", "m1", POOLED, constants),
        *_weight("dense", given.dense, given.dense_scales, constants),
        helper.make_node("Gemm", ["m1", "dense.weight", "dense.bias"], ["g"], transB=1),
        *_edge("g", "y", OUTPUT, constants),
    ]
    return _save_onnx(path, nodes, constants, batch)


def write_float_onnx(path: Path) -> Path:
    """Write the float twin."""
    given = weights()
    constants = {"conv.weight": given.conv * given.conv_scales[:, None, None, None], "conv.bias": given.conv_bias}
    constants |= {"dense.weight": given.dense * given.dense_scales[:, None], "dense.bias": given.dense_bias}
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["c"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["m"]),
        helper.make_node("Gemm", ["m", "dense.weight", "dense.bias"], ["y"], transB=1),
    ]
    return _save_onnx(path, nodes, constants, "batch")


def _edge(before: str, after: str, quantized: tuple[float, int], constants: dict[str, Array]) -> list[onnx.NodeProto]:
    """Return a QuantizeLinear and a DequantizeLinear with one scale, as uint8."""
    scale, zero_point, stored = f"{before}.scale", f"{before}.zero_point", f"{before}.stored"
    constants[scale], constants[zero_point] = np.array(quantized[0], np.float32), np.array(quantized[1] + 128, np.uint8)
    return [
        helper.make_node("QuantizeLinear", [before, scale, zero_point], [stored]),
        helper.make_node("DequantizeLinear", [stored, scale, zero_point], [after]),
    ]


def _weight(
    name: str, stored: Array, scales: Array, constants: dict[str, Array], *, as_float: bool = False
) -> list[onnx.NodeProto]:
    if as_float:
        constants[f"{name}.weight"] = (stored * scales.reshape(-1, *[1] * (stored.ndim - 1))).astype(np.float32)
        return []
    constants |= {
        f"{name}.stored": stored,
        f"{name}.scales": scales,
        f"{name}.zero_points": np.zeros(len(scales), np.int8),
    }
    return [
        helper.make_node(
            "DequantizeLinear", [f"{name}.stored", f"{name}.scales", f"{name}.zero_points"], [f"{name}.weight"], axis=0
        )
    ]


def _save_onnx(path: Path, nodes: list[onnx.NodeProto], constants: dict[str, Array], batch: str | int) -> Path:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 2, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


# TFLite

Quantized = tuple[Any, Any, int]


def write_tflite(
    path: Path, *, made_of: Weights | None = None, hidden: tuple[float, int] = HIDDEN, transposed: bool = False
) -> Path:
    """Write the int8 network; `transposed` puts two TRANSPOSE that undo each other behind the convolution."""
    given = made_of or weights()
    file = TfliteFile()
    x = file.tensor("x", [1, 4, 4, 2], "INT8", (*INPUT, 0))
    kernel = file.tensor(
        "conv.weight", [4, 3, 3, 2], "INT8", (given.conv_scales, 0, 0), given.conv.transpose(0, 2, 3, 1)
    )
    bias = file.tensor(
        "conv.bias",
        [4],
        "INT32",
        (given.conv_scales * np.float32(INPUT[0]), 0, 0),
        _bias(given.conv_bias, given.conv_scales, INPUT),
    )
    conv = file.tensor("conv", [1, 4, 4, 4], "INT8", (*hidden, 0))
    file.operator("CONV_2D", [x, kernel, bias], [conv], _conv_options())
    conv = _transposed_twice(file, conv, hidden) if transposed else conv
    pooled = file.tensor("pooled", [1, 4], "INT8", (*POOLED, 0))
    axes = file.tensor("axes", [2], "INT32", None, np.array([1, 2], np.int32))
    file.operator("MEAN", [conv, axes], [pooled], (schema.BuiltinOptions.ReducerOptions, schema.ReducerOptionsT()))
    dense = file.tensor("dense.weight", [3, 4], "INT8", (given.dense_scales, 0, 0), given.dense)
    dense_bias = file.tensor(
        "dense.bias",
        [3],
        "INT32",
        (given.dense_scales * np.float32(POOLED[0]), 0, 0),
        _bias(given.dense_bias, given.dense_scales, POOLED),
    )
    y = file.tensor("y", [1, 3], "INT8", (*OUTPUT, 0))
    file.operator(
        "FULLY_CONNECTED",
        [pooled, dense, dense_bias],
        [y],
        (schema.BuiltinOptions.FullyConnectedOptions, schema.FullyConnectedOptionsT()),
    )
    return file.save(path, [x], [y])


def write_float_tflite(path: Path) -> Path:
    """Write the float twin."""
    given = weights()
    file = TfliteFile()
    x = file.tensor("x", [1, 4, 4, 2], "FLOAT32", None)
    kernel = file.tensor(
        "conv.weight",
        [4, 3, 3, 2],
        "FLOAT32",
        None,
        (given.conv * given.conv_scales[:, None, None, None]).transpose(0, 2, 3, 1),
    )
    bias = file.tensor("conv.bias", [4], "FLOAT32", None, given.conv_bias)
    conv = file.tensor("conv", [1, 4, 4, 4], "FLOAT32", None)
    file.operator("CONV_2D", [x, kernel, bias], [conv], _conv_options())
    pooled = file.tensor("pooled", [1, 4], "FLOAT32", None)
    axes = file.tensor("axes", [2], "INT32", None, np.array([1, 2], np.int32))
    file.operator("MEAN", [conv, axes], [pooled], (schema.BuiltinOptions.ReducerOptions, schema.ReducerOptionsT()))
    dense = file.tensor("dense.weight", [3, 4], "FLOAT32", None, given.dense * given.dense_scales[:, None])
    y = file.tensor("y", [1, 3], "FLOAT32", None)
    file.operator(
        "FULLY_CONNECTED",
        [pooled, dense, file.tensor("dense.bias", [3], "FLOAT32", None, given.dense_bias)],
        [y],
        (schema.BuiltinOptions.FullyConnectedOptions, schema.FullyConnectedOptionsT()),
    )
    return file.save(path, [x], [y])


def _bias(bias: Array, scales: Array, quantized: tuple[float, int]) -> Array:
    return np.round(bias / (scales * np.float32(quantized[0]))).astype(np.int32)


def _conv_options() -> tuple[int, Any]:
    options = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.SAME, 1, 1
    options.dilationHFactor, options.dilationWFactor = 1, 1
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    return schema.BuiltinOptions.Conv2DOptions, options


def _transposed_twice(file: "TfliteFile", source: int, quantized: tuple[float, int]) -> int:
    for number, order in enumerate(([0, 3, 1, 2], [0, 2, 3, 1])):
        permutation = file.tensor(f"permutation{number}", [4], "INT32", None, np.array(order, np.int32))
        target = file.tensor(f"transposed{number}", [1, 4, 4, 4], "INT8", (*quantized, 0))
        file.operator(
            "TRANSPOSE",
            [source, permutation],
            [target],
            (schema.BuiltinOptions.TransposeOptions, schema.TransposeOptionsT()),
        )
        source = target
    return source


class TfliteFile:
    """A TFLite file in the making."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.name = [], [], "main"
        self.model.version, self.model.operatorCodes, self.model.buffers = 3, [], [schema.BufferT()]
        self.model.subgraphs, self.model.description = [self.graph], "small"

    def tensor(
        self, name: str, shape: list[int], dtype: str, quantized: Quantized | None, value: Array | None = None
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, getattr(schema.TensorType, dtype), 0
        if quantized is not None:
            table = schema.QuantizationParametersT()
            table.scale = np.atleast_1d(np.asarray(quantized[0], np.float32)).tolist()
            table.zeroPoint, table.quantizedDimension = [quantized[1]] * len(table.scale), quantized[2]
            tensor.quantization = table
        if value is not None:
            buffer = schema.BufferT()
            stored = value.astype(np.float32) if dtype == "FLOAT32" else value
            buffer.data = np.frombuffer(np.ascontiguousarray(stored).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, name: str, inputs: list[int], outputs: list[int], options: tuple[int, Any]) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = 5 if name in ("CONV_2D", "FULLY_CONNECTED") else 2
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.model.operatorCodes) - 1, inputs, outputs
        operator.builtinOptionsType, operator.builtinOptions = options
        self.graph.operators.append(operator)

    def save(self, path: Path, inputs: list[int], outputs: list[int]) -> Path:
        self.graph.inputs, self.graph.outputs = inputs, outputs
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path
