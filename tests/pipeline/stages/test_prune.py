from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.architecture import load_network, macs_of, parameters_of
from pipeline.artifact import Artifact
from pipeline.batches import evaluate
from pipeline.errors import ModelError, TrainingError
from pipeline.stage import Progress
from pipeline.stages import distill, outputs, prune, teach
from pipeline.stages.prune import PruneConfig, parts_of
from pipeline.task import LoadedTask
from pipeline.task_file import wrap_task
from tests.small_stages import context_of, make
from tests.small_task import Bars, Net, bars, same_weights, weights_of
from tests.small_text import WORDS, Sentences

SETTINGS: dict[str, Any] = {"epochs": 6, "batch_size": 16, "views": 2, "channel_multiple": 2}


class WideBars(Bars):
    """The small task with a student that has something to lose."""

    def student(self) -> nn.Module:
        return Net(16)


def wide_bars(*, labelled: bool = True) -> LoadedTask:
    return LoadedTask(raw=WideBars(labelled=labelled), root=Path(__file__).parent)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """A trained student and what a teacher says."""
    folder = tmp_path_factory.mktemp("given")
    teacher = make(teach.STAGE, bars(), folder / "teacher", teacher="wide", epochs=8, batch_size=16)
    said = {
        f"teacher_{name}:wide": make(outputs.STAGE, bars(), folder / name, {"model": teacher}, split=split, views=views)
        for name, split, views in (("outputs", "train", 2), ("validation", "validation", 1))
    }
    heard = {"teacher_outputs:wide": said["teacher_outputs:wide"]}
    settings = {"epochs": 4, "batch_size": 16, "views": 2}
    student = make(distill.STAGE, wide_bars(), folder / "student", heard, **settings)
    return {"network": student, "teacher:wide": teacher, **said}


def pruned(folder: Path, given: dict[str, Artifact], **changed: Any) -> Artifact:
    inputs = {name: given[name] for name in ("network", "teacher_outputs:wide")}
    return make(prune.STAGE, wide_bars(), folder, inputs, **{**SETTINGS, **changed})


def test_a_pruned_student_is_smaller_and_still_knows_its_task(tmp_path: Path, given: dict[str, Artifact]) -> None:
    artifact = pruned(tmp_path, given)
    network = load_network(artifact, wide_bars())

    assert artifact.facts["macs"] == macs_of(network, wide_bars().example())
    assert artifact.facts["macs"] / artifact.facts["macs_before"] == pytest.approx(0.5, abs=0.03)
    assert artifact.facts["channels"] == {"features.0": [16, 8]}
    assert evaluate(network, wide_bars()).score == artifact.facts["validation_score"] > 0.9
    assert artifact.facts["steps"] == 6 * 6


def test_several_cuts_end_at_the_same_size_and_share_one_training(tmp_path: Path, given: dict[str, Artifact]) -> None:
    artifact = pruned(tmp_path, given, cuts=3, cut_share=0.5)
    history = artifact.facts["history"]

    assert [epoch["cut"] for epoch in history] == [1, 2, 3, 3, 3, 3]
    assert artifact.facts["macs_after_each_cut"] == sorted(artifact.facts["macs_after_each_cut"], reverse=True)
    assert artifact.facts["channels"] == {"features.0": [16, 8]}
    assert artifact.facts["steps"] == 6 * 6
    assert history[-1]["learning_rate"] < 0.01 * max(epoch["learning_rate"] for epoch in history)


@pytest.mark.parametrize(
    ("epochs", "cuts", "share", "firsts"),
    [
        (10, 1, 0.3, [0]),
        (10, 3, 0.3, [0, 1, 2]),
        (10, 8, 0.3, [0, 1, 2]),
        (20, 2, 0.5, [0, 5]),
        (1, 4, 0.3, [0]),
        (0, 4, 0.3, [0]),
    ],
)
def test_cuts_are_spread_over_the_first_epochs_and_never_two_in_one(
    epochs: int, cuts: int, share: float, firsts: list[int]
) -> None:
    parts = parts_of(PruneConfig(epochs=epochs, cuts=cuts, cut_share=share, keep_macs=0.5))

    assert [part.first_epoch for part in parts] == firsts
    assert sum(part.epochs for part in parts) == epochs
    assert parts[-1].share == 1.0
    assert [part.span for part in parts] == [
        (part.first_epoch / max(1, epochs), (part.first_epoch + part.epochs) / max(1, epochs)) for part in parts
    ]


def test_taylor_importance_listens_to_the_loss(tmp_path: Path, given: dict[str, Artifact]) -> None:
    by_loss = pruned(tmp_path / "a", given, importance="taylor", epochs=0)
    by_size = pruned(tmp_path / "b", given, importance="magnitude", epochs=0)

    assert by_loss.facts["macs"] == by_size.facts["macs"]
    assert by_loss.digest != by_size.digest


def test_hints_are_heard_through_the_cuts(tmp_path: Path, given: dict[str, Artifact]) -> None:
    plain = pruned(tmp_path / "a", given)
    inputs = {name: given[name] for name in ("network", "teacher_outputs:wide", "teacher:wide")}
    hinted = make(
        prune.STAGE, wide_bars(), tmp_path / "b", inputs, **SETTINGS, losses={"hints": 1.0}, cuts=2, importance="taylor"
    )

    assert plain.facts["parameters"] == hinted.facts["parameters"]
    assert hinted.facts["validation_score"] > 0.9


