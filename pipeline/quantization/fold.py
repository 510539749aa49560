"""Fold: take out of a traced graph what costs a rounding, or an op, and computes nothing that a convolution can't.

Folding happens on the aten graph, after tracing: real networks have control flow that symbolic tracing of modules can't
follow. In this order:

1. Ops that do nothing (dropout in evaluation, clone, detach) go; what depends on weights alone is computed once; a view
   leaves the batch open.
2. A BatchNorm becomes a scale and an offset: gamma / sqrt(var + eps) and beta - mean * scale (Ioffe 2015, algorithm 2). On
   pictures without a convolution before them these are a depthwise 1x1 convolution, whose weights are int8 per channel.
3. A constant factor or offset goes into the weights of the convolution or linear layer that has no other reader.
4. A zero pad goes into the convolution that follows, where it is the same on both sides.
5. A transposed convolution becomes a convolution and an interleaving (`transposed`); the rest is put into the form that the
   integer kernels know (`arrange`).

Legend: w [O, I/groups, kh, kw] convolution, [O, I] linear; b [O]; picture x [N, C, H, W].
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from pipeline.quantization.arrange import arrange
from pipeline.quantization.graph import (
    CONVOLUTIONS,
    TRANSPOSED,
    WEIGHTED,
    add_constant,
    calls,
    constant_of,
    delete_unread,
    describe_as,
    operand_and_constant,
    rank_of,
    read_constant,
    replace,
    set_constant,
)
from pipeline.quantization.operations import LINEAR_MOVES
from pipeline.quantization.transposed import write_out_transposed

aten = torch.ops.aten
BATCH_NORM = aten._native_batch_norm_legit_no_training.default  # noqa: SLF001  # the name that torch.export gives it
IDENTITIES = {
    aten.clone.default,
    aten.alias.default,
    aten.detach.default,
    aten.dropout.default,
    aten.lift_fresh_copy.default,
}
PADS = {aten.pad.default, aten.constant_pad_nd.default}
FILLS = {aten.full.default, aten.zeros.default, aten.ones.default, aten.arange.default, aten.scalar_tensor.default}
VIEWS = {aten.view.default, aten.reshape.default, aten._unsafe_view.default}  # noqa: SLF001  # as above
MULTIPLY, ADD = aten.mul.Tensor, aten.add.Tensor


def fold(graph_module: fx.GraphModule) -> fx.GraphModule:
    """Apply every fold to the graph, in place, and return it; it answers as before up to float rounding."""
    passes: tuple[Callable[[fx.GraphModule], None], ...] = (
        _drop_identities,
        _leave_batch_open,
        _compute_constants,
        _spell_convolutions_out,
        _write_out_batch_norms,
        _absorb_factors_and_offsets,
        _absorb_pads,
        write_out_transposed,
        arrange,
    )
    for step in passes:
        step(graph_module)
        graph_module.graph.eliminate_dead_code()
    delete_unread(graph_module)
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module


def _drop_identities(graph_module: fx.GraphModule) -> None:
    for node in calls(graph_module, IDENTITIES):
        replace(node, node.args[0])  # type: ignore[arg-type]  # the first argument of each is a tensor


def _leave_batch_open(graph_module: fx.GraphModule) -> None:
    """Write the one free size of a view as -1: computed from the input's shape it would cost the file nodes, and bind it to it.

    A view becomes a reshape, which doesn't ask how its input lies in memory.
    """
    for node in calls(graph_module, VIEWS):
        node.target = aten.reshape.default
        sizes: Any = list(node.args[1])  # type: ignore[arg-type]  # a list by aten's schema
        if sum(not isinstance(size, int) for size in sizes) == 1 and -1 not in sizes:
            node.args = (node.args[0], [size if isinstance(size, int) else -1 for size in sizes])


def _compute_constants(graph_module: fx.GraphModule) -> None:
    """Compute what depends on weights alone, e.g. a normalised weight or an expanded position embedding."""
    known: dict[fx.Node, Any] = {}
    for node in list(graph_module.graph.nodes):
        if node.op == "get_attr":
            known[node] = constant_of(graph_module, node)
        elif (
            node.op == "call_function"
            and (node.all_input_nodes or node.target in FILLS)
            and all(n in known for n in node.all_input_nodes)
        ):
            with torch.no_grad():
                known[node] = node.target(
                    *map_arg(node.args, known.__getitem__), **map_arg(node.kwargs, known.__getitem__)
                )
    for node, value in known.items():
        readers = [user for user in node.users if user not in known]
        if node.op == "call_function" and readers and isinstance(value, Tensor):
            trained = any(isinstance(constant_of(graph_module, source), nn.Parameter) for source in _sources(node))
            constant = add_constant(graph_module, f"constant_{node.name}", value, before=node, trained=trained)
            node.replace_all_uses_with(describe_as(constant, node))


def _sources(node: fx.Node) -> set[fx.Node]:
    """Return the constants that a node is computed from."""
    if node.op == "get_attr":
        return {node}
    return {source for x in node.all_input_nodes for source in _sources(x)}


def _spell_convolutions_out(graph_module: fx.GraphModule) -> None:
    """Give each convolution all seven arguments."""
    for node in calls(graph_module, CONVOLUTIONS):
        target: Any = node.target
        count = CONVOLUTIONS[target]
        given: Any = [*node.args, *(None, 1, 0, 1, 1)[len(node.args) - 2 :]]
        x, w, b, stride, padding, dilation, groups = given
        node.args = (x, w, b, _each(stride, count), _each(padding, count), _each(dilation, count), groups)


def _each(setting: Any, count: int) -> list[int]:
    values = list(setting) if isinstance(setting, list | tuple) else [setting]
    return values * count if len(values) == 1 else values


def _write_out_batch_norms(graph_module: fx.GraphModule) -> None:
    """Turn each BatchNorm into a multiplication and an addition, or a depthwise 1x1 convolution."""
    seen: dict[tuple[str, ...], tuple[str, str]] = {}
    for node in calls(graph_module, {BATCH_NORM}):
        x = node.args[0]
        assert isinstance(x, fx.Node)
        depthwise = rank_of(x) == 4 and not (x.target in WEIGHTED and len(x.users) == 1)
        scale, offset = _scale_and_offset(
            graph_module, node, seen, shape=[-1, 1, 1, 1] if depthwise else [1, -1] + [1] * (rank_of(x) - 2)
        )
        with graph_module.graph.inserting_before(node):
            if depthwise:
                channels = scale.meta["val"].numel()
                written = graph_module.graph.call_function(
                    aten.conv2d.default, (x, scale, offset, [1, 1], [0, 0], [1, 1], channels)
                )
            else:
                product = describe_as(graph_module.graph.call_function(MULTIPLY, (x, scale)), node)
                written = graph_module.graph.call_function(ADD, (product, offset))
        describe_as(written, node)
        for user in list(node.users):
            if user.target is operator.getitem and user.args[1] == 0:
                user.replace_all_uses_with(written)


def _scale_and_offset(
    graph_module: fx.GraphModule, node: fx.Node, seen: dict[tuple[str, ...], tuple[str, str]], *, shape: list[int]
) -> tuple[fx.Node, fx.Node]:
    """Return nodes for the scale and the offset; a BatchNorm that is called twice keeps one pair."""
    key = (*(str(argument) for argument in node.args[1:]), str(shape))
    if key in seen:
        name, other = seen[key]
        return read_constant(graph_module, name, before=node), read_constant(graph_module, other, before=node)
    gamma, beta, mean, var = (constant_of(graph_module, argument) for argument in node.args[1:5])
    assert mean is not None
    assert var is not None
    scale = torch.rsqrt(var.double() + float(node.args[6])) * (1.0 if gamma is None else gamma.double())  # type: ignore[arg-type]  # eps
    offset = (0.0 if beta is None else beta.double()) - mean.double() * scale
    path = str(node.args[3].target).rpartition(".")[0]  # type: ignore[union-attr]  # the running mean is a node
    prefix = f"{path}." if path else ""
    offset_shape = [-1] if shape[0] == -1 else shape
    scale_node = add_constant(graph_module, f"{prefix}scale", scale.float().reshape(shape), before=node)
    offset_node = add_constant(graph_module, f"{prefix}offset", offset.float().reshape(offset_shape), before=node)
    seen[key] = (str(scale_node.target), str(offset_node.target))
    return scale_node, offset_node


def _absorb_factors_and_offsets(graph_module: fx.GraphModule) -> None:
    """Move constant factors and offsets into the weights before them."""
    weights = [node.args[1] for node in calls(graph_module, WEIGHTED)]
    shared = {str(w.target) for w in weights if isinstance(w, fx.Node) and _readers(graph_module, w) > 1}
    ledger = _Ledger(shared)
    for node in calls(graph_module, {MULTIPLY, ADD}):
        x, constant = operand_and_constant(graph_module, node)
        if x is None or node.kwargs:
            continue
        layer = _sole_source(x, through_moves=node.target is MULTIPLY and not isinstance(constant, fx.Node))
        if layer is None or constant_of(graph_module, layer.args[1]) is None:
            continue
        value = _per_channel(graph_module, constant, layer)
        if value is not None:
            label = str(constant.target if isinstance(constant, fx.Node) else constant)
            _absorb(graph_module, layer, node.target, value, label, ledger)
            replace(node, x)


def _sole_source(x: fx.Node, *, through_moves: bool) -> fx.Node | None:
    """Return the weighted layer that x comes from, if nothing else reads it on the way."""
    while len(x.users) == 1:
        if x.target in WEIGHTED:
            return x
        moves = x.target in LINEAR_MOVES and not (x.target in PADS and _pad_value(x))
        if not (through_moves and moves and len(x.all_input_nodes) == 1):
            return None
        x = x.all_input_nodes[0]
    return None


def _per_channel(graph_module: fx.GraphModule, constant: Any, layer: fx.Node) -> Tensor | None:
    """Return the constant as one number, or one a channel of the layer's output [O]; None if it varies otherwise."""
    value = constant_of(graph_module, constant)
    if value is None:
        return torch.tensor(float(constant))
    if value.numel() == 1:
        return value.reshape(())
    channel_axis = rank_of(layer) - 1 if layer.target is aten.linear.default else 1
    shape = [1] * (rank_of(layer) - value.dim()) + list(value.shape)
    varies = [axis for axis, size in enumerate(shape) if size != 1]
    return value.reshape(-1) if len(shape) == rank_of(layer) and varies == [channel_axis] else None


