"""Hints: the student's activations, through an adapter, aim at the teacher's.

Romero et al. 2015, "FitNets" (https://arxiv.org/abs/1412.6550), section 2.2. Here the mean square of the difference is
divided by the mean square of the teacher's activations, so that one weight fits layers of any scale:

    L = mean((r(f_S) - f_T)²) / mean(f_T²)
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.distillation.features import Pair, match_layers
from pipeline.distillation.seen import Seen
from pipeline.errors import TaskError


class Hints(nn.Module):
    """The hint loss of some pairs of layers; owns the adapters, one a pair."""

    def __init__(self, pairs: Sequence[Pair], student: Seen, teacher: Seen) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        self.adapters = nn.ModuleList(_adapter(student[s], teacher[t]) for s, t in pairs)

    match = staticmethod(match_layers)

    @staticmethod
    def layers(pair: Pair, student: nn.Module, teacher: nn.Module) -> tuple[Pair, ...]:
        """Look at the layers that the user named."""
        del student, teacher
        return (pair,)

    def forward(self, student: Seen, teacher: Seen, mask: Tensor | None = None) -> Tensor:
        """Return the mean loss over the pairs; padding counts, as both networks see it."""
        del mask
        losses = [
            _difference(adapter(student[s]), teacher[t])
            for adapter, (s, t) in zip(self.adapters, self.pairs, strict=True)
        ]
        return torch.stack(losses).mean()


LOSS = Hints


def _adapter(student: Tensor, teacher: Tensor) -> nn.Module:
    """Return a 1x1 convolution for pictures [N, C, H, W], a linear layer for [N, ..., C]."""
    if student.ndim != teacher.ndim:
        raise TaskError(
            f"layers: hints of a layer that gives {list(teacher.shape)} mean nothing to one that gives {list(student.shape)}; "
            "pair layers of the same kind"
        )
    if student.ndim == 4:
        return nn.Conv2d(student.shape[1], teacher.shape[1], 1, bias=False)
    return nn.Linear(student.shape[-1], teacher.shape[-1], bias=False)


def _difference(student: Tensor, teacher: Tensor) -> Tensor:
    student, teacher = student.float(), teacher.float()
    if student.ndim == 4 and student.shape != teacher.shape:
        height, width = (min(one, other) for one, other in zip(student.shape[2:], teacher.shape[2:], strict=True))
        student = F.adaptive_avg_pool2d(student, (height, width))
        teacher = F.adaptive_avg_pool2d(teacher, (height, width))
    return F.mse_loss(student, teacher) / teacher.square().mean().clamp_min(1e-12)
