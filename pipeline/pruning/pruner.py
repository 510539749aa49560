"""`prune_to`: a network in, a smaller one out that lands at the wanted MACs, with the facts of what left.

The cut is checked before it is handed out: the smaller network must run, answer in the same shapes, and, where no norm looks
across channels, answer what the whole network answers with the same inputs silenced. A group of layers that fails alone is
left whole and named; so a wrong guess of the dependency graph costs size, never a silently broken network.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from pipeline.architecture import macs_of, parameters_of
from pipeline.errors import ModelError
from pipeline.pruning.check import problem_of
from pipeline.pruning.costs import costs_of, layer_cost
from pipeline.pruning.coupling import Coupled, coupled_channels
from pipeline.pruning.cut import cut_units
from pipeline.pruning.importance import Importance, LossOf, magnitude, taylor
from pipeline.pruning.table import CostTable, TableCosts
from pipeline.pruning.widths import Cost, Ladder, choose, ladder_of, removed_channels

SLACK = 0.1
"""A network that can't be cut to within this share of the wanted MACs is not what was asked for."""


@dataclass(frozen=True)
class Wish:
    """What a network shall become.

    `keep_macs` and `floor_ratio` are shares of the whole network's MACs and of each group's channels; a group keeps a whole
    number of blocks of `channel_multiple`. `importance` is "magnitude", or "taylor" with losses to judge by. Where `table` is
    given, `limit` is what the network may cost by it, and `keep_macs` isn't looked at; a limit of 0 asks for the narrowest.
    """

    keep_macs: float = 1.0
    channel_multiple: int = 8
    floor_ratio: float = 0.25
    importance: Importance = "magnitude"
    table: CostTable | None = None
    limit: float | None = None


def prune_to(
    module: nn.Module,
    example_inputs: tuple[Tensor, ...],
    wish: Wish,
    *,
    whole: nn.Module | None = None,
    losses: Iterable[LossOf] = (),
) -> tuple[nn.Module, dict[str, Any]]:
    """Return a smaller copy of a network and the facts of the cut: MACs, widths, and what was left alone and why.

    `whole` is the network that the wish's shares refer to, when `module` has been pruned before; `losses` are what Taylor
    importance needs, each takes a network and returns its loss on one batch. ModelError when the wish can't be met.
    """
    whole = module if whole is None else whole
    groups = coupled_channels(module, example_inputs)
    floors = {group.name: wish.floor_ratio * group.channels for group in coupled_channels(whole, example_inputs)}
    worths = taylor(module, groups, losses=losses) if wish.importance == "taylor" else magnitude(module, groups)
    wanted_macs = wish.keep_macs * macs_of(whole, example_inputs)
    while True:
        removed = _chosen(module, example_inputs, groups, worths, wish=wish, floors=floors, wanted_macs=wanted_macs)
        shorter = cut_units(module, groups, removed)
        problem = problem_of(module, shorter, groups, removed, example_inputs=example_inputs)
        if not problem:
            facts = _facts(module, shorter, groups, removed, example_inputs=example_inputs)
            return shorter, {**facts, **_aim(module, example_inputs, groups, removed, wish=wish, macs=wanted_macs)}
        left = tuple(map(partial(_alone_if_wrong, module, example_inputs), groups, removed))
        if left == groups:
            raise ModelError(
                f"prune: the network can't be cut: {problem}; leave `prune` out of `stages`, or simplify its forward()"
            )
        groups = left


