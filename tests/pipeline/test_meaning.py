import pytest
import torch

from pipeline.errors import TaskError
from pipeline.meaning import UNKNOWN, Meaning


def test_outputs_are_recorded_as_they_come_where_nobody_says_more() -> None:
    output = torch.randn(3, 4)

    assert torch.equal(torch.from_numpy(Meaning().recorded([output], ())[0]), output)
    assert Meaning().facts(1) == {}


def test_probabilities_become_logits_that_give_the_same_probabilities() -> None:
    probabilities = torch.tensor([[0.7, 0.3, 0.0], [0.2, 0.2, 0.6]])
    meaning = Meaning(answers=("probabilities",))
    logits = torch.from_numpy(meaning.recorded([probabilities], ())[0])

    assert torch.allclose(logits.softmax(1), probabilities, atol=1e-6)
    assert meaning.facts(1) == {"answers": ["logits"]}


def test_sigmoids_are_turned_back() -> None:
    before = torch.tensor([[-3.0, 0.0, 2.0]])
    meaning = Meaning(answers=("sigmoid_probabilities",))

    assert torch.allclose(torch.from_numpy(meaning.recorded([before.sigmoid()], ())[0]), before, atol=1e-5)
    assert meaning.facts(1) == {"answers": ["sigmoids"]}


def test_a_teacher_of_some_classes_stands_among_all_of_them() -> None:
    meaning = Meaning(classes=(3, 1), class_count=5)
    [whole] = meaning.recorded([torch.tensor([[1.0, 2.0]])], ())

    assert whole.tolist() == [[UNKNOWN, 2.0, UNKNOWN, 1.0, UNKNOWN]]
    assert meaning.facts(1) == {"classes": [3, 1]}


def test_outputs_are_chosen_by_name_or_by_number_in_the_order_asked_for() -> None:
    given = [torch.zeros(1, 2), torch.ones(1, 3), torch.ones(1, 4)]
    chosen = Meaning(outputs=("logits", 0)).recorded(given, ("features", "embedding", "logits"))

    assert [array.shape for array in chosen] == [(1, 4), (1, 2)]


@pytest.mark.parametrize(
    ("meaning", "said"),
    [
        (Meaning(answers=("probabilities",), who="a"), r"answers = 'probabilities', but numbers from -2 to 3 came out"),
        (
            Meaning(outputs=("logit",), who="a"),
            r"teacher 'a' has no output 'logit'; it has logits; did you mean 'logits'\?",
        ),
        (Meaning(outputs=(1,), who="a"), "teacher 'a' has no output 1; it has logits"),
        (Meaning(classes=(0, 1, 2), class_count=4, who="a"), r"gives \[2\] a sample, and classes names 3"),
        (Meaning(answers=("logits", "values"), who="a"), "gives 1 outputs, and answers names 2"),
    ],
)
def test_what_does_not_fit_is_told(meaning: Meaning, said: str) -> None:
    with pytest.raises(TaskError, match=said):
        meaning.recorded([torch.tensor([[-2.0, 3.0]])], ("logits",))


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_one_number_is_no_choice_of_classes(kind: str) -> None:
    with pytest.raises(TaskError, match=rf"teacher 'a': answers = '{kind}', but \[1\] a sample are no classes"):
        Meaning(answers=(kind,), who="a").recorded([torch.ones(2, 1)], ())
