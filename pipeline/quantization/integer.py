"""The frozen program in the integer arithmetic of the runtimes, so that torch answers as the files do, bit for bit.

Why the frozen program itself doesn't: it multiplies dequantised floats. Share of 5,000 outputs (500 digits, scikit-learn's)
equal to the TFLite file's, for networks like ResNet-8, MobileNetV2 and DS-CNN after one epoch:

| program | ResNet-8 | MobileNetV2 | DS-CNN |
|---|---|---|---|
| frozen, biases in float | 89.9 % | 83.4 % | 92.2 % |
| frozen, each bias rounded to the accumulator's grid s_x s_w (as `freeze` does) | 99.6 % | 99.0 % | 99.7 % |
| this module | 100 % | 100 % | 100 % |

So the bias is nearly all of it: at run time it is an int32 in steps of s_x s_w. The rest is rounding: float sums in another
order, and the factor s_x s_w / s_y applied once to an exact integer (`kernels` has the formulas). ONNX Runtime and LiteRT
differ from each other in sums of two activations (on MobileNetV2 0.16 % of the outputs, by one step); `runtime` says which is
followed. The ONNX answers are those of x86; on Arm ONNX Runtime adds by integers, with one bit more than XNNPACK.

Codes go where values went: what only moves numbers (`MOVES`) moves codes. What has no kernel here is computed in float as
in the frozen program, and named.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from pipeline.quantization.kernels import (
    Contraction,
    Curve,
    Enter,
    Grid,
    Mean,
    Pair,
    Runtime,
    Same,
    product_table,
    sum_table,
)
from pipeline.quiet import copied

QUANTISE = "quantized_decomposed.quantize_per_tensor.default"
DEQUANTISE = "quantized_decomposed.dequantize_per_tensor.default"
QUANTISE_CHANNELS = "quantized_decomposed.quantize_per_channel.default"
DEQUANTISE_CHANNELS = "quantized_decomposed.dequantize_per_channel.default"

CLAMPS: dict[str, tuple[float | None, float | None]] = {
    "aten.relu.default": (0.0, None),
    "aten.relu_.default": (0.0, None),
    "aten.relu6.default": (0.0, 6.0),
    "aten.hardtanh.default": (-1.0, 1.0),
    "aten.hardtanh_.default": (-1.0, 1.0),
    "aten.clamp.default": (None, None),
}
"""Activations that clamp, with the bounds they have where none are given."""
CONTRACTIONS = {
    "aten.conv1d.default",
    "aten.conv1d.padding",
    "aten.conv2d.default",
    "aten.conv2d.padding",
    "aten.linear.default",
}
PAIRS = {
    "aten.add.Tensor": sum_table,
    "aten.add_.Tensor": sum_table,
    "aten.mul.Tensor": product_table,
    "aten.mul_.Tensor": product_table,
}
CURVES = {"aten.sigmoid.default"}
MEANS = {"aten.mean.dim", "aten.adaptive_avg_pool1d.default", "aten.adaptive_avg_pool2d.default"}
PADS: dict[str, tuple[Any, ...]] = {"aten.pad.default": ("constant", None), "aten.constant_pad_nd.default": (0,)}
"""Padding, and what follows its first two arguments where it isn't given: the mode, the value."""
MOVES = {
    "<built-in function getitem>",
    "aten._unsafe_view.default",
    "aten.alias.default",
    "aten.cat.default",
    "aten.channel_shuffle.default",
    "aten.chunk.default",
    "aten.clone.default",
    "aten.contiguous.default",
    "aten.dropout.default",
    "aten.expand.default",
    "aten.flatten.using_ints",
    "aten.flip.default",
    "aten.max_pool1d.default",
    "aten.max_pool2d.default",
    "aten.permute.default",
    "aten.pixel_shuffle.default",
    "aten.pixel_unshuffle.default",
    "aten.repeat.default",
    "aten.reshape.default",
    "aten.select.int",
    "aten.slice.Tensor",
    "aten.split.Tensor",
    "aten.split_with_sizes.default",
    "aten.squeeze.default",
    "aten.squeeze.dim",
    "aten.squeeze.dims",
    "aten.stack.default",
    "aten.t.default",
    "aten.transpose.int",
    "aten.unbind.int",
    "aten.unflatten.int",
    "aten.unsqueeze.default",
    "aten.view.default",
    *PADS,
}
"""Operations that take values and give some of them back: they do the same to codes, if all lie on one grid."""

Matched = tuple[nn.Module, tuple[fx.Node, ...]]


