from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.distillation.losses import ANSWERS, BY_DEFAULT, OutputLoss, Said, discover, mixed, that_fit
from pipeline.distillation.losses.cosine import cosine
from pipeline.distillation.losses.ctc import ctc
from pipeline.distillation.losses.decoupled import ALPHA, BETA, decoupled
from pipeline.distillation.losses.mean_square import mean_square
from pipeline.distillation.losses.relational import relational
from pipeline.distillation.losses.sigmoids import sigmoids
from pipeline.distillation.losses.soft_targets import soft_targets

LOSSES = discover()
BY_PLACE = ("soft_targets", "mean_square", "decoupled", "sigmoids", "cosine")


def said(answers: Tensor, *, temperature: float = 1.0, labels: Tensor | None = None) -> Said:
    """What teachers of equal weight say."""
    return Said(answers, torch.full(answers.shape[:2], 1 / len(answers)), temperature, labels)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
class TestEveryLoss:
    def test_it_is_nothing_where_the_student_answers_as_its_teacher(self, loss: OutputLoss) -> None:
        torch.manual_seed(0)
        answers = torch.randn(6, 4)

        assert float(loss(answers, said(answers[None], temperature=3.0))) == pytest.approx(0, abs=1e-5)

    def test_its_gradient_leads_to_the_teacher(self, loss: OutputLoss) -> None:
        torch.manual_seed(0)
        teachers, student = said(torch.randn(2, 6, 4), temperature=2.0), torch.randn(6, 4, requires_grad=True)
        before = loss(student, teachers)
        (gradient,) = torch.autograd.grad(before, student)

        assert float(loss(student - 0.05 * gradient, teachers).detach()) < float(before.detach())

    def test_a_teacher_without_weight_is_not_heard(self, loss: OutputLoss) -> None:
        torch.manual_seed(0)
        student, answers = torch.randn(6, 4), torch.randn(2, 6, 4)
        first_alone = torch.tensor([1.0, 0.0])[:, None].expand(2, 6)
        alone = loss(student, said(answers[:1], temperature=2.0))

        assert float(loss(student, Said(answers, first_alone, 2.0))) == pytest.approx(float(alone), rel=1e-5)

    def test_answers_of_any_size_give_a_finite_gradient(self, loss: OutputLoss) -> None:
        teachers = said(torch.tensor([[[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]]]))
        student = torch.tensor([[-1e4, 1e4, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
        (gradient,) = torch.autograd.grad(loss(student, teachers), student)

        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", BY_PLACE)
def test_pictures_of_answers_are_compared_place_by_place(name: str) -> None:
    torch.manual_seed(0)
    student, teachers = torch.randn(3, 4, 2, 5), torch.randn(2, 3, 4, 2, 5)
    whole = LOSSES[name](student, said(teachers, temperature=2.0))
    flat_student, flat_teachers = student.movedim(1, -1).reshape(30, 4), teachers.movedim(2, -1).reshape(2, 30, 4)

    assert float(whole) == pytest.approx(
        float(LOSSES[name](flat_student, said(flat_teachers, temperature=2.0))), rel=1e-5
    )


def test_every_kind_of_answer_has_losses_and_a_default_among_them() -> None:
    assert {answers: BY_DEFAULT[answers] in that_fit(answers) for answers in ANSWERS} == dict.fromkeys(ANSWERS, True)


def test_soft_targets_are_torch_s_divergence_times_the_square_of_the_temperature() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 7), torch.randn(5, 7)
    expected = 9 * F.kl_div(F.log_softmax(student / 3, 1), F.softmax(teacher / 3, 1), reduction="batchmean")

    assert float(soft_targets(student, said(teacher[None], temperature=3.0))) == pytest.approx(
        float(expected), rel=1e-5
    )


def test_several_teachers_mix_probabilities_not_logits() -> None:
    teachers = torch.tensor([[[10.0, 0.0]], [[0.0, 10.0]]])

    assert float(soft_targets(torch.zeros(1, 2), said(teachers))) == pytest.approx(0, abs=1e-6)


def test_mean_square_aims_at_the_teachers_mean() -> None:
    teachers = torch.tensor([[[1.0], [3.0]], [[3.0], [5.0]]])

    assert float(mean_square(torch.tensor([[2.0], [5.0]]), said(teachers))) == 0.5


def test_decoupled_with_its_parts_weighted_as_in_soft_targets_is_soft_targets() -> None:
    """Zhao et al., equation 6: KL = KL(b) + (1 - p_t) KL(p̂), for one sample."""
    torch.manual_seed(0)
    student, teacher, label = torch.randn(1, 5), torch.randn(1, 5), torch.tensor([2])
    p, q = F.softmax(teacher, 1)[0], F.softmax(student, 1)[0]
    pair_p, pair_q = torch.stack([p[2], 1 - p[2]]), torch.stack([q[2], 1 - q[2]])
    of_target = float((pair_p * (pair_p / pair_q).log()).sum())
    of_others = (float(soft_targets(student, said(teacher[None]))) - of_target) / float(1 - p[2])

    found = float(decoupled(student, said(teacher[None], labels=label)))

    assert found == pytest.approx(ALPHA * of_target + BETA * of_others, rel=1e-4)


def test_decoupled_takes_the_likeliest_class_where_nobody_labelled() -> None:
    torch.manual_seed(0)
    student, teachers = torch.randn(4, 5), torch.randn(1, 4, 5)
    labelled = decoupled(student, said(teachers, labels=teachers[0].argmax(1)))

    assert float(decoupled(student, said(teachers))) == pytest.approx(float(labelled))
    nobody = torch.full((len(student),), -100)
    assert float(decoupled(student, said(teachers, labels=nobody))) == pytest.approx(float(labelled))


def test_sigmoids_are_the_divergence_of_each_output_by_itself() -> None:
    student, teacher = torch.tensor([[0.3, -1.0]]), torch.tensor([[2.0, 0.5]])
    expected = [
        torch.distributions.kl_divergence(
            torch.distributions.Bernoulli(logits=t), torch.distributions.Bernoulli(logits=s)
        )
        for t, s in zip(teacher[0], student[0], strict=True)
    ]

    assert float(sigmoids(student, said(teacher[None]))) == pytest.approx(float(torch.stack(expected).mean()), rel=1e-5)


def test_cosine_leaves_the_length_free() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(5, 8)

    assert float(cosine(3 * vectors, said(vectors[None]))) == pytest.approx(0, abs=1e-6)
    assert float(cosine(-vectors, said(vectors[None]))) == pytest.approx(2, abs=1e-6)


def test_relations_survive_a_turn_a_shift_and_a_scale() -> None:
    torch.manual_seed(0)
    points = torch.randn(7, 3)
    turn, _ = torch.linalg.qr(torch.randn(3, 3))

    assert float(relational(2 * points @ turn + 5, said(points[None]))) == pytest.approx(0, abs=1e-5)
    assert float(relational(points * torch.tensor([1.0, 1.0, 3.0]), said(points[None]))) > 1e-3


def test_a_spike_that_comes_later_costs_nothing_one_that_comes_earlier_does() -> None:
    """Frames 0 to 9 are blank but for one letter."""
    spikes = {moment: torch.zeros(1, 10, 3) for moment in (1, 3, 5)}
    for moment, logits in spikes.items():
        logits[..., 0] = 20.0
        logits[0, moment] = torch.tensor([0.0, 20.0, 0.0])

    assert float(ctc(spikes[5], said(spikes[3][None]))) == pytest.approx(0, abs=1e-6)
    assert float(ctc(spikes[1], said(spikes[3][None]))) > 0.1


def test_the_further_a_letter_is_from_the_teacher_s_the_larger_the_loss_of_ctc() -> None:
    teacher = torch.zeros(1, 6, 4)
    teacher[..., 1] = 5.0
    losses = [float(ctc(share * teacher, said(teacher[None]))) for share in (1.0, 0.5, 0.0, -1.0)]

    assert all(near < far for near, far in pairwise(losses))


def test_each_sample_has_weights_of_its_own() -> None:
    values = torch.tensor([[[1.0], [1.0]], [[5.0], [5.0]]])
    weights = torch.tensor([[1.0, 0.25], [0.0, 0.75]])

    assert mixed(values, weights).tolist() == [[1.0], [4.0]]
