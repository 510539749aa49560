"""Which operators compute, which only move data, and which of them run on integers.

ONNX is judged twice: the file shows what was written (Q/DQ pairs around float operators), and ONNX Runtime's optimised
graph shows what will run. `fused_graph` asks it, in a bounded subprocess. A TFLite file says it by its tensors' types.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from devices import runner
from devices.sandbox import explain, run_python
from pipeline.checks.graph import UNKNOWN, Graph, Node, read_graph
from pipeline.errors import ModelError

QUANTISING = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QUANTIZE", "DEQUANTIZE"})
WEIGHTED = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv", "FusedGemm", "FusedMatMul"}
    | {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "FULLY_CONNECTED", "BATCH_MATMUL"}
)
"""Operators that multiply by weights: the second input of each."""

MOVES_DATA = frozenset(
    {
        "Reshape",
        "Transpose",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Slice",
        "Gather",
        "GatherElements",
        "GatherND",
        "Concat",
    }
    | {
        "Split",
        "Pad",
        "MaxPool",
        "Identity",
        "Expand",
        "Tile",
        "DepthToSpace",
        "SpaceToDepth",
        "ReorderInput",
        "ReorderOutput",
    }
    | {"Shape", "Constant", "ConstantOfShape", "Cast", "Range", "If", "Loop", "Scan", "Where", "Equal", "ArgMax"}
)
"""ONNX operators that compute nothing new of their values: in float or not, they cost no precision and no multiplier."""

_INTEGER_PREFIXES = ("QLinear", "QGemm", "MatMulInteger", "ConvInteger", "DynamicQuantize", "QAttention", "MatMulNBits")


def fused_graph(path: Path) -> Graph:
    """Return the graph that ONNX Runtime makes of an ONNX file before it runs it; ModelError when it refuses the file."""
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "fused.onnx"
        finished = run_python(Path(runner.__file__), ["--model", str(path), "--optimised", str(optimised)])
        if not finished.ok:
            raise ModelError(f"ONNX Runtime refuses {path}: the session {explain(finished)}; export it again")
        return read_graph(optimised)


def float_operators(graph: Graph) -> tuple[Node, ...]:
    """Return the nodes that compute in float: of a TFLite file, or of an ONNX file's fused graph."""
    return tuple(node for node in graph.nodes if _computes_in_float(graph, node))


def operators_in_float(path: Path) -> tuple[Node, ...]:
    """Return the operators of a file that its runtime computes in float."""
    return float_operators(fused_graph(path) if path.suffix == ".onnx" else read_graph(path))


def weights(graph: Graph) -> Iterator[tuple[Node, str, bool]]:
    """Yield (node, constant, quantised on load) for each operator's weights: the constant that they are stored as.

    The last says that a float constant is turned into integers each time the file is opened.
    """
    for node in graph.nodes:
        index = _weight_index(node)
        if index is not None and len(node.inputs) > index:
            name, quantised = stored_as(graph, node.inputs[index])
            if name in graph.tensors and graph.tensors[name].constant:
                yield node, name, quantised


def _weight_index(node: Node) -> int | None:
    if node.op in ("QLinearConv", "QLinearMatMul", "QGemm"):
        return 3
    return 1 if node.op in WEIGHTED or node.op in ("ConvInteger", "MatMulInteger") else None


def stored_as(graph: Graph, name: str) -> tuple[str, bool]:
    """Follow a weight back to the constant that it comes from, through whatever is done to it on load."""
    quantised = False
    for _ in range(len(graph.nodes)):
        node = graph.producers.get(name)
        if node is None or not node.inputs or node.op in WEIGHTED:
            break
        quantised = quantised or node.op in ("QuantizeLinear", "QUANTIZE")
        name = node.inputs[0]
    return name, quantised


def _computes_in_float(graph: Graph, node: Node) -> bool:
    if node.op in QUANTISING:
        return False
    if graph.format == "tflite":
        return any(graph.tensors[name].dtype.startswith(("float", "bfloat")) for name in node.outputs if name)
    if node.op in MOVES_DATA or node.op.startswith(_INTEGER_PREFIXES):
        return False
    types = {graph.tensors[name].dtype for name in node.outputs if name}
    return UNKNOWN in types or any(dtype.startswith(("float", "bfloat")) for dtype in types)
