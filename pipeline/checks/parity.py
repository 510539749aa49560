"""How far two files of one network agree: in their scales and in their outputs; `layers` says where they part.

An ONNX file of ours holds activations as uint8, a TFLite file as int8: the scales are equal, the zero points 128 apart.
Differences of outputs are counted in LSBs, the output's scale; where the output is float, an LSB is 1/255 of its range.

Letters: N samples, C channels.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.checks.exposed import inner_tensors
from pipeline.checks.graph import Graph, Tensor
from pipeline.checks.operators import weights
from pipeline.errors import ModelError

Array = NDArray[Any]
UNSIGNED_OFFSET = 128
STEPS_IN_RANGE = 255
NOT_FINITE_LSB = 1e9
"""How far apart two outputs count where one is no number; finite, so that it can stand in a JSON report."""

ActivationScale = tuple[float, int]
"""(scale, zero point as int8 has it)."""


@dataclass(frozen=True)
class Scales:
    """A file's scales: of each quantised activation in order, and of each operator's weights, channel by channel."""

    activations: tuple[ActivationScale, ...]
    weights: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class ScaleComparison:
    """Whether two files hold the same scales; what only one of them holds is told in words."""

    equal: bool
    activations: int
    weights: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


@dataclass(frozen=True)
class OutputComparison:
    """Shares of values that differ by less than half, one and a half, two and a half LSBs; the largest difference.

    `argmax_agreement` is the share of samples (and places) whose largest channel is the same one; None with one channel.
    """

    equal: float
    within_1_lsb: float
    within_2_lsb: float
    max_lsb: float
    argmax_agreement: float | None


def scales_of(graph: Graph) -> Scales:
    """Return a file's scales; uint8 activations are told as int8."""
    activations = tuple(_as_int8(graph.tensors[name]) for name in inner_tensors(graph))
    stored = [graph.tensors[name].quantization for _, name, _ in weights(graph)]
    return Scales(activations, tuple(quantization.scales for quantization in stored if quantization is not None))


def compare_scales(first: Graph, second: Graph) -> ScaleComparison:
    """Compare the scales of two files of one network.

    Activations are compared as a set, since operators that only move data repeat a scale as often as the format has
    such operators; weights one by one.
    """
    ours, theirs = scales_of(first), scales_of(second)
    acts, other_acts = set(ours.activations), set(theirs.activations)
    mine, others = Counter(ours.weights), Counter(theirs.weights)
    only_first = (*map(_told, sorted(acts - other_acts)), *map(_weights_told, mine - others))
    only_second = (*map(_told, sorted(other_acts - acts)), *map(_weights_told, others - mine))
    return ScaleComparison(not only_first and not only_second, len(acts), len(ours.weights), only_first, only_second)


def compare_outputs(first: Array, second: Array, *, scale: float | None = None) -> OutputComparison:
    """Compare outputs [N, C, ...] of two forms of a network; `scale` is the output's where it is quantised.

    Without one, an LSB is 1/255 of the range of `first`.
    """
    if first.shape != second.shape:
        raise ModelError(
            f"outputs have shapes {list(first.shape)} and {list(second.shape)}; compare files of one network"
        )
    one, other = first.astype(np.float64), second.astype(np.float64)
    lsb = scale or _range(one) / STEPS_IN_RANGE or 1.0
    apart = np.where(np.isfinite(one) & np.isfinite(other), np.abs(one - other) / lsb, NOT_FINITE_LSB)
    return OutputComparison(
        equal=float(np.mean(apart < 0.5)),
        within_1_lsb=float(np.mean(apart < 1.5)),
        within_2_lsb=float(np.mean(apart < 2.5)),
        max_lsb=round(float(apart.max(initial=0.0)), 3),
        argmax_agreement=_agreement(one, other),
    )


def _as_int8(tensor: Tensor) -> ActivationScale:
    assert tensor.quantization is not None
    zero_point = tensor.quantization.zero_points[0]
    return tensor.quantization.scales[0], zero_point - UNSIGNED_OFFSET if tensor.dtype == "uint8" else zero_point


def _range(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max() - finite.min()) if finite.size else 0.0


def _agreement(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    if first.ndim < 2 or first.shape[1] < 2:
        return None
    return float(np.mean(first.argmax(axis=1) == second.argmax(axis=1)))


def _told(activation: ActivationScale) -> str:
    return f"activation with scale {activation[0]:.6g}, zero point {activation[1]}"


def _weights_told(scales: tuple[float, ...]) -> str:
    return f"weights with {len(scales)} scales, the first {scales[0]:.6g}"
