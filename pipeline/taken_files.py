"""Taken files: a teacher's file, as its user trained it, becomes an artifact: copied whole, looked at, bounded in size."""

import math
import shutil
from pathlib import Path

from pipeline.artifact import Facts
from pipeline.checks.footprint import macs
from pipeline.checks.graph import Graph, read_graph
from pipeline.errors import TaskError
from pipeline.stage import Context, Progress, StageConfig

MAX_FILE_BYTES = 8 * 2**30
"""A teacher of two billion parameters in float32; more is a mistake on the machines that this is for."""


class TakenConfig(StageConfig):
    """`teacher` is its name in the task's `teachers()`."""

    teacher: str


def take(config: TakenConfig, context: Context, *, name: str) -> Path:
    """Copy a teacher's file into the artifact's folder under a name; return where it lies."""
    file = context.task.teachers()[config.teacher].file
    assert file is not None
    size = sum(path.stat().st_size for path in (file.rglob("*") if file.is_dir() else [file]) if path.is_file())
    if size > MAX_FILE_BYTES:
        raise TaskError(
            f"teacher {config.teacher!r}: {file.name} has {size / 2**30:.1f} GiB; {MAX_FILE_BYTES / 2**30:.0f} are the most"
        )
    taken = context.out / name
    if file.is_dir():
        shutil.copytree(file, taken)
    else:
        shutil.copyfile(file, taken)
    context.progress(Progress(1, 1, {}))
    return taken


def facts_of(config: TakenConfig, path: Path) -> Facts:
    """Return what an ONNX or TFLite file shows: its parameters, and its MACs where every shape is known."""
    graph = read_graph(path)
    return {"teacher": config.teacher, "parameters": _parameters(graph), "macs": macs(graph)}


def _parameters(graph: Graph) -> int:
    """Return how many numbers the file's constants hold, single ones and shapes left out."""
    shapes = [tensor.shape for tensor in graph.tensors.values() if tensor.constant and tensor.values is None]
    sizes = [math.prod(size or 0 for size in shape) for shape in shapes if shape]
    return sum(size for size in sizes if size > 1)