class IntegerProgram(nn.Module):
    """The rewritten program; `inexact` names the operations that are still computed in float.

    Where it is empty the outputs equal the runtime's bit for bit; else what comes after those may be a step off.
    """

    def __init__(self, program: fx.GraphModule, inexact: tuple[str, ...]) -> None:
        super().__init__()
        self.program = program
        self.inexact = inexact

    def forward(self, *inputs: Tensor) -> Any:
        """Return what the frozen program returns, dequantised."""
        with torch.no_grad():
            return self.program(*inputs)


def simulate(frozen: fx.GraphModule, *, runtime: Runtime = "litert") -> IntegerProgram:
    """Return the frozen program with exact integer arithmetic wherever an operation lies between dequantise and quantise.

    `frozen` stays as it is. `runtime` decides where the two differ: sums, products and means.
    """
    program = copied(frozen)
    unmatched = [
        node.name for node in list(program.graph.nodes) if _is(node, QUANTISE) and not _rewrite(program, node, runtime)
    ]
    program.graph.eliminate_dead_code(is_impure_node=lambda node: node.op in {"placeholder", "output"})
    program.graph.lint()
    program.recompile()
    return IntegerProgram(program, _inexact(program, unmatched))


def _is(node: fx.Node, *kinds: str) -> bool:
    return node.op == "call_function" and str(node.target) in kinds


def _args(node: fx.Node) -> tuple[Any, ...]:
    """Return a node's arguments; what each of them is, its target tells."""
    return node.args


def _function(node: fx.Node) -> Callable[..., Any]:
    assert callable(node.target)
    return node.target


def _rewrite(program: fx.GraphModule, quantise: fx.Node, runtime: Runtime) -> bool:
    """Compute the codes of a quantise node from the codes of its producer's inputs; False where no integer form is known."""
    grid, source = _output(quantise)
    if _is_constant(source):
        return True  # its codes are the frozen program's own
    matched = _match(program, source, grid, runtime=runtime, clamped=source is not _args(quantise)[0])
    if matched is None:
        return False
    name = f"integer_{quantise.name}"
    program.add_submodule(name, matched[0])
    with program.graph.inserting_before(quantise):
        codes = program.graph.call_module(name, matched[1])
    codes.meta = dict(quantise.meta)
    quantise.replace_all_uses_with(codes)
    return True


def _output(quantise: fx.Node) -> tuple[Grid, fx.Node]:
    """Return a quantise node's grid, cut by the clamps before it, and the node that computes what is clamped."""
    source, grid = _args(quantise)[0], _grid(quantise)
    while isinstance(source, fx.Node) and _is(source, *CLAMPS):
        bounds = list(CLAMPS[str(source.target)])
        bounds[: len(_args(source)) - 1] = _args(source)[1:]
        source, grid = _args(source)[0], grid.clamped(*bounds)
    return grid, source


def _grid(node: fx.Node) -> Grid:
    scale, zero_point, low, high = _args(node)[1:5]
    return Grid(scale, zero_point, low, high)


def _match(program: fx.GraphModule, source: fx.Node, grid: Grid, *, runtime: Runtime, clamped: bool) -> Matched | None:
    """Return the kernel that computes `source` on the grid, and the nodes whose codes it takes."""
    kind = str(source.target)
    if source.op == "placeholder":
        return Enter(grid), (source,)
    if kind in PAIRS:
        return _match_pair(source, grid, runtime)
    moves = kind == DEQUANTISE or kind in MOVES
    codes = _codes(source if moves else _args(source)[0])
    if codes is None:
        return None
    grids = (codes[1], grid)
    kernel = _same(*grids, clamped=clamped) if moves else _kernel(program, source, grids, runtime)
    return None if kernel is None else (kernel, (codes[0],))


def _same(x: Grid, y: Grid, *, clamped: bool) -> nn.Module | None:
    """Pass codes on; from one grid to another only through a clamp, where both runtimes have the same answers."""
    if x.lies_with(y):
        return Same(y)
    return Curve(Tensor.clone, (x, y)) if clamped else None


def _kernel(program: fx.GraphModule, source: fx.Node, grids: tuple[Grid, Grid], runtime: Runtime) -> nn.Module | None:
    kind = str(source.target)
    if kind in CONTRACTIONS:
        return _contraction(program, source, grids)
    if kind in MEANS:
        return _mean(source, grids, runtime)
    return Curve(_function(source), grids) if kind in CURVES else None


