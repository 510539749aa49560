"""Task: what is learned and how it is judged; the one thing that a user writes.

A task is any object with the attributes of `Task`; there is nothing to inherit. Only `name`, `metric`, `data`, `student`
and `score` are needed. `LoadedTask` fills what was left out, checks what the user's functions give, and fingerprints each part for
the store; `pipeline.task_file` loads one from a file.

A split is a map-style dataset (`len`, `[index]`) of `(input, target)` pairs; an input is an array, a tensor or a tuple of
them. A split without targets gives `(input, None)`: then the teacher's outputs stand in for the targets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.beside import contents_of
from pipeline.errors import EdgepressError, TaskError, did_you_mean, one_line, users_frame
from pipeline.fingerprint import code_fingerprint, network_fingerprint, sample_fingerprint, text_fingerprint
from pipeline.plain_attention import plain
from pipeline.reproducible import seeded
from pipeline.resampled import Values, stacked
from pipeline.teacher import Teacher, found_teacher, in_order

T = TypeVar("T")
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
PARTS = (
    *("data.train", "data.validation", "data.test", "student", "teachers"),
    *("loss", "score", "augment", "collate", "labels", "preprocessing"),
)


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


class Task(Protocol):
    """What a user writes; see the README for one in forty lines."""

    name: str
    metric: Metric

    def data(self) -> Splits:
        """Return the three splits."""

    def student(self) -> nn.Module:
        """Return the network to deploy, untrained or trained: a plain module."""

    def score(self, outputs: Any, targets: Any) -> float:
        """Judge outputs [N, ...] against targets [N, ...] of one split, aligned by sample, as numpy arrays, or tuples of them."""

    # Optional:
    #   teachers() -> dict[str, Teacher]
    #   loss(output, target) -> Tensor            default: cross-entropy
    #   augment(sample, seed) -> sample           sample is `(input, target)`, seed an int
    #   collate(list of samples) -> batch         default: torch's default_collate
    #   labels: list[str];  preprocessing, provenance: dict[str, str]    travel with the files (pipeline.provenance)
    #   mistakes(outputs, targets) -> list[tuple[float, str, str]]    of each test sample: how wrong (0: not), what it is, what is said
    #   files() -> dict[str, str | bytes]         what travels beside the files, by name: a tokenizer, a front end


@dataclass(frozen=True)
class LoadedTask:
    """A user's task, made whole and checked. `raw` is the user's object, `root` the folder that its source lies in.

    Another process loads it by `origin`, reference and folder, and the facts of a chosen student; an object that was given has no origin.
    """

    raw: Any
    root: Path
    seed: int = 0
    cache: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    origin: tuple[str, Path] | None = field(default=None, compare=False)
    choice: Mapping[str, Any] | None = field(default=None, compare=False)

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
        labels = getattr(self.raw, "labels", ())
        if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
            raise TaskError(f"task {self.name!r}: labels = {labels!r:.60}; give a list of texts, one a class")
        return tuple(labels)

    @property
    def preprocessing(self) -> Mapping[str, str]:
        """How a raw input becomes the network's, in words that travel in the files' metadata."""
        return dict(getattr(self.raw, "preprocessing", {}))

    @cached_property
    def files(self) -> Mapping[str, bytes]:
        """What travels beside the exported files, by name; nothing where the task has no `files`."""
        found = self._ask("files", self.raw.files) if hasattr(self.raw, "files") else {}
        return contents_of(found, self.name)

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
        shapes: dict[Any, str] = {}
        for name in SPLITS:
            inputs[name], targets = self._digest(splits[name], name, shapes)
            digests[name] = text_fingerprint(*inputs[name], *targets)
        self._refuse_overlap(inputs)
        return splits, digests

    def _digest(self, split: Split, name: str, shapes: dict[Any, str]) -> tuple[list[str], list[str]]:
        """Digest a split's inputs and targets, one sample after the other; `shapes` are those seen so far, and where."""
        count = self._ask(f"len(data().{name})", lambda: len(split))
        if count == 0:
            raise TaskError(f"task {self.name!r}: the {name} split is empty; give it at least one sample")
        inputs, targets, unlabelled = [], [], 0
        for index in range(count):
            given, target = self.sample(split, name, index)
            shapes.setdefault(self._ask(f"data().{name}[{index}]", partial(_shapes, given)), f"{name}[{index}]")
            inputs.append(sample_fingerprint(given))
            targets.append(sample_fingerprint(target))
            unlabelled += target is None
        self._refuse_mixtures(name, shapes, unlabelled, count)
        if sample_fingerprint(self.sample(split, name, 0)[0]) != inputs[0]:
            raise TaskError(
                f"task {self.name!r}: data().{name}[0] gives another input each time; put what is random into augment(sample, seed)"
            )
        return inputs, targets

    def _refuse_mixtures(self, name: str, shapes: Mapping[Any, str], unlabelled: int, count: int) -> None:
        if 0 < unlabelled < count:
            raise TaskError(
                f"task {self.name!r}: {unlabelled} of the {name} split's {count} samples have no target; label all of it or nothing"
            )
        if len(shapes) > 1 and not hasattr(self.raw, "collate"):
            (one, where), (other, elsewhere) = list(shapes.items())[:2]
            raise TaskError(
                f"task {self.name!r}: the input data().{where} has shape {one}, data().{elsewhere} {other}; "
                "give inputs of one shape, or a collate()"
            )

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

    def is_labelled(self, name: SplitName) -> bool:
        """Tell whether a split has targets."""
        return self.sample(self.splits[name], name, 0)[1] is not None

    def targets(self, name: SplitName) -> Values | None:
        """Return a split's targets [N, ...], several where they have parts of different shapes, or None where it has none."""
        split = self.splits[name]
        values = [self.sample(split, name, index)[1] for index in range(len(split))]
        if any(value is None for value in values):
            return None
        return self._ask(f"stacking the {name} targets", lambda: stacked(values))

    def example(self, batch_size: int = 2) -> tuple[Tensor, ...]:
        """Return the first inputs of the validation split as a network takes them: tensors [batch_size, ...]."""
        split = self.splits.validation
        samples = [self.sample(split, "validation", index % len(split)) for index in range(batch_size)]
        labelled = all(target is not None for _, target in samples)
        batch = self.collate(samples if labelled else [(inputs, 0) for inputs, _ in samples])
        return as_arguments(self._ask("the result of collate", lambda: batch[0]))

    def rehearse(self) -> None:
        """Try the student, and the loss where there are labels, on two samples, once: a mistake shows before the work begins."""
        if self.cache.setdefault("rehearsed", "no") == "yes":
            return
        split, _ = self.splits.train, self.files
        samples = [self.sample(split, "train", index % len(split)) for index in range(2)]
        student, arguments = self.student().eval(), self.example()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            outputs = self._ask(f"student()(inputs {_told(arguments)})", lambda: student(*arguments))
            if all(target is not None for _, target in samples):
                targets = self._ask("the result of collate", lambda: self.collate(samples)[1])
                self.loss(outputs, targets)
        self.cache["rehearsed"] = "yes"

    def student(self) -> nn.Module:
        """Build the student as the task's seed makes it; the same module on every call."""
        return plain(self._build("student", self.raw.student))

    def teachers(self) -> Mapping[str, Teacher]:
        """Return the teachers by name; none where the task has no `teachers`."""
        return self._teachers

    @cached_property
    def _teachers(self) -> Mapping[str, Teacher]:
        found = self._ask("teachers", self.raw.teachers) if hasattr(self.raw, "teachers") else {}
        if not isinstance(found, dict) or not all(isinstance(teacher, Teacher) for teacher in found.values()):
            raise TaskError(f"task {self.name!r}: teachers() must return a dict of pipeline.Teacher by name")
        what = f"task {self.name!r}: teacher"
        teachers = {
            str(name): found_teacher(teacher, root=self.root, classes=len(self.labels), what=f"{what} {str(name)!r}")
            for name, teacher in found.items()
        }
        return {name: teachers[name] for name in in_order(teachers, what=f"task {self.name!r}")}

    def teacher(self, name: str) -> nn.Module:
        """Build one teacher's network, untrained."""
        teachers = self.teachers()
        if name not in teachers:
            raise TaskError(
                f"no teacher {name!r} in task {self.name!r}; known: {', '.join(teachers)}{did_you_mean(name, teachers)}"
            )
        constructor = teachers[name].network
        assert constructor is not None, "a teacher's file has no constructor"
        return self._build(f"teachers()[{name!r}].network", constructor)

    def heard(self, teacher: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return a batch of inputs as a teacher takes it."""
        own = self.teachers()[teacher].inputs if teacher else None
        if own is None:
            return inputs
        return as_arguments(self._ask(f"teachers()[{teacher!r}].inputs", lambda: own(*inputs)))

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
        value = self._ask("score", lambda: float(self.raw.score(outputs, targets)))
        if not np.isfinite(value):
            raise TaskError(f"task {self.name!r}: score() gave {value}; it must be a finite number")
        return value

    def mistakes(self, outputs: Any, targets: Any) -> list[tuple[float, str, str]] | None:
        """Return of each test sample how wrong the outputs are, what it is and what they say; None where the task doesn't tell."""
        if not hasattr(self.raw, "mistakes"):
            return None
        told = self._ask(
            "mistakes",
            lambda: [(float(off), str(what), str(said)) for off, what, said in self.raw.mistakes(outputs, targets)],
        )
        if len(told) != len(self.splits.test) or not all(np.isfinite(off) and off >= 0 for off, _, _ in told):
            raise TaskError(
                f"task {self.name!r}: mistakes() must give (how wrong, what it is, what is said) for each of the {len(self.splits.test)} test "
                f"samples, 0 where nothing is wrong; found {len(told)} of them, {told[:1]!s:.80}"
            )
        return told

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
        """Return what identifies one of PARTS, "name", "teacher:NAME", or "inputs:NAME", how that teacher is shown the data.

        Data counts by content, a network by its code, structure and first weights, a function by its code.
        """
        if part not in self.cache:
            self.cache[part] = self._fingerprint(part)
        return self.cache[part]

    def _fingerprint(self, part: str) -> str:
        if part.startswith("data."):
            return self._data[1][part.removeprefix("data.")]
        if part == "student":
            return self._network_fingerprint("student()", self.student, self.raw.student)
        if part == "teachers":
            return text_fingerprint(*(self.fingerprint(f"teacher:{name}") for name in self.teachers()))
        if part.startswith("teacher:"):
            return self._teacher_fingerprint(part.removeprefix("teacher:"))
        if part.startswith("inputs:"):
            teacher = self.teachers().get(part.removeprefix("inputs:"))
            return code_fingerprint(teacher.inputs, self.root) if teacher and teacher.inputs else "as they are"
        code = code_fingerprint(getattr(self.raw, part), self.root) if hasattr(self.raw, part) else "default"
        # The direction decides which weights are kept; the metric's name changes nothing.
        return text_fingerprint(code, str(self.metric.higher_is_better)) if part == "score" else code

    def _teacher_fingerprint(self, name: str) -> str:
        teacher, what = self.teachers()[name], f"teachers()[{name!r}].network"
        own, shown = teacher.network, [self.fingerprint(f"inputs:{name}")] if teacher.inputs else []
        network = [self._network_fingerprint(what, lambda: self.teacher(name), own)] if own else []
        return text_fingerprint(name, *network, teacher.given_digest(), *shown)

    def _network_fingerprint(self, what: str, build: Callable[[], nn.Module], constructor: Any) -> str:
        """Two builds must agree: weights that differ each time would never be found again."""
        network, again = network_fingerprint(build()), network_fingerprint(build())
        if network != again:
            raise TaskError(
                f"task {self.name!r}: {what} builds other weights each time; draw them from torch, numpy or random, which are seeded"
            )
        return text_fingerprint(network, code_fingerprint(constructor, self.root))

    def _build(self, what: str, constructor: Callable[[], nn.Module]) -> nn.Module:
        with seeded(self.seed):
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


def _shapes(inputs: Any) -> Any:
    """Return an input's shape, or the shapes of its parts."""
    if isinstance(inputs, tuple | list):
        return tuple(tuple(np.shape(part)) for part in inputs)
    return tuple(np.shape(inputs))


def _told(arguments: tuple[Any, ...]) -> str:
    return ", ".join(str(tuple(argument.shape)) if isinstance(argument, Tensor) else "?" for argument in arguments)


def _shape(value: Any) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
