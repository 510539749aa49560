"""TFLite files of one operator each, in a given number type, so that a runtime can be asked what it takes.

`one_operator("ADD", "int8")` gives the file's bytes. The operators are those of convolutional networks, keyword spotters
and small transformers; shapes are small, parameters the usual ones, weights constant.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

IMAGE = (1, 8, 8, 8)
ROW = (1, 8)
QUANTISED = ("int8", "uint8", "int16")
VERSIONS = {"BROADCAST_TO": 2}
"""Of operators whose first version no runtime knows."""


@dataclass(frozen=True)
class Slot:
    """A tensor of the operator: of the asked type where `dtype` is None, a constant where `data` is given."""

    shape: tuple[int, ...]
    dtype: str | None = None
    data: Any = None
    scale: float = 0.1
    zero: int | None = None
    channels: int | None = None  # the axis that has a scale for each of its slices, in types that allow it
    bias: bool = False  # int32 or int64, and quantised all the same


@dataclass(frozen=True)
class Form:
    """An operator's inputs, outputs and options."""

    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    options: str = ""
    values: dict[str, Any] = field(default_factory=dict)


def one_operator(op: str, dtype: str) -> bytes:
    """Return a TFLite file of one operator whose activations have this type."""
    form = FORMS[op](dtype)
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs = [], [], []
    operator = schema.OperatorT()
    operator.inputs = [_add(model, graph, slot, dtype) for slot in form.inputs]
    operator.outputs = [_add(model, graph, slot, dtype) for slot in form.outputs]
    graph.inputs = [index for index, slot in zip(operator.inputs, form.inputs, strict=True) if slot.data is None]
    graph.outputs = list(operator.outputs)
    _options(operator, form)
    graph.operators = [operator]
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, op)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = VERSIONS.get(op, 1)
    model.operatorCodes, model.subgraphs = [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _options(operator: Any, form: Form) -> None:
    if form.options:
        options = getattr(schema, f"{form.options}T")()
        for name, value in form.values.items():
            assert hasattr(options, name), (form.options, name)
            setattr(options, name, value)
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, form.options)


def _add(model: Any, graph: Any, slot: Slot, asked: str) -> int:
    dtype = slot.dtype or asked
    tensor = schema.TensorT()
    tensor.name = f"t{len(graph.tensors)}".encode()
    tensor.shape = list(slot.shape)
    tensor.type = getattr(schema.TensorType, dtype.upper())
    tensor.buffer = 0
    if slot.data is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.full(slot.shape, slot.data).astype(dtype).tobytes(), np.uint8)
        tensor.buffer = len(model.buffers)
        model.buffers.append(buffer)
    if dtype in QUANTISED or (slot.bias and asked in QUANTISED):
        tensor.quantization = _quantisation(slot, dtype, per_channel=asked != "uint8")
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _quantisation(slot: Slot, dtype: str, *, per_channel: bool) -> Any:
    given = schema.QuantizationParametersT()
    count = slot.shape[slot.channels] if per_channel and slot.channels is not None else 1
    given.scale = [slot.scale] * count
    given.zeroPoint = [slot.zero if slot.zero is not None else 128 if dtype == "uint8" else 0] * count
    given.quantizedDimension = 0 if count == 1 else slot.channels
    return given


def _probability(shape: tuple[int, ...], dtype: str) -> Slot:
    return Slot(shape, scale=1 / 32768 if dtype == "int16" else 1 / 256, zero=-128 if dtype == "int8" else 0)


def _same(options: str = "", **values: Any) -> Callable[[str], Form]:
    return lambda _: Form((Slot(IMAGE),), (Slot(IMAGE),), options, values)


def _pair(options: str = "", out: str | None = None, **values: Any) -> Callable[[str], Form]:
    return lambda _: Form((Slot(IMAGE), Slot(IMAGE)), (Slot(IMAGE, out),), options, values)


def _shaped(shape: tuple[int, ...], *constants: Slot, options: str = "", **values: Any) -> Callable[[str], Form]:
    return lambda _: Form((Slot(IMAGE), *constants), (Slot(shape),), options, values)


def _ints(*values: int) -> Slot:
    return Slot((len(values),), "int32", np.array(values))


def _weights(shape: tuple[int, ...], dtype: str, axis: int) -> Slot:
    return Slot(shape, "int8" if dtype == "int16" else None, 1, channels=axis)


def _bias(dtype: str, axis: int | None = 0) -> Slot:
    kind = {"int16": "int64", "int8": "int32", "uint8": "int32"}.get(dtype, dtype)
    return Slot((8,), kind, 0, scale=0.01, channels=axis, bias=True)


def _convolution(op: str, shape: tuple[int, ...], axis: int, **values: Any) -> Callable[[str], Form]:
    given = {"padding": 0, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, **values}
    return lambda dtype: Form((Slot(IMAGE), _weights(shape, dtype, axis), _bias(dtype)), (Slot(IMAGE),), op, given)


