from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.architecture import save_network
from pipeline.artifact import Artifact, open_artifact, write_manifest
from pipeline.batches import predict, split_batches
from pipeline.errors import ModelError, RecipeError
from pipeline.recorded_outputs import TopK, read_outputs, top_k
from pipeline.stage import Progress
from pipeline.stages import export_onnx, export_tflite, quantize
from pipeline.stages.outputs import STAGE
from tests.small_stages import context_of, make
from tests.small_task import Bars, bars


def network(folder: Path) -> Artifact:
    task = bars()
    folder.mkdir()
    save_network(task.student(), folder, constructor="student", fresh=task.student())
    write_manifest(folder, "network", {})
    return open_artifact(folder)


def test_a_network_s_answers_are_those_that_it_gives(tmp_path: Path) -> None:
    artifact = make(STAGE, bars(), tmp_path / "stage", {"model": network(tmp_path / "net")}, split="test", batch_size=7)
    (answers,) = read_outputs(artifact)

    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers[0], predict(bars().student(), bars(), "test"), atol=1e-6)


def test_each_view_is_what_training_will_show(tmp_path: Path) -> None:
    task = bars()
    artifact = make(
        STAGE, task, tmp_path / "stage", {"model": network(tmp_path / "net")}, split="train", views=3, seed=5
    )
    (answers,) = read_outputs(artifact)
    student = task.student().eval()
    for view in range(3):
        pictures = torch.cat([batch.inputs[0] for batch in split_batches(task, "train", view=view, seed=5)])

        np.testing.assert_allclose(answers[view], student(pictures).detach().numpy(), atol=1e-6)
    assert artifact.facts["views"] == 3
    assert artifact.facts["seed"] == 5


def test_the_splits_that_judge_are_shown_as_they_are(tmp_path: Path) -> None:
    model = network(tmp_path / "net")
    one = make(STAGE, bars(), tmp_path / "a", {"model": model}, split="validation", seed=0)
    other = make(STAGE, bars(), tmp_path / "b", {"model": model}, split="validation", views=3, seed=1)

    np.testing.assert_array_equal(read_outputs(one)[0], read_outputs(other)[0])


def test_equal_work_gives_equal_bytes(tmp_path: Path) -> None:
    model = network(tmp_path / "net")
    one, other = (make(STAGE, bars(), tmp_path / name, {"model": model}, split="test") for name in "ab")

    assert one.digest == other.digest


def test_a_network_may_have_several_outputs(tmp_path: Path) -> None:
    class Two(Bars):
        def student(self) -> torch.nn.Module:
            return _Two()

    task = bars()
    task = type(task)(raw=Two(), root=task.root)
    folder = tmp_path / "net"
    folder.mkdir()
    save_network(task.student(), folder, constructor="student", fresh=task.student())
    write_manifest(folder, "network", {})
    first, second = read_outputs(make(STAGE, task, tmp_path / "stage", {"model": open_artifact(folder)}, split="test"))

    assert first.shape == (1, 40, 4)
    assert second.shape == (1, 40)


