"""Graph: the few things that every step does to a traced graph: find calls, read and add constants, replace nodes.

Legend: constants keep the names that the user's module gave them ("blocks.1.conv.weight"), new ones lie beside them.
"""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx, nn

aten = torch.ops.aten
CONVOLUTIONS: dict[Any, int] = {aten.conv1d.default: 1, aten.conv2d.default: 2, aten.conv3d.default: 3}
"""Convolutions by the number of their spatial dimensions."""
TRANSPOSED: dict[Any, int] = {aten.conv_transpose2d.input: 2, aten.conv_transpose3d.input: 3}
WEIGHTED = {*CONVOLUTIONS, *TRANSPOSED, aten.linear.default}
"""Operations with a weight in argument 1 and a bias in argument 2."""


def calls(graph_module: fx.GraphModule, targets: Collection[Any]) -> list[fx.Node]:
    """Return the calls of these operations, in the order in which they run."""
    return [node for node in graph_module.graph.nodes if node.op == "call_function" and node.target in targets]


def constant_of(graph_module: fx.GraphModule, node: Any) -> Tensor | None:
    """Return the tensor that a get_attr node reads, or None for any other argument."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    value: Any = graph_module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return value if isinstance(value, Tensor) else None


def add_constant(
    graph_module: fx.GraphModule, name: str, value: Tensor, *, before: fx.Node, trained: bool = True
) -> fx.Node:
    """Register a tensor under a free name near `name`, a parameter where it is to be trained; return a node that reads it."""
    owner, leaf = _owner(graph_module, name)
    free, number = leaf, 0
    while hasattr(owner, free):
        number += 1
        free = f"{leaf}_{number}"
    _register(owner, free, value, trained=trained)
    path = name.rpartition(".")[0]
    return read_constant(graph_module, f"{path}.{free}" if path else free, before=before)


def read_constant(graph_module: fx.GraphModule, name: str, *, before: fx.Node) -> fx.Node:
    """Return a new node that reads the constant of this name."""
    with graph_module.graph.inserting_before(before):
        node = graph_module.graph.get_attr(name)
    value = constant_of(graph_module, node)
    assert value is not None
    node.meta["val"] = _as_traced(before, value)
    return node


def set_constant(graph_module: fx.GraphModule, node: fx.Node, value: Tensor) -> None:
    """Give a get_attr node's constant another value, of any shape."""
    owner, leaf = _owner(graph_module, str(node.target))
    trained = isinstance(getattr(owner, leaf), nn.Parameter)
    delattr(owner, leaf)
    _register(owner, leaf, value, trained=trained)
    node.meta["val"] = _as_traced(node, value)


def delete_unread(graph_module: fx.GraphModule) -> None:
    """Delete parameters and buffers that no node reads."""
    read = {str(node.target) for node in graph_module.graph.nodes if node.op == "get_attr"}
    names = [name for name, _ in graph_module.named_parameters(remove_duplicate=False)]
    names += [name for name, _ in graph_module.named_buffers(remove_duplicate=False)]
    for name in names:
        if name not in read:
            owner, leaf = _owner(graph_module, name)
            if hasattr(owner, leaf):  # a shared one goes by several names
                delattr(owner, leaf)


def operand_and_constant(graph_module: fx.GraphModule, node: fx.Node) -> tuple[fx.Node | None, Any]:
    """Return the computed operand of a two-operand node and the constant one (a node or a number)."""
    left, right = node.args[:2]
    for x, constant in ((left, right), (right, left)):
        fixed = not isinstance(constant, fx.Node) or constant_of(graph_module, constant) is not None
        if fixed and isinstance(x, fx.Node) and constant_of(graph_module, x) is None:
            return x, constant
    return None, None


def replace(old: fx.Node, new: fx.Node) -> None:
    """Let every reader of `old` read `new`, and erase `old`."""
    old.replace_all_uses_with(new)
    old.graph.erase_node(old)


def describe_as(new: fx.Node, old: fx.Node, value: Any = None) -> fx.Node:
    """Copy where a node came from and what its tensor looks like; return `new`."""
    new.meta.update({key: kept for key, kept in old.meta.items() if key != "val"})
    val = old.meta.get("val") if value is None else value
    new.meta["val"] = val[0] if isinstance(val, list | tuple) else val
    return new


def rank_of(node: fx.Node) -> int:
    """Return the number of dimensions of a node's tensor."""
    return int(node.meta["val"].dim())


def _register(owner: nn.Module, name: str, value: Tensor, *, trained: bool) -> None:
    kept = value.detach().clone()
    if trained and kept.is_floating_point():
        owner.register_parameter(name, nn.Parameter(kept))
    else:
        owner.register_buffer(name, kept)


def _as_traced(node: fx.Node, value: Tensor) -> Tensor:
    """Return `value` as the traced graph describes its tensors: a fake one of the same tracing."""
    val = node.meta.get("val")
    val = val[0] if isinstance(val, list | tuple) else val
    mode = getattr(val, "fake_mode", None)
    return value.detach() if mode is None else mode.from_tensor(value.detach(), static_shapes=True)


def _owner(graph_module: fx.GraphModule, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    owner: nn.Module = graph_module
    for part in path.split(".") if path else ():
        if not hasattr(owner, part):
            owner.add_module(part, nn.Module())
        owner = getattr(owner, part)
    return owner, leaf
