"""Scores of resamples: a task's score judged again on draws of its samples (the bootstrap, Efron 1979).

The score is a black box. The draws are the same for every model that is judged on one split, which pairs them.
"""

from collections.abc import Callable

import numpy as np

Score = Callable[[np.ndarray, np.ndarray], float]
RESAMPLES = 400


def resampled_scores(score: Score, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the scores of the same RESAMPLES draws of the samples, the sample itself first: [1 + RESAMPLES]."""
    random = np.random.default_rng(0)
    draws = random.integers(0, len(outputs), size=(RESAMPLES, len(outputs)))
    return np.array([score(outputs, targets), *(score(outputs[draw], targets[draw]) for draw in draws)])


def bounds(scores: np.ndarray) -> dict[str, float]:
    """Return the value of `resampled_scores`, or of a difference of two, with its 2.5 and 97.5 percentiles."""
    low, high = np.percentile(scores[1:], [2.5, 97.5])
    return {"value": float(scores[0]), "low": float(low), "high": float(high)}
