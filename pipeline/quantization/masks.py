"""Masks: hide a key from a softmax by a score that int8 can hold.

Networks hide keys by minus infinity, or by -10,000 and less, and the scores share one range with it: at 8 bits nothing is left of them.
A mask of HIDDEN does the same to a softmax whose visible scores lie well above it: e^-24 of a share is 4e-11.
"""

from typing import Any

from torch import fx

from pipeline.plain_attention import HIDDEN
from pipeline.quantization.graph import WEIGHTED, calls, constant_of, describe_as
from pipeline.quantization.operations import aten

PRODUCTS = {*WEIGHTED, aten.matmul.default, aten.bmm.default}
"""What scores come from, and masks don't."""
MASKED = {
    aten.add.Tensor,
    aten.masked_fill.Scalar,
    aten.masked_fill.Tensor,
    aten.where.self,
    aten.where.ScalarOther,
    aten.where.ScalarSelf,
}
FARTHEST = -1e4
"""A factor below it leaves a kernel's multiplier no bits: float32's lowest number, by which transformers hides keys (`get_extended_attention_mask`), is nearly -2^128."""


def raise_masks(graph_module: fx.GraphModule) -> fx.GraphModule:
    """Let no mask of a softmax reach below HIDDEN, in place; return the graph."""
    raised: dict[Any, Any] = {}
    for softmax in calls(graph_module, {aten.softmax.int}):
        masked = softmax.args[0]
        if isinstance(masked, fx.Node) and masked.target in MASKED:
            for operand in masked.args:
                if operand not in raised:
                    raised[operand] = _raised(graph_module, operand)
            masked.args = tuple(raised[operand] for operand in masked.args)
    return graph_module


def _raised(graph_module: fx.GraphModule, operand: Any) -> Any:
    if not isinstance(operand, fx.Node):
        return max(operand, HIDDEN)
    nodes = _sources(operand)
    if any(node.target in PRODUCTS for node in nodes) or min(_lowest(graph_module, node) for node in nodes) >= HIDDEN:
        return operand
    for node in nodes:
        if node.target is aten.mul.Tensor:
            node.args = tuple(x if isinstance(x, fx.Node) else max(x, FARTHEST) for x in node.args)  # type: ignore[type-var]  # a number
    with graph_module.graph.inserting_after(operand):
        return describe_as(graph_module.graph.call_function(aten.clamp.default, (operand, HIDDEN, None)), operand)


def _sources(operand: fx.Node) -> set[fx.Node]:
    """Return a node and all that it is computed from."""
    found, waiting = {operand}, [operand]
    while waiting:
        new = [x for x in waiting.pop().all_input_nodes if x not in found]
        found.update(new)
        waiting += new
    return found


def _lowest(graph_module: fx.GraphModule, node: fx.Node) -> float:
    """Return the lowest number that a node brings in, or 0."""
    constant = constant_of(graph_module, node)
    numbers = [float(x) for x in node.args if isinstance(x, int | float)]
    numbers += [float(constant.min())] if constant is not None and constant.is_floating_point() else []
    return min(numbers, default=0.0)
