"""Tweets: is a short text glad or angry? 3,432 of the tweets that people rated, a small real task for a transformer.

A tweet counts where its mean rating is at least half a step from neutral; its sign is the class (`text_ratings` says where
the ratings come from). The teacher is the sentence encoder MiniLM under a linear layer; the student is a transformer of
two blocks that reads the same word pieces.

The score is accuracy: both mistakes cost the same. Two thirds of the tweets are glad, so who always says so scores 0.68.

This file uses nothing that a user's own task could not.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from pipeline.errors import TaskError
from pipeline.networks.transformer import text_encoder
from pipeline.task import Metric, Splits
from pipeline.tasks import text_minilm, text_ratings
from pipeline.tasks.text_minilm import LAYERS, SentenceClassifier, start_from_its_words
from pipeline.tasks.text_ratings import rated_tweets, read_ratings
from pipeline.tasks.text_tokens import (
    Texts,
    Tokens,
    distinct,
    drop_words,
    preprocessing,
    tokenizer_file,
    vocabulary_size,
)
from pipeline.teacher import Teacher

LEAST_RATING = 0.5
"""Of 4: what lies nearer to neutral has no sign that its raters agree on."""
DROPPED_SHARE = 0.15
"""Of the words, by augmentation."""
VALIDATION_SHARE, TEST_SHARE = 0.12, 0.24


@dataclass(frozen=True)
class Sizes:
    """How large the task is: tokens a text, texts (None: all), the teacher's layers and how many of them learn, the student."""

    length: int = 48
    texts: int | None = None
    layers: int = LAYERS
    trained: int = 2
    width: int = 64
    heads: int = 4
    depth: int = 2
    feed_forward: int = 128


FULL = Sizes()
SMOKE = Sizes(length=16, texts=256, layers=1, trained=1, width=16, heads=2, depth=1, feed_forward=32)


class Tweets:
    """The task; `source` is a table of one's own, or a folder of them (`text_ratings.read_ratings`)."""

    name = "tweets"
    metric = Metric("accuracy", higher_is_better=True)
    labels = ("negative", "positive")

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
        """Return the three splits, each class alike."""
        return self._splits

    def teachers(self) -> dict[str, Teacher]:
        """Return the one teacher: MiniLM with a linear layer, whose last layers learn here."""
        sizes = self.sizes
        return {"minilm": Teacher(partial(SentenceClassifier, 2, layers=sizes.layers, trained=sizes.trained))}

    def student(self) -> nn.Module:
        """Return the network to deploy, untrained: ids and mask [N, length] to logits [N, 2]."""
        sizes = self.sizes
        network = text_encoder(
            vocabulary=vocabulary_size(),
            width=sizes.width,
            heads=sizes.heads,
            depth=sizes.depth,
            feed_forward=sizes.feed_forward,
            length=sizes.length,
            classes=2,
        )
        return start_from_its_words(network)

    def score(self, outputs: Any, targets: Any) -> float:
        """Return the accuracy of logits [N, 2] against labels [N]."""
        return float((outputs.argmax(1) == targets).mean())

    def augment(self, sample: tuple[Tokens, int], seed: int) -> tuple[Tokens, int]:
        """Return the text without some of its words."""
        tokens, label = sample
        return drop_words(tokens, seed, share=DROPPED_SHARE), label

    @cached_property
    def _splits(self) -> Splits:
        rated = rated_tweets() if self.source is None else read_ratings(self.source)
        signed = [each for each in rated if abs(each.rating) >= LEAST_RATING]
        ids, mask, chosen = distinct([each.text for each in signed], length=self.sizes.length)
        labels = np.array([int(signed[number].rating > 0) for number in chosen], dtype=np.int64)
        parts = _shares(labels, self.sizes.texts)
        return Splits(*(Texts(ids[part], mask[part], labels[part].tolist()) for part in parts))


task = Tweets()
smoke = Tweets(sizes=SMOKE)


def _shares(labels: np.ndarray, texts: int | None) -> list[np.ndarray]:
    """Return the numbers of the texts of each split, mixed once and for all, each class alike."""
    parts: list[list[int]] = [[], [], []]
    for label in (0, 1):
        own = np.random.default_rng(label).permutation(np.flatnonzero(labels == label))
        own = own[: len(own) if texts is None else max(3, texts * len(own) // len(labels))]
        test, validation = round(len(own) * TEST_SHARE), round(len(own) * VALIDATION_SHARE)
        if not 0 < validation <= test < len(own) - validation:
            raise TaskError(
                f"tweets: {len(own)} texts are rated {('below', 'above')[label]} 0 by {LEAST_RATING} or more; give at least 10 of each"
            )
        for part, piece in zip(parts, np.split(own, [len(own) - test - validation, len(own) - test]), strict=True):
            part.extend(piece.tolist())
    return [np.sort(part) for part in parts]
