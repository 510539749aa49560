"""Decoupled distillation: how sure the teachers are of the right class, and what they say of the others, each by itself.

Zhao et al. 2022, "Decoupled Knowledge Distillation" (https://arxiv.org/abs/2203.08679), equation 7 and table 9:

    L = T² (α KL(b^T ‖ b^S) + β KL(p̂^T ‖ p̂^S)),    b = (p_t, 1 - p_t),    p̂_k = p_k / (1 - p_t) for k ≠ t

with t the label. In plain soft targets the second term is weighted by 1 - p_t, which a sure teacher makes vanish. α = 1 and β = 8
are the paper's for networks of the ResNet kind. Where nobody labelled a place, t is the teachers' likeliest class.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.distillation.calibration import is_class
from pipeline.distillation.losses import Said, mixed

FITS = ("logits",)
ALPHA, BETA = 1.0, 8.0
SMALLEST = 1e-8
"""Below this a probability counts as nothing."""


def decoupled(student: Tensor, said: Said) -> Tensor:
    """Compare logits [N, K, ...] with the teachers' [M, N, K, ...]: mean over samples and places."""
    p = mixed(F.softmax(said.answers.float() / said.temperature, dim=2), said.weights).movedim(1, -1).flatten(0, -2)
    scaled = (student.float() / said.temperature).movedim(1, -1).flatten(0, -2)
    target = p.argmax(1)[:, None]
    if said.labels is not None:
        labels = said.labels.flatten()[:, None]
        target = torch.where(is_class(labels, p.shape[1]), labels, target)
    right = F.one_hot(target[:, 0], p.shape[1]).bool()
    sure = p.gather(1, target)[:, 0]
    log_q = F.log_softmax(scaled, 1)
    log_sure = log_q.gather(1, target)[:, 0]
    log_unsure = log_q.masked_fill(right, -torch.inf).logsumexp(1)
    of_target = _divergence(sure, log_sure) + _divergence(1 - sure, log_unsure)
    rest = p.masked_fill(right, 0.0)
    rest = rest / rest.sum(1, keepdim=True).clamp_min(SMALLEST)
    log_rest = F.log_softmax(scaled.masked_fill(right, -torch.inf), 1).masked_fill(right, 0.0)
    of_others = _divergence(rest, log_rest).sum(1)
    return said.temperature**2 * (ALPHA * of_target + BETA * of_others).mean()


def _divergence(p: Tensor, log_q: Tensor) -> Tensor:
    p = p.clamp_min(0.0)
    return torch.xlogy(p, p) - p * log_q
