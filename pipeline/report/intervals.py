"""Intervals of scores: percentiles of `pipeline.resampled`, paired where two models are compared."""

import numpy as np

from pipeline.report.model import Interval
from pipeline.resampled import bounds


def interval(scores: np.ndarray) -> Interval:
    """Return the value and the 2.5 and 97.5 percentiles of `resampled_scores`."""
    return Interval(**bounds(scores))


def paired_drop(reference: np.ndarray, scores: np.ndarray, *, higher_is_better: bool) -> Interval:
    """Return how much worse `scores` are than `reference`, both from `resampled_scores`; positive is worse."""
    return interval((reference - scores) * (1 if higher_is_better else -1))
