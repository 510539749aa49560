"""Arrange: put a folded graph into the form that the integer kernels of both runtimes know; no answer changes.

- A split becomes slices: ONNX Runtime leaves one in float whose parts aren't all used.
- A clamp goes before what only moves numbers, next to the layer that it is fused with; where there is none, it is fused with
  a product by one, since ONNX Runtime has no integer kernel for a clamp alone.
- A clamped tensor that is joined with others gets a product by one before the join: joined tensors share one scale, and in
  a scale that reaches further than the clamp saturation no longer does the clamping.
- Number operands become tensors, and constants get the rank of what they meet.

Legend: x [N, ...].
"""

import operator
from typing import Any

import torch
from torch import fx, nn

from pipeline.quantization.graph import (
    WEIGHTED,
    add_constant,
    calls,
    constant_of,
    describe_as,
    operand_and_constant,
    rank_of,
)
from pipeline.quantization.operations import CLAMPS, COMPUTES, FIXED, JOINS, MOVES, REARRANGES

aten = torch.ops.aten
MULTIPLY, ADD = aten.mul.Tensor, aten.add.Tensor
SPLITS = {aten.split.Tensor, aten.split_with_sizes.default}


def arrange(graph_module: fx.GraphModule) -> None:
    """Rewrite the graph, in place."""
    _splits_to_slices(graph_module)
    _clamp_before_moving(graph_module)
    _part_clamped_joins(graph_module)
    _hold_lone_clamps(graph_module)
    _operands_to_tensors(graph_module)


def _splits_to_slices(graph_module: fx.GraphModule) -> None:
    for node in calls(graph_module, SPLITS):
        given: Any = [*node.args, *(0,)[len(node.args) - 2 :]]
        x, sizes, dim = given
        if isinstance(sizes, int):
            sizes = [int(part.shape[dim]) for part in node.meta["val"]]
        for part in list(node.users):
            if part.target is operator.getitem:
                index: Any = part.args[1]
                start = sum(sizes[:index])
                with graph_module.graph.inserting_before(part):
                    piece = graph_module.graph.call_function(aten.slice.Tensor, (x, dim, start, start + sizes[index]))
                describe_as(piece, node, part.meta["val"])
                part.replace_all_uses_with(piece)
                graph_module.graph.erase_node(part)


def _clamp_before_moving(graph_module: fx.GraphModule) -> None:
    for node in calls(graph_module, CLAMPS):
        move, clamp = node.args[0], node
        while isinstance(move, fx.Node) and move.target in REARRANGES and len(move.users) == 1:
            source = move.args[0]
            assert isinstance(source, fx.Node)
            clamp.replace_all_uses_with(move)
            move.replace_input_with(source, _repeat(clamp, source, before=move))
            graph_module.graph.erase_node(clamp)
            clamp, move = move.args[0], source  # type: ignore[assignment]  # the clamp that was put there


def _repeat(clamp: fx.Node, source: fx.Node, *, before: fx.Node) -> fx.Node:
    """Return a new clamp like the old one, of another tensor."""
    with clamp.graph.inserting_before(before):
        new = clamp.graph.call_function(clamp.target, (source, *clamp.args[1:]), dict(clamp.kwargs))  # type: ignore[arg-type]  # an operation by `calls`
    return describe_as(new, clamp, source.meta["val"])


def _part_clamped_joins(graph_module: fx.GraphModule) -> None:
    for node in calls(graph_module, JOINS):
        inputs: Any = node.args[0]
        bounds = [_clamped(x) for x in inputs]
        if len(set(bounds)) > 1:
            parts = [
                x if bound is None else _times_one(x, before=node) for x, bound in zip(inputs, bounds, strict=True)
            ]
            node.args = (parts, *node.args[1:])


def _clamped(x: fx.Node) -> tuple[Any, ...] | None:
    """Return the bounds of the clamp that a tensor comes from through moves, or None."""
    while x.target in MOVES and len(x.all_input_nodes) == 1:
        x = x.all_input_nodes[0]
    return (x.target, *x.args[1:]) if x.target in CLAMPS else None


def _hold_lone_clamps(graph_module: fx.GraphModule) -> None:
    for node in calls(graph_module, CLAMPS):
        x = node.args[0]
        assert isinstance(x, fx.Node)
        computed = x.target in WEIGHTED or x.target in COMPUTES
        known = computed or x.target in MOVES or x.target in FIXED or x.target in CLAMPS or x.op == "placeholder"
        if known and not (computed and len(x.users) == 1):
            node.args = (_times_one(x, before=node), *node.args[1:])


def _times_one(x: fx.Node, *, before: fx.Node) -> fx.Node:
    with x.graph.inserting_before(before):
        return describe_as(x.graph.call_function(MULTIPLY, (x, 1.0)), x)


def _operands_to_tensors(graph_module: fx.GraphModule) -> None:
    """Give numbers a tensor, and constants the rank of what they meet; a number is not trained."""
    for node in calls(graph_module, {MULTIPLY, ADD}):
        x, constant = operand_and_constant(graph_module, node)
        if x is None or node.kwargs or not node.meta["val"].is_floating_point():
            continue
        value = constant_of(graph_module, constant)
        value = torch.tensor(float(constant)) if value is None else value
        if isinstance(constant, fx.Node) and value.dim() >= rank_of(x):
            continue
        full = value.reshape([1] * (rank_of(x) - value.dim()) + list(value.shape))
        name = str(constant.target) if isinstance(constant, fx.Node) else f"number_{node.name}"
        trained = isinstance(value, nn.Parameter)
        node.args = (x, add_constant(graph_module, name, full, before=node, trained=trained))
