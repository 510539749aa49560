"""Vocabulary: a table of words that keeps the rows of those that the data holds; all others share one row, "unknown".

The table often holds half of a small text network, and most of its rows stand for words that never come. Callers notice nothing: the
tokenizer and its ids stay as they are, since a row of numbers in the network says for each id which row is its own (four
bytes an id). Words that the training data holds but once share the unknown row as well, so that training meets it.

Letters: V ids, R rows that are left, D numbers a row.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import ModelError

LEAST_SEEN = 2
"""Of an id in the training data, for a row of its own."""
UNKNOWN_ROW = 0


class TrimmedTable(nn.Module):
    """An embedding of V ids by R rows [R, D]; `row_of` [V] int32 says which."""

    def __init__(self, ids: int, rows: int, width: int) -> None:
        super().__init__()
        self.register_buffer("row_of", torch.zeros(ids, dtype=torch.int32))
        self.rows = nn.Embedding(rows, width)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the rows [..., D] of ids [...]."""
        found: Tensor = self.rows(self.row_of[ids])  # type: ignore[index]  # a buffer
        return found


def trim(module: nn.Module, batches: Iterator[tuple[Tensor, ...]]) -> dict[str, tuple[int, int]]:
    """Trim every embedding of a network, in place, to the ids that come in batches of inputs; return rows before and after, by name.

    An embedding that the network doesn't call as a module, one whose ids all come, and one that shares its weight are left as they are.
    """
    counts = _counted(module, batches)
    shared = [id(parameter) for _, parameter in module.named_parameters(remove_duplicate=False)]
    trimmed: dict[str, tuple[int, int]] = {}
    for name, seen in counts.items():
        table = module.get_submodule(name)
        assert isinstance(table, nn.Embedding)
        kept = (seen >= LEAST_SEEN).nonzero()[:, 0]
        if 0 < len(kept) < table.num_embeddings - 1 and shared.count(id(table.weight)) == 1:
            _put(module, name, _trimmed(table, kept))
            trimmed[name] = (table.num_embeddings, len(kept) + 1)
    return trimmed


def tables_of(module: nn.Module) -> dict[str, int]:
    """Return the rows of a network's trimmed tables, by name."""
    return {name: part.rows.num_embeddings for name, part in module.named_modules() if isinstance(part, TrimmedTable)}


def with_tables(module: nn.Module, tables: Mapping[str, int]) -> nn.Module:
    """Return a copy of a network whose embeddings are trimmed tables of so many rows, empty; ModelError where it has no such embedding."""
    made = copy.deepcopy(module)
    for name, rows in tables.items():
        found: Any = dict(made.named_modules()).get(name)
        if not isinstance(found, nn.Embedding) or rows > found.num_embeddings:
            raise ModelError(
                f"a saved network trims {name!r:.80} to {rows} rows, its constructor has no embedding of so many there; run the recipe again"
            )
        _put(made, name, TrimmedTable(found.num_embeddings, rows, found.embedding_dim))
    return made


def _counted(module: nn.Module, batches: Iterator[tuple[Tensor, ...]]) -> dict[str, Tensor]:
    """Return how often each embedding is asked for each id."""
    tables = {name: part for name, part in module.named_modules() if isinstance(part, nn.Embedding)}
    counts: dict[str, Tensor] = {}

    def count(name: str, size: int, given: Sequence[Any]) -> None:
        counts[name] = counts.get(name, torch.zeros(size, dtype=torch.long)) + given[0].flatten().bincount(
            minlength=size
        )

    with ExitStack() as hooks, torch.no_grad():
        for name, table in tables.items():
            size = table.num_embeddings
            hook = table.register_forward_pre_hook(lambda _, given, name=name, size=size: count(name, size, given))
            hooks.callback(hook.remove)
        module.eval()
        for batch in batches:
            module(*batch)
    return counts


def _trimmed(table: nn.Embedding, kept: Tensor) -> TrimmedTable:
    """Return the table with the kept rows behind the unknown one, which starts as the mean of those that leave."""
    made = TrimmedTable(table.num_embeddings, len(kept) + 1, table.embedding_dim)
    gone = torch.ones(table.num_embeddings, dtype=torch.bool)
    gone[kept] = False
    with torch.no_grad():
        made.rows.weight[UNKNOWN_ROW] = table.weight[gone].mean(0)
        made.rows.weight[UNKNOWN_ROW + 1 :] = table.weight[kept]
        made.row_of[kept] = torch.arange(1, len(kept) + 1, dtype=torch.int32)  # type: ignore[operator]  # a buffer
    return made.train(table.training)


def _put(module: nn.Module, name: str, part: nn.Module) -> None:
    owner, _, key = name.rpartition(".")
    setattr(module.get_submodule(owner), key, part)
