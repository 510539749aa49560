"""A small transformer that reads tokens: its attention is written out of plain linear layers, which can be pruned and quantised.

Vaswani et al. 2017, "Attention Is All You Need" (https://arxiv.org/abs/1706.03762), section 3, the encoder alone, with the norm before
each part (Xiong et al. 2020, https://arxiv.org/abs/2002.04745), learnt positions, ReLU, and the mean over tokens at the end.

Letters: N batch, T tokens, D width, H heads, F feed-forward width, K classes.
"""

from torch import Tensor, nn
from torch.nn import functional as F

HIDDEN = -16.0
"""Added to the score of a padded token before the softmax, which leaves it a ten-millionth of a word's share.

The usual -1e4 would take the whole range of the scores' int8: a step of 40, and all words alike (measured on `tweets`: 0.909 in
float became 0.860).
"""


class TextEncoder(nn.Module):
    """Embeddings of words and places, `depth` blocks, the tokens' mean, a linear layer: [N, T] to [N, outputs]."""

    def __init__(
        self, *, vocabulary: int, width: int, heads: int, depth: int, feed_forward: int, length: int, outputs: int
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(length, width)
        self.dropout = nn.Dropout(0.1)
        self.blocks = nn.ModuleList(Block(width, heads, feed_forward) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, outputs)
        for table in (self.words, self.places):
            nn.init.normal_(table.weight, std=0.02)  # BERT's: https://arxiv.org/abs/1810.04805, its released code

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the outputs [N, K] of ids [N, T] int64; `mask` [N, T] is 1 for a token, 0 for padding."""
        share = mask.to(self.places.weight.dtype)
        bias = (1 - share)[:, None, None, :] * HIDDEN
        x = self.dropout(self.words(ids) + self.places.weight[: ids.shape[1]])
        for block in self.blocks:
            x = block(x, bias)
        total = (self.norm(x) * share[:, :, None]).sum(1)
        outputs: Tensor = self.classifier(total / share.sum(1, keepdim=True).clamp_min(1))
        return outputs


class Block(nn.Module):
    """Attention, then two linear layers, each added to what came in: x [N, T, D] to the same."""

    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.feed_norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, feed_forward)
        self.narrow = nn.Linear(feed_forward, width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Return the next x; `bias` [N, 1, 1, T] hides the padding."""
        x = x + self.dropout(self.attention(self.attention_norm(x), bias))
        fed: Tensor = self.dropout(self.narrow(F.relu(self.wide(self.feed_norm(x)))))
        return x + fed


class Attention(nn.Module):
    """Each token gathers from those that it attends to: x [N, T, D] to the same, by H heads of D / H numbers."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Return softmax(Q K^T / sqrt(D / H) + bias) V, heads side by side, through `output`."""
        query, key, value = (self._heads(part(x)) for part in (self.query, self.key, self.value))
        scores = query @ key.transpose(2, 3) * self.head_width**-0.5 + bias
        gathered = (scores.softmax(3) @ value).transpose(1, 2).flatten(2)
        attended: Tensor = self.output(gathered)
        return attended

    def _heads(self, x: Tensor) -> Tensor:
        """Return [N, T, D] as [N, H, T, D / H]."""
        return x.reshape(*x.shape[:2], self.heads, self.head_width).transpose(1, 2)


def text_encoder(
    *,
    vocabulary: int,
    width: int,
    heads: int,
    depth: int,
    feed_forward: int,
    length: int,
    classes: int | None = None,
    embedding: int | None = None,
) -> TextEncoder:
    """Build a text encoder that gives logits of `classes`, or embeddings of `embedding` numbers (the width, if neither is said)."""
    return TextEncoder(
        vocabulary=vocabulary,
        width=width,
        heads=heads,
        depth=depth,
        feed_forward=feed_forward,
        length=length,
        outputs=classes or embedding or width,
    )
