"""Soft targets: the teachers' probabilities at a temperature.

Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network" (https://arxiv.org/abs/1503.02531), section 2:

    L = T² Σ_k p_k (log p_k - log q_k),    q = softmax(s / T),    p = Σ_m w_m softmax(z_m / T)

with s the student's logits, z_m those of teacher m, w_m its weight. T² keeps the gradient's size when T changes. The mean of
several teachers' probabilities is the paper's ensemble, section 3.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.distillation.losses import Said, mixed

FITS = ("logits",)


def soft_targets(student: Tensor, said: Said) -> Tensor:
    """Compare logits [N, K, ...] with the teachers' [M, N, K, ...]: mean over samples and places."""
    p = mixed(F.softmax(said.answers.float() / said.temperature, dim=2), said.weights)
    log_q = F.log_softmax(student.float() / said.temperature, dim=1)
    return said.temperature**2 * (torch.xlogy(p, p) - p * log_q).sum(1).mean()
