"""Task: what is learned and how it is judged; the one thing that a user writes.

A task is any object with the attributes of `Task`; there is nothing to inherit. Only `name`, `metric`, `data`, `student`
and `score` are needed. `LoadedTask` fills what was left out, checks what the user's functions give, and fingerprints each part for
the store; `pipeline.task_file` loads one from a file.

A split is a map-style dataset (`len`, `[index]`) of `(input, target)` pairs; an input is an array, a tensor or a tuple of
them. A split without targets gives `(input, None)`: then the teacher's outputs stand in for the targets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import EdgepressError, TaskError, did_you_mean
from pipeline.fingerprint import code_fingerprint, network_fingerprint, sample_fingerprint, text_fingerprint

T = TypeVar("T")
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
PARTS = ("data.train", "data.validation", "data.test", "student", "teachers", "loss", "score", "augment", "collate")


@dataclass(frozen=True)
class Metric:
    """What `score` gives: a name, its direction, and how many of its units make one point in a table."""

    name: str
    higher_is_better: bool = True


class Split(Protocol):
    """A map-style dataset."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self, index: int, /) -> Any:
        """Return `(input, target)`, or `(input, None)` where nobody labelled it."""


@dataclass(frozen=True)
class Splits:
    """Disjoint data: the student learns on `train`, choices look at `validation`, the report alone reads `test`."""

    train: Split
    validation: Split
    test: Split

    def __getitem__(self, name: SplitName) -> Split:
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


@dataclass(frozen=True)
class Teacher:
    """A network to learn from: `network` builds it; `weights` is a trained file (safetensors, or a state dict).

    Without `weights` the `teach` stage trains it on the task's own data.
    """

    network: Callable[[], nn.Module]
    weights: Path | None = None


class Task(Protocol):
    """What a user writes; see the README for one in forty lines."""

    name: str
    metric: Metric

    def data(self) -> Splits:
        """Return the three splits."""

    def student(self) -> nn.Module:
        """Return the network to deploy, untrained or trained: a plain module."""

    def score(self, outputs: Any, targets: Any) -> float:
        """Judge outputs [N, ...] against targets [N, ...] of one split, aligned by sample, as numpy arrays."""

    # Optional:
    #   teachers() -> dict[str, Teacher]
    #   loss(output, target) -> Tensor            default: cross-entropy
    #   augment(sample, seed) -> sample           sample is `(input, target)`, seed an int
    #   collate(list of samples) -> batch         default: torch's default_collate
    #   labels: list[str];  preprocessing: dict[str, str]    both travel in the files' metadata


