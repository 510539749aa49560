"""One view of a model file, whether ONNX or TFLite: operators, tensors, their types, shapes and scales.

`read_graph(path)` parses the file without running it and without trusting it: size and work are bounded, and whatever is
wrong with the bytes is a ModelError. The parsers are `onnx_graph` and `tflite_graph`.

A tensor is named as its file names it; where a TFLite file gives two tensors one name, the later one gets "#index".
Zero points and scales are the file's own: an ONNX file of ours holds activations as uint8, so its zero points are those
of the TFLite plus 128.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
class Content:
    """What a constant holds, counted: `low` and `high` of its finite values, `digest` of all its bytes ("" for few)."""

    digest: str
    count: int
    not_finite: int
    denormal: int
    low: float
    high: float


@dataclass(frozen=True)
class Tensor:
    """A tensor as the file declares it: `dtype` as numpy names it, None in `shape` for a size known only when run.

    `shape` is None where the file says nothing; `size_bytes` is what a constant takes in the file; `values` are those of
    a small constant of integers (axes, permutations), `content` is told of constants whose values lie in the file;
    constants with one `buffer` are stored once.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    quantization: Quantization | None
    constant: bool
    size_bytes: int
    values: tuple[int, ...] | None = None
    content: Content | None = None
    buffer: int = -1


@dataclass(frozen=True)
class Node:
    """One operator; `inputs` are names of tensors, "" where an optional one is left out.

    `domain` is ONNX's, or "custom" for an operator that TFLite's schema doesn't know. `attributes` are ONNX's numbers and
    short lists; `version` is TFLite's version of the operator; `graph` is 0 in the main graph, 1 and more in nested ones.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    domain: str = ""
    version: int = 0
    graph: int = 0
    attributes: tuple[tuple[str, tuple[float, ...]], ...] = ()

    @property
    def made(self) -> str:
        """The first tensor that it writes; "" for an operator that writes none."""
        return self.outputs[0] if self.outputs else ""

    def read(self, place: int) -> str:
        """Return the name of its input at a place; "" where it has none there, whatever its kind asks for."""
        return self.inputs[place] if place < len(self.inputs) else ""

    def attribute(self, name: str, default: float = 0) -> float:
        """Return an attribute's number, or the first of its list."""
        return next((values[0] for key, values in self.attributes if key == name and values), default)


@dataclass(frozen=True)
class External:
    """Weights in another file: of which tensor, where, and how far into it they reach."""

    tensor: str
    location: str
    end: int


@dataclass(frozen=True)
class About:
    """What a file says of itself beside its graph.

    `opsets` are (domain, version); `texts` are its metadata and documentation, (where, text), each cut short;
    `metadata_bytes` is what all of it takes; `functions` names ONNX's local functions as (domain, name).
    """

    opsets: tuple[tuple[str, int], ...] = ()
    ir_version: int | None = None
    schema_version: int | None = None
    producer: str = ""
    texts: tuple[tuple[str, str], ...] = ()
    metadata_bytes: int = 0
    external: tuple[External, ...] = ()
    functions: tuple[tuple[str, str], ...] = ()
    training: bool = False


@dataclass(frozen=True)
class Graph:
    """A model file: nodes in the order of the file, those of nested graphs after the node that holds them (ONNX) or last.

    `size_bytes` is the file's own size; `kept` are the tensors that a nested graph gives to its caller.
    """

    path: Path
    format: Format
    size_bytes: int
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kept: frozenset[str] = frozenset()
    about: About = About()

    @property
    def stored_bytes(self) -> int:
        """What the model takes where it is stored: the file, and of other files as much as it says that it reads."""
        ends: dict[str, int] = {}
        for each in self.about.external:
            ends[each.location] = max(each.end, ends.get(each.location, 0))
        return self.size_bytes + sum(ends.values())

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


def typed(graph: Graph, known: Mapping[str, Tensor]) -> Graph:
    """Return a graph whose tensors have the types and shapes that are known of them from elsewhere."""
    tensors = {
        name: tensor if tensor.constant or name not in known else _told(tensor, known[name])
        for name, tensor in graph.tensors.items()
    }
    return replace(graph, tensors=tensors)


def _told(tensor: Tensor, known: Tensor) -> Tensor:
    dtype = tensor.dtype if known.dtype == UNKNOWN else known.dtype
    return replace(tensor, dtype=dtype, shape=tensor.shape if known.shape is None else known.shape)


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
