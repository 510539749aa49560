"""The integer form of an exported ONNX graph: what ONNX Runtime's integer kernels, and a small file, ask for.

torch's exporter writes the frozen program faithfully; this puts it into the form that the runtime fuses without options:

1. Activations are uint8 (zero point + 128): ONNX Runtime leaves int8 convolutions beside a residual in float, unless a
   session option is set.
2. Biases are int32 on the accumulator's grid, scale s_x * s_w with one entry a channel, zero point 0: as the TFLite file has
   them (https://ai.google.dev/edge/litert/models/quantization_spec, CONV_2D).
3. A mean over the picture is a GlobalAveragePool, which has an integer kernel; ReduceMean has none.
4. A Pad between quantisers goes into the `pads` of the convolution, which ONNX allows to differ by side.
5. Inputs and outputs may lose their outer quantiser: then they are uint8 tensors.

Legend: `q` a QuantizeLinear, `dq` a DequantizeLinear; b [O] float bias, s_x, s_w [O] scales.
"""

from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

Q, DQ = "QuantizeLinear", "DequantizeLinear"
SHIFT = 128
INT32_MOST = 2**31 - 1


@dataclass
class Graph:
    """A graph with its constants and producers at hand."""

    model: ModelProto
    constants: dict[str, TensorProto] = field(default_factory=dict)
    producers: dict[str, NodeProto] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self.producers = {name: node for node in self.model.graph.node for name in node.output}

    def array(self, name: str) -> NDArray[np.generic]:
        """Return a constant's values."""
        return numpy_helper.to_array(self.constants[name])

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        """Add a constant under this name, or find the one that is there; return the name."""
        if name not in self.constants:
            tensor = self.model.graph.initializer.add()
            tensor.CopyFrom(numpy_helper.from_array(values, name))
            self.constants[name] = tensor
        return name

    def readers(self, name: str) -> list[NodeProto]:
        """Return the nodes that take a tensor."""
        return [node for node in self.model.graph.node if name in node.input]

    def dequantised(self, name: str) -> NodeProto | None:
        """Return the dq that gives a tensor."""
        node = self.producers.get(name)
        return node if node is not None and node.op_type == DQ else None


def to_integers(model: ModelProto, *, integer_inputs: bool, integer_outputs: bool) -> None:
    """Put an exported graph into its integer form, in place."""
    graph = Graph(model)
    _pool_globally(graph)
    _absorb_pads(graph)
    _separate_constants(graph)
    _quantise_biases(graph)
    _activations_to_uint8(graph)
    if integer_inputs:
        _open_inputs(graph)
    if integer_outputs:
        _open_outputs(graph)
    drop_unread(model)


def drop_unread(model: ModelProto) -> None:
    """Drop nodes and constants that lead to no output."""
    needed = {output.name for output in model.graph.output}
    for node in reversed(list(model.graph.node)):
        if needed & set(node.output):
            needed |= set(node.input)
        else:
            model.graph.node.remove(node)
    for tensor in list(model.graph.initializer):
        if tensor.name not in needed:
            model.graph.initializer.remove(tensor)


def put_in_order(model: ModelProto) -> None:
    """Sort nodes so that each comes after what it reads, as ONNX demands; a converter may leave them otherwise."""
    waiting = list(model.graph.node)
    unwritten = {name for node in waiting for name in node.output}
    ordered: list[NodeProto] = []
    while waiting:
        ready = [not unwritten & set(node.input) for node in waiting]
        assert any(ready), "the graph is a cycle"
        now = [node for node, is_ready in zip(waiting, ready, strict=True) if is_ready]
        waiting = [node for node, is_ready in zip(waiting, ready, strict=True) if not is_ready]
        unwritten -= {name for node in now for name in node.output}
        ordered += now
    del model.graph.node[:]
    model.graph.node.extend(ordered)


def _activations_to_uint8(graph: Graph) -> None:
    for node in graph.model.graph.node:
        if node.op_type not in (Q, DQ) or node.input[0] in graph.constants:
            continue
        scale, zero_point = graph.array(node.input[1]), graph.array(node.input[2])
        if scale.size != 1 or zero_point.dtype != np.int8:
            continue
        shifted = int(zero_point.reshape(())) + SHIFT
        node.input[2] = graph.constant(f"zero_point_{shifted}", np.array(shifted, dtype=np.uint8))
        del node.attribute[:]


def _separate_constants(graph: Graph) -> None:
    """Give each reader of a weight a dq, a weight and zero points of its own; make a constant operand uint8 like what it meets.

    Where `session.x64quantprecision` turns signed weights into unsigned ones, ONNX Runtime 1.31 fails on what two weights
    share, on a weight that two operations share, such as the equal factors of two hard-swishes ("attempt to replace
    the existing tensor"), and, for a Gemm, on absent zero points. QLinearAdd and QLinearMul want one type for both operands.
    """
    taken: set[str] = set()
    for node in list(graph.model.graph.node):
        if node.op_type != DQ or node.input[0] not in graph.constants or len(node.input) < 3:
            continue
        for number, reader in enumerate(graph.readers(node.output[0])):
            _own_constant(graph, _own_dq(graph, node, reader) if number else node, taken)


