"""Edits of the small TFLite network, each of which breaks one thing: see `corpus`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.pipeline.checks.corpus import Array

# TFLite edits


def tensor(model: Any, name: str) -> Any:
    return next(each for each in model.subgraphs[0].tensors if each.name in (name, name.encode()))


def operator(model: Any, op: str) -> Any:
    code = getattr(schema.BuiltinOperator, op)
    index = next(index for index, each in enumerate(model.operatorCodes) if each.builtinCode == code)
    return next(each for each in model.subgraphs[0].operators if each.opcodeIndex == index)


def stored(name: str, value: Array) -> Callable[[Any], None]:
    """Put other bytes behind a tensor."""

    def edit(model: Any) -> None:
        model.buffers[tensor(model, name).buffer].data = np.frombuffer(value.tobytes(), np.uint8)

    return edit


def scaled(name: str, scale: float, zero_point: int = 0) -> Callable[[Any], None]:
    """Give a tensor one other scale and zero point."""

    def edit(model: Any) -> None:
        quantization = tensor(model, name).quantization
        quantization.scale = [scale] * len(quantization.scale)
        quantization.zeroPoint = [zero_point] * len(quantization.scale)

    return edit


def custom_operator(name: str) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        index = operator(model, "MEAN").opcodeIndex
        code = model.operatorCodes[index]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = name
        each = model.subgraphs[0].operators[1]
        each.builtinOptionsType, each.builtinOptions = schema.BuiltinOptions.NONE, None

    return edit


def schema_version(model: Any) -> None:
    model.version = 2


def open_batch(model: Any) -> None:
    tensor(model, "x").shapeSignature = [-1, 4, 4, 2]


def open_height(model: Any) -> None:
    tensor(model, "x").shapeSignature = [1, -1, 4, 2]


def other_operator(op: str) -> Callable[[Any], None]:
    """Put an operator that nobody reads beside the others."""

    def edit(model: Any) -> None:
        add(model, op, [tensor_index(model, "conv")], like="conv", name="beside")
        model.subgraphs[0].outputs = [*model.subgraphs[0].outputs, len(model.subgraphs[0].tensors) - 1]

    return edit


def dead_operator(model: Any) -> None:
    add(model, "RELU", [tensor_index(model, "conv")], like="conv", name="forgotten")


def tensor_index(model: Any, name: str) -> int:
    return int(model.subgraphs[0].tensors.index(tensor(model, name)))


def add(model: Any, op: str, inputs: list[int], *, like: str, name: str) -> Any:
    """Append an operator whose output is like another tensor; return the output."""
    graph, pattern = model.subgraphs[0], tensor(model, like)
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(pattern.shape), pattern.type, 0
    if pattern.quantization is not None:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = list(pattern.quantization.scale)
        made.quantization.zeroPoint = list(pattern.quantization.zeroPoint)
    graph.tensors.append(made)
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = getattr(schema.BuiltinOperator, op), 2
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    model.operatorCodes.append(code)
    each = schema.OperatorT()
    each.opcodeIndex, each.inputs, each.outputs = len(model.operatorCodes) - 1, inputs, [len(graph.tensors) - 1]
    graph.operators.append(each)
    return made


def reshaped_to_another_scale(model: Any) -> None:
    made = add(model, "RESHAPE", [tensor_index(model, "y")], like="y", name="z")
    made.quantization.scale = [0.5]
    model.subgraphs[0].outputs = [len(model.subgraphs[0].tensors) - 1]


def softmax(scale: float, zero_point: int) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        made = add(model, "SOFTMAX", [tensor_index(model, "y")], like="y", name="z")
        made.quantization.scale, made.quantization.zeroPoint = [scale], [zero_point]
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        each = model.subgraphs[0].operators[-1]
        each.builtinOptionsType, each.builtinOptions = schema.BuiltinOptions.SoftmaxOptions, options
        model.subgraphs[0].outputs = [len(model.subgraphs[0].tensors) - 1]

    return edit


def float_edges(model: Any) -> None:
    """Let the caller give and take floats, as converters do by default."""
    graph = model.subgraphs[0]
    for name, op in (("x", "QUANTIZE"), ("y", "DEQUANTIZE")):
        made = add(model, op, [], like=name, name=f"{name}.float")
        made.type, made.quantization = schema.TensorType.FLOAT32, None
        each, edge, inside = graph.operators[-1], len(graph.tensors) - 1, tensor_index(model, name)
        each.inputs, each.outputs = ([edge], [inside]) if name == "x" else ([inside], [edge])
        if name == "x":
            graph.operators.insert(0, graph.operators.pop())
            graph.inputs = [edge]
        else:
            graph.outputs = [edge]


def hybrid(model: Any) -> None:
    """Store the dense layer's weights as int8, and leave the activations in float."""
    weights = tensor(model, "dense.weight")
    weights.type = schema.TensorType.INT8
    weights.quantization = schema.QuantizationParametersT()
    weights.quantization.scale, weights.quantization.zeroPoint = [0.01], [0]
    model.buffers[weights.buffer].data = np.arange(-6, 6, dtype=np.int8).view(np.uint8)
    code = model.operatorCodes[operator(model, "FULLY_CONNECTED").opcodeIndex]
    code.version = 3


def unused_tensor(model: Any) -> None:
    buffer = schema.BufferT()
    buffer.data = np.zeros(4096, np.uint8)
    model.buffers.append(buffer)
    made = schema.TensorT()
    made.name, made.shape, made.type = "forgotten", [4096], schema.TensorType.UINT8
    made.buffer = len(model.buffers) - 1
    model.subgraphs[0].tensors.append(made)


def int64_output(model: Any) -> None:
    made = add(model, "ARG_MAX", [tensor_index(model, "y")], like="y", name="z")
    made.shape, made.type, made.quantization = [1], schema.TensorType.INT64, None
    axis = schema.TensorT()
    axis.name, axis.shape, axis.type = "axis", [], schema.TensorType.INT32
    buffer = schema.BufferT()
    buffer.data = np.array([1], np.int32).view(np.uint8)
    model.buffers.append(buffer)
    axis.buffer = len(model.buffers) - 1
    graph = model.subgraphs[0]
    graph.tensors.append(axis)
    each = graph.operators[-1]
    each.inputs = [*each.inputs, len(graph.tensors) - 1]
    options = schema.ArgMaxOptionsT()
    options.outputType = schema.TensorType.INT64
    each.builtinOptionsType, each.builtinOptions = schema.BuiltinOptions.ArgMaxOptions, options
    graph.outputs = [len(graph.tensors) - 2]


def no_description(model: Any) -> None:
    model.description = None