def test_unlabelled_data_are_pruned_by_the_teacher_alone(tmp_path: Path, given: dict[str, Artifact]) -> None:
    inputs = {name: given[name] for name in ("network", "teacher_outputs:wide", "teacher_validation:wide")}

    artifact = make(prune.STAGE, wide_bars(labelled=False), tmp_path, inputs, **SETTINGS)

    assert evaluate(load_network(artifact, wide_bars()), wide_bars()).score > 0.9


def test_without_a_teacher_the_tasks_loss_supervises(tmp_path: Path, given: dict[str, Artifact]) -> None:
    artifact = make(prune.STAGE, wide_bars(), tmp_path, {"network": given["network"]}, **SETTINGS)

    assert artifact.facts["validation_score"] > 0.9


def test_a_pruned_network_is_pruned_again(tmp_path: Path, given: dict[str, Artifact]) -> None:
    first = pruned(tmp_path / "a", given, keep_macs=0.75)
    again = pruned(tmp_path / "b", given | {"network": first}, keep_macs=0.67)

    assert again.facts["macs_before"] == first.facts["macs"]
    assert again.facts["channels"] == {"features.0": [12, 8]}
    assert load_network(again, wide_bars())(torch.zeros(1, 1, 8, 8)).shape == (1, 4)


def test_a_network_that_goes_on_to_another_stage_needs_no_epochs_here(
    tmp_path: Path, given: dict[str, Artifact]
) -> None:
    cut = pruned(tmp_path / "a", given, epochs=0)
    inputs = {"network": cut, "teacher_outputs:wide": given["teacher_outputs:wide"]}

    trained = make(distill.STAGE, wide_bars(), tmp_path / "b", inputs, epochs=4, batch_size=16, views=2)

    assert cut.facts["steps"] == 0
    assert trained.facts["parameters"] == cut.facts["parameters"]
    assert trained.facts["validation_score"] > 0.9


def test_a_collapse_is_an_error_with_advice(tmp_path: Path, given: dict[str, Artifact]) -> None:
    with pytest.raises(TrainingError, match=r"went in with a validation score of .* raise keep_macs \(now 0\.14\)"):
        pruned(tmp_path, given, keep_macs=0.14, floor_ratio=0.01, importance="magnitude", epochs=1, learning_rate=1e-6)


def test_a_wish_that_cannot_be_met_is_an_error(tmp_path: Path, given: dict[str, Artifact]) -> None:
    with pytest.raises(ModelError, match=r"keep_macs = 0\.1 asks for"):
        pruned(tmp_path, given, keep_macs=0.1)


@pytest.mark.parametrize("stop", [3, 11, 20])
def test_a_run_that_is_interrupted_ends_with_the_same_bytes(
    tmp_path: Path, given: dict[str, Artifact], stop: int
) -> None:
    settings = {**SETTINGS, "cuts": 2, "cut_share": 0.4, "importance": "taylor", "checkpoint_steps": 2}
    undisturbed = pruned(tmp_path / "whole", given, **settings)
    inputs = {name: given[name] for name in ("network", "teacher_outputs:wide")}

    def interrupt(progress: Progress) -> None:
        if progress.done == stop:
            raise KeyboardInterrupt

    context = context_of(wide_bars(), tmp_path / "killed", progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        prune.run(inputs, PruneConfig(**settings), context)
    context.out.rmdir()

    assert make(prune.STAGE, wide_bars(), tmp_path / "killed", inputs, **settings).digest == undisturbed.digest


def test_progress_counts_the_whole_stage(tmp_path: Path, given: dict[str, Artifact]) -> None:
    said: list[Progress] = []
    inputs = {name: given[name] for name in ("network", "teacher_outputs:wide")}

    def note(progress: Progress) -> None:
        said.append(progress)

    prune.run(inputs, PruneConfig(**SETTINGS, cuts=2), context_of(wide_bars(), tmp_path, progress=note))

    assert [progress.done for progress in said] == list(range(1, 37))
    assert {progress.total for progress in said} == {36}


def test_what_comes_in_stays_as_it_was(tmp_path: Path, given: dict[str, Artifact]) -> None:
    before = weights_of(load_network(given["network"], wide_bars()))

    pruned(tmp_path, given)

    assert same_weights(before, weights_of(load_network(given["network"], wide_bars())))


def test_a_transformer_loses_words_layers_and_heads_in_one_stage_and_comes_back(tmp_path: Path) -> None:
    task = wrap_task(Sentences())
    given = make(distill.STAGE, task, tmp_path / "given", {}, epochs=1)
    settings: dict[str, Any] = {"epochs": 1, "keep_macs": 0.3, "channel_multiple": 4, "largest_drop": 0.9}
    made = make(
        prune.STAGE, task, tmp_path / "made", {"network": given}, trim_vocabulary=True, drop_layers=1, **settings
    )
    network = load_network(made, task)

    assert made.facts["layers"] == {"blocks": [2, 1]}
    assert made.facts["vocabulary"]["words"][0] == WORDS
    assert made.facts["parameters"] == parameters_of(network) < parameters_of(load_network(given, task))
    assert network(*task.example()).shape == (2, 2)
