import pytest
import torch

from pipeline.distillation.weighting import RULES, Rule, Weighting, given_weights
from pipeline.errors import RecipeError

LABELS = torch.tensor([0, 1, 2, 3])
RIGHT = 4.0 * torch.eye(4)
WRONG = 4.0 * torch.eye(4)[[1, 2, 3, 0]]
SHY = 0.4 * torch.eye(4)


def weighting(rule: Rule, *, teachers: int = 2, covers: torch.Tensor | None = None, **more: list[float]) -> Weighting:
    ones = [1.0] * teachers
    return Weighting(
        rule, given=more.get("given", ones), temperatures=more.get("temperatures", ones), classes=4, covers=covers
    )


@pytest.mark.parametrize("rule", RULES)
def test_each_sample_s_weights_add_up_to_one(rule: Rule) -> None:
    torch.manual_seed(0)
    weights = weighting(rule, teachers=3)(torch.randn(3, 4, 4), LABELS)

    assert weights.shape == (3, 4)
    assert torch.allclose(weights.sum(0), torch.ones(4))
    assert not weights.requires_grad


@pytest.mark.parametrize("rule", ["confidence", "entropy"])
def test_the_surer_teacher_is_heard_more(rule: Rule) -> None:
    sure, shy = weighting(rule)(torch.stack([RIGHT, SHY]), None)

    assert bool((sure > shy).all())


def test_loudness_alone_wins_nothing_once_it_is_calibrated() -> None:
    rule = weighting("confidence", temperatures=[1.0, 10.0])
    one, other = rule(rule.calibrated(torch.stack([RIGHT, 10 * RIGHT])), None)

    assert torch.allclose(one, other)


def test_agreement_hears_the_teacher_that_knows_the_label() -> None:
    answers = torch.stack([RIGHT, WRONG])
    answers[:, 3] = answers[[1, 0], 3]
    first = weighting("agreement")(answers, LABELS)[0]

    assert first[:3].min() > 0.9
    assert first[3] < 0.1


def test_learned_trust_finds_the_teacher_that_is_right_class_by_class() -> None:
    rule = weighting("learned")
    answers = torch.stack([RIGHT, WRONG])
    optimizer = torch.optim.AdamW(rule.parameters(), lr=4e-3)
    assert torch.allclose(rule(answers, LABELS), torch.full((2, 4), 0.5))
    for _ in range(60):
        optimizer.zero_grad()
        torch.autograd.backward(rule.loss(answers, LABELS))
        optimizer.step()

    assert rule(answers, None)[0].min() > 0.95


def test_a_teacher_has_no_weight_where_it_does_not_know_the_class() -> None:
    covers = torch.tensor([[True, True, False, False], [True, True, True, False]])
    weights = weighting("mean", covers=covers)(torch.randn(2, 4, 4), LABELS)

    assert weights.T.tolist() == [[0.5, 0.5], [0.5, 0.5], [0.0, 1.0], [0.5, 0.5]]


def test_teachers_of_pictures_are_weighed_as_a_whole() -> None:
    answers = torch.stack([RIGHT, WRONG])[..., None].expand(2, 4, 4, 6)
    weights = weighting("agreement")(answers, LABELS[:, None].expand(4, 6))

    assert weights.shape == (2, 4)
    assert weights[0].min() > 0.9


@pytest.mark.parametrize("nothing", [-100, 255])
@pytest.mark.parametrize("covers", [None, torch.tensor([[True, True, False, False], [True, True, True, True]])])
def test_where_a_label_names_no_class_all_are_heard_alike(nothing: int, covers: torch.Tensor | None) -> None:
    rule, learned = weighting("agreement", covers=covers), weighting("learned", covers=covers)
    some = LABELS.where(LABELS != 2, nothing)
    answers = torch.stack([RIGHT, WRONG])
    whole, part = (weights[:, [0, 1, 3]] for weights in (rule(answers, LABELS), rule(answers, some)))

    assert rule(answers, some)[:, 2].tolist() == [0.5, 0.5]
    assert torch.equal(whole, part)
    assert torch.allclose(learned.loss(answers, some), learned.loss(answers[:, [0, 1, 3]], LABELS[[0, 1, 3]]))


def test_fixed_weights_come_in_the_teachers_order() -> None:
    assert given_weights(["a", "b"], {"b": 3.0, "a": 1.0}, "fixed") == [1.0, 3.0]
    assert weighting("fixed", given=[1.0, 3.0])(torch.randn(2, 4, 4), None)[1].tolist() == [0.75] * 4


@pytest.mark.parametrize(
    ("weights", "rule", "said"),
    [
        ({"a": 1.0}, "mean", "say weighting = 'fixed'"),
        ({"aa": 1.0}, "fixed", "no teacher 'aa'; known: a, b"),
        ({"a": -1.0}, "fixed", "a weight of 0 or more"),
        ({}, "fixed", "one above 0"),
    ],
)
def test_weights_that_mean_nothing_are_refused(weights: dict[str, float], rule: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        given_weights(["a", "b"], weights, rule)