def _absorb(
    graph_module: fx.GraphModule,
    layer: fx.Node,
    operation: Any,
    value: Tensor,
    label: str,
    ledger: "_Ledger",
) -> None:
    weight, bias = layer.args[1], layer.args[2] if len(layer.args) > 2 else None
    assert isinstance(weight, fx.Node)
    w, b = constant_of(graph_module, weight), constant_of(graph_module, bias)
    assert w is not None
    channels = _output_channels(layer, w)
    b = torch.zeros(channels, dtype=w.dtype) if b is None else b
    new_bias = (b.double() * value if operation is MULTIPLY else b.double() + value).to(w.dtype)
    bias_name = f"{str(weight.target).rpartition('.')[0]}.bias".lstrip(".")
    new_weight = weight
    if operation is MULTIPLY:
        scaled = (w.double() * _along_outputs(layer, w, value)).to(w.dtype)
        new_weight = _exchange(graph_module, layer, weight, str(weight.target), scaled, label, ledger)
    new_bias_node = _exchange(
        graph_module, layer, bias, bias_name, new_bias.expand(channels), f"{operation} {label}", ledger
    )
    layer.args = (layer.args[0], new_weight, new_bias_node, *layer.args[3:])


@dataclass
class _Ledger:
    """Weights that several layers share, and what was made of them and of their biases by what: made once, then read."""

    shared: set[str]
    made: dict[tuple[str, ...], str] = field(default_factory=dict)


