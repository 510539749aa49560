"""What a lint looks at: one examined file, the target that it is for, and what it is meant to be.

Nobody may have said what a file is meant to be. Then it says so itself: quantised activations make it int8, quantised
weights alone make it a hybrid, and an int8-only accelerator or a microcontroller asks for int8 whatever the file holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pipeline.checks.examine import Examined
from pipeline.checks.finding import Promises
from pipeline.checks.footprint import macs_by_node
from pipeline.checks.graph import Format, Graph, Node
from pipeline.checks.operators import QUANTISING, WEIGHTED, stored_as, weights
from targets import Runtime, Target

Form = Literal["int8", "hybrid", "float"]
INTEGERS = frozenset({"int8", "uint8", "int16", "int4", "uint4"})


@dataclass(frozen=True)
class Meant:
    """What a file is meant to be, and how that is known; `promised` where somebody said so."""

    form: Form
    because: str
    promised: bool


@dataclass(frozen=True)
class Subject:
    """One file before the lints; `promises` are those given, or what `meant` asks for."""

    examined: Examined
    target: Target | None
    promises: Promises
    meant: Meant

    @property
    def graph(self) -> Graph:
        """The file as it is."""
        return self.examined.graph

    @property
    def runtime(self) -> Runtime | None:
        """The target's runtime for files of this format; None without a target, or where it has none."""
        return runtime_for(self.target, self.graph.format)

    @property
    def small(self) -> bool:
        """Whether the runtime plans memory before the program runs: a microcontroller's, or an accelerator's."""
        return planned(self.runtime)

    @property
    def accelerator(self) -> str:
        """The name of the accelerator that the runtime hands operators to, "" without one."""
        return _accelerator(self.target, self.runtime)

    @cached_property
    def macs(self) -> Mapping[int, int]:
        """Multiply-accumulates by the operator's place in the graph; empty where they aren't known."""
        counts = macs_by_node(self.examined.sized)
        return {} if counts is None else {place: count for place, (_, count) in enumerate(counts)}


def runtime_for(target: Target | None, form: Format) -> Runtime | None:
    """Return the target's runtime that takes files of a format, the first of several."""
    if target is None:
        return None
    return next((runtime for runtime in target.runtimes if runtime.format == form), None)


def planned(runtime: Runtime | None) -> bool:
    """Whether a runtime has no heap to plan anew when sizes change."""
    return runtime is not None and (runtime.name == "tflite-micro" or runtime.delegate == "ethos-u")


def _accelerator(target: Target | None, runtime: Runtime | None) -> str:
    held = target is not None and runtime is not None and runtime.delegate == "ethos-u"
    return target.accelerator.name if held and target is not None and target.accelerator is not None else ""


def subject_of(examined: Examined, target: Target | None, promises: Promises | None) -> Subject:
    """Put together what the lints look at, and find out what the file is meant to be where nobody says."""
    if promises is not None:
        form: Form = "float" if promises.int8 == "none" else "int8"
        return Subject(examined, target, promises, Meant(form, "it was promised", promised=True))
    meant = meaning(examined.graph, target)
    strict = bool(_accelerator(target, runtime_for(target, examined.graph.format)))
    inferred = Promises(int8="none" if meant.form != "int8" else "all" if strict else "some")
    return Subject(examined, target, inferred, meant)


def meaning(graph: Graph, target: Target | None) -> Meant:
    """Return what a file is meant to be by the target's needs or its own content."""
    runtime = runtime_for(target, graph.format)
    if accelerator := _accelerator(target, runtime):
        return Meant("int8", f"{accelerator} computes in integers only", promised=False)
    if target is not None and planned(runtime):
        return Meant("int8", f"{target.title} is a microcontroller", promised=False)
    if activation := next((node for node in graph.nodes if _computes_in_integers(graph, node)), None):
        return Meant("int8", f"{activation.op} takes quantised activations", promised=False)
    if stored := next((name for _, name, _ in weights(graph) if graph.tensors[name].dtype in INTEGERS), None):
        return Meant(
            "hybrid", f"weights {stored[:60]!r} are {graph.tensors[stored].dtype}, activations float", promised=False
        )
    return Meant("float", "it holds no quantised weights", promised=False)


def _computes_in_integers(graph: Graph, node: Node) -> bool:
    """Whether an operator with weights takes an activation that was quantised before the file was written."""
    if node.op in ("QLinearConv", "QLinearMatMul", "QGemm", "QLinearAdd"):
        return True
    if node.op not in WEIGHTED:
        return False
    index = 2 if node.op == "TRANSPOSE_CONV" and len(node.inputs) > 2 else 0
    if graph.format == "tflite":
        tensor = graph.tensors.get(node.read(index))
        return tensor is not None and tensor.dtype in INTEGERS and tensor.quantization is not None
    return _behind_dequantize(graph, node.read(0))


def _behind_dequantize(graph: Graph, name: str) -> bool:
    producer = graph.producers.get(name)
    if producer is None or producer.op != "DequantizeLinear" or not producer.inputs:
        return False
    stored, _ = stored_as(graph, name)
    return producer.op in QUANTISING and not (stored in graph.tensors and graph.tensors[stored].constant)
