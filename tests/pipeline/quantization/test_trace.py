import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import ExportError
from pipeline.quantization.trace import trace

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own deep copy of a graph


class BranchesOnAValue(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x
        return x * 2


class TakesAnItem(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * float(x.max().item())


class GoesThroughNumpy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(np.tanh(x.detach().numpy()))


class Raises(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(7, 5)


class PinsTheBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, 3)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        (BranchesOnAValue(), "test_trace.py:14 in forward"),
        (TakesAnItem(), "test_trace.py:21 in forward"),
        (GoesThroughNumpy(), "test_trace.py:26 in forward"),
        (Raises(), "test_trace.py:31 in forward"),
    ],
)
def test_a_network_that_cannot_be_traced_is_told_its_line(
    module: nn.Module, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ExportError) as caught:
        trace(module, (torch.randn(2, 3),))

    assert line in str(caught.value)
    assert type(module).__name__ in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_network_of_one_batch_size_is_refused() -> None:
    with pytest.raises(ExportError, match="no batch of fixed size"):
        trace(PinsTheBatch(), (torch.randn(2, 3),))


def test_a_single_sample_is_example_enough_for_a_free_batch() -> None:
    graph = trace(nn.Linear(3, 2), (torch.randn(1, 3),))

    assert graph(torch.randn(7, 3)).shape == (7, 2)


def test_several_inputs_share_the_batch() -> None:
    class Adds(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    graph = trace(Adds(), (torch.randn(2, 3), torch.randn(2, 3)))

    assert graph(torch.ones(5, 3), torch.ones(5, 3)).tolist() == [[2.0] * 3] * 5
