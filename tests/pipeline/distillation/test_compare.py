"""What answers are, told from labels and shapes, and which losses may compare them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.distillation.compare import SoftLoss, choose, kinds_of, refuse_unknown_classes
from pipeline.distillation.losses import Answers
from pipeline.distillation.teachers import Recorded
from pipeline.distillation.weighting import Weighting
from pipeline.errors import RecipeError
from pipeline.stages import distill, outputs, teach
from pipeline.task import LoadedTask
from pipeline.teacher import Teacher
from tests.small_stages import make
from tests.small_task import Bars, Net, Sample, bars


def with_one_output(width: int) -> nn.Module:
    network = Net(width)
    network.classifier = nn.Linear(width * 8, 1)
    return network


class YesOrNo(Bars):
    """Is the bar in the lower half? One output, whole numbers as targets."""

    def teachers(self) -> dict[str, Teacher]:
        return {"one": Teacher(lambda: with_one_output(16))}

    def student(self) -> nn.Module:
        return with_one_output(8)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(output[:, 0], target.float())

    def score(self, outputs: Any, targets: Any) -> float:
        return float(((outputs[:, 0] > 0) == targets).mean())

    def _split(self, seed: int, count: int) -> list[Sample]:
        return [(picture, int(label >= 2)) for picture, label in super()._split(seed, count)]


def loaded(raw: Any) -> LoadedTask:
    return LoadedTask(raw=raw, root=Path(__file__).parent)


@pytest.mark.parametrize(
    ("task", "shape", "kind"),
    [
        (bars(), (4,), "logits"),
        (bars(), (1,), "values"),
        (bars(), (), "values"),
        (bars(), (4, 3), "values"),
        (bars(labelled=False), (4,), "logits"),
        (bars(labelled=False), (1,), "values"),
        (loaded(YesOrNo()), (1,), "values"),
    ],
)
def test_classes_are_two_or_more_numbers_that_whole_targets_name(
    task: LoadedTask, shape: tuple[int, ...], kind: str
) -> None:
    assert kinds_of(task, [shape]) == (kind,)


def test_a_student_of_one_output_learns_from_its_teacher_alone(tmp_path: Path) -> None:
    task = loaded(YesOrNo())
    teacher = make(teach.STAGE, task, tmp_path / "teach", teacher="one", epochs=6, batch_size=16)
    said = make(outputs.STAGE, task, tmp_path / "said", {"model": teacher}, split="train", views=4)
    taught: dict[str, Any] = {"epochs": 6, "batch_size": 16, "soft_weight": 1.0}
    student = make(distill.STAGE, task, tmp_path / "distill", {"teacher_outputs:one": said}, **taught)
    losses = [epoch["loss"] for epoch in student.facts["history"]]

    assert losses[0] > losses[-1] > 0
    assert student.facts["validation_score"] > 0.9


@pytest.mark.parametrize("loss", ["mean_square", "relational"])
def test_a_loss_that_needs_every_class_is_refused_beside_a_teacher_of_some(loss: str) -> None:
    some = Recorded((), ("some", "all"), covers=torch.tensor([[True, False], [True, True]]))

    with pytest.raises(RecipeError, match=f"{loss} needs a number for each class, and not all of some, all"):
        refuse_unknown_classes(choose({"soft_targets": 1.0, loss: 1.0}, ("logits",)), some)


def test_a_teacher_of_all_classes_in_another_order_is_heard_by_any_loss() -> None:
    recorded = Recorded((), ("all",), covers=torch.tensor([[True, True]]))

    refuse_unknown_classes(choose({"mean_square": 1.0}, ("logits",)), recorded)


@pytest.mark.parametrize(("kind", "places"), [("logits", 5), ("embeddings", 0), ("values", 0)])
def test_only_classes_are_judged_by_how_often_student_and_teachers_name_the_same(kind: Answers, places: int) -> None:
    said = torch.randn(1, 5, 4)
    alone = Weighting("mean", given=[1.0], temperatures=[1.0], classes=4, covers=None)
    soft = SoftLoss(choose({"relational": 1.0}, (kind,)), alone)

    assert soft.agreement((said[0],), [said]) == (places, places)
