"""Sigmoids: for outputs of which each says yes or no by itself, the teachers' probabilities at a temperature.

Soft targets with one pair of classes an output, as in Yang et al. 2023, "Multi-Label Knowledge Distillation"
(https://arxiv.org/abs/2308.06453), equation 4, here with Hinton's temperature:

    L = T² mean(KL(p ‖ q)) of Bernoulli distributions,    q = σ(s / T),    p = Σ_m w_m σ(z_m / T)
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.distillation.losses import Said, mixed

FITS = ("sigmoids",)


def sigmoids(student: Tensor, said: Said) -> Tensor:
    """Compare outputs [N, ...] before their sigmoid with the teachers' [M, N, ...]: mean over all of them."""
    p = mixed(torch.sigmoid(said.answers.float() / said.temperature), said.weights)
    cross_entropy = F.binary_cross_entropy_with_logits(student.float() / said.temperature, p)
    entropy = -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)).mean()
    return said.temperature**2 * (cross_entropy - entropy)
