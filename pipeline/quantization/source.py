"""Source: what an export stage is given, as a program to write: a float network folded, a quantised one frozen."""

from importlib.metadata import version

from torch import fx

from pipeline.architecture import load_network
from pipeline.artifact import Artifact, Facts, canonical_json
from pipeline.quantization.fold import fold
from pipeline.quantization.freeze import freeze, load_quantized
from pipeline.quantization.rules import Scheme
from pipeline.quantization.trace import trace
from pipeline.task import LoadedTask


def program_of(artifact: Artifact, task: LoadedTask) -> tuple[fx.GraphModule, Scheme | None, Facts]:
    """Return the program of an artifact, the scheme that a float one is still to be converted to, and its facts."""
    module = load_network(artifact, task)
    scheme: Scheme | None = artifact.facts.get("scheme") if artifact.kind == "quantized" else None
    if scheme == "static_int8":
        return freeze(load_quantized(artifact.path, module, task.example())), None, artifact.facts
    return fold(trace(module, task.example())), scheme, artifact.facts


def metadata_of(task: LoadedTask) -> dict[str, str]:
    """Return what travels in the files: labels, preprocessing, and who wrote them."""
    metadata = {"edgepress": version("edgepress"), "task": task.name}
    if task.labels:
        metadata["labels"] = canonical_json(list(task.labels))
    if task.preprocessing:
        metadata["preprocessing"] = canonical_json(dict(task.preprocessing))
    return metadata
