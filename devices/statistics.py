"""Medians, intervals and comparisons of timings.

The unit of resampling is the process, not the sample: runs within one process share its memory layout and its luck, so
their number says nothing about how far another process would differ (Kalibera and Jones, "Rigorous benchmarking in
reasonable time", ISMM 2013, section 5). Intervals are percentile bootstraps (Efron and Tibshirani, "An introduction to
the bootstrap", 1993, chapter 13) of the median, seeded. They are coarse with five processes, and honestly so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

RESAMPLES = 2000
Verdict = Literal["faster", "slower", "no difference shown"]


@dataclass(frozen=True)
class Interval:
    """A value and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """`ratio` of the first's time to the second's; "faster" means that the first is, with its whole interval below 1."""

    ratio: Interval
    verdict: Verdict
    interleaved: bool


def median_interval(values: Sequence[float], *, seed: int = 0) -> Interval:
    """Return the median of process medians with its bootstrap interval."""
    data = np.asarray(values, np.float64)
    return _interval(float(np.median(data)), np.median(_resampled(data, seed), axis=1))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile, linear between samples."""
    return float(np.percentile(np.asarray(values, np.float64), percent))


def drift(samples: Sequence[float]) -> float:
    """Return how much larger the median of the last third is than that of the first: 0.02 for 2 %."""
    third = len(samples) // 3
    if third == 0:
        return 0.0
    first, last = np.median(samples[:third]), np.median(samples[-third:])
    return float(last / first - 1)


def compare(first: Sequence[float], second: Sequence[float], *, interleaved: bool, seed: int = 0) -> Comparison:
    """Compare the process medians of two files; `interleaved` says that they took turns, process by process."""
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if interleaved:
        ratios = one / other
        interval = _interval(float(np.median(ratios)), np.median(_resampled(ratios, seed), axis=1))
    else:
        resampled = np.median(_resampled(one, seed), axis=1) / np.median(_resampled(other, seed + 1), axis=1)
        interval = _interval(float(np.median(one) / np.median(other)), resampled)
    return Comparison(interval, _verdict(interval), interleaved)


def _resampled(data: np.ndarray, seed: int) -> np.ndarray:
    """Return RESAMPLES draws with replacement, [RESAMPLES, len(data)]."""
    return np.random.default_rng(seed).choice(data, (RESAMPLES, len(data)))


def _interval(value: float, resampled: np.ndarray) -> Interval:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def _verdict(ratio: Interval) -> Verdict:
    if ratio.high < 1:
        return "faster"
    return "slower" if ratio.low > 1 else "no difference shown"
