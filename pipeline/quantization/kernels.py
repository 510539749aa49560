"""The runtimes' int8 kernels in torch, exact to the last bit: codes in, codes out.

How both runtimes compute, read from their sources and confirmed on random tensors (x86, ONNX Runtime 1.31.1 with
`session.x64quantprecision=1`, LiteRT 2.3.0 with XNNPACK); s are scales, z zero points, all arithmetic in single precision:

- Convolution, linear layer: A = sum((x - z_x) w) + round(b / (s_x s_w)), an int32; y = round(A M) + z_y, M = s_x s_w / s_y.
  MLAS `MlasRequantizeOutput` (onnxruntime/core/mlas/lib/quantize.cpp), XNNPACK `xnn_qs8_requantize_fp32`
  (src/xnnpack/requantization.h). Rounding is half to even throughout. Not explained: in a ResNet-18 one convolution of
  2,304 products a sum gave 4 of 110,000 values one step off in LiteRT, and ONNX Runtime none.
- Mean over n: y = round((sum(x) - n z_x) M) + z_y, M = s_x / (s_y n), in MLAS (`MlasQLinearGlobalAveragePool`,
  onnxruntime/core/mlas/lib/qlgavgpool.cpp); XNNPACK adds z_y before it rounds, which matters in a tie.
- Product: A = (a - z_a)(b - z_b), M = s_a s_b / s_y; here it is MLAS that adds z_y before it rounds (qlmul.cpp).
- Sum: the runtimes part more often. XNNPACK (`xnn_init_qs8_add_minmax_scalar_params`, src/microparams-init.c) turns s_a / s_y and
  s_b / s_y into integers of 21 bits and rounds half up; MLAS on x86 uses fused multiply-adds in single precision
  (intrinsics/avx2/qladd_avx2.cpp). One answer in 100,000 differs, by one.

Letters: N batch, O outputs; codes are int8 tensors of any shape, accumulators hold integers in a float type.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Runtime = Literal["litert", "onnxruntime"]

EXACT_IN_SINGLE = 2.0**24
"""Integers up to here are exact in single precision (IEEE 754 binary32: 24 bits)."""
INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class Grid:
    """Where the int8 codes of a tensor lie: value = scale * (code - zero_point), code in [low, high]."""

    scale: float
    zero_point: int
    low: int
    high: int

    @property
    def s(self) -> Tensor:
        """The scale in single precision, []."""
        return torch.tensor(self.scale, dtype=torch.float32)

    def code(self, value: float) -> int:
        """Return the code nearest to a value, within the grid."""
        if math.isinf(value):
            return self.high if value > 0 else self.low
        return max(self.low, min(self.high, round(value / self.scale) + self.zero_point))

    def clamped(self, low: float | None, high: float | None) -> "Grid":
        """Return the grid cut down to values from low to high; rounding is monotone, so the clamp may come after it."""
        least = self.low if low is None else self.code(low)
        most = self.high if high is None else self.code(high)
        return Grid(self.scale, self.zero_point, least, most)

    def lies_with(self, other: "Grid") -> bool:
        """Tell whether equal codes mean equal values."""
        return (self.scale, self.zero_point) == (other.scale, other.zero_point)


class Enter(nn.Module):
    """Float to codes as ONNX's QuantizeLinear: round(x / s) + z; torch multiplies by 1 / s, which differs in ties."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        """Return the codes of values."""
        return _codes(x / self.grid.s, self.grid)


class Same(nn.Module):
    """Codes to codes on the same grid: what is left is the clamp."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, codes: Tensor) -> Tensor:
        """Return the clamped codes."""
        return codes.clamp(self.grid.low, self.grid.high)


class Contraction(nn.Module):
    """Convolution or linear layer: `op(x, w, None, *rest)` on integers.

    `w`: codes less their zero point [O, ...]; `step`: s_x s_w, [O] or [1]; `bias`: in value, [O]. Single precision holds the
    accumulator exactly where its largest possible value is below 2^24, double precision elsewhere.
    """

    w: Tensor
    b: Tensor
    m: Tensor

    def __init__(
        self,
        op: Callable[..., Tensor],
        rest: Sequence[Any],
        *,
        w: Tensor,
        bias: Tensor | None,
        step: Tensor,
        grids: tuple[Grid, Grid],
    ) -> None:
        super().__init__()
        x, y = grids
        b = (
            torch.zeros(len(w))
            if bias is None
            else (bias.double() / step.double()).round().clamp(-INT32_MAX, INT32_MAX)
        )
        reach = max(x.high - x.zero_point, x.zero_point - x.low)
        largest = (w.double().abs().flatten(1).sum(1) * reach + b.double().abs()).max().item()
        dtype = torch.float32 if largest < EXACT_IN_SINGLE else torch.float64
        each = (-1, *[1] * (w.dim() - 2))
        self.op, self.rest, self.zero_point, self.grid = op, tuple(rest), x.zero_point, y
        self.register_buffer("w", w.to(dtype))
        self.register_buffer("b", b.to(dtype).reshape(each))
        self.register_buffer("m", (step / y.s).reshape(each))

    def forward(self, codes: Tensor) -> Tensor:
        """Return codes [N, O, ...] (or [..., O] for a linear layer)."""
        accumulator = self.op(codes.to(self.w.dtype).sub_(self.zero_point), self.w, None, *self.rest).add_(self.b)
        return _codes(accumulator.to(torch.float32).mul_(self.m), self.grid)


class Mean(nn.Module):
    """Mean over dimensions: the runtimes differ in ties, and only where the scales' ratio allows one."""

    def __init__(self, dims: Sequence[int], grids: tuple[Grid, Grid], *, keeps: bool, runtime: Runtime) -> None:
        super().__init__()
        self.dims, self.keeps, self.grids, self.runtime = tuple(dims), keeps, grids, runtime

    def forward(self, codes: Tensor) -> Tensor:
        """Return the codes of the means."""
        x, y = self.grids
        n = math.prod(codes.shape[dim] for dim in self.dims)
        total = (codes.sum(self.dims, keepdim=self.keeps, dtype=torch.int64) - n * x.zero_point).to(torch.float32)
        if self.runtime == "onnxruntime":
            return _codes(total * (x.s / (y.s * n)), y)
        return (total * (x.s / y.s / n) + y.zero_point).round_().clamp_(y.low, y.high).to(torch.int8)


