"""How far a file agrees with a reference file on given samples: the same network in another form, format or layout.

Both files are read, and run sample by sample, in bounded subprocesses. Samples are float, as the network sees them: a file that takes
integers gets them by the scale of its input, save where the samples have the input's own integer type already. Channels
are moved first or last as each file has them.

An interval stands on what a number of samples can show: Wilson's for shares ("Probable inference", JASA 22, 1927), for the
drop of accuracy Tango's, which is paired and knows that few samples show little even where none was lost ("Equivalence test
and confidence interval for the difference in proportions for the paired-sample design", Statistics in Medicine 17, 1998).

Letters: N samples, C channels.
"""

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices import runner
from devices.sandbox import explain, run_python
from pipeline.checks.examine import examine
from pipeline.checks.finding import Finding
from pipeline.checks.graph import Graph, Tensor
from pipeline.errors import ModelError
from pipeline.gate.budget import AGREEMENT_KEYS, Figure
from pipeline.gate.codes import found
from pipeline.gate.samples import Samples
from pipeline.gate.verdict import Accuracy, Agreement, OutputAgreement

Array = NDArray[Any]
NUMBERS = frozenset(
    {"bool", "float16", "float32", "float64"} | {f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)}
)
NOT_FINITE_LSB = 1e9
"""How `checks.parity` tells a difference where one of two outputs is no number."""

Z_95 = 1.959964
"""The 97.5th percentile of the normal distribution."""

HALVINGS = 60

DEFAULT_MIN_ARGMAX = 0.99
"""Judged where a file evidently classifies and nobody set a limit: what the fidelity gate of a run asks of its files."""

ROUNDING_OF_SHARES = 1 / 256
"""How much a softmax's output may be off, a class: the format fixes its scale at 1/256."""


class MismatchError(ModelError):
    """The files answer other things: no form of one network."""


def agree(model: Path, reference: Path, samples: Samples, *, reference_name: str) -> Agreement:
    """Run both files on the samples and compare what they answer; MismatchError when their outputs aren't alike."""
    graphs = _read(model), _read(reference)
    ours, theirs = (_answers(graph, samples) for graph in graphs)
    if len(ours) != len(theirs):
        raise MismatchError(f"it has {len(ours)} outputs, the reference {reference_name} has {len(theirs)}")
    pairs = [_alike(one, other, graphs, index) for index, (one, other) in enumerate(zip(ours, theirs, strict=True))]
    outputs = tuple(_compared(graphs[0], index, one, other) for index, (one, other) in enumerate(pairs))
    accuracy = None if samples.labels is None else _accuracy(*pairs[0], samples.labels)
    return Agreement(reference_name, samples.count, samples.sha256, outputs, accuracy)


def figures(agreement: Agreement) -> dict[str, Figure]:
    """Return what a budget can judge of an agreement: the worst of all outputs."""
    how = f"{agreement.samples} samples against {agreement.reference}"
    lsb = max(output.max_lsb for output in agreement.outputs)
    known = {"max_lsb": Figure(lsb, lsb, lsb, "exact", how)}
    shares = [output.argmax_agreement for output in agreement.outputs if output.argmax_agreement is not None]
    if shares:
        known["min_argmax"] = Figure(min(shares), *wilson(min(shares), agreement.samples), "measured", how)
    else:
        known["min_argmax"] = Figure(None, None, None, None, how, "no output has classes to choose from")
    if agreement.accuracy is not None:
        found_ = agreement.accuracy
        known["max_drop"] = Figure(found_.drop, found_.drop_low, found_.drop_high, "measured", how)
        known["min_accuracy"] = Figure(found_.value, *wilson(found_.value, agreement.samples), "measured", how)
    return known


def defaults(agreement: Agreement, limits: Mapping[str, float]) -> dict[str, float]:
    """Return the limits, with one on the decisions of a file that evidently classifies where none was set on its answers."""
    if AGREEMENT_KEYS & set(limits):
        return dict(limits)
    classifies = agreement.accuracy is not None or any(output.classes for output in agreement.outputs)
    return {**limits, "min_argmax": DEFAULT_MIN_ARGMAX} if classifies else dict(limits)


def agreement_findings(agreement: Agreement, limits: Mapping[str, float]) -> tuple[Finding, ...]:
    """Return what no limit says: answers that are no numbers, or have nothing to do with the reference's."""
    broken = [output for output in agreement.outputs if output.max_lsb >= NOT_FINITE_LSB]
    findings = [
        found(
            "reference-not-finite",
            f"output {output.name!r} isn't finite where the reference's is",
            severity="error",
            where=output.name,
        )
        for output in broken
    ]
    if not AGREEMENT_KEYS & set(limits):
        findings += [_unjudged(output) for output in agreement.outputs if output not in broken]
    return tuple(findings)


