"""Depth: the layer that is missed least leaves, and the shorter network comes back from disk bit for bit."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.architecture import rebuild, save_network
from pipeline.depth import drop_layers, lengths_of, rows_of
from pipeline.errors import ModelError
from pipeline.networks.transformer import text_encoder
from pipeline.plain_attention import plain

IDS, MASK = torch.randint(0, 30, (6, 7), generator=torch.Generator().manual_seed(0)), torch.ones(6, 7, dtype=torch.long)


def encoder(depth: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return text_encoder(vocabulary=30, width=8, heads=2, depth=depth, feed_forward=16, length=7, classes=2).eval()


def far_from(expected: Tensor, network: nn.Module) -> Tensor:
    loss: Tensor = (network(IDS, MASK) - expected).square().mean()
    return loss


def test_the_layer_that_changes_least_leaves() -> None:
    whole = encoder()
    quiet = whole.get_submodule("blocks.1")
    with torch.no_grad():
        for name in ("attention.output", "narrow"):
            for parameter in quiet.get_submodule(name).parameters():
                parameter.mul_(1e-3)
    expected = whole(IDS, MASK).detach()
    shorter, lengths = drop_layers(whole, 1, [partial(far_from, expected)])

    assert lengths == {"blocks": (3, 2)}
    torch.testing.assert_close(shorter(IDS, MASK), expected, atol=1e-2, rtol=0)
    assert torch.equal(shorter.state_dict()["blocks.1.wide.weight"], whole.state_dict()["blocks.2.wide.weight"])


def test_a_shorter_network_is_rebuilt_bit_for_bit(tmp_path: Path) -> None:
    whole = encoder()
    shorter, _ = drop_layers(whole, 2, [partial(far_from, whole(IDS, MASK).detach())])
    save_network(shorter, tmp_path, constructor="student", fresh=encoder())

    assert lengths_of(shorter, encoder()) == {"blocks": 1}
    assert torch.equal(rebuild(encoder(), tmp_path).eval()(IDS, MASK), shorter(IDS, MASK))


def test_torch_s_encoder_keeps_count_of_its_layers(tmp_path: Path) -> None:
    def built() -> nn.Module:
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
        return plain(nn.TransformerEncoder(layer, num_layers=3)).eval()

    x = torch.randn(2, 5, 8)
    shorter, _ = drop_layers(built(), 1, [lambda network: network(x).square().mean()])
    save_network(shorter, tmp_path, constructor="student", fresh=built())

    assert shorter.num_layers == 2
    assert torch.equal(rebuild(built(), tmp_path).eval()(x), shorter(x))


@pytest.mark.parametrize("lengths", [{"blocks": 0}, {"blocks": 4}, {"norm": 1}, {"blocks": "2"}])
def test_a_row_that_the_constructor_does_not_build_is_refused(tmp_path: Path, lengths: dict[str, object]) -> None:
    save_network(encoder(), tmp_path, constructor="student", fresh=encoder())
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lengths": lengths}))

    with pytest.raises(ModelError):
        rebuild(encoder(), tmp_path)


def test_layers_that_differ_are_no_row() -> None:
    assert rows_of(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3))) == {}
    assert rows_of(nn.Sequential(nn.ReLU(), nn.ReLU())) == {}
    with pytest.raises(ModelError, match=r"drop_layers = 3, but the network has 3 equal layers in 'blocks'"):
        drop_layers(encoder(), 3, [])
