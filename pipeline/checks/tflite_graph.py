"""TFLite files as a Graph: the flatbuffer is read with the schema that ai-edge-litert ships, table by table.

A flatbuffer is offsets all the way down, and a hostile one points wherever it likes. The reader keeps an allowance
measured by the file's size: tables that point at one another for ever use it up and end as a ModelError.
Vectors are taken as numpy views of the file, so a length beyond its end is an error, not memory.

Schema: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from pipeline.checks.about import about_tflite
from pipeline.checks.content import content_of, small_integers
from pipeline.checks.graph import Content, External, Graph, Node, Quantization, Tensor
from pipeline.errors import ModelError

DTYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
OPTIONAL_INPUT = -1
MAX_NAME_BYTES = 4096
MAX_TABLES = 1_000_000
MAX_ELEMENTS = 16_000_000
ARRAYS = frozenset(
    {"float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
)


class _Allowance:
    """How many more tables, elements of vectors, and bytes of constants may be read from one file.

    An honest file spends at least 8 bytes on a table and 4 on an element, and each constant has bytes of its own.
    """

    def __init__(self, content: bytes) -> None:
        self.tables = min(len(content) // 8, MAX_TABLES)
        self.elements = min(len(content) // 4, MAX_ELEMENTS)
        self.constants = len(content)

    def spend_tables(self, count: int) -> int:
        self.tables -= count
        return self._checked(count)

    def spend(self, count: int) -> int:
        self.elements -= count
        return self._checked(count)

    def spend_bytes(self, count: int) -> int:
        self.constants -= count
        return self._checked(count)

    def _checked(self, count: int) -> int:
        if count < 0 or min(self.tables, self.elements, self.constants) < 0:
            raise ValueError("tables point at one another without end")
        return count


def parse_tflite(content: bytes, path: Path) -> Graph:
    """Return the graph in a TFLite file's bytes; ModelError when they are broken."""
    try:
        return _graph(schema.Model.GetRootAs(content, 0), content, path)
    except (
        struct.error,
        ValueError,
        IndexError,
        TypeError,
        KeyError,
        OverflowError,
        AttributeError,
        MemoryError,
    ) as error:
        raise ModelError(f"model {path} is a broken TFLite file ({str(error)[:120]}); export it again") from error


def _graph(model: Any, content: bytes, path: Path) -> Graph:
    allowance = _Allowance(content)
    operators = [
        _operator(model.OperatorCodes(index)) for index in range(allowance.spend_tables(model.OperatorCodesLength()))
    ]
    constants = _Constants(model, content, allowance)
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    edges: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    for number in range(allowance.spend_tables(model.SubgraphsLength())):
        subgraph = model.Subgraphs(number)
        names = _add_tensors(constants, subgraph, tensors, allowance)
        nodes += _nodes(subgraph, operators, names, allowance, number=number)
        edges.append(
            (
                _named(subgraph.InputsAsNumpy(), names, allowance),
                _named(subgraph.OutputsAsNumpy(), names, allowance),
            )
        )
    if not nodes:
        raise ValueError("it holds no operator")
    if any("" in names for names in edges[0]):
        raise ValueError("an input or output that is no tensor")
    (inputs, outputs), nested = edges[0], edges[1:]
    kept = frozenset(name for ins, outs in nested for name in (*ins, *outs))
    about = about_tflite(model, constants.external, len(content), spend=allowance.spend_tables)
    return Graph(path, "tflite", len(content), tuple(nodes), tensors, inputs, outputs, kept, about)


@dataclass(frozen=True)
class _Operator:
    op: str
    domain: str
    version: int


def _operator(code: Any) -> _Operator:
    # Codes above 127 did not fit the first field, so the schema has two; the larger one counts.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    custom = code.CustomCode()
    if custom:
        return _Operator(bytes(custom[:MAX_NAME_BYTES]).decode(), "custom", code.Version())
    return _Operator(OPERATORS.get(number, f"BUILTIN_{number}"), "", code.Version())


