"""Whether a file loads in its runtime, and fits the target's flash and memory."""

from collections.abc import Iterator

from pipeline.checks.examine import DIED
from pipeline.checks.finding import Finding, named
from pipeline.checks.footprint import peak_activation_bytes
from pipeline.checks.graph import Graph
from pipeline.checks.lints.placement import compiled
from pipeline.checks.subject import Subject
from targets import Target

KIB = 1024


def find(subject: Subject) -> Iterator[Finding]:
    """Find what keeps a file from being loaded on its target."""
    loaded = subject.examined.loaded
    if loaded is not None and not loaded.ok and not compiled(subject.graph, subject.target):
        yield _refused(subject.graph, loaded.error[:300])
    if subject.target is not None:
        yield from _sizes(subject, subject.target)


def _refused(graph: Graph, error: str) -> Finding:
    """Tell a file that can't be opened from one that LiteRT can't plan before its caller has set the open sizes."""
    if error.startswith(DIED):
        return Finding("does-not-load", "error", f"opening it failed: {error}", "")
    if graph.format == "onnx":
        return Finding("does-not-load", "error", f"ONNX Runtime refuses it: {error}", "")
    for name in graph.inputs:
        if None in (graph.tensors[name].shape or ())[1:]:
            message = f"{named(name)} has open sizes, and LiteRT can't plan the file until they are set; for 1 it says: {error}"
            return Finding(
                "dynamic-shape", "warning", message, name, why="a caller that doesn't resize the input gets an error"
            )
    return Finding("does-not-load", "error", f"LiteRT refuses it: {error}", "")


def peak_bytes(subject: Subject) -> int | None:
    """Return the most memory that activations take at one moment: of an ONNX file, as ONNX Runtime fuses it."""
    fused = subject.examined.fused
    peak = peak_activation_bytes(fused) if fused is not None else None
    return peak_activation_bytes(subject.examined.sized) if peak is None else peak


def _sizes(subject: Subject, target: Target) -> Iterator[Finding]:
    flash, ram = target.memory.flash_kib, target.memory.ram_block_kib or target.memory.ram_kib
    size = subject.graph.stored_bytes
    if flash is not None and size > flash.value * KIB:
        yield Finding("flash-size", "error", f"{size} bytes; {target.title} has {flash.value} KiB of flash", "")
    peak = peak_bytes(subject)
    if ram is None or peak is None:
        return
    weights = 0 if flash is not None else size  # without flash of its own, a program's weights lie in memory too
    if peak + weights > ram.value * KIB:
        parts = f"{peak} bytes of activations" + (f" and {weights} of weights" if weights else "")
        yield Finding(
            "ram-peak",
            "error",
            f"{parts} at one moment; {target.title} has {ram.value} KiB in one piece",
            _widest(subject),
        )


def _widest(subject: Subject) -> str:
    """Return the largest activation, where a smaller network would have to begin."""
    graph: Graph = subject.examined.sized
    sizes = [(_size(graph, name), name) for node in graph.nodes for name in node.outputs if name]
    return max(sizes, default=(0, ""))[1]


def _size(graph: Graph, name: str) -> int:
    count = 1
    for size in graph.tensors[name].shape or (0,):
        count *= size or 1
    return count
