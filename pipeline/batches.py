"""Batches of a task's data, and what a network answers on them.

Which samples stand in a batch, and how each is altered, follows from (seed, epoch) and from (seed, view, sample) alone, never
from how often a generator was called. So a killed run continues in mid-epoch with the very batch that came next, and what a teacher
says about view v of a sample can be computed once: the student will see exactly that picture again.

An epoch's batches are as equal in size as they can be: no sample is left out, and none stands alone before a BatchNorm.
Samples are fetched by plain indexing, in this process.

Letters: N samples.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import TaskError
from pipeline.recorded_outputs import Answers
from pipeline.resampled import Values, taken
from pipeline.task import LoadedTask, SplitName, as_arguments

PREDICT_BATCH = 250
CALIBRATION_BATCH = 64
FOLDS = 10


@dataclass(frozen=True)
class Batch:
    """`inputs` are the network's arguments, `index` [N] int64 says which samples of the split they are.

    `targets` are as the task collates them, or None where nobody labelled them; `view` says how the samples are altered,
    `way` how much of the training is done, 0 to 1.
    """

    inputs: tuple[Tensor, ...]
    targets: Any | None
    index: Tensor
    view: int
    way: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """How good a network is on a split: the score in the metric's direction, the mean loss, the score's standard error."""

    score: float
    loss: float
    higher_is_better: bool = True
    error: float = 0.0

    def is_better_than(self, other: "Evaluation | None") -> bool:
        """Tell whether this one is better.

        Scores within one standard error of each other say nothing, so there the lower loss is better: on 750 samples a lucky
        epoch at a high learning rate is three samples ahead of the last one. Of two equal ones the later is.
        """
        if other is None:
            return True
        gain = (self.score - other.score) * (1.0 if self.higher_is_better else -1.0)
        if abs(gain) > max(self.error, other.error):
            return gain > 0
        return self.loss <= other.loss


def derive(seed: int, *parts: str | int) -> int:
    """Return a seed of 32 bits that follows from another seed and from what it is for."""
    text = "/".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def views_of(task: LoadedTask, views: int) -> int:
    """Return how many views of its data a task has: 1 where it alters nothing, else as many as asked (0: one an epoch)."""
    return views if hasattr(task.raw, "augment") else 1


def steps_an_epoch(task: LoadedTask, batch_size: int) -> int:
    """Return the number of batches in one epoch of training."""
    return math.ceil(len(task.splits.train) / batch_size)


def training_batches(
    task: LoadedTask, *, epoch: int, seed: int, batch_size: int, views: int = 0, start: int = 0
) -> Iterator[Batch]:
    """Give one epoch's batches in the order of (seed, epoch), from batch number `start` on.

    View number `epoch % views` of each sample is shown; with `views` = 0 each epoch shows a view of its own.
    """
    generator = torch.Generator().manual_seed(derive(seed, "order", epoch))
    order = torch.randperm(len(task.splits.train), generator=generator)
    shown = views_of(task, views)
    view = epoch % shown if shown else epoch
    for index in order.tensor_split(steps_an_epoch(task, batch_size))[start:]:
        yield _batch(task, "train", index, view=view, seed=seed)


def split_batches(
    task: LoadedTask,
    split: SplitName,
    *,
    batch_size: int = PREDICT_BATCH,
    view: int | None = None,
    seed: int = 0,
    start: int = 0,
) -> Iterator[Batch]:
    """Give a split's batches in order from number `start` on: its samples as they are, or one view of them."""
    count = len(task.splits[split])
    for first in range(start * batch_size, count, batch_size):
        index = torch.arange(first, min(first + batch_size, count))
        yield _batch(task, split, index, view=view, seed=seed)


def first_inputs(task: LoadedTask, split: SplitName, samples: int) -> Iterator[tuple[Tensor, ...]]:
    """Give the inputs of a split's first samples as they are, in batches of at most CALIBRATION_BATCH: what ranges are found on."""
    seen = 0
    for batch in split_batches(task, split, batch_size=min(CALIBRATION_BATCH, samples)):
        if seen >= samples:
            return
        seen += len(batch.index)
        yield batch.inputs


