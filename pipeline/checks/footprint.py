"""What a network costs whatever the processor: multiply-accumulates, and the most memory that it needs at one moment.

Both are counted for a batch of one from the shapes in a graph (of an ONNX file: `Examined.sized`, which has them all).
None where a shape that matters isn't known.

MACs are those of convolutions, fully connected layers, matrix products and recurrent layers, n multiply-accumulates for a
dot product of length n; nothing else is counted. An operator that may multiply, and of which no rule here tells how often,
leaves the sum unknown: a 0 would pass any budget. The peak is by liveness over the file's order: a tensor lives from the
operator that makes it to the last that reads it, an operator's inputs and outputs live at once. Runtimes that share
buffers between an operator's input and output need less, those with scratch buffers or alignment more; constants are apart.
What a streaming network keeps from call to call (TFLite's variables) lives all the time.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping

from pipeline.checks.graph import Graph, Node, Tensor

BITS = (
    {
        "bool": 8,
        "int4": 4,
        "uint4": 4,
        "int2": 2,
        "uint2": 2,
        "float4e2m1": 4,
        "bfloat16": 16,
        "complex64": 64,
        "complex128": 128,
    }
    | {f"{kind}{bits}": bits for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)}
    | {"resource": 0}
)
MOST = 2**62
"""Elements or products of one operator that a runtime can hold or do; what says more says nothing."""
CALLS = frozenset({"If", "Loop", "Scan", "IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_COMPOSITE", "STABLEHLO_WHILE"})

# Operators by how their MACs follow from shapes: which input holds the weights, and which of its sizes multiply.
_PER_OUTPUT = {
    "QLinearConv": (3, slice(1, None)),
    "DEPTHWISE_CONV_2D": (1, slice(1, 3)),
    "CONV_3D": (1, slice(0, 4)),
} | dict.fromkeys(("Conv", "FusedConv", "ConvInteger", "CONV_2D"), (1, slice(1, None)))
_PER_INPUT = {
    "ConvTranspose": (0, 1, slice(1, None)),
    "TRANSPOSE_CONV": (2, 1, slice(0, 3)),
    "CONV_3D_TRANSPOSE": (2, 1, slice(0, 4)),
}
_ROWS = frozenset({"MatMul", "MatMulInteger", "QLinearMatMul"})
_DENSE = {"Gemm": 1, "FusedGemm": 1, "QGemm": 3, "FULLY_CONNECTED": 1}
_RECURRENT = dict.fromkeys(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"), (1, 2))
_TFLITE_RECURRENT = frozenset(
    {"LSTM", "RNN", "SVDF"} | {f"{way}DIRECTIONAL_SEQUENCE_{cell}" for way in ("UNI", "BI") for cell in ("LSTM", "RNN")}
)
_DOMAINS = frozenset({"", "ai.onnx.ml", "com.microsoft"})
"""Whose operators are known here; any other may do whatever it likes."""
_MULTIPLIES = re.compile("Attention|Conv|Gemm|LSTM|MatMul|MoE|CONVOLUTION|CUSTOM|DOT_GENERAL|BUILTIN_")
"""Names of operators that multiply by rules that shapes alone don't tell, or that this version doesn't know."""
_UNCOUNTED = frozenset(
    {"Einsum", "CDist", "GatedDeltaNet", "GatedRelativePositionBias", "HyperConnectionPostMix", "HyperConnectionPreMix"}
    | {"LinearClassifier", "LinearRegressor", "SVMClassifier", "SVMRegressor", "EPContext", "Snpe"}
    | {"DELEGATE", "EMBEDDING_LOOKUP_SPARSE"}
)
"""The same, of those whose names don't say so."""


def macs(graph: Graph) -> int | None:
    """Return the multiply-accumulates of one inference; None where a shape isn't known, or control flow decides."""
    counts = macs_by_node(graph)
    return None if counts is None else sum(count for _, count in counts)


