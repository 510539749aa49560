"""Embeddings: a small sentence encoder that finds the same texts alike as MiniLM does, learnt without a single label.

The texts are the 4,200 rated tweets (`text_ratings`), without their ratings. The teacher is MiniLM itself, already trained; the
student's embeddings have the teacher's 384 numbers and its directions, so that an index that the large one made can be
searched with the small one. Only directions count: scale embeddings to length 1 before they are compared.

Tried with one seed and twelve epochs, where the student scores 0.706 on the test texts: words that start at random 0.632, a second
block 0.705, 2,000 sentences of technical documentation beside the tweets 0.712; the last two aren't worth what they cost.

The score is Spearman's rank correlation between the student's and the teacher's cosine similarities over pairs of unseen texts:
1 where both put all pairs in the same order.

This file uses nothing that a user's own task could not.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import TaskError
from pipeline.networks.transformer import text_encoder
from pipeline.task import Metric, Splits
from pipeline.tasks import text_minilm, text_ratings
from pipeline.tasks.text_minilm import SentenceEncoder, minilm_file, start_from_its_words
from pipeline.tasks.text_ratings import rated_tweets, read_ratings
from pipeline.tasks.text_tokens import (
    Texts,
    Tokens,
    decode,
    distinct,
    drop_words,
    preprocessing,
    tokenizer_file,
    vocabulary_size,
)
from pipeline.teacher import Teacher

DROPPED_SHARE = 0.15
"""Of the words, by augmentation."""
SHIFTS = 16
"""Each text is compared with so many others: all pairs would say little more and cost forty times as much."""
VALIDATION_SHARE, TEST_SHARE = 0.07, 0.14
EMBEDDING = 384


@dataclass(frozen=True)
class Sizes:
    """How large the task is: tokens a text, texts (None: all), the student."""

    length: int = 48
    texts: int | None = None
    width: int = 128
    heads: int = 4
    depth: int = 1
    feed_forward: int = 256


FULL = Sizes()
SMOKE = Sizes(length=16, texts=256, width=16, heads=2, depth=1, feed_forward=32)


class Embeddings:
    """The task; `source` is a table of one's own, or a folder of them (`text_ratings.read_ratings`), ratings unread."""

    name = "embeddings"
    metric = Metric("Spearman correlation", higher_is_better=True)

    def __init__(self, source: str | Path | None = None, *, sizes: Sizes = FULL) -> None:
        self.source = None if source is None else Path(source)
        self.sizes = sizes

    @property
    def preprocessing(self) -> dict[str, str]:
        """Return what a caller must know to make ids and mask out of a text."""
        return preprocessing(self.sizes.length)

    @property
    def provenance(self) -> dict[str, str]:
        """Return where texts and teacher come from; of the user's own texts only the user knows."""
        texts = text_ratings.PROVENANCE if self.source is None else {"data": "texts of the user's own"}
        return {**texts, **text_minilm.PROVENANCE}

    def files(self) -> dict[str, str]:
        """Return what travels beside the model: the tokenizer."""
        return tokenizer_file(self.sizes.length)

    def data(self) -> Splits:
        """Return the three splits, without targets: the teacher's embeddings stand in for them."""
        return self._splits

    def teachers(self) -> dict[str, Teacher]:
        """Return the one teacher: MiniLM as its makers trained it."""
        return {"minilm": Teacher(Scaled, weights=minilm_file("model.safetensors"))}

    def student(self) -> nn.Module:
        """Return the network to deploy, untrained: ids and mask [N, length] to embeddings [N, EMBEDDING]."""
        sizes = self.sizes
        network = text_encoder(
            vocabulary=vocabulary_size(),
            width=sizes.width,
            heads=sizes.heads,
            depth=sizes.depth,
            feed_forward=sizes.feed_forward,
            length=sizes.length,
            embedding=EMBEDDING,
        )
        return start_from_its_words(network)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean square between embeddings [N, D]."""
        return F.mse_loss(output, target)

    def score(self, outputs: Any, targets: Any) -> float:
        """Return how much alike embeddings [N, D] and the teacher's [N, D] rank pairs of texts, -1 to 1."""
        from scipy.stats import spearmanr  # noqa: PLC0415  # a second to import

        ours, theirs = (np.concatenate(_similarities(each)) for each in (outputs, targets))
        # A resample holds some texts twice; a text is like itself to everybody.
        other = theirs < 1 - 1e-6
        return float(spearmanr(ours[other], theirs[other]).statistic)

    def mistakes(self, outputs: Any, targets: Any) -> list[tuple[float, str, str]]:
        """Return for each text how far, of all places, its pairs stand from where the teacher ranks them (Spearman's footrule).

        Texts of the user's own are told by their number alone: a report travels.
        """
        from scipy.stats import rankdata  # noqa: PLC0415  # a second to import

        ours, theirs = (rankdata(np.stack(_similarities(each)), axis=None) for each in (outputs, targets))
        apart = (np.abs(ours - theirs) / len(ours)).reshape(SHIFTS, -1)
        # A text is the first of SHIFTS pairs, and the second of as many.
        second = np.stack([np.roll(row, shift) for shift, row in enumerate(apart, start=1)])
        off = ((apart + second) / 2).mean(0).tolist()
        if self.source is None:
            test = self._splits.test
            texts = decode(np.stack([test[number][0][0] for number in range(len(test))]), length=self.sizes.length)
        else:
            texts = [f"text {number}" for number in range(len(off))]
        said = [f"its pairs stand {share:.1%} of all places from where the teacher ranks them" for share in off]
        return list(zip(off, texts, said, strict=True))

    def augment(self, sample: tuple[Tokens, None], seed: int) -> tuple[Tokens, None]:
        """Return the text without some of its words."""
        tokens, nothing = sample
        return drop_words(tokens, seed, share=DROPPED_SHARE), nothing

    @cached_property
    def _splits(self) -> Splits:
        rated = rated_tweets() if self.source is None else read_ratings(self.source)
        ids, mask, _ = distinct([each.text for each in rated], length=self.sizes.length)
        order = np.random.default_rng(0).permutation(len(ids))[: self.sizes.texts]
        test, validation = round(len(order) * TEST_SHARE), round(len(order) * VALIDATION_SHARE)
        if validation <= SHIFTS:
            raise TaskError(
                f"embeddings: {len(order)} texts are too few to compare; give at least {round(20 / VALIDATION_SHARE)}"
            )
        parts = np.split(order, [len(order) - test - validation, len(order) - test])
        # Mixed, not sorted: neighbours in the file are often variants of one sentence, and the score compares neighbours.
        return Splits(*(Texts(ids[part], mask[part], None) for part in parts))


class Scaled(SentenceEncoder):
    """MiniLM with embeddings of length sqrt(D): numbers around 1 are learnt at the usual rates, and the angles are the same."""

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Embed a batch; `mask` is 1 for a token, 0 for padding."""
        unit: Tensor = super().forward(ids, mask)
        return unit * math.sqrt(EMBEDDING)


task = Embeddings()
smoke = Embeddings(sizes=SMOKE)


def _similarities(embeddings: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the cosines between each text's embedding and those of the SHIFTS texts after it, going round: SHIFTS times [N]."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.maximum(lengths, 1e-12)
    return [(unit * np.roll(unit, -shift, axis=0)).sum(1) for shift in range(1, SHIFTS + 1)]
