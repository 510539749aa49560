"""Medians, intervals and verdicts, against cases whose answer is known."""

import numpy as np
import pytest

from devices.statistics import compare, drift, median_interval, percentile


def test_the_interval_holds_the_median_and_is_the_same_for_the_same_seed() -> None:
    medians = [10.0, 11.0, 10.5, 12.0, 10.2]

    interval = median_interval(medians, seed=3)

    assert interval.value == 10.5
    assert 10.0 <= interval.low <= 10.5 <= interval.high <= 12.0
    assert interval == median_interval(medians, seed=3)


def test_equal_processes_give_an_interval_without_width() -> None:
    interval = median_interval([7.0] * 5)

    assert (interval.value, interval.low, interval.high) == (7.0, 7.0, 7.0)


def test_the_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    intervals = [median_interval(random.normal(100, 5, 15).tolist(), seed=trial) for trial in range(200)]

    covered = np.mean([interval.low <= 100 <= interval.high for interval in intervals])

    assert covered > 0.88  # 95 % in theory; a percentile bootstrap of 15 values falls a little short


def test_turns_show_a_difference_that_a_drifting_machine_would_hide() -> None:
    load = np.array([1.0, 1.3, 1.7, 2.2, 3.0])
    slow, fast = load * 11, load * 10

    assert compare(fast.tolist(), slow.tolist(), interleaved=True).verdict == "faster"
    assert compare(slow.tolist(), fast.tolist(), interleaved=True).verdict == "slower"
    assert compare(fast.tolist(), slow.tolist(), interleaved=False).verdict == "no difference shown"


def test_the_same_file_against_itself_shows_no_difference() -> None:
    random = np.random.default_rng(1)
    a, b = random.normal(10, 1, 5).tolist(), random.normal(10, 1, 5).tolist()

    comparison = compare(a, b, interleaved=True)

    assert comparison.verdict == "no difference shown"
    assert comparison.ratio.low <= comparison.ratio.value <= comparison.ratio.high


@pytest.mark.parametrize(
    ("samples", "expected"), [([10.0] * 9, 0.0), ([10.0, 10.0, 11.0, 11.0, 12.0, 12.0], 0.2), ([1.0, 2.0], 0.0)]
)
def test_drift_compares_the_last_third_with_the_first(samples: list[float], expected: float) -> None:
    assert drift(samples) == pytest.approx(expected)


def test_a_percentile_is_linear_between_samples() -> None:
    assert percentile([1.0, 2.0, 3.0], 90) == pytest.approx(2.8)
