"""Observed: what a frozen program's quantised activations are while it runs, so that a file can be held against them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from pipeline.checks.layers import Activation
from pipeline.quantization.graph import constant_of

quantized = torch.ops.quantized_decomposed


def activations_of(frozen: fx.GraphModule, inputs: Sequence[Tensor]) -> list[Activation]:
    """Run a frozen program on inputs [N, C, ...] and return its int8 activations, in the order in which it makes them."""
    observer = _Observer(frozen)
    with torch.no_grad():
        observer.run(*inputs)
    return observer.seen


class _Observer(fx.Interpreter):
    """Runs a program and keeps what its quantize operations give; those of weights are left out."""

    def __init__(self, frozen: fx.GraphModule) -> None:
        super().__init__(frozen)
        self.frozen = frozen
        self.seen: list[Activation] = []

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        value = super().run_node(n)
        if n.target == quantized.quantize_per_tensor.default and constant_of(self.frozen, n.args[0]) is None:
            source, scale, zero_point = n.args[0], n.args[1], n.args[2]
            assert isinstance(source, fx.Node)
            assert isinstance(scale, float)
            assert isinstance(zero_point, int)
            operator = "input" if source.op == "placeholder" else str(source.target).rpartition("aten.")[2]
            self.seen.append(Activation(source.name, operator, scale, zero_point, value.numpy()))
        return value
