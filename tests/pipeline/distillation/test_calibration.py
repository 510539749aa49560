import pytest
import torch

from pipeline.distillation.calibration import COLDEST, HOTTEST, calibration_error, class_rows, temperature_of


def honest(samples: int = 20_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels drawn by the very probabilities that they stand for."""
    torch.manual_seed(0)
    logits = 2 * torch.randn(samples, 5)
    return logits, torch.multinomial(logits.softmax(1), 1)[:, 0]


@pytest.mark.parametrize("loudness", [0.4, 1.0, 5.0])
def test_the_temperature_undoes_what_made_a_network_too_sure_or_too_shy(loudness: float) -> None:
    logits, labels = honest()

    assert temperature_of(loudness * logits, labels) == pytest.approx(loudness, rel=0.05)


def test_an_honest_network_has_no_calibration_error_a_loud_one_has() -> None:
    logits, labels = honest()

    assert calibration_error(logits, labels) < 0.02
    assert calibration_error(5 * logits, labels) > 0.1


def test_a_network_that_is_always_right_or_always_wrong_ends_at_a_bound() -> None:
    logits = torch.eye(4) * 3

    assert temperature_of(logits, torch.arange(4)) == pytest.approx(COLDEST, rel=0.01)
    assert temperature_of(logits, torch.tensor([1, 2, 3, 0])) == pytest.approx(HOTTEST, rel=0.01)


def test_places_become_rows() -> None:
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    rows, right = class_rows(logits, labels)

    assert rows.shape == (40, 3)
    assert torch.equal(rows[7], logits[0, :, 1, 2])
    assert right[7] == labels[0, 1, 2]


def test_places_whose_label_names_no_class_are_left_out() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, -100, 2, 255, 1])
    rows, right = class_rows(logits, labels)

    assert torch.equal(rows, logits[[0, 2, 4]])
    assert right.tolist() == [0, 2, 1]
