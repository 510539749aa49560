from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.architecture import macs_of, parameters_of
from pipeline.batches import predict
from pipeline.errors import TaskError
from pipeline.file_networks import file_network
from pipeline.stages import file_onnx, file_tflite
from pipeline.task import LoadedTask
from pipeline.task_file import load_task
from pipeline.tasks.digits import STUDENTS, Digits, three_teachers
from tests.small_stages import make

TASK = load_task("pipeline.tasks.digits:task", relative_to=Path())


def counts(split: str) -> list[int]:
    targets = TASK.targets(split)  # type: ignore[arg-type]  # each of the three names
    assert targets is not None
    return [int(count) for count in np.bincount(targets)]


@pytest.mark.parametrize(("split", "of_each"), [("train", 300), ("validation", 75), ("test", 125)])
def test_each_split_holds_every_digit_equally_often(split: str, of_each: int) -> None:
    assert counts(split) == [of_each] * 10


def test_the_splits_share_no_picture() -> None:
    assert len(TASK.splits.train) == 3000  # LoadedTask refuses splits that overlap


def test_pictures_are_normalised() -> None:
    pictures = np.stack([TASK.splits.train[index][0] for index in range(500)])

    assert pictures.shape == (500, 1, 28, 28)
    assert pictures.dtype == np.float32
    assert abs(float(pictures.mean())) < 0.1
    assert float(pictures.std()) == pytest.approx(1, abs=0.1)


def test_a_fraction_keeps_the_classes_alike_and_the_other_splits_whole() -> None:
    task = LoadedTask(raw=Digits(train_fraction=0.25), root=TASK.root)
    targets = task.targets("train")

    assert targets is not None
    assert np.bincount(targets).tolist() == [75] * 10
    assert task.fingerprint("data.test") == TASK.fingerprint("data.test")


def test_augmentation_moves_the_picture_a_little_and_follows_its_seed() -> None:
    sample = TASK.splits.train[0]
    once, again, other = (TASK.augment(sample, seed)[0] for seed in (1, 1, 2))

    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert once.shape == (1, 28, 28)
    assert float(once.mean()) == pytest.approx(float(sample[0].mean()), abs=0.1)
    assert TASK.augment(sample, 1)[1] == sample[1]


@pytest.mark.parametrize("student", STUDENTS)
def test_the_teacher_is_larger_than_every_student(student: str) -> None:
    task = LoadedTask(raw=Digits(student), root=TASK.root)
    teacher, small = task.teacher("resnet20"), task.student()

    assert parameters_of(teacher) > 3 * parameters_of(small)
    assert macs_of(teacher, task.example()) > 2 * macs_of(small, task.example())


@pytest.mark.parametrize("wrong", [{"student": "resnet9"}, {"train_fraction": 0.0}, {"train_fraction": 1.5}])
def test_what_does_not_exist_is_one_line(wrong: dict[str, float]) -> None:
    with pytest.raises(TaskError, match="students: dscnn, mobilenet, resnet8"):
        Digits(**wrong)  # type: ignore[arg-type]  # the very mistake


def test_three_teachers_differ_in_format_and_the_files_know_digits_that_they_never_saw(tmp_path: Path) -> None:
    task = LoadedTask(raw=three_teachers, root=TASK.root)
    kinds = {name: teacher.file_kind for name, teacher in task.teachers().items()}

    assert kinds == {"resnet20": None, "mobilenet": "onnx", "convolutional": "tflite"}
    for name, stage in (("mobilenet", file_onnx.STAGE), ("convolutional", file_tflite.STAGE)):
        network = file_network(make(stage, task, tmp_path / name, teacher=name))
        assert task.score(predict(network, task, "validation"), task.targets("validation")) > 0.98
