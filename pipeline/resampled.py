"""Scores of resamples: a task's score judged again on draws of its samples (the bootstrap, Efron 1979).

The score is a black box. The draws are the same for every model that is judged on one split, which pairs them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Values = np.ndarray | tuple[np.ndarray, ...]
"""Outputs or targets [N, ...] of one split; a tuple where there are several."""
Score = Callable[[Any, Any], float]
RESAMPLES = 400


def resampled_scores(score: Score, outputs: Values, targets: Values) -> np.ndarray:
    """Return the scores of the same RESAMPLES draws of the samples, the sample itself first: [1 + RESAMPLES]."""
    random = np.random.default_rng(0)
    count = len(outputs[0]) if isinstance(outputs, tuple) else len(outputs)
    draws = random.integers(0, count, size=(RESAMPLES, count))
    return np.array([score(outputs, targets), *(score(_of(outputs, draw), _of(targets, draw)) for draw in draws)])


def bounds(scores: np.ndarray) -> dict[str, float]:
    """Return the value of `resampled_scores`, or of a difference of two, with its 2.5 and 97.5 percentiles."""
    low, high = np.percentile(scores[1:], [2.5, 97.5])
    return {"value": float(scores[0]), "low": float(low), "high": float(high)}


def _of(values: Values, draw: np.ndarray) -> Values:
    return tuple(value[draw] for value in values) if isinstance(values, tuple) else values[draw]
