"""Intervals of scores: the percentile bootstrap over test samples (Efron 1979), paired where two models are compared.

A task's score is a black box, so it is judged again on each resample; the resamples are the same for every model of a
report, which pairs them.
"""

from collections.abc import Callable

import numpy as np

from pipeline.report.model import Interval

Score = Callable[[np.ndarray, np.ndarray], float]
RESAMPLES = 400


def resampled_scores(score: Score, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the scores of the same RESAMPLES draws of the samples, the sample itself first: [1 + RESAMPLES]."""
    random = np.random.default_rng(0)
    draws = random.integers(0, len(outputs), size=(RESAMPLES, len(outputs)))
    return np.array([score(outputs, targets), *(score(outputs[draw], targets[draw]) for draw in draws)])


def interval(scores: np.ndarray) -> Interval:
    """Return the value and the 2.5 and 97.5 percentiles of `resampled_scores`."""
    low, high = np.percentile(scores[1:], [2.5, 97.5])
    return Interval(value=float(scores[0]), low=float(low), high=float(high))


def paired_drop(reference: np.ndarray, scores: np.ndarray, *, higher_is_better: bool) -> Interval:
    """Return how much worse `scores` are than `reference`, both from `resampled_scores`; positive is worse."""
    return interval((reference - scores) * (1 if higher_is_better else -1))
