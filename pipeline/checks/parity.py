"""How far two files of one network agree: in their scales, in their outputs, and layer by layer.

An ONNX file of ours holds activations as uint8, a TFLite file as int8: the scales are equal, the zero points 128 apart.
Differences of outputs are counted in LSBs, the output's scale; where the output is float, an LSB is 1/255 of its range.

Letters: N samples, C channels.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices import runner
from devices.sandbox import explain, run_python
from pipeline.checks.answers import Port
from pipeline.checks.exposed import expose, inner_tensors
from pipeline.checks.graph import Graph, Tensor, read_graph
from pipeline.checks.operators import weights
from pipeline.errors import ModelError

Array = NDArray[Any]
UNSIGNED_OFFSET = 128
STEPS_IN_RANGE = 255
NOT_FINITE_LSB = 1e9
"""How far apart two outputs count where one is no number; finite, so that it can stand in a JSON report."""

Activation = tuple[float, int]
"""(scale, zero point as int8 has it)."""


@dataclass(frozen=True)
class Scales:
    """A file's scales: of each quantised activation in order, and of each operator's weights, channel by channel."""

    activations: tuple[Activation, ...]
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


@dataclass(frozen=True)
class Layer:
    """How far one tensor is the same in both files: names in each, the operator that made it in the second."""

    first: str
    second: str
    operator: str
    equal: float
    max_lsb: int


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


def first_divergence(first: Path, second: Path, samples: Sequence[Array]) -> Layer | None:
    """Return the first layer whose tensors differ between two files, or None where all are equal."""
    return next((layer for layer in compare_layers(first, second, samples) if layer.max_lsb > 0), None)


def compare_layers(first: Path, second: Path, samples: Sequence[Array]) -> list[Layer]:
    """Run both files on float samples, an array [N, C, ...] an input, and compare every activation that both hold.

    Tensors are matched by scale, zero point and number of values, in order; both files run in bounded subprocesses.
    """
    graphs = read_graph(first), read_graph(second)
    runs = [_inner_values(graph, samples) for graph in graphs]
    layers: list[Layer] = []
    left = list(runs[1].items())
    for name, values in runs[0].items():
        key = _key(graphs[0].tensors[name], values)
        match = next((other for other in left if _key(graphs[1].tensors[other[0]], other[1]) == key), None)
        if match is not None:
            left.remove(match)
            layers.append(_layer(name, values, *match, graphs[1]))
    return layers


def _inner_values(graph: Graph, samples: Sequence[Array]) -> dict[str, Array]:
    """Return each quantised activation of a file as int8, [N, ...]."""
    names = inner_tensors(graph)
    with tempfile.TemporaryDirectory() as folder:
        copy = expose(graph, names, Path(folder) / f"copy.{graph.format}")
        answers = _answers(graph, copy, samples, Path(folder))
    inner = answers[len(graph.outputs) :]
    return {name: _signed(values) for name, values in zip(names, inner, strict=True)}


def _answers(graph: Graph, path: Path, samples: Sequence[Array], folder: Path) -> list[Array]:
    if len(samples) != len(graph.inputs):
        raise ModelError(
            f"{graph.path} takes {len(graph.inputs)} inputs, {len(samples)} were given; give one array an input"
        )
    taken = [_port(graph.tensors[name]).takes(values) for name, values in zip(graph.inputs, samples, strict=True)]
    inputs, outputs = folder / "inputs.npz", folder / "outputs.npz"
    np.savez(inputs, *taken)
    finished = run_python(
        Path(runner.__file__), ["--model", str(path), "--inputs", str(inputs), "--outputs", str(outputs)]
    )
    if not finished.ok:
        raise ModelError(f"{graph.path} can't be run: it {explain(finished)}")
    count = len(json.loads(finished.stdout.splitlines()[-1])["outputs"])
    with np.load(outputs, allow_pickle=False) as file:
        return [file[f"arr_{index}"] for index in range(count)]


def _port(tensor: Tensor) -> Port:
    shape = tuple(size or 0 for size in tensor.shape or ())
    if tensor.quantization is None:
        return Port(tensor.name, shape, tensor.dtype)
    return Port(tensor.name, shape, tensor.dtype, tensor.quantization.scales[0], tensor.quantization.zero_points[0])


def _layer(name: str, values: Array, other: str, other_values: Array, graph: Graph) -> Layer:
    arranged = min(_arrangements(values, other_values.shape), key=lambda array: _difference(array, other_values).sum())
    apart = _difference(arranged, other_values)
    producer = graph.producers.get(other)
    return Layer(
        name, other, producer.op if producer else "input", float(np.mean(apart == 0)), int(apart.max(initial=0))
    )


def _arrangements(values: Array, shape: tuple[int, ...]) -> list[Array]:
    """Return the ways in which values may lie in a tensor of the other format: as they are, or channels last."""
    last = np.moveaxis(values, 1, -1) if values.ndim > 2 else values
    return [array for array in (values, last) if array.shape == shape] or [last.reshape(shape)]


def _difference(first: Array, second: Array) -> NDArray[np.int64]:
    return np.abs(first.astype(np.int64) - second.astype(np.int64))


def _signed(values: Array) -> NDArray[np.int8]:
    if values.dtype == np.uint8:
        return (values.astype(np.int16) - UNSIGNED_OFFSET).astype(np.int8)
    return values.astype(np.int8)


def _key(tensor: Tensor, values: Array) -> tuple[Activation, int]:
    return _as_int8(tensor), values.size


def _as_int8(tensor: Tensor) -> Activation:
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


def _told(activation: Activation) -> str:
    return f"activation with scale {activation[0]:.6g}, zero point {activation[1]}"


def _weights_told(scales: tuple[float, ...]) -> str:
    return f"weights with {len(scales)} scales, the first {scales[0]:.6g}"
