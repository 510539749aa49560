"""What teachers said, read back: the same losses as if they ran along, bit for bit where they were asked alike."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.architecture import load_network
from pipeline.artifact import Artifact
from pipeline.batches import Batch, split_batches
from pipeline.distillation.losses import Said
from pipeline.distillation.losses.soft_targets import soft_targets
from pipeline.distillation.teachers import Recorded, read_recorded, temperatures
from pipeline.errors import RecipeError, TaskError
from pipeline.stages import outputs, teach
from pipeline.task import LoadedTask
from tests.small_stages import make
from tests.small_task import Bars, bars

BATCH = 15


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make(teach.STAGE, bars(), tmp_path_factory.mktemp("teacher"), teacher="wide", epochs=2, batch_size=16)


def recorded(teacher: Artifact, folder: Path, **settings: Any) -> Recorded:
    said = make(outputs.STAGE, bars(), folder, {"model": teacher}, split="train", views=2, **settings)
    return read_recorded({"wide": said}, views=2, seed=0, samples=90)


def batches() -> Iterator[Batch]:
    return split_batches(bars(), "train", batch_size=BATCH, view=1, seed=0)


def losses(say: Any) -> list[float]:
    student = bars().student().eval()
    each = []
    for batch in batches():
        answers: Tensor = say(batch)
        loss = soft_targets(student(*batch.inputs), Said(answers, torch.ones(answers.shape[:2]), 4.0))
        each.append(float(loss.detach()))
    return each


def live(teacher: Artifact) -> Any:
    network = load_network(teacher, bars()).eval()

    def say(batch: Batch) -> Tensor:
        with torch.no_grad():
            answers: Tensor = network(*batch.inputs)[None]
        return answers

    return say


def test_recorded_in_the_same_batches_the_losses_are_the_same_bits(teacher: Artifact, tmp_path: Path) -> None:
    read = recorded(teacher, tmp_path, batch_size=BATCH)

    assert losses(lambda batch: read.of(batch)[0]) == losses(live(teacher))


def test_recorded_in_other_batches_they_differ_by_rounding_alone(teacher: Artifact, tmp_path: Path) -> None:
    read = recorded(teacher, tmp_path, batch_size=64)

    assert losses(lambda batch: read.of(batch)[0]) == pytest.approx(losses(live(teacher)), rel=1e-5)


def test_with_three_of_four_classes_kept_they_are_the_same_and_with_two_within_a_tenth(
    teacher: Artifact, tmp_path: Path
) -> None:
    whole = losses(live(teacher))
    three, two = (recorded(teacher, tmp_path / str(k), batch_size=BATCH, top_k=k) for k in (3, 2))

    assert losses(lambda batch: three.of(batch)[0]) == pytest.approx(whole, rel=1e-5)
    assert losses(lambda batch: two.of(batch)[0]) == pytest.approx(whole, rel=0.1)


def test_teachers_of_other_answers_cannot_speak_together(teacher: Artifact, tmp_path: Path) -> None:
    kinds = ("logits", "values")
    said = {
        kind: make(outputs.STAGE, bars(), tmp_path / kind, {"model": teacher}, split="train", answers=(kind,))
        for kind in kinds
    }

    with pytest.raises(TaskError, match="must answer alike; found logits: logits; values: values"):
        read_recorded(said, views=1, seed=0, samples=90)


def test_what_each_teacher_covers_is_read_from_its_record(teacher: Artifact, tmp_path: Path) -> None:
    class Labelled(Bars):
        labels = ("a", "b", "c", "d", "e", "f")

    task = LoadedTask(raw=Labelled(), root=Path(__file__).parent)
    some: dict[str, Any] = {"classes": (5, 1, 2, 3), "class_count": 6}
    said = make(outputs.STAGE, task, tmp_path, {"model": teacher}, split="train", **some)
    read = read_recorded({"some": said}, views=1, seed=0, samples=90)

    assert read.covers is not None
    assert read.covers.tolist() == [[False, True, True, True, False, True]]
    assert read.shapes() == [(6,)]


def test_labels_that_name_no_classes_calibrate_nobody(teacher: Artifact, tmp_path: Path) -> None:
    class Pairs(Bars):
        def _split(self, seed: int, count: int) -> list[Any]:
            return [(picture, (label, label)) for picture, label in super()._split(seed, count)]

    task = LoadedTask(raw=Pairs(), root=Path(__file__).parent)

    with pytest.raises(RecipeError, match=r"targets of task 'bars' don't name those of answers \[4\]; say weighting"):
        temperatures(recorded(teacher, tmp_path), None, task)