class Curve(nn.Module):
    """A function of one value, by the table of its 256 answers: that is how both runtimes do it."""

    table: Tensor

    def __init__(self, function: Callable[[Tensor], Tensor], grids: tuple[Grid, Grid]) -> None:
        super().__init__()
        x, y = grids
        values = (torch.arange(-128, 128) - x.zero_point).to(torch.float32) * x.s
        self.register_buffer("table", _codes(function(values) / y.s, y))

    def forward(self, codes: Tensor) -> Tensor:
        """Return the codes of the function's values."""
        return self.table.index_select(0, (codes.to(torch.int32) + 128).flatten()).view(codes.shape)


class Pair(nn.Module):
    """Two codes in, one out, by a table [256, 256] of all answers."""

    table: Tensor

    def __init__(self, table: Tensor, grid: Grid) -> None:
        super().__init__()
        self.register_buffer("table", table.clamp(grid.low, grid.high).to(torch.int8).flatten())

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the codes of the answers; a and b broadcast."""
        index = a.to(torch.int32) * 256 + (b.to(torch.int32) + (128 * 256 + 128))
        return self.table.index_select(0, index.flatten()).view(index.shape)


def sum_table(a: Grid, b: Grid, y: Grid, *, runtime: Runtime) -> Tensor:
    """Return the codes [256, 256] of a + b before the clamp."""
    return _xnnpack_sum(a, b, y) if runtime == "litert" else _mlas_sum(a, b, y)


def product_table(a: Grid, b: Grid, y: Grid, *, runtime: Runtime) -> Tensor:
    """Return the codes [256, 256] of a * b before the clamp."""
    product = ((_CODES - a.zero_point)[:, None] * (_CODES - b.zero_point)).to(torch.float32) * (a.s * b.s / y.s)
    if runtime == "litert":
        return product.round() + y.zero_point
    return (product + (y.zero_point + _UNSIGNED)).round() - _UNSIGNED


_CODES = torch.arange(-128, 128)
_UNSIGNED = 128
"""Activations in our ONNX files are uint8: code + 128 (with the zero point alike)."""


def _xnnpack_sum(a: Grid, b: Grid, y: Grid) -> Tensor:
    ratio_a, ratio_b = float(a.s / y.s), float(b.s / y.s)
    shift = 21 - math.frexp(max(ratio_a, ratio_b))[1]
    m_a, m_b = round(math.ldexp(ratio_a, shift)), round(math.ldexp(ratio_b, shift))
    total = ((_CODES - a.zero_point) * m_a)[:, None] + (_CODES - b.zero_point) * m_b
    return ((total + (1 << (shift - 1))) >> shift) + y.zero_point


def _mlas_sum(a: Grid, b: Grid, y: Grid) -> Tensor:
    """Compute y = fma(a, r_a, fma(b, r_b, f)), f = z_y - fma(r_a, z_a, r_b z_b); each fma rounds once, in single precision."""
    r_a, r_b = a.s / y.s, b.s / y.s
    z_a, z_b, z_y = (torch.tensor(float(grid.zero_point + _UNSIGNED)) for grid in (a, b, y))
    fixed = z_y - _fused(r_a, z_a, r_b * z_b)
    codes = (_CODES + _UNSIGNED).to(torch.float32)
    return _fused(codes[:, None], r_a, _fused(codes, r_b, fixed)).round() - _UNSIGNED


def _fused(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return x y + z rounded once: a product of two singles is exact in double precision."""
    return (x.double() * y.double() + z.double()).to(torch.float32)


def _codes(steps: Tensor, grid: Grid) -> Tensor:
    """Return the codes of values in steps of the scale; `steps` is overwritten."""
    return steps.round_().add_(grid.zero_point).clamp_(grid.low, grid.high).to(torch.int8)
