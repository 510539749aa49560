"""The text encoder: what it reads, and that padding says nothing."""

import pytest
import torch
from torch import Tensor, nn

from pipeline.architecture import parameters_of
from pipeline.networks.transformer import TextEncoder, text_encoder

SIZES = {"vocabulary": 50, "width": 16, "heads": 4, "depth": 2, "feed_forward": 24, "length": 12}


def tokens(length: int, padded: int) -> tuple[Tensor, Tensor]:
    ids = torch.randint(1, 50, (3, length), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(length) < length - padded).long().expand(3, length)
    return ids * mask, mask


@pytest.mark.parametrize(("head", "width"), [({"classes": 3}, 3), ({"embedding": 20}, 20), ({}, 16)])
def test_it_gives_logits_or_embeddings(head: dict[str, int], width: int) -> None:
    assert text_encoder(**SIZES, **head)(*tokens(12, 3)).shape == (3, width)


def test_padding_says_nothing() -> None:
    network = text_encoder(**SIZES, classes=3).eval()
    ids, mask = tokens(12, 5)
    with torch.inference_mode():
        padded, scribbled = network(ids, mask), network(torch.where(mask == 0, 7, ids), mask)
        short = network(ids[:, :7], mask[:, :7])

    assert torch.allclose(padded, scribbled, atol=1e-5)  # exp(-16) is a ten-millionth, of each of five places
    assert torch.allclose(padded, short, atol=1e-5)


def test_a_mask_may_be_truths() -> None:
    network = text_encoder(**SIZES, classes=3).eval()
    ids, mask = tokens(12, 5)
    with torch.inference_mode():
        assert torch.equal(network(ids, mask), network(ids, mask.bool()))


def test_a_text_without_tokens_gives_numbers() -> None:
    network = text_encoder(**SIZES, classes=3).eval()
    ids, mask = tokens(12, 12)
    with torch.inference_mode():
        assert bool(network(ids, mask).isfinite().all())


def test_the_order_of_words_matters() -> None:
    network: nn.Module = text_encoder(**SIZES, classes=3).eval()
    ids, mask = tokens(12, 0)
    with torch.inference_mode():
        assert not torch.allclose(network(ids, mask), network(ids.flip(1), mask), atol=1e-6)


def test_every_parameter_learns() -> None:
    network: TextEncoder = text_encoder(**SIZES, classes=3)
    torch.autograd.backward(nn.functional.cross_entropy(network(*tokens(12, 3)), torch.tensor([0, 1, 2])))

    assert [name for name, value in network.named_parameters() if value.grad is None] == []
    # Words, places; per block two norms, four times D by D with biases, two feed-forward layers; norm, classifier.
    blocks = 2 * (2 * 32 + 4 * (16 * 16 + 16) + 16 * 24 + 24 + 24 * 16 + 16)
    assert parameters_of(network) == 50 * 16 + 12 * 16 + blocks + 32 + 16 * 3 + 3
