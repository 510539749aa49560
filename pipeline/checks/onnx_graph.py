"""ONNX files as a Graph: protobuf's own parser reads the bytes, external data is never followed.

Scales stand beside a tensor, not on it: a QuantizeLinear gives its output's, a DequantizeLinear its input's, and a
QLinear* operator those of its operands. They are read from the constants that these nodes name.

Operators: https://onnx.ai/onnx/operators/ and https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from pipeline.checks.about import about_onnx
from pipeline.checks.content import SMALL, content_of, small_integers
from pipeline.checks.footprint import BITS
from pipeline.checks.graph import UNKNOWN, Graph, Node, Quantization, Tensor
from pipeline.errors import ModelError

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
DEFAULT_DTYPE = "uint8"  # of a quantising node without a zero point
MAX_NESTING = 16

# Where a QLinear operator keeps (tensor, scale, zero point) among its inputs, and (scale, zero point) of its output.
_BINARY = (((0, 1, 2), (3, 4, 5)), (6, 7))
_UNARY = (((0, 1, 2),), (3, 4))
QLINEAR = {
    "QLinearConv": _BINARY,
    "QLinearMatMul": _BINARY,
    "QLinearAdd": _BINARY,
    "QLinearMul": _BINARY,
    "QGemm": (((0, 1, 2), (3, 4, 5)), (7, 8)),
    "QLinearGlobalAveragePool": _UNARY,
    "QLinearAveragePool": _UNARY,
    "QLinearReduceMean": _UNARY,
    "QLinearSigmoid": _UNARY,
    "QLinearLeakyRelu": _UNARY,
    "QLinearSoftmax": _UNARY,
}


def parse_onnx(content: bytes, path: Path) -> Graph:
    """Return the graph in an ONNX file's bytes; ModelError when they are broken."""
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RecursionError) as error:
        raise ModelError(
            f"model {path} is neither ONNX nor TFLite ({str(error)[:120]}); give an .onnx or .tflite file"
        ) from error
    try:
        return _graph(model, len(content), path)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ModelError(f"model {path} is a broken ONNX file ({str(error)[:120]}); export it again") from error


def _graph(model: ModelProto, size_bytes: int, path: Path) -> Graph:
    proto = model.graph
    raw = list(_all_nodes(proto, _Count()))
    if not raw:
        raise ModelError(
            f"model {path} is neither ONNX nor TFLite: it holds no operator; give an .onnx or .tflite file"
        )
    graphs = [proto, *(graph for nested in raw for graph in nested.graphs)]
    constants = _constants(graphs, [nested.proto for nested in raw])
    scales = _scales([nested.proto for nested in raw], constants)
    tensors = _tensors(graphs, constants, scales)
    nodes = tuple(_node(nested) for nested in raw)
    for name in (name for node in nodes for name in (*node.inputs, *node.outputs) if name and name not in tensors):
        dtype = scales[name].dtype if name in scales else UNKNOWN
        tensors[name] = Tensor(name, dtype, None, _of(scales, name), constant=False, size_bytes=0)
    inputs = tuple(value.name for value in proto.input if value.name not in constants)
    outputs = tuple(value.name for value in proto.output)
    for name in (name for name in (*inputs, *outputs) if name not in tensors):
        raise ValueError(f"an input or output that nothing makes: {name[:60]!r}")
    kept = frozenset(value.name for graph in graphs[1:] for value in graph.output)
    about = about_onnx(model, [(constant, tensors[name].size_bytes) for name, constant in constants.items()])
    graph = Graph(path, "onnx", size_bytes, nodes, tensors, inputs, outputs, kept, about)
    if not all(isinstance(text, str) for text in _texts(graph)):  # protobuf gives what isn't UTF-8 as bytes
        raise ValueError("a name that is no text")
    return graph


def _texts(graph: Graph) -> Iterator[object]:
    """Yield every string that came out of the file."""
    about = graph.about
    yield from (name for node in graph.nodes for name in (node.op, node.domain, *node.inputs, *node.outputs))
    yield from (name for node in graph.nodes for name, _ in node.attributes)
    yield from (*graph.tensors, *graph.inputs, *graph.outputs, *graph.kept, about.producer)
    yield from (part for pair in (*about.texts, *about.functions) for part in pair)
    yield from (domain for domain, _ in about.opsets)
    yield from (part for each in about.external for part in (each.tensor, each.location))


@dataclass
class _Count:
    """How many graphs were met so far: each gets a number, the main one 0."""

    graphs: int = 0

    def next(self) -> int:
        self.graphs += 1
        return self.graphs


@dataclass(frozen=True)
class _Nested:
    """A node, the number of the graph that holds it, and the graphs that it holds."""

    proto: NodeProto
    number: int
    graphs: tuple[GraphProto, ...]


def _all_nodes(proto: GraphProto, count: _Count, *, number: int = 0, depth: int = 0) -> Iterator[_Nested]:
    if depth > MAX_NESTING:
        raise ValueError(f"graphs nested deeper than {MAX_NESTING}")
    for node in proto.node:
        held = tuple(
            graph
            for attribute in node.attribute
            for graph in ((attribute.g,) if attribute.type == AttributeProto.GRAPH else attribute.graphs)
        )
        yield _Nested(node, number, held)
        for graph in held:
            yield from _all_nodes(graph, count, number=count.next(), depth=depth + 1)


def _node(nested: _Nested) -> Node:
    node = nested.proto
    domain = "" if node.domain == "ai.onnx" else node.domain
    attributes = tuple(
        (attribute.name, values) for attribute in node.attribute if (values := _numbers(attribute)) is not None
    )
    return Node(node.op_type, tuple(node.input), tuple(node.output), domain, graph=nested.number, attributes=attributes)