def _exchange(
    graph_module: fx.GraphModule,
    layer: fx.Node,
    old: Any,
    name: str,
    value: Tensor,
    label: str,
    ledger: _Ledger,
) -> fx.Node:
    """Return a node for the new value: in the old one's place if the layer alone reads it, else one a way of use."""
    targets = [str(getattr(constant, "target", None)) for constant in (old, layer.args[1])]
    key = (name, *targets, label)
    if key in ledger.made:
        return read_constant(graph_module, ledger.made[key], before=layer)
    shared = bool(ledger.shared & set(targets))
    if isinstance(old, fx.Node) and not shared and _readers(graph_module, old) == 1:
        set_constant(graph_module, old, value)
        return old
    node = add_constant(graph_module, name, value, before=layer)
    if shared:
        ledger.made[key] = str(node.target)
        ledger.shared.add(str(node.target))
    return node


def _readers(graph_module: fx.GraphModule, constant: fx.Node) -> int:
    """Return how many nodes take a constant, through whichever node reads it."""
    return sum(
        len(node.users) for node in graph_module.graph.nodes if node.op == "get_attr" and node.target == constant.target
    )


def _output_channels(layer: fx.Node, w: Tensor) -> int:
    return int(w.shape[1]) * _groups(layer) if layer.target in TRANSPOSED else int(w.shape[0])


