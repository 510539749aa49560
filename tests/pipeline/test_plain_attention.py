"""Plain attention answers as torch's own, in each of its forms; and a network of nn.TransformerEncoder is pruned, saved and rebuilt."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.architecture import macs_of, parameters_of, rebuild, save_network
from pipeline.plain_attention import PlainAttention, plain
from pipeline.pruning.pruner import Wish, prune_to

N, T, S, E, H = 3, 5, 7, 16, 4
HIDES = torch.zeros(N, S, dtype=torch.bool)
HIDES[0, 4:], HIDES[2, 1] = True, True


class Encoder(nn.Module):
    """Ids [N, T] to logits [N, 3] through torch's own encoder, as its documentation builds it."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, E)
        layer = nn.TransformerEncoderLayer(E, H, dim_feedforward=32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2)
        self.head = nn.Linear(E, 3)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(self.words(ids)).mean(1))
        return logits


def built(**settings: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(E, H, **settings).eval()
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.3)
    return attention


@pytest.mark.parametrize("settings", [{}, {"bias": False}, {"batch_first": True}, {"kdim": 6, "vdim": 9}])
@pytest.mark.parametrize("masks", ["none", "padding", "bools", "numbers", "of each head", "causal"])
def test_it_answers_as_torch_does(settings: dict[str, Any], masks: str) -> None:
    attention, far = built(**settings), float("-inf")
    sizes = settings.get("kdim", E), settings.get("vdim", E)
    inputs = [torch.randn(N, T, E), torch.randn(N, S, sizes[0]), torch.randn(N, S, sizes[1])]
    if not settings.get("batch_first"):
        inputs = [x.transpose(0, 1) for x in inputs]
    upper = torch.ones(T, S).triu(3).bool()
    forms: dict[str, dict[str, Any]] = {
        "none": {},
        "padding": {"key_padding_mask": HIDES},
        "bools": {"attn_mask": upper},
        "numbers": {"attn_mask": torch.zeros(T, S).masked_fill(upper, far)},
        "of each head": {"attn_mask": upper[None].repeat(N * H, 1, 1)},
        "causal": {"attn_mask": torch.ones(T, S).triu(1).bool(), "is_causal": True, "need_weights": False},
    }
    named = forms[masks]
    expected, weights = attention(*inputs, **named)
    found, told = PlainAttention(attention)(*inputs, **named)

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    if weights is None:
        assert told is None
    else:
        torch.testing.assert_close(told, weights, atol=1e-5, rtol=1e-4)


def test_an_encoder_says_the_same_with_plain_attention() -> None:
    torch.manual_seed(0)
    encoder, ids = Encoder().eval(), torch.randint(0, 50, (4, 9))
    expected = encoder(ids)
    replaced = plain(encoder)

    assert sum(isinstance(part, PlainAttention) for part in replaced.modules()) == 2
    assert not any(isinstance(part, nn.MultiheadAttention) for part in replaced.modules())
    with torch.no_grad():
        torch.testing.assert_close(replaced(ids), expected, atol=1e-5, rtol=1e-4)


def test_an_attention_with_keys_of_its_own_is_left_whole() -> None:
    assert type(plain(nn.Sequential(nn.MultiheadAttention(E, H, add_bias_kv=True)))[0]) is nn.MultiheadAttention  # type: ignore[index]


def test_torch_s_encoder_loses_heads_and_feed_forward_and_comes_back_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole, ids = plain(Encoder()).eval(), torch.randint(0, 50, (4, 9))
    pruned, facts = prune_to(whole, (ids,), Wish(keep_macs=0.5, channel_multiple=4))
    save_network(pruned, tmp_path, constructor="student", fresh=plain(Encoder()))
    again = rebuild(plain(Encoder()), tmp_path).eval()

    heads = [part.num_heads for part in pruned.modules() if isinstance(part, PlainAttention)]
    assert min(heads) < H
    assert any("linear1" in layer for layer in facts["channels"])
    assert macs_of(pruned, (ids,)) <= 0.55 * macs_of(whole, (ids,))
    assert parameters_of(again) == parameters_of(pruned) < parameters_of(whole)
    assert torch.equal(again(ids), pruned.eval()(ids))
