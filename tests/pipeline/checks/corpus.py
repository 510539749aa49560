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
    model = unpacked(path.read_bytes())
    edit(model)
    path.write_bytes(packed(model))
    return path


def unpacked(content: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


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
    model.graph.node[0].doc_string = 'File "/Users/somebody/secret-project/train.py", line 12'


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
