import pytest
import torch
from torch.nn import functional as F

from pipeline.distillation.losses import OutputLoss, discover, mixed
from pipeline.distillation.losses.mean_square import mean_square
from pipeline.distillation.losses.soft_targets import soft_targets

LOSSES = discover()


def equal(teachers: torch.Tensor) -> torch.Tensor:
    return torch.full(teachers.shape[:2], 1 / len(teachers))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
class TestEveryLoss:
    def test_it_is_nothing_where_the_student_answers_as_its_teacher(self, loss: OutputLoss) -> None:
        answers = torch.randn(6, 4)

        assert float(loss(answers, answers[None], weights=torch.ones(1, 6), temperature=3.0)) == pytest.approx(
            0, abs=1e-5
        )

    def test_its_gradient_leads_to_the_teacher(self, loss: OutputLoss) -> None:
        torch.manual_seed(0)
        teachers = torch.randn(2, 6, 4)
        student = torch.zeros(6, 4, requires_grad=True)
        before = loss(student, teachers, weights=equal(teachers), temperature=2.0)
        (gradient,) = torch.autograd.grad(before, student)
        after = loss(student - 0.1 * gradient, teachers, weights=equal(teachers), temperature=2.0)

        assert float(after.detach()) < float(before.detach())

    def test_pictures_of_answers_are_compared_place_by_place(self, loss: OutputLoss) -> None:
        torch.manual_seed(0)
        student, teachers = torch.randn(3, 4, 2, 5), torch.randn(2, 3, 4, 2, 5)
        whole = loss(student, teachers, weights=equal(teachers), temperature=2.0)
        flat_student, flat_teachers = student.movedim(1, -1).reshape(30, 4), teachers.movedim(2, -1).reshape(2, 30, 4)
        flat = loss(flat_student, flat_teachers, weights=equal(flat_teachers), temperature=2.0)

        assert float(whole) == pytest.approx(float(flat), rel=1e-5)

    def test_a_teacher_without_weight_is_not_heard(self, loss: OutputLoss) -> None:
        torch.manual_seed(0)
        student, teachers = torch.randn(6, 4), torch.randn(2, 6, 4)
        weights = torch.tensor([1.0, 0.0])[:, None].expand(2, 6)
        alone = loss(student, teachers[:1], weights=torch.ones(1, 6), temperature=2.0)

        assert float(loss(student, teachers, weights=weights, temperature=2.0)) == pytest.approx(float(alone), rel=1e-6)

    def test_logits_of_any_size_give_a_finite_gradient(self, loss: OutputLoss) -> None:
        teachers = torch.tensor([[[1e4, -1e4, 0.0]]])
        student = torch.tensor([[-1e4, 1e4, 0.0]], requires_grad=True)
        (gradient,) = torch.autograd.grad(loss(student, teachers, weights=torch.ones(1, 1), temperature=1.0), student)

        assert torch.isfinite(gradient).all()


def test_soft_targets_are_torch_s_divergence_times_the_square_of_the_temperature() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 7), torch.randn(5, 7)
    expected = 9 * F.kl_div(F.log_softmax(student / 3, 1), F.softmax(teacher / 3, 1), reduction="batchmean")
    found = soft_targets(student, teacher[None], weights=torch.ones(1, 5), temperature=3.0)

    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_several_teachers_mix_probabilities_not_logits() -> None:
    teachers = torch.tensor([[[10.0, 0.0]], [[0.0, 10.0]]])
    even = torch.zeros(1, 2)

    assert float(soft_targets(even, teachers, weights=equal(teachers), temperature=1.0)) == pytest.approx(0, abs=1e-6)


def test_mean_square_aims_at_the_teachers_mean() -> None:
    teachers = torch.tensor([[[1.0], [3.0]], [[3.0], [5.0]]])

    assert float(mean_square(torch.tensor([[2.0], [5.0]]), teachers, weights=equal(teachers), temperature=1.0)) == 0.5


def test_each_sample_has_weights_of_its_own() -> None:
    values = torch.tensor([[[1.0], [1.0]], [[5.0], [5.0]]])
    weights = torch.tensor([[1.0, 0.25], [0.0, 0.75]])

    assert mixed(values, weights).tolist() == [[1.0], [4.0]]
