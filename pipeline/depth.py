"""Depth: whole layers out of a row of equal ones, an encoder's blocks most of all.

Where a network runs through an nn.ModuleList or nn.Sequential of equal layers it goes on running when one is missing. Which ones are missed
least a trial says: the loss without each (Men et al. 2024, "ShortGPT", https://arxiv.org/abs/2403.03853, found that whole layers
of trained transformers hardly change what runs through them). One after the other leaves, since what the second costs depends on the first.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import ModelError

Rows = nn.ModuleList | nn.Sequential
LossOf = Callable[[nn.Module], Tensor]


def rows_of(module: nn.Module) -> dict[str, int]:
    """Return the lengths of a network's rows of two or more equal layers, by name; rows within such layers are left out."""
    found: dict[str, int] = {}
    for name, part in module.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if not inside and isinstance(part, Rows) and len(part) > 1 and len({_kind(layer) for layer in part}) == 1:
            found[name] = len(part)
    return found


def drop_layers(
    module: nn.Module, count: int, losses: Sequence[LossOf]
) -> tuple[nn.Module, dict[str, tuple[int, int]]]:
    """Return a copy without `count` layers of each row, those that the losses miss least; and rows' lengths before and after.

    ModelError where no row is long enough: one layer stays.
    """
    lengths = rows_of(module)
    if not any(length > count for length in lengths.values()):
        raise ModelError(
            f"prune: drop_layers = {count}, but the network has {_told(lengths)}; lower it, or leave it out"
        )
    made = module
    for name, length in lengths.items():
        for _ in range(count if length > count else 0):
            made = min(_without_one(made, name), key=lambda shorter: _loss(shorter, losses))
    return made, {name: (length, len(_row(made, name))) for name, length in lengths.items()}


def lengths_of(module: nn.Module, fresh: nn.Module) -> dict[str, int]:
    """Return the lengths of those rows that a network has shorter than what its constructor builds."""
    now = dict(module.named_modules())
    return {
        name: len(now[name])
        for name, length in rows_of(fresh).items()
        if isinstance(now.get(name), Rows) and len(now[name]) < length
    }


def with_lengths(module: nn.Module, lengths: Mapping[str, int]) -> nn.Module:
    """Return a copy of a network whose rows end after so many layers; ModelError where it has no such row of equal layers."""
    known = rows_of(module)
    made = copy.deepcopy(module)
    for name, length in lengths.items():
        if not 1 <= length <= known.get(name, 0):
            raise ModelError(
                f"a saved network has {length} layers in {name!r:.80}, its constructor builds {_told(known)}; run the recipe again"
            )
        row = _row(made, name)
        del row[length:]
        _count(made, name, length)
    return made


def _without_one(module: nn.Module, name: str) -> Iterator[nn.Module]:
    for number in range(len(_row(module, name))):
        made = copy.deepcopy(module)
        row = _row(made, name)
        del row[number]
        _count(made, name, len(row))
        yield made


def _loss(module: nn.Module, losses: Sequence[LossOf]) -> float:
    with torch.no_grad():
        return fmean(float(loss(module.eval())) for loss in losses)


def _row(module: nn.Module, name: str) -> Any:
    return module.get_submodule(name)


def _count(module: nn.Module, name: str, length: int) -> None:
    """Say the new length where nn.TransformerEncoder keeps the old one."""
    owner = module.get_submodule(name.rpartition(".")[0])
    if isinstance(getattr(owner, "num_layers", None), int):
        owner.num_layers = length  # type: ignore[assignment]  # torch's own attribute


def _kind(layer: nn.Module) -> Any:
    """What makes two layers equal: their class, and the shapes of what they learn; one that learns nothing equals none."""
    shapes = tuple((name, tuple(tensor.shape)) for name, tensor in layer.state_dict().items())
    return (type(layer), shapes) if shapes else id(layer)


def _told(lengths: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{length} equal layers in {name!r}" for name, length in lengths.items()) or "no row of equal layers"
    )
