"""Copies of a model file that also answer what lies inside, so that two files can be compared layer by layer.

The inner tensors become outputs of the file itself, and the runtime runs it as it always does: fused in ONNX Runtime,
delegated to XNNPACK in LiteRT. One way serves both formats. (LiteRT's `experimental_preserve_all_tensors` gave the same
values where both were tried, for TFLite alone.)
"""

import struct
from collections.abc import Sequence
from pathlib import Path

import onnx
from ai_edge_litert import schema_py_generated as schema

from pipeline.checks.graph import Graph

SUBGRAPH_OUTPUTS = 8
"""Where a subgraph's vtable keeps its outputs: the third field, after a header of 4 bytes, 2 bytes each."""


def inner_tensors(graph: Graph) -> tuple[str, ...]:
    """Return the quantised activations in the order in which the graph makes them, inputs and outputs included."""
    made = (*graph.inputs, *(name for node in graph.nodes for name in node.outputs))
    return tuple(name for name in dict.fromkeys(made) if name and _activation(graph, name))


def expose(graph: Graph, names: Sequence[str], copy: Path) -> Path:
    """Write a copy of a graph's file with these tensors behind its outputs."""
    write = _expose_onnx if graph.format == "onnx" else _expose_tflite
    copy.write_bytes(write(graph, names))
    return copy


def _activation(graph: Graph, name: str) -> bool:
    tensor = graph.tensors[name]
    if tensor.constant or tensor.quantization is None or tensor.dtype not in ("int8", "uint8"):
        return False
    node = graph.producers.get(name)
    return node is None or not (
        node.inputs and node.inputs[0] in graph.tensors and graph.tensors[node.inputs[0]].constant
    )


def _expose_onnx(graph: Graph, names: Sequence[str]) -> bytes:
    model = onnx.load(graph.path)
    codes = {"int8": onnx.TensorProto.INT8, "uint8": onnx.TensorProto.UINT8}
    for name in names:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, codes[graph.tensors[name].dtype], None))
    content: bytes = model.SerializeToString()
    return content


def _expose_tflite(graph: Graph, names: Sequence[str]) -> bytes:
    """Append a longer vector of outputs to the file and point the subgraph at it; offsets in a flatbuffer lead forward."""
    content = bytearray(graph.path.read_bytes())
    content += bytes(-len(content) % 4)
    order = {
        name: index for index, name in enumerate(graph.tensors)
    }  # the first subgraph's tensors come first, by index
    outputs = [order[name] for name in (*graph.outputs, *names)]
    table = schema.Model.GetRootAs(bytes(content), 0).Subgraphs(0)._tab  # noqa: SLF001  # the schema has no writer in place
    place = table.Pos + table.Offset(SUBGRAPH_OUTPUTS)
    struct.pack_into("<I", content, place, len(content) - place)
    return bytes(content) + struct.pack(f"<I{len(outputs)}i", len(outputs), *outputs)
