"""Supervision: from a stage's inputs to the loss of a batch, the same in every stage that trains.

    (1 - soft_weight) * task's loss  +  soft_weight * Σ losses against the teachers' outputs  +  Σ losses between layers

What the teachers say comes from their recorded outputs, computed once; a teacher itself runs along only where its layers are
looked at. Without teachers the task's loss is all. Without labels the teachers' outputs are all, and they judge the validation
split as well.

Inputs by name: "teacher_outputs:NAME" of the training split, "teacher_validation:NAME", "teacher:NAME" the network.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.artifact import Artifact
from pipeline.batches import Batch, Evaluation, answer, on_device, split_batches, views_of
from pipeline.distillation.compare import SoftLoss, answers_of, choose, labels_of, refuse_unknown_classes
from pipeline.distillation.features import Pair
from pipeline.distillation.hearing import hearing
from pipeline.distillation.live import LiveTeachers
from pipeline.distillation.schedule import Scheduled, at, smallest
from pipeline.distillation.teachers import Recorded, read_recorded, temperatures
from pipeline.distillation.weighting import BY_LABEL, CALIBRATED, Rule, Weighting, given_weights
from pipeline.errors import RecipeError, TaskError
from pipeline.stage import Context, StageConfig
from pipeline.task import LoadedTask

OUTPUTS, VALIDATION, NETWORK = "teacher_outputs", "teacher_validation", "teacher"
TAKES = (f"{OUTPUTS}*", f"{VALIDATION}*", f"{NETWORK}*")
"""What a supervised stage takes beside its own inputs."""


class SupervisionConfig(StageConfig):
    """How teachers are heard.

    `teachers` are the names of those that speak, all where it is empty. `soft_weight` and `temperature` are numbers, or a first and a
    last one. `losses` are weights by name, of `pipeline.distillation.losses` and `pipeline.distillation.seen`; without one of the
    former the one that fits the answers stands for them at 1. `layers` are pairs [student's layer, teacher's layer] by the loss's
    name; without any they are matched. `weighting` is a rule of `pipeline.distillation.weighting`, `teacher_weights` are those of "fixed".
    """

    teachers: tuple[str, ...] = ()
    soft_weight: Scheduled = Field(default=0.9)
    temperature: Scheduled = Field(default=4.0)
    losses: dict[str, float] = Field(default={})
    layers: dict[str, tuple[Pair, ...]] = Field(default={})
    weighting: Rule = "mean"
    teacher_weights: dict[str, float] = Field(default={})


@dataclass(frozen=True)
class Supervision(AbstractContextManager["Supervision"]):
    """What to train by: `loss` of a batch, `extra` to train along, `evaluate` where the task itself can't judge.

    Use it in a `with` statement, which takes its hooks off the student again.
    """

    loss: Callable[[Any, Batch], Tensor]
    extra: nn.Module | None = None
    evaluate: Callable[[nn.Module], Evaluation] | None = None
    live: LiveTeachers | None = None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.close()


def supervise(
    student: nn.Module,
    inputs: Mapping[str, Artifact],
    config: SupervisionConfig,
    *,
    context: Context,
    views: int,
    load: Callable[[Artifact, LoadedTask], nn.Module],
) -> Supervision:
    """Return what a student is trained by.

    `views` is the training's own setting; `load` makes a network of a teacher's artifact.
    """
    task = context.task
    heard = _named(inputs, OUTPUTS)
    if not heard:
        _require_labels(task)
        return Supervision(loss=lambda output, batch: task.loss(output, batch.targets))
    _check(config)
    seed = context.seed if hasattr(task.raw, "augment") else None
    recorded = read_recorded(heard, views=views_of(task, views), seed=seed, samples=len(task.splits.train))
    kinds = answers_of(task, recorded)
    chosen = choose(config.losses, kinds)
    refuse_unknown_classes(chosen, recorded)
    validation = _validation(inputs, task)
    weighting = _weighting(config, task, recorded, validation, kinds)
    soft = SoftLoss(chosen, weighting)
    live = _live(student, inputs, config, chosen.seen, context=context, load=load)
    judge = None if task.is_labelled("validation") else _judge(validation, soft, config, task)
    extra = nn.ModuleDict({name: part for name, part in (("live", live), ("weighting", weighting)) if part is not None})
    return Supervision(
        loss=_MixedLoss(task, recorded, soft, config, live),
        extra=extra if any(True for _ in extra.parameters()) else None,
        evaluate=judge,
        live=live,
    )


@dataclass(frozen=True)
class _MixedLoss:
    """The formula of this module's docstring."""

    task: LoadedTask
    recorded: Recorded
    soft: SoftLoss
    config: SupervisionConfig
    live: LiveTeachers | None

    def __call__(self, output: Any, batch: Batch) -> Tensor:
        weight = 1.0 if batch.targets is None else at(self.config.soft_weight, batch.way)
        temperature = at(self.config.temperature, batch.way)
        loss = weight * self.soft(output, self.recorded.of(batch), labels_of(batch.targets), temperature=temperature)
        if weight < 1:
            loss = loss + (1 - weight) * self.task.loss(output, batch.targets)
        if self.live is not None:
            loss = loss + self.live(batch)
        return loss


