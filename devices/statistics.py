"""Medians, intervals and comparisons of timings, without any assumption on how timings are spread.

The unit is the process, not the sample: runs within one process share its memory layout and its luck, so their number says
nothing about how far another process would differ (Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM
2013, section 5). Medians of processes are few, skewed and often of two humps, where a percentile bootstrap is too narrow:
its 99 % interval missed the median in 6 of 100 simulated cases of five values, and still in 2 to 4 of fifteen. So intervals
are those that rest on counting alone:

- of a median, and of the median ratio of pairs: order statistics. With n values and B ~ Binomial(n, 1/2), the interval
  from the k-th smallest to the k-th largest misses the median with probability 2 P(B < k) at most (Thompson, "On
  confidence ranges for the median", Annals of Mathematical Statistics 7, 1936). Of a comparison this is the sign test,
  exact for files that took turns: of two equal files either is the faster in each pair with probability 1/2.
- of files that did not take turns: order statistics of all n m ratios, with the exact distribution of Mann and Whitney's
  U in the place of B (Hodges and Lehmann, "Estimates of location based on rank tests", Annals of Mathematical Statistics
  34, 1963).

Fewer than six values have no 95 % interval, fewer than eight pairs no 99 % one: the range stands in for it, and nothing
is concluded from it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from devices import Histogram

Verdict = Literal["faster", "slower", "no difference shown"]
INTERVAL_CONFIDENCE = 0.95
COMPARISON_CONFIDENCE = 0.99
LEAST_VALUES = 6
"""The fewest that have a 95 % interval: 2 / 2**6 < 0.05."""
LEAST_PAIRS = 8
"""The fewest that can show a difference: 2 / 2**8 < 0.01."""

BINS = 24
SHOWN_PERCENT, SHOWN_MEDIANS = 98, 2
"""What a histogram spreads out; the slowest samples, many times as slow, would press all others into one bin."""


@dataclass(frozen=True)
class Interval:
    """A value and the bounds of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """`ratio` of the first's time to the second's with its 99 % interval; "faster" means that the first is.

    That takes a whole interval below 1. `why` says why none could be shown whatever the figures are; else it is empty.
    """

    ratio: Interval
    verdict: Verdict
    interleaved: bool
    why: str = ""


def median_interval(values: Sequence[float]) -> Interval:
    """Return the median of process medians with its 95 % interval; of fewer than six, with their range."""
    ordered = np.sort(np.asarray(values, np.float64))
    rank = max(1, _rank(_binomial(len(ordered)), INTERVAL_CONFIDENCE))
    return Interval(float(np.median(ordered)), float(ordered[rank - 1]), float(ordered[-rank]))


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


def histogram(samples: Sequence[float]) -> Histogram:
    """Return how samples are spread, in BINS equal bins up to the SHOWN_PERCENT-th percentile, or SHOWN_MEDIANS times the median."""
    values = np.asarray(samples, np.float64)
    low = float(values.min())
    high = float(min(np.percentile(values, SHOWN_PERCENT), SHOWN_MEDIANS * np.median(values)))
    counts, _ = np.histogram(values[values <= high], bins=BINS, range=(low, high))
    return Histogram(low, high, tuple(int(count) for count in counts), int((values > high).sum()))


def compare(first: Sequence[float], second: Sequence[float], *, interleaved: bool) -> Comparison:
    """Compare the process medians of two files; `interleaved` says that they took turns, process by process."""
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if interleaved:
        ratios, counts = np.sort(one / other), _binomial(len(one))
    else:
        ratios, counts = np.sort((one[:, None] / other[None, :]).ravel()), _mann_whitney(len(one), len(other))
    rank = _rank(counts, COMPARISON_CONFIDENCE)
    ratio = Interval(float(np.median(ratios)), float(ratios[max(1, rank) - 1]), float(ratios[-max(1, rank)]))
    if rank == 0:
        why = f"{len(one)} processes a file show nothing with 99 % confidence; {LEAST_PAIRS} can"
        return Comparison(ratio, "no difference shown", interleaved, why)
    return Comparison(ratio, verdict_of(ratio), interleaved)


def _rank(counts: Sequence[int], confidence: float) -> int:
    """Return the largest k with 2 P(count < k) <= 1 - confidence, 0 where there is none; `counts` are of equally likely cases."""
    allowed = (1 - confidence) / 2 * sum(counts)
    below, rank = 0, 0
    while rank < len(counts) and below + counts[rank] <= allowed:
        below += counts[rank]
        rank += 1
    return rank


def _binomial(count: int) -> list[int]:
    """Return in how many of the 2^n outcomes of n fair coins there are 0, 1, ... n heads."""
    return [math.comb(count, heads) for heads in range(count + 1)]


def _mann_whitney(count: int, other: int) -> list[int]:
    """Return in how many of the orders of n and m values U is 0, 1, ... n m: the Gaussian binomial coefficient's own.

    It is the product over i = 1 ... n of (1 - q^(m + i)) / (1 - q^i), multiplied and divided term by term.
    """
    counts = [1] + [0] * (count * other)
    for step in range(1, count + 1):
        for power in range(count * other, other + step - 1, -1):
            counts[power] -= counts[power - other - step]
        for power in range(step, count * other + 1):
            counts[power] += counts[power - step]
    return counts


def verdict_of(ratio: Interval) -> Verdict:
    """Return what an interval of a ratio shows: nothing, where it holds 1."""
    if ratio.high < 1:
        return "faster"
    return "slower" if ratio.low > 1 else "no difference shown"
