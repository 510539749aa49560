"""Scores of resamples: a task's score judged again on draws of its samples (the bootstrap, Efron 1979).

The score is a black box. The draws are the same for every model that is judged on one split, which pairs them.
"""

from collections.abc import Callable, Sequence
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
    return np.array([score(outputs, targets), *(score(taken(outputs, draw), taken(targets, draw)) for draw in draws)])


def bounds(scores: np.ndarray) -> dict[str, float]:
    """Return the value of `resampled_scores`, or of a difference of two, with its 2.5 and 97.5 percentiles."""
    low, high = np.percentile(scores[1:], [2.5, 97.5])
    return {"value": float(scores[0]), "low": float(low), "high": float(high)}


def stacked(targets: Sequence[Any]) -> Values:
    """Return one split's targets as an array; where a target has parts of different shapes, an array for each part."""
    first = targets[0]
    if isinstance(first, tuple | list) and len({np.shape(part) for part in first}) > 1:
        return tuple(np.stack([np.asarray(part) for part in parts]) for parts in zip(*targets, strict=True))
    return np.stack([np.asarray(target) for target in targets])


def taken(values: Values, samples: np.ndarray | slice) -> Values:
    """Return some samples of outputs or targets."""
    return tuple(value[samples] for value in values) if isinstance(values, tuple) else values[samples]