def _unjudged(output: OutputAgreement) -> Finding:
    if output.explained is not None and output.explained <= 0:
        message = (
            f"output {output.name!r} is no nearer to the reference's than its mean is: it explains none of its variance"
        )
        return found("reference-unlike", message, severity="error", where=output.name)
    message = f"output {output.name!r} differs by up to {output.max_lsb:.3g} LSB, and no limit is set for it"
    return found("reference-unjudged", message, severity="warning", where=output.name)


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of `count` samples."""
    z2 = Z_95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z_95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    # At the ends the bound is the end itself, which rounding would miss by a hair.
    return 0.0 if share == 0 else centre - half, 1.0 if share == 1 else centre + half


def _read(path: Path) -> Graph:
    examined = examine(path)
    graph = replace(examined.graph, path=path)  # messages name the file as the user did
    for what, names in (("input", graph.inputs), ("output", graph.outputs)):
        for name in names:
            dtype = examined.sized.tensors[name].dtype
            if dtype not in NUMBERS:
                raise ModelError(
                    f"{path} can't be compared on samples: its {what} {name!r:.60} is {dtype}; "
                    f"known: {', '.join(sorted(NUMBERS))}; compare a part of it that takes and gives those"
                )
    return graph


def _answers(graph: Graph, samples: Samples) -> list[Array]:
    """Return each output of a file as float64 [N, ...]."""
    given = _given(graph, samples)
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
        np.savez(inputs, allow_pickle=False, **{f"arr_{index}": array for index, array in enumerate(given)})
        arguments = ["--model", str(graph.path), "--inputs", str(inputs), "--outputs", str(outputs)]
        finished = run_python(Path(runner.__file__), arguments)
        if not finished.ok:
            raise ModelError(f"{graph.path} can't be run on {samples.path}: it {explain(finished)}")
        names = json.loads(finished.stdout.splitlines()[-1])["outputs"]
        with np.load(outputs, allow_pickle=False) as file:
            raw = [file[f"arr_{index}"] for index in range(len(names))]
    return [_as_float(graph.tensors.get(name), array) for name, array in zip(graph.outputs, raw, strict=True)]


def _given(graph: Graph, samples: Samples) -> list[Array]:
    if len(samples.inputs) != len(graph.inputs):
        held = ", ".join(samples.inputs)
        raise ModelError(
            f"{graph.path} takes {len(graph.inputs)} inputs ({', '.join(graph.inputs)}), {samples.path} holds {len(samples.inputs)} ({held}); "
            "give one array an input"
        )
    named = set(graph.inputs) == set(samples.inputs)
    arrays = [samples.inputs[name] for name in graph.inputs] if named else list(samples.inputs.values())
    return [_fitted(graph, name, array) for name, array in zip(graph.inputs, arrays, strict=True)]


def _fitted(graph: Graph, name: str, array: Array) -> Array:
    """Return an input as the file takes it: its channels in place, quantised by its scale, of its type."""
    tensor = graph.tensors[name]
    wanted = None if tensor.shape is None else tensor.shape[1:]
    array = _arranged(array, wanted, f"input {name!r} of {graph.path}")
    scales = tensor.quantization
    if scales is None or array.dtype.name == tensor.dtype or np.dtype(tensor.dtype).kind not in "iu":
        return array.astype(tensor.dtype)
    limits = np.iinfo(tensor.dtype)
    integers = np.rint(array / np.float32(scales.scales[0])) + scales.zero_points[0]
    return integers.clip(limits.min, limits.max).astype(tensor.dtype)


def _arranged(array: Array, wanted: tuple[int | None, ...] | None, what: str) -> Array:
    options = [array] if array.ndim < 3 else [array, np.moveaxis(array, 1, -1), np.moveaxis(array, -1, 1)]
    for option in options:
        if wanted is None or _fits(option.shape[1:], wanted):
            return option
    shown = ["open" if size is None else size for size in wanted or ()]
    raise ModelError(
        f"{what} is [N, {', '.join(map(str, shown))}], the samples are {list(array.shape)}; give samples of its shape"
    )


def _fits(found_: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(found_) == len(wanted) and all(size in (None, have) for size, have in zip(wanted, found_, strict=True))


def _as_float(tensor: Tensor | None, array: Array) -> Array:
    values: Array = array.astype(np.float64)
    if tensor is None or tensor.quantization is None or array.dtype.kind == "f":
        return values
    return (values - tensor.quantization.zero_points[0]) * tensor.quantization.scales[0]


def _alike(ours: Array, theirs: Array, graphs: tuple[Graph, Graph], index: int) -> tuple[Array, Array]:
    """Return both answers [N, C, ...] with their channels first."""
    if graphs[0].format == graphs[1].format == "tflite" and ours.ndim > 2:
        ours, theirs = np.moveaxis(ours, -1, 1), np.moveaxis(theirs, -1, 1)
    if ours.shape == theirs.shape:
        return ours, theirs
    if ours.ndim > 2 and graphs[0].format == "tflite" and np.moveaxis(ours, -1, 1).shape == theirs.shape:
        return np.moveaxis(ours, -1, 1), theirs
    if ours.ndim > 2 and graphs[1].format == "tflite" and ours.shape == np.moveaxis(theirs, -1, 1).shape:
        return ours, np.moveaxis(theirs, -1, 1)
    if ours.size == theirs.size and ours.reshape(len(ours), -1).shape == theirs.reshape(len(theirs), -1).shape:
        flat = sum(size > 1 for size in ours.shape[1:]) <= 1 and sum(size > 1 for size in theirs.shape[1:]) <= 1
        if flat:  # [N, C] and [N, C, 1, 1] are one thing
            return ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)
    name = graphs[0].outputs[index]
    raise MismatchError(f"output {name!r} is {list(ours.shape)}, the reference's is {list(theirs.shape)}")


def _compared(graph: Graph, index: int, ours: Array, theirs: Array) -> OutputAgreement:
    from pipeline.checks.parity import compare_outputs  # noqa: PLC0415 - it opens both runtimes' libraries

    name = graph.outputs[index]
    tensor = graph.tensors.get(name)
    scale = tensor.quantization.scales[0] if tensor and tensor.quantization else None
    scale = scale if scale and math.isfinite(scale) else None  # a broken one is a finding of its own
    # Where both are the same infinity, or no number, they agree; their difference would say otherwise.
    same = ~np.isfinite(theirs) & ((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
    compared = compare_outputs(np.where(same, 0.0, theirs), np.where(same, 0.0, ours), scale=scale)
    return OutputAgreement(
        name=name,
        equal=compared.equal,
        within_1_lsb=compared.within_1_lsb,
        within_2_lsb=compared.within_2_lsb,
        max_lsb=compared.max_lsb,
        argmax_agreement=compared.argmax_agreement if ours.ndim == 2 else None,
        explained=_explained(ours, theirs),
        classes=_are_classes(theirs),
    )


def _explained(ours: Array, theirs: Array) -> float | None:
    """Return which share of the reference's variance the file explains: 1 - |theirs - ours|^2 / |theirs - mean|^2."""
    both = np.isfinite(ours) & np.isfinite(theirs)
    spread = float(np.sum((theirs[both] - theirs[both].mean()) ** 2)) if both.any() else 0.0
    return 1 - float(np.sum((theirs[both] - ours[both]) ** 2)) / spread if spread > 0 else None


