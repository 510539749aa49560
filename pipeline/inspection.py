"""What is inside an artifact's folder, an archive, or an ONNX or TFLite file; reads, never runs it, and needs no torch."""

from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.artifact import MANIFEST, Artifact, open_artifact
from pipeline.errors import ModelError
from pipeline.saved_network import ARCHITECTURE
from pipeline.saved_network import describe as describe_network

HEX_DIGEST_LENGTH = 64
SUFFIX, ZIP = ".edgepress", b"PK\x03\x04"
"""An archive's name ends with the one, its content begins with the other."""


def describe(path: Path) -> dict[str, Any]:
    """Return facts of an artifact's folder, an archive or a model file, as JSON values; ModelError when it is neither, or damaged."""
    if path.is_dir():
        return _artifact(path)
    if path.is_file():
        return _archive(path) if _is_archive(path) else _model(path)
    raise ModelError(f"nothing at {path}; give an artifact's folder, an archive, or an ONNX or TFLite file")


def to_text(facts: dict[str, Any], indent: str = "") -> str:
    """Return facts as indented "name  value" lines."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", to_text(value, indent + "  ")]
        elif isinstance(value, list):
            lines += [f"{indent}{name}", *(f"{indent}  {item}" for item in value)]
        else:
            lines.append(f"{indent}{name:<24} {value}")
    return "\n".join(lines)


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix == SUFFIX or file.read(len(ZIP)) == ZIP


def _archive(path: Path) -> dict[str, Any]:
    from pipeline.archive.summary import describe_archive  # noqa: PLC0415 - pydantic models of a report

    return describe_archive(path)


def _artifact(folder: Path) -> dict[str, Any]:
    artifact = open_artifact(folder)
    facts: dict[str, Any] = {
        "kind": artifact.kind,
        "digest": artifact.digest,
        "digest verified": _verified(artifact),
        "facts": dict(artifact.facts),
        "files": {
            path.name: f"{path.stat().st_size} bytes" for path in sorted(folder.iterdir()) if path.name != MANIFEST
        },
    }
    if (folder / ARCHITECTURE).is_file():
        facts["network"] = describe_network(folder)
    if artifact.kind in ("onnx", "tflite"):
        facts["model"] = _model(artifact.file(f"model.{artifact.kind}"))
    return facts


def _verified(artifact: Artifact) -> str:
    """An object of a store is named by its digest; a folder elsewhere promises none."""
    name = artifact.path.resolve().name
    if len(name) != HEX_DIGEST_LENGTH:
        return "the folder's name promises no digest"
    if name != artifact.digest:
        raise ModelError(
            f"{artifact.path} is damaged: it holds {artifact.digest[:12]}, its name says {name[:12]}; run the recipe again"
        )
    return "yes"


def _model(path: Path) -> dict[str, Any]:
    from pipeline.checks.graph import read_graph  # noqa: PLC0415 - onnx takes a quarter of a second; a folder may need none

    graph = read_graph(path)
    return {
        "format": graph.format,
        "size_bytes": graph.size_bytes,
        "inputs": [_tensor(graph.tensors[name]) for name in graph.inputs],
        "outputs": [_tensor(graph.tensors[name]) for name in graph.outputs],
        "operators": dict(Counter(node.op for node in graph.nodes).most_common()),
        "constants, bytes": dict(_bytes_by_type(graph.tensors.values())),
    }


def _tensor(tensor: Any) -> str:
    shape = "?" if tensor.shape is None else "x".join("?" if size is None else str(size) for size in tensor.shape)
    scale = tensor.quantization
    grid = f", scale {scale.scales[0]:.6g}, zero point {scale.zero_points[0]}" if scale and scale.scales else ""
    return f"{tensor.name} {tensor.dtype} {shape}{grid}"


def _bytes_by_type(tensors: Any) -> Counter[str]:
    counter: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.constant:
            counter[tensor.dtype] += tensor.size_bytes
    return counter
