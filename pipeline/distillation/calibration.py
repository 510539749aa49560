"""Calibration: the temperature at which a classifier is as sure as it is right.

Guo et al. 2017, "On Calibration of Modern Neural Networks" (https://arxiv.org/abs/1706.04599), section 4.2: one number T that
minimises the negative log-likelihood of labels under softmax(z / T). The likelihood is convex in 1 / T, so a golden-section
search finds it.

Letters: N samples, K classes.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of the search: a network outside of them is not miscalibrated but broken."""
STEPS = 40
"""Each narrows the bracket, of 6 in the logarithm, to 0.618 of its width: 3e-8 at the end."""


def temperature_of(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature that mends logits [N, K] for labels [N], between COLDEST and HOTTEST.

    Above 1 the network was too sure, below 1 not sure enough.
    """
    logits, labels = logits.double(), labels.long()

    def likelihood(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / math.exp(log_temperature), labels))

    return math.exp(_lowest(likelihood, math.log(COLDEST), math.log(HOTTEST)))


def are_classes(targets: Any, shape: tuple[int, ...]) -> bool:
    """Tell whether targets [N, ...] name classes of answers whose shape is [N, K, ...]."""
    return (
        isinstance(targets, np.ndarray)
        and np.issubdtype(targets.dtype, np.integer)
        and shape[1:2] > (1,)
        and targets.shape == (shape[0], *shape[2:])
    )


def is_class(labels: Tensor, count: int) -> Tensor:
    """Tell which labels name one of so many classes; the others, as -100 (cross_entropy's ignore_index), stand where there is nothing to name."""
    return (labels >= 0) & (labels < count)


def calibration_error(logits: Tensor, labels: Tensor, *, bins: int = 15) -> float:
    """Return the expected calibration error of logits [N, K] for labels [N], 0 to 1, over `bins` of equal width.

    Naeini et al. 2015, as Guo et al. write it in section 2: the mean distance between how sure the network is and how often it is right.
    """
    from torchmetrics.functional.classification import multiclass_calibration_error  # noqa: PLC0415  # seconds to import

    probabilities = F.softmax(logits.float(), 1)
    return float(
        multiclass_calibration_error(probabilities, labels.long(), num_classes=logits.shape[1], n_bins=bins, norm="l1")
    )


def _lowest(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function with one valley is lowest (golden-section search, Kiefer 1953)."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (low + high) / 2


def class_rows(answers: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits [N, K, ...] and labels [N, ...] as rows: [P, K] and [P], one for each place of each sample whose label names a class."""
    rows, right = torch.as_tensor(answers).movedim(1, -1).flatten(0, -2), torch.as_tensor(labels).flatten()
    known = is_class(right, rows.shape[1])
    return rows[known], right[known]
