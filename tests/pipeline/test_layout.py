import torch
from torch import Tensor, nn

from pipeline.layout import lay_out, takes_channels_last
from pipeline.networks.dscnn import dscnn
from pipeline.networks.resnet import ResNet

PICTURES = (torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0)),)


class Viewed(nn.Module):
    """Flattens by `view`, as many a network does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3), nn.Linear(8 * 26 * 26, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        out: Tensor = self.last(x.view(len(x), -1))
        return out


def test_a_network_with_channels_last_answers_the_same() -> None:
    network = dscnn().eval()
    before = network(*PICTURES)
    assert takes_channels_last(network, PICTURES)

    lay_out(network, torch.channels_last)

    assert network.get_parameter("features.6.weight").is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(network(*PICTURES), before)


def test_a_network_that_views_its_activations_is_left_alone() -> None:
    network = Viewed()

    assert not takes_channels_last(network, PICTURES)
    assert network.get_parameter("first.weight").is_contiguous()
    assert network(*PICTURES).shape == (2, 2)


def test_the_trial_leaves_statistics_alone() -> None:
    network = dscnn()

    takes_channels_last(network, PICTURES)

    assert network.get_buffer("features.1.num_batches_tracked") == 0


def test_a_network_of_few_channels_keeps_the_usual_order() -> None:
    """The backward pass of torch corrupts its memory where such a network's channels come last."""
    assert not takes_channels_last(ResNet(4, blocks=1, widths=(4, 8, 16)), PICTURES)
    assert takes_channels_last(ResNet(4, blocks=1, widths=(8, 16, 32)), PICTURES)
