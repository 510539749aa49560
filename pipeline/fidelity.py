"""The fidelity gate: are the torch program, the ONNX file and the TFLite file the same model?

It passes on what a user feels: both files score as the program does, decide as it does where outputs are classes, and keep what
their lint was promised; int8 files also hold the same scales. How often outputs are equal, and by how many steps of the output's scale
(LSB) they differ, stands beside it as diagnosis: depth spreads single LSBs, and a large network must not fail for that.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from torch import Tensor

from pipeline.artifact import Artifact
from pipeline.batches import split_batches
from pipeline.checks.graph import Graph, read_graph
from pipeline.checks.layers import Activation, Layer, activations_of, compare_layers, parting
from pipeline.checks.lints import Finding, Promises, lint
from pipeline.checks.operators import float_operators, fused_graph
from pipeline.checks.parity import OutputComparison, compare_outputs, compare_scales
from pipeline.errors import ModelError
from pipeline.recorded_outputs import Answers, all_answers, read_answers
from pipeline.task import LoadedTask

SCORE_TOLERANCE = 0.005
"""Half a point: more than equal models differ by on a thousand samples, less than any user would give away."""
LEAST_ARGMAX_AGREEMENT = 0.99
"""One decision in a hundred may fall the other way, where two classes are a step apart."""
TRACED_SAMPLES = 4
SHOWN = {"onnx": "ONNX", "tflite": "TFLite"}


@dataclass(frozen=True)
class Forms:
    """A network's forms: what each answers on the test split, its files, and what each file was promised to be.

    `answers` and `files` are by format, "onnx" or "tflite", either of which may be missing. `observe` runs the program on inputs and returns
    its quantised activations; it is called where there are any (`quantised`), and where the forms part.
    """

    program: Artifact
    answers: Mapping[str, Artifact]
    files: Mapping[str, Artifact]
    promises: Mapping[str, Promises]
    observe: Callable[[Sequence[Tensor]], list[Activation]]
    quantised: bool


@dataclass(frozen=True)
class FileVerdict:
    """One file against the program: its score, operators that compute in float, its lint's findings."""

    score: float
    float_ops: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Verdict:
    """The gate's answer; `why_failed` is empty where it passed. `files` are by format, `pairs` by two forms: ("torch", "onnx").

    `layers` holds each two forms' activations, compared, by the forms' names as a reader knows them: ("torch", "ONNX").
    """

    why_failed: tuple[str, ...]
    scales_equal: bool | None
    first_divergence: str | None
    program_score: float
    files: Mapping[str, FileVerdict]
    pairs: Mapping[tuple[str, str], OutputComparison]
    layers: Mapping[tuple[str, str], Sequence[Layer]]


def judge(forms: Forms, task: LoadedTask, *, targets: Answers) -> Verdict:
    """Compare the forms on the test split."""
    answers = {"torch": forms.program, **forms.answers}
    graphs = {kind: read_graph(file.file(f"model.{kind}")) for kind, file in forms.files.items()}
    files = {
        kind: _file(graph, forms.promises[kind], task.score(read_answers(answers[kind]), targets))
        for kind, graph in graphs.items()
    }
    pairs = {(one, other): _compared(answers[one], answers[other], forms) for one, other in combinations(answers, 2)}
    program = read_answers(forms.program)
    score, decides = task.score(program, targets), _decides(task, program)
    held = len(graphs) == len(SHOWN) and all(promised.int8 != "none" for promised in forms.promises.values())
    scales = compare_scales(*graphs.values()) if held else None
    why = [
        failure
        for kind, file in files.items()
        for failure in _file_failures(
            SHOWN[kind], file, pairs["torch", kind].argmax_agreement if decides else None, score
        )
    ]
    if scales is not None and not scales.equal:
        why.append(f"scales differ: {'; '.join((*scales.only_first, *scales.only_second)[:3])}")
    layers = _layers(forms, task) if why else _layers_where_told(forms, task)
    return Verdict(
        why_failed=tuple(why),
        scales_equal=None if scales is None else scales.equal,
        first_divergence=_divergence(layers) if why else None,
        program_score=score,
        files=files,
        pairs=pairs,
        layers=layers,
    )


