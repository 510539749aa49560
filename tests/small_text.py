"""A task of short texts that trains in a second: the first word's number is even or odd."""

from typing import Any

import numpy as np

from pipeline.networks.transformer import text_encoder
from pipeline.task import Metric, Splits

WORDS, LENGTH = 40, 8


class Sentences:
    """Ids and mask, two classes; the student is a transformer, of which static int8 leaves much in float."""

    name = "sentences"
    metric = Metric("accuracy")

    def data(self) -> Splits:
        return Splits(train=self._split(0, 64), validation=self._split(1, 16), test=self._split(2, 16))

    def student(self) -> Any:
        return text_encoder(vocabulary=WORDS, width=16, heads=2, depth=2, feed_forward=32, length=LENGTH, classes=2)

    def score(self, outputs: Any, targets: Any) -> float:
        return float((outputs.argmax(1) == targets).mean())

    def _split(self, seed: int, count: int) -> list[tuple[tuple[Any, Any], int]]:
        ids = np.random.default_rng(seed).integers(1, WORDS // 2, (count, LENGTH))  # half of the words never come
        return [((row, np.ones(LENGTH, np.int64)), int(row[0] % 2)) for row in ids]
