"""Teachers: what they said, recorded, and what they see, live.

Recorded answers cost nothing while a student trains; a teacher's network runs along only where its features are wanted.

Letters: M teachers, V views, N samples of a split, B samples of a batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.artifact import Artifact
from pipeline.batches import Batch, derive
from pipeline.distillation.features import Hints, Pair, Taps, features_of, match_layers
from pipeline.errors import ModelError, TaskError
from pipeline.recorded_outputs import Floats, read_outputs


@dataclass(frozen=True)
class Recorded:
    """What M teachers answered on one split: for each teacher, for each output, [V, N, ...]."""

    answers: tuple[tuple[Floats, ...], ...]

    def shapes(self) -> list[tuple[int, ...]]:
        """Return the outputs' shapes without views and samples."""
        return [answer.shape[2:] for answer in self.answers[0]]

    def of(self, batch: Batch) -> list[Tensor]:
        """Return, for each output, what the teachers say about a batch, [M, B, ...], where the batch lies."""
        index, device = batch.index.numpy(), batch.inputs[0].device
        return [
            torch.from_numpy(np.stack([answers[number][batch.view][index] for answers in self.answers])).to(device)
            for number in range(len(self.answers[0]))
        ]


def read_recorded(artifacts: Mapping[str, Artifact], *, views: int, seed: int | None, samples: int) -> Recorded:
    """Open teachers' recorded outputs by name; ModelError where they are of other views of the data.

    `seed` is that of the views, None where samples are shown as they are.
    """
    for name, artifact in artifacts.items():
        facts = artifact.facts
        if (
            facts["views"] != views
            or facts["seed"] != (facts["seed"] if seed is None else seed)
            or facts["shapes"][0][1] != samples
        ):
            raise ModelError(
                f"teacher {name!r} answered {facts['shapes'][0][1]} samples in {facts['views']} views of seed {facts['seed']}, "
                f"training shows {samples} in {views} of seed {seed}; record its outputs with the same views (at least 1) and seed"
            )
    recorded = Recorded(tuple(read_outputs(artifact) for artifact in artifacts.values()))
    shapes = {name: [list(shape[2:]) for shape in artifact.facts["shapes"]] for name, artifact in artifacts.items()}
    if any(shape != next(iter(shapes.values())) for shape in shapes.values()):
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise TaskError(f"teachers that speak together must give outputs of one shape; found {told}")
    return recorded


class LiveHints(nn.Module):
    """Hints of one or more teachers that run along; a module, so that its adapters are trained, the teachers not."""

    def __init__(
        self,
        student: nn.Module,
        teachers: Mapping[str, nn.Module],
        pairs: Sequence[Pair],
        *,
        example: tuple[Tensor, ...],
        seed: int,
    ) -> None:
        super().__init__()
        hints: list[Hints] = []
        self._taps: list[Taps] = []
        wanted: list[str] = []
        # A plain list: the teachers' weights are neither trained nor saved with the adapters.
        self._teachers: list[nn.Module] = [
            teacher.eval().requires_grad_(requires_grad=False) for teacher in teachers.values()
        ]
        for name, teacher in teachers.items():
            chosen = tuple(pairs) or match_layers(student, teacher, example)
            if not chosen:
                raise TaskError(
                    f"no layer of the student sees what one of teacher {name!r} sees; name pairs in hint_layers"
                )
            ours, theirs = [pair[0] for pair in chosen], [pair[1] for pair in chosen]
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive(seed, "adapters", name))
                hints.append(Hints(chosen, features_of(student, ours, example), features_of(teacher, theirs, example)))
            self._taps.append(Taps(teacher, theirs))
            wanted.extend(ours)
        self._of_student = Taps(student, wanted)
        self.hints = nn.ModuleList(hints)

    def forward(self, batch: Batch) -> Tensor:
        """Return the mean hint loss of a batch that the student has just answered."""
        losses = []
        for teacher, taps, hints in zip(self._teachers, self._taps, self.hints, strict=True):
            with torch.no_grad():
                teacher.to(batch.inputs[0].device)(*batch.inputs)
            losses.append(hints(self._of_student.features, taps.features))
        return torch.stack(losses).mean()

    def close(self) -> None:
        """Take all hooks away."""
        for taps in (self._of_student, *self._taps):
            taps.close()
