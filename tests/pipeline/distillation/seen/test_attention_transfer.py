import pytest
import torch

from pipeline.distillation.seen.attention_transfer import AttentionTransfer
from pipeline.errors import TaskError


def loss(student: torch.Tensor, teacher: torch.Tensor) -> float:
    return float(AttentionTransfer([("a", "b")], {"a": student}, {"b": teacher})({"a": student}, {"b": teacher}))


def test_it_sees_where_not_how_much_nor_how_many_channels() -> None:
    torch.manual_seed(0)
    student = torch.randn(3, 4, 5, 5)
    again = torch.cat([student, student], 1) * 7

    assert loss(student, again) == pytest.approx(0, abs=1e-6)


def test_two_maps_that_share_no_place_are_two_apart() -> None:
    student, teacher = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    student[0, 0, 0, 0] = teacher[0, 0, 1, 1] = 3.0

    assert loss(student, teacher) == pytest.approx(2.0)


def test_a_larger_map_is_pooled_to_the_smaller_one() -> None:
    coarse = torch.rand(2, 3, 4, 4) + 0.1

    assert loss(coarse, coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)) == pytest.approx(0, abs=1e-6)


def test_vectors_have_no_map() -> None:
    with pytest.raises(TaskError, match=r"compares maps \[N, C, H, W\], layer 'b' gives \[2, 8\]"):
        loss(torch.rand(2, 3, 4, 4), torch.rand(2, 8))
