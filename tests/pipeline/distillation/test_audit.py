import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.distillation.audit import other_preparation, over_confidence, swapped_classes, verdict
from pipeline.distillation.preparations import preparations

LABELS = torch.arange(4).repeat(50)


def logits(*, right: float = 0.9, sure: float = 3.0) -> torch.Tensor:
    """Answers [200, 4] that are right on a share of LABELS, and surer of some than of others."""
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(len(LABELS), generator=generator) > right
    said = torch.where(wrong, (LABELS + 1) % 4, LABELS)
    return sure * torch.nn.functional.one_hot(said, 4).float() + torch.randn(len(LABELS), 4, generator=generator) / 4


def test_two_swapped_classes_are_found_by_name_with_the_order_that_mends_it() -> None:
    found = swapped_classes(logits()[:, [1, 0, 2, 3]], LABELS, ("cat", "dog", "cow", "hen"))

    assert found is not None
    assert found.broken
    assert "it says 'cat' for 'dog', 'dog' for 'cat'" in found.says
    assert "give Teacher(classes=(1, 0, 2, 3))" in found.says


def test_classes_in_their_order_and_a_teacher_that_knows_nothing_are_not_called_swapped() -> None:
    assert swapped_classes(logits(), LABELS, ()) is None
    assert swapped_classes(torch.randn(200, 4, generator=torch.Generator().manual_seed(0)), LABELS, ()) is None


def test_a_loud_teacher_is_over_confident_and_a_sound_one_is_not() -> None:
    loud = over_confidence(logits(sure=30.0), LABELS)

    assert loud is not None
    assert not loud.broken
    assert "would mend it" in loud.says
    assert over_confidence(logits(), LABELS) is None


def scores(value: float, spread: float = 0.01) -> NDArray[np.float64]:
    """Resampled scores around a value: what is lucky for one is lucky for another, as the draws are the same."""
    return np.array([value, *np.random.default_rng(0).normal(value, spread, 400)])


def test_a_better_preparation_is_named_and_a_little_better_one_is_none() -> None:
    others = {"inverted values": scores(0.72), "values from 0 to 255": scores(0.95)}
    found = other_preparation(scores(0.7), others, higher_is_better=True)

    assert found is not None
    assert "scores 0.7000 on the data as it gets them, and 0.9500 on values from 0 to 255" in found.says
    assert other_preparation(scores(0.93), {"inverted values": scores(0.95)}, higher_is_better=True) is None
    assert other_preparation(scores(0.93), {}, higher_is_better=True) is None


def test_the_metric_s_own_unit_and_direction_count() -> None:
    percent = other_preparation(scores(91.2), {"inverted values": scores(91.3)}, higher_is_better=True)
    dollars = other_preparation(scores(153.2), {"inverted values": scores(153.1)}, higher_is_better=False)
    halved = other_preparation(
        scores(153.2), {"inverted values": scores(80.0), "BGR": scores(200.0)}, higher_is_better=False
    )

    assert (percent, dollars) == (None, None)
    assert halved is not None
    assert "scores 153.2000 on the data as it gets them, and 80.0000 on inverted values" in halved.says


def test_a_preparation_that_is_better_by_chance_is_not_named() -> None:
    lucky = np.array([0.9, *np.random.default_rng(1).normal(0.9, 0.3, 400)])

    assert other_preparation(scores(0.7), {"inverted values": lucky}, higher_is_better=True) is None


def bounds(low: float, value: float, high: float) -> dict[str, float]:
    return {"low": low, "value": value, "high": high}


@pytest.mark.parametrize(
    ("broken", "ahead", "gain", "word"),
    [
        (True, bounds(0.1, 0.2, 0.3), bounds(0.1, 0.2, 0.3), "broken"),
        (False, bounds(0.1, 0.2, 0.3), bounds(0.01, 0.02, 0.03), "worth learning from"),
        (False, bounds(0.1, 0.2, 0.3), bounds(-0.01, 0.02, 0.03), "no gain shown"),
        (False, bounds(-0.1, 0.0, 0.3), bounds(0.01, 0.02, 0.03), "no gain shown"),
        (False, bounds(-0.3, -0.2, -0.1), bounds(0.01, 0.02, 0.03), "weaker than the student"),
    ],
)
def test_the_verdict(broken: bool, ahead: dict[str, float], gain: dict[str, float], word: str) -> None:  # noqa: FBT001 - a row of the table
    assert verdict(broken=broken, ahead=ahead, gain=gain) == word


def test_preparations_turn_back_what_the_task_says_it_did() -> None:
    raw = torch.rand(2, 1, 4, 4)
    ways = preparations((raw - 0.2) / 0.5, {"mean": "0.2", "standard_deviation": "0.5"})

    assert torch.allclose(ways["values from 0 to 1"]((raw - 0.2) / 0.5), raw, atol=1e-6)
    assert torch.allclose(ways["values from -1 to 1"]((raw - 0.2) / 0.5), 2 * raw - 1, atol=1e-6)
    assert "MNIST's normalisation" in ways


def test_colours_have_their_order_and_what_is_no_picture_has_no_preparation() -> None:
    colours = torch.rand(2, 3, 4, 4)

    assert torch.equal(preparations(colours, {})["channels in the order BGR"](colours), colours.flip(1))
    assert preparations(torch.rand(2, 7), {}) == {}
    assert preparations(torch.rand(2, 8, 4, 4), {}) == {}
    assert preparations(torch.ones(2, 1, 4, 4, dtype=torch.int64), {}) == {}