class _Constants:
    """The buffers of a file, each read once however many tensors point at it; what lies in other files is collected."""

    def __init__(self, model: Any, content: bytes, allowance: _Allowance) -> None:
        self.model, self.content, self.allowance = model, content, allowance
        self.external: list[External] = []
        self.known: dict[int, memoryview] = {}

    def bytes_of(self, raw: Any, name: str) -> tuple[int, memoryview | None]:
        """Return how many bytes a tensor has in this file or another, and where they lie in this one."""
        if raw.ExternalBuffer():
            return self._elsewhere(raw.ExternalBuffer(), name), None
        index = raw.Buffer()
        if index not in self.known:
            self.known[index] = self._view(index)
            self.allowance.spend_bytes(len(self.known[index]))
        return len(self.known[index]), self.known[index]

    def _view(self, index: int) -> memoryview:
        if index >= self.model.BuffersLength():
            raise ValueError(f"no buffer {index}")
        buffer = self.model.Buffers(index)
        if buffer.DataLength():
            return memoryview(buffer.DataAsNumpy()).cast("B")
        start, length = buffer.Offset(), buffer.Size()  # of a buffer behind the flatbuffer, in large files
        if start + length > len(self.content):
            raise ValueError(f"buffer {index} ends beyond the file")
        return memoryview(self.content)[start : start + length] if start > 1 else memoryview(b"")

    def _elsewhere(self, identity: int, name: str) -> int:
        for index in range(self.allowance.spend_tables(self.model.ExternalBuffersLength())):
            buffer = self.model.ExternalBuffers(index)
            if buffer.Id() == identity:
                group = self.model.ExternalBufferGroups(buffer.Group()) if self._has(buffer.Group()) else None
                location = (group.Name() or b"")[:MAX_NAME_BYTES].decode() if group else ""
                self.external.append(External(name, location, buffer.Offset() + buffer.Length()))
                return int(buffer.Length())
        raise ValueError(f"no external buffer {identity}")

    def _has(self, group: int) -> bool:
        return 0 <= group < int(self.model.ExternalBufferGroupsLength())


def _add_tensors(constants: _Constants, subgraph: Any, tensors: dict[str, Tensor], allowance: _Allowance) -> list[str]:
    """Put a subgraph's tensors among the others and return their names by index."""
    names: list[str] = []
    contents: dict[tuple[int, str], Content] = {}
    for index in range(allowance.spend_tables(subgraph.TensorsLength())):
        raw = subgraph.Tensors(index)
        name = (raw.Name() or b"")[:MAX_NAME_BYTES].decode()
        allowance.spend(len(name) // 4)
        if not name or name in tensors:
            name = f"{name}#{len(tensors)}"
        dtype = DTYPES[raw.Type()]
        size_bytes, view = constants.bytes_of(raw, name)
        array = _array(view, dtype) if view is not None and size_bytes else None
        if array is not None and (raw.Buffer(), dtype) not in contents:
            contents[raw.Buffer(), dtype] = content_of(array)
        tensors[name] = Tensor(
            name,
            dtype,
            _shape(raw, allowance),
            _quantization(raw, allowance),
            constant=size_bytes > 0,
            size_bytes=size_bytes,
            values=None if array is None else small_integers(array),
            content=None if array is None else contents[raw.Buffer(), dtype],
            buffer=raw.Buffer(),
        )
        names.append(name)
    return names


def _array(view: memoryview, dtype: str) -> NDArray[Any] | None:
    """Return a constant's values; None for types that numpy lacks, and for a length that is no whole number of them."""
    if dtype not in ARRAYS or len(view) % np.dtype(dtype).itemsize:
        return None
    return np.frombuffer(view, dtype)


def _shape(raw: Any, allowance: _Allowance) -> tuple[int | None, ...]:
    # The signature has -1 where the shape merely has the size that the file was converted with.
    sizes = raw.ShapeAsNumpy() if raw.ShapeSignatureIsNone() else raw.ShapeSignatureAsNumpy()
    return tuple(None if size < 0 else size for size in _integers(sizes, allowance))


def _quantization(raw: Any, allowance: _Allowance) -> Quantization | None:
    table = raw.Quantization()
    if table is None or table.ScaleIsNone() or table.ScaleLength() == 0:
        return None
    allowance.spend(table.ScaleLength())
    scales = tuple(float(scale) for scale in table.ScaleAsNumpy())
    zero_points = _integers(table.ZeroPointAsNumpy(), allowance) or (0,) * len(scales)
    axis = None if len(scales) == 1 else int(table.QuantizedDimension())
    return Quantization(scales, zero_points, axis)


def _nodes(
    subgraph: Any, operators: list[_Operator], names: list[str], allowance: _Allowance, *, number: int
) -> list[Node]:
    nodes: list[Node] = []
    for index in range(allowance.spend_tables(subgraph.OperatorsLength())):
        raw = subgraph.Operators(index)
        inputs = _named(raw.InputsAsNumpy(), names, allowance)
        outputs = _named(raw.OutputsAsNumpy(), names, allowance)
        operator = operators[raw.OpcodeIndex()]
        nodes.append(Node(operator.op, inputs, outputs, operator.domain, operator.version, number))
    return nodes


def _named(indices: Any, names: list[str], allowance: _Allowance) -> tuple[str, ...]:
    return tuple(
        "" if index == OPTIONAL_INPUT else names[index]
        for index in _integers(indices, allowance)
        if index >= OPTIONAL_INPUT
    )


def _integers(vector: Any, allowance: _Allowance) -> tuple[int, ...]:
    # The schema's accessors give the number 0 for a vector that isn't there.
    if isinstance(vector, int):
        return ()
    allowance.spend(len(vector))
    return tuple(int(value) for value in vector)
