import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.errors import ModelError
from pipeline.networks.dscnn import dscnn
from pipeline.quantization.freeze import (
    DESCRIPTION,
    WEIGHTS,
    Prepared,
    calibrate,
    freeze,
    freeze_ranges,
    graph_digest,
    load_quantized,
    prepare,
    save_quantized,
)
from pipeline.quantization.ranges import METHODS, Method
from pipeline.quantization.rules import Rules
from tests.small_task import Net

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own deep copy of a graph
SHAPE = (1, 8, 8)


def prepared_net(*, ranges: Method = "moving", network: nn.Module | None = None) -> Prepared:
    torch.manual_seed(0)
    prepared = prepare(network or Net().eval(), (torch.randn(2, *SHAPE),), Rules(), ranges=ranges)
    calibrate(prepared, [(torch.randn(32, *SHAPE),) for _ in range(3)])
    return prepared


class Recurrent(nn.Module):
    """A GRU, whose first state the graph makes itself, and a softmax in float32 whatever the precision."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 8, num_layers=2, dropout=0.5, batch_first=True)
        self.classifier = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.gru(x.squeeze(1))[0][:, -1].float().softmax(1))
        return logits


def test_a_traced_network_trains_at_another_precision() -> None:
    prepared = prepared_net(network=Recurrent().eval()).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = prepared(torch.randn(4, *SHAPE)).sum()
    torch.autograd.backward(loss)

    assert all(value.grad is not None for value in prepared.parameters())


def test_a_traced_network_moves_with_what_its_graph_makes_and_comes_back_the_same() -> None:
    prepared = prepared_net(network=Recurrent().eval())
    before = graph_digest(prepared.graph)
    prepared.to("meta")
    places = {node.kwargs["device"] for node in prepared.graph.graph.nodes if "device" in node.kwargs}
    [gru] = [node for node in prepared.graph.graph.nodes if node.target is torch.ops.aten.gru.input]

    assert places == {torch.device("meta")}
    assert gru.args[5:7] == (0.0, True)  # as cuDNN wants it for a gradient
    assert graph_digest(prepared.to_empty(device="cpu").graph) == before


@pytest.mark.parametrize("ranges", METHODS)
def test_the_frozen_program_answers_exactly_as_the_prepared_one(ranges: Method) -> None:
    prepared = prepared_net(ranges=ranges)
    freeze_ranges(prepared)
    x = torch.randn(200, *SHAPE)

    assert torch.equal(prepared.eval()(x), freeze(prepared)(x))


def test_training_through_the_rounding_lowers_the_loss_and_freezes_exactly() -> None:
    prepared = prepared_net().train()
    x, y = torch.randn(64, *SHAPE), torch.randint(0, 4, (64,))
    optimizer = torch.optim.AdamW(prepared.parameters(), lr=3e-3)
    losses = []
    for step in range(40):
        if step == 30:
            freeze_ranges(prepared)
        loss = F.cross_entropy(prepared(x), y)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))

    assert losses[-1] < losses[0] * 0.95
    assert torch.equal(prepared.eval()(x), freeze(prepared)(x))


def test_rounding_costs_little_after_calibration() -> None:
    network = Net().eval()
    prepared = prepared_net(network=network)
    x = torch.randn(200, *SHAPE)
    exact = network(x).detach()

    assert float((prepared.eval()(x).detach() - exact).abs().max()) < 0.08 * float(exact.abs().max())


def test_judging_moves_no_range() -> None:
    prepared = prepared_net().eval()
    before = {name: value.clone() for name, value in prepared.state_dict().items()}
    prepared(torch.randn(50, *SHAPE) * 10)

    assert all(torch.equal(before[name], value) for name, value in prepared.state_dict().items())


def test_training_moves_a_moving_range_until_it_is_frozen() -> None:
    prepared = prepared_net().train()
    name = next(name for name in prepared.state_dict() if name.endswith("range.high"))
    before = prepared.state_dict()[name].clone()
    prepared(torch.randn(50, *SHAPE) * 10)
    moved = prepared.state_dict()[name].clone()
    freeze_ranges(prepared)
    prepared.train()(torch.randn(50, *SHAPE) * 100)

    assert float(moved) > float(before)
    assert torch.equal(moved, prepared.state_dict()[name])


def test_a_saved_network_is_the_same_program_again(tmp_path: Path) -> None:
    network = Net().eval()
    prepared = prepared_net(network=network)
    freeze_ranges(prepared)
    save_quantized(prepared, tmp_path)
    again = load_quantized(tmp_path, network, (torch.randn(1, *SHAPE),))
    x = torch.randn(100, *SHAPE)

    assert torch.equal(freeze(prepared)(x), freeze(again)(x))
    assert str(freeze(prepared).graph) == str(freeze(again).graph)


ANSWER = """
import sys
from pathlib import Path
import torch
from pipeline.quantization.freeze import freeze, load_quantized
from safetensors.torch import load_file, save_file
from tests.small_task import Net
folder = Path(sys.argv[1])
network = Net().eval()
network.load_state_dict(load_file(folder / "network.safetensors"))
x = load_file(folder / "x.safetensors")["x"]
torch.set_num_threads(1)
save_file({"y": freeze(load_quantized(folder, network, (x[:2],)))(x).contiguous()}, folder / "y.safetensors")
"""


def test_a_saved_network_gives_equal_bits_in_a_new_process(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    network = Net().eval()
    prepared = prepared_net(network=network)
    freeze_ranges(prepared)
    save_quantized(prepared, tmp_path)
    x = torch.randn(100, *SHAPE)
    save_file(network.state_dict(), tmp_path / "network.safetensors")
    save_file({"x": x}, tmp_path / "x.safetensors")
    command = [sys.executable, "-c", ANSWER, str(tmp_path)]
    finished = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)

    assert finished.returncode == 0, finished.stderr[-2000:]
    assert torch.equal(freeze(prepared)(x), load_file(tmp_path / "y.safetensors")["y"])


def test_a_saved_network_holds_no_pickle_and_no_path(tmp_path: Path) -> None:
    save_quantized(prepared_net(), tmp_path)
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert {path.name for path in tmp_path.iterdir()} == {WEIGHTS, DESCRIPTION}
    assert str(Path(__file__).parents[3]).encode() not in content
    assert not (tmp_path / WEIGHTS).read_bytes().startswith((b"\x80", b"PK"))


def test_saved_numbers_of_another_network_are_refused(tmp_path: Path) -> None:
    save_quantized(prepared_net(), tmp_path)
    with pytest.raises(ModelError, match="another network"):
        load_quantized(tmp_path, dscnn().eval(), (torch.randn(2, 1, 28, 28),))


def test_saved_numbers_with_a_tensor_missing_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_quantized(prepared_net(), tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    save_file(dict(list(tensors.items())[1:]), tmp_path / WEIGHTS)

    with pytest.raises(ModelError, match="does not hold this network's tensors"):
        load_quantized(tmp_path, Net().eval(), (torch.randn(2, *SHAPE),))


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "{" * 100_000, '{"schema": 2, "rules": {}, "ranges": "moving", "graph": ""}', "null"]
)
def test_a_broken_description_is_refused(tmp_path: Path, text: str) -> None:
    save_quantized(prepared_net(), tmp_path)
    (tmp_path / DESCRIPTION).write_text(text, encoding="utf-8")

    with pytest.raises(ModelError, match=DESCRIPTION):
        load_quantized(tmp_path, Net().eval(), (torch.randn(2, *SHAPE),))


def test_an_unknown_range_method_is_refused(tmp_path: Path) -> None:
    save_quantized(prepared_net(), tmp_path)
    description = json.loads((tmp_path / DESCRIPTION).read_text(encoding="utf-8"))
    (tmp_path / DESCRIPTION).write_text(json.dumps(description | {"ranges": "best"}), encoding="utf-8")

    with pytest.raises(ModelError, match="best"):
        load_quantized(tmp_path, Net().eval(), (torch.randn(2, *SHAPE),))


@pytest.mark.parametrize("content", [b"", b"\x80\x04garbage", b"\xff" * 64])
def test_broken_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    save_quantized(prepared_net(), tmp_path)
    (tmp_path / WEIGHTS).write_bytes(content)

    with pytest.raises(ModelError, match=WEIGHTS):
        load_quantized(tmp_path, Net().eval(), (torch.randn(2, *SHAPE),))


def test_a_dead_channel_does_not_overflow_its_bias() -> None:
    network = nn.Conv2d(1, 4, 1)
    with torch.no_grad():
        network.weight[1] = 0
        network.weight[2] *= 1e-12
        network.bias.copy_(torch.tensor([0.1, 3.0, -3.0, 0.2]))  # type: ignore[union-attr]  # it has one
    prepared = prepared_net(network=network)
    freeze_ranges(prepared)
    x = torch.randn(50, *SHAPE).clamp(-1, 1)

    torch.testing.assert_close(freeze(prepared)(x), network(x), atol=0.05, rtol=0)


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
def test_the_groups_of_a_dilated_transposed_convolution_share_their_scales(groups: int) -> None:
    network = nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(), nn.ConvTranspose2d(8, 8, 2, 2, groups=groups, dilation=2))
    prepared = prepared_net(network=network.eval())
    freeze_ranges(prepared)
    x = torch.randn(50, *SHAPE).clamp(-1, 1)

    assert torch.equal(prepared.eval()(x), freeze(prepared)(x))
    torch.testing.assert_close(freeze(prepared)(x), network(x), atol=0.05, rtol=0)
