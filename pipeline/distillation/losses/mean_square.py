"""Mean square: for outputs that are no logits, the teachers' mean is the target.

Ba and Caruana 2014, "Do Deep Nets Really Need to be Deep?" (https://arxiv.org/abs/1312.6184), section 2.1, equation 1,
who hit the teacher's logits this way.
"""

from torch import Tensor
from torch.nn import functional as F

from pipeline.distillation.losses import Said, mixed

FITS = ("values", "embeddings", "logits", "sigmoids")


def mean_square(student: Tensor, said: Said) -> Tensor:
    """Compare outputs [N, ...] with the teachers' [M, N, ...]: mean over all values."""
    return F.mse_loss(student.float(), mixed(said.answers.float(), said.weights))
