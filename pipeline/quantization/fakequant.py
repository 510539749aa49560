"""Fake quantisation: modules that round a float tensor as int8 would, and let the gradient pass (Jacob 2018, section 3).

torchao puts them into the graph, and takes scale and zero point from them when it converts. They are ours because
torchao's keep the widest range that a weight ever had, and round in evaluation as their flags were last left; these take a
weight's range from the weight as it is, and observe only when `phase` says so.

A bias is rounded too, to the grid of its layer's int32 sums, s_x s_w: that alone makes nearly all outputs of the frozen
program equal to the files' (`integer` has the figures).

Legend: w [O, ...] float32, b [O]; scale and zero point as in `ranges`.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchao.quantization.pt2e.fake_quantize import FakeQuantizeBase

from pipeline.quantization.ranges import HIGHEST, LOWEST, RANGES, Method, scale_and_zero_point

Phase = Literal["calibrate", "follow", "frozen"]
"""calibrate: watch, and pass the tensor through; follow: watch in training, and round; frozen: round."""

FLOOR = 2.0**-10
"""A channel's scale is at least this share of the layer's largest: a dead channel must not overflow its int32 bias."""


class ActivationFakeQuantize(FakeQuantizeBase):  # type: ignore[misc]  # torchao is untyped
    """Rounds an activation to int8, affine, one scale for a tensor or for several; `watched` tells whether one of this batch was seen."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, *, method: Method = "moving", **spec: Any) -> None:
        super().__init__()
        self.dtype, self.qscheme = spec["dtype"], spec["qscheme"]
        self.quant_min, self.quant_max, self.is_dynamic = LOWEST, HIGHEST, False
        self.phase: Phase = "calibrate"
        self.range = RANGES[method]()
        self.watched = False
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("zero_point", torch.zeros((), dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        """Return x [...] as int8 would hold it."""
        if self.phase == "calibrate" or (self.phase == "follow" and self.training):
            self.range.update(x.detach(), same_batch=self.watched)
            self.watched = True
            self.scale, self.zero_point = scale_and_zero_point(self.range.low, self.range.high)
        return (
            x
            if self.phase == "calibrate"
            else torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, LOWEST, HIGHEST)
        )

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """Return scale and zero point, as torchao asks for them."""
        return self.scale, self.zero_point


class FixedFakeQuantize(FakeQuantizeBase):  # type: ignore[misc]  # torchao is untyped
    """Rounds an activation with the scale and zero point that the runtimes' kernels demand."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, *, fixed_scale: float, fixed_zero_point: int, **spec: Any) -> None:
        super().__init__()
        self.dtype, self.qscheme = spec["dtype"], spec["qscheme"]
        self.quant_min, self.quant_max, self.is_dynamic = LOWEST, HIGHEST, False
        self.phase: Phase = "calibrate"
        self.register_buffer("scale", torch.tensor(fixed_scale))
        self.register_buffer("zero_point", torch.tensor(fixed_zero_point, dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        """Return x [...] as int8 would hold it."""
        return (
            x
            if self.phase == "calibrate"
            else torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, LOWEST, HIGHEST)
        )

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """Return scale and zero point, as torchao asks for them."""
        return self.scale, self.zero_point


class WeightFakeQuantize(FakeQuantizeBase):  # type: ignore[misc]  # torchao is untyped
    """Rounds a weight to int8, symmetric, one scale an output channel; or a constant operand, with one scale in all."""

    def __init__(self, *, limit: int, channel_axis: int | None, **spec: Any) -> None:
        super().__init__()
        self.dtype, self.qscheme = spec["dtype"], spec["qscheme"]
        self.quant_min, self.quant_max, self.is_dynamic = -limit, limit, False
        self.ch_axis = channel_axis
        self.phase: Phase = "calibrate"
        self.scale = torch.ones(1)

    def forward(self, w: Tensor) -> Tensor:
        """Return w [O, ...] as int8 would hold it."""
        self.scale = self._scale(w.detach())
        if self.phase == "calibrate":
            return w
        zero_point = torch.zeros_like(self.scale, dtype=torch.int32)
        if self.ch_axis is None:
            return torch.fake_quantize_per_tensor_affine(w, self.scale, zero_point, self.quant_min, self.quant_max)
        return torch.fake_quantize_per_channel_affine(
            w, self.scale, zero_point, self.ch_axis, self.quant_min, self.quant_max
        )

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """Return scales and zero points, as torchao asks for them."""
        return self.scale, torch.zeros_like(self.scale, dtype=torch.int32 if self.ch_axis is None else torch.int64)

    def _scale(self, w: Tensor) -> Tensor:
        if self.ch_axis is None:
            widest = w.abs().max()
        else:
            widest = w.abs().amax([axis for axis in range(w.dim()) if axis != self.ch_axis])
        floor = widest.max() * FLOOR
        return torch.where(floor > 0, torch.maximum(widest, floor), torch.ones_like(widest)) / self.quant_max


class BiasFakeQuantize(nn.Module):
    """Rounds a bias to the grid of its layer's sums: s_x s_w, one entry an output channel, as int32 holds it."""

    LIMIT = 2**31 - 1

    def __init__(self, x: ActivationFakeQuantize | FixedFakeQuantize, w: WeightFakeQuantize) -> None:
        super().__init__()
        self.sources = (x, w)
        self.phase: Phase = "calibrate"

    def forward(self, b: Tensor) -> Tensor:
        """Return b [O] as int32 would hold it."""
        if self.phase == "calibrate":
            return b
        x, w = self.sources
        step = (x.scale * w.scale).double()
        step = step.repeat(len(b) // len(step))  # the groups of a transposed convolution share their scales
        rounded = torch.round(b.detach().double() / step).clamp(-self.LIMIT, self.LIMIT) * step
        return b + (rounded.to(b.dtype) - b).detach()
