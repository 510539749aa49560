"""Meaning: a teacher's answers as they are recorded, so that every loss finds them in one form.

Probabilities become logits, a teacher of some classes is set among all of them, and only those outputs stay that its owner asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import TaskError, did_you_mean
from pipeline.task import LoadedTask
from pipeline.teacher import RECORDED_AS

SMALLEST = 1e-7
"""Below this a probability counts as this: float32 next to 1 knows no smaller difference from it."""
UNKNOWN = -1e4
"""The logit of a class that a teacher doesn't know: its probability is 0 at every temperature below 1,000."""


@dataclass(frozen=True)
class Meaning:
    """What a teacher's outputs are, as `pipeline.teacher` has it; all empty: outputs are recorded as they come.

    `who` is the teacher's name, for messages.
    """

    answers: tuple[str, ...] = ()
    outputs: tuple[str | int, ...] = ()
    classes: tuple[int, ...] = ()
    class_count: int = 0
    who: str = ""

    def recorded(self, outputs: Sequence[Tensor], names: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return what is recorded of a batch's outputs [N, ...]; `names` are the outputs' names, where they have any."""
        chosen = [outputs[self._number(output, names, len(outputs))] for output in self.outputs] or list(outputs)
        kinds = self._kinds(len(chosen)) or [""] * len(chosen)
        told = [_as_told(output.float(), kind) for output, kind in zip(chosen, kinds, strict=True)]
        if self.classes:
            told[0] = self._among_all(told[0])
        self._refuse_one_class(told, kinds)
        return [output.numpy() for output in told]

    def facts(self, count: int) -> dict[str, Any]:
        """Return what readers of the record must know."""
        facts: dict[str, Any] = {}
        if self.answers:
            facts["answers"] = [RECORDED_AS[kind] for kind in self._kinds(count)]
        if self.classes:
            facts["classes"] = list(self.classes)
        return facts

    def _kinds(self, count: int) -> list[str]:
        if len(self.answers) in (0, count):
            return list(self.answers)
        if len(self.answers) == 1:
            return [*self.answers] * count
        raise TaskError(
            f"teacher {self.who!r} gives {count} outputs, and answers names {len(self.answers)}; name one each, or one"
        )

    def _number(self, output: str | int, names: Sequence[str], count: int) -> int:
        if isinstance(output, int) and 0 <= output < count:
            return output
        if output in names:
            return list(names).index(str(output))
        known = ", ".join(names) if names else f"numbers from 0 to {count - 1}"
        raise TaskError(
            f"teacher {self.who!r} has no output {output!r}; it has {known}{did_you_mean(str(output), names)}"
        )

    def _refuse_one_class(self, told: Sequence[Tensor], kinds: Sequence[str]) -> None:
        for output, kind in zip(told, kinds, strict=True):
            if kind in ("logits", "probabilities") and (output.ndim < 2 or output.shape[1] == 1):
                raise TaskError(
                    f"teacher {self.who!r}: answers = {kind!r}, but {list(output.shape[1:])} a sample are no classes to choose from; "
                    "say 'sigmoids' for a yes or no, 'values' for a number, or give an output [N, K]"
                )

    def _among_all(self, output: Tensor) -> Tensor:
        if output.ndim < 2 or output.shape[1] != len(self.classes):
            raise TaskError(
                f"teacher {self.who!r} gives {list(output.shape[1:])} a sample, and classes names {len(self.classes)}; name one class a number"
            )
        whole = output.new_full((output.shape[0], self.class_count, *output.shape[2:]), UNKNOWN)
        whole[:, list(self.classes)] = output
        return whole


def meaning_of(name: str, task: LoadedTask) -> Meaning:
    """Return what a teacher's answers are."""
    teacher = task.teachers()[name]
    count = len(task.labels) if teacher.classes else 0
    return Meaning(teacher.kinds, teacher.outputs, teacher.classes or (), count, who=name)


def _as_told(output: Tensor, kind: str) -> Tensor:
    if kind not in ("probabilities", "sigmoid_probabilities"):
        return output
    if bool((output < -SMALLEST).any()) or bool((output > 1 + 1e-4).any()):
        low, high = float(output.min()), float(output.max())
        raise TaskError(
            f"answers = {kind!r}, but numbers from {low:.3g} to {high:.3g} came out; say 'logits' or 'sigmoids'"
        )
    sure = output.clamp(SMALLEST, 1 - SMALLEST if kind == "sigmoid_probabilities" else 1.0)
    return torch.logit(sure) if kind == "sigmoid_probabilities" else sure.log()
