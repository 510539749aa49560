"""Families: the built-in networks (`ladders`), built for what a task asks of its student."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from pipeline.errors import TaskError
from pipeline.networks.dscnn import dscnn
from pipeline.networks.ladders import HEAD_WIDTH, LADDERS, Rung
from pipeline.networks.mobilenet import mobilenet
from pipeline.networks.resnet import ResNet
from pipeline.networks.transformer import text_encoder

PICTURES, TEXTS = ("dscnn", "mobilenet", "resnet"), ("transformer",)


@dataclass(frozen=True)
class Sizes:
    """What a task asks of its student: channels of pictures or length and vocabulary of texts, and the count of outputs."""

    outputs: int
    channels: int = 0
    length: int = 0
    vocabulary: int = 0


def build(rung: Rung, sizes: Sizes) -> nn.Module:
    """Build a network, untrained."""
    if rung.family == "dscnn":
        return dscnn(sizes.outputs, width=rung.width, blocks=rung.depth, in_channels=sizes.channels)
    if rung.family == "mobilenet":
        return mobilenet(sizes.outputs, expansion=rung.width, in_channels=sizes.channels)
    if rung.family == "resnet":
        widths = (rung.width, 2 * rung.width, 4 * rung.width)
        return ResNet(sizes.outputs, blocks=rung.depth, widths=widths, in_channels=sizes.channels)
    return text_encoder(
        vocabulary=sizes.vocabulary,
        width=rung.width,
        heads=rung.width // HEAD_WIDTH,
        depth=rung.depth,
        feed_forward=2 * rung.width,
        length=sizes.length,
        classes=sizes.outputs,
    )


def ladders(sizes: Sizes) -> Iterator[tuple[Rung, ...]]:
    """Give the ladder of each family that suits."""
    for family in PICTURES if sizes.channels else TEXTS:
        yield tuple(Rung(family, width, depth) for width, depth in LADDERS[family])


def sizes_of(example: tuple[Tensor, ...], outputs: int, vocabulary: int) -> Sizes:
    """Return what a task's inputs ask for; TaskError where they are neither pictures nor texts."""
    first = example[0]
    if len(example) == 1 and first.is_floating_point() and first.dim() == 4:
        return Sizes(outputs, channels=first.shape[1])
    if len(example) == 2 and not first.is_floating_point() and first.dim() == 2 and example[1].shape == first.shape:
        return Sizes(outputs, length=first.shape[1], vocabulary=vocabulary)
    shapes = ", ".join(str(tuple(part.shape)) for part in example)
    raise TaskError(
        f"student = 'auto' knows pictures [N, C, H, W] and texts (ids [N, T], mask [N, T]); the task gives {shapes}: "
        "leave student out, and the task's own is taken"
    )
