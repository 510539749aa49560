import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.quantization.agree import STEP, STEPS, agree
from pipeline.quantization.freeze import calibrate, prepare
from pipeline.quantization.kernels import Grid, product_table, sum_table
from pipeline.quantization.rules import Rules

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own deep copy of a graph


class SumsAndProducts(nn.Module):
    """A residual, a gate and a mean, one on the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = F.relu(x + self.second(x))
        gated: torch.Tensor = x * torch.sigmoid(x.mean((2, 3), keepdim=True)) + x
        return gated


def test_a_scale_that_makes_ties_is_moved_until_both_runtimes_agree() -> None:
    torch.manual_seed(0)
    prepared = prepare(SumsAndProducts().eval(), (torch.randn(2, 3, 4, 4),), Rules())
    calibrate(prepared, [(torch.randn(32, 3, 4, 4),)])
    prepared.set_phase("frozen")
    quantizers = [q for q in prepared.quantizers() if type(q).__name__ == "ActivationFakeQuantize"]
    for quantizer in quantizers:  # equal scales everywhere: half of all sums of four end on a tie
        quantizer.scale, quantizer.zero_point = torch.tensor(1 / 64), torch.tensor(3, dtype=torch.int32)
    before = [float(quantizer.scale) for quantizer in quantizers]
    left = agree(prepared.graph)
    after = [float(quantizer.scale) for quantizer in quantizers]

    assert left == 0
    assert before != after
    assert all(one <= other <= one * (1 + STEP * STEPS) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("table", [sum_table, product_table])
def test_the_runtimes_do_part_on_some_scales(table: object) -> None:
    assert callable(table)
    grids = Grid(0.5, 3, -128, 127), Grid(0.5, -5, -128, 127), Grid(1.0, 1, -128, 127)
    one, other = (table(*grids, runtime=runtime) for runtime in ("litert", "onnxruntime"))

    assert not torch.equal(one.to(torch.int32), other.to(torch.int32))


def test_scales_that_agree_stay_as_they_are() -> None:
    torch.manual_seed(0)
    prepared = prepare(SumsAndProducts().eval(), (torch.randn(2, 3, 4, 4),), Rules())
    calibrate(prepared, [(torch.randn(32, 3, 4, 4),)])
    prepared.set_phase("frozen")
    agree(prepared.graph)
    before = {name: value.clone() for name, value in prepared.state_dict().items()}
    agree(prepared.graph)

    assert all(torch.equal(before[name], value) for name, value in prepared.state_dict().items())