def _groups(layer: fx.Node) -> int:
    """Return the groups of a transposed convolution: its seventh argument."""
    return int(layer.args[6]) if len(layer.args) > 6 else 1  # type: ignore[arg-type]  # a number by aten's schema


def _along_outputs(layer: fx.Node, w: Tensor, value: Tensor) -> Tensor:
    """Shape a factor [] or [O] so that it multiplies w by output channel; a transposed w is [I, O/groups, ...]."""
    if value.dim() == 0 or layer.target not in TRANSPOSED:
        return value.reshape(-1, *[1] * (w.dim() - 1)).double()
    groups = _groups(layer)
    by_group = value.reshape(groups, 1, -1).expand(groups, w.shape[0] // groups, -1)
    return by_group.reshape(w.shape[0], -1, *[1] * (w.dim() - 2)).double()


def _absorb_pads(graph_module: fx.GraphModule) -> None:
    for pad in calls(graph_module, PADS):
        for layer in list(pad.users):
            sides = _both_sides(pad, CONVOLUTIONS.get(layer.target, 0))
            if sides is None or layer.args[0] is not pad:
                continue
            _, w, b, stride, padding, dilation, groups = layer.args
            wider = [p + more for p, more in zip(padding, sides, strict=True)]  # type: ignore[arg-type]  # lists by _spell_convolutions_out
            layer.args = (pad.args[0], w, b, stride, wider, dilation, groups)


def _both_sides(pad: fx.Node, count: int) -> list[int] | None:
    """Return a zero pad of `count` spatial dimensions as padding, in the convolution's order; None if it is none."""
    sides: Any = pad.args[1]
    zero = pad.target is aten.constant_pad_nd.default or len(pad.args) < 3 or pad.args[2] == "constant"
    if not zero or _pad_value(pad) or len(sides) > 2 * count:
        return None
    pairs = list(zip(sides[::2], sides[1::2], strict=True))
    if any(first != second or first < 0 for first, second in pairs):
        return None
    return [0] * (count - len(pairs)) + [first for first, _ in reversed(pairs)]


def _pad_value(pad: fx.Node) -> float:
    """Return what a pad fills in, 0 where it copies what is there."""
    value: Any = pad.args[-1] if isinstance(pad.args[-1], int | float) else pad.kwargs.get("value")
    return float(value or 0.0)
