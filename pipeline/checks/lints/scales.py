"""Scales and zero points: numbers that lose a tensor, and operators that must keep them or have fixed ones.

Rules: LiteRT's 8-bit quantisation specification, https://ai.google.dev/edge/litert/models/quantization_spec
"""

import math
from collections.abc import Iterator

from pipeline.checks.finding import Finding, named
from pipeline.checks.graph import Graph, Node, Quantization, Tensor
from pipeline.checks.subject import INTEGERS, Subject

SMALLEST_NORMAL = 2.0**-126  # of a float32, IEEE 754
LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "int4": (-8, 7), "uint4": (0, 15)}
TOLERANCE = 1e-3
"""Relative; scales are float32, and a converter may have rounded a product of two."""

# Operator: scale and zero point of its int8 output, from the specification's table.
FIXED = {
    "SOFTMAX": (1 / 256, -128),
    "LOGISTIC": (1 / 256, -128),
    "TANH": (1 / 128, 0),
    "L2_NORMALIZATION": (1 / 128, 0),
    "LOG_SOFTMAX": (16 / 256, 127),
}
KEEPS = frozenset(
    {"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "STRIDED_SLICE", "GATHER", "SPLIT", "MAX_POOL_2D"}
    | {"SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND", "RESIZE_NEAREST_NEIGHBOR"}
)
BIASED = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}
"""Where an operator keeps its input, its weights and its bias."""
Kept = tuple[float, int]


def find(subject: Subject) -> Iterator[Finding]:
    """Find scales and zero points that can't be right."""
    graph = subject.graph
    for tensor in graph.tensors.values():
        if tensor.quantization is not None and tensor.dtype in INTEGERS:
            yield from _numbers(tensor, tensor.quantization)
    for node in graph.nodes:
        if graph.format == "tflite":
            yield from _fixed(graph, node)
            yield from _changed(graph, node)
            yield from _bias(graph, node)
        elif node.op == "DequantizeLinear":
            yield from _pair(graph, node)


def _numbers(tensor: Tensor, quantization: Quantization) -> Iterator[Finding]:
    scales, name = quantization.scales, tensor.name
    broken = [scale for scale in scales if not math.isfinite(scale) or scale < 0]
    zero = [scale for scale in scales if scale == 0]
    tiny = [scale for scale in scales if 0 < scale < SMALLEST_NORMAL]
    if broken:
        yield Finding("broken-scale", "error", f"{_of(scales, broken)} of {named(name)} {broken[0]}", name)
    if zero:
        yield Finding("zero-scale", "error", f"{_of(scales, zero)} of {named(name)} zero", name)
    if tiny:
        yield Finding("tiny-scale", "warning", f"{_of(scales, tiny)} of {named(name)} {tiny[0]:.3g}", name)
    low, high = LIMITS[tensor.dtype]
    if beyond := [point for point in quantization.zero_points if not low <= point <= high]:
        message = f"zero point {beyond[0]} of {named(name)}; {tensor.dtype} holds {low} to {high}"
        yield Finding("zero-point-range", "error", message, name)


def _of(scales: tuple[float, ...], bad: list[float]) -> str:
    return "the scale" if len(scales) == 1 else f"{len(bad)} of {len(scales)} scales"


def _fixed(graph: Graph, node: Node) -> Iterator[Finding]:
    found = _kept(graph, node.made) if node.op in FIXED else None
    if found is None or graph.tensors[node.made].dtype != "int8":
        return
    wanted = FIXED[node.op]
    if not _same(found, wanted):
        message = f"{node.op} has {_told(found)}; int8 ones have {_told(wanted)}"
        yield Finding("fixed-scale", "error", message, node.made)


def _changed(graph: Graph, node: Node) -> Iterator[Finding]:
    if node.op not in KEEPS:
        return
    values = next((name for name in node.inputs if name and not graph.tensors[name].constant), "")
    before = _kept(graph, values)
    for name in node.outputs:
        after = _kept(graph, name)
        if before and after and not _same(before, after) and graph.tensors[values].dtype == graph.tensors[name].dtype:
            message = f"{node.op} has {_told(before)} before it and {_told(after)} after it"
            yield Finding("scale-changes", "error", message, name)


def _pair(graph: Graph, node: Node) -> Iterator[Finding]:
    """Find a DequantizeLinear that undoes its QuantizeLinear by other numbers."""
    quantize = graph.producers.get(node.read(0))
    if quantize is None or quantize.op != "QuantizeLinear" or quantize.graph != node.graph:
        return
    for one, other in zip(quantize.inputs[1:3], node.inputs[1:3], strict=False):
        ours, theirs = (graph.tensors[name].content if name in graph.tensors else None for name in (one, other))
        if ours and theirs and (ours.count, ours.low, ours.high) != (theirs.count, theirs.low, theirs.high):
            message = f"QuantizeLinear takes {named(one)} ({ours.low:.6g}), DequantizeLinear {named(other)} ({theirs.low:.6g})"
            yield Finding("scale-changes", "error", message, node.made)


def _bias(graph: Graph, node: Node) -> Iterator[Finding]:
    places = BIASED.get(node.op, ())
    if not places or len(node.inputs) <= places[2] or "" in (node.inputs[place] for place in places):
        return
    values, weights, bias = (graph.tensors[node.inputs[place]] for place in places)
    first, second, third = values.quantization, weights.quantization, bias.quantization
    if first is None or second is None or third is None or bias.dtype not in ("int32", "int64") or _all_zero(bias):
        return
    wanted = [first.scales[0] * scale for scale in second.scales]
    found = third.scales * len(wanted) if len(third.scales) == 1 else third.scales
    off = [
        (have, want)
        for have, want in zip(found, wanted, strict=False)
        if not math.isclose(have, want, rel_tol=TOLERANCE, abs_tol=SMALLEST_NORMAL)
    ]
    if off:
        message = f"bias of {node.op} has scale {off[0][0]:.6g}; its input's times its weights' is {off[0][1]:.6g}"
        yield Finding("bias-scale", "error", message, bias.name)


def _all_zero(tensor: Tensor) -> bool:
    return tensor.content is not None and tensor.content.low == tensor.content.high == 0


def _kept(graph: Graph, name: str) -> Kept | None:
    tensor = graph.tensors.get(name)
    if tensor is None or tensor.quantization is None or tensor.dtype not in INTEGERS:
        return None
    return tensor.quantization.scales[0], tensor.quantization.zero_points[0]


def _same(first: Kept, second: Kept) -> bool:
    return first[1] == second[1] and math.isclose(first[0], second[0], rel_tol=TOLERANCE)


def _told(kept: Kept) -> str:
    return f"scale {kept[0]:.6g} and zero point {kept[1]}"
