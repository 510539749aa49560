"""nn.MultiheadAttention written out of plain linear layers, so that its heads can be pruned and both exporters know it.

torch's module packs queries, keys and values into one tensor and insists on heads that fill the embedding: it can't lose one. `plain`
puts a module with the same weights, answers and call in its place, wherever a student has one: in nn.TransformerEncoderLayer
and nn.TransformerEncoder too, whose shortcut for inference it closes, since that reads the packed tensors.

Letters: N batch, T queries, S keys, E embedding, H heads.
"""

import torch
from torch import Tensor, nn

HIDDEN = -24.0
"""Added to the score of a hidden key: e^-24 of a share is nothing, and a range of eight bits still tells the other scores apart."""


class PlainAttention(nn.Module):
    """A multi-head attention of `num_heads` heads of `head_dim` numbers each, as an nn.MultiheadAttention has it."""

    in_proj_bias = None  # what nn.TransformerEncoderLayer looks at to see that its shortcut is closed

    def __init__(self, packed: nn.MultiheadAttention) -> None:
        super().__init__()
        self.batch_first, self.dropout = packed.batch_first, packed.dropout
        self.num_heads, self.head_dim = packed.num_heads, packed.head_dim
        self._qkv_same_embed_dim = False
        weights = (
            packed.in_proj_weight.chunk(3)
            if packed.in_proj_weight is not None
            else (packed.q_proj_weight, packed.k_proj_weight, packed.v_proj_weight)
        )
        biases = packed.in_proj_bias.chunk(3) if packed.in_proj_bias is not None else (None,) * 3
        self.query, self.key, self.value = (_linear(*each) for each in zip(weights, biases, strict=True))
        self.output = _linear(packed.out_proj.weight, packed.out_proj.bias)
        self.train(packed.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,  # noqa: FBT001, FBT002  # nn.MultiheadAttention's own signature
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,  # noqa: FBT001, FBT002  # as above
        is_causal: bool = False,  # noqa: FBT001, FBT002  # as above
    ) -> tuple[Tensor, Tensor | None]:
        """Answer as nn.MultiheadAttention does: batched inputs, masks of bools (True hides) or of numbers to add."""
        if not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        q, k, v = self._heads(self.query(query)), self._heads(self.key(key)), self._heads(self.value(value))
        scores = q @ k.transpose(2, 3) * self.head_dim**-0.5
        if attn_mask is None and is_causal:
            attn_mask = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).triu(1)
        if attn_mask is not None:
            bias = _added(attn_mask, scores.dtype)
            scores = scores + (bias.reshape(-1, self.num_heads, *bias.shape[1:]) if bias.dim() == 3 else bias)
        if key_padding_mask is not None:
            scores = scores + _added(key_padding_mask, scores.dtype)[:, None, None, :]
        weights = scores.softmax(3)
        gathered = nn.functional.dropout(weights, self.dropout, self.training) @ v
        attended: Tensor = self.output(gathered.transpose(1, 2).flatten(2))
        told = (weights.mean(1) if average_attn_weights else weights) if need_weights else None
        return attended if self.batch_first else attended.transpose(0, 1), told

    def _heads(self, x: Tensor) -> Tensor:
        """Return [N, T, H * head_dim] as [N, H, T, head_dim]."""
        return x.reshape(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)


def plain(module: nn.Module) -> nn.Module:
    """Put plain attentions in the place of torch's own, in this very module, but for those with keys of their own (`add_bias_kv`)."""
    for part in list(module.modules()):
        for name, child in list(part.named_children()):
            if type(child) is nn.MultiheadAttention and child.bias_k is None and not child.add_zero_attn:
                setattr(part, name, PlainAttention(child))
        if isinstance(part, nn.TransformerEncoder):
            part.enable_nested_tensor = part.use_nested_tensor = False  # nested tensors are for the shortcut alone
    return PlainAttention(module) if type(module) is nn.MultiheadAttention else module


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        linear.weight.copy_(weight)
        if bias is not None:
            linear.bias.copy_(bias)
    return linear


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what a mask adds to the scores; no number below HIDDEN, which does what minus infinity does."""
    if mask.dtype == torch.bool:
        return mask.to(dtype) * HIDDEN
    return mask.to(dtype).clamp_min(HIDDEN)
