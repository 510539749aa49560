"""Attention relations: how the tokens' queries, keys and values relate to each other, in networks of any width and any heads.

Wang et al. 2021, "MiniLMv2" (https://arxiv.org/abs/2012.15828), section 3.2. Queries Q [N, T, D] of one layer, all heads
together, are split anew into A relation heads, the same number for both networks:

    R = softmax(Q_a Q_aᵀ / √(D / A)),    L = mean KL(R^T ‖ R^S), summed over queries, keys and values

The last layers of both networks are compared, as the paper does for a teacher of twelve layers (section 4.3: a deeper one's
last layers teach less than those before them). Attention is found as a module with linear layers for query, key and value.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.distillation.features import Pair
from pipeline.distillation.seen import Seen
from pipeline.errors import TaskError, did_you_mean

NAMES = (("q", "query", "q_proj", "q_lin"), ("k", "key", "k_proj", "k_lin"), ("v", "value", "v_proj", "v_lin"))
"""What the linear layers of one attention are called, in this project and in transformers."""
MOST_HEADS = 12
"""Relation heads; the paper's for small networks are 12. Both widths must be divisible by the number taken."""


class AttentionRelations(nn.Module):
    """The divergence of the relations of some pairs of layers [N, T, D]."""

    def __init__(self, pairs: Sequence[Pair], student: Seen, teacher: Seen) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        widths = [feature.shape[-1] for pair in pairs for feature in (student[pair[0]], teacher[pair[1]])]
        self.heads = max(heads for heads in range(1, MOST_HEADS + 1) if all(width % heads == 0 for width in widths))
        for s, t in pairs:
            if student[s].ndim != 3 or student[s].shape[1] != teacher[t].shape[1]:
                raise TaskError(
                    f"attention_relations: {s!r} gives {list(student[s].shape)}, {t!r} of the teacher {list(teacher[t].shape)}; "
                    "both must see the same tokens, [N, T, D]"
                )

    @staticmethod
    def match(student: nn.Module, teacher: nn.Module, example: tuple[Tensor, ...]) -> tuple[Pair, ...]:
        """Return query, key and value of both networks' last attention; none where one has no attention."""
        del example
        found = [list(_attentions(network)) for network in (student, teacher)]
        return _three(student, teacher, (found[0][-1], found[1][-1])) if all(found) else ()

    @staticmethod
    def layers(pair: Pair, student: nn.Module, teacher: nn.Module) -> tuple[Pair, ...]:
        """Look at query, key and value of the attentions that the user named."""
        for network, name in zip((student, teacher), pair, strict=True):
            known = list(_attentions(network))
            if name not in known:
                raise TaskError(
                    f"layers: {type(network).__name__} has no attention {name!r}{did_you_mean(name, known)}; "
                    f"it has {', '.join(known) or 'none with linear layers for query, key and value'}"
                )
        return _three(student, teacher, pair)

    def forward(self, student: Seen, teacher: Seen, mask: Tensor | None = None) -> Tensor:
        """Return the loss of queries, keys and values together; padding, where `mask` is 0, is neither asked nor looked at."""
        losses = [self._divergence(student[s], teacher[t], mask) for s, t in self.pairs]
        return torch.stack(losses).sum() * 3 / len(losses)

    def _divergence(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        mine, theirs = self._relations(student, mask), self._relations(teacher, mask)
        # A masked place has -inf in both: no difference.
        each = (theirs.exp() * (theirs - mine).nan_to_num(0.0)).sum(-1).mean(1)
        return each.mean() if mask is None else (each * mask).sum() / mask.sum().clamp_min(1)

    def _relations(self, feature: Tensor, mask: Tensor | None) -> Tensor:
        """Return the log of the relations [N, A, T, T]."""
        split = feature.float().reshape(*feature.shape[:2], self.heads, -1).transpose(1, 2)
        scores = split @ split.transpose(2, 3) / math.sqrt(split.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask.bool()[:, None, None], -torch.inf)
        return F.log_softmax(scores, -1)


LOSS = AttentionRelations


def _attentions(network: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return, by the attention's name, the names of its three linear layers, in the network's order."""
    found: dict[str, tuple[str, ...]] = {}
    for name, module in network.named_modules():
        own = [
            next((child for child in names if isinstance(getattr(module, child, None), nn.Linear)), "")
            for names in NAMES
        ]
        if all(own):
            found[name] = tuple(f"{name}.{child}".lstrip(".") for child in own)
    return found


def _three(student: nn.Module, teacher: nn.Module, pair: Pair) -> tuple[Pair, ...]:
    return tuple(zip(_attentions(student)[pair[0]], _attentions(teacher)[pair[1]], strict=True))
