"""The controls' quantisers take networks of any number of inputs, and their files answer like the float ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from pipeline.artifact import Artifact
from pipeline.checks.answers import open_file
from pipeline.checks.graph import read_graph
from pipeline.errors import ExportError
from pipeline.networks.transformer import text_encoder
from pipeline.stages import distill, export_onnx, export_tflite, ptq_neural, ptq_onnx, ptq_tflite
from pipeline.task import LoadedTask, Metric, Splits
from pipeline.task_file import wrap_task
from tests.small_stages import make

LENGTH, VALIDATION = 6, 20


class Pairs:
    """Ids and mask [6] of random lengths; the class is whether id 3 stands among them."""

    name = "pairs"
    metric = Metric("accuracy")

    def data(self) -> Splits:
        return Splits(train=_split(0, 40), validation=_split(1, VALIDATION), test=_split(2, 20))

    def student(self) -> nn.Module:
        return text_encoder(vocabulary=20, width=16, heads=2, depth=1, feed_forward=16, length=LENGTH, classes=2)

    def score(self, outputs: Any, targets: Any) -> float:
        return float((outputs.argmax(1) == targets).mean())


def _split(seed: int, count: int) -> list[Any]:
    random = np.random.default_rng(seed)
    masks = (np.arange(LENGTH) < random.integers(2, LENGTH + 1, (count, 1))).astype(np.int64)
    ids = random.integers(1, 20, (count, LENGTH)) * masks
    return [((row, mask), int(3 in row)) for row, mask in zip(ids, masks, strict=True)]


def test_neural_compressor_keeps_the_score_and_writes_a_file_of_our_form(tmp_path: Path) -> None:
    task: LoadedTask = wrap_task(Pairs())
    network = make(distill.STAGE, task, tmp_path / "network", {}, epochs=3, batch_size=8)
    float_file = make(export_onnx.STAGE, task, tmp_path / "float", {"model": network})
    int8_file = make(ptq_neural.STAGE, task, tmp_path / "int8", {"network": network}, calibration_samples=20)
    inputs = [np.stack([sample[0][part] for sample in _split(3, 30)]) for part in (0, 1)]
    (wanted,), (found,) = (
        open_file(artifact.file("model.onnx")).answer(inputs) for artifact in (float_file, int8_file)
    )

    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.8
    assert not np.array_equal(found, wanted)
    graph = read_graph(int8_file.file("model.onnx"))
    assert [port.name for port in open_file(graph.path).inputs] == [
        port.name for port in open_file(float_file.file("model.onnx")).inputs
    ]
    assert any(tensor.dtype == "int8" and tensor.constant for tensor in graph.tensors.values())


class Distances(Pairs):
    """How far answers are from the first ones that are judged: those of the float network."""

    metric = Metric("distance", higher_is_better=False)

    def __init__(self) -> None:
        self.judged: list[Any] = []

    def score(self, outputs: Any, targets: Any) -> float:  # noqa: ARG002  # a task's signature
        self.judged += [outputs] * (len(outputs) == VALIDATION)  # else it is a part, for the score's standard error
        return 1 + self.distance(outputs)

    def distance(self, outputs: Any) -> float:
        return float(np.abs(outputs - self.judged[0][: len(outputs)]).mean())


def test_neural_compressor_takes_the_least_error_where_lower_is_better(tmp_path: Path) -> None:
    distances = Distances()
    task: LoadedTask = wrap_task(distances)
    network = make(distill.STAGE, wrap_task(Pairs()), tmp_path / "network", {}, epochs=3, batch_size=8)
    made = make(ptq_neural.STAGE, task, tmp_path / "int8", {"network": network}, tolerable_loss=0)
    inputs = [np.stack([sample[0][part] for sample in _split(1, VALIDATION)]) for part in (0, 1)]
    tried = [distances.distance(outputs) for outputs in distances.judged[-len(ptq_neural.CONFIGURATIONS) :]]
    (answers,) = open_file(made.file("model.onnx")).answer(inputs)

    assert 0 < min(tried) < max(tried)
    assert tried[0] > min(tried)  # so that the first is not the one to take
    assert distances.distance(answers) == pytest.approx(min(tried), rel=0.05)


def test_what_neural_compressor_can_t_trace_is_one_line(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(LENGTH, 2)

        def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
            logits: Tensor = self.layer((ids * mask).float())
            return logits if float(logits.sum()) > 0 else -logits

    task = wrap_task(type("Unsteady", (Pairs,), {"student": lambda _self: Branching()})())
    network = make(distill.STAGE, task, tmp_path / "network", {}, epochs=0)

    with pytest.raises(ExportError, match=r"neural-compressor can't quantise this network: .*; take another engine"):
        make(ptq_neural.STAGE, task, tmp_path / "int8", {"network": network})


@pytest.mark.parametrize(
    ("exporter", "quantiser"), [(export_onnx, ptq_onnx), (export_tflite, ptq_tflite)], ids=["onnx", "tflite"]
)
def test_two_inputs_are_calibrated_by_their_own_names(tmp_path: Path, exporter: Any, quantiser: Any) -> None:
    task: LoadedTask = wrap_task(Pairs())
    network = make(distill.STAGE, task, tmp_path / "network", {}, epochs=3, batch_size=8)
    float_file: Artifact = make(exporter.STAGE, task, tmp_path / "float", {"model": network})
    int8_file: Artifact = make(quantiser.STAGE, task, tmp_path / "int8", {"model": float_file})
    name = f"model.{float_file.kind}"
    inputs = [np.stack([sample[0][part] for sample in _split(3, 30)]) for part in (0, 1)]
    (wanted,), (found,) = (open_file(artifact.file(name)).answer(inputs) for artifact in (float_file, int8_file))

    assert found.shape == wanted.shape == (30, 2)
    # Static int8 of so narrow a network is coarse; yet each sample is told from the others.
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.8
    assert not np.array_equal(found, wanted)