def macs_by_node(graph: Graph) -> tuple[tuple[Node, int], ...] | None:
    """Return each operator's multiply-accumulates in the order of the graph."""
    counts = [(node, _macs(graph, node)) for node in graph.nodes]
    if any(node.graph and count != 0 for node, count in counts):
        return None  # how often, and whether, a nested graph runs isn't in the file
    known = [(node, count) for node, count in counts if count is not None]
    return tuple(known) if len(known) == len(counts) else None


def peak_activation_bytes(graph: Graph) -> int | None:
    """Return the most bytes of activations that live at one moment; None where a size isn't known."""
    flowing = _flowing(graph)
    sizes = {name: _bytes(graph.tensors[name]) for name in flowing}
    if any(size is None for size in sizes.values()):
        return None
    known = {name: size for name, size in sizes.items() if size is not None}
    parts = {number: _peak(graph, number, known) for number in {node.graph for node in graph.nodes}}
    nested = max((peak for number, peak in parts.items() if number), default=0)
    return parts.get(0, 0) + nested + sum(_variables(graph).values())


def _variables(graph: Graph) -> Mapping[str, int]:
    """Return the bytes of each variable, by the handle that it is read or written by."""
    sizes: dict[str, int] = {}
    for node in graph.nodes:
        value = {"READ_VARIABLE": node.made, "ASSIGN_VARIABLE": node.read(1)}.get(node.op, "")
        if value:
            sizes[node.read(0)] = max(sizes.get(node.read(0), 0), _bytes(graph.tensors[value]) or 0)
    return sizes


def _peak(graph: Graph, number: int, sizes: Mapping[str, int]) -> int:
    """Return the peak within one graph of the file, the main one or a nested one."""
    nodes = [node for node in graph.nodes if node.graph == number]
    made = {name for node in nodes for name in node.outputs} | (set(graph.inputs) if number == 0 else set())
    kept = {*graph.outputs, *graph.kept}
    last = {name: at for at, node in enumerate(nodes) for name in (*node.outputs, *node.inputs)}
    last |= {name: len(nodes) for name in kept | _read_elsewhere(graph, number)}
    ends: dict[int, list[str]] = {}
    for name in made & sizes.keys():
        ends.setdefault(last.get(name, 0), []).append(name)
    live = sum(sizes[name] for name in (graph.inputs if number == 0 else ()) if name in sizes)
    peak = live
    for at, node in enumerate(nodes):
        live += sum(sizes[name] for name in node.outputs if name in sizes)
        peak = max(peak, live)
        live -= sum(sizes[name] for name in ends.get(at, ()))
    return peak


def _read_elsewhere(graph: Graph, number: int) -> set[str]:
    return {name for node in graph.nodes if node.graph != number for name in node.inputs}


def _flowing(graph: Graph) -> list[str]:
    """Return the tensors that hold activations: those that follow from the inputs, and not from constants alone."""
    fixed = {tensor.name for tensor in graph.tensors.values() if tensor.constant} | {""}
    names = dict.fromkeys(graph.inputs)
    for node in graph.nodes:
        if node.op == "Constant" or (
            node.inputs and node.op not in CALLS and all(name in fixed for name in node.inputs)
        ):
            fixed |= set(node.outputs)
        else:
            names |= dict.fromkeys(name for name in node.outputs if name)
    return list(names)


def _bytes(tensor: Tensor) -> int | None:
    elements = _elements(tensor)
    if elements is None or elements > MOST or tensor.dtype not in BITS:
        return None
    return math.ceil(elements * BITS[tensor.dtype] / 8)


def _elements(tensor: Tensor) -> int | None:
    shape = _sizes(tensor)
    return None if shape is None else math.prod(shape)


def _sizes(tensor: Tensor) -> tuple[int, ...] | None:
    """Return a shape for a batch of one."""
    if tensor.shape is None:
        return None
    first = tuple(1 if size is None else size for size in tensor.shape[:1])
    sizes = tuple(size for size in first + tensor.shape[1:] if size is not None and size >= 0)
    return sizes if len(sizes) == len(tensor.shape) else None


