"""CTC: posteriors over an alphabet at each moment, where a student that hears less of the future may answer later.

Frame by frame, a divergence punishes a spike that comes one frame late as if it were another letter. Two remedies are combined:

- the square of the difference of probabilities instead of a divergence, which stays bounded where both are sure of different
  things: Yoon et al. 2020, "TutorNet" (https://arxiv.org/abs/2008.00671), section 3.3;
- a delay: the student is compared with what the teacher said up to DELAY moments earlier, by whichever delay fits a sample best,
  as a streaming student can't know before it has heard: after Kurata and Audhkhasi 2018, "Improved Knowledge Distillation from
  Bi-directional to Uni-directional LSTM CTC" (IEEE SLT), who loosen the same constraint.

    L = mean_n min_d mean_t Σ_k (q_k[t] - p_k[t - d])²,    q = softmax(s / T),    p = Σ_m w_m softmax(z_m / T)
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.distillation.losses import Said, mixed

FITS = ("ctc",)
DELAY = 4


def ctc(student: Tensor, said: Said) -> Tensor:
    """Compare logits [N, T, K] with the teachers' [M, N, T, K], the alphabet last: mean over samples and moments."""
    p = mixed(F.softmax(said.answers.float() / said.temperature, dim=-1), said.weights)
    q = F.softmax(student.float() / said.temperature, dim=-1)
    moments = q.shape[1] if q.ndim > 2 else 1
    differences = [_late_by(delay, q, p) for delay in range(min(DELAY + 1, moments))]
    return said.temperature**2 * torch.stack(differences).min(0).values.mean()


def _late_by(delay: int, q: Tensor, p: Tensor) -> Tensor:
    """Return the mean difference [N] of a student that answers `delay` moments later."""
    if delay:
        q, p = q[:, delay:], p[:, : p.shape[1] - delay]
    return (q - p).square().sum(-1).flatten(1).mean(1) if q.ndim > 2 else (q - p).square().sum(-1)
