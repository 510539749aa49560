"""Which channels must leave together: torch-pruning's dependency graph, read into plain records.

Fang et al. 2023, "DepGraph: Towards Any Structural Pruning" (https://arxiv.org/abs/2301.12900): when a layer loses an output
channel, so do the norms and depthwise convolutions behind it, everything that is added to it, and the inputs that read it.
The graph comes from autograd's own record of one forward pass, so control flow in `forward` is no obstacle.

What is special here:

- The records name modules and positions, not objects: a cut can be planned, costed, tried on a copy and thrown away.
- A grouped convolution's or a GroupNorm's channels leave as one channel from each group; a grouped axis stays even.
- An attention's channels leave as whole heads. The head's size is read from the matrix products that autograd recorded.
- What can't be cut safely is left alone and says why: whatever reaches the output, nn.MultiheadAttention (its embedding is
  the residual stream), recurrent cells, grouped transposed convolutions, a grouped axis that several layers share by parts.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.errors import ModelError

Side = Literal["out", "in", "both"]
"""Which axis of a layer loses channels: a convolution's or linear layer's output or input, or the one axis of all others."""

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
MOVES = ("View", "UnsafeView", "Reshape", "Expand", "Clone", "NativeDropout", "Mul", "Div")
"""Autograd's names of what may stand between an attention's softmax and its product with the values."""


@dataclass(frozen=True)
class Member:
    """One layer's part: the channel `root` of the group takes `positions[root]` out of the layer's axis."""

    layer: str
    side: Side
    positions: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Coupled:
    """A group of coupled channels, named after its first layer. `units` are the sets of channels that leave at once.

    `head_channels` is the size of an attention head, where a unit is one; `alone` says why nothing may leave.
    """

    name: str
    channels: int
    units: tuple[tuple[int, ...], ...]
    members: tuple[Member, ...]
    head_channels: int = 0
    alone: str = ""


def coupled_channels(module: nn.Module, example_inputs: tuple[Tensor, ...]) -> tuple[Coupled, ...]:
    """Return every group of coupled channels of a network, in the order of its layers."""
    traced = copy.deepcopy(module).requires_grad_(True)
    graph = _graph(traced, example_inputs)
    names = {part: name for name, part in traced.named_modules()} | {
        part: name for name, part in traced.named_parameters()
    }
    order = {name: index for index, name in enumerate(names.values())}
    found = [_coupled(group, graph, names) for group in graph.get_all_groups()]
    return tuple(sorted(found, key=lambda group: order[group.name]))


def _graph(module: nn.Module, example_inputs: tuple[Tensor, ...]) -> Any:
    from torch_pruning import DependencyGraph  # noqa: PLC0415  # seconds to import, and only pruning needs it

    try:
        with torch.enable_grad():
            return DependencyGraph().build_dependency(module, example_inputs, verbose=False)
    except (RuntimeError, AttributeError, ValueError, TypeError, KeyError, AssertionError, IndexError) as error:
        raise ModelError(
            f"prune: the network's layers can't be traced ({type(error).__name__}: {str(error).splitlines()[0]!r:.150}); "
            "leave `prune` out of `stages`, or simplify its forward()"
        ) from error


def _coupled(group: Any, graph: Any, names: dict[Any, str]) -> Coupled:
    items = [item for item in group if item.dep.target.module in names and not _is_shared_slope(item.dep.target.module)]
    root, channels = names[items[0].dep.target.module], len(items[0].idxs)
    found = Coupled(name=root, channels=channels, units=tuple((channel,) for channel in range(channels)), members=())
    reason = _reaches_output(group, graph) or next(
        filter(None, (_unsafe(item.dep.target.module) for item in items)), ""
    )
    if any(None in item.root_idxs for item in items):
        reason = "it repeats keys and values for several heads"
    if reason:
        return replace(found, units=(), alone=reason)
    members = tuple(_member(item, graph, names, channels) for item in items)
    if any(len({len(places) for places in member.positions}) > 1 for member in members):
        return replace(found, units=(), alone="its channels are read unevenly")
    return _with_units(replace(found, members=members), items, head_channels=_head_channels(group))


def _is_shared_slope(module: Any) -> bool:
    return isinstance(module, nn.PReLU) and module.num_parameters == 1


def _member(item: Any, graph: Any, names: dict[Any, str], channels: int) -> Member:
    positions: list[list[int]] = [[] for _ in range(channels)]
    for root, index in zip(item.root_idxs, item.idxs, strict=True):
        positions[root].append(index)
    return Member(
        names[item.dep.target.module], _side(item, graph), tuple(tuple(sorted(places)) for places in positions)
    )


def _side(item: Any, graph: Any) -> Side:
    out, into = graph.is_out_channel_pruning_fn(item.dep.handler), graph.is_in_channel_pruning_fn(item.dep.handler)
    return "both" if out and into else "out" if out else "in"


def _with_units(found: Coupled, items: Sequence[Any], *, head_channels: int | None) -> Coupled:
    """Join the channels that a grouped axis or an attention forces to leave at once."""
    counts = [_grouping(item.dep.target.module) for item in items]
    if len({count for count in counts if count > 1}) + (head_channels is not None) > 1:
        return replace(found, units=(), alone="its layers part their channels in several ways")
    for count, item, member in zip(counts, items, found.members, strict=True):
        whole = tuple((channel,) for channel in range(_extent(item.dep.target.module, member.side)))
        if count > 1 and member.positions != whole:
            return replace(found, units=(), alone="a grouped layer reads its channels beside others")
    count = max(counts)
    if head_channels is not None:
        if head_channels == 0 or found.channels % head_channels:
            return replace(found, units=(), alone="its attention's heads have no one size")
        heads = tuple(tuple(range(first, first + head_channels)) for first in range(0, found.channels, head_channels))
        found = replace(found, units=heads, head_channels=head_channels)
    elif count > 1:
        each = found.channels // count
        found = replace(found, units=tuple(tuple(range(first, found.channels, each)) for first in range(each)))
    if len(found.units) == 1:
        return replace(found, units=(), head_channels=0, alone="all its channels would leave at once")
    return found


def _grouping(module: Any) -> int:
    """Return into how many groups of several channels a layer parts its own: 1 for most layers, and for depthwise ones."""
    if isinstance(module, CONVOLUTIONS) and module.groups != module.out_channels:
        return int(module.groups)
    return int(module.num_groups) if isinstance(module, nn.GroupNorm) else 1


def _extent(module: Any, side: Side) -> int:
    """Return how many channels a convolution or a GroupNorm has on a side; 0 for other layers, which aren't grouped."""
    if isinstance(module, CONVOLUTIONS):
        return int(module.in_channels if side == "in" else module.out_channels)
    return int(module.num_channels) if isinstance(module, nn.GroupNorm) else 0


