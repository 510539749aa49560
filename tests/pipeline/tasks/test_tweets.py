"""Tweets: fair splits, a small student beside a large teacher, and the whole way to both files in the smoke form."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.architecture import macs_of, parameters_of
from pipeline.errors import TaskError
from pipeline.task import SplitName
from pipeline.task_file import load_task, wrap_task
from pipeline.tasks.tweets import SMOKE, Tweets
from tests.smoke import Smoke, run_smoke

TASK = load_task("pipeline.tasks.tweets:task", relative_to=Path())


def table(folder: Path, texts: int) -> Path:
    lines = [
        f"{2 if number % 3 else -2}\ttext number {number} is {'good' if number % 3 else 'bad'}\n"
        for number in range(texts)
    ]
    (folder / "rated.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    return run_smoke("tweets-smoke", tmp_path_factory.mktemp("smoke"))


@pytest.mark.parametrize(("split", "texts"), [("train", 2157), ("validation", 405), ("test", 810)])
def test_each_split_holds_both_classes_alike(split: SplitName, texts: int) -> None:
    targets = TASK.targets(split)

    assert targets is not None
    assert len(targets) == texts
    assert float(np.mean(targets)) == pytest.approx(0.685, abs=0.003)


def test_what_is_rated_near_neutral_is_left_out(tmp_path: Path) -> None:
    (table(tmp_path, 90) / "neutral.csv").write_text("0.4,so so\n-0.3,meh\n0,well\n", encoding="utf-8")
    splits = Tweets(tmp_path).data()

    assert sum(len(part) for part in (splits.train, splits.validation, splits.test)) == 90


def test_a_table_of_ones_own_makes_the_task(tmp_path: Path) -> None:
    task = wrap_task(Tweets(table(tmp_path, 90), sizes=SMOKE))
    task.rehearse()

    assert [len(task.splits[name]) for name in ("train", "validation", "test")] == [58, 11, 21]


def test_too_few_texts_of_a_class_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"texts are rated below 0 by 0\.5 or more; give at least 10 of each"):
        wrap_task(Tweets(table(tmp_path, 9))).splits  # noqa: B018  # reading them is the act


def test_augmentation_keeps_the_label_and_leaves_words_out() -> None:
    sample = TASK.splits.train[0]
    altered = [TASK.augment(sample, seed) for seed in range(10)]

    assert {target for _, target in altered} == {sample[1]}
    assert min(int(mask.sum()) for (_, mask), _ in altered) < int(sample[0][1].sum())
    assert {ids.dtype for (ids, _), _ in altered} == {np.dtype(np.int64)}


def test_the_teacher_is_much_larger_than_the_student() -> None:
    teacher, student = TASK.teacher("minilm"), TASK.student()

    assert parameters_of(teacher) > 10 * parameters_of(student)
    assert macs_of(teacher, TASK.example()) > 100 * macs_of(student, TASK.example())


def test_two_builds_of_the_student_are_one() -> None:
    one, other = TASK.student().state_dict(), TASK.student().state_dict()

    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_smoke_form_passes_the_gate_in_under_a_minute(smoke: Smoke) -> None:
    assert smoke.report["fidelity"]["passed"]
    assert smoke.seconds < 60


def test_the_tokenizer_lies_beside_the_files_and_its_ids_in_them(smoke: Smoke) -> None:
    said = json.loads(smoke.metadata["preprocessing"])
    tokenizer = json.loads((smoke.folder / said["tokenizer"]).read_text(encoding="utf-8"))

    assert said["length"] == str(SMOKE.length) == str(tokenizer["truncation"]["max_length"])
    assert tokenizer["model"]["vocab"]["[PAD]"] == int(said["pad_id"])
    assert json.loads(smoke.metadata["labels"]) == ["negative", "positive"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_full_form_is_better_than_the_student_alone_and_keeps_its_budget(tmp_path: Path) -> None:
    full = run_smoke("tweets", tmp_path)
    scores = {row["stage"]: row["score"]["value"] for row in full.report["rows"] + full.report["controls"]}

    assert full.report["fidelity"]["passed"]
    assert min(scores["int8 onnx"], scores["int8 tflite"]) > scores["student alone"] + 0.02
