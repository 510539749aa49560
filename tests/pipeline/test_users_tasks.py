"""A user's own tasks of other shapes than one picture and one class, each run to both files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline import Metric, Splits, Teacher, compress
from pipeline.checks.answers import open_file
from pipeline.report.model import Report

SHORT = {"epochs": 6, "batch_size": 16, "views": 1}
SETTINGS: Mapping[str, Any] = {
    "stages": ["teach", "distill", "prune", "quantize", "export"],
    "measure": False,
    "controls": False,
    "audit": {"on_weak": "warn", "probe_steps": 10},
    "teach": {**SHORT, "epochs": 12},
    "distill": SHORT,
    "prune": {**SHORT, "epochs": 2, "keep_macs": 0.8},
    "quantize": {**SHORT, "epochs": 2},
}


def pressed(task: Any, folder: Path) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPRESS_STORE", str(folder / "store"))
        report = compress(task, ["raspberry-pi-4"], folder / "out", SETTINGS)["raspberry-pi-4"]
    assert report.fidelity is not None
    assert report.fidelity.passed, report.fidelity.why_failed
    return report


def score_of(report: Report, stage: str) -> float:
    return next(row.score.value for row in report.rows if row.stage == stage)


class Words(nn.Module):
    """Ids and a mask to classes: the mean of the words that count."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(30, width)
        self.hidden = nn.Linear(width, width)
        self.classifier = nn.Linear(width, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        share = mask.to(self.words.weight.dtype)[:, :, None]
        mean = (self.words(ids) * share).sum(1) / share.sum(1).clamp_min(1)
        logits: Tensor = self.classifier(F.relu(self.hidden(mean)))
        return logits


class TwoInputs:
    """Which third of the words are most of these from? Padding doesn't count."""

    name = "two-inputs"
    metric = Metric("accuracy")

    def data(self) -> Splits:
        return Splits(*(self._split(seed, count) for seed, count in ((0, 240), (1, 60), (2, 90))))

    def teachers(self) -> dict[str, Teacher]:
        return {"wide": Teacher(lambda: Words(32))}

    def student(self) -> nn.Module:
        return Words(16)

    def score(self, outputs: Any, targets: Any) -> float:
        return float((outputs.argmax(1) == targets).mean())

    def _split(self, seed: int, count: int) -> list[tuple[tuple[Any, Any], int]]:
        random, samples = np.random.default_rng(seed), []
        for index in range(count):
            label, length = index % 3, int(random.integers(4, 9))
            ids = np.where(random.random(8) < 0.8, label * 10 + random.integers(0, 10, 8), random.integers(0, 30, 8))
            mask = (np.arange(8) < length).astype(np.int64)
            samples.append(((ids.astype(np.int64) * mask, mask), label))
        return samples


class TwoHeads(nn.Module):
    """A picture to its class and to how bright it is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d((4, 1)))
        self.kind = nn.Linear(4 * width, 4)
        self.brightness = nn.Linear(4 * width, 1)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.features(picture).flatten(1)
        return self.kind(seen), self.brightness(seen)


class SeveralOutputs:
    """A picture of a bar: where it is, and how bright; two outputs, two targets."""

    name = "several-outputs"
    metric = Metric("score")

    def data(self) -> Splits:
        return Splits(*(self._split(seed, count) for seed, count in ((0, 240), (1, 60), (2, 90))))

    def teachers(self) -> dict[str, Teacher]:
        return {"wide": Teacher(lambda: TwoHeads(24), answers=("logits", "values"))}

    def student(self) -> nn.Module:
        return TwoHeads(12)

    def loss(self, output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        kind, brightness = output
        return F.cross_entropy(kind, target[:, 0].long()) + F.mse_loss(brightness[:, 0], target[:, 1])

    def score(self, outputs: Any, targets: Any) -> float:
        kind, brightness = outputs
        right = (kind.argmax(1) == targets[:, 0]).mean()
        return float(right - np.abs(brightness[:, 0] - targets[:, 1]).mean())

    def _split(self, seed: int, count: int) -> list[tuple[Any, Any]]:
        random, samples = np.random.default_rng(seed), []
        for index in range(count):
            place, brightness = index % 4, random.uniform(0.5, 1.5)
            picture = random.normal(0, 0.2, (1, 8, 8)).astype(np.float32)
            picture[0, 2 * place : 2 * place + 2] += np.float32(brightness)
            samples.append((picture, np.array([place, brightness], np.float32)))
        return samples


class TargetOfEach(SeveralOutputs):
    """The same pictures with a target of its own shape for each output; nobody says what the teacher's answers are."""

    name = "target-of-each"

    def teachers(self) -> dict[str, Teacher]:
        return {"wide": Teacher(lambda: TwoHeads(24))}

    def loss(self, output: tuple[Tensor, Tensor], target: Any) -> Tensor:
        return F.cross_entropy(output[0], target[0]) + F.mse_loss(output[1], target[1])

    def score(self, outputs: Any, targets: Any) -> float:
        return float((outputs[0].argmax(1) == targets[0]).mean() - np.abs(outputs[1] - targets[1]).mean())

    def _split(self, seed: int, count: int) -> list[tuple[Any, Any]]:
        return [(picture, (int(target[0]), target[1:])) for picture, target in super()._split(seed, count)]


class WithoutLabels(SeveralOutputs):
    """The same pictures, labelled by nobody; the teacher was trained elsewhere."""

    name = "without-labels"
    metric = Metric("agreement")

    def __init__(self, weights: Path) -> None:
        self.weights = weights

    def teachers(self) -> dict[str, Teacher]:
        return {"wide": Teacher(lambda: kinds_alone(24), self.weights)}

    def student(self) -> nn.Module:
        return kinds_alone(12)

    def loss(self, output: Any, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target)

    def score(self, outputs: Any, targets: Any) -> float:
        return float((outputs.argmax(1) == targets.argmax(1)).mean())

    def _split(self, seed: int, count: int) -> list[tuple[Any, Any]]:
        return [(picture, None) for picture, _ in super()._split(seed, count)]


def kinds_alone(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d((4, 1)),
        nn.Flatten(),
        nn.Linear(4 * width, 4),
    )


def test_a_task_with_two_inputs_runs_to_both_files(tmp_path: Path) -> None:
    report = pressed(TwoInputs(), tmp_path)

    assert score_of(report, "int8 onnx") > 0.9
    assert score_of(report, "int8 tflite") > 0.9
    for format_ in ("onnx", "tflite"):
        assert len(open_file(tmp_path / "out" / "raspberry-pi-4" / f"model.{format_}").inputs) == 2


@pytest.mark.parametrize("task", [SeveralOutputs(), TargetOfEach()], ids=["one target", "a target of each"])
def test_a_task_with_several_outputs_runs_to_both_files(tmp_path: Path, task: SeveralOutputs) -> None:
    report = pressed(task, tmp_path)

    assert score_of(report, "int8 onnx") > 0.6
    assert score_of(report, "int8 tflite") == pytest.approx(score_of(report, "int8 onnx"), abs=0.02)
    for format_ in ("onnx", "tflite"):
        assert len(open_file(tmp_path / "out" / "raspberry-pi-4" / f"model.{format_}").outputs) == 2


def test_a_task_without_labels_runs_to_both_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher, labelled = kinds_alone(24), SeveralOutputs().data().train
    pictures = torch.stack([torch.from_numpy(labelled[index][0]) for index in range(len(labelled))])
    places = torch.tensor([int(labelled[index][1][0]) for index in range(len(labelled))])
    optimizer = torch.optim.Adam(teacher.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(teacher(pictures), places))
        optimizer.step()
    torch.save(teacher.state_dict(), tmp_path / "teacher.pt")

    report = pressed(WithoutLabels(tmp_path / "teacher.pt"), tmp_path)

    assert score_of(report, "int8 onnx") > 0.9
    assert score_of(report, "int8 tflite") > 0.9
    assert report.audit is None
