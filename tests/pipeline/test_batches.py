from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.batches import (
    Evaluation,
    derive,
    evaluate,
    predict,
    split_batches,
    steps_an_epoch,
    training_batches,
    views_of,
)
from pipeline.errors import TaskError
from pipeline.task import LoadedTask, Splits
from tests.small_task import Bars, bars


def test_an_epoch_shows_every_sample_once() -> None:
    batches = list(training_batches(bars(), epoch=0, seed=0, batch_size=32))

    assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == list(range(90))


def test_batches_are_as_equal_in_size_as_they_can_be() -> None:
    task = bars(samples=65)
    sizes = [len(batch.index) for batch in training_batches(task, epoch=0, seed=0, batch_size=32)]

    assert sizes == [22, 22, 21]
    assert len(sizes) == steps_an_epoch(task, 32)


def test_a_start_in_mid_epoch_gives_the_batches_that_come_next() -> None:
    whole = list(training_batches(bars(), epoch=3, seed=1, batch_size=16, views=2))
    rest = list(training_batches(bars(), epoch=3, seed=1, batch_size=16, views=2, start=2))

    assert [batch.index.tolist() for batch in whole[2:]] == [batch.index.tolist() for batch in rest]
    assert all(torch.equal(a.inputs[0], b.inputs[0]) for a, b in zip(whole[2:], rest, strict=True))


def test_order_follows_seed_and_epoch() -> None:
    orders = [
        torch.cat([batch.index for batch in training_batches(bars(), epoch=epoch, seed=seed, batch_size=32)]).tolist()
        for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]

    assert orders[0] == orders[1]
    assert orders[0] not in orders[2:]


def test_a_sample_looks_the_same_whenever_its_view_is_shown() -> None:
    shown = {}
    for epoch in (0, 2):
        for batch in training_batches(bars(), epoch=epoch, seed=0, batch_size=32, views=2):
            for index, picture in zip(batch.index.tolist(), batch.inputs[0], strict=True):
                shown[epoch, index] = picture
    in_order = torch.cat([batch.inputs[0] for batch in split_batches(bars(), "train", view=0)])

    assert all(torch.equal(shown[0, index], shown[2, index]) for index in range(90))
    assert all(torch.equal(shown[0, index], in_order[index]) for index in range(90))


def test_views_differ_from_one_another() -> None:
    views = [next(split_batches(bars(), "train", view=view)).inputs[0] for view in (None, 0, 1, 2)]

    assert not any(torch.equal(one, other) for one, other in pairwise(views))


def test_a_task_that_alters_nothing_has_one_view() -> None:
    task = bars()

    assert views_of(task, 4) == 4
    assert views_of(LoadedTask(raw=_WithoutAugment(), root=task.root), 4) == 1


class _WithoutAugment:
    name, metric = "plain", Bars.metric
    data, student, score = Bars().data, Bars().student, Bars().score


def test_unlabelled_samples_give_batches_without_targets() -> None:
    batch = next(training_batches(bars(labelled=False), epoch=0, seed=0, batch_size=32))

    assert batch.targets is None
    assert batch.inputs[0].shape == (30, 1, 8, 8)


def test_predictions_stand_in_the_order_of_the_split() -> None:
    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((1, 2, 3))

    task = bars()
    answers = predict(Mean(), task, "validation", batch_size=7)
    expected = np.array([picture.mean() for picture, _ in (task.splits.validation[index] for index in range(40))])

    assert isinstance(answers, np.ndarray)
    np.testing.assert_allclose(answers, expected, rtol=1e-5)


def test_predicting_leaves_every_layer_in_its_own_mode() -> None:
    module = bars().student().train()
    module.get_submodule("features.1").eval()
    predict(module, bars(), "validation")

    assert module.training
    assert not module.get_submodule("features.1").training


def test_an_evaluation_joins_the_task_s_score_and_mean_loss() -> None:
    task = bars()
    module = task.student().eval()
    evaluation = evaluate(module, task)
    batch = next(split_batches(task, "validation"))
    loss = task.loss(module(*batch.inputs), batch.targets).detach()

    assert evaluation.score == task.score(predict(module, task, "validation"), task.targets("validation"))
    assert evaluation.loss == pytest.approx(float(loss), rel=1e-6)


def test_a_better_score_wins_then_a_lower_loss_then_the_later() -> None:
    first = Evaluation(0.9, 0.5)

    assert Evaluation(0.91, 0.9).is_better_than(first)
    assert Evaluation(0.9, 0.4).is_better_than(first)
    assert Evaluation(0.9, 0.5).is_better_than(first)
    assert not Evaluation(0.9, 0.6).is_better_than(first)
    assert Evaluation(0.8, 0.5, higher_is_better=False).is_better_than(Evaluation(0.9, 0.5, higher_is_better=False))


def test_scores_within_a_standard_error_are_told_apart_by_the_loss() -> None:
    lucky = Evaluation(0.991, 0.05, error=0.004)

    assert Evaluation(0.988, 0.04, error=0.004).is_better_than(lucky)
    assert not Evaluation(0.988, 0.06, error=0.004).is_better_than(lucky)
    assert not Evaluation(0.98, 0.04, error=0.004).is_better_than(lucky)


def test_the_standard_error_of_an_accuracy_is_the_binomial_one() -> None:
    class Coin(Bars):
        def data(self) -> Splits:
            splits = super().data()
            return Splits(train=splits.train, validation=self._split(3, 4000), test=splits.test)

    task = LoadedTask(raw=Coin(), root=Path(__file__).parent)
    evaluation = evaluate(task.student(), task)

    binomial = (evaluation.score * (1 - evaluation.score) / 4000) ** 0.5
    assert evaluation.error == pytest.approx(binomial, rel=0.6)  # ten parts tell a spread to within a quarter or so


def test_a_score_that_cannot_judge_parts_has_no_error() -> None:
    class Whole(Bars):
        def score(self, outputs: Any, targets: Any) -> float:
            if len(targets) < 40:
                raise ValueError("too few")
            return super().score(outputs, targets)

    task = LoadedTask(raw=Whole(), root=Path(__file__).parent)

    assert evaluate(task.student(), task).error == 0


def test_a_network_that_mixes_samples_up_is_refused() -> None:
    class Flat(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten()

    with pytest.raises(TaskError, match=r"a batch of 40 samples went in, a tensor \(2560,\) came out"):
        predict(Flat(), bars(), "validation")


def test_unlabelled_data_cannot_be_judged_by_the_task() -> None:
    with pytest.raises(TaskError, match="validation split has no targets"):
        evaluate(bars().student(), bars(labelled=False))


def test_derived_seeds_fit_every_generator_and_differ() -> None:
    seeds = [derive(0, "view", view, index) for view in range(10) for index in range(100)]

    assert all(0 <= seed < 2**32 for seed in seeds)
    assert len(set(seeds)) == 1000
