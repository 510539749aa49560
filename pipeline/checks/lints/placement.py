"""Operators that the target's runtime lacks, or runs beside its fast path; custom ones, and those of training.

What a runtime takes is data, `targets.operator_table`, by the type of an operator's first data input. A runtime that has
opened the file knows better: ONNX Runtime has looked for each kernel by then, LiteRT for each operator.
"""

from collections.abc import Iterator, Mapping

from pipeline.checks.finding import Finding, Severity, named
from pipeline.checks.graph import UNKNOWN, Graph, Node
from pipeline.checks.subject import Subject
from targets import Target
from targets.operator_table import OperatorTable, Placement, operators

DATA = {
    **dict.fromkeys(("Where", "SELECT", "SELECT_V2", "EMBEDDING_LOOKUP", "FILL"), (0, 1)),
    **dict.fromkeys(("SPLIT", "SCATTER_ND", "ASSIGN_VARIABLE"), (1,)),
    "TRANSPOSE_CONV": (2,),
}
"""Where an operator keeps its data, if not at its first input; of two the better counts."""
BEST: tuple[Placement, ...] = ("fast", "runs", "float-only", "unsupported")
RUNTIME_DOMAINS = ("com.microsoft", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview")
ETHOS_U = "ethos-u"  # what Arm's compiler leaves in place of the operators that it took
FLEX = "Flex"
RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
    | {"RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL"}
)
TRAINING_DOMAIN = "ai.onnx.preview.training"
WORTH_A_WARNING = 0.01
"""A share of the multiply-accumulates."""

Kind = tuple[str, Placement, str]


def find(subject: Subject) -> Iterator[Finding]:
    """Find operators that the target can't run, or runs slowly, and sizes that it can't plan for."""
    graph, target = subject.graph, subject.target
    yield from _custom(subject)
    if target is not None:
        if subject.runtime is None:
            formats = ", ".join(sorted({runtime.format for runtime in target.runtimes}))
            yield Finding("wrong-format", "error", f"{target.name} runs {formats} files; this is {graph.format}", "")
        else:
            yield from _placed(subject, operators(subject.runtime.operators))
    if subject.small:
        yield from _open_sizes(graph)
    for node in graph.nodes:
        yield from _training(graph, node)
    if graph.about.training:
        yield Finding("training-node", "warning", "the file holds training information beside its graph", "")
    yield from _wide(subject)


def compiled(graph: Graph, target: Target | None) -> bool:
    """Whether Arm's compiler has been over the file, which only an Ethos-U's runtime loads then."""
    return target is not None and target.accelerator is not None and any(node.op == ETHOS_U for node in graph.nodes)


def _custom(subject: Subject) -> Iterator[Finding]:
    graph, loaded = subject.graph, subject.examined.loaded
    seen: set[str] = set()
    for node in graph.nodes:
        if node.op in seen or not _is_custom(graph, node) or (node.op == ETHOS_U and compiled(graph, subject.target)):
            continue
        seen.add(node.op)
        here = loaded is not None and loaded.ok and not subject.small
        severity: Severity = "note" if here else "error"
        where = node.made
        if graph.format == "tflite" and node.op.startswith(FLEX):
            yield Finding("flex-op", severity, f"{named(node.op)} is an operator of TensorFlow, not of TFLite", where)
        else:
            of = f" of domain {named(node.domain)}" if graph.format == "onnx" else ""
            known = f"; {loaded.runtime} {loaded.version} has it, others may not" if here and loaded else ""
            yield Finding("custom-op", severity, f"{named(node.op)}{of} is no standard operator{known}", where)


def _is_custom(graph: Graph, node: Node) -> bool:
    if graph.format == "tflite":
        return node.domain == "custom"
    return (
        node.domain != ""
        and not node.domain.startswith(RUNTIME_DOMAINS)
        and (node.domain, node.op) not in graph.about.functions
    )


def _placed(subject: Subject, table: OperatorTable) -> Iterator[Finding]:
    """Find operators that fall off the fast path or off the runtime, all of one kind and type in one finding."""
    for (op, placement, dtype), places in _kinds(subject, table).items():
        nodes = [subject.graph.nodes[place] for place in places]
        where = nodes[0].made
        what = f"{op}{f' x{len(nodes)}' if len(nodes) > 1 else ''}{f' on {dtype}' if dtype else ''}"
        if placement == "runs":
            yield _fallen(subject, table, what=what, where=where, places=places)
        elif not _opened(subject):
            has = "has no kernel for it" if placement == "unsupported" else "has float kernels only"
            name = subject.runtime.name if subject.runtime else table.name
            yield Finding("unsupported-op", "error", f"{what}: {name} {has}", where)


