"""The study's tasks, each with its teachers and what a student spends; fixed before the table was made.

The settings are those of the task's recipe where that has them. A teacher is trained once, on seed 0, and teaches the students of all seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pipeline import tasks
from pipeline.networks.dscnn import DSCNN
from pipeline.networks.resnet import resnet8, resnet20
from pipeline.task import LoadedTask
from pipeline.tasks import digits, keywords, tweets
from pipeline.tasks.text_minilm import SentenceClassifier
from pipeline.teacher import Teacher

Settings = Mapping[str, Any]
SOFT: Settings = {"losses": {"soft_targets": 1.0}}
HINTED: Settings = {"losses": {"soft_targets": 1.0, "hints": 0.1}}
SINGLE: Mapping[str, Settings] = {
    "soft targets": SOFT,
    "decoupled": {"losses": {"decoupled": 1.0}},
    "relational": {"losses": {"soft_targets": 1.0, "relational": 1.0}},
}
"""One teacher, one way to listen. Relations alone say nothing about classes, so soft targets stand beside them."""


@dataclass(frozen=True)
class Case:
    """A task; `single` teaches alone, and all its teachers together; `teach` and `student` are settings of both trainings."""

    raw: Any
    single: str
    teach: Settings
    student: Settings
    losses: Mapping[str, Settings]

    def task(self, seed: int = 0) -> LoadedTask:
        """Return the task as one seed augments it."""
        return LoadedTask(raw=self.raw, root=Path(tasks.__file__).parent, seed=seed)

    @cached_property
    def arms(self) -> dict[str, tuple[tuple[str, ...], Settings]]:
        """Return, by name, the teachers that an arm of the study hears and its settings."""
        every = tuple(self.raw.teachers())
        return {
            "alone": ((), {}),
            **{name: ((self.single,), settings) for name, settings in self.losses.items()},
            "averaged": (every, SOFT),
            "adaptive": (every, {**SOFT, "weighting": "agreement"}),
        }


class ThreeReaders(tweets.Tweets):
    """The tweets with three teachers: MiniLM whole, and cut after four and after two of its layers."""

    def teachers(self) -> dict[str, Teacher]:
        """Return them, each with its last two layers to be trained."""
        depths = {"minilm": 6, "four_layers": 4, "two_layers": 2}
        return {
            name: Teacher(partial(SentenceClassifier, 2, layers=layers, trained=2)) for name, layers in depths.items()
        }


class ThreeListeners(keywords.Keywords):
    """The keywords with three teachers: ResNet-20, ResNet-8, and a DS-CNN twice as wide as the student."""

    def teachers(self) -> dict[str, Teacher]:
        """Return them, all to be trained here."""
        count = len(self.labels)
        return {
            "resnet20": Teacher(partial(resnet20, count)),
            "resnet8": Teacher(partial(resnet8, count)),
            "wide": Teacher(partial(DSCNN, count, width=2 * self.sizes.width, kernel=(10, 4))),
        }


CASES: Mapping[str, Case] = {
    "digits": Case(digits.three_teachers, "resnet20", {"epochs": 12}, {"epochs": 6}, {**SINGLE, "with hints": HINTED}),
    "digits, 150 of them": Case(
        digits.ThreeTeachers(train_fraction=0.05), "mobilenet", {}, {"epochs": 60, "views": 8}, SINGLE
    ),
    "keywords": Case(
        ThreeListeners(),
        "resnet20",
        {"epochs": 10, "batch_size": 32},
        {"epochs": 8, "batch_size": 32},
        {name: SINGLE[name] for name in ("soft targets", "decoupled")},
    ),
    "tweets": Case(
        ThreeReaders(),
        "minilm",
        {"epochs": 2, "learning_rate": 3e-4, "batch_size": 32},
        {"epochs": 12, "views": 2, "learning_rate": 2e-3},
        SINGLE,
    ),
}
