"""Confusions are those of the test split, counted by hand; what has no classes has none."""

import numpy as np
import pytest

from pipeline.report.confusion import _classes, _wrong


def test_the_most_frequent_mistakes_come_first_and_right_answers_are_none() -> None:
    counts = np.array([[9, 2, 0], [5, 9, 0], [0, 0, 9]])

    assert _wrong(counts, ("a", "b", "c")) == [("b", "a", 5), ("a", "b", 2)]


@pytest.mark.parametrize(
    ("answers", "targets", "are"),
    [
        (np.zeros((4, 3)), np.array([0, 1, 2, 0]), True),
        (np.zeros((4, 3)), np.array([0, 1, 3, 0]), False),
        (np.zeros((4, 3)), np.array([-1, 1, 2, 0]), False),
        (np.zeros((4, 3)), np.zeros(4, np.float32), False),
        (np.zeros((4, 1)), np.zeros(4, np.int64), False),
        (np.zeros((4, 3, 5)), np.zeros((4, 5), np.int64), False),
    ],
)
def test_answers_are_classes_where_each_target_names_one(
    answers: np.ndarray, targets: np.ndarray, *, are: bool
) -> None:
    assert _classes(answers, targets) is are
