"""Tokens: texts as a network takes them, ids and mask of a fixed length, and how a text is altered without changing what it says.

The tokenizer is MiniLM's own WordPiece (Wu et al. 2016, https://arxiv.org/abs/1609.08144, section 4.1), so that teacher and
student read the same ids. It travels beside the exported files, cut to the task's length, as `tokenizer.json`, which
the `tokenizers` library reads in any of its languages.

Letters: N texts, T tokens.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tasks.text_minilm import minilm_file

Ids = NDArray[np.int64]
Tokens = tuple[Ids, Ids]
"""Ids and mask, each [T]: the mask is 1 for a token, 0 for padding."""

SPECIAL = {"pad": "[PAD]", "unknown": "[UNK]", "begin": "[CLS]", "end": "[SEP]"}
FILE = "tokenizer.json"


class Texts:
    """A split: `ids` and `mask` [N, T], and `targets`, one a text, or None where there are none."""

    def __init__(self, ids: Ids, mask: Ids, targets: Sequence[int] | None) -> None:
        self.ids = ids
        self.mask = mask
        self.targets = targets

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Tokens, int | None]:
        target = None if self.targets is None else int(self.targets[index])
        return (self.ids[index], self.mask[index]), target


def encode(texts: Sequence[str], *, length: int) -> Tokens:
    """Return ids and mask [N, T] of texts, cut or padded to `length` tokens, the two at the ends among them."""
    encoded = _tokenizer(length).encode_batch(list(texts))
    ids = np.array([each.ids for each in encoded], dtype=np.int64).reshape(-1, length)
    mask = np.array([each.attention_mask for each in encoded], dtype=np.int64).reshape(-1, length)
    return ids, mask


def decode(ids: Ids, *, length: int) -> list[str]:
    """Return the texts of ids [N, T], as far as their tokens keep them."""
    return list(_tokenizer(length).decode_batch(ids.tolist()))


def distinct(texts: Sequence[str], *, length: int) -> tuple[Ids, Ids, list[int]]:
    """Return ids and mask [K, T] of the texts that differ as tokens, and their K places among all, in order."""
    ids, mask = encode(texts, length=length)
    chosen = sorted({row.tobytes(): place for place, row in reversed(list(enumerate(ids)))}.values())
    return ids[chosen], mask[chosen], chosen


def vocabulary_size() -> int:
    """Return how many ids there are."""
    return len(_vocabulary())


def drop_words(tokens: Tokens, seed: int, *, share: float) -> Tokens:
    """Return a text without some of its words, each left out with probability `share`; never without all of them.

    Word dropout: Iyyer et al. 2015, "Deep Unordered Composition Rivals Syntactic Methods for Text Classification", section 3.2
    (https://aclanthology.org/P15-1162). A word goes with all of its pieces.
    """
    ids, mask = tokens
    end = int(mask.sum()) - 1
    inner = ids[1:end]
    word = np.cumsum(~_continues()[inner])
    kept = np.random.default_rng(seed).random(len(inner) + 1) >= share
    left = inner[kept[word]]
    if not len(left):
        return tokens
    altered = np.full_like(ids, _special()["pad"])
    altered[: len(left) + 2] = [ids[0], *left, ids[end]]
    return altered, (np.arange(len(ids)) < len(left) + 2).astype(mask.dtype)


def preprocessing(length: int) -> dict[str, str]:
    """Return what a caller must know to make a network's inputs out of a text; it travels in the files' metadata."""
    ids = {f"{name}_id": str(number) for name, number in _special().items()}
    return {"tokenizer": FILE, "length": str(length), **ids, "inputs": "ids, then mask: 1 for a token, 0 for padding"}


def tokenizer_file(length: int) -> dict[str, str]:
    """Return the tokenizer as a file that travels beside the model: it cuts and pads to `length` by itself."""
    return {FILE: str(_tokenizer(length).to_str())}


@cache
def _tokenizer(length: int) -> Any:
    tokenizer = _untouched()
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    return tokenizer


@cache
def _special() -> dict[str, int]:
    """Return the ids of the tokens that stand for no word."""
    return {name: _vocabulary()[text] for name, text in SPECIAL.items()}


@cache
def _continues() -> NDArray[np.bool_]:
    """Tell for each id whether it continues a word: [V]."""
    continues = np.zeros(len(_vocabulary()), dtype=np.bool_)
    continues[[number for text, number in _vocabulary().items() if text.startswith("##")]] = True
    return continues


@cache
def _vocabulary() -> dict[str, int]:
    """Return each piece's id."""
    return dict(_untouched().get_vocab())


def _untouched() -> Any:
    from tokenizers import Tokenizer  # noqa: PLC0415  # comes with the demo's extra

    return Tokenizer.from_file(str(minilm_file(FILE)))
