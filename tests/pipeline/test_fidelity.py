"""When the largest output counts as a decision: for classes it must be the same one, for embeddings it means nothing."""

from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from pipeline.fidelity import _decides
from pipeline.task import LoadedTask
from pipeline.task_file import wrap_task
from tests.small_task import Bars


class Labelled(Bars):
    """Bars whose targets are something else than a class."""

    def __init__(self, target: Any) -> None:
        super().__init__()
        self.target = target

    def _split(self, seed: int, count: int) -> list[Any]:
        return [(picture, self.target) for picture, _ in super()._split(seed, count)]


class Regression(Bars):
    """Bars without labels, with a loss of its own."""

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.mse_loss(output, target)


def decides(raw: Bars) -> bool:
    task: LoadedTask = wrap_task(raw)
    return _decides(task, np.zeros((40, 4), np.float32))


def test_classes_are_decisions_with_labels_and_without() -> None:
    assert decides(Bars())
    assert decides(Bars(labelled=False))


@pytest.mark.parametrize(
    "target", [np.zeros(4, np.float32), np.float32(0.5), np.zeros(4, np.int64)], ids=["embedding", "value", "truths"]
)
def test_what_is_no_class_is_no_decision(target: Any) -> None:
    assert not decides(Labelled(target))


def test_without_labels_a_loss_of_ones_own_says_that_there_are_no_classes() -> None:
    assert not decides(Regression(labelled=False))
    assert decides(Regression())
