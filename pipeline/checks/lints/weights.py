"""How weights are quantised, against the target's rules, and what values they hold.

LiteRT's rules: https://ai.google.dev/edge/litert/models/quantization_spec. Why unsigned activations with signed weights
saturate on x86 without VNNI: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "When and
why do I need to try U8U8?".
"""

from collections.abc import Iterator

from pipeline.checks.finding import Finding, Promises, Severity
from pipeline.checks.graph import Graph, Node, Tensor
from pipeline.checks.operators import stored_as, weights
from pipeline.checks.subject import INTEGERS, Subject

FLOATS = ("float", "bfloat")
X86 = frozenset({"sse4", "avx2", "avx512"})
VNNI = "vnni"
SEVEN_BITS = 64
MUCH = 0.01
"""A share of denormal weights that costs time, rather than a few that training left."""


def find(subject: Subject) -> Iterator[Finding]:
    """Find what is wrong with weights, their types and their values."""
    graph = subject.graph
    if subject.meant.promised or subject.small:
        yield from broken(graph, subject.promises)
    elif subject.meant.form == "int8":
        yield from _inferred(graph, subject.promises)
    if subject.meant.form != "float":
        yield from _ranges(subject)
        yield from _saturating(subject)
    yield from _values(graph)


def broken(graph: Graph, promises: Promises) -> Iterator[Finding]:
    """Find weights that aren't as an int8 file promises them."""
    if promises.int8 == "none":
        return
    severity: Severity = "error" if promises.int8 == "all" else "warning"
    for node, name, on_load in _each(graph):
        yield from _weight(graph.tensors[name], node, severity, on_load=on_load)
    yield from _shared_zero_points(graph)


def _inferred(graph: Graph, promises: Promises) -> Iterator[Finding]:
    """As `broken`, softened where a file that nobody made promises for may well be as its author wants it."""
    for finding in broken(graph, promises):
        if (finding.code == "weight-type" and graph.format == "onnx") or (
            finding.code == "weight-scales" and "FULLY_CONNECTED" in finding.message
        ):
            yield Finding(finding.code, "note", finding.message, finding.where)
        else:
            yield finding


def _each(graph: Graph) -> Iterator[tuple[Node, str, bool]]:
    """Yield each operator's weights once, however many operators share them."""
    seen: set[str] = set()
    for node, name, on_load in weights(graph):
        if name not in seen:
            seen.add(name)
            yield node, name, on_load


def _weight(tensor: Tensor, node: Node, severity: Severity, *, on_load: bool) -> Iterator[Finding]:
    if tensor.dtype.startswith(FLOATS):
        how = "and quantised each time the file is opened" if on_load else "and never quantised"
        yield Finding("float-weight", severity, f"weights of {node.op} are stored as {tensor.dtype} {how}", tensor.name)
        return
    if tensor.dtype not in ("int8", "int4"):
        yield Finding("weight-type", severity, f"weights of {node.op} are {tensor.dtype}", tensor.name)
    if tensor.quantization is None:
        return
    if any(tensor.quantization.zero_points) and tensor.dtype == "int8":
        yield Finding("weight-zero", "warning", f"weights of {node.op} have a zero point", tensor.name)
    if tensor.quantization.axis is None and channels(tensor) > 1:
        message = f"weights of {node.op} have one scale for all channels"
        yield Finding("weight-scales", "warning", message, tensor.name)


def channels(tensor: Tensor) -> int:
    """Return how many output channels weights have."""
    # Output channels come first, save in TFLite's depthwise kernels [1, height, width, channels].
    shape = tensor.shape or (1,)
    return (shape[0] if shape[0] != 1 else shape[-1]) or 1


def _shared_zero_points(graph: Graph) -> Iterator[Finding]:
    """Find zero points that ONNX Runtime would have to replace twice when it turns signed weights into unsigned ones."""
    users: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.op == "DequantizeLinear" and node.read(2):
            name, _ = stored_as(graph, node.read(0))
            if name in graph.tensors and graph.tensors[name].constant:
                users.setdefault(node.read(2), []).append(name)
    for zero_point, names in users.items():
        if graph.tensors[zero_point].dtype == "int8" and len(set(names)) > 1:
            yield Finding("shared-zero", "warning", f"{len(set(names))} weights share one zero point", zero_point)


def _ranges(subject: Subject) -> Iterator[Finding]:
    """Find int8 weights beyond the target's bits, and -128, which symmetric int8 leaves out."""
    bits = subject.target.quantizer.weight_bits if subject.target else 8
    one_scale = subject.target is not None and subject.target.quantizer.weight_scales == "tensor"
    for node, name, _ in _each(subject.graph):
        tensor = subject.graph.tensors[name]
        if tensor.dtype == "int8" and tensor.content is not None:
            low, high = tensor.content.low, tensor.content.high
            if bits == 7 and (low < -SEVEN_BITS or high >= SEVEN_BITS):
                message = (
                    f"weights of {node.op} reach from {low:.0f} to {high:.0f}; the target asks for 7 bits, -64 to 63"
                )
                yield Finding("weight-range", "warning", message, name)
            elif subject.graph.format == "tflite" and low == -128:
                message = f"weights of {node.op} hold -128; LiteRT's specification allows -127 to 127"
                yield Finding("weight-range", "warning", message, name)
        if one_scale and tensor.quantization is not None and tensor.quantization.axis is not None:
            message = f"weights of {node.op} have one scale a channel; the target's kernels take one a tensor"
            yield Finding("weight-scales", "warning", message, name)


def _saturating(subject: Subject) -> Iterator[Finding]:
    """Find operators whose 16-bit sums of two products can overflow on the target's processor."""
    target, graph = subject.target, subject.graph
    if target is None or graph.format != "onnx" or not X86 & target.features or VNNI in target.features:
        return
    for node, name, _ in _each(graph):
        tensor = graph.tensors[name]
        if tensor.dtype != "int8" or tensor.content is None or not _unsigned_input(graph, node):
            continue
        if max(-tensor.content.low, tensor.content.high) > SEVEN_BITS:
            message = f"{node.op} multiplies uint8 activations with 8-bit signed weights; {target.name} has no VNNI"
            yield Finding("saturates", "warning", message, node.made)


def _unsigned_input(graph: Graph, node: Node) -> bool:
    producer = graph.producers.get(node.read(0))
    name = producer.read(0) if producer is not None and producer.op == "DequantizeLinear" else node.read(0)
    return name in graph.tensors and graph.tensors[name].dtype == "uint8"


def _values(graph: Graph) -> Iterator[Finding]:
    """Find weights that are no number, next to nothing, or nothing at all."""
    for node, name, _ in _each(graph):
        tensor = graph.tensors[name]
        content = tensor.content
        if content is None or not content.count:
            continue
        if content.not_finite:
            message = f"{content.not_finite} of {content.count} weights of {node.op} are infinite or no number"
            yield Finding("broken-weight", "error", message, name)
        elif content.low == content.high == 0 and (tensor.quantization is None or tensor.dtype in INTEGERS):
            yield from _empty(tensor, node)
        if content.denormal:
            share = content.denormal / content.count
            message = f"{content.denormal} of {content.count} weights of {node.op} ({share:.1%}) are denormal"
            yield Finding("tiny-weight", "warning" if share >= MUCH else "note", message, name)


def _empty(tensor: Tensor, node: Node) -> Iterator[Finding]:
    zero_points = tensor.quantization.zero_points if tensor.quantization is not None else ()
    if not any(zero_points):
        yield Finding("empty-weight", "warning", f"weights of {node.op} are all zero", tensor.name)
