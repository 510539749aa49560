"""Supervision: from a stage's inputs to the loss of a batch, the same in every stage that trains.

    (1 - soft_weight) * task's loss  +  soft_weight * loss against the teachers' outputs  +  hint_weight * hints

What the teachers say comes from their recorded outputs, computed once; a teacher itself runs along only for hints. Without
teachers the task's loss is all. Without labels the teachers' outputs are all, and they judge the validation split as well.

Inputs by name: "teacher_outputs:NAME" of the training split, "teacher_validation:NAME", "teacher:NAME" the network.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.artifact import Artifact
from pipeline.batches import Batch, Evaluation, answer, on_device, split_batches, views_of
from pipeline.distillation.losses import OutputLoss, discover, mixed
from pipeline.distillation.teachers import LiveHints, Recorded, read_recorded
from pipeline.errors import RecipeError, TaskError, did_you_mean
from pipeline.stage import Context, StageConfig
from pipeline.task import LoadedTask, SplitName, as_arguments

OUTPUTS, VALIDATION, NETWORK = "teacher_outputs", "teacher_validation", "teacher"
TAKES = (f"{OUTPUTS}*", f"{VALIDATION}*", f"{NETWORK}*")
"""What a supervised stage takes beside its own inputs."""


class SupervisionConfig(StageConfig):
    """How teachers are heard.

    `soft_loss` is one of `pipeline.distillation.losses`, or "auto": soft targets for classes, mean square for the rest.
    `hint_layers` are pairs [student's layer, teacher's layer]; without any they are matched by shape and depth.
    """

    soft_weight: float = Field(default=0.9, ge=0, le=1)
    temperature: float = Field(default=4.0, gt=0)
    soft_loss: str = "auto"
    hint_weight: float = Field(default=0.0, ge=0)
    hint_layers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Supervision(AbstractContextManager["Supervision"]):
    """What to train by: `loss` of a batch, `extra` to train along, `evaluate` where the task itself can't judge.

    Use it in a `with` statement, which takes its hooks off the student again.
    """

    loss: Callable[[Any, Batch], Tensor]
    extra: LiveHints | None = None
    evaluate: Callable[[nn.Module], Evaluation] | None = None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.extra is not None:
            self.extra.close()


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
    seed = context.seed if hasattr(task.raw, "augment") else None
    recorded = read_recorded(heard, views=views_of(task, views), seed=seed, samples=len(task.splits.train))
    soft = _SoftLoss(_chosen(config, task, recorded), config.temperature)
    hints = None
    if config.hint_weight:
        networks = {name: load(artifact, task) for name, artifact in _named(inputs, NETWORK).items()}
        if not networks:
            raise TaskError(
                "hint_weight is above 0, but no teacher's network was given; only a network shows its layers"
            )
        hints = LiveHints(student, networks, config.hint_layers, example=task.example(), seed=context.seed)
    judge = None if _is_labelled(task, "validation") else _judge(_named(inputs, VALIDATION), soft, task)
    return Supervision(loss=_MixedLoss(task, recorded, soft, config, hints), extra=hints, evaluate=judge)


@dataclass(frozen=True)
class _SoftLoss:
    """The loss against teachers' outputs, over all outputs that both have."""

    measure: OutputLoss
    temperature: float

    def __call__(self, output: Any, teachers: list[Tensor]) -> Tensor:
        outputs = as_arguments(output)
        if [tuple(mine.shape) for mine in outputs] != [tuple(theirs.shape[1:]) for theirs in teachers]:
            raise TaskError(
                f"the student answers a batch with {[list(mine.shape) for mine in outputs]}, its teachers with "
                f"{[list(theirs.shape[1:]) for theirs in teachers]}; give networks whose outputs have one shape"
            )
        losses = [
            self.measure(mine, theirs, weights=_equal(theirs), temperature=self.temperature)
            for mine, theirs in zip(outputs, teachers, strict=True)
        ]
        return torch.stack(losses).sum()


@dataclass(frozen=True)
class _MixedLoss:
    """The formula of this module's docstring."""

    task: LoadedTask
    recorded: Recorded
    soft: _SoftLoss
    config: SupervisionConfig
    hints: LiveHints | None

    def __call__(self, output: Any, batch: Batch) -> Tensor:
        weight = 1.0 if batch.targets is None else self.config.soft_weight
        loss = weight * self.soft(output, self.recorded.of(batch))
        if weight < 1:
            loss = loss + (1 - weight) * self.task.loss(output, batch.targets)
        if self.hints is not None:
            loss = loss + self.config.hint_weight * self.hints(batch)
        return loss


def _chosen(config: SupervisionConfig, task: LoadedTask, recorded: Recorded) -> OutputLoss:
    """Return the loss that the config names; "auto" takes whole numbers as labels for classes, and so does no loss at all."""
    known = discover()
    if config.soft_loss in known:
        return known[config.soft_loss]
    if config.soft_loss != "auto":
        raise RecipeError(
            f"soft_loss = {config.soft_loss!r}; known: auto, {', '.join(known)}{did_you_mean(config.soft_loss, known)}"
        )
    target = task.sample(task.splits.train, "train", 0)[1]
    if target is None:
        return known["mean_square" if hasattr(task.raw, "loss") else "soft_targets"]
    label = np.asarray(target)
    is_class = np.issubdtype(label.dtype, np.integer) and len(recorded.shapes()[0]) == label.ndim + 1
    return known["soft_targets" if is_class else "mean_square"]


def _judge(artifacts: Mapping[str, Artifact], soft: _SoftLoss, task: LoadedTask) -> Callable[[nn.Module], Evaluation]:
    """Return a judgement by the teachers: agreement on the class, or the mean square where there are none."""
    if not artifacts:
        raise TaskError(
            f"task {task.name!r}: nobody labelled the validation split, and no teacher's answers on it were given"
        )
    recorded = read_recorded(artifacts, views=1, seed=None, samples=len(task.splits.validation))
    classes = soft.measure is discover()["soft_targets"]

    def judge(module: nn.Module) -> Evaluation:
        loss, agreed, places = 0.0, 0, 0
        for batch, outputs in answer(module, split_batches(task, "validation")):
            teachers = on_device(recorded.of(batch), outputs[0].device)
            loss += float(soft(outputs, teachers)) * len(batch.index)
            said = mixed(teachers[0].softmax(2), _equal(teachers[0])).argmax(1) if classes else teachers[0]
            agreed += int((outputs[0].argmax(1) == said).sum()) if classes else 0
            places += said.numel()
        loss /= len(task.splits.validation)
        return Evaluation(agreed / places, loss) if classes else Evaluation(loss, loss, higher_is_better=False)

    return judge


def _equal(teachers: Tensor) -> Tensor:
    """Return equal weights [M, N] for teachers [M, N, ...]."""
    return torch.full(teachers.shape[:2], 1 / len(teachers), device=teachers.device)


def _named(inputs: Mapping[str, Artifact], kind: str) -> dict[str, Artifact]:
    """Return the inputs "kind:NAME" by their names, in the names' order."""
    return {name.partition(":")[2]: inputs[name] for name in sorted(inputs) if name.partition(":")[0] == kind}


def _is_labelled(task: LoadedTask, split: SplitName) -> bool:
    return task.sample(task.splits[split], split, 0)[1] is not None


def _require_labels(task: LoadedTask) -> None:
    if not _is_labelled(task, "train"):
        raise TaskError(
            f"task {task.name!r} has no labels, and no teacher speaks: there is nothing to learn from; give either"
        )
