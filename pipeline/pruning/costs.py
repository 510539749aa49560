"""A network's MACs as a function of its groups' widths, measured once.

Each convolution and linear layer's MACs go with its output and its input width, a depthwise one's with its one width. What
runs between layers (an attention's products) goes with the heads: it is measured by taking one head away from a copy.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from pipeline.architecture import macs_by_layer, macs_of
from pipeline.pruning.coupling import CONVOLUTIONS, Coupled
from pipeline.pruning.cut import cut_units, part
from pipeline.pruning.widths import Costs, LayerCost


def costs_of(module: nn.Module, groups: Sequence[Coupled], example_inputs: tuple[Tensor, ...]) -> Costs:
    """Return how the MACs of one sample follow from how many channels each group has lost."""
    by_layer = macs_by_layer(module, example_inputs)
    layers = tuple(layer_cost(module, groups, name, macs) for name, macs in by_layer.items())
    total = macs_of(module, example_inputs)
    costs = Costs(layers=layers, per_channel={}, rest=total - sum(by_layer.values()))
    heads = {
        index: _head_cost(module, groups, index, costs, example_inputs)
        for index, group in enumerate(groups)
        if group.head_channels
    }
    return Costs(layers=layers, per_channel=heads, rest=costs.rest)


def layer_cost(module: nn.Module, groups: Sequence[Coupled], name: str, macs: int = 0) -> LayerCost:
    """Return which groups lie on a layer's axes, beside its MACs."""
    axes: dict[str, list[tuple[int, float]]] = {"out": [], "in": []}
    layer = part(module, name)
    for index, group in enumerate(groups):
        for member in group.members:
            if member.layer == name:
                axis = "in" if member.side == "in" else "out"
                axes[axis].append((index, len(member.positions[0]) / _extent(layer, axis)))
    return LayerCost(macs=macs, out=tuple(axes["out"]), into=tuple(axes["in"]))


def _extent(layer: nn.Module | nn.Parameter, axis: str) -> int:
    if isinstance(layer, CONVOLUTIONS):
        return layer.in_channels if axis == "in" else layer.out_channels
    assert isinstance(layer, nn.Linear)
    return layer.in_features if axis == "in" else layer.out_features


def _head_cost(
    module: nn.Module, groups: Sequence[Coupled], index: int, costs: Costs, example_inputs: tuple[Tensor, ...]
) -> float:
    """Return the MACs that one channel of an attention's heads costs between the layers."""
    group = groups[index]
    removed = [group.head_channels if position == index else 0 for position in range(len(groups))]
    try:
        shorter = macs_of(cut_units(module, [group], [[0]]), example_inputs)
    except RuntimeError:  # heads that forward() has by number; the check finds that out and leaves the group alone
        return 0.0
    return (costs.of(removed) - shorter) / group.head_channels