def _chosen(
    module: nn.Module,
    example_inputs: tuple[Tensor, ...],
    groups: Sequence[Coupled],
    worths: Sequence[Tensor],
    *,
    wish: Wish,
    floors: dict[str, float],
    wanted_macs: float,
) -> list[list[int]]:
    """Return the numbers of the units that leave each group."""
    ladders = [
        ladder_of(
            group, worth, channel_multiple=wish.channel_multiple, floor_channels=floors.get(group.name, group.channels)
        )
        for group, worth in zip(groups, worths, strict=True)
    ]
    rungs = _rungs(module, example_inputs, groups, ladders, wish=wish, wanted_macs=wanted_macs)
    gone = removed_channels(ladders, rungs)
    return [
        sorted(worth.argsort(stable=True)[: count // len(group.units[0])].tolist()) if count else []
        for group, worth, count in zip(groups, worths, gone, strict=True)
    ]


def _rungs(
    module: nn.Module,
    example_inputs: tuple[Tensor, ...],
    groups: Sequence[Coupled],
    ladders: Sequence[Ladder],
    *,
    wish: Wish,
    wanted_macs: float,
) -> list[int]:
    """Return how far down each group goes: to the wanted MACs, or to what the table's cost may be."""
    lowest = [len(ladder.channels) - 1 for ladder in ladders]
    if wish.limit == 0:
        return lowest
    costs, wanted = cost_of(module, example_inputs, groups, wish.table), wish.limit or wanted_macs
    least = costs.of(removed_channels(ladders, lowest))
    if least > wanted * (1 if wish.table else 1 + SLACK):
        asked = f"keep_macs = {wish.keep_macs} asks for {wanted:.0f} MACs"
        if wish.table:
            asked = f"until asks for at most {wanted:.6g} {wish.table.unit} ({wish.table.quantity})"
        raise ModelError(
            f"prune: {asked}, the least that floor_ratio = {wish.floor_ratio} and channel_multiple = {wish.channel_multiple} "
            f"allow is {least:.6g}{_left_alone_note(groups)}; ask for more, or lower those"
        )
    return choose(ladders, costs, wanted=wanted, promised=wish.table is not None)


def cost_of(
    module: nn.Module, example_inputs: tuple[Tensor, ...], groups: Sequence[Coupled], table: CostTable | None
) -> Cost:
    """Return a network's cost as a function of its groups' widths: by a device's table, or its MACs."""
    if table is None:
        return costs_of(module, groups, example_inputs)
    names = [name for name, _ in module.named_modules() if name in table.layers]
    return TableCosts(table, module, groups, {name: layer_cost(module, groups, name) for name in names})


def _alone_if_wrong(
    module: nn.Module, example_inputs: tuple[Tensor, ...], group: Coupled, removed: Sequence[int]
) -> Coupled:
    """Cut the group by itself; return it marked to be left alone when that breaks the network."""
    if not removed:
        return group
    shorter = cut_units(module, [group], [removed])
    problem = problem_of(module, shorter, [group], [removed], example_inputs=example_inputs)
    return replace(group, units=(), head_channels=0, alone=problem) if problem else group


def _facts(
    module: nn.Module,
    shorter: nn.Module,
    groups: Sequence[Coupled],
    removed: Sequence[Sequence[int]],
    *,
    example_inputs: tuple[Tensor, ...],
) -> dict[str, Any]:
    channels = {
        group.name: [group.channels, group.channels - len(numbers) * len(group.units[0])]
        for group, numbers in zip(groups, removed, strict=True)
        if numbers
    }
    return {
        "macs_before": macs_of(module, example_inputs),
        "macs": macs_of(shorter, example_inputs),
        "parameters": parameters_of(shorter),
        "channels": channels,
        "left_alone": {group.name: group.alone for group in groups if group.alone},
    }


def _aim(
    module: nn.Module,
    example_inputs: tuple[Tensor, ...],
    groups: Sequence[Coupled],
    removed: Sequence[Sequence[int]],
    *,
    wish: Wish,
    macs: float,
) -> dict[str, Any]:
    """Return what was wanted, and by a table what the network cost and costs."""
    if wish.table is None:
        return {"wanted_macs": round(macs)}
    costs = cost_of(module, example_inputs, groups, wish.table)
    gone = [
        len(numbers) * len(group.units[0]) if numbers else 0 for group, numbers in zip(groups, removed, strict=True)
    ]
    return {"wanted_cost": wish.limit, "cost_before": costs.of([0] * len(groups)), "cost": costs.of(gone)}


def _left_alone_note(groups: Sequence[Coupled]) -> str:
    alone = [f"{group.name} ({group.alone})" for group in groups if group.alone]
    return f"; left alone: {', '.join(alone[:4])}{' and more' if len(alone) > 4 else ''}" if alone else ""
