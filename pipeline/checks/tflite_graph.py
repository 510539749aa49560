"""TFLite files as a Graph: the flatbuffer is read with the schema that ai-edge-litert ships, table by table.

A flatbuffer is offsets all the way down, and a hostile one points wherever it likes. The reader keeps an allowance
measured by the file's size: tables that point at one another for ever use it up and end as a ModelError.
Vectors are taken as numpy views of the file, so a length beyond its end is an error, not memory.

Schema: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

import struct
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from pipeline.checks.graph import Graph, Node, Quantization, Tensor
from pipeline.errors import ModelError

DTYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
OPTIONAL_INPUT = -1
MAX_NAME_BYTES = 4096
MAX_TABLES = 1_000_000
MAX_ELEMENTS = 16_000_000


class _Allowance:
    """How many more tables, and how many more elements of vectors, may be read from one file.

    An honest file spends at least 8 bytes on a table and 4 on an element.
    """

    def __init__(self, content: bytes) -> None:
        self.tables = min(len(content) // 8, MAX_TABLES)
        self.elements = min(len(content) // 4, MAX_ELEMENTS)

    def spend_tables(self, count: int) -> int:
        self.tables -= count
        return self._checked(count)

    def spend(self, count: int) -> int:
        self.elements -= count
        return self._checked(count)

    def _checked(self, count: int) -> int:
        if count < 0 or self.tables < 0 or self.elements < 0:
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
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    for number in range(allowance.spend_tables(model.SubgraphsLength())):
        subgraph = model.Subgraphs(number)
        names = _add_tensors(model, subgraph, tensors, allowance)
        nodes += _nodes(subgraph, operators, names, allowance)
        if number == 0:
            inputs = _named(subgraph.InputsAsNumpy(), names, allowance)
            outputs = _named(subgraph.OutputsAsNumpy(), names, allowance)
    if not nodes:
        raise ValueError("it holds no operator")
    return Graph(path, "tflite", len(content), tuple(nodes), tensors, inputs, outputs)


def _operator(code: Any) -> str:
    # Codes above 127 did not fit the first field, so the schema has two; the larger one counts.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    custom = code.CustomCode()
    return bytes(custom[:MAX_NAME_BYTES]).decode() if custom else OPERATORS[number]


def _add_tensors(model: Any, subgraph: Any, tensors: dict[str, Tensor], allowance: _Allowance) -> list[str]:
    """Put a subgraph's tensors among the others and return their names by index."""
    names: list[str] = []
    for index in range(allowance.spend_tables(subgraph.TensorsLength())):
        raw = subgraph.Tensors(index)
        name = (raw.Name() or b"")[:MAX_NAME_BYTES].decode()
        allowance.spend(len(name) // 4)
        if not name or name in tensors:
            name = f"{name}#{len(tensors)}"
        size_bytes = _buffer_bytes(model, raw.Buffer())
        tensors[name] = Tensor(
            name, DTYPES[raw.Type()], _shape(raw, allowance), _quantization(raw, allowance), size_bytes > 0, size_bytes
        )
        names.append(name)
    return names


def _buffer_bytes(model: Any, index: int) -> int:
    if index >= model.BuffersLength():
        raise ValueError(f"no buffer {index}")
    buffer = model.Buffers(index)
    return int(buffer.DataLength() or buffer.Size())


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


def _nodes(subgraph: Any, operators: list[str], names: list[str], allowance: _Allowance) -> list[Node]:
    nodes: list[Node] = []
    for index in range(allowance.spend_tables(subgraph.OperatorsLength())):
        raw = subgraph.Operators(index)
        inputs = _named(raw.InputsAsNumpy(), names, allowance)
        nodes.append(Node(operators[raw.OpcodeIndex()], inputs, _named(raw.OutputsAsNumpy(), names, allowance)))
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
