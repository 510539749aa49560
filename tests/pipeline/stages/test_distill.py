from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.architecture import load_network
from pipeline.artifact import Artifact
from pipeline.batches import evaluate
from pipeline.errors import ModelError, RecipeError, TaskError
from pipeline.stages import distill, outputs, teach
from pipeline.task import SPLITS, LoadedTask, Splits
from tests.small_stages import make
from tests.small_task import Bars, bars, same_weights, weights_of

SETTINGS = {"epochs": 5, "batch_size": 16, "views": 2}


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """Two trained teachers of the small task, with all that they say."""
    folder, inputs = tmp_path_factory.mktemp("teachers"), {}
    for name in ("wide", "wider"):
        network = make(teach.STAGE, bars(), folder / name, teacher=name, epochs=8, batch_size=16)
        inputs[f"teacher:{name}"] = network
        for kind, split, views in (("teacher_outputs", "train", 2), ("teacher_validation", "validation", 1)):
            inputs[f"{kind}:{name}"] = make(
                outputs.STAGE, bars(), folder / f"{name}.{split}", {"model": network}, split=split, views=views
            )
    return inputs


def only(inputs: dict[str, Artifact], *names: str) -> dict[str, Artifact]:
    return {name: inputs[name] for name in names}


def distilled(folder: Path, inputs: dict[str, Artifact], task: LoadedTask | None = None, **changed: Any) -> Artifact:
    return make(distill.STAGE, task or bars(), folder, inputs, **{**SETTINGS, **changed})


def test_a_student_learns_from_its_teacher(tmp_path: Path, teachers: dict[str, Artifact]) -> None:
    artifact = distilled(tmp_path, only(teachers, "teacher_outputs:wide"))

    assert evaluate(load_network(artifact, bars()), bars()).score == artifact.facts["validation_score"] > 0.9


def test_without_teachers_it_is_plain_training(tmp_path: Path, teachers: dict[str, Artifact]) -> None:
    alone = distilled(tmp_path / "a", {})
    unheard = distilled(tmp_path / "b", only(teachers, "teacher_outputs:wide"), soft_weight=0.0)

    assert same_weights(weights_of(load_network(alone, bars())), weights_of(load_network(unheard, bars())))


def test_a_given_network_is_trained_further(tmp_path: Path) -> None:
    first = distilled(tmp_path / "a", {})
    further = distilled(tmp_path / "b", {"network": first}, epochs=0)

    assert same_weights(weights_of(load_network(first, bars())), weights_of(load_network(further, bars())))


@pytest.mark.parametrize("labelled", [True, False])
def test_a_student_that_is_only_given_needs_no_labels(tmp_path: Path, *, labelled: bool) -> None:
    given = distilled(tmp_path, {}, bars(labelled=labelled), epochs=0)

    assert same_weights(weights_of(load_network(given, bars())), weights_of(bars().student()))
    assert ("validation_score" in given.facts) == labelled


def test_unlabelled_data_are_learned_and_judged_by_the_teacher_alone(
    tmp_path: Path, teachers: dict[str, Artifact]
) -> None:
    inputs = only(teachers, "teacher_outputs:wide", "teacher_validation:wide")
    artifact = distilled(tmp_path, inputs, bars(labelled=False))

    assert artifact.facts["validation_score"] > 0.9
    assert evaluate(load_network(artifact, bars()), bars()).score > 0.9


def test_several_teachers_speak_together(tmp_path: Path, teachers: dict[str, Artifact]) -> None:
    both = distilled(tmp_path / "a", only(teachers, "teacher_outputs:wide", "teacher_outputs:wider"))
    one = distilled(tmp_path / "b", only(teachers, "teacher_outputs:wide"))

    assert both.facts["validation_score"] > 0.9
    assert not same_weights(weights_of(load_network(both, bars())), weights_of(load_network(one, bars())))


def test_hints_change_what_is_learned_and_leave_no_trace_in_the_network(
    tmp_path: Path, teachers: dict[str, Artifact]
) -> None:
    inputs = only(teachers, "teacher_outputs:wide", "teacher:wide")
    plain = distilled(tmp_path / "a", inputs)
    hinted = distilled(tmp_path / "b", inputs, losses={"hints": 1.0})
    named = distilled(tmp_path / "c", inputs, losses={"hints": 1.0}, layers={"hints": (("features.0", "features.0"),)})
    weights = [weights_of(load_network(artifact, bars())) for artifact in (plain, hinted, named)]

    assert plain.facts["parameters"] == hinted.facts["parameters"]
    assert not same_weights(weights[0], weights[1])
    assert not same_weights(weights[1], weights[2])


