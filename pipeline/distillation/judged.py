"""Judged: one teacher on the validation split, as the audit tells of it.

Letters: N samples, K classes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.architecture import load_network, macs_of, parameters_of
from pipeline.artifact import Artifact
from pipeline.batches import answer, split_batches
from pipeline.distillation.audit import Finding, agreement, other_preparation, over_confidence, swapped_classes
from pipeline.distillation.calibration import are_classes, calibration_error, class_rows, temperature_of
from pipeline.distillation.preparations import preparations
from pipeline.file_networks import file_network
from pipeline.meaning import meaning_of
from pipeline.recorded_outputs import Answers
from pipeline.resampled import Values, resampled_scores, taken
from pipeline.task import LoadedTask

Scores = NDArray[np.float64]
PREPARED_SAMPLES = 500
"""So many samples of the validation split are prepared otherwise; one of them is a fifth of a point."""


def findings(name: str, model: Artifact, answers: Answers, task: LoadedTask) -> Iterator[Finding]:
    """Give what is to be known of a teacher by its recorded answers on the validation split."""
    targets = task.targets("validation")
    assert targets is not None
    logits = class_logits(answers, targets)
    if logits is not None:
        labels = torch.as_tensor(targets)
        found = (swapped_classes(logits, labels, task.labels), over_confidence(logits, labels))
        yield from (finding for finding in found if finding)
    now, others = _otherwise(name, model, task)
    finding = other_preparation(now, others, higher_is_better=task.metric.higher_is_better)
    if finding:
        yield finding


def calibration(answers: Answers, targets: Values) -> dict[str, float]:
    """Return the expected calibration error and the temperature that mends it; nothing where there are no classes."""
    logits = class_logits(answers, targets)
    if logits is None:
        return {}
    rows, right = class_rows(logits, torch.as_tensor(targets))
    return {"calibration_error": calibration_error(rows, right), "temperature": temperature_of(rows, right)}


def agreements(said: Mapping[str, Answers], targets: Values) -> dict[str, float]:
    """Return by "a, b" how often two teachers name the same class; nothing where there are no classes."""
    logits = {name: class_logits(answers, targets) for name, answers in said.items()}
    pairs = [(one, other) for one, other in combinations(logits.items(), 2)]
    return {
        f"{one}, {other}": agreement(mine, theirs)
        for (one, mine), (other, theirs) in pairs
        if mine is not None and theirs is not None
    }


def size_against(model: Artifact, student: nn.Module, task: LoadedTask) -> dict[str, float | None]:
    """Return how many times the student's parameters and multiply-accumulates a teacher has; None where its file doesn't tell."""
    own = {"parameters": parameters_of(student), "macs": macs_of(student, task.example())}
    return {
        f"{what}_ratio": None if model.facts.get(what) is None else model.facts[what] / max(1, count)
        for what, count in own.items()
    }


def _otherwise(name: str, model: Artifact, task: LoadedTask) -> tuple[Scores, dict[str, Scores]]:
    """Return a teacher's resampled scores on the data as it gets them, and by preparation as it might."""
    batch = next(iter(split_batches(task, "validation", batch_size=PREPARED_SAMPLES)))
    ways = preparations(batch.inputs[0], task.preprocessing) if len(batch.inputs) == 1 else {}
    if not ways:
        return np.zeros(0), {}
    network = file_network(model) if model.kind in ("onnx", "tflite", "keras") else load_network(model, task)
    targets = task.targets("validation")
    assert targets is not None

    def scores(inputs: tuple[Tensor, ...]) -> Scores:
        [(_, outputs)] = answer(network, [replace(batch, inputs=inputs)])
        said = meaning_of(name, task).recorded(outputs, getattr(network, "outputs", ()))
        return resampled_scores(
            task.score, tuple(said) if len(said) > 1 else said[0], taken(targets, slice(len(batch.index)))
        )

    shown = task.heard(name, batch.inputs)
    pictures = {way: prepare(batch.inputs[0]).float() for way, prepare in ways.items()}
    return scores(shown), {
        way: scores((value,))
        for way, value in pictures.items()
        if len(shown) == 1 and value.shape == shown[0].shape and not torch.allclose(value, shown[0], atol=1e-3)
    }


def class_logits(answers: Answers, targets: Values) -> Tensor | None:
    """Return answers [N, K, ...] whose classes targets [N, ...] name; None where they name none."""
    if isinstance(answers, tuple) or not are_classes(targets, answers.shape):
        return None
    return torch.as_tensor(np.array(answers))