def _are_classes(theirs: Array) -> bool:
    """Whether an output is [N, C] of shares that add up to one: what a softmax gives, up to int8's rounding."""
    if theirs.ndim != 2 or theirs.shape[1] < 2 or not np.isfinite(theirs).all():
        return False
    return bool(theirs.min() >= 0 and np.abs(theirs.sum(axis=1) - 1).max() <= ROUNDING_OF_SHARES * theirs.shape[1])


def _accuracy(ours: Array, theirs: Array, labels: NDArray[np.int64]) -> Accuracy:
    if ours.ndim != 2 or ours.shape[1] < 2:
        raise ModelError(
            f"labels need an output [N, C] of classes, the first output is {list(ours.shape)}; leave them out"
        )
    mine, others = ours.argmax(axis=1) == labels, theirs.argmax(axis=1) == labels
    lost, won, count = int(np.sum(others & ~mine)), int(np.sum(mine & ~others)), len(labels)
    low, high = paired_interval(lost, won, count)
    return Accuracy(float(mine.mean()), float(others.mean()), (lost - won) / count, low, high)


def paired_interval(lost: int, won: int, count: int) -> tuple[float, float]:
    """Return Tango's 95 % interval of the share lost less the share won, of `count` samples that both files answered."""
    return _crossed(lost, won, count, Z_95), _crossed(lost, won, count, -Z_95)


def _crossed(lost: int, won: int, count: int, z: float) -> float:
    """Return the drop whose score statistic, which falls as the drop grows, is z; by halving."""
    low, high = -1.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _tango(lost, won, count, middle) > z else (low, middle)
    return (low + high) / 2


def _tango(b: int, c: int, n: int, delta: float) -> float:
    """Return (b - c - n delta) / sqrt(n (2 q + delta (1 - delta))), q being the likeliest share of c under delta."""
    linear, constant = -b - c + (2 * n - b + c) * delta, -c * delta * (1 - delta)
    q = (math.sqrt(max(0.0, linear**2 - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * q + delta * (1 - delta))
    off = b - c - n * delta
    return off / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, off)
