"""Operations: what each aten operation means to int8, as data.

| kind | scale of its output |
|---|---|
| weighted | its own; its weight has one a channel |
| computes | its own |
| clamps | its own; fused with a producer that nothing else reads |
| moves | its input's: it only moves numbers, picks among them, or takes their average where the kernel allows no other |
| fixed | given by the runtimes' kernels |

An operation that isn't here has no int8 form and stays in float. `FLOAT_IN` names those that one of the two files lacks:
ONNX Runtime's integer kernels are those its QDQ selectors know (onnxruntime/core/optimizer/qdq_transformer/selectors_actions/
qdq_selector_action_transformer.cc), LiteRT's those of its int8 specification.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.quantization.rules import Format

aten = torch.ops.aten


@dataclass(frozen=True)
class Fixed:
    """An output's scale and zero point that the kernels demand."""

    scale: float
    zero_point: int


WEIGHTED = {
    aten.conv1d.default,
    aten.conv2d.default,
    aten.linear.default,
    aten.conv_transpose2d.input,
}
COMPUTES = {
    aten.add.Tensor,
    aten.mul.Tensor,
    aten.matmul.default,
    aten.bmm.default,
    aten.adaptive_avg_pool2d.default,
    aten.leaky_relu.default,
    aten.mean.dim,
}
CLAMPS = {aten.relu.default, aten.clamp.default}
LINEAR_MOVES = {
    aten.view.default,
    aten.reshape.default,
    aten._unsafe_view.default,  # noqa: SLF001  # the name that decomposition gives a reshape
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.select.int,
    aten.slice.Tensor,
    aten.permute.default,
    aten.transpose.int,
    aten.t.default,
    aten.expand.default,
    aten.repeat.default,
    aten.cat.default,
    aten.stack.default,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.chunk.default,
    aten.unbind.int,
    operator.getitem,
    aten.pad.default,
    aten.constant_pad_nd.default,
    aten.avg_pool1d.default,
    aten.avg_pool2d.default,
    aten.upsample_nearest1d.vec,
    aten.upsample_nearest2d.vec,
    aten.upsample_bilinear2d.vec,
    aten.pixel_shuffle.default,
    aten.pixel_unshuffle.default,
    aten.channel_shuffle.default,
    aten.flip.default,
}
"""Moves that commute with a factor of either sign."""
REARRANGES = {
    aten.reshape.default,
    aten.permute.default,
    aten.transpose.int,
    aten.slice.Tensor,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.pixel_shuffle.default,
    aten.channel_shuffle.default,
    aten.max_pool2d.default,
    aten.upsample_nearest2d.vec,
}
"""Moves of one tensor that a clamp may change places with."""
MOVES = {*LINEAR_MOVES, aten.max_pool1d.default, aten.max_pool2d.default}
JOINS = {aten.cat.default, aten.stack.default}
FIXED: Mapping[Any, Fixed] = {
    aten.softmax.int: Fixed(1 / 256, -128),
    aten.sigmoid.default: Fixed(1 / 256, -128),
    aten.tanh.default: Fixed(1 / 128, 0),
}
"""LiteRT's int8 specification, LOGISTIC, SOFTMAX and TANH (https://ai.google.dev/edge/litert/models/quantization_spec)."""

FLOAT_IN: Mapping[Any, tuple[Format, ...]] = {
    aten.conv_transpose2d.input: ("onnx",),
    aten.tanh.default: ("onnx",),
    aten.mean.dim: ("onnx",),
    aten.upsample_bilinear2d.vec: ("onnx",),
}
"""Operations without an integer kernel in one kind of file."""

ELEMENTWISE: Callable[..., Any] = aten.mul.Tensor
