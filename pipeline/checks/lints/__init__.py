"""The lints: each module here finds one family of defects in an examined file, as findings with a code and a place.

| module | what it judges |
|---|---|
| promised | types, sizes and float operators, against what the file was promised to be |
| weights | how weights are quantised, and what values they hold |
| scales | scales, zero points, and operators that must keep them |
| placement | operators that the target's runtime lacks, or runs slowly |
| waste | what is in the file for nothing |
| surroundings | versions, weights in other files, metadata |
| fit | whether it loads, and fits flash and memory |

`lint` is the short form for files of our own making, which need no sandbox: promises, weights and layout alone.
"""

from collections.abc import Callable, Iterator

from pipeline.checks.finding import Finding, Promises, explained, worst_first
from pipeline.checks.graph import Graph
from pipeline.checks.lints import fit, placement, promised, scales, surroundings, waste, weights
from pipeline.checks.subject import Subject

__all__ = ["LINTS", "Finding", "Promises", "find_all", "lint"]

Lint = Callable[[Subject], Iterator[Finding]]
LINTS: tuple[Lint, ...] = (
    *(fit.find, placement.find, promised.find, weights.find, scales.find, waste.find, surroundings.find),
)


def find_all(subject: Subject) -> list[Finding]:
    """Return what is wrong with a file, worst first, each with its reason and its remedy."""
    return worst_first([explained(finding) for find in LINTS for finding in find(subject)])


def lint(graph: Graph, promises: Promises, *, fused: Graph | None = None) -> list[Finding]:
    """Return which promises a file breaks, worst first; `fused` is what `operators.fused_graph` says of an ONNX file."""
    findings = [
        *promised.broken(graph, promises, fused=fused),
        *weights.broken(graph, promises),
        *waste.transposes(graph),
    ]
    return worst_first([explained(finding) for finding in findings])