def _numbers(attribute: AttributeProto) -> tuple[float, ...] | None:
    if attribute.type == AttributeProto.INT:
        return (attribute.i,)
    if attribute.type == AttributeProto.FLOAT:
        return (attribute.f,)
    if attribute.type == AttributeProto.INTS and len(attribute.ints) <= SMALL:
        return tuple(attribute.ints)
    return None


def _constants(graphs: list[GraphProto], nodes: list[NodeProto]) -> dict[str, TensorProto]:
    found = {constant.name: constant for graph in reversed(graphs) for constant in graph.initializer}
    for node in nodes:
        if node.op_type == "Constant" and node.output:
            value = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
            if value is not None:
                found[node.output[0]] = value
    return found


@dataclass(frozen=True)
class _Scaled:
    quantization: Quantization
    dtype: str


def _of(scales: dict[str, _Scaled], name: str) -> Quantization | None:
    return scales[name].quantization if name in scales else None


def _scales(nodes: list[NodeProto], constants: dict[str, TensorProto]) -> dict[str, _Scaled]:
    """Return the scales of each tensor that a node gives constant ones."""
    found: dict[str, _Scaled] = {}
    known: dict[int, tuple[float, ...]] = {}  # one constant may be the scale of many nodes
    for node in nodes:
        for name, scale, zero_point in _operands(node):
            if name and scale in constants:
                scales = _values(constants[scale], known)
                zero_points = _values(constants[zero_point], known) if zero_point in constants else (0.0,) * len(scales)
                dtype = _dtype(constants[zero_point].data_type) if zero_point in constants else DEFAULT_DTYPE
                axis = _axis(node) if len(scales) > 1 else None
                found[name] = _Scaled(Quantization(scales, tuple(map(int, zero_points)), axis), dtype)
    return found


def _operands(node: NodeProto) -> Iterator[tuple[str, str, str]]:
    """Yield (tensor, its scale, its zero point) for what a quantising node reads or writes."""
    names = [*node.input, "", "", ""]
    if node.op_type == QUANTIZE:
        yield node.output[0], names[1], names[2]
    elif node.op_type == DEQUANTIZE:
        yield names[0], names[1], names[2]
    elif node.op_type in QLINEAR:
        names += [""] * 8
        operands, (scale, zero_point) = QLINEAR[node.op_type]
        for tensor, its_scale, its_zero_point in operands:
            yield names[tensor], names[its_scale], names[its_zero_point]
        yield node.output[0], names[scale], names[zero_point]


def _axis(node: NodeProto) -> int:
    if node.op_type not in (QUANTIZE, DEQUANTIZE):
        return 0  # QLinear operators keep one scale an output channel, and output channels first
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)


def _values(constant: TensorProto, known: dict[int, tuple[float, ...]]) -> tuple[float, ...]:
    if constant.data_location == TensorProto.EXTERNAL:
        raise ValueError(f"scale {constant.name[:60]!r} lies in another file")
    if id(constant) not in known:
        known[id(constant)] = tuple(float(value) for value in numpy_helper.to_array(constant).ravel())
    if not known[id(constant)]:
        raise ValueError(f"scale {constant.name[:60]!r} is empty")
    return known[id(constant)]


def _tensors(
    graphs: list[GraphProto], constants: dict[str, TensorProto], scales: dict[str, _Scaled]
) -> dict[str, Tensor]:
    known = {
        value.name: value
        for graph in reversed(graphs)
        for value in (*graph.value_info, *graph.input, *graph.output)
        if value.name
    }
    tensors = {name: replace(declared(value), quantization=_of(scales, name)) for name, value in known.items()}
    for number, (name, constant) in enumerate(constants.items()):
        tensors[name] = _constant(name, number, constant, scales)
    return tensors


def _constant(name: str, number: int, constant: TensorProto, scales: dict[str, _Scaled]) -> Tensor:
    array = None
    if constant.data_location != TensorProto.EXTERNAL and constant.data_type != TensorProto.STRING:
        array = numpy_helper.to_array(constant)
    return Tensor(
        name,
        _dtype(constant.data_type),
        tuple(constant.dims),
        _of(scales, name),
        constant=True,
        size_bytes=_constant_bytes(constant),
        values=None if array is None else small_integers(array),
        content=None if array is None else content_of(array),
        buffer=number,
    )


def declared(value: ValueInfoProto) -> Tensor:
    """Return what a file, or inference, says of a tensor: its type and its shape."""
    kind = value.type.tensor_type
    shape = (
        tuple(size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim)
        if kind.HasField("shape")
        else None
    )
    return Tensor(value.name, _dtype(kind.elem_type), shape, None, constant=False, size_bytes=0)


def _constant_bytes(constant: TensorProto) -> int:
    # What the values take; a field that isn't raw holds them as varints, whose size no user asks for.
    if constant.raw_data:
        return len(constant.raw_data)
    if constant.data_type == TensorProto.STRING:
        return sum(len(text) for text in constant.string_data)
    itemsize = int(helper.tensor_dtype_to_np_dtype(constant.data_type).itemsize)
    bits = BITS.get(_dtype(constant.data_type), 8 * itemsize)  # numpy unpacks those of less than a byte
    values: int = max(math.prod(constant.dims), 0)
    return math.ceil(values * bits / 8)


def _dtype(code: int) -> str:
    name = str(TensorProto.DataType.Name(TensorProto.DataType.ValueType(code)))
    return {"UNDEFINED": UNKNOWN, "FLOAT": "float32", "DOUBLE": "float64"}.get(name, name.lower())
