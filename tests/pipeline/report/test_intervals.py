import numpy as np

from pipeline.report.intervals import interval, paired_drop
from pipeline.resampled import resampled_scores

RANDOM = np.random.default_rng(0)
TARGETS = RANDOM.integers(0, 10, 1000)


def accuracy(outputs: np.ndarray, targets: np.ndarray) -> float:
    return float((outputs == targets).mean())


def answers(share_right: float) -> np.ndarray:
    """Right on the first share of the samples, wrong on the rest."""
    right = np.arange(len(TARGETS)) < share_right * len(TARGETS)
    return np.where(right, TARGETS, (TARGETS + 1) % 10)


def test_the_interval_of_an_accuracy_is_about_two_binomial_standard_errors_wide() -> None:
    found = interval(resampled_scores(accuracy, answers(0.9), TARGETS), samples=1000)

    standard_error = (0.9 * 0.1 / 1000) ** 0.5
    assert found.value == 0.9
    assert abs((found.high - found.low) / 2 - 1.96 * standard_error) < 0.3 * standard_error


def test_equal_answers_hide_a_drop_of_as_many_as_three() -> None:
    scores = resampled_scores(accuracy, answers(0.9), TARGETS)

    drop = paired_drop(scores, scores, higher_is_better=True, samples=1000)

    assert (drop.value, drop.low, drop.high) == (0, -0.003, 0.003)


def test_a_gain_of_one_sample_shows_no_more_than_equal_answers() -> None:
    before, after = (resampled_scores(accuracy, answers(share), TARGETS) for share in (0.9, 0.901))

    drop = paired_drop(before, after, higher_is_better=True, samples=1000)

    assert drop.high == 0.003
    assert drop.low < -0.001


def test_a_score_that_no_sample_lowers_may_be_lower_yet() -> None:
    scores = resampled_scores(accuracy, TARGETS, TARGETS)

    assert (interval(scores, samples=1000).low, interval(scores, samples=1000).high) == (0.997, 1.0)
    assert interval(100 * scores, samples=1000).low == 100


def test_pairing_shows_a_drop_that_separate_intervals_hide() -> None:
    better, worse = (resampled_scores(accuracy, answers(share), TARGETS) for share in (0.9, 0.89))

    drop = paired_drop(better, worse, higher_is_better=True, samples=1000)

    assert interval(worse, samples=1000).high > interval(better, samples=1000).low
    assert drop.low > 0


def test_a_drop_follows_the_metrics_direction() -> None:
    better, worse = (resampled_scores(accuracy, answers(share), TARGETS) for share in (0.9, 0.8))

    assert round(paired_drop(better, worse, higher_is_better=True, samples=1000).value, 6) == 0.1
    assert round(paired_drop(worse, better, higher_is_better=False, samples=1000).value, 6) == 0.1