@dataclass(frozen=True)
class LoadedTask:
    """A user's task, made whole and checked. `raw` is the user's object, `root` the folder that its source lies in."""

    raw: Any
    root: Path
    seed: int = 0
    cache: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.raw.name)

    @property
    def metric(self) -> Metric:
        """What `score` gives."""
        metric: Metric = self.raw.metric
        return metric

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, or nothing."""
        return tuple(getattr(self.raw, "labels", ()))

    @property
    def preprocessing(self) -> Mapping[str, str]:
        """How a raw input becomes the network's, in words that travel in the files' metadata."""
        return dict(getattr(self.raw, "preprocessing", {}))

    @property
    def splits(self) -> Splits:
        """The user's data, checked: three splits, none empty, none sharing a sample with another."""
        return self._data[0]

    @cached_property
    def _data(self) -> tuple[Splits, Mapping[str, str]]:
        """The splits, and by name what each of them holds, digested in one pass."""
        splits = self._ask("data", self.raw.data)
        if not isinstance(splits, Splits):
            raise TaskError(
                f"task {self.name!r}: data() gave a {type(splits).__name__}; return pipeline.Splits(train, validation, test)"
            )
        inputs: dict[str, list[str]] = {}
        digests: dict[str, str] = {}
        for name in SPLITS:
            if len(splits[name]) == 0:
                raise TaskError(f"task {self.name!r}: the {name} split is empty; give it at least one sample")
            samples = [self.sample(splits[name], name, index) for index in range(len(splits[name]))]
            inputs[name] = [sample_fingerprint(given) for given, _ in samples]
            targets = (sample_fingerprint(target) for _, target in samples)
            digests[name] = text_fingerprint(*inputs[name], *targets)
        self._refuse_overlap(inputs)
        return splits, digests

    def _refuse_overlap(self, inputs: Mapping[str, list[str]]) -> None:
        """A sample that stands in two splits makes the score a lie."""
        for first, second in combinations(inputs, 2):
            shared = len(set(inputs[first]) & set(inputs[second]))
            if shared:
                raise TaskError(
                    f"task {self.name!r}: {shared} inputs stand in both {first} and {second}; splits must not overlap"
                )

    def sample(self, split: Split, name: str, index: int) -> tuple[Any, Any]:
        """Return one `(input, target)` of a split; TaskError where it is anything else."""
        sample: Any = self._ask(f"data().{name}[{index}]", lambda: split[index])
        if not isinstance(sample, tuple) or len(sample) != 2:
            raise TaskError(
                f"task {self.name!r}: data().{name}[{index}] is no pair; give (input, target), or (input, None) without labels"
            )
        return sample[0], sample[1]

    def targets(self, name: SplitName) -> np.ndarray | None:
        """Return a split's targets [N, ...], or None where it has none."""
        split = self.splits[name]
        values = [self.sample(split, name, index)[1] for index in range(len(split))]
        if any(value is None for value in values):
            return None
        return np.stack([np.asarray(value) for value in values])

    def example(self, batch_size: int = 2) -> tuple[Tensor, ...]:
        """Return the first inputs of the validation split as a network takes them: tensors [batch_size, ...]."""
        split = self.splits.validation
        samples = [self.sample(split, "validation", index % len(split)) for index in range(batch_size)]
        return as_arguments(self.collate([(inputs, 0) for inputs, _ in samples])[0])

    def student(self) -> nn.Module:
        """Build the student as the task's seed makes it; the same module on every call."""
        return self._build("student", self.raw.student)

    def teachers(self) -> Mapping[str, Teacher]:
        """Return the teachers by name; none where the task has no `teachers`."""
        found = self._ask("teachers", self.raw.teachers) if hasattr(self.raw, "teachers") else {}
        if not isinstance(found, dict) or not all(isinstance(teacher, Teacher) for teacher in found.values()):
            raise TaskError(f"task {self.name!r}: teachers() must return a dict of pipeline.Teacher by name")
        return found

    def teacher(self, name: str) -> nn.Module:
        """Build one teacher's network, untrained."""
        teachers = self.teachers()
        if name not in teachers:
            raise TaskError(
                f"no teacher {name!r} in task {self.name!r}; known: {', '.join(teachers)}{did_you_mean(name, teachers)}"
            )
        return self._build(f"teachers()[{name!r}].network", teachers[name].network)

    def loss(self, output: Any, target: Any) -> Tensor:
        """Return the user's loss of a batch, or cross-entropy: a scalar."""
        if not hasattr(self.raw, "loss"):
            return self._ask("loss (cross-entropy by default)", lambda: F.cross_entropy(output, target))
        value = self._ask("loss", lambda: self.raw.loss(output, target))
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise TaskError(f"task {self.name!r}: loss() must return one number as a tensor, found {_shape(value)}")
        return value

    def score(self, outputs: Any, targets: Any) -> float:
        """Return the user's judgement of outputs against targets, a finite number."""
        value = float(self._ask("score", lambda: self.raw.score(outputs, targets)))
        if not np.isfinite(value):
            raise TaskError(f"task {self.name!r}: score() gave {value}; it must be a finite number")
        return value

    def augment(self, sample: tuple[Any, Any], seed: int) -> tuple[Any, Any]:
        """Return the sample as this seed alters it; unaltered where the task has no `augment`."""
        if not hasattr(self.raw, "augment"):
            return sample
        augmented: tuple[Any, Any] = self._ask("augment", lambda: self.raw.augment(sample, seed))
        return augmented

    def collate(self, samples: list[Any]) -> Any:
        """Stack samples into a batch `(inputs, targets)`."""
        stack = getattr(self.raw, "collate", torch.utils.data.default_collate)
        return self._ask("collate", lambda: stack(samples))

    def fingerprint(self, part: str) -> str:
        """Return what identifies one of PARTS, or "teacher:NAME".

        Data counts by content, a network by its code, structure and first weights, a function by its code.
        """
        if part not in self.cache:
            self.cache[part] = self._fingerprint(part)
        return self.cache[part]

    def _fingerprint(self, part: str) -> str:
        if part.startswith("data."):
            return self._data[1][part.removeprefix("data.")]
        if part == "student":
            return text_fingerprint(network_fingerprint(self.student()), code_fingerprint(self.raw.student, self.root))
        if part == "teachers":
            return text_fingerprint(*(self.fingerprint(f"teacher:{name}") for name in self.teachers()))
        if part.startswith("teacher:"):
            return self._teacher_fingerprint(part.removeprefix("teacher:"))
        function = getattr(self.raw, part, None)
        return code_fingerprint(function, self.root) if function else "default"

    def _teacher_fingerprint(self, name: str) -> str:
        teacher = self.teachers()[name]
        network = network_fingerprint(self.teacher(name))
        weights = sample_fingerprint(teacher.weights.read_bytes()) if teacher.weights else "untrained"
        return text_fingerprint(name, network, code_fingerprint(teacher.network, self.root), weights)

    def _build(self, what: str, constructor: Callable[[], nn.Module]) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            module = self._ask(what, constructor)
        if not isinstance(module, nn.Module):
            raise TaskError(f"task {self.name!r}: {what} gave a {type(module).__name__}; return a torch.nn.Module")
        return module

    def _ask(self, what: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except EdgepressError:
            raise
        except Exception as error:  # the user's code may raise anything
            raise TaskError(
                f"task {self.name!r}: {what} raised {type(error).__name__}: {one_line(error)}{users_frame(error, self.root)}"
            ) from error


def as_arguments(inputs: Any) -> tuple[Tensor, ...]:
    """Return a batch's inputs as positional arguments of a network."""
    return tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)


def one_line(error: BaseException) -> str:
    """Return an exception's message in one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]


def users_frame(error: BaseException, root: Path) -> str:
    """Return " (file:line in function)" of the innermost frame that lies in the user's folder."""
    frame, found = error.__traceback__, ""
    while frame is not None:
        code = frame.tb_frame.f_code
        if Path(code.co_filename).is_relative_to(root):
            found = f" ({Path(code.co_filename).name}:{frame.tb_lineno} in {code.co_name})"
        frame = frame.tb_next
    return found


def _shape(value: Any) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