def test_equal_work_gives_equal_bytes(tmp_path: Path, teachers: dict[str, Artifact]) -> None:
    inputs = only(teachers, "teacher_outputs:wide", "teacher:wide")
    one = distilled(tmp_path / "a", inputs, losses={"hints": 1.0})
    torch.rand(3)
    other = distilled(tmp_path / "b", inputs, losses={"hints": 1.0})

    assert one.digest == other.digest


def test_answers_of_other_views_are_refused(tmp_path: Path, teachers: dict[str, Artifact]) -> None:
    with pytest.raises(ModelError, match="answered 90 samples in 2 views of seed 0, training shows 90 in 3 of seed 0"):
        distilled(tmp_path / "a", only(teachers, "teacher_outputs:wide"), views=3)


def test_answers_of_another_seed_are_refused(tmp_path: Path, teachers: dict[str, Artifact]) -> None:
    with pytest.raises(ModelError, match="in 2 of seed 1"):
        make(distill.STAGE, bars(), tmp_path, only(teachers, "teacher_outputs:wide"), seed=1, **SETTINGS)


def test_nothing_to_learn_from_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="has no labels, and no teacher speaks"):
        distilled(tmp_path, {}, bars(labelled=False))


def test_hints_without_a_network_are_an_error(tmp_path: Path, teachers: dict[str, Artifact]) -> None:
    with pytest.raises(TaskError, match="no teacher's network was given"):
        distilled(tmp_path, only(teachers, "teacher_outputs:wide"), losses={"hints": 1.0})


def test_an_unknown_layer_is_named_with_the_nearest(tmp_path: Path, teachers: dict[str, Artifact]) -> None:
    inputs = only(teachers, "teacher_outputs:wide", "teacher:wide")

    with pytest.raises(TaskError, match=r"has no layer 'feature.0'; did you mean 'features.0'\?"):
        distilled(tmp_path, inputs, losses={"hints": 1.0}, layers={"hints": (("feature.0", "features.0"),)})


def test_an_unknown_loss_is_named_with_the_nearest(tmp_path: Path, teachers: dict[str, Artifact]) -> None:
    with pytest.raises(RecipeError, match=r"no loss 'soft_target'; known: .*did you mean 'soft_targets'\?"):
        distilled(tmp_path, only(teachers, "teacher_outputs:wide"), losses={"soft_target": 1.0})


def test_a_student_of_other_classes_is_refused(tmp_path: Path, teachers: dict[str, Artifact]) -> None:
    class Fewer(Bars):
        def student(self) -> torch.nn.Module:
            return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))

        def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return output.mean() + 0 * target.sum()

    task = LoadedTask(raw=Fewer(), root=Path(__file__).parent)

    with pytest.raises(TaskError, match=r"answers a batch with \[\[15, 3\]\], its teachers with \[\[15, 4\]\]"):
        distilled(tmp_path, only(teachers, "teacher_outputs:wide"), task)


class TestTwoStudents:
    """Mutual distillation, without a teacher and with one."""

    def test_each_learns_from_the_other_and_the_better_is_kept(self, tmp_path: Path) -> None:
        together = distilled(tmp_path / "a", {}, peers=1)
        apart = distilled(tmp_path / "b", {}, peers=1, peer_weight=0.0)
        alone = distilled(tmp_path / "c", {})
        weights = [weights_of(load_network(artifact, bars())) for artifact in (together, apart, alone)]

        assert together.facts["kept"] in ("student", "peer")
        assert evaluate(load_network(together, bars()), bars()).score == together.facts["validation_score"] > 0.9
        assert together.facts["validation_score"] >= together.facts["peer_score"]
        assert not same_weights(weights[0], weights[1])
        if apart.facts["kept"] == "student":
            assert same_weights(weights[1], weights[2])

    def test_equal_work_gives_equal_bytes(self, tmp_path: Path, teachers: dict[str, Artifact]) -> None:
        inputs = only(teachers, "teacher_outputs:wide", "teacher:wide")
        one = distilled(tmp_path / "a", inputs, peers=1, losses={"hints": 0.5})
        torch.rand(3)
        other = distilled(tmp_path / "b", inputs, peers=1, losses={"hints": 0.5})

        assert one.digest == other.digest

    def test_none_stands_beside_a_network_that_goes_on(self, tmp_path: Path) -> None:
        first = distilled(tmp_path / "a", {}, epochs=0)

        with pytest.raises(RecipeError, match="peers = 1 draws a second student afresh"):
            distilled(tmp_path / "b", {"network": first}, peers=1)

    def test_without_labels_both_hear_the_teacher(self, tmp_path: Path, teachers: dict[str, Artifact]) -> None:
        inputs = only(teachers, "teacher_outputs:wide", "teacher_validation:wide")

        assert distilled(tmp_path, inputs, bars(labelled=False), peers=1).facts["validation_score"] > 0.9