def _fallen(subject: Subject, table: OperatorTable, *, what: str, where: str, places: list[int]) -> Finding:
    total = sum(subject.macs.values())
    share = sum(subject.macs.get(place, 0) for place in places) / total if total else 0.0
    accelerator = subject.accelerator
    path = f"leaves the {accelerator} for the processor" if accelerator else f"isn't run by {table.fast_path}"
    severity: Severity = "warning" if accelerator or share >= WORTH_A_WARNING else "note"
    told = f": {share:.1%} of the multiply-accumulates" if total else ""
    return Finding("falls-back", severity, f"{what} {path}{told}", where)


def _opened(subject: Subject) -> bool:
    """Whether the target's own kind of runtime has opened the file here."""
    loaded, runtime = subject.examined.loaded, subject.runtime
    return loaded is not None and loaded.ok and runtime is not None and runtime.name == loaded.runtime


def _kinds(subject: Subject, table: OperatorTable) -> Mapping[Kind, list[int]]:
    """Return the places in the graph of each kind of operator that isn't on the fast path."""
    graph = subject.examined.sized
    local = {domain for domain, _ in graph.about.functions}
    kinds: dict[Kind, list[int]] = {}
    for place, node in enumerate(graph.nodes):
        if _is_custom(graph, node) or node.domain in local or _folded(graph, node):
            continue
        placement, dtype = placed(graph, node, table)
        if placement != "fast":
            kinds.setdefault((node.op, placement, dtype), []).append(place)
    return kinds


def _folded(graph: Graph, node: Node) -> bool:
    """Whether an operator's result follows from constants, so that the runtime computes it once."""
    return bool(node.inputs) and all(graph.tensors[name].constant for name in node.inputs if name)


def placed(graph: Graph, node: Node, table: OperatorTable) -> tuple[Placement, str]:
    """Return how a runtime runs an operator, and the type of data that says so ("" where the file doesn't tell)."""
    names = [node.read(place) for place in DATA.get(node.op, (0,))]
    types = [dtype for name in names if name and (dtype := graph.tensors[name].dtype) != UNKNOWN]
    if not types:
        return table.accepts(node.op, ()), ""
    return min(((table.accepts(node.op, [dtype]), dtype) for dtype in types), key=lambda pair: BEST.index(pair[0]))


def _open_sizes(graph: Graph) -> Iterator[Finding]:
    for name in dict.fromkeys((*graph.inputs, *graph.outputs)):
        shape = graph.tensors[name].shape
        if shape is not None and None in shape:
            sizes = ", ".join("open" if size is None else str(size) for size in shape)
            yield Finding("dynamic-shape", "error", f"{named(name)} has sizes [{sizes}]", name)


def _training(graph: Graph, node: Node) -> Iterator[Finding]:
    where = node.made
    if node.op == "Dropout":
        mode = graph.tensors.get(node.read(2))
        active = mode is not None and mode.values is not None and any(mode.values)
        message = "Dropout that is switched on" if active else "Dropout that does nothing outside of training"
        yield Finding("training-node", "error" if active else "note", message, where)
    elif node.op == "BatchNormalization" and (node.attribute("training_mode") or len(node.outputs) > 1):
        yield Finding("training-node", "error", "BatchNormalization normalises by each batch, as in training", where)
    elif node.op in RANDOM:
        yield Finding("training-node", "note", f"{node.op}: outputs change from call to call", where)
    elif node.domain == TRAINING_DOMAIN:
        yield Finding("training-node", "error", f"{node.op} of {TRAINING_DOMAIN}", where)


def _wide(subject: Subject) -> Iterator[Finding]:
    """Find 64-bit edges and float64 values; an ONNX file's shapes and axes are int64 by its specification."""
    graph = subject.examined.sized
    severity: Severity = "warning" if subject.small else "note"
    edges = dict.fromkeys((*graph.inputs, *graph.outputs))
    for name in edges:
        if graph.tensors[name].dtype in ("int64", "uint64"):
            yield Finding("wide-tensor", severity, f"{named(name)} is {graph.tensors[name].dtype}", name)
    for node in graph.nodes:
        name = next((name for name in node.outputs if name and graph.tensors[name].dtype == "float64"), "")
        if name and node.op != "Constant":
            yield Finding("wide-tensor", "warning", f"{node.op} computes in float64", name)
            return
