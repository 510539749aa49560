"""What is wrong with a model file, found by reading it: each finding with a code, a severity and a place.

The codes stand in `codes`, with what each means. Errors break a promise; warnings cost something; notes only inform.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.checks.graph import Graph, Node, Tensor
from pipeline.checks.operators import WEIGHTED, float_operators, stored_as, weights

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Promises:
    """What a file was made to be; None where nothing was promised.

    `int8`: "all" operators, "some" (the user left layers in float: findings become warnings), or "none".
    """

    int8: Literal["all", "some", "none"] = "none"
    input_type: str | None = None
    output_type: str | None = None
    dynamic_batch: bool | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: what, `where` (the operator or the tensor), `why` it matters, and how to `fix` it."""

    code: str
    severity: Severity
    message: str
    where: str
    why: str = ""
    fix: str = ""


def lint(graph: Graph, promises: Promises, *, fused: Graph | None = None) -> list[Finding]:
    """Return what is wrong with a file, worst first; `fused` is what `operators.fused_graph` says of an ONNX file."""
    findings = [*_types(graph, promises), *_shapes(graph, promises)]
    if promises.int8 != "none":
        findings += [
            *_float_operators(fused or graph, promises),
            *_weights(graph, promises),
            *_shared_zero_points(graph),
        ]
    findings += _transposes(graph)
    order: tuple[Severity, ...] = ("error", "warning", "note")
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def facts_of(graph: Graph, *, fused: Graph | None = None) -> dict[str, Any]:
    """Return what a file holds, as a JSON object."""
    runs = fused or graph
    stored = [graph.tensors[name] for name in dict.fromkeys(name for _, name, _ in weights(graph))]
    return {
        "format": graph.format,
        "size_bytes": graph.size_bytes,
        "operators": dict(sorted(Counter(node.op for node in runs.nodes).items())),
        "float_operators": len(float_operators(runs)),
        "weight_bytes": {
            dtype: sum(tensor.size_bytes for tensor in stored if tensor.dtype == dtype)
            for dtype in sorted({tensor.dtype for tensor in stored})
        },
        "inputs": [_edge(graph.tensors[name]) for name in graph.inputs],
        "outputs": [_edge(graph.tensors[name]) for name in graph.outputs],
    }


def _edge(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": None if tensor.shape is None else list(tensor.shape)}


def _types(graph: Graph, promises: Promises) -> Iterator[Finding]:
    promised = [("input-type", name, promises.input_type) for name in graph.inputs]
    promised += [("output-type", name, promises.output_type) for name in graph.outputs]
    for code, name, wanted in promised:
        found = graph.tensors[name].dtype
        if wanted is not None and found != wanted:
            yield Finding(
                code,
                "error",
                f"{code.partition('-')[0]} {name!r} is {found}, promised was {wanted}; export it with that type",
                name,
            )


def _shapes(graph: Graph, promises: Promises) -> Iterator[Finding]:
    for name in graph.inputs if promises.dynamic_batch is not None else ():
        shape = graph.tensors[name].shape or ()
        if bool(shape) and (shape[0] is None) != promises.dynamic_batch:
            wanted = "open" if promises.dynamic_batch else "fixed"
            yield Finding(
                "batch", "error", f"input {name!r} has batch {shape[0] or 'open'}, promised was a {wanted} one", name
            )
        if None in shape[1:]:
            yield Finding(
                "shape",
                "error",
                f"input {name!r} has an open size beside its batch: {list(shape)}; promised were fixed ones",
                name,
            )


def _float_operators(graph: Graph, promises: Promises) -> Iterator[Finding]:
    severity: Severity = "error" if promises.int8 == "all" else "warning"
    for node in float_operators(graph):
        where = node.outputs[0] if node.outputs else ""
        if node.op in WEIGHTED and _dequantised(graph, node):
            yield Finding(
                "not-fused",
                severity,
                f"{node.op} runs in float between quantised tensors; quantise its output, or give that tensor one user only",
                where,
            )
        else:
            yield Finding(
                "float-op",
                severity,
                f"{node.op} computes in float; quantise it, or name its layer in float_layers",
                where,
            )


def _dequantised(graph: Graph, node: Node) -> bool:
    return any(
        name in graph.producers and graph.producers[name].op in ("DequantizeLinear", "DEQUANTIZE")
        for name in node.inputs
    )


def _weights(graph: Graph, promises: Promises) -> Iterator[Finding]:
    severity: Severity = "error" if promises.int8 == "all" else "warning"
    for node, name, quantised_on_load in weights(graph):
        tensor = graph.tensors[name]
        if tensor.dtype.startswith(("float", "bfloat")):
            how = "and quantised each time the file is opened" if quantised_on_load else "and never quantised"
            yield Finding(
                "float-weight",
                severity,
                f"weights of {node.op} are stored as {tensor.dtype} {how}; store them as int8",
                name,
            )
        else:
            yield from _quantised_weight(tensor, node, severity)


def _quantised_weight(tensor: Tensor, node: Node, severity: Severity) -> Iterator[Finding]:
    if tensor.dtype != "int8":
        yield Finding(
            "weight-type",
            severity,
            f"weights of {node.op} are {tensor.dtype}; int8 is what every runtime takes",
            tensor.name,
        )
    if tensor.quantization is None:
        return
    if any(tensor.quantization.zero_points) and tensor.dtype == "int8":
        yield Finding(
            "weight-zero", "warning", f"weights of {node.op} have a zero point; symmetric ones run faster", tensor.name
        )
    if tensor.quantization.axis is None and _channels(tensor) > 1:
        message = f"weights of {node.op} have one scale for all channels; one a channel keeps more accuracy"
        yield Finding("weight-scales", "warning", message, tensor.name)


def _channels(tensor: Tensor) -> int:
    # Output channels come first, save in TFLite's depthwise kernels [1, height, width, channels].
    shape = tensor.shape or (1,)
    return (shape[0] if shape[0] != 1 else shape[-1]) or 1


def _shared_zero_points(graph: Graph) -> Iterator[Finding]:
    """Find zero points that ONNX Runtime would have to replace twice when it turns signed weights into unsigned ones."""
    users: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.op == "DequantizeLinear" and len(node.inputs) > 2:
            name, _ = stored_as(graph, node.inputs[0])
            if name in graph.tensors and graph.tensors[name].constant:
                users.setdefault(node.inputs[2], []).append(name)
    for zero_point, names in users.items():
        if zero_point and graph.tensors[zero_point].dtype == "int8" and len(set(names)) > 1:
            yield Finding(
                "shared-zero",
                "warning",
                f"{len(set(names))} weights share one zero point; give each its own constant",
                zero_point,
            )


def _transposes(graph: Graph) -> Iterator[Finding]:
    """Find TRANSPOSE that isn't at an edge, where a layout that the caller asked for pays for one."""
    edges = {*graph.inputs, *graph.outputs}
    for node in graph.nodes if graph.format == "tflite" else ():
        if node.op == "TRANSPOSE" and not edges & {node.inputs[0], *node.outputs}:
            yield Finding(
                "stray-transpose",
                "warning",
                "TRANSPOSE between two operators; pad or reshape in the converter's layout",
                node.outputs[0],
            )
