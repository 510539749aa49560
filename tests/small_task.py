"""A task that trains in a second: pictures [1, 8, 8] of a bright bar, four classes by its place; noise and dropout on top."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.task import LoadedTask, Metric, Splits
from pipeline.teacher import Teacher

Sample = tuple[np.ndarray[Any, np.dtype[np.float32]], Any]


class Net(nn.Module):
    """Convolution, BatchNorm, ReLU, dropout, linear: [N, C, 8, 8] to [N, 4]."""

    def __init__(self, width: int = 8, *, channels: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(width * 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(self.features(x).mean(3).flatten(1)))
        return logits


class Bars:
    """The task; `labelled` = False leaves the targets out."""

    name = "bars"
    metric = Metric("accuracy")

    def __init__(self, *, samples: int = 90, labelled: bool = True) -> None:
        self.samples = samples
        self.labelled = labelled

    def data(self) -> Splits:
        return Splits(train=self._split(0, self.samples), validation=self._split(1, 40), test=self._split(2, 40))

    def teachers(self) -> dict[str, Teacher]:
        return {"wide": Teacher(lambda: Net(16)), "wider": Teacher(lambda: Net(24))}

    def student(self) -> nn.Module:
        return Net()

    def score(self, outputs: Any, targets: Any) -> float:
        return float((outputs.argmax(1) == targets).mean())

    def augment(self, sample: Sample, seed: int) -> Sample:
        picture, target = sample
        noise = np.random.default_rng(seed).standard_normal(picture.shape, dtype=np.float32)
        return picture + np.float32(0.1) * noise, target

    def _split(self, seed: int, count: int) -> list[Sample]:
        random = np.random.default_rng(seed)
        labels = random.integers(0, 4, count)
        pictures = random.normal(0, 0.5, (count, 1, 8, 8)).astype(np.float32)
        for picture, label in zip(pictures, labels, strict=True):
            picture[0, 2 * label : 2 * label + 2] += 1
        return [
            (picture, int(label) if self.labelled else None) for picture, label in zip(pictures, labels, strict=True)
        ]


def bars(*, samples: int = 90, labelled: bool = True) -> LoadedTask:
    """Return the task as the product loads one."""
    return LoadedTask(raw=Bars(samples=samples, labelled=labelled), root=Path(__file__).parent)


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same_weights(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
