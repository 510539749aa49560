"""Cosine: for embeddings that are compared by their angle, the teachers' direction is the target and the length is free.

Reimers and Gurevych 2020, "Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation"
(https://arxiv.org/abs/2004.09813), distil sentence vectors by their distance; with unit vectors u, v that is
|u - v|² / 2 = 1 - cos(u, v):

    L = mean(1 - cos(s, Σ_m w_m z_m / |z_m|))
"""

from torch import Tensor
from torch.nn import functional as F

from pipeline.distillation.losses import Said, mixed

FITS = ("embeddings",)


def cosine(student: Tensor, said: Said) -> Tensor:
    """Compare vectors [N, D, ...] with the teachers' [M, N, D, ...]: mean over samples and places."""
    direction = mixed(F.normalize(said.answers.float(), dim=2), said.weights)
    return (1 - F.cosine_similarity(student.float(), direction, dim=1)).mean()
