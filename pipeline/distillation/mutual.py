"""Mutual distillation: two students of one kind, drawn differently, teach each other while they learn.

Zhang et al. 2018, "Deep Mutual Learning" (https://arxiv.org/abs/1706.00384), section 2.2. Each student's loss is its own
(labels, teachers) plus its distance to what the other says of the same batch, at temperature 1:

    L_1 = own loss of 1 + w D(2 ‖ 1),    L_2 = own loss of 2 + w D(1 ‖ 2)

with D the loss that fits the answers. The peer ends as its last epoch left it, the student with its best epoch; the better on the
validation split is kept.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.batches import Batch, derive, one_or_all
from pipeline.distillation.compare import SoftLoss, choose, kinds_of
from pipeline.distillation.supervision import Supervision
from pipeline.distillation.weighting import Weighting
from pipeline.task import LoadedTask, as_arguments


class Mutual(nn.Module):
    """The peer and what both losses own, to be trained along with the student: `loss` is both students'.

    `own` supervises the student, `other` the peer; `weight` is the share w of the formula.
    """

    def __init__(
        self, peer: nn.Module, own: Supervision, other: Supervision, *, task: LoadedTask, weight: float
    ) -> None:
        super().__init__()
        self.peer = peer
        self.owned = nn.ModuleList([part.extra for part in (own, other) if part.extra is not None])
        self._own, self._other, self._weight = own, other, weight
        self._distance = _distance(peer, task)

    def loss(self, output: Any, batch: Batch) -> Tensor:
        """Return the sum of both students' losses for what the student answered."""
        said = one_or_all(as_arguments(self.peer(*batch.inputs)))
        apart = self._apart(output, said) + self._apart(said, output)
        return self._own.loss(output, batch) + self._other.loss(said, batch) + self._weight * apart

    def _apart(self, output: Any, other: Any) -> Tensor:
        """Return how far a student's outputs are from the other's, which stand still."""
        teachers = [value.detach()[None] for value in as_arguments(other)]
        return self._distance(output, teachers, None, temperature=1.0)


def peer_of(task: LoadedTask) -> nn.Module:
    """Return a second student, drawn from a seed of its own."""
    return replace(task, seed=derive(task.seed, "peer")).student().train()


def _distance(peer: nn.Module, task: LoadedTask) -> SoftLoss:
    with torch.no_grad():
        shapes = [tuple(value.shape[1:]) for value in as_arguments(peer.eval()(*task.example()))]
    peer.train()
    alone = Weighting("mean", given=[1.0], temperatures=[1.0], classes=1, covers=None)
    return SoftLoss(choose({}, kinds_of(task, shapes)), alone)
