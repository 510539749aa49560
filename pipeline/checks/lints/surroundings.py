"""Versions against the runtime's, weights in other files, and what the metadata gives away.

ONNX Runtime reads opset 7 and newer (https://onnxruntime.ai/docs/reference/compatibility.html). Its newest were found by
opening a file of each opset and IR version: 1.27.0 and 1.31.1 take opset 26 and IR version 13, and refuse what follows.
"""

import re
from collections.abc import Iterator

from pipeline.checks.external import troubles
from pipeline.checks.finding import Finding, named
from pipeline.checks.graph import Graph
from pipeline.checks.subject import Subject

OLDEST_OPSET, NEWEST_OPSET = 7, 26
NEWEST_IR = 13
TFLITE_SCHEMA = 3
LARGE_METADATA_BYTES = 16 * 1024
LARGE_METADATA_SHARE = 0.1
MACHINE = re.compile(
    r"""(?:/(?:home|Users|root|mnt|workspace|content|tmp|var|opt|usr)/|\b[A-Za-z]:\\)[^\s"'<>]{2,}""",
    re.ASCII,
)


def find(subject: Subject) -> Iterator[Finding]:
    """Find what is wrong around a graph."""
    graph = subject.graph
    yield from _onnx_versions(graph) if graph.format == "onnx" else _tflite_version(graph)
    yield from _external(graph)
    yield from _metadata(graph)


def _onnx_versions(graph: Graph) -> Iterator[Finding]:
    opsets = [version for domain, version in graph.about.opsets if domain in ("", "ai.onnx")]
    if not opsets and any(not node.domain for node in graph.nodes):
        yield Finding("opset-version", "warning", "the file names no opset of ONNX; runtimes take it for opset 1", "")
    for version in opsets:
        if version > NEWEST_OPSET:
            message = f"opset {version}; ONNX Runtime 1.27 to 1.31 read up to {NEWEST_OPSET}"
            yield Finding("opset-version", "error", message, "")
        elif version < OLDEST_OPSET:
            message = f"opset {version}; ONNX Runtime promises {OLDEST_OPSET} and newer"
            yield Finding("opset-version", "warning", message, "")
    if (graph.about.ir_version or 0) > NEWEST_IR:
        message = f"IR version {graph.about.ir_version}; ONNX Runtime 1.27 to 1.31 read up to {NEWEST_IR}"
        yield Finding("opset-version", "error", message, "")


def _tflite_version(graph: Graph) -> Iterator[Finding]:
    if graph.about.schema_version != TFLITE_SCHEMA:
        message = f"schema version {graph.about.schema_version}; runtimes read {TFLITE_SCHEMA}"
        yield Finding("schema-version", "error", message, "")


def _external(graph: Graph) -> Iterator[Finding]:
    found = troubles(graph)
    for trouble in found:
        yield Finding(trouble.code, "error", trouble.message, trouble.tensor)
    sound = {each.location for each in graph.about.external} if not found else set()
    for location in sorted(sound):
        yield Finding("external-data", "note", f"weights lie in {named(location)}, beside the model", "")


def _metadata(graph: Graph) -> Iterator[Finding]:
    about = graph.about
    if not about.producer and not about.texts:
        yield Finding("metadata-missing", "note", "no producer, no description, no metadata", "")
    for where, text in about.texts:
        if match := MACHINE.search(text):
            yield Finding("metadata-path", "warning", f"{named(where)} tells the path {named(match.group())}", where)
            break
    share = about.metadata_bytes / graph.size_bytes
    if graph.format == "onnx" and about.metadata_bytes > LARGE_METADATA_BYTES and share > LARGE_METADATA_SHARE:
        message = f"metadata takes {about.metadata_bytes} bytes, {share:.0%} of the file"
        yield Finding("metadata-size", "warning", message, "")
