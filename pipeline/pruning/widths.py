"""How many channels stay in each group, so that a network lands at the wanted MACs and loses the least of what it knows.

Every group has a ladder: the widths that it may have, each a whole number of blocks of `channel_multiple` channels and none
below its floor. The least important units leave first, so a rung stands for one set of units. A layer's MACs are a product of
its widths, so each choice of rungs is costed exactly without running the network.

What a group loses is -log of the share of its importance that stays, once for each layer that writes or reads its channels.
A layer's MACs go with the product of its two widths, so with this measure layers of equal MACs whose channels are equally
important are thinned alike. The plain sum would cut every other layer to its floor, since the second cut of a layer saves
less than the first; and a residual stream would pay for all the layers on it.

The choice is greedy: the group goes down next whose next block costs the least of that for each MAC that it saves. From
where that passes the wanted MACs, one or two groups may go a rung up or down; among the choices that are as near to the wanted
MACs as any, the one that loses the least importance wins.

With a table of costs (`pruning.table`) all of that is done in the target's own unit. Its costs fall by steps, so a group may go down
several blocks at once, to the next edge; and the wanted cost is a promise: of the choices that keep it, the one that loses least wins.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import log
from typing import Protocol

from torch import Tensor

from pipeline.pruning.coupling import Coupled

AS_NEAR = 0.005
"""Choices whose distances to the wanted cost differ by less than this share of them count as equally near."""
LEAST_SAVED = 1e-6
"""In the cost's unit: what saves nothing is dear."""
LEAST_SHARE = 1e-9
"""Keeps the logarithm finite where what stays is worth nothing."""


@dataclass(frozen=True)
class Ladder:
    """A group's widths: `channels[rung]` stay, and `lost[rung]` of importance has left; rung 0 is the whole group."""

    channels: tuple[int, ...]
    lost: tuple[float, ...]


class Cost(Protocol):
    """What a network costs, as a function of its groups' widths; `stairs` is how many blocks a cut looks ahead."""

    @property
    def stairs(self) -> int:
        """1 where each block saves alike."""

    def of(self, removed: Sequence[int]) -> float:
        """Return the cost when each group has lost so many channels."""


@dataclass(frozen=True)
class LayerCost:
    """A layer's MACs, and which groups lie on its axes: pairs of (group, share of the axis that one channel takes)."""

    macs: int
    out: tuple[tuple[int, float], ...]
    into: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Costs:
    """A network's MACs as a function of its widths: layers' products, each group's own per channel, and a constant rest."""

    layers: tuple[LayerCost, ...]
    per_channel: Mapping[int, float]
    rest: int
    stairs = 1

    def of(self, removed: Sequence[int]) -> float:
        """Return the MACs when each group has lost so many channels."""
        total = float(self.rest)
        for layer in self.layers:
            stays = [1 - sum((share * removed[group] for group, share in axis)) for axis in (layer.out, layer.into)]
            total += layer.macs * stays[0] * stays[1]
        return round(total - sum(each * removed[group] for group, each in self.per_channel.items()))


def ladder_of(group: Coupled, worth: Tensor, *, channel_multiple: int, floor_channels: float) -> Ladder:
    """Return a group's ladder: `worth` [U] of its units, which leave in ascending order of it. Heads know no multiple."""
    unit = len(group.units[0]) if group.units else group.channels
    floor = max(floor_channels, 1 if group.head_channels else channel_multiple)
    rungs, lost, ascending = [group.channels], [0.0], sorted(worth.clamp_min(0).tolist())
    total = sum(ascending) or 1.0
    layers = sum(member.side != "both" for member in group.members)
    for gone in range(1, len(group.units)):
        left = group.channels - gone * unit
        if left >= floor and (group.head_channels or left % channel_multiple == 0):
            rungs.append(left)
            lost.append(-layers * log(max(sum(ascending[gone:]) / total, LEAST_SHARE)))
    return Ladder(tuple(rungs), tuple(lost))


def choose(ladders: Sequence[Ladder], costs: Cost, *, wanted: float, promised: bool = False) -> list[int]:
    """Return a rung for each ladder, such that the cost is as near to the wanted one as the ladders allow; `promised`: not above it."""
    rungs = [0] * len(ladders)
    path, steps = [rungs], list[tuple[int, int]]()
    while (now := _cost(ladders, costs, rungs)) > wanted:
        steps = [
            (group, step)
            for group, ladder in enumerate(ladders)
            for step in range(1, min(costs.stairs, len(ladder.channels) - 1 - rungs[group]) + 1)
        ]
        if not steps:
            break
        group, step = min(steps, key=lambda each: _price(ladders, costs, rungs, each, now=now))
        rungs = _moved(rungs, {group: step})
        path.append(rungs)
    choices = list(_neighbours(ladders, path[-2:]))
    if promised:
        choices += [_moved(path[-2], {group: step}) for group, step in steps]
        kept = [rungs for rungs in choices if _cost(ladders, costs, rungs) <= wanted]
        return min(kept or [path[-1]], key=lambda rungs: (_lost(ladders, rungs), -_cost(ladders, costs, rungs)))
    return _best(ladders, costs, choices, wanted=wanted)


def _best(ladders: Sequence[Ladder], costs: Cost, choices: Sequence[list[int]], *, wanted: float) -> list[int]:
    """Return the choice that loses the least importance among those as near to the wanted cost as any."""
    off = [abs(_cost(ladders, costs, rungs) - wanted) for rungs in choices]
    limit = min(off) + AS_NEAR * wanted
    near = [(_lost(ladders, rungs), away, rungs) for rungs, away in zip(choices, off, strict=True) if away <= limit]
    return min(near)[2]


def removed_channels(ladders: Sequence[Ladder], rungs: Sequence[int]) -> list[int]:
    """Return how many channels each group has lost at its rung."""
    return [ladder.channels[0] - ladder.channels[rung] for ladder, rung in zip(ladders, rungs, strict=True)]


def _cost(ladders: Sequence[Ladder], costs: Cost, rungs: Sequence[int]) -> float:
    return costs.of(removed_channels(ladders, rungs))


def _lost(ladders: Sequence[Ladder], rungs: Sequence[int]) -> float:
    return sum(ladder.lost[rung] for ladder, rung in zip(ladders, rungs, strict=True))


def _price(ladders: Sequence[Ladder], costs: Cost, rungs: Sequence[int], step: tuple[int, int], *, now: float) -> float:
    """Return the importance that a group's next blocks cost for each unit that they save."""
    group, blocks = step
    ladder, rung = ladders[group], rungs[group]
    saved = now - _cost(ladders, costs, _moved(rungs, {group: blocks}))
    return (ladder.lost[rung + blocks] - ladder.lost[rung]) / max(saved, LEAST_SAVED)


def _neighbours(ladders: Sequence[Ladder], ends: Sequence[list[int]]) -> Iterator[list[int]]:
    """Give the last choices of a path, and each with one group, or two, a rung higher or lower."""
    steps = [(group, step) for group in range(len(ladders)) for step in (1, -1)]
    for end in ends:
        yield end
        for first, second in combinations_with_replacement(steps, 2):
            found = _moved(end, dict((first, second)))
            if all(0 <= rung < len(ladder.channels) for rung, ladder in zip(found, ladders, strict=True)):
                yield found


def _moved(rungs: Sequence[int], moves: Mapping[int, int]) -> list[int]:
    return [rung + moves.get(group, 0) for group, rung in enumerate(rungs)]