def _own_dq(graph: Graph, node: NodeProto, reader: NodeProto) -> NodeProto:
    """Put a copy of a dq before one of its readers."""
    shared, own = node.output[0], f"{node.output[0]}_{reader.name}"
    copied = NodeProto()
    copied.CopyFrom(node)
    copied.name, copied.output[0] = own, own
    reader.input[:] = [own if name == shared else name for name in reader.input]
    graph.model.graph.node.insert(list(graph.model.graph.node).index(node), copied)
    graph.producers[own] = copied
    return copied


def _own_constant(graph: Graph, node: NodeProto, taken: set[str]) -> None:
    name, integers, zero_points = node.input[0], graph.array(node.input[0]), graph.array(node.input[2])
    if zero_points.ndim == 0 and integers.dtype == np.int8:
        name = f"{node.output[0]}_uint8"
        integers, zero_points = (
            (values.astype(np.int16) + SHIFT).astype(np.uint8) for values in (integers, zero_points)
        )
    elif name in taken:
        name = f"{node.output[0]}_weight"
    taken.add(name)
    node.input[0] = graph.constant(name, integers)
    node.input[2] = graph.constant(f"{name}_zero_point", zero_points)


def _quantise_biases(graph: Graph) -> None:
    for node in list(graph.model.graph.node):
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3 or node.input[2] not in graph.constants:
            continue
        x, w = graph.dequantised(node.input[0]), graph.dequantised(node.input[1])
        if x is None or w is None or w.input[0] not in graph.constants:
            continue
        bias = graph.array(node.input[2]).astype(np.float64).reshape(-1)
        scale = np.broadcast_to(
            graph.array(x.input[1]).astype(np.float32) * graph.array(w.input[1]).astype(np.float32), bias.shape
        )
        name = f"{node.output[0]}_bias"
        integers = np.clip(np.rint(bias / scale.astype(np.float64)), -INT32_MOST, INT32_MOST).astype(np.int32)
        inputs = [graph.constant(f"{name}_int32", integers), graph.constant(f"{name}_scale", scale.astype(np.float32))]
        dequantise = onnx.helper.make_node(DQ, inputs, [name], name=f"{name}_dequantise", axis=0)
        node.input[2] = name
        graph.model.graph.node.insert(list(graph.model.graph.node).index(node), dequantise)
        graph.producers[name] = dequantise


def _pool_globally(graph: Graph) -> None:
    for node in graph.model.graph.node:
        if node.op_type != "ReduceMean" or len(node.input) < 2 or node.input[1] not in graph.constants:
            continue
        axes = sorted(int(axis) for axis in graph.array(node.input[1]).reshape(-1))
        keeps = all(attribute.i for attribute in node.attribute if attribute.name == "keepdims")
        if axes in ([2, 3], [-2, -1]) and keeps:
            node.op_type = "GlobalAveragePool"
            del node.input[1:]
            del node.attribute[:]


def _absorb_pads(graph: Graph) -> None:
    """Turn dq, Pad, q, dq, Conv with zero pads into dq, Conv."""
    for node in graph.model.graph.node:
        if node.op_type != "Conv":
            continue
        pad = _pad_before(graph, node)
        if pad is None:
            continue
        sides = [int(side) for side in graph.array(pad.input[1]).reshape(-1)]
        rank = len(sides) // 2
        spatial = sides[2:rank] + sides[rank + 2 :]
        if any(sides[:2]) or any(sides[rank : rank + 2]) or min(spatial) < 0:
            continue
        pads = next((attribute for attribute in node.attribute if attribute.name == "pads"), None)
        given = list(pads.ints) if pads is not None else [0] * len(spatial)
        if pads is not None:
            node.attribute.remove(pads)
        node.attribute.append(onnx.helper.make_attribute("pads", [a + b for a, b in zip(given, spatial, strict=True)]))
        node.input[0] = pad.input[0]


def _pad_before(graph: Graph, node: NodeProto) -> NodeProto | None:
    """Return the zero pad whose output reaches a convolution, directly or through q and dq of the same scale."""
    name = node.input[0]
    outer = graph.dequantised(name)
    if outer is not None:
        inner = graph.producers.get(outer.input[0])
        if inner is None or inner.op_type != Q:
            return None
        name = inner.input[0]
    pad = graph.producers.get(name)
    if pad is None or pad.op_type != "Pad" or pad.input[1] not in graph.constants:
        return None
    value = graph.array(pad.input[2]) if len(pad.input) > 2 and pad.input[2] in graph.constants else np.zeros(())
    return pad if float(value.reshape(())) == 0.0 and len(pad.input) < 4 else None


def _open_inputs(graph: Graph) -> None:
    for declared in graph.model.graph.input:
        readers = graph.readers(declared.name)
        if readers and all(node.op_type == Q for node in readers):
            for node in readers:
                for reader in graph.readers(node.output[0]):
                    reader.input[:] = [declared.name if name == node.output[0] else name for name in reader.input]
            declared.type.tensor_type.elem_type = TensorProto.UINT8


def _open_outputs(graph: Graph) -> None:
    for declared in graph.model.graph.output:
        dq = graph.dequantised(declared.name)
        q = graph.producers.get(dq.input[0]) if dq is not None else None
        if dq is None or q is None:
            continue
        integers, floats = dq.input[0], declared.name
        for node in graph.model.graph.node:
            renamed = {integers: floats, floats: f"{floats}_float"}
            node.input[:] = [renamed.get(name, name) for name in node.input]
            node.output[:] = [renamed.get(name, name) for name in node.output]
        declared.type.tensor_type.elem_type = TensorProto.UINT8
        graph.producers = {name: node for node in graph.model.graph.node for name in node.output}
