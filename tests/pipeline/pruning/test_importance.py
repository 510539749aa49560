"""Which channels are worth most, by weights and by loss."""

import pytest
import torch
from torch import Tensor, nn

from pipeline.pruning.coupling import coupled_channels
from pipeline.pruning.importance import magnitude, taylor

X = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def network_with_a_useless_channel() -> nn.Sequential:
    """Build a network whose channel 3 of 6 nobody reads, though its own weights are the largest."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 3))
    with torch.no_grad():
        network.get_parameter("0.weight")[3] *= 3
        network.get_parameter("3.weight")[:, 3] = 0
    return network


def loss(network: nn.Module) -> Tensor:
    out: Tensor = network(X).square().mean()
    return out


def test_magnitude_is_the_squared_norm_over_all_layers_of_the_group() -> None:
    network = network_with_a_useless_channel()
    groups = coupled_channels(network, (X,))

    worth = magnitude(network, groups)[0]

    first, norm, last = (network.get_parameter(name) for name in ("0.weight", "1.weight", "3.weight"))
    expected = first.square().sum((1, 2, 3)) + norm.square() + last.square().sum((0, 2, 3))
    torch.testing.assert_close(worth, (expected / expected.mean()).detach())


def test_taylor_knows_the_channel_that_the_loss_does_not_feel() -> None:
    network = network_with_a_useless_channel()
    groups = coupled_channels(network, (X,))

    worth = taylor(network, groups, losses=[loss])[0]

    assert worth.argmin() == 3
    assert worth[3] == 0
    assert magnitude(network, groups)[0].argmin() != 3


def test_taylor_is_the_first_order_change_of_the_loss() -> None:
    network = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Linear(3, 1, bias=False)).double()
    groups = coupled_channels(network, (torch.ones(1, 2).double(),))

    def scaled(share: float) -> float:
        """Return the loss when channel 0 is scaled down by a small share."""
        weight = network.get_parameter("0.weight").detach().clone()
        weight[0] *= 1 - share
        hidden = torch.ones(1, 2).double() @ weight.T
        return float((hidden @ network.get_parameter("1.weight").detach().T).sum())

    worth = taylor(network, groups, losses=[lambda judged: judged(torch.ones(1, 2).double()).sum()])[0]

    assert worth[0].item() == pytest.approx(((scaled(0) - scaled(1e-6)) / 1e-6) ** 2, rel=1e-4)


def test_taylor_leaves_gradients_statistics_and_mode_alone() -> None:
    network = network_with_a_useless_channel()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    taylor(network, coupled_channels(network, (X,)), losses=[loss, loss])

    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_taylor_without_a_loss_is_the_callers_bug() -> None:
    network = network_with_a_useless_channel()

    with pytest.raises(ValueError, match="at least one loss"):
        taylor(network, coupled_channels(network, (X,)), losses=[])
