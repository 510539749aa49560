"""What a run made, as the report reads it: rows, their answers on the test split, and scores resampled once for all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pipeline.artifact import Artifact
from pipeline.ledger import Spent
from pipeline.plan import Plan, Row
from pipeline.recipe import Recipe
from pipeline.recorded_outputs import Answers, read_answers
from pipeline.resampled import resampled_scores
from pipeline.run import Done
from pipeline.task import LoadedTask
from targets import Target

MODEL_SUFFIXES = (".onnx", ".tflite", ".safetensors")


@dataclass(frozen=True)
class Made:
    """What a run made: `done` by the step's name."""

    recipe: Recipe
    plan: Plan
    task: LoadedTask
    done: Mapping[str, Done]
    target: Target | None = None
    spent: Spent = field(default_factory=Spent)

    def answers(self, row: Row) -> Answers:
        """Return what a row's model answers on the test split, [N, ...] float32."""
        return read_answers(self.done[row.answers].artifact)

    @cached_property
    def targets(self) -> Answers:
        """The test split's targets; where nobody labelled it, what the reference answers."""
        targets = self.task.targets("test")
        return self.answers(self.reference) if targets is None else targets

    @cached_property
    def reference(self) -> Row:
        """The row that the others must not fall below: the first teacher, or without one the student as given."""
        return self.plan.rows[0]

    @cached_property
    def scores(self) -> dict[str, np.ndarray]:
        """By row title, the score and its resamples; the same draws for every row."""
        return {row.title: resampled_scores(self.task.score, self.answers(row), self.targets) for row in self.plan.rows}

    def file_rows(self) -> tuple[Row, ...]:
        """Return the rows of the exported files, ONNX first; none where the recipe exports nothing."""
        return tuple(row for row in self.plan.rows if row.model in self.plan.files)

    def final(self) -> Row:
        """Return the row of the form that the run was made for: its last file, or last network."""
        return (self.file_rows() or tuple(row for row in self.plan.rows if not row.control))[-1]


def size_bytes(artifact: Artifact) -> int:
    """Return a file's size, or that of a network's weights."""
    return sum(path.stat().st_size for path in artifact.path.iterdir() if path.suffix in MODEL_SUFFIXES)
