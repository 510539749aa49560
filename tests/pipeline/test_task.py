"""Tasks: what a user's code may give is taken, what it must not give is one line that names it."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import TaskError
from pipeline.task import PARTS, LoadedTask, Metric, Splits
from pipeline.teacher import Teacher
from tests.small_task import Bars, Net, bars


def loaded(raw: Any, root: Path = Path(__file__).parent) -> LoadedTask:
    return LoadedTask(raw=raw, root=root)


def variant(**members: Any) -> Any:
    """Return the small task with some of its members replaced."""
    return type("Variant", (Bars,), members)()


def pairs(start: int, count: int = 6, shape: tuple[int, ...] = (1, 8, 8)) -> list[tuple[Any, Any]]:
    return [(np.full(shape, start + index, np.float32), index % 4) for index in range(count)]


def splits(train: Any = None, validation: Any = None, test: Any = None) -> Any:
    """Return a `data` method that gives these, or what is right."""
    made = Splits(
        pairs(0) if train is None else train,
        pairs(100) if validation is None else validation,
        pairs(200) if test is None else test,
    )
    return lambda _self: made


def refusal(call: Any) -> str:
    with pytest.raises(TaskError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


class RandomInputs:
    """A split that alters its inputs by itself."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return np.random.default_rng().standard_normal((1, 8, 8), dtype=np.float32), 0