def _compared(one: Artifact, other: Artifact, forms: Forms) -> OutputComparison:
    """Compare two forms' outputs, each by its own step; of several outputs the worst is told, and the decision of the first."""
    scales = _output_scales(forms)
    each = [
        compare_outputs(mine, theirs, scale=scale)
        for mine, theirs, scale in zip(all_answers(one), all_answers(other), scales, strict=True)
    ]
    return OutputComparison(
        equal=min(found.equal for found in each),
        within_1_lsb=min(found.within_1_lsb for found in each),
        within_2_lsb=min(found.within_2_lsb for found in each),
        max_lsb=max(found.max_lsb for found in each),
        argmax_agreement=each[0].argmax_agreement,
    )


def _output_scales(forms: Forms) -> list[float | None]:
    """The step of each output, as a file that gives integers says it."""
    ports = zip(*(forms.answers[kind].facts["ports"] for kind in reversed(SHOWN) if kind in forms.answers), strict=True)
    return [next((port["scale"] for port in same if port["scale"]), None) for same in ports]


def _file(graph: Graph, promises: Promises, score: float) -> FileVerdict:
    fused = fused_graph(graph.path) if graph.path.suffix == ".onnx" else None
    float_ops = float_operators(fused or graph)
    findings = lint(graph, promises, fused=fused)
    return FileVerdict(score=score, float_ops=len(float_ops), findings=tuple(findings))


def _decides(task: LoadedTask, outputs: Answers) -> bool:
    """Tell whether the largest of the outputs [N, K, ...] is a decision: with whole numbers as labels, or without any and no own loss.

    The largest of an embedding's numbers means nothing, and a step of rounding makes another one the largest.
    """
    labels = task.targets("test")
    if isinstance(outputs, tuple) or isinstance(labels, tuple):
        return False
    if labels is None:
        return not hasattr(task.raw, "loss")
    return bool(np.issubdtype(labels.dtype, np.integer)) and labels.ndim == outputs.ndim - 1


def _file_failures(name: str, file: FileVerdict, agreement: float | None, score: float) -> Iterator[str]:
    if abs(file.score - score) > SCORE_TOLERANCE:
        yield f"{name} scores {file.score:.4f}, the program {score:.4f}: more than {SCORE_TOLERANCE} apart"
    if agreement is not None and agreement < LEAST_ARGMAX_AGREEMENT:
        yield f"{name} decides as the program on {agreement:.4f} of the samples: less than {LEAST_ARGMAX_AGREEMENT}"
    for finding in file.findings:
        if finding.severity == "error":
            yield f"{name} breaks a promise, {finding.code} at {finding.where}: {finding.message}"


def _layers(forms: Forms, task: LoadedTask) -> dict[tuple[str, str], list[Layer]]:
    """Compare each two forms layer by layer, on a few samples."""
    batch = next(split_batches(task, "validation", batch_size=TRACED_SAMPLES))
    samples = [value.numpy() for value in batch.inputs]
    traced = {"torch": forms.observe(batch.inputs)} | {
        SHOWN[kind]: activations_of(file.file(f"model.{kind}"), samples) for kind, file in forms.files.items()
    }
    return {(one, other): compare_layers(traced[one], traced[other]) for one, other in combinations(traced, 2)}


def _layers_where_told(forms: Forms, task: LoadedTask) -> dict[tuple[str, str], list[Layer]]:
    """Files that passed aren't refused because their inner tensors can't be shown: they are larger than what a runtime may return."""
    try:
        return _layers(forms, task) if forms.quantised else {}
    except ModelError:
        return {}


def _divergence(layers: Mapping[tuple[str, str], Sequence[Layer]]) -> str | None:
    """Name the first layer at which each two forms part, in words; None where no layer tells."""
    parted = {forms: parting(found) for forms, found in layers.items()}
    return "; ".join(in_words(forms, layer) for forms, layer in parted.items() if layer) or None


def in_words(forms: tuple[str, str], layer: Layer) -> str:
    """Say where two forms part."""
    one, other = forms
    where = f"{layer.operator} ({layer.first} in {one}, {layer.second} in {other})"
    return f"{one} and {other} at {where}: equal on {layer.equal:.4f}, up to {layer.max_lsb} LSB"
