"""ONNX files as a Graph: protobuf's own parser reads the bytes, external data is never followed.

Scales stand beside a tensor, not on it: a QuantizeLinear gives its output's, a DequantizeLinear its input's, and a
QLinear* operator those of its operands. They are read from the constants that these nodes name.

Operators: https://onnx.ai/onnx/operators/ and https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

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
        return _graph(model.graph, len(content), path)
    except (ValueError, IndexError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"model {path} is a broken ONNX file ({str(error)[:120]}); export it again") from error


def _graph(proto: GraphProto, size_bytes: int, path: Path) -> Graph:
    raw = list(_all_nodes(proto, 0))
    if not raw:
        raise ModelError(
            f"model {path} is neither ONNX nor TFLite: it holds no operator; give an .onnx or .tflite file"
        )
    constants = _constants(proto, raw)
    scales = _scales(raw, constants)
    tensors = _tensors(proto, constants, scales)
    nodes = tuple(Node(node.op_type, tuple(node.input), tuple(node.output)) for node in raw)
    for name in (name for node in nodes for name in (*node.inputs, *node.outputs) if name and name not in tensors):
        dtype = scales[name].dtype if name in scales else UNKNOWN
        tensors[name] = Tensor(name, dtype, None, _of(scales, name), constant=False, size_bytes=0)
    inputs = tuple(value.name for value in proto.input if value.name not in constants)
    return Graph(path, "onnx", size_bytes, nodes, tensors, inputs, tuple(value.name for value in proto.output))


def _all_nodes(proto: GraphProto, depth: int) -> Iterator[NodeProto]:
    if depth > MAX_NESTING:
        raise ValueError(f"graphs nested deeper than {MAX_NESTING}")
    for node in proto.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _all_nodes(attribute.g, depth + 1)


def _constants(proto: GraphProto, nodes: list[NodeProto]) -> dict[str, TensorProto]:
    found = {constant.name: constant for constant in proto.initializer}
    for node in nodes:
        if node.op_type == "Constant" and any(attribute.name == "value" for attribute in node.attribute):
            found |= dict.fromkeys(
                node.output, next(attribute.t for attribute in node.attribute if attribute.name == "value")
            )
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
    known: dict[str, tuple[float, ...]] = {}  # one constant may be the scale of many nodes
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


def _values(constant: TensorProto, known: dict[str, tuple[float, ...]]) -> tuple[float, ...]:
    if constant.data_location == TensorProto.EXTERNAL:
        raise ValueError(f"scale {constant.name[:60]!r} lies in another file")
    if constant.name not in known:
        known[constant.name] = tuple(float(value) for value in numpy_helper.to_array(constant).ravel())
    return known[constant.name]


def _tensors(proto: GraphProto, constants: dict[str, TensorProto], scales: dict[str, _Scaled]) -> dict[str, Tensor]:
    declared = {value.name: value for value in (*proto.value_info, *proto.input, *proto.output)}
    tensors = {name: _declared(value, scales) for name, value in declared.items()}
    for name, constant in constants.items():
        shape = tuple(constant.dims)
        tensors[name] = Tensor(
            name,
            _dtype(constant.data_type),
            shape,
            _of(scales, name),
            constant=True,
            size_bytes=_constant_bytes(constant),
        )
    return tensors


def _declared(value: ValueInfoProto, scales: dict[str, _Scaled]) -> Tensor:
    kind = value.type.tensor_type
    shape = (
        tuple(size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim)
        if kind.HasField("shape")
        else None
    )
    return Tensor(value.name, _dtype(kind.elem_type), shape, _of(scales, value.name), constant=False, size_bytes=0)


def _constant_bytes(constant: TensorProto) -> int:
    # What the values take; a field that isn't raw holds them as varints, whose size no user asks for.
    if constant.raw_data:
        return len(constant.raw_data)
    itemsize = int(helper.tensor_dtype_to_np_dtype(constant.data_type).itemsize)
    return int(math.prod(constant.dims)) * itemsize


def _dtype(code: int) -> str:
    name = str(TensorProto.DataType.Name(TensorProto.DataType.ValueType(code)))
    return {"UNDEFINED": UNKNOWN, "FLOAT": "float32", "DOUBLE": "float64"}.get(name, name.lower())
