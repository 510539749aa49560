"""Live teachers: networks that run along while a student trains, so that it learns from what their layers see."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline.batches import Batch, derive
from pipeline.distillation.features import Pair, Taps, features_of
from pipeline.distillation.seen import SeenLoss, discover
from pipeline.errors import TaskError


class LiveTeachers(nn.Module):
    """Losses between a student's layers and those of teachers that run along.

    A module, so that what the losses own (adapters) is trained, the teachers not. `losses` are weights by a loss's name, `layers` the
    pairs that the user named for some of them.
    """

    def __init__(
        self,
        student: nn.Module,
        teachers: Mapping[str, nn.Module],
        losses: Mapping[str, float],
        *,
        layers: Mapping[str, Sequence[Pair]],
        example: tuple[Tensor, ...],
        seed: int,
    ) -> None:
        super().__init__()
        self._weights: list[float] = []
        made: list[nn.Module] = []
        # A plain list: the teachers' weights are neither trained nor saved with the adapters.
        self._teachers: list[nn.Module] = [
            teacher.eval().requires_grad_(requires_grad=False) for teacher in teachers.values()
        ]
        self._taps: list[Taps] = []
        self._of: list[int] = []
        wanted: list[str] = []
        for number, (name, teacher) in enumerate(teachers.items()):
            theirs: list[str] = []
            for loss, weight in losses.items():
                pairs = _pairs(discover()[loss], loss, layers.get(loss, ()), student, teacher, name, example)
                made.append(_made(discover()[loss], pairs, student, teacher, example, derive(seed, "adapters", name)))
                self._of.append(number)
                self._weights.append(weight / len(teachers))
                wanted.extend(pair[0] for pair in pairs)
                theirs.extend(pair[1] for pair in pairs)
            self._taps.append(Taps(teacher, theirs))
        self._of_student = Taps(student, wanted)
        self.losses = nn.ModuleList(made)

    def forward(self, batch: Batch) -> Tensor:
        """Return the weighted loss of a batch that the student has just answered."""
        for teacher in self._teachers:
            with torch.no_grad():
                teacher.to(batch.inputs[0].device)(*batch.inputs)
        mask = _mask(batch.inputs)
        parts = [
            weight * loss(self._of_student.features, self._taps[number].features, mask)
            for loss, weight, number in zip(self.losses, self._weights, self._of, strict=True)
        ]
        return torch.stack(parts).sum()

    def close(self) -> None:
        """Take all hooks away."""
        for taps in (self._of_student, *self._taps):
            taps.close()


def _pairs(
    loss: type[SeenLoss],
    name: str,
    named: Sequence[Pair],
    student: nn.Module,
    teacher: nn.Module,
    whose: str,
    example: tuple[Tensor, ...],
) -> tuple[Pair, ...]:
    if named:
        return tuple(pair for each in named for pair in loss.layers(each, student, teacher))
    found = loss.match(student, teacher, example)
    if not found:
        raise TaskError(
            f"{name}: no layer of the student sees what one of teacher {whose!r} sees; name pairs in layers, or leave {name} out of losses"
        )
    return found


def _made(
    loss: type[SeenLoss],
    pairs: Sequence[Pair],
    student: nn.Module,
    teacher: nn.Module,
    example: tuple[Tensor, ...],
    seed: int,
) -> nn.Module:
    ours = features_of(student, [pair[0] for pair in pairs], example)
    theirs = features_of(teacher, [pair[1] for pair in pairs], example)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = loss(pairs, ours, theirs)
    assert isinstance(made, nn.Module)
    return made


def _mask(inputs: tuple[Tensor, ...]) -> Tensor | None:
    """Return the input after ids [N, T] that tells tokens from padding, [N, T] of 0 and 1; None where there is none."""
    rest = [
        value
        for value in inputs[1:]
        if value.ndim == 2 and value.shape == inputs[0].shape and not value.is_floating_point()
    ]
    return next((value for value in rest if not torch.any((value != 0) & (value != 1))), None)
