"""One view of a model file, whether ONNX or TFLite: operators, tensors, their types, shapes and scales.

`read_graph(path)` parses the file without running it and without trusting it: size and work are bounded, and whatever is
wrong with the bytes is a ModelError. The parsers are `onnx_graph` and `tflite_graph`.

A tensor is named as its file names it; where a TFLite file gives two tensors one name, the later one gets "#index".
Zero points and scales are the file's own: an ONNX file of ours holds activations as uint8, so its zero points are those
of the TFLite plus 128.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pipeline.errors import ModelError

Format = Literal["onnx", "tflite"]

MAX_MODEL_BYTES = 2**28
UNKNOWN = "unknown"
"""The dtype of an intermediate ONNX tensor that the file says nothing about."""


@dataclass(frozen=True)
class Quantization:
    """`real = scale * (stored - zero_point)`; one scale a slice along `axis`, or one for all where `axis` is None."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None


@dataclass(frozen=True)
class Tensor:
    """A tensor as the file declares it: `dtype` as numpy names it, None in `shape` for a size known only when run.

    `shape` is None where the file says nothing; `size_bytes` is what a constant takes in the file.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    quantization: Quantization | None
    constant: bool
    size_bytes: int


@dataclass(frozen=True)
class Node:
    """One operator; `inputs` are names of tensors, "" where an optional one is left out."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """A model file: nodes in the order of the file, those of nested graphs after the node that holds them."""

    path: Path
    format: Format
    size_bytes: int
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """The node that writes each tensor; inputs and constants have none."""
        return {name: node for node in self.nodes for name in node.outputs}

    @cached_property
    def users(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each tensor, in order; a tensor that nobody reads isn't in it."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}


def read_graph(path: Path) -> Graph:
    """Read an ONNX or TFLite file, told apart by its content; ModelError when it is neither, too large or broken."""
    content = _content(path)
    if content[4:8] == b"TFL3":
        from pipeline.checks.tflite_graph import parse_tflite  # noqa: PLC0415  # an ONNX file needs no TFLite schema

        return parse_tflite(content, path)
    from pipeline.checks.onnx_graph import parse_onnx  # noqa: PLC0415  # a TFLite file needs no onnx

    return parse_onnx(content, path)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_MODEL_BYTES + 1)
    except OSError as error:
        raise ModelError(f"can't read model {path} ({error.strerror}); give an .onnx or .tflite file") from error
    if len(content) > MAX_MODEL_BYTES:
        raise ModelError(
            f"model {path} is larger than {MAX_MODEL_BYTES} bytes; edgepress reads models for small devices"
        )
    if not content:
        raise ModelError(f"model {path} is empty; give an .onnx or .tflite file")
    return content
