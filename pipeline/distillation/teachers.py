"""Teachers: what they said, recorded.

Recorded answers cost nothing while a student trains; they are mapped, not read.

Letters: M teachers, V views, N samples of a split, B samples of a batch, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.artifact import Artifact
from pipeline.batches import Batch
from pipeline.distillation.calibration import are_classes, class_rows, temperature_of
from pipeline.distillation.losses import Answers
from pipeline.errors import ModelError, RecipeError, TaskError
from pipeline.recorded_outputs import Stored, read_outputs
from pipeline.task import LoadedTask

MOST_LABELS = 10_000
"""So many samples fix one number, a temperature, well enough."""


@dataclass(frozen=True)
class Recorded:
    """What M teachers answered on one split: for each teacher, for each output, [V, N, ...].

    `kinds` says what each output is, empty where nobody said; `covers` [M, K] which classes each teacher knows, None where all know all.
    """

    answers: tuple[tuple[Stored, ...], ...]
    names: tuple[str, ...] = ()
    kinds: tuple[Answers, ...] = ()
    covers: Tensor | None = None

    def shapes(self) -> list[tuple[int, ...]]:
        """Return the outputs' shapes without views and samples."""
        return [answer.shape[2:] for answer in self.answers[0]]

    def of(self, batch: Batch) -> list[Tensor]:
        """Return, for each output, what the teachers say about a batch, [M, B, ...], where the batch lies."""
        index, device = batch.index.numpy(), batch.inputs[0].device
        return [self.rows(number, batch.view, index).to(device) for number in range(len(self.answers[0]))]

    def rows(self, output: int, view: int, index: NDArray[np.int64]) -> Tensor:
        """Return what the teachers say about some samples in one view, [M, B, ...]."""
        return torch.stack([torch.from_numpy(np.asarray(answers[output][view][index])) for answers in self.answers])


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
    recorded = Recorded(
        tuple(read_outputs(artifact) for artifact in artifacts.values()),
        tuple(artifacts),
        _kinds(artifacts),
        _covers(artifacts),
    )
    shapes = {name: [list(shape[2:]) for shape in artifact.facts["shapes"]] for name, artifact in artifacts.items()}
    if any(shape != next(iter(shapes.values())) for shape in shapes.values()):
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise TaskError(f"teachers that speak together must give outputs of one shape; found {told}")
    return recorded


def temperatures(recorded: Recorded, validation: Recorded | None, task: LoadedTask) -> list[float]:
    """Return what calibrates each teacher, by the validation split's labels, or by the training split's; 1 where neither has any."""
    if validation is not None and task.is_labelled("validation"):
        said, targets = validation, task.targets("validation")
    else:
        said, targets = recorded, task.targets("train")
    if targets is None:
        return [1.0] * len(said.names)
    index = np.arange(min(len(targets), MOST_LABELS))
    answers = said.rows(0, 0, index)
    if not are_classes(targets[: len(index)], answers.shape[1:]):
        raise RecipeError(
            f"weighting: what looks at classes is calibrated by labels that name them, and the targets of task {task.name!r} don't "
            f"name those of answers {list(answers.shape[2:])}; say weighting = 'mean' or 'fixed'"
        )
    labels = torch.as_tensor(targets[: len(index)])
    if said.covers is None:
        return [temperature_of(*class_rows(rows, labels)) for rows in answers]
    return [_temperature_where_known(rows, labels, known) for rows, known in zip(answers, said.covers, strict=True)]


def _temperature_where_known(answers: Tensor, labels: Tensor, known: Tensor) -> float:
    rows, right = class_rows(answers, labels)
    asked = known[right]
    return temperature_of(rows[asked], right[asked]) if bool(asked.any()) else 1.0


def _kinds(artifacts: Mapping[str, Artifact]) -> tuple[Answers, ...]:
    said = {name: tuple(artifact.facts.get("answers") or ()) for name, artifact in artifacts.items()}
    told = {name: kinds for name, kinds in said.items() if kinds}
    if len(set(told.values())) > 1:
        listed = "; ".join(f"{name}: {', '.join(kinds)}" for name, kinds in told.items())
        raise TaskError(f"teachers that speak together must answer alike; found {listed}")
    return next(iter(told.values()), ())


def _covers(artifacts: Mapping[str, Artifact]) -> Tensor | None:
    """Return which classes each teacher knows, None where each knows all of them."""
    classes = [artifact.facts.get("classes") for artifact in artifacts.values()]
    if not any(classes):
        return None
    count = int(next(iter(artifacts.values())).facts["shapes"][0][2])
    covers = torch.zeros(len(classes), count, dtype=torch.bool)
    for row, known in zip(covers, classes, strict=True):
        row[known or slice(None)] = True
    return covers
