"""Taking channels out of a network: a copy whose layers lack the positions that left.

The cut is planned on names and positions (see `pipeline.pruning.coupling`), so it doesn't care in which order groups were
chosen. Afterwards a layer's tensors, its gradients aside, are the old ones with rows missing, and its attributes say so.

`silenced` is the proof's other half: the whole network with the inputs that would leave set to nothing. Where no norm looks
across channels it must answer exactly what the cut network answers; if it doesn't, the layers were coupled wrongly.
"""

import copy
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline.pruning.coupling import CONVOLUTIONS, Coupled, Member

HEADS, WIDTH = re.compile(r"head|^n?_?h$"), re.compile(r"dim|size|width|channels")
"""How attentions name their count of heads (num_heads, n_head, heads, h), and a head's width (head_dim, head_size)."""

Removal = Mapping[tuple[str, str], Sequence[int]]
"""Positions that leave, by layer and side."""


def cut_units(module: nn.Module, groups: Sequence[Coupled], removed_units: Sequence[Sequence[int]]) -> nn.Module:
    """Return a copy of the network in which each group lacks the units of these numbers, heads' counts written back."""
    shorter = cut(module, removal_of(groups, removed_units))
    for group, removed in zip(groups, removed_units, strict=True):
        if group.head_channels and removed:
            _write_heads_back(shorter, group, len(removed))
    return shorter


def removal_of(groups: Iterable[Coupled], removed_units: Iterable[Sequence[int]]) -> Removal:
    """Return the positions that leave each layer when each group loses the units of these numbers."""
    leaving: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for group, removed in zip(groups, removed_units, strict=True):
        channels = [channel for number in removed for channel in group.units[number]]
        for member in group.members:
            leaving[member.layer, member.side].update(
                place for channel in channels for place in member.positions[channel]
            )
    return {key: sorted(places) for key, places in leaving.items() if places}


def cut(module: nn.Module, removal: Removal) -> nn.Module:
    """Return a copy of the network without the positions."""
    shorter = copy.deepcopy(module)
    for (name, side), places in removal.items():
        _shorten(shorter, name, side, set(places))
    return shorter


def silenced(module: nn.Module, removal: Removal) -> nn.Module:
    """Return a copy of the network in which no layer reads the positions, and all keep their shape."""
    quiet = copy.deepcopy(module)
    for (name, side), places in removal.items():
        layer = part(quiet, name)
        if side == "in" and isinstance(layer, (*CONVOLUTIONS, nn.Linear)):
            axis = axis_of(layer, Member(name, "in", ()))
            with torch.no_grad():
                layer.weight.index_fill_(
                    axis, torch.tensor(sorted({place % layer.weight.shape[axis] for place in places})), 0.0
                )
    return quiet


def part(module: nn.Module, name: str) -> nn.Module | nn.Parameter:
    """Return the module or the parameter of a name."""
    owner, _, key = name.rpartition(".")
    found: nn.Module | nn.Parameter = getattr(module.get_submodule(owner), key) if key else module
    return found


def axis_of(layer: nn.Module, member: Member) -> int:
    """Return which axis of a convolution's or linear layer's weight a member's positions lie on."""
    if isinstance(layer, CONVOLUTIONS):
        depthwise = 1 < layer.groups == layer.out_channels
        return 0 if depthwise else int((member.side == "in") != layer.transposed)
    return int(member.side == "in")


def _write_heads_back(module: nn.Module, group: Coupled, gone: int) -> None:
    """Lower what the modules around an attention's layers say of its heads: their count, and the width of all together."""
    heads = group.channels // group.head_channels
    owners = {member.layer.rpartition(".")[0] for member in group.members if member.side == "out"}
    for owner in owners:
        attention = module.get_submodule(owner)
        for key, value in list(vars(attention).items()):
            if type(value) is int and value == heads and HEADS.search(key) and not WIDTH.search(key):
                setattr(attention, key, heads - gone)
            elif type(value) is int and value == group.channels and (HEADS.search(key) or key.startswith("inner")):
                setattr(attention, key, value - gone * group.head_channels)


def _shorten(module: nn.Module, name: str, side: str, places: set[int]) -> None:
    layer = part(module, name)
    if isinstance(layer, nn.Parameter):
        owner, _, key = name.rpartition(".")
        # as torch-pruning traces it: the last axis that has more than one place
        _shorten_tensor(
            module.get_submodule(owner), key, max(axis for axis, extent in enumerate(layer.shape) if extent > 1), places
        )
    elif isinstance(layer, CONVOLUTIONS):
        _shorten_convolution(layer, side, places)
    elif isinstance(layer, nn.Linear):
        _shorten_tensor(layer, "weight", int(side == "in"), places)
        if side == "out":
            layer.out_features -= len(places)
            _shorten_tensor(layer, "bias", 0, places)
        else:
            layer.in_features -= len(places)
    elif isinstance(layer, nn.Embedding):
        _shorten_tensor(layer, "weight", 1, places)
        layer.embedding_dim -= len(places)
    else:
        _shorten_norm(layer, places)


def _shorten_convolution(layer: nn.Module, side: str, places: set[int]) -> None:
    assert isinstance(layer, CONVOLUTIONS)
    axis = axis_of(layer, Member("", "in" if side == "in" else "out", ()))
    _shorten_tensor(layer, "weight", axis, {place % layer.weight.shape[axis] for place in places})
    if side in ("out", "both"):
        layer.out_channels -= len(places)
        _shorten_tensor(layer, "bias", 0, places)
    if side in ("in", "both"):
        layer.in_channels -= len(places)
    if side == "both":
        layer.groups -= len(places)


def _shorten_norm(layer: nn.Module, places: set[int]) -> None:
    """Shorten a norm, or another layer with one number a channel: every parameter and buffer on its last axis."""
    own = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
    for name in [name for name, tensor in own if tensor.ndim]:
        _shorten_tensor(layer, name, -1, places)
    for name in ("num_features", "num_channels", "num_parameters"):
        if hasattr(layer, name):
            setattr(layer, name, getattr(layer, name) - len(places))
    if isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = (*layer.normalized_shape[:-1], layer.normalized_shape[-1] - len(places))


def _shorten_tensor(layer: nn.Module, name: str, axis: int, places: set[int]) -> None:
    """Take places out of one axis of a parameter or buffer, if the layer has it."""
    tensor: Tensor | None = getattr(layer, name)
    if tensor is None:
        return
    kept = [place for place in range(tensor.shape[axis]) if place not in places]
    rows = tensor.detach().index_select(axis, torch.tensor(kept, device=tensor.device))
    setattr(
        layer,
        name,
        nn.Parameter(rows, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else rows,
    )
