import pytest
import torch
from torch import nn

from pipeline.distillation.seen.hints import Hints
from pipeline.errors import TaskError


def test_adapters_size_themselves_and_close_the_gap() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 6, 5, 5), torch.randn(4, 9, 10, 10)
    hints = Hints([("a", "b")], {"a": student}, {"b": teacher})
    optimizer = torch.optim.Adam(hints.parameters(), lr=0.05)
    losses = []
    for _ in range(50):
        loss = hints({"a": student}, {"b": teacher})
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert losses[-1] < losses[0]
    assert [tuple(value.shape) for value in hints.parameters()] == [(9, 6, 1, 1)]


def test_the_hint_loss_does_not_depend_on_the_teacher_s_scale() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 7, 6), torch.randn(4, 7, 6)
    hints = Hints([("a", "b")], {"a": student}, {"b": teacher})
    nn.init.zeros_(hints.get_parameter("adapters.0.weight"))

    assert float(hints({"a": student}, {"b": teacher}).detach()) == pytest.approx(1.0)
    assert float(hints({"a": student}, {"b": teacher * 1000}).detach()) == pytest.approx(1.0)


def test_layers_of_different_kinds_cannot_be_paired() -> None:
    with pytest.raises(
        TaskError, match=r"hints of a layer that gives \[2, 3\] mean nothing to one that gives \[2, 3, 4, 4\]"
    ):
        Hints([("a", "b")], {"a": torch.randn(2, 3, 4, 4)}, {"b": torch.randn(2, 3)})