@pytest.mark.parametrize("rule", ["fixed", "confidence", "entropy", "agreement", "learned"])
def test_every_way_to_weigh_teachers_trains(tmp_path: Path, teachers: dict[str, Artifact], rule: str) -> None:
    inputs = {name: artifact for name, artifact in teachers.items() if "teacher:" not in name}
    more: dict[str, Any] = {"teacher_weights": {"wide": 1.0, "wider": 2.0}} if rule == "fixed" else {}

    assert distilled(tmp_path, inputs, weighting=rule, **more).facts["validation_score"] > 0.9


class Unlabelled(Bars):
    """The small task without targets on some of its splits."""

    def __init__(self, *splits: str) -> None:
        super().__init__()
        self.splits = splits

    def data(self) -> Splits:
        whole = super().data()
        return Splits(*(self._without(whole[name], name) for name in SPLITS))

    def _without(self, split: Any, name: str) -> Any:
        return [(picture, None) for picture, _ in split] if name in self.splits else split


@pytest.mark.parametrize("rule", ["confidence", "entropy", "agreement", "learned"])
@pytest.mark.parametrize("unlabelled", [("validation",), ("train", "validation", "test")])
def test_teachers_are_weighed_where_labels_are_missing(
    tmp_path: Path, teachers: dict[str, Artifact], rule: str, unlabelled: tuple[str, ...]
) -> None:
    inputs = {name: artifact for name, artifact in teachers.items() if "teacher:" not in name}
    task = LoadedTask(raw=Unlabelled(*unlabelled), root=Path(__file__).parent)

    if rule in ("agreement", "learned") and "train" in unlabelled:
        with pytest.raises(RecipeError, match="looks at labels, and task 'bars' has none; say 'mean', 'fixed', 'conf"):
            distilled(tmp_path, inputs, task, weighting=rule)
    else:
        assert distilled(tmp_path, inputs, task, weighting=rule).facts["validation_score"] > 0.9


@pytest.mark.parametrize("loss", ["decoupled", "relational", "attention_transfer"])
def test_every_loss_that_fits_trains(tmp_path: Path, teachers: dict[str, Artifact], loss: str) -> None:
    inputs = only(teachers, "teacher_outputs:wide", "teacher:wide")

    beside = distilled(tmp_path / "a", inputs, losses={"soft_targets": 1.0, loss: 0.5})
    plain = distilled(tmp_path / "b", inputs)

    assert beside.facts["validation_score"] > 0.9
    assert beside.digest != plain.digest


def test_a_schedule_changes_what_is_learned(tmp_path: Path, teachers: dict[str, Artifact]) -> None:
    inputs = only(teachers, "teacher_outputs:wide")
    settings: list[dict[str, Any]] = [{"temperature": 4.0}, {"temperature": (4.0, 1.0)}, {"soft_weight": (0.1, 0.9)}]
    made = [distilled(tmp_path / str(number), inputs, **more) for number, more in enumerate(settings)]

    assert len({artifact.digest for artifact in made}) == 3
    assert all(artifact.facts["validation_score"] > 0.9 for artifact in made)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"losses": {"ctc": 1.0}}, "the teachers give logits, which ctc can't compare; those that can: .*soft_targets"),
        ({"losses": {"attention_relations": 1.0}}, "no layer of the student sees what one of teacher 'wide' sees"),
        ({"soft_weight": 1.5}, r"soft_weight = 1.5; give a number from 0 to 1"),
        ({"temperature": (4.0, 0.0)}, r"temperature = \(4.0, 0.0\); give a number from 0.001"),
        ({"losses": {"hints": -1.0}}, "hints = -1.0; a weight is 0 or more"),
        ({"teacher_weights": {"wide": 1.0}}, "say weighting = 'fixed'"),
    ],
)
def test_what_fits_nothing_is_refused_in_one_line(
    tmp_path: Path, teachers: dict[str, Artifact], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises((RecipeError, TaskError), match=said):
        distilled(tmp_path, only(teachers, "teacher_outputs:wide", "teacher:wide"), **settings)
