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

from pipeline.plain_attention import HIDDEN

aten = torch.ops.aten


def _hardsigmoid(x: Tensor) -> Any:
    return aten.clamp.default(x * (1 / 6) + 0.5, 0.0, 1.0)


def _hardswish(x: Tensor) -> Any:
    return x * _hardsigmoid(x)


def _silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def _of_floats(lowering: Callable[..., Any]) -> Callable[..., Any]:
    """Leave whole numbers alone: a factor would turn an index into a float, and by 1 / n they divide otherwise than by n."""

    def lower(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return lowering(x, *args, **kwargs) if x.is_floating_point() else NotImplemented

    return lower


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


def _mean(
    x: Tensor,
    dim: list[int] | None,
    keepdim: bool = False,  # noqa: FBT001, FBT002  # aten's own signature
    *,
    dtype: torch.dtype | None = None,
) -> Any:
    """Write a mean as the pooling that has an integer kernel everywhere: over a picture, one of its sides, or a sequence."""
    dims = sorted(d % x.dim() for d in dim or ())
    if dtype is not None or (x.dim(), *dims) not in {(4, 2, 3), (4, 2), (4, 3), (3, 1), (3, 2)}:
        return NotImplemented
    if x.dim() == 3:
        column = (x.transpose(1, 2) if dims == [1] else x).unsqueeze(3)
        means = aten.adaptive_avg_pool2d.default(column, [1, 1]).squeeze(3)
        return means if keepdim and dims == [2] else means.transpose(1, 2) if keepdim else means.squeeze(2)
    sizes = [int(x.shape[d]) if d in dims else 1 for d in (2, 3)]
    whole = dims == [2, 3]
    pooled = aten.adaptive_avg_pool2d.default(x, [1, 1]) if whole else _average(x, sizes)
    return pooled if keepdim else _without(pooled, dims)


def _without(x: Tensor, dims: list[int]) -> Tensor:
    for d in reversed(dims):
        x = x.squeeze(d)
    return x


def _adaptive_pool(x: Tensor, size: list[int]) -> Any:
    """Write an adaptive pooling whose windows are all alike as a plain one."""
    if list(size) == [1, 1] or x.shape[2] % size[0] or x.shape[3] % size[1]:
        return NotImplemented
    return _average(x, [int(x.shape[2]) // size[0], int(x.shape[3]) // size[1]])


def _adaptive_pool_1d(x: Tensor, size: list[int]) -> Any:
    return aten.adaptive_avg_pool2d.default(x.unsqueeze(3), [*size, 1]).squeeze(3)


def _average(x: Tensor, kernel: list[int], stride: Any = (), padding: Any = 0, *rest: Any) -> Any:
    """Write an average as a depthwise convolution by 1 / n: the runtimes' pooling kernels round ties each in its own way.

    Not so one that rounds its size up, or divides by a number of its own, or leaves its padding out of the count.
    """
    ceil, counted, divisor = [*rest, *(False, True, None)[len(rest) :]][:3]
    kernel, stride, padding = _pair(kernel), _pair(stride or kernel), _pair(padding)
    sizes, channels = [int(x.shape[2]), int(x.shape[3])], int(x.shape[1])
    if divisor is None and not any(padding) and all(k >= size for k, size in zip(kernel, sizes, strict=True)):
        # EfficientNet's has a kernel of 1280x1280 that rounds its size up: a converter that pads for it asks for gigabytes.
        return aten.adaptive_avg_pool2d.default(x, [1, 1])
    if ceil or divisor is not None or (any(padding) and not counted):
        return NotImplemented
    weight = torch.full([channels, 1, *kernel], 1 / (kernel[0] * kernel[1]))
    return aten.conv2d.default(x, weight, None, stride, padding, [1, 1], channels)


def _average_1d(x: Tensor, kernel: Any, stride: Any = (), padding: Any = 0, *rest: Any) -> Any:
    kernel, stride, padding = (
        [*_pair(values)[:1], fill] for values, fill in ((kernel, 1), (stride or kernel, 1), (padding, 0))
    )
    pooled = _average(x.unsqueeze(3), kernel, stride, padding, *rest)
    return pooled if pooled is NotImplemented else pooled.squeeze(3)


def _worded_padding(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    stride: Any = 1,
    padding: str = "valid",
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Write "same" as numbers; torch pads the far side by the odd one (torch.nn.Conv2d, `padding`)."""
    count = w.dim() - 2
    operation = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)[count - 1]
    stride, dilation = (
        (list(values) * count)[:count] if isinstance(values, list | tuple) else [values] * count
        for values in (stride, dilation)
    )
    totals = [d * (int(k) - 1) if padding == "same" else 0 for d, k in zip(dilation, w.shape[2:], strict=True)]
    if all(total % 2 == 0 for total in totals):
        return operation(x, w, b, stride, [total // 2 for total in totals], dilation, groups)
    sides = [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
    return operation(aten.constant_pad_nd.default(x, sides, 0.0), w, b, stride, [0] * count, dilation, groups)


def _transposed_row(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    stride: Any = (1,),
    padding: Any = (0,),
    extra: Any = (0,),
    groups: int = 1,
    dilation: Any = (1,),
) -> Any:
    """Write a transposed convolution over a row as one over a picture, which `transposed` writes out; LiteRT's converter ignores a row's groups."""
    settings = ([*values, fill] for values, fill in ((stride, 1), (padding, 0), (extra, 0), (dilation, 1)))
    stride, padding, extra, dilation = settings
    picture = (x.unsqueeze(3), w.unsqueeze(3), b, stride, padding, extra, groups, dilation)
    return aten.conv_transpose2d.input(*picture).squeeze(3)


def _pair(setting: Any) -> list[int]:
    values = [setting] if isinstance(setting, int) else list(setting)
    return values * 2 if len(values) == 1 else values


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
    """Vaswani 2017, formula 1: softmax(q k^T / sqrt(d)) v; the factor goes onto q, which its projection absorbs.

    A mask hides by HIDDEN, as `plain_attention` has it: next to -10,000 eight bits tell no other scores apart.
    """
    if is_causal or enable_gqa:
        return NotImplemented
    weights = torch.matmul(q * (scale or 1 / math.sqrt(q.shape[-1])), k.transpose(-2, -1))
    if mask is not None:
        hides = mask.dtype == torch.bool
        weights = weights + (
            torch.zeros_like(weights).masked_fill(~mask, HIDDEN) if hides else aten.clamp.default(mask, HIDDEN, None)
        )
    return torch.matmul(torch.softmax(weights, -1), v)


LOWERINGS: dict[OpOverload, Callable[..., Any]] = {
    aten.hardsigmoid.default: _hardsigmoid,
    aten.hardswish.default: _hardswish,
    aten.silu.default: _silu,
    aten.sub.Tensor: _of_floats(_subtract),
    aten.rsub.Scalar: _of_floats(_subtract_from),
    aten.neg.default: _of_floats(_negative),
    aten.div.Tensor: _of_floats(_divide),
    aten.pow.Tensor_Scalar: _power,
    aten.hardtanh.default: _hardtanh,
    aten.relu6.default: _relu6,
    aten.clamp_min.default: _clamp_min,
    aten.clamp_max.default: _clamp_max,
    aten.mean.dim: _mean,
    aten.adaptive_avg_pool2d.default: _adaptive_pool,
    aten.adaptive_avg_pool1d.default: _adaptive_pool_1d,
    aten.avg_pool2d.default: _average,
    aten.avg_pool1d.default: _average_1d,
    aten.conv1d.padding: _worded_padding,
    aten.conv2d.padding: _worded_padding,
    aten.conv3d.padding: _worded_padding,
    aten.conv_transpose1d.default: _transposed_row,
    aten.scaled_dot_product_attention.default: _attention,
}
