"""Agree: move scales by a hair until both runtimes' kernels give the same code for every pair of codes.

Sums, products and means are where ONNX Runtime and LiteRT part: they round ties otherwise, or carry other digits of the
scales' ratio (`kernels`). Which codes are hit depends on the output's scale, and about every second scale is hit by
none: so each is widened in steps of 2^-13 until the tables of all 65,536 answers are equal. Convolutions agree as they are.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx

from pipeline.quantization.fakequant import ActivationFakeQuantize, FixedFakeQuantize, WeightFakeQuantize
from pipeline.quantization.kernels import Grid, product_table, sum_table
from pipeline.quantization.operations import CLAMPS
from pipeline.quantization.ranges import HIGHEST, LOWEST

aten = torch.ops.aten
TABLES: dict[Any, Callable[..., Tensor]] = {aten.add.Tensor: sum_table, aten.mul.Tensor: product_table}
MEANS = {aten.adaptive_avg_pool2d.default}
STEP = 2.0**-13
STEPS = 64
ROUNDS = 4
"""A scale that several sums share is tried again after each of them moved it."""
MOST_SUMMANDS = 2**16

Quantizer = ActivationFakeQuantize | FixedFakeQuantize | WeightFakeQuantize


def agree(graph: fx.GraphModule) -> int:
    """Widen scales in a prepared graph until its sums, products and means agree; return how many could not."""
    left = 0
    for _ in range(ROUNDS):
        moved, left = False, 0
        for output, differs in _judged(graph):
            found = _widened(output, differs)
            moved = moved or bool(found)
            left += found is None
        if not moved:
            break
    return left


def _widened(output: ActivationFakeQuantize, differs: Callable[[Grid], bool]) -> int | None:
    """Widen a scale until nothing differs; return the steps that it took, None if all were in vain."""
    first = output.scale.clone()
    for step in range(STEPS):
        output.scale = first * (1 + step * STEP)
        if not differs(_grid(output)):
            return step
    output.scale = first
    return None


def _judged(graph: fx.GraphModule) -> Iterator[tuple[ActivationFakeQuantize, Callable[[Grid], bool]]]:
    """Give each sum, product and mean of the graph: its output's quantiser, and whether the runtimes differ on a grid."""
    for node in graph.graph.nodes:
        output = _output(graph, node)
        if output is None:
            continue
        inputs = [_quantizer(graph, x) for x in node.args[:2]]
        if node.target in TABLES and inputs[0] is not None and inputs[1] is not None:
            yield output, _pair_differs(TABLES[node.target], inputs[0], inputs[1])
        elif node.target in MEANS and inputs[0] is not None:
            count = _summands(node)
            if count <= MOST_SUMMANDS:
                yield output, _mean_differs(inputs[0], count)


def _pair_differs(table: Callable[..., Tensor], a: Quantizer, b: Quantizer) -> Callable[[Grid], bool]:
    def differs(y: Grid) -> bool:
        grids = (_grid(a), _grid(b), y)
        ours, theirs = (table(*grids, runtime=runtime).clamp(LOWEST, HIGHEST) for runtime in ("litert", "onnxruntime"))
        return not torch.equal(ours.to(torch.int16), theirs.to(torch.int16))

    return differs


def _mean_differs(x: Quantizer, count: int) -> Callable[[Grid], bool]:
    """Compare the two runtimes' means by `kernels.Mean`'s formulas, on every possible sum."""

    def differs(y: Grid) -> bool:
        grid = _grid(x)
        sums = torch.arange((LOWEST - grid.zero_point) * count, (HIGHEST - grid.zero_point) * count + 1).to(
            torch.float32
        )
        ours = (sums * (grid.s / y.s / count) + y.zero_point).round().clamp(LOWEST, HIGHEST)
        theirs = ((sums * (grid.s / (y.s * count))).round() + y.zero_point).clamp(LOWEST, HIGHEST)
        return not torch.equal(ours, theirs)

    return differs


def _summands(node: fx.Node) -> int:
    """Return how many numbers one mean is of; more than the most where it is no global one."""
    source: Any = node.args[0]
    while "val" not in source.meta:
        source = source.args[0]
    height, width = source.meta["val"].shape[-2:]
    whole = list(node.args[1]) == [1, 1] and isinstance(height, int) and isinstance(width, int)  # type: ignore[arg-type]  # a list by aten's schema
    return height * width if whole else MOST_SUMMANDS + 1


def _output(graph: fx.GraphModule, node: fx.Node) -> ActivationFakeQuantize | None:
    """Return the quantiser that a node's output goes into, behind its clamp."""
    users = list(node.users)
    while len(users) == 1 and users[0].target in CLAMPS:
        users = list(users[0].users)
    found = _quantizer(graph, users[0]) if node.op == "call_function" and len(users) == 1 else None
    return found if isinstance(found, ActivationFakeQuantize) else None


def _quantizer(graph: fx.GraphModule, node: Any) -> Quantizer | None:
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    module = graph.get_submodule(str(node.target))
    return module if isinstance(module, Quantizer) else None


def _grid(quantizer: Quantizer) -> Grid:
    scale, zero_point = quantizer.calculate_qparams()
    return Grid(float(scale), int(zero_point), LOWEST, HIGHEST)
