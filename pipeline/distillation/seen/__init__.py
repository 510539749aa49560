"""Losses between what layers of a student and of a teacher see: one a file, a class in it called LOSS, found by being there.

Each takes pairs of layers and what both networks give there for an example, and owns what it needs to compare them; the
teacher's network runs along while the student trains.

Letters: N samples, C channels, H height, W width, T moments or tokens, D width, S student, T teacher (as an index).
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

from pipeline.distillation.features import Pair

Seen = Mapping[str, Tensor]
"""By a layer's name, what it gave for a batch."""


class SeenLoss(Protocol):
    """How far a student's layers are from a teacher's: a module, so that what it owns is trained along."""

    def __init__(self, pairs: Sequence[Pair], student: Seen, teacher: Seen) -> None:
        """Take the pairs, and what both networks give there for an example; TaskError where they can't be compared."""

    @staticmethod
    def match(student: nn.Module, teacher: nn.Module, example: tuple[Tensor, ...]) -> tuple[Pair, ...]:
        """Return the pairs that belong together; none where nothing does."""

    @staticmethod
    def layers(pair: Pair, student: nn.Module, teacher: nn.Module) -> tuple[Pair, ...]:
        """Return the pairs of layers to look at for one pair that a user named."""

    def __call__(self, student: Seen, teacher: Seen, mask: Tensor | None) -> Tensor:
        """Return one number; `mask` [N, T] tells tokens from padding where a batch has one."""


def discover() -> dict[str, type[SeenLoss]]:
    """Return the losses by name."""
    names = [found.name for found in pkgutil.iter_modules(__path__)]
    return {name: vars(importlib.import_module(f"{__name__}.{name}"))["LOSS"] for name in names}