class Raises:
    """A split that can't be read from its third sample on."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if index == 2:
            raise OSError("picture 2 is cut\nshort")
        return np.full((1, 8, 8), index, np.float32), 0


def test_a_whole_task_is_what_its_user_wrote() -> None:
    task = bars()

    assert (task.name, task.metric, task.labels, task.preprocessing) == ("bars", Metric("accuracy"), (), {})
    assert [len(task.splits[name]) for name in ("train", "validation", "test")] == [90, 40, 40]
    assert sorted(task.teachers()) == ["wide", "wider"]
    assert [tuple(part.shape) for part in task.example()] == [(2, 1, 8, 8)]
    task.rehearse()


DATA = [
    ({"data": lambda _self: [1, 2, 3]}, "data() gave a list; return pipeline.Splits(train, validation, test)"),
    ({"data": splits(train=[])}, "the train split is empty; give it at least one sample"),
    ({"data": splits(test=[])}, "the test split is empty"),
    ({"data": splits(train=3)}, "len(data().train) raised TypeError: object of type 'int' has no len()"),
    ({"data": splits(train=[1, 2])}, "data().train[0] is no pair; give (input, target), or (input, None) without labels"),
    ({"data": splits(train=[(1, 2, 3)])}, "data().train[0] is no pair"),
    ({"data": splits(validation=Raises())}, "data().validation[2] raised OSError: picture 2 is cut short (test_task.py:"),
    ({"data": splits(test=pairs(3))}, "3 inputs stand in both train and test; splits must not overlap"),
    ({"data": splits(validation=pairs(0))}, "6 inputs stand in both train and validation"),
    ({"data": splits(test=pairs(103))}, "3 inputs stand in both validation and test"),
    ({"data": splits(train=RandomInputs())}, "data().train[0] gives another input each time; put what is random into augment(sample, seed)"),
    ({"data": splits(train=[*pairs(0), *pairs(50, 2, (1, 9, 9))])}, "the input data().train[0] has shape (1, 8, 8), data().train[6] (1, 9, 9); give inputs of one shape, or a collate()"),
    ({"data": splits(test=pairs(200, 6, (8, 8)))}, "data().test[0] (8, 8)"),
    ({"data": splits(train=[(pairs(0)[0][0], 1), (pairs(1)[0][0], None)])}, "1 of the train split's 2 samples have no target; label all of it or nothing"),
    ({"data": splits(train=[(object(), 1)])}, "the data hold a object, whose content can't be compared"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "said"), DATA)
def test_wrong_data_are_told_in_one_line(members: dict[str, Any], said: str) -> None:
    task = loaded(variant(**members))

    assert said in refusal(lambda: task.splits)


def test_a_collate_of_ones_own_may_take_inputs_of_different_shapes() -> None:
    def collate(_self: Any, samples: list[Any]) -> Any:
        return torch.stack([torch.as_tensor(given[:1, :8, :8]) for given, _ in samples]), torch.tensor(
            [0] * len(samples)
        )

    task = loaded(variant(data=splits(train=pairs(0) + pairs(50, 2, (1, 9, 9))), collate=collate))

    assert len(task.splits.train) == 8
    assert [tuple(part.shape) for part in task.example()] == [(2, 1, 8, 8)]


def test_data_without_labels_are_taken() -> None:
    task = bars(labelled=False)

    assert task.targets("test") is None
    assert [tuple(part.shape) for part in task.example(3)] == [(3, 1, 8, 8)]
    task.rehearse()


def test_targets_come_as_one_array() -> None:
    task = loaded(variant(data=splits()))

    assert np.array_equal(task.targets("train"), [0, 1, 2, 3, 0, 1])  # type: ignore[arg-type] # labelled


def test_targets_of_several_parts_come_as_one_array_where_the_parts_are_of_one_shape_else_as_one_each() -> None:
    def targets_of(target: Any) -> Any:
        own = [(picture, target) for picture, _ in pairs(0)]
        return loaded(variant(data=splits(train=own))).targets("train")

    kinds, boxes = targets_of((3, np.ones(2)))

    assert targets_of((3, 4)).shape == (6, 2)
    assert (kinds.shape, boxes.shape) == ((6,), (6, 2))


def test_targets_of_different_shapes_are_told() -> None:
    ragged = [(given, np.zeros(index + 1)) for index, (given, _) in enumerate(pairs(0))]
    task = loaded(variant(data=splits(train=ragged)))

    assert "stacking the train targets raised ValueError: all input arrays must have the same shape" in refusal(
        lambda: task.targets("train")
    )


def test_several_inputs_become_several_arguments() -> None:
    two = [((given, given[0]), target) for given, target in pairs(0)]
    task = loaded(
        variant(
            data=splits(
                validation=[((given + 50, given[0]), target) for (given, _), target in two],
                train=two,
                test=[((given + 90, given[0]), 0) for (given, _), _ in two],
            )
        )
    )

    assert [tuple(part.shape) for part in task.example()] == [(2, 1, 8, 8), (2, 8, 8)]


NETWORKS = [
    ({"student": lambda _self: 3}, "student gave a int; return a torch.nn.Module"),
    ({"student": lambda _self: 1 / 0}, "student raised ZeroDivisionError: division by zero (test_task.py:"),
    ({"student": lambda _self: nn.Linear(3, 4)}, "student()(inputs (2, 1, 8, 8)) raised RuntimeError: mat1 and mat2"),
    ({"student": lambda _self: nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Unflatten(1, (2, 2)))}, "loss (cross-entropy by default) raised"),
    ({"loss": lambda _self, output, _target: output}, "loss() must return one number as a tensor, found a tensor (2, 4)"),
    ({"loss": lambda _self, _output, _target: 0.5}, "loss() must return one number as a tensor, found a float"),
    ({"loss": lambda _self, output, _target: output.nope}, "loss raised AttributeError: 'Tensor' object has no attribute 'nope' (test_task.py:"),
    ({"collate": lambda _self, _samples: 3}, "the result of collate raised TypeError"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "said"), NETWORKS)
def test_a_rehearsal_finds_what_does_not_fit_before_the_work_begins(members: dict[str, Any], said: str) -> None:
    task = loaded(variant(**members))

    assert said in refusal(task.rehearse)


TEACHERS = [
    (lambda _self: [Net], "teachers() must return a dict of pipeline.Teacher by name"),
    (lambda _self: {"wide": Net}, "teachers() must return a dict of pipeline.Teacher by name"),
    (lambda _self: vars(_self)["x"], "teachers raised KeyError: 'x' (test_task.py:"),
    (lambda _self: {"wide": Teacher(Net, Path("nowhere.pt"))}, "nowhere.pt; name a safetensors file or a state dict"),
    (lambda _self: {"wide": Teacher(file=Path("nowhere.onnx"))}, "nowhere.onnx; name a .onnx, .tflite, .keras file or"),
    (lambda _self: {"wide": Teacher(file=Path(__file__))}, "test_task.py is no .onnx, .tflite, .keras file"),
    (lambda _self: {"wide": Teacher(Net, file=Path("a.onnx"))}, "teacher 'wide': give either network, with or without"),
    (lambda _self: {"wide": Teacher()}, "give either network, with or without weights, or file"),
    (lambda _self: {"wide": Teacher(Net, answers="logit")}, "answers = 'logit'; known: logits, probabilities, "),
    (lambda _self: {"wide": Teacher(Net, classes=(0, 1))}, "of a task without labels; name the labels in the task"),
    (lambda _self: {"wide": Teacher(Net, taught_by=("x",))}, "'wide' is taught by 'x', which isn't there; known: wide"),
    (lambda _self: {"a": Teacher(Net, taught_by=("b",)), "b": Teacher(Net, taught_by=("a",))}, "a, b are taught by each other in a circle"),
]  # fmt: skip


@pytest.mark.parametrize(("teachers", "said"), TEACHERS)
def test_wrong_teachers_are_told(teachers: Any, said: str) -> None:
    assert said in refusal(loaded(variant(teachers=teachers)).teachers)


def test_an_unknown_teacher_is_told_with_a_guess() -> None:
    assert refusal(lambda: bars().teacher("wide2")).endswith("known: wide, wider; did you mean 'wide'?")


def test_weights_are_found_beside_the_tasks_file(tmp_path: Path) -> None:
    (tmp_path / "wide.pt").touch()
    task = loaded(variant(teachers=lambda _self: {"wide": Teacher(Net, "wide.pt")}), tmp_path)  # type: ignore[arg-type] # a text will do

    assert task.teachers()["wide"].weights == tmp_path / "wide.pt"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "score() gave nan; it must be a finite number"),
        (None, "score raised TypeError: float() argument must be"),
        ("high", "score raised ValueError: could not convert string to float"),
    ],
)
def test_a_score_that_is_no_number_is_told(value: Any, said: str) -> None:
    task = loaded(variant(score=lambda _self, _outputs, _targets: value))

    assert said in refusal(lambda: task.score(np.zeros(2), np.zeros(2)))


@pytest.mark.parametrize("labels", ["cat", [1, 2]])
def test_labels_are_texts(labels: Any) -> None:
    task = loaded(variant(labels=labels))

    assert "give a list of texts, one a class" in refusal(lambda: task.labels)


def test_networks_are_drawn_alike_each_time_and_leave_the_generators_alone() -> None:
    def student(_self: Any) -> nn.Module:
        module = nn.Linear(2, 2)
        module.bias.data = torch.tensor([random.random(), np.random.random()])  # noqa: S311, NPY002 - what a user may do
        return module

    task = loaded(variant(student=student))
    before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index] # noqa: NPY002 - as above

    one, other = task.student(), task.student()

    assert torch.equal(one.bias, other.bias)  # type: ignore[arg-type] # a Linear's
    assert torch.equal(one.weight, other.weight)  # type: ignore[arg-type] # as above
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index] # noqa: NPY002 - as above
    assert LoadedTask(raw=task.raw, root=task.root, seed=1).fingerprint("student") != task.fingerprint("student")


def test_a_network_that_is_another_each_time_is_told() -> None:
    def student(_self: Any) -> nn.Module:
        module = nn.Linear(2, 2)
        module.bias.data = torch.from_numpy(np.random.default_rng().random(2))
        return module

    task = loaded(variant(student=student))

    assert "student() builds other weights each time; draw them from torch, numpy or random" in refusal(
        lambda: task.fingerprint("student")
    )


def augment(_self: Any, sample: Any, seed: int) -> Any:
    return sample[0] * seed, sample[1]


def loss(_self: Any, output: Tensor, target: Tensor) -> Tensor:
    return (output.sum(1) - target).square().mean()


def score(_self: Any, outputs: Any, targets: Any) -> float:
    return float((outputs.argmax(1) != targets).mean())


@pytest.mark.parametrize(
    ("members", "changed"),
    [
        ({"student": lambda _self: Net(4)}, {"student"}),
        ({"teachers": lambda _self: {"wide": Teacher(lambda: Net(17))}}, {"teachers"}),
        ({"loss": loss}, {"loss"}),
        ({"score": score}, {"score"}),
        ({"metric": Metric("error", higher_is_better=False)}, {"score"}),
        ({"metric": Metric("other name")}, set()),
        ({"name": "other"}, set()),
        ({"augment": augment}, {"augment"}),
        ({"collate": lambda _self, samples: torch.utils.data.default_collate(samples)}, {"collate"}),
        ({"labels": ["a", "b", "c", "d"]}, {"labels"}),
        ({"preprocessing": {"mean": "0"}}, {"preprocessing"}),
        ({"data": splits()}, {"data.train", "data.validation", "data.test"}),
    ],
)
def test_a_change_counts_in_its_own_part_and_in_no_other(members: dict[str, Any], changed: set[str]) -> None:
    root = Path(__file__).parents[1]
    before, after = loaded(variant(), root), loaded(variant(**members), root)

    found = {part for part in PARTS if before.fingerprint(part) != after.fingerprint(part)}

    assert found == changed


def test_one_changed_sample_changes_its_split_alone() -> None:
    changed = pairs(200)
    changed[3] = (changed[3][0], 2)
    before, after = loaded(variant(data=splits())), loaded(variant(data=splits(test=changed)))

    assert [part for part in PARTS if before.fingerprint(part) != after.fingerprint(part)] == ["data.test"]


def test_a_teachers_weights_count_by_content(tmp_path: Path) -> None:
    def printed(content: bytes) -> str:
        (tmp_path / "wide.pt").write_bytes(content)
        task = loaded(variant(teachers=lambda _self: {"wide": Teacher(Net, Path("wide.pt"))}), tmp_path)
        return task.fingerprint("teacher:wide")

    assert printed(b"one") == printed(b"one") != printed(b"two")


def test_what_a_teacher_is_shown_counts_as_its_own_code_does() -> None:
    def printed(**shown: Any) -> str:
        return loaded(variant(teachers=lambda _self: {"wide": Teacher(Net, **shown)})).fingerprint("teacher:wide")

    assert printed() != printed(inputs=lambda x: x + 1) != printed(inputs=lambda x: x + 2)
