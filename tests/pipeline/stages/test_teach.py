import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pipeline.architecture import load_network
from pipeline.batches import evaluate
from pipeline.errors import TaskError
from pipeline.recorded_outputs import read_answers
from pipeline.stages import distill, outputs
from pipeline.stages.teach import STAGE, read_weights
from pipeline.task import LoadedTask
from pipeline.teacher import Teacher
from tests.small_stages import make
from tests.small_task import Bars, Net, bars, same_weights, weights_of


class Taught(Bars):
    """The small task with a trained teacher's file."""

    def __init__(self, weights: Path, *, labelled: bool = True) -> None:
        super().__init__(labelled=labelled)
        self.weights = weights

    def teachers(self) -> dict[str, Teacher]:
        return {"given": Teacher(lambda: Net(16), weights=self.weights)}


def taught(weights: Path, *, labelled: bool = True) -> LoadedTask:
    return LoadedTask(raw=Taught(weights, labelled=labelled), root=Path(__file__).parent)


def test_a_teacher_is_trained_and_comes_back_from_its_artifact(tmp_path: Path) -> None:
    task = bars()
    artifact = make(STAGE, task, tmp_path, teacher="wide", epochs=8, batch_size=16)
    network = load_network(artifact, task)

    assert evaluate(network, task).score == artifact.facts["validation_score"] > 0.9
    assert artifact.facts["parameters"] == sum(value.numel() for value in Net(16).parameters())
    assert len(artifact.facts["history"]) == 8


@pytest.mark.parametrize("form", ["safetensors", "state dict", "checkpoint"])
def test_trained_weights_are_taken_as_they_are(tmp_path: Path, form: str) -> None:
    trained = Net(16)
    path = tmp_path / ("teacher.safetensors" if form == "safetensors" else "teacher.pt")
    if form == "safetensors":
        save_file(trained.state_dict(), path)
    else:
        state: Mapping[str, Any] = trained.state_dict()
        parallel = {f"module.{name}": value for name, value in state.items()}
        torch.save(state if form == "state dict" else {"epoch": 3, "state_dict": parallel}, path)
    artifact = make(STAGE, taught(path), tmp_path / "stage", teacher="given", epochs=5)

    assert same_weights(weights_of(load_network(artifact, taught(path))), weights_of(trained))
    assert "history" not in artifact.facts


class Turned(Bars):
    """The small task with a teacher of three channels, each turned round."""

    def teachers(self) -> dict[str, Teacher]:
        return {"own": Teacher(lambda: Net(16, channels=3), inputs=lambda x: (5 - 3 * x).repeat(1, 3, 1, 1))}


def test_a_teacher_with_inputs_of_its_own_learns_and_is_judged_and_looked_at_on_those(tmp_path: Path) -> None:
    task = LoadedTask(raw=Turned(), root=Path(__file__).parent)
    artifact = make(STAGE, task, tmp_path / "teach", teacher="own", epochs=8, batch_size=16)
    said = {
        split: make(outputs.STAGE, task, tmp_path / split, {"model": artifact}, split=split, views=2, teacher="own")
        for split in ("train", "validation")
    }
    answers = read_answers(said["validation"])
    inputs = {"teacher:own": artifact, "teacher_outputs:own": said["train"]}
    settings: dict[str, Any] = {"epochs": 1, "views": 2, "losses": {"hints": 1.0}}
    student = make(distill.STAGE, task, tmp_path / "distill", inputs, **settings)

    assert task.score(answers, task.targets("validation")) == artifact.facts["validation_score"] > 0.9
    assert weights_of(load_network(artifact, task)).keys() == Net(16).state_dict().keys()
    assert student.facts["steps"] > 0


def test_a_given_teacher_needs_no_labels(tmp_path: Path) -> None:
    save_file(Net(16).state_dict(), tmp_path / "teacher.safetensors")
    artifact = make(
        STAGE, taught(tmp_path / "teacher.safetensors", labelled=False), tmp_path / "stage", teacher="given"
    )

    assert "validation_score" not in artifact.facts


def test_weights_of_another_architecture_name_the_first_tensor_that_differs(tmp_path: Path) -> None:
    save_file(Net(12).state_dict(), tmp_path / "teacher.safetensors")

    with pytest.raises(
        TaskError,
        match=r"another architecture: 'features.0.weight' is \(12, 1, 3, 3\) in the file and \(16, 1, 3, 3\) in",
    ):
        make(STAGE, taught(tmp_path / "teacher.safetensors"), tmp_path / "stage", teacher="given")


def test_weights_with_a_tensor_too_many_are_refused(tmp_path: Path) -> None:
    save_file({**Net(16).state_dict(), "head.weight": torch.zeros(2)}, tmp_path / "teacher.safetensors")

    with pytest.raises(TaskError, match=r"'head.weight' is \(2,\) in the file and missing in the network"):
        make(STAGE, taught(tmp_path / "teacher.safetensors"), tmp_path / "stage", teacher="given")


class Hostile:
    """Runs a command when it is unpickled by whoever trusts it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


@pytest.mark.parametrize("how", ["plain pickle", "torch.save"])
def test_a_hostile_pickle_is_refused_and_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "teacher.pt"
    if how == "torch.save":
        torch.save({"w": Hostile()}, path)
    else:
        path.write_bytes(pickle.dumps(Hostile()))

    with pytest.raises(TaskError, match="no safetensors file and no plain state dict"):
        read_weights(path)
    assert not (tmp_path / "ran").exists()


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10**6)

    with pytest.raises(TaskError, match="compressed records"):
        read_weights(path)


@pytest.mark.parametrize("content", [b"", b"not weights", b"\xff" * 100])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_rubbish_is_one_line(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"teacher.{suffix}"
    path.write_bytes(content)

    with pytest.raises(TaskError) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="nowhere"):
        read_weights(tmp_path / "nowhere.pt")


def test_a_saved_module_s_number_is_no_state_dict(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "teacher.pt")

    with pytest.raises(TaskError, match="is no state dict"):
        read_weights(tmp_path / "teacher.pt")
