"""Shapes and types of every tensor of an ONNX file for a batch of one, by ONNX's own inference.

The weights are left out before it runs, so it costs what the graph costs. It is C++ that reads a stranger's file: call it
in a process that may crash (`examiner` does). https://onnx.ai/onnx/api/shape_inference.html
"""

from collections.abc import Mapping

import onnx
from onnx import GraphProto, ModelProto, TensorProto, shape_inference

from pipeline.checks.graph import Tensor
from pipeline.checks.onnx_graph import declared

LARGE = 1024
"""Elements of a constant that is a weight and no shape, axis or pad; inference needs the values of the latter."""


def infer(content: bytes) -> Mapping[str, Tensor]:
    """Return what inference tells of each tensor of the main graph; what it can't tell isn't in it."""
    model = onnx.load_model_from_string(content)
    _one_sample(model.graph)
    _without_weights(model.graph)
    done: ModelProto = shape_inference.infer_shapes(model, check_type=False, strict_mode=False, data_prop=True)
    return {
        value.name: declared(value)
        for value in (*done.graph.input, *done.graph.value_info, *done.graph.output)
        if value.type.HasField("tensor_type")
    }


def _one_sample(graph: GraphProto) -> None:
    """Let an open first size of the inputs be 1, and forget what the exporter said of tensors inside."""
    del graph.value_info[:]
    for value in graph.input:
        sizes = value.type.tensor_type.shape.dim
        if sizes and not sizes[0].HasField("dim_value"):
            sizes[0].dim_value = 1
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")


def _without_weights(graph: GraphProto) -> None:
    large = [tensor for tensor in graph.initializer if _elements(tensor) > LARGE]
    kept = [tensor for tensor in graph.initializer if _elements(tensor) <= LARGE]
    named = {value.name for value in graph.input}
    graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in large
        if tensor.name not in named
    )
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _elements(tensor: TensorProto) -> int:
    count = 1
    for size in tensor.dims:
        count *= size
    return count
