"""What every built-in network promises."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from pipeline.architecture import macs_of, parameters_of
from pipeline.networks.dscnn import dscnn
from pipeline.networks.mobilenet import mobilenet
from pipeline.networks.resnet import resnet8, resnet20

BUILDERS = (resnet8, resnet20, dscnn, mobilenet)


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("side", [28, 33, 96])
def test_network_answers_one_row_of_logits_a_picture(build: Callable[..., nn.Module], side: int) -> None:
    logits = build(7, in_channels=3).eval()(torch.zeros(2, 3, side, side))

    assert logits.shape == (2, 7)


@pytest.mark.parametrize("build", BUILDERS)
def test_every_parameter_of_a_network_learns(build: Callable[..., nn.Module]) -> None:
    network = build()
    loss = torch.nn.functional.cross_entropy(network(torch.randn(4, 1, 28, 28)), torch.arange(4))
    torch.autograd.backward(loss)

    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_resnet20_on_colour_pictures_is_as_large_as_the_paper_says() -> None:
    network = resnet20(in_channels=3)

    # He et al. 2016, table 6: 0.27 million parameters; its shortcuts have none, ours add two 1x1 convolutions
    assert round(parameters_of(network) / 1e6, 2) == 0.27
    # 9 * (32^2 * (3*16 + 6*16*16) + 16^2 * (16*32 + 5*32*32) + 8^2 * (32*64 + 5*64*64)) + 10*64 and the shortcuts
    convolutions = 9 * (1024 * (3 * 16 + 6 * 256) + 256 * (512 + 5 * 1024) + 64 * (2048 + 5 * 4096))
    assert convolutions + 256 * 512 + 64 * 2048 + 640 == macs_of(network, (torch.zeros(1, 3, 32, 32),))


@pytest.mark.parametrize(("build", "layers"), [(resnet8, 8), (resnet20, 20)])
def test_resnet_has_as_many_layers_as_its_name_says(build: Callable[..., nn.Module], layers: int) -> None:
    weighted = [name for name, part in build().named_modules() if isinstance(part, nn.Conv2d | nn.Linear)]

    assert len([name for name in weighted if "shortcut" not in name]) == layers


def test_widths_of_a_resnet_are_the_callers() -> None:
    network = resnet8(widths=(8, 24, 40))

    assert network(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    assert network.classifier.in_features == 40
