"""Families: the built-in networks as ladders of width and depth, for a student that is to be chosen.

| family | for | width | depth |
|---|---|---|---|
| dscnn | pictures and spectrograms | channels | separable blocks |
| mobilenet | pictures | expansion of the blocks | always five blocks |
| resnet | pictures | channels of the first third; the others have twice and four times as many | blocks in each third |
| transformer | texts: ids and mask | width, in heads of 16 numbers | blocks |
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from torch import Tensor, nn

from pipeline.errors import TaskError
from pipeline.networks.dscnn import dscnn
from pipeline.networks.mobilenet import mobilenet
from pipeline.networks.resnet import ResNet
from pipeline.networks.transformer import text_encoder

LADDERS: dict[str, tuple[tuple[int, int], ...]] = {
    "dscnn": ((16, 2), (16, 4), (24, 4), (32, 4), (48, 4), (64, 4), (96, 4), (128, 4)),
    "mobilenet": ((1, 0), (2, 0), (3, 0), (4, 0), (6, 0), (8, 0)),
    "resnet": ((4, 1), (8, 1), (12, 1), (16, 1), (24, 1), (16, 3), (24, 3)),
    "transformer": ((16, 1), (32, 1), (32, 2), (48, 2), (64, 2), (96, 2), (128, 3)),
}
"""(width, depth) of each rung, each dearer than the one before."""
PICTURES, TEXTS = ("dscnn", "mobilenet", "resnet"), ("transformer",)
HEAD_WIDTH = 16


@dataclass(frozen=True)
class Sizes:
    """What a task asks of its student: channels of pictures or length and vocabulary of texts, and the count of outputs."""

    outputs: int
    channels: int = 0
    length: int = 0
    vocabulary: int = 0


@dataclass(frozen=True)
class Rung:
    """One network of a family."""

    family: str
    width: int
    depth: int

    def build(self, sizes: Sizes) -> nn.Module:
        """Build it, untrained."""
        if self.family == "dscnn":
            return dscnn(sizes.outputs, width=self.width, blocks=self.depth, in_channels=sizes.channels)
        if self.family == "mobilenet":
            return mobilenet(sizes.outputs, expansion=self.width, in_channels=sizes.channels)
        if self.family == "resnet":
            widths = (self.width, 2 * self.width, 4 * self.width)
            return ResNet(sizes.outputs, blocks=self.depth, widths=widths, in_channels=sizes.channels)
        return text_encoder(
            vocabulary=sizes.vocabulary,
            width=self.width,
            heads=self.width // HEAD_WIDTH,
            depth=self.depth,
            feed_forward=2 * self.width,
            length=sizes.length,
            classes=sizes.outputs,
        )

    def __str__(self) -> str:
        """Say it as a person would."""
        return f"{self.family} of width {self.width}" + (f" and depth {self.depth}" if self.depth else "")

    def facts(self) -> dict[str, str | int]:
        """Return it as a stage's facts."""
        return asdict(self)


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
