"""costs: what the student's layers cost on a target's device, by their widths, measured once and frozen as a table.

Each kind of layer that pruning may narrow is written as int8 files of its own, at the widths that the target's channel multiple allows, and
measured: counted on the emulated core, estimated by Vela, or timed here. Layers of one shape share their figures. See `pruning.table`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from devices import Device, Measurement, Request
from pipeline.architecture import weighted_layers
from pipeline.artifact import Artifact, Facts
from pipeline.batches import first_inputs
from pipeline.errors import DeviceError
from pipeline.pruning.coupling import Coupled, coupled_channels
from pipeline.pruning.cut import cut_units
from pipeline.pruning.pruner import Wish, prune_to
from pipeline.pruning.table import CostTable, Curve, LayerTable
from pipeline.quantization.form import FileForm
from pipeline.reproducible import seeded
from pipeline.stage import Context, Progress, Stage
from pipeline.stages.export_tflite import ExportTfliteConfig
from pipeline.stages.trial_files import TrialConfig, write_untrained

MOST_WIDTHS = 12
"""Of one axis of one layer; more are thinned out evenly."""
SAMPLES = 16
LEAST = 1e-9
SHORT = Request(processes=3, warmup_seconds=0.1, min_seconds=0.1)
ALONE = ExportTfliteConfig(input_layout="NHWC")
"""The form of a layer's own file, in which no axes are turned."""


class CostsConfig(TrialConfig):
    """The quantity to tell, and the widths that pruning may choose among."""

    quantity: str = "latency"
    channel_multiple: int = Field(default=8, ge=1)
    floor_ratio: float = Field(default=0.25, gt=0, le=1)


@dataclass(frozen=True)
class Shape:
    """A layer without its weights: how to build it at any width, its full widths, and what it reads beside channels."""

    kind: Literal["conv", "depthwise", "linear", "mean"]
    settings: tuple[tuple[str, Any], ...]
    rank: int
    out: int
    into: int
    beside: tuple[int, ...]

    def build(self) -> tuple[nn.Module, Tensor]:
        """Return the layer and a batch of random inputs; a convolution ends in a mean, so that no file turns its output's axes."""
        numbers = torch.Generator().manual_seed(0)
        with seeded(0):
            layer = self._layer()
        shape = (*self.beside, self.into) if self.kind == "linear" else (self.into, *self.beside)
        return layer, torch.randn((SAMPLES, *shape), generator=numbers)

    def _layer(self) -> nn.Module:
        if self.kind == "linear":
            return nn.Linear(self.into, self.out)
        if self.kind == "mean":
            return _Mean()
        convolution = {1: nn.Conv1d, 2: nn.Conv2d}[self.rank]
        groups = self.out if self.kind == "depthwise" else 1
        return nn.Sequential(convolution(self.into, self.out, groups=groups, **dict(self.settings)), _Mean())

    def without(self) -> "Shape":
        """Return what a file costs beside the layer: the mean over a convolution's output, or next to nothing."""
        if self.kind == "linear":
            return NOTHING
        layer, x = self.build()
        assert isinstance(layer, nn.Sequential)
        with torch.no_grad():
            beside = tuple(layer[0](x[:1]).shape[2:])
        return Shape("mean", (), 0, self.out, self.out, beside)

    def wide(self, out: int, into: int) -> "Shape":
        """Return the shape at other widths."""
        return replace(self, out=out, into=out if self.kind == "depthwise" else into)


class _Mean(nn.Module):
    """Each channel's mean."""

    def forward(self, x: Tensor) -> Tensor:
        """Take [N, C, ...], give [N, C]."""
        return x.flatten(2).mean(2) if x.dim() == 3 else x.mean((2, 3))


NOTHING = Shape("linear", (), 0, 8, 8, ())