def predict(
    module: nn.Module,
    task: LoadedTask,
    split: SplitName,
    *,
    batch_size: int = PREDICT_BATCH,
    view: int | None = None,
    seed: int = 0,
) -> Answers:
    """Return what a network answers on a split, in eval mode, as `task.score` takes it."""
    batches = split_batches(task, split, batch_size=batch_size, view=view, seed=seed)
    outputs = [answers for _, answers in answer(module, batches)]
    arrays = tuple(
        np.concatenate([part.float().cpu().numpy() for part in parts]) for parts in zip(*outputs, strict=True)
    )
    return arrays if len(arrays) > 1 else arrays[0]


def evaluate(module: nn.Module, task: LoadedTask, split: SplitName = "validation") -> Evaluation:
    """Judge a network on a labelled split by the task's own score and loss."""
    targets = task.targets(split)
    if targets is None:
        raise TaskError(
            f"task {task.name!r}: the {split} split has no targets to judge by; label it, or give the teacher's outputs on it"
        )
    arrays: list[list[NDArray[np.float32]]] = []
    loss = 0.0
    for batch, outputs in answer(module, split_batches(task, split)):
        with torch.inference_mode():
            mean = task.loss(one_or_all(outputs), on_device(batch.targets, outputs[0].device))
        loss += float(mean) * len(batch.index)
        arrays.append([part.float().cpu().numpy() for part in outputs])
    joined = tuple(np.concatenate(parts) for parts in zip(*arrays, strict=True))
    said = joined if len(joined) > 1 else joined[0]
    score, error = task.score(said, targets), _standard_error(said, targets, task)
    return Evaluation(score, loss / len(task.splits[split]), higher_is_better=task.metric.higher_is_better, error=error)


def _standard_error(outputs: Values, targets: Values, task: LoadedTask) -> float:
    """Return a score's standard error from its spread over disjoint parts; 0 where parts are too small to be judged."""
    count = len(outputs[0]) if isinstance(outputs, tuple) else len(outputs)
    if count < 2 * FOLDS:
        return 0.0
    parts = [np.arange(first, count, FOLDS) for first in range(FOLDS)]
    try:
        scores = [task.score(taken(outputs, part), taken(targets, part)) for part in parts]
    except TaskError:
        return 0.0
    return float(np.std(scores, ddof=1) / math.sqrt(FOLDS))


def answer(module: nn.Module, batches: Iterable[Batch]) -> Iterator[tuple[Batch, tuple[Tensor, ...]]]:
    """Give each batch with the network's outputs [N, ...] on it, in eval mode.

    A plain module's modes come back, each layer's its own; a traced program stays in eval mode, where it has modes at all.
    """
    modes = [(part, part.training) for part in module.modules()]
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    with suppress(NotImplementedError):  # what torch.export's program says when it has only one mode
        module.eval()
    try:
        for batch in batches:
            with torch.inference_mode():
                outputs = as_arguments(module(*on_device(batch.inputs, device)))
            _check(outputs, len(batch.index))
            yield batch, outputs
    finally:
        for part, was_training in modes:
            part.training = was_training


def on_device(value: Any, device: torch.device) -> Any:
    """Return tensors, and tuples, lists and dicts of them, on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple | list):
        return type(value)(on_device(item, device) for item in value)
    if isinstance(value, dict):
        return {key: on_device(item, device) for key, item in value.items()}
    return value


def one_or_all(outputs: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    """Return a network's only output, or all of them."""
    return outputs if len(outputs) > 1 else outputs[0]


def _batch(task: LoadedTask, split: SplitName, index: Tensor, *, view: int | None, seed: int) -> Batch:
    samples = [task.sample(task.splits[split], split, number) for number in index.tolist()]
    if view is not None:
        numbers = index.tolist()
        samples = [
            task.augment(sample, derive(seed, "view", view, number))
            for sample, number in zip(samples, numbers, strict=True)
        ]
    unlabelled = sum(target is None for _, target in samples)
    if 0 < unlabelled < len(samples):
        raise TaskError(
            f"task {task.name!r}: the {split} split has samples with and without a target; label all of it or nothing"
        )
    has_targets = unlabelled == 0
    inputs, targets = task.collate(samples if has_targets else [(inputs, 0) for inputs, _ in samples])
    return Batch(as_arguments(inputs), targets if has_targets else None, index, view or 0)


def _check(outputs: tuple[Any, ...], count: int) -> None:
    for output in outputs:
        if not isinstance(output, Tensor) or output.ndim == 0 or len(output) != count:
            found = f"a tensor {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
            raise TaskError(
                f"a batch of {count} samples went in, {found} came out; a network must give tensors [{count}, ...]"
            )
