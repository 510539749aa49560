"""Types, sizes and float operators, against what a file was promised to be, or is meant to be.

ONNX files are judged by what ONNX Runtime makes of them: a Q/DQ pair around an operator promises nothing.
"""

from collections.abc import Iterator

from pipeline.checks.finding import Finding, Promises, Severity, named
from pipeline.checks.graph import Graph, Node, Tensor
from pipeline.checks.operators import WEIGHTED, float_operators
from pipeline.checks.subject import Subject


def find(subject: Subject) -> Iterator[Finding]:
    """Find broken promises; without any, float edges and float operators of a file that is meant to be int8."""
    examined = subject.examined
    runs = examined.fused if subject.graph.format == "onnx" else examined.sized
    yield from broken(subject.graph, subject.promises, fused=runs)
    if subject.meant.form == "hybrid":
        yield from _hybrid(subject)
    if subject.meant.form == "int8" and not subject.meant.promised and subject.graph.format == "tflite":
        yield from _edges(subject)


def broken(graph: Graph, promises: Promises, *, fused: Graph | None = None) -> Iterator[Finding]:
    """Find what breaks a promise; `fused` is what ONNX Runtime makes of an ONNX file."""
    yield from _types(graph, promises)
    yield from _shapes(graph, promises)
    runs = graph if graph.format == "tflite" else fused
    if promises.int8 != "none" and runs is not None:
        yield from _float_operators(runs, promises)


def _types(graph: Graph, promises: Promises) -> Iterator[Finding]:
    promised = [("input-type", name, promises.input_type) for name in graph.inputs]
    promised += [("output-type", name, promises.output_type) for name in graph.outputs]
    for code, name, wanted in promised:
        found = graph.tensors[name].dtype
        if wanted is not None and found != wanted and not _names_things(graph.tensors[name]):
            message = f"{code.partition('-')[0]} {named(name)} is {found}, promised was {wanted}"
            yield Finding(code, "error", message, name, fix="export it with that type")


def _names_things(tensor: Tensor) -> bool:
    """Tell whether a tensor holds ids or truths, which no format of numbers is promised for."""
    return tensor.quantization is None and tensor.dtype in ("int32", "int64", "bool")


def _shapes(graph: Graph, promises: Promises) -> Iterator[Finding]:
    for name in graph.inputs if promises.dynamic_batch is not None else ():
        shape = graph.tensors[name].shape or ()
        if bool(shape) and (shape[0] is None) != promises.dynamic_batch:
            wanted = "open" if promises.dynamic_batch else "fixed"
            message = f"input {named(name)} has batch {shape[0] or 'open'}, promised was a {wanted} one"
            yield Finding("batch", "error", message, name)
        if None in shape[1:]:
            message = f"input {named(name)} has an open size beside its batch: {list(shape)}; promised were fixed ones"
            yield Finding("shape", "error", message, name)


def _float_operators(graph: Graph, promises: Promises) -> Iterator[Finding]:
    severity: Severity = "error" if promises.int8 == "all" else "warning"
    for node in float_operators(graph):
        where = node.made
        if node.op in WEIGHTED and _dequantised(graph, node):
            yield Finding("not-fused", severity, f"{node.op} runs in float between quantised tensors", where)
        else:
            yield Finding("float-op", severity, f"{node.op} computes in float", where)


def _dequantised(graph: Graph, node: Node) -> bool:
    return any(
        name in graph.producers and graph.producers[name].op in ("DequantizeLinear", "DEQUANTIZE")
        for name in node.inputs
    )


def _hybrid(subject: Subject) -> Iterator[Finding]:
    yield Finding("hybrid", "note", f"quantised for storage alone: {subject.meant.because}", "")


def _edges(subject: Subject) -> Iterator[Finding]:
    """Find float edges of a TFLite file that computes in int8: a QUANTIZE or DEQUANTIZE pays for each."""
    graph, target = subject.graph, subject.target
    severity: Severity = "warning" if target is not None and target.formats.tflite.input_type != "float32" else "note"
    edges = [("input-type", name) for name in graph.inputs] + [("output-type", name) for name in graph.outputs]
    for code, name in edges:
        if graph.tensors[name].dtype == "float32":
            wanted = (
                f"files for {target.name} have int8 there" if target else "the operators beside it compute in integers"
            )
            message = f"{code.partition('-')[0]} {named(name)} is float32; {wanted}"
            yield Finding(code, severity, message, name)
