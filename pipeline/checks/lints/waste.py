"""What is in a file for nothing: layouts changed to and fro, constants twice or unread, results that nobody reads."""

from collections.abc import Iterator

from pipeline.checks.finding import Finding, Severity, named
from pipeline.checks.graph import Graph, Node, Tensor
from pipeline.checks.subject import Subject

LAYOUTS = frozenset({(0, 3, 1, 2), (0, 2, 3, 1)})
"""Channels first to last, and back; other orders belong to what a network computes (attention heads, shuffles)."""
PASSED = frozenset(
    {"Relu", "Clip", "Sigmoid", "LeakyRelu", "HardSwish", "HardSigmoid", "Tanh", "Add", "Mul", "Identity", "Cast"}
    | {"QuantizeLinear", "DequantizeLinear"}
)
"""ONNX operators to which the order of axes is the same."""
LONGEST_CHAIN = 8
WORTH_A_WARNING = 0.01
"""A share of the file."""
ACTS = frozenset(
    {"ASSIGN_VARIABLE", "HASHTABLE_IMPORT", "CALL_ONCE", "VAR_HANDLE", "HASHTABLE", "WHILE", "IF", "Loop", "If"}
)
"""Operators that do something beside giving outputs."""


def find(subject: Subject) -> Iterator[Finding]:
    """Find what could be left out of a file without changing what it answers."""
    yield from transposes(subject.graph) if subject.graph.format == "tflite" else _pairs(subject)
    yield from _duplicates(subject.graph)
    yield from _unused_tensors(subject.graph)
    yield from _unused_operators(subject.graph)


def transposes(graph: Graph) -> Iterator[Finding]:
    """Find changes of layout in a TFLite file that aren't at an edge, where a caller's layout pays for one.

    Before a RESHAPE it is a note: features are flattened in the order in which the network was trained.
    """
    edges = {*graph.inputs, *graph.outputs}
    for node in graph.nodes if graph.format == "tflite" else ():
        if node.op == "TRANSPOSE" and _layout(graph, node) and not edges & {node.read(0), *node.outputs}:
            users = {user.op for name in node.outputs for user in graph.users.get(name, ())}
            flattens = users == {"RESHAPE"}
            what = (
                "so that features are flattened as they were in training"
                if flattens
                else "from one layout to the other"
            )
            severity: Severity = "note" if flattens else "warning"
            yield Finding("stray-transpose", severity, f"TRANSPOSE between two operators, {what}", node.made)


def _layout(graph: Graph, node: Node) -> bool:
    if node.op == "Transpose":
        return next((values for name, values in node.attributes if name == "perm"), ()) in LAYOUTS
    order = graph.tensors.get(node.read(1))
    return order is not None and order.values in LAYOUTS


def _pairs(subject: Subject) -> Iterator[Finding]:
    """Find two Transpose of an ONNX file that undo each other across operators to which layout is nothing."""
    graph, fused = subject.graph, subject.examined.fused
    left = {name for node in fused.nodes if node.op == "Transpose" for name in node.outputs} if fused else set()
    for node in graph.nodes:
        if node.op != "Transpose" or not _layout(graph, node):
            continue
        back = _followed(graph, node)
        if back is not None:
            paid = bool(left & {*node.outputs, *back.outputs})
            how = "" if paid else "; ONNX Runtime removes both, others run them"
            message = f"Transpose to the other layout, and back at {named(back.made)}{how}"
            yield Finding("stray-transpose", "warning" if paid else "note", message, node.made)


def _followed(graph: Graph, node: Node) -> Node | None:
    """Return the Transpose behind an operator that turns its layout back, if nothing on the way minds."""
    order = next(values for name, values in node.attributes if name == "perm")
    at = node
    for _ in range(LONGEST_CHAIN):
        users = graph.users.get(at.made, ())
        if len(users) != 1 or at.made in graph.outputs:
            return None
        at = users[0]
        if at.op == "Transpose":
            back = next((values for name, values in at.attributes if name == "perm"), ())
            return at if back in LAYOUTS and back != order else None
        if at.op not in PASSED or sum(not graph.tensors[name].constant for name in at.inputs if name) > 1:
            return None
    return None


def _duplicates(graph: Graph) -> Iterator[Finding]:
    alike: dict[tuple[str, str], dict[int, Tensor]] = {}
    for tensor in graph.tensors.values():
        if tensor.content is not None and tensor.content.digest:
            key = (tensor.content.digest, tensor.dtype)
            alike.setdefault(key, {}).setdefault(tensor.buffer, tensor)
    for copies in alike.values():
        if len(copies) > 1:
            first, *others = copies.values()
            wasted = sum(tensor.size_bytes for tensor in others)
            message = f"{len(copies)} constants hold what {named(first.name)} holds: {wasted} bytes too many"
            yield Finding("duplicate-tensor", _weight(wasted, graph), message, others[0].name)


def _unused_tensors(graph: Graph) -> Iterator[Finding]:
    read = {*graph.outputs, *graph.kept, *graph.users}
    for tensor in graph.tensors.values():
        if tensor.constant and tensor.size_bytes and tensor.name not in read:
            message = f"no operator reads {named(tensor.name)}: {tensor.size_bytes} bytes"
            yield Finding("unused-tensor", _weight(tensor.size_bytes, graph), message, tensor.name)


def _unused_operators(graph: Graph) -> Iterator[Finding]:
    """Find operators from which no way leads to an output; what runs them is LiteRT, ONNX Runtime leaves them out."""
    needed = {*graph.outputs, *graph.kept}
    for node in reversed(graph.nodes):  # a nested graph's operators come after the one that holds them
        if node.op in ACTS or not node.outputs or node.graph or needed & set(node.outputs):
            needed |= set(node.inputs)
    severity: Severity = "warning" if graph.format == "tflite" else "note"
    for node in graph.nodes:
        acts = node.op in ACTS or node.op == "Constant" or not node.outputs or node.graph
        if not acts and not needed & set(node.outputs):
            yield Finding("unused-op", severity, f"nobody reads what {node.op} gives", node.made)


def _weight(wasted: int, graph: Graph) -> Severity:
    return "warning" if wasted >= WORTH_A_WARNING * graph.stored_bytes else "note"