class _Two(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.linear(x.flatten(1)), x.mean((1, 2, 3))


def test_a_damaged_file_of_answers_is_one_line(tmp_path: Path) -> None:
    artifact = make(STAGE, bars(), tmp_path / "stage", {"model": network(tmp_path / "net")}, split="test")
    (artifact.path / "output_0.npy").write_bytes(b"rubbish")

    with pytest.raises(ModelError, match="can't be read"):
        read_outputs(artifact)


def test_a_recording_that_was_stopped_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.recording.SAVED_EVERY", 2)
    model = network(tmp_path / "net")
    settings: dict[str, Any] = {"split": "train", "views": 2, "batch_size": 10}
    whole = make(STAGE, bars(), tmp_path / "whole", {"model": model}, **settings)
    seen: list[int] = []

    def stop(progress: Progress) -> None:
        seen.append(progress.done)
        if progress.done == 110:
            raise KeyboardInterrupt

    context = context_of(bars(), tmp_path / "stopped", progress=stop)
    with pytest.raises(KeyboardInterrupt):
        STAGE.run({"model": model}, STAGE.config(**settings), context)
    facts = STAGE.run(
        {"model": model}, STAGE.config(**settings), replace(context, progress=lambda p: seen.append(p.done))
    )
    write_manifest(context.out, "outputs", facts)

    assert seen == [*range(10, 111, 10), *range(110, 181, 10)]
    assert open_artifact(context.out).digest == whole.digest
    assert not (context.scratch / "recording").exists()


def test_a_record_of_the_likeliest_classes_keeps_their_probabilities(tmp_path: Path) -> None:
    model = network(tmp_path / "net")
    whole = read_outputs(make(STAGE, bars(), tmp_path / "a", {"model": model}, split="train"))[0][0]
    [record] = read_outputs(make(STAGE, bars(), tmp_path / "b", {"model": model}, split="train", top_k=2))
    index = np.array([3, 1, 80])
    found = record[0][index]

    assert record.shape == (1, 90, 4)
    for answers, again in zip(whole[index], found, strict=True):
        likeliest = np.argsort(-answers)[:2]
        before, after = (np.exp(z) / np.exp(z).sum() for z in (answers, again))
        np.testing.assert_allclose(after[likeliest], before[likeliest], rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_above_temperature_one_the_rest_is_heard_too_much_and_never_more_than_if_all_were_equal(
    temperature: float,
) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (50, 100)).astype(np.float32)
    kept, classes, rest = top_k(logits, 10)
    again = TopK(kept[None], classes[None], rest[None], 100)[0][np.arange(50)]
    before, after = (softmax(z / temperature) for z in (logits, again))
    heard = 1 - np.take_along_axis(after, classes, 1).sum(1)

    assert (heard >= 1 - np.take_along_axis(before, classes, 1).sum(1) - 1e-5).all()
    assert np.abs(after - before).sum(1).max() / 2 < {1.0: 0.2, 2.0: 0.35, 4.0: 0.35}[temperature]


def softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_gib": 1e-7}, "take 0.00 GiB, .*set top_k there, fewer views, or a higher max_gib"),
        ({"top_k": 4}, r"top_k = 4, but a sample's answer is \[4\]; give fewer than its classes"),
    ],
)
def test_a_record_that_cannot_be_is_refused_before_it_is_written(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        make(STAGE, bars(), tmp_path / "stage", {"model": network(tmp_path / "net")}, split="train", **settings)


@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")  # torch's, about its own copying
def test_every_form_of_a_network_is_asked_through_the_same_door(tmp_path: Path) -> None:
    task = bars()
    net = network(tmp_path / "net")
    calibrated = make(quantize.STAGE, task, tmp_path / "int8", {"network": net}, epochs=0)
    forms = {"float": net, "int8": calibrated}
    for name, source in tuple(forms.items()):
        for stage in (export_onnx.STAGE, export_tflite.STAGE):
            forms[f"{name}.{stage.gives}"] = make(stage, task, tmp_path / f"{name}.{stage.gives}", {"model": source})
    made = {
        name: make(STAGE, task, tmp_path / f"{name}.answers", {"model": form}, split="test")
        for name, form in forms.items()
    }
    answers = {name: read_outputs(artifact)[0][0] for name, artifact in made.items()}
    lsb = made["int8.tflite"].facts["ports"][0]["scale"]

    np.testing.assert_allclose(answers["float.onnx"], answers["float"], atol=1e-5)
    np.testing.assert_allclose(answers["float.tflite"], answers["float"], atol=1e-5)
    np.testing.assert_allclose(answers["int8.onnx"], answers["int8.tflite"], atol=1e-6)
    np.testing.assert_allclose(answers["int8"], answers["int8.tflite"], atol=1.01 * lsb)
    np.testing.assert_allclose(answers["int8"], answers["float"], atol=0.1)
