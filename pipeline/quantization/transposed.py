"""Transposed: a transposed convolution as a convolution and an interleaving, since ONNX Runtime has no integer kernel for it.

With stride s and kernel k the output at o = s q + r - p takes only the taps k' = r + s m, so each phase r is a convolution
of M = ceil(k / s) taps (Shi 2016, https://arxiv.org/abs/1609.07009, appendix A):

    y[s q + r - p] = sum_m x[q - m] w[r + s m]

The phases are output channels of one convolution; a reshape interleaves them and a slice cuts the padding p off. Where s divides
k it costs no product more than the transposed form.

Legend: x [N, C, H, W]; w [C, O/groups, kh, kw]; r phases [sh, sw].
"""

import math
from typing import Any

import torch
from torch import Tensor, fx

from pipeline.quantization.graph import add_constant, calls, constant_of, describe_as

aten = torch.ops.aten


def write_out_transposed(graph_module: fx.GraphModule) -> None:
    """Replace each two-dimensional transposed convolution without dilation."""
    for node in calls(graph_module, {aten.conv_transpose2d.input}):
        given = [*node.args, *[None, [1, 1], [0, 0], [0, 0], 1, [1, 1]][len(node.args) - 2 :]]
        settings: Any = given
        _, weight, bias, stride, padding, extra, groups, dilation = settings
        w = constant_of(graph_module, weight)
        if w is None or any(step != 1 for step in _pair(dilation)):
            continue
        _write_out(graph_module, node, w, bias, (_pair(stride), _pair(padding), _pair(extra), int(groups)))


def phases_of(w: Tensor, stride: list[int], groups: int, taps: list[int]) -> Tensor:
    """Return the weight [O sh sw, C/groups, Mh, Mw] of the convolution that gives all phases, in pixel-shuffle's order."""
    channels, outputs = w.shape[0] // groups, w.shape[1]
    full = torch.zeros(groups, channels, outputs, taps[0] * stride[0], taps[1] * stride[1], dtype=w.dtype)
    full[..., : w.shape[2], : w.shape[3]] = w.detach().reshape(groups, channels, outputs, *w.shape[2:])
    split = full.reshape(groups, channels, outputs, taps[0], stride[0], taps[1], stride[1]).flip(3, 5)
    return split.permute(0, 2, 4, 6, 1, 3, 5).reshape(groups * outputs * stride[0] * stride[1], channels, *taps)


def _write_out(
    graph_module: fx.GraphModule,
    node: fx.Node,
    w: Tensor,
    bias: Any,
    settings: tuple[list[int], list[int], list[int], int],
) -> None:
    stride, padding, extra, groups = settings
    x: Any = node.args[0]
    height, width = (int(size) for size in node.meta["val"].shape[2:])
    outputs = w.shape[1] * groups
    taps = [
        max(math.ceil(k / s), math.ceil((k + more - p) / s))
        for k, s, p, more in zip(w.shape[2:], stride, padding, extra, strict=True)
    ]
    b = constant_of(graph_module, bias)
    name = str(node.args[1].target)  # type: ignore[union-attr]  # a get_attr node
    weight = add_constant(graph_module, name, phases_of(w, stride, groups, taps), before=node)
    phases = stride[0] * stride[1]
    offset = (
        None if b is None else add_constant(graph_module, str(bias.target), b.repeat_interleave(phases), before=node)
    )
    sides = [taps[0] - 1, taps[1] - 1]
    rows, columns = (int(size) + m - 1 for size, m in zip(x.meta["val"].shape[2:], taps, strict=True))
    steps: list[tuple[Any, tuple[Any, ...]]] = [
        (aten.conv2d.default, (weight, offset, [1, 1], sides, [1, 1], groups)),
        (aten.reshape.default, ([-1, outputs, *stride, rows, columns],)),
        (aten.permute.default, ([0, 1, 4, 2, 5, 3],)),
        (aten.reshape.default, ([-1, outputs, rows * stride[0], columns * stride[1]],)),
    ]
    for axis, start, size, whole in (
        (2, padding[0], height, rows * stride[0]),
        (3, padding[1], width, columns * stride[1]),
    ):
        if size != whole:
            steps.append((aten.slice.Tensor, (axis, start, start + size)))
    node.replace_all_uses_with(_chain(node, x, steps))


def _chain(node: fx.Node, x: fx.Node, steps: list[tuple[Any, tuple[Any, ...]]]) -> fx.Node:
    """Write one call after the other, each on the last one's result."""
    last = x
    for target, rest in steps:
        with node.graph.inserting_before(node):
            call = node.graph.call_function(target, (last, *rest))
        values = [argument.meta["val"] if isinstance(argument, fx.Node) else argument for argument in call.args]
        last = describe_as(call, node, target(*values))
    return last


def _pair(setting: Any) -> list[int]:
    values = list(setting) if isinstance(setting, list | tuple) else [setting]
    return values * 2 if len(values) == 1 else values
