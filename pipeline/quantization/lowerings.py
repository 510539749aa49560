"""Lowerings: operations written out where only their parts have an int8 form in both files.

Hard-swish is x * clamp(x / 6 + 1/2, 0, 1) (Howard 2019, section 5.2), SiLU x * sigmoid(x) (Elfwing 2017), attention two
products and a softmax (Vaswani 2017, formula 1), x - y is x + (-1) * y, a mean over a picture its global pooling. Factors
and offsets go into the weights before them later, in `fold`. A lowering that doesn't apply gives NotImplemented, and the
operation stays whole.

Legend: x [N, ...] float32; q, k, v [..., L, E].
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

aten = torch.ops.aten


def _hardsigmoid(x: Tensor) -> Any:
    return aten.clamp.default(x * (1 / 6) + 0.5, 0.0, 1.0)


def _hardswish(x: Tensor) -> Any:
    return x * _hardsigmoid(x)


def _silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def _subtract(x: Tensor, other: Any, *, alpha: float = 1) -> Any:
    if isinstance(other, Tensor):
        return x + other * -float(alpha)
    return x + -float(alpha) * other


def _subtract_from(x: Tensor, other: Any, alpha: float = 1) -> Any:
    return x * -float(alpha) + other


def _negative(x: Tensor) -> Tensor:
    return x * -1.0


def _divide(x: Tensor, other: Any) -> Any:
    return NotImplemented if isinstance(other, Tensor) else x * (1 / other)


def _power(x: Tensor, exponent: Any) -> Any:
    return x * x if exponent == 2 else NotImplemented


def _hardtanh(x: Tensor, low: float = -1.0, high: float = 1.0) -> Any:
    return aten.clamp.default(x, low, high)


def _relu6(x: Tensor) -> Any:
    return aten.clamp.default(x, 0.0, 6.0)


def _clamp_min(x: Tensor, low: float) -> Any:
    return aten.clamp.default(x, low, None)


def _clamp_max(x: Tensor, high: float) -> Any:
    return aten.clamp.default(x, None, high)


def _mean(x: Tensor, dim: list[int] | None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Any:  # noqa: FBT001, FBT002  # aten's own signature
    """Write the mean over a picture as the global pooling that has an integer kernel everywhere."""
    if x.dim() != 4 or dtype is not None or dim is None or sorted(d % 4 for d in dim) != [2, 3]:
        return NotImplemented
    pooled = aten.adaptive_avg_pool2d.default(x, [1, 1])
    return pooled if keepdim else pooled.squeeze(3).squeeze(2)


def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,  # noqa: ARG001  # aten's own signature; nothing is dropped in evaluation
    is_causal: bool = False,  # noqa: FBT001, FBT002  # as above
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Vaswani 2017, formula 1: softmax(q k^T / sqrt(d)) v; the factor goes onto q, which its projection absorbs."""
    if is_causal or enable_gqa:
        return NotImplemented
    weights = torch.matmul(q * (scale or 1 / math.sqrt(q.shape[-1])), k.transpose(-2, -1))
    if mask is not None:
        weights = weights + (mask if mask.is_floating_point() else torch.zeros_like(weights).masked_fill(~mask, -1e4))
    return torch.matmul(torch.softmax(weights, -1), v)


LOWERINGS: dict[OpOverload, Callable[..., Any]] = {
    aten.hardsigmoid.default: _hardsigmoid,
    aten.hardswish.default: _hardswish,
    aten.silu.default: _silu,
    aten.sub.Tensor: _subtract,
    aten.rsub.Scalar: _subtract_from,
    aten.neg.default: _negative,
    aten.div.Tensor: _divide,
    aten.pow.Tensor_Scalar: _power,
    aten.hardtanh.default: _hardtanh,
    aten.relu6.default: _relu6,
    aten.clamp_min.default: _clamp_min,
    aten.clamp_max.default: _clamp_max,
    aten.mean.dim: _mean,
    aten.scaled_dot_product_attention.default: _attention,
}