def run(inputs: Mapping[str, Artifact], config: CostsConfig, context: Context) -> Facts:
    """Give the table."""
    assert not inputs
    task = context.task
    with seeded(context.seed):
        network = task.student().eval()
    groups = coupled_channels(network, task.example())
    shapes = shapes_of(network, task.example())
    axes = {name: _widths(name, shape, groups, config) for name, shape in shapes.items()}
    wanted = {each for name, shape in shapes.items() for each in _points(shape, *axes[name])}
    device = config.open_device()
    # A quantity that the device doesn't tell is refused before minutes are spent.
    _measured([NOTHING], device, config, context)
    costs = _measured(list(wanted), device, config, context)
    layers = {name: _table(shape, *axes[name], costs) for name, shape in shapes.items()}
    table = _placed(network, groups, layers, device, config, context)
    table.write(context.out)
    return {**table.model_dump(mode="json", exclude={"layers", "per_channel", "channels"}), "shapes": len(wanted)}


def shapes_of(network: nn.Module, example_inputs: tuple[Tensor, ...]) -> dict[str, Shape]:
    """Return each convolution and linear layer's shape, as it runs; those of other kinds are no part of the table."""
    seen: dict[str, Shape] = {}

    def note(name: str, layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        if found := _shape_of(layer, given[0]):
            seen.setdefault(name, found)

    with ExitStack() as hooks, torch.no_grad():
        for name, layer in weighted_layers(network).items():
            hooks.callback(layer.register_forward_pre_hook(partial(note, name)).remove)
        network(*example_inputs)
    return seen


def _shape_of(layer: nn.Module, x: Tensor) -> Shape | None:
    if isinstance(layer, nn.Linear):
        return Shape("linear", (), 0, layer.out_features, layer.in_features, tuple(x.shape[1:-1]))
    if not isinstance(layer, nn.Conv1d | nn.Conv2d):
        return None
    depthwise = 1 < layer.groups == layer.in_channels == layer.out_channels
    if layer.groups > 1 and not depthwise:
        return None
    names = ("kernel_size", "stride", "padding", "dilation")
    settings = tuple((name, getattr(layer, name)) for name in names)
    rank = 1 if isinstance(layer, nn.Conv1d) else 2
    kind: Literal["conv", "depthwise"] = "depthwise" if depthwise else "conv"
    return Shape(kind, settings, rank, layer.out_channels, layer.in_channels, tuple(x.shape[2:]))


def _widths(
    name: str, shape: Shape, groups: Sequence[Coupled], config: CostsConfig
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the widths at which a layer's outputs and inputs are to be measured: full width alone where nothing can leave."""
    sides = {member.side for group in groups if group.units for member in group.members if member.layer == name}
    out = _steps(shape.out, config) if {"out", "both"} & sides else (shape.out,)
    into = _steps(shape.into, config) if "in" in sides else (shape.into,)
    return out, into


def _steps(full: int, config: CostsConfig) -> tuple[int, ...]:
    multiple = config.channel_multiple
    least = max(multiple, int(config.floor_ratio * full) // multiple * multiple)
    steps = sorted({*range(least, full, multiple), full})
    thin = -(-len(steps) // MOST_WIDTHS)
    return tuple(sorted({*steps[::thin], full}))


def _points(shape: Shape, outs: Sequence[int], intos: Sequence[int]) -> list[Shape]:
    return [*(shape.wide(out, shape.into) for out in outs), *(shape.wide(shape.out, into) for into in intos)]


def _measured(layers: Sequence[Shape], device: Device, config: CostsConfig, context: Context) -> dict[Shape, float]:
    """Return what each shape costs, less what its file does beside it."""
    beside = {shape: shape.without() for shape in layers}
    shapes = sorted({*layers, *beside.values()}, key=repr)
    paths = []
    for number, shape in enumerate(shapes):
        layer, x = shape.build()
        paths.append(context.scratch / f"layer-{number}.tflite")
        write_untrained(layer, (x,), [(x,)], paths[-1], rules=config.rules, form=FileForm(**ALONE.model_dump()))
        context.progress(Progress(number + 1, len(shapes) + 3, {}))
    told = [_told(each, config).value for each in _many(device)(paths, SHORT)]
    costs = dict(zip(shapes, told, strict=True))
    return {shape: max(0.0, costs[shape] - costs[less]) for shape, less in beside.items()}


def _many(device: Device) -> Callable[[Sequence[Path], Request], list[tuple[Measurement, ...]]]:
    """A device may be quicker with files that it needn't keep apart."""
    found: Callable[[Sequence[Path], Request], list[tuple[Measurement, ...]]] = getattr(device, "many", device.measure)
    return found


def _told(quantities: Sequence[Measurement], config: CostsConfig) -> Measurement:
    by_name = {each.quantity: each for each in quantities}
    if config.quantity not in by_name:
        known = ", ".join(by_name)
        raise DeviceError(
            f"[prune] until asks for {config.quantity}, which {config.device} doesn't tell of this target; it tells {known}"
        )
    return by_name[config.quantity]


def _table(shape: Shape, outs: Sequence[int], intos: Sequence[int], costs: Mapping[Shape, float]) -> LayerTable:
    out = Curve(widths=tuple(outs), costs=tuple(costs[shape.wide(width, shape.into)] for width in outs))
    into = Curve(widths=tuple(intos), costs=tuple(costs[shape.wide(shape.out, width)] for width in intos))
    return LayerTable(cost=costs[shape], out=out, into=into)


def costs_of_networks(
    networks: Sequence[nn.Module], device: Device, config: CostsConfig, context: Context
) -> list[Measurement]:
    """Return what whole networks cost."""
    task, paths = context.task, []
    form = FileForm(**config.tflite.model_dump())
    for number, network in enumerate(networks):
        path = context.scratch / f"network-{number}.tflite"
        batches = first_inputs(task, "train", SAMPLES)
        write_untrained(network, task.example(), batches, path, rules=config.rules, form=form)
        paths.append(path)
    told = [_told(each, config) for each in _many(device)(paths, SHORT)]
    context.progress(Progress(1, 1, {}))
    return told


def _placed(
    network: nn.Module,
    groups: Sequence[Coupled],
    layers: Mapping[str, LayerTable],
    device: Device,
    config: CostsConfig,
    context: Context,
) -> CostTable:
    """Return the table, with what the whole network and each group's channels cost beside the layers."""
    example = context.task.example()
    wish = Wish(channel_multiple=config.channel_multiple, floor_ratio=config.floor_ratio, limit=0)
    narrowest, facts = prune_to(network, example, wish)
    least = {name: now for name, (_, now) in facts["channels"].items()}
    known = [group for group in groups if group.name in least]
    cut = [_thinned(network, group, least[group.name]) for group in known]
    told = costs_of_networks([network, narrowest, *cut], device, config, context)
    sums = [_sum(layers, shapes_of(each, example)) for each in (network, narrowest, *cut)]
    scale = min(1.0, told[0].value / max(sums[0], LEAST))
    saved = {
        group.name: (told[0].value - told[2 + number].value) - scale * (sums[0] - sums[2 + number])
        for number, group in enumerate(known)
    }
    rest = told[0].value - scale * sums[0]
    foretold = scale * sums[1] + rest - sum(saved.values())
    return CostTable(
        **{name: getattr(told[0], name) for name in ("quantity", "unit", "label", "device", "machine")},
        whole=told[0].value,
        scale=scale,
        rest=rest,
        per_channel={group.name: saved[group.name] / (group.channels - least[group.name]) for group in known},
        channels={group.name: group.channels for group in groups},
        narrowest=told[1].value,
        narrowest_error=foretold / told[1].value - 1,
        layers=dict(layers),
    )


def _thinned(network: nn.Module, group: Coupled, channels: int) -> nn.Module:
    gone = (group.channels - channels) // len(group.units[0])
    return cut_units(network, [group], [list(range(gone))])


def _sum(layers: Mapping[str, LayerTable], shapes: Mapping[str, Shape]) -> float:
    return sum(layers[name].at(shape.out, shape.into) for name, shape in shapes.items())


STAGE = Stage(
    name="costs",
    version=1,
    config=CostsConfig,
    takes=(),
    gives="costs",
    reads=("data.train", "student", "collate"),
    libraries=("torch", "torchao", "litert-torch", "ai-edge-litert", "torch-pruning"),
    run=run,
)
