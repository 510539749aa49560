"""Intervals of scores: percentiles of `pipeline.resampled`, paired where two models are compared.

Resamples can't show what no sample shows. Where a score is a share of the samples (it lies within 0 and 1) and no resample moves it one way, the
interval reaches further that way by what may hide from so many: 3 / N, the rule of three (Hanley and Lippman-Hand, JAMA 249, 1983).
"""

import numpy as np

from pipeline.report.model import Interval
from pipeline.resampled import bounds

MAY_HIDE = 3.0


def interval(scores: np.ndarray, *, samples: int) -> Interval:
    """Return the value and the 2.5 and 97.5 percentiles of `resampled_scores` of so many samples."""
    found = Interval(**bounds(scores))
    if not _are_shares(scores) or scores.min() < scores.max():
        return found
    hidden = MAY_HIDE / samples
    return Interval(value=found.value, low=max(0.0, found.value - hidden), high=min(1.0, found.value + hidden))


def paired_drop(reference: np.ndarray, scores: np.ndarray, *, higher_is_better: bool, samples: int) -> Interval:
    """Return how much worse `scores` are than `reference`, both from `resampled_scores`; positive is worse."""
    better, worse = (reference, scores) if higher_is_better else (scores, reference)
    return paired_difference(better, worse, samples=samples)


def paired_difference(scores: np.ndarray, others: np.ndarray, *, samples: int) -> Interval:
    """Return by how much `scores` are above `others`, both from `resampled_scores`."""
    above = scores - others
    found = Interval(**bounds(above))
    if not _are_shares(scores) or not _are_shares(others):
        return found
    hidden = min(1.0, MAY_HIDE / samples)
    low = found.low - hidden if above.min() >= 0 else found.low
    high = found.high + hidden if above.max() <= 0 else found.high
    return Interval(value=found.value, low=low, high=high)


def _are_shares(scores: np.ndarray) -> bool:
    return bool(scores.min() >= 0 and scores.max() <= 1)