def _macs(graph: Graph, node: Node) -> int | None:
    try:
        count = _counted(graph, node)
    except (IndexError, KeyError, OverflowError, ValueError):
        # An operator with fewer inputs than its kind has, shapes of a lower rank, a size that is no number.
        return None
    return None if count is None or not 0 <= count <= MOST else count


def _counted(graph: Graph, node: Node) -> int | None:
    if node.domain not in _DOMAINS or (node.domain, node.op) in graph.about.functions:
        return None
    rules: tuple[tuple[Container[str], Callable[[Graph, Node], int | None]], ...] = (
        (_PER_OUTPUT, _kernel),
        (_PER_INPUT, _transposed_kernel),
        (_DENSE, _dense),
        (_ROWS, _rows),
        (("MatMulNBits",), _packed_rows),
        (("BATCH_MATMUL",), _batch_matmul),
        (_RECURRENT.keys() | _TFLITE_RECURRENT, _recurrent),
    )
    count = next((count for ops, count in rules if node.op in ops), None)
    if count is None:
        return None if node.op in _UNCOUNTED or _MULTIPLIES.search(node.op) else 0
    return count(graph, node)


def _kernel(graph: Graph, node: Node) -> int | None:
    weight, sizes = _PER_OUTPUT[node.op]
    kernel = _shape(graph, node.inputs[weight])
    return _product(_count(graph, node.outputs[0]), None if kernel is None else kernel[sizes])


def _transposed_kernel(graph: Graph, node: Node) -> int | None:
    values, weight, sizes = _PER_INPUT[node.op]
    kernel = _shape(graph, node.inputs[weight])
    return _product(_count(graph, node.inputs[values]), None if kernel is None else kernel[sizes])


def _rows(graph: Graph, node: Node) -> int | None:
    values = _shape(graph, node.inputs[0])
    return _product(_count(graph, node.outputs[0]), None if not values else values[-1:])


def _packed_rows(graph: Graph, node: Node) -> int | None:
    """Weights of few bits lie packed in blocks; the operator itself says how many columns they have."""
    return _product(_count(graph, node.inputs[0]), [int(dict(node.attributes)["N"][0])])


def _dense(graph: Graph, node: Node) -> int | None:
    weight, output = _count(graph, node.inputs[_DENSE[node.op]]), _shape(graph, node.outputs[0])
    if weight is None or not output:
        return None
    return weight * math.prod(output[:-1])


def _batch_matmul(graph: Graph, node: Node) -> int | None:
    first, output = _shape(graph, node.inputs[0]), _shape(graph, node.outputs[0])
    if first is None or output is None:
        return None
    inner = first[-1] if output[-2] == first[-2] else first[-2]  # the latter where the first is transposed
    return math.prod(output) * inner


def _recurrent(graph: Graph, node: Node) -> int | None:
    """Weights times steps: the first input is [steps, batch, features], or [batch, steps, features] in TFLite."""
    steps = _shape(graph, node.inputs[0])
    names = [node.inputs[index] for index in _RECURRENT.get(node.op, ())] or [
        name
        for name in node.inputs[1:]
        if name and (graph.tensors[name].constant or name in graph.producers) and len(_shape(graph, name) or ()) == 2
    ]  # all but its state, which is a variable; weights in float16 are made from constants
    counts = [_count(graph, name) for name in names]
    if steps is None or not counts or any(count is None for count in counts):
        return None
    return sum(count for count in counts if count is not None) * math.prod(steps[:-1])


def _count(graph: Graph, name: str) -> int | None:
    return _elements(graph.tensors[name])


def _shape(graph: Graph, name: str) -> tuple[int, ...] | None:
    return _sizes(graph.tensors[name])


def _product(count: int | None, sizes: Iterable[int] | None) -> int | None:
    return None if count is None or sizes is None else count * math.prod(sizes)


def macs_by_op(graph: Graph) -> Mapping[str, int]:
    """Return the multiply-accumulates of each kind of operator; empty where they aren't known."""
    counts: Counter[str] = Counter()
    for node, count in macs_by_node(graph) or ():
        counts[node.op] += count
    return counts
