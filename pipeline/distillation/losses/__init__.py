"""Losses between a student's output and its teachers': one a file, a function of the file's name, found by being there.

Each file says in FITS which answers it can compare:

| answers | what they are |
|---|---|
| logits | one number a class, before softmax, [N, K, ...] |
| sigmoids | one number a label before its sigmoid, [N, ...] |
| embeddings | vectors that stand for the input, [N, D] |
| values | numbers to be hit, [N, ...] |
| ctc | logits over an alphabet at each moment, [N, T, K] |

Letters: M teachers, N samples, K classes, D size of an embedding, T moments.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from torch import Tensor

Answers = Literal["logits", "sigmoids", "embeddings", "values", "ctc"]
ANSWERS: tuple[Answers, ...] = get_args(Answers)
BY_DEFAULT: dict[Answers, str] = {
    "logits": "soft_targets",
    "sigmoids": "sigmoids",
    "embeddings": "mean_square",
    "values": "mean_square",
    "ctc": "ctc",
}
OF_SOME_CLASSES = ("soft_targets", "decoupled")
"""Those that compare probabilities of classes: one that a teacher doesn't know has none, whatever number stands for it."""


@dataclass(frozen=True)
class Said:
    """What M teachers say about N samples.

    `answers` [M, N, ...], `weights` [M, N] with each sample's adding up to 1, `labels` [N, ...] whole numbers where the task has
    classes and somebody labelled them.
    """

    answers: Tensor
    weights: Tensor
    temperature: float
    labels: Tensor | None = None


class OutputLoss(Protocol):
    """How far a student's output is from its teachers'."""

    def __call__(self, student: Tensor, said: Said, /) -> Tensor:
        """Return one number; `student` is [N, ...]."""


def discover() -> dict[str, OutputLoss]:
    """Return the losses by name."""
    return {name: vars(module)[name] for name, module in _modules().items()}


def that_fit(answers: Answers) -> tuple[str, ...]:
    """Return the names of the losses that compare such answers."""
    return tuple(name for name, module in _modules().items() if answers in vars(module)["FITS"])


def mixed(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean [N, ...] of what M teachers say [M, N, ...]."""
    return (values * weights.reshape(*weights.shape, *[1] * (values.ndim - 2))).sum(0)


def _modules() -> dict[str, object]:
    names = [found.name for found in pkgutil.iter_modules(__path__)]
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}
