"""Compare: which losses between outputs a training uses, and their sum over all outputs that student and teachers have.

What the outputs are is known from the teacher, else told from the labels: whole numbers with one dimension less than
the outputs are classes; one number alone names none, since its softmax is always 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.distillation import losses, seen
from pipeline.distillation.losses import Answers, OutputLoss, Said, mixed
from pipeline.distillation.teachers import Recorded
from pipeline.distillation.weighting import Weighting
from pipeline.errors import RecipeError, TaskError, did_you_mean
from pipeline.task import LoadedTask, as_arguments


@dataclass(frozen=True)
class Chosen:
    """`kinds` are what each output is, `outputs` the losses of each with their weights, `seen` the weights of losses between layers."""

    kinds: tuple[Answers, ...]
    outputs: tuple[tuple[tuple[OutputLoss, float], ...], ...]
    seen: Mapping[str, float]


def answers_of(task: LoadedTask, recorded: Recorded) -> tuple[Answers, ...]:
    """Return what each output is: as the teachers' owner said, else as the labels show."""
    return recorded.kinds or kinds_of(task, recorded.shapes())


def kinds_of(task: LoadedTask, shapes: Sequence[tuple[int, ...]]) -> tuple[Answers, ...]:
    """Return what outputs of these shapes, without samples, are by the labels; without labels or a loss of the task's own, classes."""
    target = task.sample(task.splits.train, "train", 0)[1]
    if target is None:
        classes = not hasattr(task.raw, "loss")
        return tuple("logits" if classes and shape[:1] > (1,) else "values" for shape in shapes)
    parts = target if isinstance(target, tuple | list) and len(target) == len(shapes) > 1 else [target] * len(shapes)
    return tuple(_kind(part, shape) for part, shape in zip(parts, shapes, strict=True))


def choose(weights: Mapping[str, float], kinds: tuple[Answers, ...]) -> Chosen:
    """Return the losses of a recipe's `losses`; RecipeError where one is unknown or can't compare such answers."""
    of_outputs, of_layers = losses.discover(), seen.discover()
    known = (*of_outputs, *of_layers)
    for name in weights:
        if name not in known:
            raise RecipeError(f"losses: no loss {name!r}; known: {', '.join(known)}{did_you_mean(name, known)}")
    named = {name: weight for name, weight in weights.items() if name in of_outputs and weight}
    chosen = []
    for number, kind in enumerate(kinds):
        fitting = losses.that_fit(kind)
        own = {name: weight for name, weight in named.items() if name in fitting}
        if named and not own:
            where = f"output {number} gives" if len(kinds) > 1 else "the teachers give"
            raise RecipeError(
                f"losses: {where} {kind}, which {', '.join(named)} can't compare; those that can: {', '.join(fitting)}"
            )
        own = own or {losses.BY_DEFAULT[kind]: 1.0}
        chosen.append(tuple((of_outputs[name], weight) for name, weight in own.items()))
    _refuse_strays(named, kinds)
    return Chosen(
        kinds, tuple(chosen), {name: weight for name, weight in weights.items() if name in of_layers and weight}
    )


def refuse_unknown_classes(chosen: Chosen, recorded: Recorded) -> None:
    """Raise RecipeError where a loss would take the placeholder of a class that a teacher doesn't know for an answer."""
    if recorded.covers is None or bool(recorded.covers.all()):
        return
    for measure, _ in chosen.outputs[0]:
        name = measure.__name__  # type: ignore[attr-defined]  # a function, as discovery finds it
        if name not in losses.OF_SOME_CLASSES:
            raise RecipeError(
                f"losses: {name} needs a number for each class, and not all of {', '.join(recorded.names)} know every class; "
                f"those that can do without: {', '.join(losses.OF_SOME_CLASSES)}"
            )


@dataclass(frozen=True)
class SoftLoss:
    """The losses against teachers' outputs, over all outputs that both have."""

    chosen: Chosen
    weighting: Weighting

    def __call__(self, output: Any, teachers: list[Tensor], labels: Tensor | None, *, temperature: float) -> Tensor:
        """Return one number for outputs [N, ...] and what the teachers say, for each output [M, N, ...]."""
        outputs = as_arguments(output)
        _check_shapes(outputs, teachers)
        parts: list[Tensor] = []
        for mine, theirs, measures in zip(outputs, teachers, self.chosen.outputs, strict=True):
            known = labels if _are_classes(labels, mine) else None
            answers = self.weighting.calibrated(theirs)
            said = Said(answers, self.weighting(answers, known), temperature, known)
            parts.extend(weight * measure(mine, said) for measure, weight in measures)
            parts.append(self.weighting.loss(answers, known))
        return torch.stack(parts).sum()

    def agreement(self, outputs: tuple[Tensor, ...], teachers: list[Tensor]) -> tuple[int, int]:
        """Return how often the student names the teachers' likeliest class, and of how many; (0, 0) where there are no classes."""
        if self.chosen.kinds[0] != "logits":
            return 0, 0
        answers = self.weighting.calibrated(teachers[0])
        said = mixed(answers.softmax(2), self.weighting(answers, None)).argmax(1)
        return int((outputs[0].argmax(1) == said).sum()), said.numel()


def labels_of(targets: Any) -> Tensor | None:
    """Return a batch's targets where they are one tensor of whole numbers."""
    if isinstance(targets, Tensor) and not targets.is_floating_point() and targets.dtype != torch.bool:
        return targets
    return None


def _are_classes(labels: Tensor | None, output: Tensor) -> bool:
    """Tell whether labels [N, ...] name classes of an output [N, K, ...]."""
    return (
        labels is not None
        and output.ndim == labels.ndim + 1
        and (output.shape[0], *output.shape[2:]) == tuple(labels.shape)
    )


def _kind(target: Any, shape: tuple[int, ...]) -> Answers:
    label = np.asarray(target)
    named = np.issubdtype(label.dtype, np.integer) and len(shape) == label.ndim + 1
    return "logits" if named and shape[0] > 1 else "values"


def _check_shapes(outputs: tuple[Any, ...], teachers: list[Tensor]) -> None:
    if [tuple(mine.shape) for mine in outputs] != [tuple(theirs.shape[1:]) for theirs in teachers]:
        raise TaskError(
            f"the student answers a batch with {[list(mine.shape) for mine in outputs]}, its teachers with "
            f"{[list(theirs.shape[1:]) for theirs in teachers]}; give networks whose outputs have one shape"
        )


def _refuse_strays(named: Mapping[str, float], kinds: tuple[Answers, ...]) -> None:
    for name in named:
        if not any(name in losses.that_fit(kind) for kind in kinds):
            fitting = sorted({loss for kind in kinds for loss in losses.that_fit(kind)})
            raise RecipeError(
                f"losses: {name} can't compare {', '.join(dict.fromkeys(kinds))}; those that can: {', '.join(fitting)}"
            )
