"""The controls' quantisers take networks of any number of inputs, and their files answer like the float ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from pipeline.artifact import Artifact
from pipeline.checks.answers import open_file
from pipeline.networks.transformer import text_encoder
from pipeline.stages import distill, export_onnx, export_tflite, ptq_onnx, ptq_tflite
from pipeline.task import LoadedTask, Metric, Splits
from pipeline.task_file import wrap_task
from tests.small_stages import make

LENGTH = 6


class Pairs:
    """Ids and mask [6] of random lengths; the class is whether id 3 stands among them."""

    name = "pairs"
    metric = Metric("accuracy")

    def data(self) -> Splits:
        return Splits(train=_split(0, 40), validation=_split(1, 20), test=_split(2, 20))

    def student(self) -> nn.Module:
        return text_encoder(vocabulary=20, width=16, heads=2, depth=1, feed_forward=16, length=LENGTH, classes=2)

    def score(self, outputs: Any, targets: Any) -> float:
        return float((outputs.argmax(1) == targets).mean())


def _split(seed: int, count: int) -> list[Any]:
    random = np.random.default_rng(seed)
    masks = (np.arange(LENGTH) < random.integers(2, LENGTH + 1, (count, 1))).astype(np.int64)
    ids = random.integers(1, 20, (count, LENGTH)) * masks
    return [((row, mask), int(3 in row)) for row, mask in zip(ids, masks, strict=True)]


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
