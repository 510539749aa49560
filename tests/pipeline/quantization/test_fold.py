from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from pipeline.quantization.fold import fold
from pipeline.quantization.graph import calls
from pipeline.quantization.trace import trace

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own deep copy of a graph
aten = torch.ops.aten
PICTURE = (3, 12, 12)


class Calls(nn.Module):
    """Runs a function of its input and its layers."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers)


def trained(module: nn.Module, shape: tuple[int, ...] = PICTURE) -> nn.Module:
    """Move what BatchNorms hold away from where it starts."""
    torch.manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            for parameter in norm.parameters():
                nn.init.uniform_(parameter, 0.5, 1.5)
    for _ in range(3):
        module(torch.randn(16, *shape))
    return module.eval()


def folded(module: nn.Module, shape: tuple[int, ...] = PICTURE) -> fx.GraphModule:
    """Fold a trained module, and see that it answers as before, for another batch than it was traced with."""
    module = trained(module, shape)
    graph = fold(trace(module, (torch.randn(2, *shape),)))
    x = torch.randn(5, *shape)
    torch.testing.assert_close(graph(x), module(x), atol=2e-5, rtol=1e-5)
    return graph


def count(graph: fx.GraphModule, *targets: Any) -> int:
    return len(calls(graph, targets))


def operations(graph: fx.GraphModule) -> list[str]:
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


def test_a_batch_norm_goes_into_the_convolution_before_it() -> None:
    graph = folded(nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5)))

    assert operations(graph) == ["aten.conv2d.default", "aten.relu.default"]
    assert dict(graph.named_parameters()).keys() == {"0.weight", "0.bias"}


def test_a_batch_norm_goes_into_the_linear_layer_before_it() -> None:
    graph = folded(nn.Sequential(nn.Flatten(), nn.Linear(432, 8), nn.BatchNorm1d(8, affine=False)))

    assert operations(graph) == ["aten.reshape.default", "aten.linear.default"]


def test_a_batch_norm_goes_into_the_transposed_convolution_before_it() -> None:
    graph = folded(nn.Sequential(nn.ConvTranspose2d(3, 8, 3, 2, groups=1), nn.BatchNorm2d(8), nn.ReLU()))

    assert count(graph, aten.conv_transpose2d.input, aten.mul.Tensor, aten.add.Tensor) == 0
    assert count(graph, aten.conv2d.default) == 1


def test_convolution_then_relu_then_batch_norm_gives_a_depthwise_convolution() -> None:
    graph = folded(nn.Sequential(nn.Conv2d(3, 8, (5, 1)), nn.ReLU(), nn.BatchNorm2d(8)))

    assert operations(graph) == ["aten.conv2d.default", "aten.relu.default", "aten.conv2d.default"]


def test_a_batch_norm_without_a_convolution_on_a_vector_is_a_scale_and_an_offset() -> None:
    graph = folded(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(432), nn.Linear(432, 4)))

    assert operations(graph) == ["aten.reshape.default", "aten.mul.Tensor", "aten.add.Tensor", "aten.linear.default"]


def test_a_convolution_that_is_read_twice_keeps_its_weights() -> None:
    convolution, norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
    graph = folded(Calls(lambda x, c, n: n(c(x)) + c(x), convolution, norm))

    assert count(graph, aten.conv2d.default) >= 2


def test_a_pair_of_convolution_and_batch_norm_that_runs_twice_is_folded_once() -> None:
    block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))
    graph = folded(Calls(lambda x, b: b(F.relu(b(x))), block))

    assert operations(graph) == ["aten.conv2d.default", "aten.relu.default", "aten.conv2d.default"]
    assert sum(parameter.dim() == 4 for parameter in graph.parameters()) == 1


def test_one_convolution_under_two_batch_norms_gets_two_weights() -> None:
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.BatchNorm2d(8)
    graph = folded(Calls(lambda x, c, m, n: m(c(x)) + n(c(-x)), *layers))

    assert sum(parameter.dim() == 4 for parameter in graph.parameters()) == 2


def test_equal_pads_on_both_sides_go_into_the_convolution() -> None:
    graph = folded(Calls(lambda x, c: c(F.pad(x, (2, 2, 1, 1))), nn.Conv2d(3, 8, 3, padding=1)))

    assert operations(graph) == ["aten.conv2d.default"]
    assert calls(graph, {aten.conv2d.default})[0].args[4] == [2, 3]


def test_a_lopsided_pad_stays_for_the_files_to_absorb() -> None:
    graph = folded(Calls(lambda x, c: c(F.pad(x, (0, 1, 0, 1))), nn.Conv2d(3, 8, 3, 2)))

    assert count(graph, aten.pad.default, aten.constant_pad_nd.default) == 1


def test_a_pad_with_ones_is_no_padding() -> None:
    graph = folded(Calls(lambda x, c: c(F.pad(x, (1, 1, 1, 1), value=1.0)), nn.Conv2d(3, 8, 3)))

    assert count(graph, aten.pad.default, aten.constant_pad_nd.default) == 1


def test_a_factor_does_not_go_through_a_pad_with_ones() -> None:
    graph = folded(Calls(lambda x, c: F.pad(c(x), (1, 1, 1, 1), value=1.0) * 2, nn.Conv2d(3, 8, 3)))

    assert count(graph, aten.mul.Tensor) == 1


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
def test_a_factor_goes_through_a_pad_with_zeros_or_copies(mode: str) -> None:
    graph = folded(Calls(lambda x, c: F.pad(c(x), (1, 1, 1, 1), mode=mode) * 2, nn.Conv2d(3, 8, 3)))

    assert count(graph, aten.mul.Tensor) == 0


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("kernel", [2, 3, 4])
def test_same_padding_becomes_numbers(kernel: int) -> None:
    graph = folded(nn.Conv2d(3, 8, kernel, padding="same", dilation=3))

    assert count(graph, aten.conv2d.default) == 1


def test_factors_and_offsets_go_into_the_layer_before_them() -> None:
    graph = folded(Calls(lambda x, c: F.hardsigmoid(c(x) * 0.5 - 1), nn.Conv2d(3, 8, 1)))

    assert operations(graph) == ["aten.conv2d.default", "aten.clamp.default"]


def test_the_factor_of_attention_goes_through_views_into_the_projection() -> None:
    def attend(x: Tensor, q: nn.Module, k: nn.Module) -> Tensor:
        heads = [layer(x.flatten(2)).view(-1, 3, 4, 36).transpose(1, 2) for layer in (q, k)]
        return F.scaled_dot_product_attention(heads[0], heads[1], heads[1])

    graph = folded(Calls(attend, nn.Linear(144, 144), nn.Linear(144, 144)))

    assert count(graph, aten.mul.Tensor) == 0
    assert count(graph, aten.matmul.default) == 2


def test_a_negative_factor_does_not_go_through_a_maximum() -> None:
    graph = folded(Calls(lambda x, c: F.max_pool2d(c(x), 2) * -1.0, nn.Conv2d(3, 8, 3)))

    assert count(graph, aten.mul.Tensor) == 1


def test_a_clamp_goes_before_what_only_moves_numbers() -> None:
    graph = folded(Calls(lambda x, c: F.relu(c(x).flatten(2).transpose(1, 2)), nn.Conv2d(3, 8, 3)))

    assert operations(graph)[:2] == ["aten.conv2d.default", "aten.relu.default"]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra", "groups"),
    [
        (2, 2, 0, 0, 1),
        (4, 2, 1, 0, 1),
        (3, 2, 1, 1, 3),
        (3, 1, 1, 0, 1),
        (5, 3, 0, 2, 1),
        (2, 3, 0, 2, 1),
        ((3, 4), (1, 2), (0, 1), 0, 1),
    ],
)
def test_a_transposed_convolution_is_a_convolution_and_an_interleaving(
    kernel: Any, stride: Any, padding: Any, extra: int, groups: int
) -> None:
    layer = nn.ConvTranspose2d(3, 6, kernel, stride, padding, output_padding=extra, groups=groups)
    graph = folded(layer)

    assert count(graph, aten.conv_transpose2d.input) == 0


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra", "groups"), [(2, 2, 0, 0, 1), (4, 3, 1, 1, 2), (3, 1, 1, 0, 4)]
)
def test_a_transposed_convolution_over_a_row_is_one_too(
    kernel: int, stride: int, padding: int, extra: int, groups: int
) -> None:
    graph = folded(nn.ConvTranspose1d(4, 8, kernel, stride, padding, output_padding=extra, groups=groups), (4, 6))

    assert count(graph, aten.conv_transpose1d.default, aten.conv_transpose2d.input) == 0
    assert count(graph, aten.conv2d.default) == 1


@pytest.mark.parametrize(
    "pool",
    [nn.AvgPool2d(2), nn.AvgPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(4), nn.AdaptiveAvgPool2d((12, 3))],
    ids=["halves", "overlaps and pads", "adapts", "rows"],
)
def test_an_average_is_a_depthwise_convolution(pool: nn.Module) -> None:
    graph = folded(pool)

    assert operations(graph) == ["aten.conv2d.default"]
    assert list(graph.parameters()) == []  # the weights of an average are not trained


def test_an_average_that_leaves_padding_out_stays_whole() -> None:
    graph = folded(nn.AvgPool2d(3, 2, 1, count_include_pad=False))

    assert operations(graph) == ["aten.avg_pool2d.default"]


@pytest.mark.parametrize("pooling", [nn.AvgPool2d(12), nn.AvgPool2d(1280, ceil_mode=True)])
def test_a_pooling_as_large_as_its_picture_is_the_mean(pooling: nn.Module) -> None:
    graph = folded(pooling)

    assert operations(graph) == ["aten.adaptive_avg_pool2d.default"]


@pytest.mark.parametrize("dims", [(2, 3), (-1, -2), (2,), (3,)])
@pytest.mark.parametrize("keeps", [True, False])
def test_a_mean_over_the_picture_is_a_pooling(dims: tuple[int, ...], keeps: bool) -> None:  # noqa: FBT001  # a parameter of the test
    graph = folded(Calls(lambda x: x.mean(dims, keepdim=keeps)))

    assert count(graph, aten.mean.dim) == 0


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("keeps", [True, False])
def test_a_mean_over_a_sequence_is_a_pooling(dim: int, keeps: bool) -> None:  # noqa: FBT001  # a parameter of the test
    graph = folded(Calls(lambda x: x.mean(dim, keepdim=keeps)), (5, 8))

    assert count(graph, aten.mean.dim) == 0
    assert count(graph, aten.adaptive_avg_pool2d.default) == 1


def test_one_dimensional_pools_are_those_of_pictures() -> None:
    graph = folded(nn.Sequential(nn.AvgPool1d(2), nn.AdaptiveAvgPool1d(1)), (5, 8))

    assert count(graph, aten.avg_pool1d.default, aten.adaptive_avg_pool1d.default) == 0


@pytest.mark.parametrize("activation", [nn.Hardswish(), nn.SiLU(), nn.Hardsigmoid(), nn.ReLU6(), nn.Hardtanh()])
def test_activations_are_written_out_in_what_has_an_int8_form(activation: nn.Module) -> None:
    allowed = {"aten.mul.Tensor", "aten.add.Tensor", "aten.clamp.default", "aten.sigmoid.default"}

    assert set(operations(folded(activation))) <= allowed


def test_arithmetic_is_sums_and_products() -> None:
    graph = folded(Calls(lambda x: (1 - x) / 2 - x**2 + (-x)))

    assert set(operations(graph)) == {"aten.mul.Tensor", "aten.add.Tensor"}
    assert list(graph.parameters()) == []  # a number is not trained


@pytest.mark.parametrize(
    "look_up",
    [
        lambda ids: ids - 1,
        lambda ids: 20 - ids,
        lambda ids: -ids % 20,
        lambda ids: (ids * 41 / 41).long(),
        lambda _: torch.arange(5)[:, None] - torch.arange(5)[None] + 10,
    ],
    ids=["less one", "from twenty", "negative", "divided", "distances"],
)
def test_whole_numbers_stay_whole(look_up: Callable[[Tensor], Tensor]) -> None:
    module = Calls(lambda ids, table: table(look_up(ids)), nn.Embedding(20, 4))
    ids = torch.arange(1, 20)[None].repeat(2, 1)
    graph = fold(trace(module, (ids,)))

    torch.testing.assert_close(graph(ids), module(ids), atol=0, rtol=0)


def test_what_depends_on_weights_alone_is_computed_once_and_trained() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3))
    graph = folded(nn.Sequential(layer, nn.ReLU()))

    assert operations(graph) == ["aten.conv2d.default", "aten.relu.default"]
    assert len(list(graph.parameters())) == 2


def test_inplace_operations_change_nothing_else() -> None:
    def inplace(x: Tensor, c: nn.Module) -> Tensor:
        y = c(x)
        z = F.relu_(y)
        z += 1
        product: Tensor = y * z
        return product

    folded(Calls(inplace, nn.Conv2d(3, 8, 3)))


def test_folding_leaves_the_users_module_alone() -> None:
    module = trained(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    fold(trace(module, (torch.randn(2, *PICTURE),)))

    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_control_flow_on_shapes_and_settings_is_traced() -> None:
    class Loops(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleDict({f"k{k}": nn.Conv2d(3, 3, (k, 1), padding="same") for k in (3, 5)})

        def forward(self, x: Tensor) -> Tensor:
            for name, layer in self.layers.items():
                if x.shape[-1] > 4 and name != "none":
                    x = F.relu(layer(x))
            return x

    assert operations(folded(Loops())) == ["aten.conv2d.default", "aten.relu.default"] * 2
