import pytest
import torch
from torch import Tensor, nn

from pipeline.distillation.features import Taps, features_of, match_layers
from pipeline.errors import TaskError
from pipeline.networks.dscnn import dscnn
from pipeline.networks.resnet import resnet8, resnet20

PICTURE = (torch.randn(2, 1, 28, 28),)


class Sequence(nn.Module):
    """A small transformer-like stack: [N, T, D] through two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(3, width)
        self.mix = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.mix(self.embed(x)).mean(1)
        return pooled


def test_layers_are_matched_by_size_the_last_of_each() -> None:
    pairs = match_layers(resnet8(), resnet20(), PICTURE)

    assert pairs == (
        ("stages.0", "stages.0"),
        ("stages.1", "stages.1"),
        ("stages", "stages"),
    )


def test_a_network_of_one_size_is_matched_there() -> None:
    assert match_layers(dscnn(), resnet20(), PICTURE) == (("features", "stages.1"),)


def test_sequences_are_matched_by_their_length() -> None:
    assert match_layers(Sequence(4), Sequence(8), (torch.randn(2, 5, 3),)) == (("mix", "mix"),)


def test_networks_without_a_common_size_have_no_pairs() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

    assert match_layers(flat, resnet20(), PICTURE) == ()


def test_taps_leave_no_hook_behind() -> None:
    network = resnet8()
    with Taps(network, ["stages.0"]) as taps:
        network(*PICTURE)
        assert taps.features["stages.0"].shape == (2, 16, 28, 28)

    assert all(not module._forward_hooks for module in network.modules())


def test_looking_at_features_changes_nothing() -> None:
    network = resnet8().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    features_of(network, ["stages"], PICTURE)

    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_an_unknown_layer_is_named_with_the_nearest() -> None:
    with pytest.raises(TaskError, match=r"ResNet has no layer 'stage.0'; did you mean 'stages.0'\?"):
        Taps(resnet8(), ["stage.0"])