def _transposed(dtype: str) -> Form:
    sizes = _ints(1, 16, 16, 8)
    values = {"padding": 0, "strideH": 2, "strideW": 2}
    return Form(
        (sizes, _weights((8, 2, 2, 8), dtype, 0), Slot(IMAGE)), (Slot((1, 16, 16, 8)),), "TransposeConvOptions", values
    )


def _dense(dtype: str) -> Form:
    weights = Slot((8, 8), "int8" if dtype == "int16" else None, 1)
    return Form((Slot(ROW), weights, _bias(dtype, None)), (Slot(ROW),), "FullyConnectedOptions")


def _pool() -> Callable[[str], Form]:
    values = {"padding": 1, "strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2}
    return lambda _: Form((Slot(IMAGE),), (Slot((1, 4, 4, 8)),), "Pool2DOptions", values)


def _reduced(**values: Any) -> Callable[[str], Form]:
    return lambda _: Form(
        (Slot(IMAGE), _ints(1, 2)), (Slot((1, 1, 1, 8)),), "ReducerOptions", {"keepDims": True, **values}
    )


def _arg(options: str) -> Callable[[str], Form]:
    return lambda _: Form((Slot(ROW), Slot((), "int32", 1)), (Slot((1,), "int32"),), options, {"outputType": 2})


UNARY = (
    *("ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LOG", "NEG", "RELU", "RELU6"),
    *("RELU_0_TO_1", "RELU_N1_TO_1", "ROUND", "RSQRT", "SIGN", "SIN", "SQRT", "SQUARE"),
)
BINARY = {
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "DIV": "DivOptions",
    "POW": "PowOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "FLOOR_DIV": "FloorDivOptions",
    "FLOOR_MOD": "FloorModOptions",
    "SQUARED_DIFFERENCE": "SquaredDifferenceOptions",
}
COMPARISONS = ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")
REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")
BLOCKS = _ints(2, 2)
NOTHING = Slot((2, 2), "int32", 0)
BORDER = Slot((4, 2), "int32", np.array([[0, 0], [1, 1], [1, 1], [0, 0]]))

FORMS: dict[str, Callable[[str], Form]] = {
    **{op: _same() for op in UNARY},
    **{op: _pair(options) for op, options in BINARY.items()},
    **{op: _pair(out="bool") for op in COMPARISONS},
    **{op: _reduced() for op in REDUCTIONS},
    "LEAKY_RELU": _same("LeakyReluOptions", alpha=0.1),
    "LOGISTIC": lambda dtype: Form((Slot(IMAGE),), (_probability(IMAGE, dtype),)),
    "TANH": lambda dtype: Form((Slot(IMAGE),), (Slot(IMAGE, scale=1 / 32768 if dtype == "int16" else 1 / 128),)),
    "SOFTMAX": lambda dtype: Form((Slot(ROW),), (_probability(ROW, dtype),), "SoftmaxOptions", {"beta": 1.0}),
    "LOG_SOFTMAX": lambda dtype: Form(
        (Slot(ROW),), (Slot(ROW, scale=16 / 256, zero=255 if dtype == "uint8" else 127),)
    ),
    "L2_NORMALIZATION": lambda _: Form((Slot(ROW),), (Slot(ROW, scale=1 / 128),), "L2NormOptions"),
    "PRELU": lambda _: Form((Slot(IMAGE), Slot((1, 1, 8), data=1)), (Slot(IMAGE),)),
    "CONV_2D": _convolution("Conv2DOptions", (8, 3, 3, 8), 0),
    "DEPTHWISE_CONV_2D": _convolution("DepthwiseConv2DOptions", (1, 3, 3, 8), 3, depthMultiplier=1),
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": lambda _: Form((Slot((1, 8, 8)), Slot((1, 8, 8))), (Slot((1, 8, 8)),), "BatchMatMulOptions"),
    "AVERAGE_POOL_2D": _pool(),
    "MAX_POOL_2D": _pool(),
    "L2_POOL_2D": _pool(),
    "ARG_MAX": _arg("ArgMaxOptions"),
    "ARG_MIN": _arg("ArgMinOptions"),
    "RESHAPE": _shaped((1, 512), _ints(1, 512), options="ReshapeOptions", newShape=[1, 512]),
    "SQUEEZE": lambda _: Form((Slot((1, 1, 1, 8)),), (Slot(ROW),), "SqueezeOptions", {"squeezeDims": [1, 2]}),
    "EXPAND_DIMS": lambda _: Form((Slot(ROW), Slot((), "int32", 1)), (Slot((1, 1, 8)),), "ExpandDimsOptions"),
    "TRANSPOSE": _shaped(IMAGE, _ints(0, 3, 1, 2), options="TransposeOptions"),
    "PAD": _shaped((1, 10, 10, 8), BORDER, options="PadOptions"),
    "PADV2": lambda _: Form((Slot(IMAGE), BORDER, Slot((), data=0)), (Slot((1, 10, 10, 8)),), "PadV2Options"),
    "MIRROR_PAD": _shaped((1, 10, 10, 8), BORDER, options="MirrorPadOptions", mode=0),
    "SLICE": _shaped((1, 4, 4, 8), _ints(0, 0, 0, 0), _ints(1, 4, 4, 8), options="SliceOptions"),
    "STRIDED_SLICE": _shaped(
        (1, 4, 8, 8), _ints(0, 0, 0, 0), _ints(1, 4, 8, 8), _ints(1, 1, 1, 1), options="StridedSliceOptions"
    ),
    "SPLIT": lambda _: Form(
        (Slot((), "int32", 3), Slot(IMAGE)), (Slot((1, 8, 8, 4)),) * 2, "SplitOptions", {"numSplits": 2}
    ),
    "SPLIT_V": lambda _: Form(
        (Slot(IMAGE), _ints(4, 4), Slot((), "int32", 3)), (Slot((1, 8, 8, 4)),) * 2, "SplitVOptions", {"numSplits": 2}
    ),
    "CONCATENATION": lambda _: Form((Slot(IMAGE),) * 2, (Slot((1, 8, 8, 16)),), "ConcatenationOptions", {"axis": 3}),
    "PACK": lambda _: Form((Slot(ROW),) * 2, (Slot((2, 1, 8)),), "PackOptions", {"axis": 0, "valuesCount": 2}),
    "UNPACK": lambda _: Form((Slot((2, 8)),), (Slot((8,)),) * 2, "UnpackOptions", {"axis": 0, "num": 2}),
    "GATHER": lambda _: Form((Slot((8, 8)), _ints(0, 1)), (Slot((2, 8)),), "GatherOptions"),
    "GATHER_ND": lambda _: Form((Slot((8, 8)), Slot((2, 1), "int32", 1)), (Slot((2, 8)),), "GatherNdOptions"),
    "DEPTH_TO_SPACE": _shaped((1, 16, 16, 2), options="DepthToSpaceOptions", blockSize=2),
    "SPACE_TO_DEPTH": _shaped((1, 4, 4, 32), options="SpaceToDepthOptions", blockSize=2),
    "SPACE_TO_BATCH_ND": _shaped((4, 4, 4, 8), BLOCKS, NOTHING, options="SpaceToBatchNDOptions"),
    "BATCH_TO_SPACE_ND": lambda _: Form((Slot((4, 4, 4, 8)), BLOCKS, NOTHING), (Slot(IMAGE),), "BatchToSpaceNDOptions"),
    "TILE": lambda _: Form((Slot(ROW), _ints(1, 2)), (Slot((1, 16)),), "TileOptions"),
    "BROADCAST_TO": lambda _: Form((Slot(ROW), _ints(4, 8)), (Slot((4, 8)),), "BroadcastToOptions"),
    "REVERSE_V2": _shaped(IMAGE, _ints(3), options="ReverseV2Options"),
    "RESIZE_BILINEAR": _shaped((1, 16, 16, 8), _ints(16, 16), options="ResizeBilinearOptions"),
    "RESIZE_NEAREST_NEIGHBOR": _shaped((1, 16, 16, 8), _ints(16, 16), options="ResizeNearestNeighborOptions"),
    "SELECT_V2": lambda _: Form((Slot(IMAGE, "bool"), Slot(IMAGE), Slot(IMAGE)), (Slot(IMAGE),), "SelectV2Options"),
    "CUMSUM": lambda _: Form((Slot(ROW), Slot((), "int32", 1)), (Slot(ROW),), "CumsumOptions"),
    "TOPK_V2": lambda _: Form(
        (Slot(ROW), Slot((), "int32", 2)), (Slot((1, 2)), Slot((1, 2), "int32")), "TopKV2Options"
    ),
    "SHAPE": lambda _: Form((Slot(IMAGE),), (Slot((4,), "int32"),), "ShapeOptions", {"outType": 2}),
    "CAST": lambda _: Form((Slot(IMAGE),), (Slot(IMAGE, "int32"),), "CastOptions"),
    "QUANTIZE": lambda _: Form((Slot(IMAGE),), (Slot(IMAGE, "int8", scale=0.2),), "QuantizeOptions"),
    "DEQUANTIZE": lambda _: Form((Slot(IMAGE),), (Slot(IMAGE, "float32"),), "DequantizeOptions"),
    "ZEROS_LIKE": _same("ZerosLikeOptions"),
    "LOCAL_RESPONSE_NORMALIZATION": _same("LocalResponseNormalizationOptions", radius=2, bias=1.0, alpha=1.0, beta=0.5),
}
"""How each operator is built, by its name in the schema."""
