import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import ExportError
from pipeline.quantization.freeze import Prepared, calibrate, freeze, prepare
from pipeline.quantization.ranges import METHODS, Method
from pipeline.quantization.rules import Rules

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own deep copy of a graph
SAMPLES, LENGTH, WIDTH = 64, 6, 8
Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Masked(nn.Module):
    """Attention over x [N, 6, 8] by a function of queries, keys, values and mask [N, 6], 1 where a key is visible."""

    def __init__(self, attend: Attend) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.output = nn.Linear(WIDTH, 4)
        self.attend = attend

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (4 * layer(x) for layer in self.projections)
        answer: Tensor = self.output(self.attend(q, k, v, mask).mean(1))
        return answer


def scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(1, 2) / math.sqrt(WIDTH)


def hidden(mask: Tensor) -> Tensor:
    return (mask < 0.5)[:, None, :]


CAUSAL = torch.full((LENGTH, LENGTH), -math.inf).triu(1)
LOWEST = torch.finfo(torch.float32).min
WAYS: dict[str, Attend] = {
    "booleans": lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=~hidden(m)),
    "numbers": lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=(1 - m)[:, None, :] * -1e4),
    "filled with -inf": lambda q, k, v, m: scores(q, k).masked_fill(hidden(m), -math.inf).softmax(-1) @ v,
    "filled with a tensor": lambda q, k, v, m: scores(q, k).masked_fill(hidden(m), torch.tensor(-1e9)).softmax(-1) @ v,
    "chosen": lambda q, k, v, m: torch.where(hidden(m), torch.tensor(-1e9), scores(q, k)).softmax(-1) @ v,
    "added": lambda q, k, v, m: (scores(q, k) + (1 - m)[:, None, :] * -1e4).softmax(-1) @ v,
    "added, far below": lambda q, k, v, m: (scores(q, k) + (1 - m)[:, None] * LOWEST).softmax(-1) @ v,
    "a constant": lambda q, k, v, _: (scores(q, k) + CAUSAL).softmax(-1) @ v,
}


def attention(attend: Attend) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a network, and inputs whose last keys are hidden."""
    torch.manual_seed(0)
    network, x = Masked(attend).eval(), torch.randn(SAMPLES, LENGTH, WIDTH)
    return network, x, (torch.arange(LENGTH)[None] < torch.randint(3, 7, (SAMPLES, 1))).float()


def prepared_with(network: nn.Module, ranges: Method, *inputs: Tensor) -> Prepared:
    prepared = prepare(network, tuple(x[:2] for x in inputs), Rules(), ranges=ranges)
    calibrate(prepared, [inputs])
    return prepared


@pytest.mark.parametrize("way", WAYS)
def test_a_mask_leaves_int8_room_for_the_scores(way: str) -> None:
    network, x, mask = attention(WAYS[way])
    wanted, found = network(x, mask).detach(), freeze(prepared_with(network, "moving", x, mask))(x, mask).detach()

    assert float((found - wanted).norm() / wanted.norm()) < 0.1  # what hides by -10,000 in eight bits is off by 0.7


@pytest.mark.parametrize("ranges", METHODS)
def test_what_is_hidden_by_minus_infinity_trains(ranges: Method) -> None:
    network, x, mask = attention(WAYS["filled with -inf"])
    prepared = prepared_with(network, ranges, x, mask).train()
    torch.autograd.backward(prepared(x, mask).square().mean())

    assert all(bool(value.grad.isfinite().all()) for value in prepared.parameters() if value.grad is not None)


def test_a_mask_that_hides_less_is_left_alone() -> None:
    network, x, mask = attention(lambda q, k, v, m: (scores(q, k) + (1 - m)[:, None, :] * -16).softmax(-1) @ v)
    graph = prepared_with(network, "moving", x, mask).graph

    assert "aten.clamp.default" not in {str(node.target) for node in graph.graph.nodes}


@pytest.mark.parametrize("ranges", METHODS)
def test_a_range_without_end_is_refused_in_one_line(ranges: Method) -> None:
    network, x, mask = attention(lambda q, k, v, m: (scores(q, k) + m[:, None, :]).softmax(-1) @ v)

    with pytest.raises(ExportError, match=r"no scale for 'mask'.*not all finite; hide by -24") as caught:
        prepared_with(network, ranges, x, mask.log())
    assert "\n" not in str(caught.value)
