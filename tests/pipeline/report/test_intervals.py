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
    found = interval(resampled_scores(accuracy, answers(0.9), TARGETS))

    standard_error = (0.9 * 0.1 / 1000) ** 0.5
    assert found.value == 0.9
    assert abs((found.high - found.low) / 2 - 1.96 * standard_error) < 0.3 * standard_error


def test_equal_answers_show_no_drop_at_all() -> None:
    scores = resampled_scores(accuracy, answers(0.9), TARGETS)

    drop = paired_drop(scores, scores, higher_is_better=True)

    assert (drop.value, drop.low, drop.high) == (0, 0, 0)


def test_pairing_shows_a_drop_that_separate_intervals_hide() -> None:
    better, worse = (resampled_scores(accuracy, answers(share), TARGETS) for share in (0.9, 0.89))

    drop = paired_drop(better, worse, higher_is_better=True)

    assert interval(worse).high > interval(better).low
    assert drop.low > 0


def test_a_drop_follows_the_metrics_direction() -> None:
    better, worse = (resampled_scores(accuracy, answers(share), TARGETS) for share in (0.9, 0.8))

    assert round(paired_drop(better, worse, higher_is_better=True).value, 6) == 0.1
    assert round(paired_drop(worse, better, higher_is_better=False).value, 6) == 0.1
