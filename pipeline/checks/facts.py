"""What a file holds, as a JSON object with stable keys, for reports, budgets and baselines."""

import hashlib
import json
import math
from collections import Counter
from typing import Any

from pipeline.checks.footprint import macs
from pipeline.checks.graph import Graph, Quantization, Tensor
from pipeline.checks.lints.fit import peak_bytes
from pipeline.checks.operators import float_operators, weights
from pipeline.checks.subject import Subject


def facts_of(subject: Subject) -> dict[str, Any]:
    """Return what a file holds; null where the file doesn't tell.

    `size_bytes` has the weights in other files too. `operators` and `float_operators` count what runs: of an ONNX file, what ONNX Runtime makes of it. `macs` and
    `peak_activation_bytes` are for a batch of one; `quantization_sha256` changes with any scale or zero point.
    """
    examined, graph = subject.examined, subject.graph
    runs = examined.fused or examined.sized
    loaded, about = examined.loaded, graph.about
    return {
        "format": graph.format,
        "target": subject.target.name if subject.target else None,
        "meant": {"form": subject.meant.form, "because": subject.meant.because},
        "loads": None if loaded is None else {"ok": loaded.ok, "runtime": loaded.runtime, "version": loaded.version},
        "size_bytes": graph.stored_bytes,
        "operators": dict(sorted(Counter(node.op for node in runs.nodes).items())),
        "float_operators": len(float_operators(runs)),
        "macs": macs(examined.sized),
        "peak_activation_bytes": peak_bytes(subject),
        "weight_bytes": weight_bytes(graph),
        "constants": _constants(graph),
        "quantization_sha256": _digest(graph),
        "inputs": [_edge(graph.tensors[name]) for name in graph.inputs],
        "outputs": [_edge(examined.sized.tensors[name], graph.tensors[name]) for name in graph.outputs],
        "opset": {domain or "ai.onnx": version for domain, version in about.opsets} if graph.format == "onnx" else None,
        "ir_version": about.ir_version,
        "schema_version": about.schema_version,
        "producer": about.producer,
        "metadata_bytes": about.metadata_bytes,
    }


def weight_bytes(graph: Graph) -> dict[str, int]:
    """Return what the weights of operators take in the file, by their type."""
    stored = [graph.tensors[name] for name in dict.fromkeys(name for _, name, _ in weights(graph))]
    return {
        dtype: sum(tensor.size_bytes for tensor in stored if tensor.dtype == dtype)
        for dtype in sorted({tensor.dtype for tensor in stored})
    }


def _constants(graph: Graph) -> dict[str, int]:
    held = [tensor for tensor in graph.tensors.values() if tensor.constant]
    return {"count": len(held), "bytes": sum(tensor.size_bytes for tensor in held)}


def _digest(graph: Graph) -> str | None:
    """Return a digest of every scale and zero point, by tensor; None where there is none."""
    quantised = [
        (tensor.name, tensor.quantization.scales, tensor.quantization.zero_points, tensor.quantization.axis)
        for tensor in graph.tensors.values()
        if tensor.quantization is not None
    ]
    return hashlib.sha256(json.dumps(sorted(quantised, key=str)).encode()).hexdigest() if quantised else None


def _edge(tensor: Tensor, declared: Tensor | None = None) -> dict[str, Any]:
    shape = (declared or tensor).shape
    quantization = tensor.quantization
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": None if shape is None else list(shape),
        "scale": _finite(quantization),
        "zero_point": None if quantization is None else quantization.zero_points[0],
    }


def _finite(quantization: Quantization | None) -> float | None:
    if quantization is None or not math.isfinite(quantization.scales[0]):
        return None
    return quantization.scales[0]
