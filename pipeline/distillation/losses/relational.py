"""Relational distillation: not where samples lie, but how far apart and at what angles, so that sizes need not be equal.

Park et al. 2019, "Relational Knowledge Distillation" (https://arxiv.org/abs/1904.05068), equations 5 to 10:

    L = mean huber(ψ_D(s_i, s_j), ψ_D(z_i, z_j)) + 2 mean huber(ψ_A(s_i, s_j, s_k), ψ_A(z_i, z_j, z_k))
    ψ_D(a, b) = |a - b| / mean |a - b|,    ψ_A(a, b, c) = cos of the angle at b

The ratio 1 : 2 is the paper's, section 4. Each of several teachers is compared by itself; its part of the loss is its mean weight.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.distillation.losses import Said

FITS = ("embeddings", "logits", "values")
ANGLES = 2.0
MOST_SAMPLES = 64
"""Angles are taken between three samples: 64 give 262,144 of them; of a larger batch the first are compared."""


def relational(student: Tensor, said: Said) -> Tensor:
    """Compare the relations of outputs [N, ...] with those of each teacher's [M, N, ...]: mean over pairs and triples."""
    mine = student.float().flatten(1)[:MOST_SAMPLES]
    losses = [_difference(mine, theirs.float().flatten(1)[:MOST_SAMPLES]) for theirs in said.answers]
    return (torch.stack(losses) * said.weights[:, :MOST_SAMPLES].mean(1)).sum()


def _difference(student: Tensor, teacher: Tensor) -> Tensor:
    distances = F.smooth_l1_loss(_distances(student), _distances(teacher))
    return distances + ANGLES * F.smooth_l1_loss(_angles(student), _angles(teacher))


def _distances(points: Tensor) -> Tensor:
    """Return the distances [N, N] over their mean; the square root's gradient stays finite where points coincide."""
    squares = (points[:, None] - points[None]).square().sum(2)
    distances = torch.where(squares > 0, squares, 1.0).sqrt() * (squares > 0)
    return distances / distances[distances > 0].mean() if (distances > 0).any() else distances


def _angles(points: Tensor) -> Tensor:
    """Return the cosines [N, N, N] of the angles at the first point between all others."""
    directions = F.normalize(points[None] - points[:, None], dim=2)
    return directions @ directions.transpose(1, 2)
