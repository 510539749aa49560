"""Tokens: what a text becomes, and what augmentation leaves of it."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer

from pipeline.tasks.text_tokens import (
    Texts,
    Tokens,
    distinct,
    drop_words,
    encode,
    preprocessing,
    tokenizer_file,
    vocabulary_size,
)

TEXT = "an unbelievably wonderful morning for schadenfreude my friends"

TOKENIZER = Tokenizer.from_str(tokenizer_file(24)["tokenizer.json"])


def first(text: str, length: int = 24) -> Tokens:
    ids, mask = encode([text], length=length)
    return ids[0], mask[0]


def words(tokens: Tokens) -> str:
    ids, mask = tokens
    text: str = TOKENIZER.decode(ids[: int(mask.sum())].tolist())
    return text


def test_a_text_is_cut_and_padded_to_the_length() -> None:
    ids, mask = encode(["hello", "hello " * 50], length=8)

    assert ids.tolist() == [[101, 7592, 102, 0, 0, 0, 0, 0], [101, *[7592] * 6, 102]]
    assert mask.tolist() == [[1, 1, 1, 0, 0, 0, 0, 0], [1] * 8]


def test_texts_that_are_one_as_tokens_count_once() -> None:
    ids, mask, places = distinct(["Yes!", "no", "yes!", "NO "], length=8)

    assert places == [0, 1]
    assert (len(ids), len(mask)) == (2, 2)


def test_words_are_dropped_whole_and_in_order() -> None:
    tokens = first(TEXT)
    whole = words(tokens).split()
    for seed in range(20):
        ids, mask = drop_words(tokens, seed, share=0.4)
        left = words((ids, mask)).split()
        rest = iter(whole)

        assert all(word in rest for word in left)
        assert ids[0] == 101
        assert ids[int(mask.sum()) - 1] == 102
        assert not ids[int(mask.sum()) :].any()


def test_the_same_seed_drops_the_same_words_and_another_others() -> None:
    tokens = first(TEXT)
    once, again = (drop_words(tokens, 1, share=0.3) for _ in range(2))
    others = {drop_words(tokens, seed, share=0.3)[0].tobytes() for seed in range(10)}

    assert np.array_equal(once, again)
    assert len(others) > 3


def test_the_share_of_dropped_words_is_the_one_asked_for() -> None:
    tokens = first("one two three four five six seven eight nine ten")
    left = [int(drop_words(tokens, seed, share=0.2)[1].sum()) - 2 for seed in range(300)]

    assert np.mean(left) == pytest.approx(8, abs=0.25)  # three standard errors of a binomial's mean


def test_a_text_never_loses_its_last_word() -> None:
    assert words(drop_words(first("hello"), 0, share=1.0)) == "hello"


def test_an_empty_text_stays_as_it_is() -> None:
    ids, mask = drop_words(first(""), 0, share=0.5)

    assert ids[:3].tolist() == [101, 102, 0]
    assert int(mask.sum()) == 2


def test_the_tokenizer_that_travels_gives_the_networks_inputs_by_itself() -> None:
    content = tokenizer_file(24)["tokenizer.json"]
    encoded = Tokenizer.from_str(content).encode(TEXT)
    ids, mask = first(TEXT)

    assert ids.tolist() == encoded.ids
    assert mask.tolist() == encoded.attention_mask
    assert json.loads(content)["truncation"]["max_length"] == 24


def test_the_metadata_name_the_ids_that_stand_for_no_word() -> None:
    said = preprocessing(24)

    assert {key: said[key] for key in ("tokenizer", "length", "pad_id", "unknown_id", "begin_id", "end_id")} == {
        "tokenizer": "tokenizer.json",
        "length": "24",
        "pad_id": "0",
        "unknown_id": "100",
        "begin_id": "101",
        "end_id": "102",
    }
    assert vocabulary_size() == 30522  # https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2, config.json


def test_a_split_without_targets_says_so() -> None:
    ids, mask = encode(["one", "two"], length=8)

    assert Texts(ids, mask, None)[1][1] is None
    assert Texts(ids, mask, [1, 0])[0][1] == 1