def _match_pair(source: fx.Node, grid: Grid, runtime: Runtime) -> Matched | None:
    a, b = (_codes(arg) for arg in _args(source)[:2])
    if a is None or b is None or source.kwargs.get("alpha", 1) != 1:
        return None
    table = PAIRS[str(source.target)](a[1], b[1], grid, runtime=runtime)
    return Pair(table, grid), (a[0], b[0])


def _codes(value: Any) -> tuple[fx.Node, Grid] | None:
    """Return the node that holds the codes of a dequantised value, moved as the value was, and their grid."""
    if not isinstance(value, fx.Node) or not _is(value, DEQUANTISE, *MOVES):
        return None
    if _is(value, DEQUANTISE):
        return _args(value)[0], _grid(value)
    moved = {arg: _codes(arg) for arg in value.all_input_nodes if not isinstance(arg.meta.get("val"), torch.SymInt)}
    known = {arg: found for arg, found in moved.items() if found is not None}
    grids = {grid for _, grid in known.values()}
    if len(known) < len(moved) or len(grids) != 1:
        return None
    grid = grids.pop()
    with value.graph.inserting_before(value):
        moved_node = value.graph.node_copy(value, lambda arg: known[arg][0] if arg in known else arg)
    return None if _is(value, *PADS) and not _pad_with_codes(moved_node, grid) else (moved_node, grid)


def _pad_with_codes(node: fx.Node, grid: Grid) -> bool:
    """Give a padding the code of its value; False where it pads with something else than a constant."""
    defaults = PADS[str(node.target)]
    *mode, value = [*_args(node)[2:], *defaults[len(_args(node)) - 2 :]]
    node.args = (*_args(node)[:2], *mode, grid.code(value or 0.0))
    return mode in ([], ["constant"])


def _contraction(program: fx.GraphModule, node: fx.Node, grids: tuple[Grid, Grid]) -> Contraction | None:
    weight, bias, *rest = [*_args(node)[1:], None][: max(2, len(_args(node)) - 1)]
    if not _is_constant(weight) or not (bias is None or _is_constant(bias)):
        return None
    if _is(weight, DEQUANTISE_CHANNELS) and _args(weight)[3] == 0:
        codes, scales, zeros = (_value(program, arg) for arg in _args(weight)[:3])
    elif _is(weight, DEQUANTISE):
        codes = _value(program, _args(weight)[0])
        scales, zeros = (torch.tensor([number]) for number in _args(weight)[1:3])
    else:
        return None
    w = codes.to(torch.int32) - zeros.to(torch.int32).reshape(-1, *[1] * (codes.dim() - 1))
    step = grids[0].s * scales.to(torch.float32)
    bias = None if bias is None else _value(program, bias)
    return Contraction(_function(node), rest, w=w, bias=bias, step=step, grids=grids)


def _mean(node: fx.Node, grids: tuple[Grid, Grid], runtime: Runtime) -> Mean | None:
    dims = _args(node)[1]
    if str(node.target) == "aten.mean.dim":
        return Mean(dims, grids, keeps=len(_args(node)) > 2 and bool(_args(node)[2]), runtime=runtime) if dims else None
    return Mean(range(-len(dims), 0), grids, keeps=True, runtime=runtime) if set(dims) == {1} else None


def _is_constant(node: Any) -> bool:
    """Tell whether a node depends on the program's own tensors alone."""
    if not isinstance(node, fx.Node) or node.op not in {"get_attr", "call_function"}:
        return False
    return node.op == "get_attr" or all(_is_constant(arg) for arg in node.all_input_nodes)


def _value(program: fx.GraphModule, node: fx.Node) -> Any:
    """Compute a constant node."""
    if node.op == "get_attr":
        return operator.attrgetter(str(node.target))(program).detach()
    args: Any = fx.node.map_arg(node.args, lambda arg: _value(program, arg))
    return _function(node)(*args, **node.kwargs)


def _inexact(program: fx.GraphModule, unmatched: list[str]) -> tuple[str, ...]:
    """Name what is computed in float, and the changes from one grid to another."""
    exact = {QUANTISE, DEQUANTISE, QUANTISE_CHANNELS, DEQUANTISE_CHANNELS, *MOVES}
    left = {node.name: node for node in program.graph.nodes if node.op == "call_function" and not _is_constant(node)}
    ops = {
        name
        for name, node in left.items()
        if not _is(node, *exact) and not isinstance(node.meta.get("val"), torch.SymInt)
    }
    jumps = {name for name in unmatched if _is(_args(left[name])[0], *exact)}
    return tuple(sorted(ops | jumps))
