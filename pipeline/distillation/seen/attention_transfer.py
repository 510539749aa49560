"""Attention transfer: where a network looks, not what it sees there; needs no adapter and no equal number of channels.

Zagoruyko and Komodakis 2017, "Paying More Attention to Attention" (https://arxiv.org/abs/1612.03928), section 3.1,
with the map of squares, and the difference squared as in their code:

    L = mean((Q_S / |Q_S| - Q_T / |Q_T|)²),    Q = Σ_c f_c² over all places

Here the mean over the places is multiplied by their number, so that one weight fits maps of any size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.distillation.features import Pair, match_layers
from pipeline.distillation.seen import Seen
from pipeline.errors import TaskError


class AttentionTransfer(nn.Module):
    """The difference of attention maps of some pairs of layers [N, C, H, W]."""

    def __init__(self, pairs: Sequence[Pair], student: Seen, teacher: Seen) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        for name, feature in (*((s, student[s]) for s, _ in pairs), *((t, teacher[t]) for _, t in pairs)):
            if feature.ndim != 4:
                raise TaskError(
                    f"attention_transfer compares maps [N, C, H, W], layer {name!r} gives {list(feature.shape)}; "
                    "name layers of pictures in layers, or use hints"
                )

    @staticmethod
    def match(student: nn.Module, teacher: nn.Module, example: tuple[Tensor, ...]) -> tuple[Pair, ...]:
        """Return the pairs of layers of one picture size."""
        return match_layers(student, teacher, example)

    @staticmethod
    def layers(pair: Pair, student: nn.Module, teacher: nn.Module) -> tuple[Pair, ...]:
        """Look at the layers that the user named."""
        del student, teacher
        return (pair,)

    def forward(self, student: Seen, teacher: Seen, mask: Tensor | None = None) -> Tensor:
        """Return the mean loss over the pairs."""
        del mask
        return torch.stack([_difference(student[s], teacher[t]) for s, t in self.pairs]).mean()


LOSS = AttentionTransfer


def _difference(student: Tensor, teacher: Tensor) -> Tensor:
    height, width = (min(one, other) for one, other in zip(student.shape[2:], teacher.shape[2:], strict=True))
    places = (height, width)
    return (_map(student, places) - _map(teacher, places)).square().sum(1).mean()


def _map(feature: Tensor, places: tuple[int, int]) -> Tensor:
    """Return the attention [N, H W] of features [N, C, H, W], a unit vector a sample."""
    squares = feature.float().square().mean(1, keepdim=True)
    if squares.shape[2:] != places:  # its gradient has no deterministic form on CUDA
        squares = F.adaptive_avg_pool2d(squares, places)
    return F.normalize(squares.flatten(1), dim=1)
