"""What a network's layers cost on a device by their widths: a table, measured once, in the place of multiply-accumulates.

As NetAdapt has it (Yang et al. 2018, https://arxiv.org/abs/1804.03230), layers are measured one by one, as files of a single layer. A
layer's cost is taken as the product of two curves over its measured cost at full width: one over its outputs with all inputs, one over
its inputs with all outputs. That is exact where each output channel costs the same staircase of the inputs, as in matrix products.
The network isn't its layers' sum. Where a compiler keeps between layers what a single one must fetch, the sum is scaled down to the whole
network's measured cost. What comes on top of it (sums, pools, norms, softmax, the runtime) is measured group by group: the whole network
with one group of channels at its narrowest costs less by its layers, and the difference is that group's, in proportion to its channels.
How well all that foretells the narrowest network, which is measured too, stands in the table.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from pipeline.errors import StoreError
from pipeline.pruning.coupling import Coupled
from pipeline.pruning.cut import part
from pipeline.pruning.widths import LayerCost

FILE = "costs.json"
MOST_BYTES = 2**24


class Curve(BaseModel):
    """Costs by width, both ascending in width; the last is the layer's full width."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, ...] = Field(min_length=1)
    costs: tuple[float, ...] = Field(min_length=1)

    def share(self, width: float) -> float:
        """Return what stays of the full width's cost: read between the measured widths, below the first in proportion; all where one was measured."""
        if len(self.widths) == 1:
            return 1.0
        if width < self.widths[0]:
            return self.share(self.widths[0]) * width / self.widths[0]
        return float(np.interp(width, self.widths, self.costs)) / max(self.costs[-1], 1e-12)


class LayerTable(BaseModel):
    """One layer: its cost at full width, and what stays of it when outputs or inputs leave."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cost: float = Field(ge=0)
    out: Curve
    into: Curve

    def at(self, out: float, into: float) -> float:
        """Return the cost at so many output and input channels."""
        return self.cost * self.out.share(out) * self.into.share(into)


class CostTable(BaseModel):
    """A network on a device: `whole` is its measured cost, `scale` times the layers' sum and the `rest` on top of it.

    `per_channel` is by how much the rest falls with each channel of a group, `channels` how many a group has. `narrowest` is the measured cost of the narrowest network, and
    `narrowest_error` how far the table was from it (0.1: a tenth too high).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    quantity: str
    unit: str
    label: Literal["measured", "emulated", "estimated"]
    device: str
    machine: str
    whole: float
    scale: float
    rest: float
    per_channel: dict[str, float]
    channels: dict[str, int]
    narrowest: float
    narrowest_error: float
    layers: dict[str, LayerTable]

    def write(self, folder: Path) -> None:
        """Write the table as JSON into a folder."""
        (folder / FILE).write_text(json.dumps(self.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")


def read_table(folder: Path) -> CostTable:
    """Return the table in an artifact's folder; StoreError when it is none."""
    try:
        with (folder / FILE).open("rb") as file:
            return CostTable.model_validate_json(file.read(MOST_BYTES))
    except (OSError, ValidationError) as error:
        raise StoreError(
            f"{folder / FILE} is no table of costs; delete its artifact, and it is measured again"
        ) from error


@dataclass(frozen=True)
class _Placed:
    """A layer of the network at hand: its table, its widths, and the groups on both axes as `LayerCost` has them."""

    table: LayerTable
    out: int
    into: int
    axes: LayerCost


class TableCosts:
    """A network's cost as a function of what its groups have lost, by a table; it has the interface of `widths.Costs`."""

    stairs = 4
    """Blocks that a cut looks ahead: a cost that falls by steps shows no gain until the next edge."""

    def __init__(
        self, table: CostTable, module: nn.Module, groups: Sequence[Coupled], layers: Mapping[str, LayerCost]
    ) -> None:
        self.table = table
        self.groups = groups
        self.placed = tuple(
            _Placed(table.layers[name], *_widths(part(module, name)), axes) for name, axes in layers.items()
        )
        self.gone = tuple(max(0, table.channels.get(group.name, 0) - group.channels) for group in groups)

    def of(self, removed: Sequence[int]) -> float:
        """Return the cost when each group has lost so many channels, in the table's unit."""
        rest = self.table.rest - sum(
            self.table.per_channel.get(group.name, 0.0) * (gone + before)
            for group, gone, before in zip(self.groups, removed, self.gone, strict=True)
        )
        return self.table.scale * self._layers(removed) + rest

    def _layers(self, removed: Sequence[int]) -> float:
        total = 0.0
        for layer in self.placed:
            out, into = (
                width * (1 - sum(share * removed[group] for group, share in axis))
                for width, axis in ((layer.out, layer.axes.out), (layer.into, layer.axes.into))
            )
            total += layer.table.at(out, into)
        return total


def _widths(layer: nn.Module | nn.Parameter) -> tuple[int, int]:
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    assert isinstance(layer, nn.modules.conv._ConvNd)  # noqa: SLF001  # torch's only name for any convolution
    return layer.out_channels, layer.in_channels
