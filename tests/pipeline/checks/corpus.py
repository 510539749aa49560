"""A corpus of broken exports, each with one defect: how to build it, and the code that must be found.

All of them are sound small files (`tests.small_files`) after one edit, so that whatever else is found is a false alarm;
`also` names what follows from the defect itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from pipeline.checks.finding import Promises, Severity
from targets import Target
from tests import small_files

Build = Callable[[Path], Path]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Broken:
    """One broken export."""

    name: str
    code: str
    severity: Severity
    build: Build
    also: tuple[str, ...] = ()
    target: Callable[[Path], Target] | None = None
    promises: Promises | None = None


def onnx_with(edit: Callable[[onnx.ModelProto], None], **form: Any) -> Build:
    """Build the int8 ONNX network and edit it."""

    def build(folder: Path) -> Path:
        path = small_files.write_onnx(folder / "model.onnx", **form)
        return _edit_onnx(path, edit)

    return build


def float_onnx_with(edit: Callable[[onnx.ModelProto], None]) -> Build:
    """Build the float ONNX network and edit it."""
    return lambda folder: _edit_onnx(small_files.write_float_onnx(folder / "model.onnx"), edit)


def tflite_with(edit: Callable[[Any], None], **form: Any) -> Build:
    """Build the int8 TFLite network and edit its object form."""
    return lambda folder: edit_tflite(small_files.write_tflite(folder / "model.tflite", **form), edit)


def float_tflite_with(edit: Callable[[Any], None]) -> Build:
    """Build the float TFLite network and edit its object form."""
    return lambda folder: edit_tflite(small_files.write_float_tflite(folder / "model.tflite"), edit)


def _edit_onnx(path: Path, edit: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(path)
    model.producer_name = "a test"
    edit(model)
    path.write_bytes(model.SerializeToString())
    return path


def edit_tflite(path: Path, edit: Callable[[Any], None]) -> Path:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    edit(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def nothing(_: Any) -> None:
    """Leave a file as it is."""


# ONNX edits


def replace(graph: onnx.GraphProto, name: str, value: Array) -> None:
    kept = [constant for constant in graph.initializer if constant.name != name]
    del graph.initializer[:]
    graph.initializer.extend([*kept, numpy_helper.from_array(value, name)])


def node(model: onnx.ModelProto, op: str) -> onnx.NodeProto:
    found: onnx.NodeProto = next(each for each in model.graph.node if each.op_type == op)
    return found


def constant(name: str, value: Array) -> Callable[[onnx.ModelProto], None]:
    return lambda model: replace(model.graph, name, value)


def unknown_operator(model: onnx.ModelProto) -> None:
    node(model, "Relu").op_type = "NoSuchOperator"


def custom_domain(model: onnx.ModelProto) -> None:
    node(model, "Relu").domain = "org.acme"
    model.opset_import.append(helper.make_opsetid("org.acme", 1))


def opset(version: int) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = version

    return edit


def ir_version(model: onnx.ModelProto) -> None:
    model.ir_version = 99


def dropout(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "ratio"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.bool_), "training"))
    _insert(model, helper.make_node("Dropout", ["r", "ratio", "training"], ["r.dropped"]), "GlobalAveragePool")


def idle_dropout(model: onnx.ModelProto) -> None:
    _insert(model, helper.make_node("Dropout", ["r"], ["r.dropped"]), "GlobalAveragePool")


def batch_normalisation(model: onnx.ModelProto) -> None:
    names = ["scale", "shift", "mean", "variance"]
    for name in names:
        model.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), name))
    outputs = ["r.normal", "running.mean", "running.variance"]
    _insert(model, helper.make_node("BatchNormalization", ["r", *names], outputs, training_mode=1), "GlobalAveragePool")


def float64(model: onnx.ModelProto) -> None:
    _insert(model, helper.make_node("Cast", ["r"], ["r.wide"], to=TensorProto.DOUBLE), "GlobalAveragePool")
    model.graph.node.insert(3, helper.make_node("Sqrt", ["r.wide"], ["r.root"]))
    model.graph.node.insert(4, helper.make_node("Cast", ["r.root"], ["r.narrow"], to=TensorProto.FLOAT))
    node(model, "GlobalAveragePool").input[0] = "r.narrow"


def _insert(model: onnx.ModelProto, made: onnx.NodeProto, before: str) -> None:
    """Put a node between an operator and what it reads."""
    at = next(index for index, each in enumerate(model.graph.node) if each.op_type == before)
    model.graph.node.insert(at, made)
    node(model, before).input[0] = made.output[0]


def bypassed(model: onnx.ModelProto) -> None:
    node(model, "GlobalAveragePool").input[0] = "r"


def unsigned_weights(model: onnx.ModelProto) -> None:
    replace(model.graph, "conv.stored", np.arange(72, dtype=np.uint8).reshape(4, 2, 3, 3))
    replace(model.graph, "conv.zero_points", np.full(4, 128, np.uint8))


def one_scale(model: onnx.ModelProto) -> None:
    replace(model.graph, "conv.scales", np.array(0.005, np.float32))
    replace(model.graph, "conv.zero_points", np.array(0, np.int8))


def shared_zero(model: onnx.ModelProto) -> None:
    one_scale(model)
    replace(model.graph, "dense.scales", np.array(0.015, np.float32))
    next(
        each for each in model.graph.node if each.op_type == "DequantizeLinear" and each.input[0] == "dense.stored"
    ).input[2] = "conv.zero_points"


def another_scale(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "other.scale"))
    next(each for each in model.graph.node if each.op_type == "DequantizeLinear" and each.input[0] == "r.stored").input[
        1
    ] = "other.scale"


def transposed_pair(model: onnx.ModelProto) -> None:
    first = helper.make_node("Transpose", ["r"], ["r.last"], perm=[0, 2, 3, 1])
    at = next(index for index, each in enumerate(model.graph.node) if each.op_type == "GlobalAveragePool")
    model.graph.node.insert(at, first)
    model.graph.node.insert(at + 1, helper.make_node("Sigmoid", ["r.last"], ["r.sigmoid"]))
    model.graph.node.insert(at + 2, helper.make_node("Transpose", ["r.sigmoid"], ["r.first"], perm=[0, 3, 1, 2]))
    node(model, "GlobalAveragePool").input[0] = "r.first"


def duplicate(model: onnx.ModelProto) -> None:
    table = np.arange(1024, dtype=np.float32).reshape(1, 4, 16, 16)
    for name in ("table", "copy"):
        model.graph.initializer.append(numpy_helper.from_array(table, name))
    model.graph.node.extend(
        [
            helper.make_node("Add", ["table", "copy"], ["tables"]),
            helper.make_node("ReduceMean", ["tables"], ["table.mean"], keepdims=0),
            helper.make_node("Add", ["y", "table.mean"], ["z"]),
        ]
    )
    model.graph.output[0].name = "z"


def unused_constant(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.ones(2048, np.float32), "forgotten"))


def unused_node(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["c"], ["forgotten"]))


def external(location: str, *, length: int = 288, make: int | None = None, link: str = "") -> Build:
    """Build the float network with the convolution's weights in another file, `make` bytes long."""

    def build(folder: Path) -> Path:
        path = small_files.write_float_onnx(folder / "model.onnx")
        if make is not None:
            (folder / (link or location)).write_bytes(bytes(range(64)) * (make // 64) + bytes(make % 64))
        if link:
            (folder / location).symlink_to(folder / link)
        return _edit_onnx(path, lambda model: _outside(model, location, length))

    return build


def _outside(model: onnx.ModelProto, location: str, length: int) -> None:
    tensor = next(each for each in model.graph.initializer if each.name == "conv.weight")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)


def no_author(model: onnx.ModelProto) -> None:
    model.producer_name = ""


def path_told(model: onnx.ModelProto) -> None:
    model.graph.node[0].doc_string = 'File "/home/somebody/secret-project/train.py", line 12'


def heavy_metadata(model: onnx.ModelProto) -> None:
    model.metadata_props.add(key="source", value="a line of code\n" * 4000)


def open_size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].ClearField("dim_value")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"


def wide_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    model.graph.node.insert(0, helper.make_node("Cast", ["x"], ["x.float"], to=TensorProto.FLOAT))
    node(model, "Conv").input[0] = "x.float"


def training_information(model: onnx.ModelProto) -> None:
    model.training_info.add()


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
