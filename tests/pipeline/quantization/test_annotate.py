from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from pipeline.errors import ExportError
from pipeline.quantization.freeze import Prepared, calibrate, freeze, freeze_ranges, prepare
from pipeline.quantization.graph import calls
from pipeline.quantization.ranges import METHODS, Method
from pipeline.quantization.rules import Rules

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own deep copy of a graph
PICTURE = (3, 8, 8)
quantized = torch.ops.quantized_decomposed


class Calls(nn.Module):
    """Runs a function of its input and its layers, which it names by number."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers)


def calibrated(module: nn.Module, rules: Rules | None = None, shape: tuple[int, ...] = PICTURE) -> Prepared:
    torch.manual_seed(0)
    prepared = prepare(module, (torch.randn(2, *shape),), rules or Rules())
    calibrate(prepared, [(torch.randn(16, *shape),)])
    freeze_ranges(prepared)
    return prepared.eval()


def scales(frozen: fx.GraphModule) -> list[float]:
    """Return the scale of each activation, in the order in which they are computed."""
    return [float(node.args[1]) for node in calls(frozen, {quantized.quantize_per_tensor.default})]  # type: ignore[arg-type]  # a number


def names(prepared: Prepared) -> set[tuple[str, str]]:
    return {(layer.name, layer.operation) for layer in prepared.float_layers}


def test_a_chain_of_moves_has_one_scale_from_end_to_end() -> None:
    def move(x: Tensor, c: nn.Module, head: nn.Module) -> Tensor:
        x = F.max_pool2d(c(x), 2).flatten(2).reshape(-1, 4, 3, 3).permute(0, 2, 3, 1)
        x = x.unsqueeze(1).squeeze(1)[:, :2].select(1, 0).transpose(1, 2)
        a, b = torch.split(x, 2, 1)
        result: Tensor = head(torch.cat([b, a], 1).reshape(-1, 12))
        return result

    frozen = freeze(calibrated(Calls(move, nn.Conv2d(3, 4, 3), nn.Linear(12, 2))))
    found = scales(frozen)

    assert len(found) > 10
    assert len(set(found[1:-1])) == 1  # all but the input's and the output's


def test_what_is_joined_shares_one_scale() -> None:
    layers = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
    frozen = freeze(calibrated(Calls(lambda x, a, b: torch.cat([a(x), 5 * b(x)], 1), *layers)))

    assert len(set(scales(frozen)[1:])) == 1


def join_one_wide(x: Tensor, *layers: nn.Module) -> Tensor:
    return torch.cat([layer(x) * factor for layer, factor in zip(layers, (1, 0.01, 0.01, 0.01), strict=True)], 1)


def split_one_wide(x: Tensor, layer: nn.Module, head: nn.Module) -> Tensor:
    a, b, c = (layer(x) * torch.tensor([1.0] * 4 + [0.05] * 8)).split(4, -1)
    answer: Tensor = head(F.relu(a) + b * c)
    return answer


@pytest.mark.parametrize("ranges", METHODS)
@pytest.mark.parametrize(
    "module",
    [
        Calls(join_one_wide, *(nn.Linear(8, 4) for _ in range(4))),
        Calls(split_one_wide, nn.Linear(8, 12), nn.Linear(4, 4)),
    ],
    ids=["joined", "split"],
)
def test_a_shared_range_covers_each_of_its_tensors(module: nn.Module, ranges: Method) -> None:
    torch.manual_seed(0)
    x = torch.randn(200, 8)
    prepared = prepare(module, (x[:2],), Rules(), ranges=ranges)
    calibrate(prepared, [(x,)])
    wanted, found = module(x).detach(), freeze(prepared)(x).detach()

    assert float((found - wanted).norm() / wanted.norm()) < 0.02


def test_a_bound_scale_changes_where_it_is_joined_with_another() -> None:
    layers = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
    join = Calls(lambda x, a, b: torch.cat([torch.sigmoid(a(x)), 9 * b(x)], 1), *layers)
    found = scales(freeze(calibrated(join)))

    assert 1 / 256 in found
    assert found[-1] > 1 / 256
    assert found[-1] == found[-2]


def test_softmax_sigmoid_and_tanh_have_the_scales_that_the_kernels_demand() -> None:
    layers = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
    heads = Calls(lambda x, a, b, c: (a(x).softmax(-1) + b(x).sigmoid()) * c(x).tanh(), *layers)
    found = scales(freeze(calibrated(heads, shape=(8,))))

    assert found.count(1 / 256) == 2
    assert found.count(1 / 128) == 1


def test_a_clamp_is_fused_with_its_layer_and_dropped_where_saturation_does_it() -> None:
    frozen = freeze(calibrated(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU6())))

    assert len(scales(frozen)) == 3
    assert len(calls(frozen, {torch.ops.aten.relu.default, torch.ops.aten.clamp.default})) == 0


def test_weights_have_a_scale_a_channel_and_never_the_lowest_code() -> None:
    frozen = freeze(calibrated(nn.Conv2d(3, 4, 3)))
    (node,) = calls(frozen, {quantized.quantize_per_channel.default})

    assert node.args[3:6] == (0, -127, 127)


def test_seven_bit_weights_stay_within_63() -> None:
    frozen = freeze(calibrated(nn.Conv2d(3, 4, 3), Rules(weight_bits=7)))
    (node,) = calls(frozen, {quantized.quantize_per_channel.default})

    assert node.args[3:6] == (0, -63, 63)


def test_what_has_no_int8_form_is_named_with_its_reason() -> None:
    prepared = calibrated(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.GELU(), nn.Conv2d(4, 4, 1), nn.Tanh(), nn.GroupNorm(2, 4))
    )
    by_name = {layer.name: layer for layer in prepared.float_layers}

    assert names(prepared) == {("1", "gelu"), ("3", "tanh"), ("4", "group_norm")}
    assert by_name["1"].formats == ("onnx", "tflite")
    assert by_name["3"].formats == ("onnx",)
    assert by_name["1"].reason == "no int8 form"


def test_a_layer_stays_in_float_at_the_users_wish() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()), nn.Conv2d(4, 4, 1))
    prepared = calibrated(module, Rules(float_layers=("1",)))

    assert names(prepared) == {("1.0", "conv2d"), ("1.1", "relu")}
    assert all(layer.wished for layer in prepared.float_layers)
    assert len(calls(freeze(prepared), {quantized.quantize_per_channel.default})) == 2


def test_a_wish_for_a_layer_that_is_not_there_is_refused() -> None:
    network = nn.Sequential()
    network.add_module("head", nn.Conv2d(3, 4, 1))
    with pytest.raises(ExportError, match=r"no layer 'hed'.*did you mean 'head'"):
        calibrated(network, Rules(float_layers=("hed",)))


def test_the_promise_of_whole_int8_is_kept_or_refused_with_the_way_out() -> None:
    with pytest.raises(ExportError, match=r'1 \(gelu: no int8 form\).*float_layers = \["1"\]'):
        calibrated(nn.Sequential(nn.Conv2d(3, 4, 1), nn.GELU()), Rules(whole_int8=True))


def test_a_convolution_whose_weight_is_computed_stays_in_float() -> None:
    dynamic = Calls(lambda x, c: F.conv2d(x, c(x).mean((0, 2, 3)).reshape(1, 3, 1, 1)), nn.Conv2d(3, 3, 1))
    prepared = calibrated(dynamic)

    assert "its weight is computed from the input" in {layer.reason for layer in prepared.float_layers}
