"""How much each channel is worth, by its weights or by what the loss would feel.

- `magnitude`: the squared L2 norm of all that a channel's layers hold of it, inputs of the next layers included, over the
  group's mean: group magnitude, Fang et al. 2023, section 3.3 (https://arxiv.org/abs/2301.12900). It needs no data.
- `taylor`: the squared first-order change of the loss when the channel is scaled to nothing, averaged over batches: Molchanov
  et al. 2019, "Importance Estimation for Neural Network Pruning", equation 8 (https://arxiv.org/abs/1906.10771):
  I_c = mean over batches of (sum over the channel's own w of g_w * w)^2, own being the out side of its layers and norms.

A unit is worth the sum of its channels.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.pruning.coupling import CONVOLUTIONS, Coupled, Member
from pipeline.pruning.cut import axis_of, part

LossOf = Callable[[nn.Module], Tensor]
"""The loss of a network on one batch: a scalar that still holds its graph."""

Importance = Literal["magnitude", "taylor"]
NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)  # noqa: SLF001  # torch's only name for every BatchNorm


def magnitude(module: nn.Module, groups: Sequence[Coupled]) -> list[Tensor]:
    """Return for each group the worth of its units [U], mean 1 a group."""
    with torch.no_grad():
        channels = [_summed(module, group, lambda weight: weight.square()) for group in groups]
    return [
        _by_unit(group, worth / worth.mean().clamp_min(1e-30)) for group, worth in zip(groups, channels, strict=True)
    ]


def taylor(module: nn.Module, groups: Sequence[Coupled], *, losses: Iterable[LossOf]) -> list[Tensor]:
    """Return for each group the worth of its units [U] on the loss's own scale; each of `losses` judges one batch."""
    judged = copy.deepcopy(module).eval().requires_grad_(True)
    squares: list[list[Tensor]] = [[] for _ in groups]
    for loss in losses:
        judged.zero_grad()
        torch.autograd.backward(loss(judged))
        with torch.no_grad():
            for found, group in zip(squares, groups, strict=True):
                found.append(_summed(judged, group, _first_order, sides=("out", "both"), biases=True).square())
    if not all(squares):
        raise ValueError("Taylor importance needs at least one loss")
    return [_by_unit(group, torch.stack(found).mean(0)) for group, found in zip(groups, squares, strict=True)]


def _by_unit(group: Coupled, channels: Tensor) -> Tensor:
    return torch.tensor([channels[list(unit)].sum().item() for unit in group.units])


def _first_order(parameter: Tensor) -> Tensor:
    return parameter * parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)


def _summed(
    module: nn.Module,
    group: Coupled,
    measure: Callable[[Tensor], Tensor],
    *,
    sides: tuple[str, ...] = ("out", "in", "both"),
    biases: bool = False,
) -> Tensor:
    """Return a measure of the weights, summed over all that each channel [C] owns in the group's layers."""
    total = torch.zeros(group.channels)
    for member in group.members:
        layer = part(module, member.layer)
        for parameter, axis in weights_of(layer, member, biases=biases) if member.side in sides else ():
            by_position = measure(parameter).movedim(axis, 0).reshape(parameter.shape[axis], -1).sum(1)
            places = torch.tensor(
                member.positions
            )  # [C, places of one channel]; a grouped input axis holds one group's
            total += by_position[places % len(by_position)].sum(1)
    return total


def weights_of(layer: nn.Module | nn.Parameter, member: Member, *, biases: bool) -> list[tuple[Tensor, int]]:
    """Return what a layer learns for the member's channels, each with the axis that they lie on."""
    found: list[tuple[Tensor, int]]
    if isinstance(layer, (*CONVOLUTIONS, nn.Linear)):
        found = [(layer.weight, axis_of(layer, member))]
    elif isinstance(layer, NORMS) and layer.weight is not None:
        found = [(layer.weight, 0)]
    else:
        return []
    if biases and layer.bias is not None and member.side != "in":
        found.append((layer.bias, 0))
    return found