def _check(config: SupervisionConfig) -> None:
    for name, values, low, high in (
        ("soft_weight", config.soft_weight, 0.0, 1.0),
        ("temperature", config.temperature, 1e-3, 1e3),
    ):
        for value in values if isinstance(values, tuple) else (values,):
            if not low <= value <= high:
                raise RecipeError(f"{name} = {values}; give a number from {low:g} to {high:g}, or [first, last]")
    for loss, weight in config.losses.items():
        if not 0 <= weight < 1e6:
            raise RecipeError(f"losses: {loss} = {weight}; a weight is 0 or more")


def _validation(inputs: Mapping[str, Artifact], task: LoadedTask) -> Recorded | None:
    artifacts = _named(inputs, VALIDATION)
    return read_recorded(artifacts, views=1, seed=None, samples=len(task.splits.validation)) if artifacts else None


def _weighting(
    config: SupervisionConfig, task: LoadedTask, recorded: Recorded, validation: Recorded | None, kinds: tuple[str, ...]
) -> Weighting:
    rule = config.weighting
    if rule in CALIBRATED and set(kinds) != {"logits"}:
        raise RecipeError(
            f"weighting = {rule!r} looks at classes, the teachers give {', '.join(kinds)}; say weighting = 'mean' or 'fixed'"
        )
    if rule in BY_LABEL and not task.is_labelled("train"):
        raise RecipeError(
            f"weighting = {rule!r} looks at labels, and task {task.name!r} has none; say 'mean', 'fixed', 'confidence' or 'entropy'"
        )
    measured = temperatures(recorded, validation, task) if rule in CALIBRATED else [1.0] * len(recorded.names)
    return Weighting(
        rule,
        given=given_weights(recorded.names, config.teacher_weights, rule),
        temperatures=measured,
        classes=recorded.shapes()[0][0] if recorded.shapes()[0] else 1,
        covers=recorded.covers,
    )


def _live(
    student: nn.Module,
    inputs: Mapping[str, Artifact],
    config: SupervisionConfig,
    losses: Mapping[str, float],
    *,
    context: Context,
    load: Callable[[Artifact, LoadedTask], nn.Module],
) -> LiveTeachers | None:
    if not losses:
        return None
    networks = {
        name: hearing(load(artifact, context.task), name, context.task)
        for name, artifact in _named(inputs, NETWORK).items()
        if artifact.kind == "network"
    }
    if not networks:
        raise TaskError(
            f"losses: {', '.join(losses)} look at a teacher's layers, but no teacher's network was given; a file shows none"
        )
    return LiveTeachers(
        student, networks, losses, layers=config.layers, example=context.task.example(), seed=context.seed
    )


def _judge(
    validation: Recorded | None, soft: SoftLoss, config: SupervisionConfig, task: LoadedTask
) -> Callable[[nn.Module], Evaluation]:
    """Return a judgement by the teachers: agreement on the class, or the loss where there are none."""
    if validation is None:
        raise TaskError(
            f"task {task.name!r}: nobody labelled the validation split, and no teacher's answers on it were given"
        )

    def judge(module: nn.Module) -> Evaluation:
        loss, agreed, places = 0.0, 0, 0
        for batch, outputs in answer(module, split_batches(task, "validation")):
            teachers = on_device(validation.of(batch), outputs[0].device)
            with torch.inference_mode():
                lost = soft(outputs, teachers, None, temperature=smallest(config.temperature))
                loss += float(lost) * len(batch.index)
                right, asked = soft.agreement(outputs, teachers)
            agreed, places = agreed + right, places + asked
        loss /= len(task.splits.validation)
        return Evaluation(agreed / places, loss) if places else Evaluation(loss, loss, higher_is_better=False)

    return judge


def _named(inputs: Mapping[str, Artifact], kind: str) -> dict[str, Artifact]:
    """Return the inputs "kind:NAME" by their names, in the names' order."""
    return {name.partition(":")[2]: inputs[name] for name in sorted(inputs) if name.partition(":")[0] == kind}


def _require_labels(task: LoadedTask) -> None:
    if not task.is_labelled("train"):
        raise TaskError(
            f"task {task.name!r} has no labels, and no teacher speaks: there is nothing to learn from; give either"
        )