def _unsafe(module: Any) -> str:
    """Say why a layer can't be cut, or nothing."""
    if isinstance(module, nn.MultiheadAttention):
        return "nn.MultiheadAttention ties its heads to the residual stream"
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return "it belongs to a recurrent cell"
    if isinstance(module, CONVOLUTIONS) and module.groups > 1:
        depthwise = module.groups == module.out_channels
        if module.transposed and not depthwise:
            return "it belongs to a grouped transposed convolution"
        if depthwise and module.in_channels != module.out_channels:
            return "it belongs to a depthwise convolution that joins channels"
    return ""


def _reaches_output(group: Any, graph: Any) -> str:
    """Say so when a channel of the group can be seen in the network's output: such a node has nothing behind it."""
    for item in group:
        node = item.dep.target
        last = not node.outputs or type(node.module).__name__ == "_OutputOp"
        if last and graph.is_out_channel_pruning_fn(item.dep.handler):
            return "it reaches the network's output"
    return ""


def _head_channels(group: Any) -> int | None:
    """Return how many channels an attention head of the group has; 0 where that is unclear, None without attention.

    Channels that pass through a product of activations are an attention's, and the product's saved factors show the head:
    [N * heads, T, channels] in queries, keys and values, [N, heads, T, channels] in torch's own attention.
    """
    sizes: set[int] = set()
    for item in group:
        grad_fn = item.dep.target.grad_fn
        name = grad_fn.name() if hasattr(grad_fn, "name") else ""
        if name.startswith(("Bmm", "Baddbmm")):
            sizes.add(_product_channels(grad_fn))
        elif name.startswith("ScaledDotProduct"):
            sizes.add(int(grad_fn._saved_query.shape[-1]))  # noqa: SLF001  # autograd's documented way to saved tensors
    return (sizes.pop() if len(sizes) == 1 else 0) if sizes else None


def _product_channels(grad_fn: Any) -> int:
    """Return the channels of a head: what a score sums over, or what a weighted mean [N, T, T] x [N, T, channels] gives."""
    behind = grad_fn.next_functions[0][0]
    while behind is not None and behind.name().startswith(MOVES):
        behind = behind.next_functions[0][0]
    weights = behind is not None and "Softmax" in behind.name()
    left, right = getattr(grad_fn, "_saved_self", None), getattr(grad_fn, "_saved_mat2", None)
    if left is None or right is None:
        return 0
    return int(right.shape[2] if weights else left.shape[2])
