"""Medians, intervals and verdicts, against cases whose answer is known."""

from collections.abc import Callable

import numpy as np
import pytest

from devices.statistics import (
    COMPARISON_CONFIDENCE,
    INTERVAL_CONFIDENCE,
    LEAST_PAIRS,
    LEAST_VALUES,
    compare,
    drift,
    histogram,
    median_interval,
    percentile,
)


@pytest.mark.parametrize(("count", "low", "high"), [(5, 1, 5), (8, 1, 8), (9, 2, 8), (12, 3, 10)])
def test_the_interval_is_bounded_by_the_values_that_counting_gives(count: int, low: int, high: int) -> None:
    interval = median_interval([float(value) for value in range(count, 0, -1)])

    assert (interval.value, interval.low, interval.high) == ((count + 1) / 2, low, high)


def test_equal_processes_give_an_interval_without_width() -> None:
    interval = median_interval([7.0] * 5)

    assert (interval.value, interval.low, interval.high) == (7.0, 7.0, 7.0)


def test_the_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    humps = random.choice([90.0, 110.0], (500, 12)) + random.normal(0, 1, (500, 12))

    intervals = [median_interval(values.tolist()) for values in humps]

    covered = np.mean([interval.low <= 100 <= interval.high for interval in intervals])
    assert covered > 0.94  # 96.1 % in theory


def test_turns_show_a_difference_that_a_drifting_machine_would_hide() -> None:
    load = np.linspace(1.0, 3.0, 8)
    slow, fast = (load * 11).tolist(), (load * 10).tolist()

    assert compare(fast, slow, interleaved=True).verdict == "faster"
    assert compare(slow, fast, interleaved=True).verdict == "slower"
    assert compare(fast, slow, interleaved=False).verdict == "no difference shown"


def test_one_disturbed_pair_of_twelve_hides_no_difference_and_two_do() -> None:
    slow = [10.0] * 12

    assert compare([9.0] * 11 + [40.0], slow, interleaved=True).verdict == "faster"
    assert compare([9.0] * 10 + [40.0] * 2, slow, interleaved=True).verdict == "no difference shown"


def test_six_values_are_the_fewest_with_an_interval_and_eight_the_fewest_with_a_verdict() -> None:
    assert 2 / 2**LEAST_VALUES <= 1 - INTERVAL_CONFIDENCE < 2 / 2 ** (LEAST_VALUES - 1)
    assert 2 / 2**LEAST_PAIRS <= 1 - COMPARISON_CONFIDENCE < 2 / 2 ** (LEAST_PAIRS - 1)


@pytest.mark.parametrize(("pairs", "shown"), [(5, False), (7, False), (8, True)])
def test_too_few_pairs_show_nothing_whatever_they_say(pairs: int, shown: object) -> None:
    comparison = compare([1.0] * pairs, [9.0] * pairs, interleaved=True)

    assert (comparison.verdict == "faster") is shown
    assert bool(comparison.why) is not shown


def test_what_did_not_take_turns_needs_all_of_one_below_most_of_the_other() -> None:
    first, second = [1.0, 1.1, 1.2, 1.3, 1.4], [2.0, 2.1, 2.2, 2.3, 2.4]

    assert compare(first, second, interleaved=False).verdict == "faster"
    assert compare([*first[:4], 2.05], second, interleaved=False).verdict == "no difference shown"


def even(random: np.random.Generator) -> np.ndarray:
    return random.normal(10, 0.1, (2, 12))


def skewed(random: np.random.Generator) -> np.ndarray:
    return 10 + random.lognormal(0, 1.5, (2, 12))


def of_two_humps(random: np.random.Generator) -> np.ndarray:
    return random.choice([10.0, 15.0], (2, 12)) + random.normal(0, 0.1, (2, 12))


def bursting(random: np.random.Generator) -> np.ndarray:
    """Both files meet a machine that is busy for some turns on end."""
    busy = np.repeat(random.choice([1.0, 3.0], 4), 3)
    return busy * random.lognormal(2.3, 0.2, (2, 12))


def drifting(random: np.random.Generator) -> np.ndarray:
    """A machine that warms up turn by turn, where files take turns in an order that reverses."""
    times = np.linspace(10, 14, 24).reshape(12, 2)
    times[1::2] = times[1::2, ::-1]
    return times.T + random.normal(0, 0.05, (2, 12))


@pytest.mark.parametrize("noise", [even, skewed, of_two_humps, bursting, drifting])
@pytest.mark.parametrize("interleaved", [True, False])
def test_two_copies_of_one_file_differ_in_one_case_of_a_hundred_at_most(
    noise: Callable[[np.random.Generator], np.ndarray], interleaved: object
) -> None:
    random = np.random.default_rng(4)
    claims = 0
    for _ in range(400):
        first, second = noise(random).tolist()
        claims += compare(first, second, interleaved=bool(interleaved)).verdict != "no difference shown"

    assert claims <= 10  # 4 expected at most, and 10 or fewer in 99.7 % of all such series


@pytest.mark.parametrize(
    ("samples", "expected"), [([10.0] * 9, 0.0), ([10.0, 10.0, 11.0, 11.0, 12.0, 12.0], 0.2), ([1.0, 2.0], 0.0)]
)
def test_drift_compares_the_last_third_with_the_first(samples: list[float], expected: float) -> None:
    assert drift(samples) == pytest.approx(expected)


def test_a_percentile_is_linear_between_samples() -> None:
    assert percentile([1.0, 2.0, 3.0], 90) == pytest.approx(2.8)


def test_a_histogram_counts_every_sample_and_leaves_the_slowest_beyond() -> None:
    samples = [*np.linspace(10, 12, 970).tolist(), *[500.0] * 30]

    found = histogram(samples)

    assert sum(found.counts) + found.beyond == len(samples)
    assert (found.low, found.beyond) == (10.0, 30)
    assert found.high < 2.1 * float(np.median(samples))


def test_a_histogram_of_equal_samples_is_one_bin() -> None:
    found = histogram([5.0] * 8)

    assert (found.low, found.high, sum(found.counts), found.beyond) == (5.0, 5.0, 8, 0)
