"""The audit on digits: it passes a good teacher and catches four bad ones, each in under a minute."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from pipeline.api import audit, load
from pipeline.artifact import Artifact
from pipeline.networks.resnet import resnet8
from pipeline.report.audited import notes, rows, why_stopped
from pipeline.stages import outputs, teach
from pipeline.stages.audit import STAGE
from pipeline.task import LoadedTask
from pipeline.tasks import digits
from pipeline.teacher import Teacher
from tests.small_stages import make

ROOT = Path(digits.__file__).parent
FEW, ALL = 0.03, 1.0
"""Of the training pictures: with 90 of them a student needs a teacher that saw all 3,000."""
WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "good": lambda logits: logits,
    "swapped": lambda logits: logits[:, [0, 1, 2, 3, 5, 4, 6, 7, 9, 8]],
    "loud": lambda logits: 20 * logits,
}


class Changed(nn.Module):
    """ResNet-8 with something done to its answers or its inputs."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.network = resnet8()
        self.way = way

    def forward(self, picture: Tensor) -> Tensor:
        # As a network that was trained on 0 to 255 sees values that were normalised already.
        seen = (picture / 255 - 0.13) / 0.31 if self.way == "unprepared" else picture
        answers: Tensor = WAYS.get(self.way, WAYS["good"])(self.network(seen))
        return answers


class Taught(digits.Digits):
    """Digits with one teacher, `way`."""

    def __init__(self, way: str, fraction: float) -> None:
        super().__init__(train_fraction=fraction)
        self.way = way

    def teachers(self) -> dict[str, Teacher]:
        return {"own": Teacher(lambda: Changed(self.way))}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """ResNet-8, four epochs on all training pictures."""
    task = LoadedTask(raw=Taught("good", ALL), root=ROOT)
    return make(teach.STAGE, task, tmp_path_factory.mktemp("teacher"), teacher="own", epochs=4)


@pytest.fixture(scope="module")
def judged(trained: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Audit a way of the trained teacher on a share of the pictures."""

    def judge(way: str, *, fraction: float = FEW, steps: int = 300) -> dict[str, Any]:
        task, folder = LoadedTask(raw=Taught(way, fraction), root=ROOT), tmp_path_factory.mktemp(way)
        model = Artifact(f"{trained.digest[:-1]}{len(way)}", "network", trained.path, trained.facts)
        given = {f"teacher_{kind}:own": said(model, task, folder, kind) for kind in ("outputs", "validation")}
        found = make(STAGE, task, folder / "audit", {"model:own": model, **given}, probe_steps=steps, batch_size=32)
        return dict(found.facts)

    return judge


def said(model: Artifact, task: LoadedTask, folder: Path, kind: str) -> Artifact:
    split, views = ("train", 4) if kind == "outputs" else ("validation", 1)
    return make(outputs.STAGE, task, folder / kind, {"model": model}, split=split, views=views)


def codes(audit: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in audit["teachers"]["own"]["findings"]]


def test_a_good_teacher_passes(judged: Callable[..., dict[str, Any]]) -> None:
    found = judged("good")

    assert (found["verdict"], codes(found), why_stopped(found)) == ("worth learning from", [], None)
    assert found["probe"]["gain"]["low"] > 0
    assert len(rows(found)) == 1
    assert "worth learning from" in notes(found)[0]


def test_swapped_labels_are_caught(judged: Callable[..., dict[str, Any]]) -> None:
    found = judged("swapped", steps=10)

    assert (found["verdict"], codes(found)[0]) == ("broken", "swapped-classes")
    assert "give Teacher(classes=(0, 1, 2, 3, 5, 4, 6, 7, 9, 8))" in str(why_stopped(found))


def test_a_wrong_normalisation_is_caught(judged: Callable[..., dict[str, Any]]) -> None:
    found = judged("unprepared", steps=10)

    assert (found["verdict"], "wrong-preprocessing" in codes(found)) == ("broken", True)
    assert "on values from 0 to 255: give Teacher(inputs=...)" in str(why_stopped(found))


def test_an_overconfident_teacher_is_caught(judged: Callable[..., dict[str, Any]]) -> None:
    found = judged("loud", steps=10)

    assert codes(found) == ["over-confident"]
    assert found["teachers"]["own"]["temperature"] > 2


def test_a_teacher_that_is_weaker_than_the_student_is_caught(
    judged: Callable[..., dict[str, Any]], trained: Artifact
) -> None:
    assert trained.facts["validation_score"] < 0.98
    found = judged("good", fraction=0.5, steps=200)

    assert found["verdict"] in ("weaker than the student", "no gain shown")
    assert why_stopped(found)


def test_a_recipe_without_labels_or_teachers_says_that_there_is_nothing_to_audit(tmp_path: Path) -> None:
    from pipeline.console import watching
    from pipeline.errors import RecipeError

    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'schema = 1\nname = "bare"\ntask = "pipeline.tasks.embeddings:smoke"\ntargets = ["raspberry-pi-4"]\n'
    )
    with (
        watching() as watcher,
        pytest.raises(RecipeError, match="'bare' has nothing to audit: it takes a stage distill"),
    ):
        audit(*load(recipe, settings=[], targets=[]), watcher=watcher)
