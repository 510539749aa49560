"""Teacher: a network to learn from, of any format, and what its answers mean to a student.

| given as | run by | made by |
|---|---|---|
| `network`, a constructor | torch | the `teach` stage, on the task's own data |
| `network` and `weights`, a safetensors file or a state dict | torch | its user |
| `file`, .onnx | ONNX Runtime | its user |
| `file`, .tflite | LiteRT | its user |
| `file`, .keras or a SavedModel's folder | TensorFlow, an extra | its user |

A teacher's file is trusted as the task's code is: give none that you would not run. (Keras files are read in its safe mode.)

| `answers` | what each output is | what is recorded of it |
|---|---|---|
| logits | one number a class, before softmax | itself |
| probabilities | one number a class, adding up to 1 | its logarithm |
| sigmoids | one number a label, before its sigmoid | itself |
| sigmoid_probabilities | the same after it | the number before it |
| embeddings, values | vectors that stand for the input; numbers to be hit | itself |
| ctc | logits or log-probabilities over an alphabet at each moment, [N, T, K] | itself |
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from pipeline.artifact import digest_of, file_digest
from pipeline.errors import TaskError, did_you_mean

RECORDED_AS = {
    "logits": "logits",
    "probabilities": "logits",
    "sigmoids": "sigmoids",
    "sigmoid_probabilities": "sigmoids",
    "embeddings": "embeddings",
    "values": "values",
    "ctc": "ctc",
}
"""What each kind of answer is, once it is recorded."""

FileKind = Literal["onnx", "tflite", "keras"]
KINDS: dict[str, FileKind] = {".onnx": "onnx", ".tflite": "tflite", ".keras": "keras"}
SAVED_MODEL = "saved_model.pb"


@dataclass(frozen=True)
class Teacher:
    """A network to learn from; either `network` or `file` is given.

    `answers` is what its outputs are, for each output or for all (None: told from the task's labels); `outputs` are those that
    count, by name or number, in this order (none: all); `classes` are the task's classes that its first output stands for, in its
    order (None: all); `inputs` turns the task's batch of inputs into its own, tensors [N, ...] to one tensor or a tuple; `taught_by`
    names teachers that it is distilled from itself before it teaches: a teacher assistant (Mirzadeh et al. 2020,
    https://arxiv.org/abs/1902.03393).
    """

    network: Callable[[], nn.Module] | None = None
    weights: Path | None = None
    file: Path | None = None
    answers: str | tuple[str, ...] | None = None
    outputs: tuple[str | int, ...] = ()
    classes: tuple[int, ...] | None = None
    inputs: Callable[..., Any] | None = None
    taught_by: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """What its outputs are, one for each or one for all; none where nobody said."""
        return (self.answers,) if isinstance(self.answers, str) else tuple(self.answers or ())

    @property
    def file_kind(self) -> FileKind | None:
        """What its file is; None where it is a network."""
        if self.file is None:
            return None
        return KINDS.get(self.file.suffix, "keras")

    @property
    def is_trained(self) -> bool:
        """Whether its user trained it."""
        return self.file is not None or self.weights is not None

    def given_digest(self) -> str:
        """Return the sha256 of what its user trained, "untrained" where that is nothing."""
        if self.file is not None:
            return digest_of(self.file) if self.file.is_dir() else file_digest(self.file)
        return file_digest(self.weights) if self.weights else "untrained"


def found_teacher(teacher: Teacher, *, root: Path, classes: int, what: str) -> Teacher:
    """Return a teacher whose files lie where the task's file says, seen from its folder; TaskError where it makes no sense.

    `classes` is how many labels the task names; `what` names the teacher in messages.
    """
    if (teacher.network is None) == (teacher.file is None) or (teacher.file and teacher.weights):
        raise TaskError(f"{what}: give either network, with or without weights, or file")
    for kind in teacher.kinds:
        if kind not in RECORDED_AS:
            raise TaskError(
                f"{what}: answers = {kind!r}; known: {', '.join(RECORDED_AS)}{did_you_mean(kind, RECORDED_AS)}"
            )
    if teacher.taught_by and teacher.is_trained:
        raise TaskError(
            f"{what} is trained already, so taught_by = {list(teacher.taught_by)} means nothing; leave it out"
        )
    _check_classes(teacher, classes, what)
    weights = _existing(
        root, teacher.weights, what, "a safetensors file or a state dict, or leave weights out to train it"
    )
    file = _existing(root, teacher.file, what, f"a {', '.join(KINDS)} file or a SavedModel's folder")
    if file is not None and file.suffix not in KINDS and not (file / SAVED_MODEL).is_file():
        raise TaskError(
            f"{what}: {file.name} is no {', '.join(KINDS)} file and no SavedModel's folder; give one of these"
        )
    return replace(teacher, weights=weights, file=file)


def in_order(teachers: Mapping[str, Teacher], *, what: str) -> Iterator[str]:
    """Give the teachers' names, each after those that it is taught by; TaskError where they teach each other in a circle."""
    left = dict(teachers)
    for name, teacher in teachers.items():
        for other in teacher.taught_by:
            if other not in teachers:
                raise TaskError(
                    f"{what}: {name!r} is taught by {other!r}, which isn't there; known: {', '.join(teachers)}{did_you_mean(other, teachers)}"
                )
    while left:
        ready = [name for name, teacher in left.items() if not left.keys() & set(teacher.taught_by)]
        if not ready:
            raise TaskError(f"{what}: {', '.join(left)} are taught by each other in a circle; one must come first")
        yield from ready
        left = {name: teacher for name, teacher in left.items() if name not in ready}


def speakers(teachers: Mapping[str, Teacher]) -> tuple[str, ...]:
    """Return those that teach the student unless a recipe says otherwise: all but the ones that teach another teacher."""
    behind = {other for teacher in teachers.values() for other in teacher.taught_by}
    return tuple(name for name in teachers if name not in behind)


def _check_classes(teacher: Teacher, count: int, what: str) -> None:
    if teacher.classes is None:
        return
    if not count:
        raise TaskError(
            f"{what} knows classes {list(teacher.classes)} of a task without labels; name the labels in the task"
        )
    if len(set(teacher.classes)) != len(teacher.classes) or not set(teacher.classes) <= set(range(count)):
        raise TaskError(f"{what}: classes = {list(teacher.classes)}; give different numbers from 0 to {count - 1}")


def _existing(root: Path, path: Path | None, what: str, wanted: str) -> Path | None:
    if path is None:
        return None
    found = root / path
    if not found.exists():
        raise TaskError(f"{what}: no file {found}; name {wanted}")
    return found
