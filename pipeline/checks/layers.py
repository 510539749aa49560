"""Where two forms of one network part: every quantised activation of one against that of the other, layer by layer.

A form is a list of activations in the order in which it makes them. `activations_of` reads those of a file: both formats
are run on the same float samples with their inner tensors exposed, in bounded subprocesses. Those of a torch program come
from `quantization.observed`. Activations are matched by scale, zero point and number of values, in order.

Letters: N samples, C channels.
"""

import json
import tempfile
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
from pipeline.errors import ModelError

Array = NDArray[Any]
UNSIGNED_OFFSET = 128


@dataclass(frozen=True)
class Activation:
    """A quantised tensor while its network runs: `values` [N, C, ...], or channels last, as int8 has them."""

    name: str
    operator: str
    scale: float
    zero_point: int
    values: NDArray[np.int8]

    @property
    def key(self) -> tuple[float, int, int]:
        """What it must share with the same activation of another form; scales are compared as float32."""
        return float(np.float32(self.scale)), self.zero_point, self.values.size


@dataclass(frozen=True)
class Layer:
    """How far one activation is the same in two forms: its name in each, the operator that made it in the second."""

    first: str
    second: str
    operator: str
    equal: float
    max_lsb: int


def first_divergence(first: Sequence[Activation], second: Sequence[Activation]) -> Layer | None:
    """Return the first layer at which two forms part, or None where all are equal."""
    return parting(compare_layers(first, second))


def parting(layers: Sequence[Layer]) -> Layer | None:
    """Return the first of compared layers that differs, or None.

    A single LSB may be rounding alone; a layer that is further apart, where there is one, is where to look.
    """
    apart = [layer for layer in layers if layer.max_lsb > 0]
    return next((layer for layer in apart if layer.max_lsb > 1), apart[0] if apart else None)


def compare_layers(first: Sequence[Activation], second: Sequence[Activation]) -> list[Layer]:
    """Compare every activation that both forms hold."""
    layers: list[Layer] = []
    left = list(second)
    for activation in first:
        match = next((other for other in left if other.key == activation.key), None)
        if match is not None:
            left.remove(match)
            layers.append(_layer(activation, match))
    return layers


def activations_of(path: Path, samples: Sequence[Array]) -> list[Activation]:
    """Run a file on float samples, an array [N, C, ...] an input, and return its quantised activations."""
    graph = read_graph(path)
    names = inner_tensors(graph)
    with tempfile.TemporaryDirectory() as folder:
        copy = expose(graph, names, Path(folder) / f"copy.{graph.format}")
        answers = _answers(graph, copy, samples, Path(folder))
    return [_activation(graph, name, values) for name, values in zip(names, answers[len(graph.outputs) :], strict=True)]


def _activation(graph: Graph, name: str, values: Array) -> Activation:
    quantization = graph.tensors[name].quantization
    assert quantization is not None
    signed = values.astype(np.int16) - UNSIGNED_OFFSET * (values.dtype == np.uint8)
    zero_point = quantization.zero_points[0] - UNSIGNED_OFFSET * (graph.tensors[name].dtype == "uint8")
    return Activation(name, _operator(graph, name), quantization.scales[0], zero_point, signed.astype(np.int8))


def _operator(graph: Graph, name: str) -> str:
    """Return the operator that made a tensor: in an ONNX file of Q/DQ pairs, the one whose answer was quantised."""
    node = graph.producers.get(name)
    while node and node.op in ("QuantizeLinear", "Relu", "Clip") and node.inputs[0] in graph.producers:
        node = graph.producers[node.inputs[0]]
    return node.op if node and node.op != "QuantizeLinear" else "input"


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


def _layer(one: Activation, other: Activation) -> Layer:
    arrangements = _arrangements(one.values, other.values.shape)
    apart = min((_difference(array, other.values) for array in arrangements), key=lambda found: int(found.sum()))
    return Layer(one.name, other.name, other.operator, float(np.mean(apart == 0)), int(apart.max(initial=0)))


def _arrangements(values: Array, shape: tuple[int, ...]) -> list[Array]:
    """Return the ways in which values may lie in a tensor of the other format: as they are, or channels last; of another rank, either."""
    last = np.moveaxis(values, 1, -1) if values.ndim > 2 else values
    return [array for array in (values, last) if array.shape == shape] or [values.reshape(shape), last.reshape(shape)]


def _difference(first: Array, second: Array) -> NDArray[np.int64]:
    return np.abs(first.astype(np.int64) - second.astype(np.int64))
