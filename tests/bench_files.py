"""Model files for measuring: open sizes, widths that cost, and files that hang, eat memory or crash their runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from tests.small_files import TfliteFile


def write_pool_onnx(path: Path) -> Path:
    """Write a pooling of images of any size: [batch, 2, height, width]."""
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, "height", "width"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return _save(path, [node], [x], [y])


def write_open_tflite(path: Path) -> Path:
    """Write a ReLU of sequences of any length: [1, -1, 2]."""
    file = TfliteFile()
    x, y = (file.tensor(name, [1, 1, 2], "FLOAT32", None) for name in "xy")
    for index in (x, y):
        file.graph.tensors[index].shapeSignature = [1, -1, 2]
    file.operator("RELU", [x], [y], (schema.BuiltinOptions.NONE, None))
    return file.save(path, [x], [y])


def write_wide_onnx(path: Path, width: int, *, layers: int = 3, size: int = 20) -> Path:
    """Write convolutions 3x3 of `width` channels on images: half the width costs about a quarter."""
    random = np.random.default_rng(0)
    kernels = {
        f"w{layer}": random.normal(0, 0.1, (width, width if layer else 3, 3, 3)).astype(np.float32)
        for layer in range(layers)
    }
    names = ["x", *(f"h{layer}" for layer in range(1, layers)), "y"]
    nodes = [
        helper.make_node("Conv", [names[layer], f"w{layer}"], [names[layer + 1]], name=f"conv{layer}", pads=[1] * 4)
        for layer in range(layers)
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, width, size, size])
    return _save(path, nodes, [x], [y], kernels)


def write_endless_onnx(path: Path) -> Path:
    """Write a loop that ends in some thousand years."""
    turn = helper.make_node("Add", ["state", "one"], ["next"])
    keep = helper.make_node("Identity", ["going"], ["goes"])
    scalar: tuple[int, list[int]] = (TensorProto.FLOAT, [1])
    flag: tuple[int, list[int]] = (TensorProto.BOOL, [])
    body = helper.make_graph(
        [turn, keep],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", *flag),
            helper.make_tensor_value_info("state", *scalar),
        ],
        [helper.make_tensor_value_info("goes", *flag), helper.make_tensor_value_info("next", *scalar)],
    )
    node = helper.make_node("Loop", ["turns", "", "x"], ["y"], body=body)
    constants: dict[str, np.ndarray[Any, Any]] = {"turns": np.array(2**60, np.int64), "one": np.ones(1, np.float32)}
    x, y = (helper.make_tensor_value_info(name, *scalar) for name in "xy")
    return _save(path, [node], [x], [y], constants)


def write_greedy_onnx(path: Path) -> Path:
    """Write a file of a few hundred bytes that asks for 256 GiB."""
    node = helper.make_node("Expand", ["x", "size"], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2**36])
    return _save(path, [node], [x], [y], {"size": np.array([2**36], np.int64)})


def write_external_onnx(path: Path) -> Path:
    """Write a sum with four weights that lie in `weights.bin` beside it."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", "16")):
        weights.external_data.add(key=key, value=value)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "bench", [x], [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, np.ndarray[Any, Any]] | None = None,
) -> Path:
    stored = [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(nodes, "bench", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path
