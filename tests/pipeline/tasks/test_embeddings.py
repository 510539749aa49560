"""Embeddings: a score that a resample can't flatter, splits without labels, and the whole way to both files in the smoke form."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.architecture import parameters_of
from pipeline.errors import TaskError
from pipeline.task import SplitName
from pipeline.task_file import load_task, wrap_task
from pipeline.tasks.embeddings import EMBEDDING, SMOKE, Embeddings, Scaled
from pipeline.tasks.text_minilm import SentenceEncoder
from tests.smoke import run_smoke

TASK = load_task("pipeline.tasks.embeddings:task", relative_to=Path())


def embeddings(seed: int, texts: int = 60) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((texts, 8)).astype(np.float32)


@pytest.mark.parametrize(("split", "texts"), [("train", 3270), ("validation", 290), ("test", 580)])
def test_each_split_has_texts_and_no_labels(split: SplitName, texts: int) -> None:
    assert len(TASK.splits[split]) == texts
    assert TASK.targets(split) is None


def test_the_same_directions_score_1_at_any_length() -> None:
    one = embeddings(0)
    lengths = np.random.default_rng(1).uniform(0.1, 9, (60, 1))

    assert TASK.score(one * lengths, one) == pytest.approx(1)


def test_turned_space_scores_1_and_unrelated_embeddings_near_0() -> None:
    one = embeddings(0)
    turn, _ = np.linalg.qr(embeddings(2, 8))

    assert TASK.score(one @ turn, one) == pytest.approx(1, abs=1e-4)
    assert abs(TASK.score(embeddings(3), one)) < 0.15  # 960 pairs: five standard errors


def test_texts_that_a_resample_holds_twice_do_not_flatter() -> None:
    one, other = embeddings(0), embeddings(3)
    drawn = np.random.default_rng(0).integers(0, 3, 60)  # three texts, each some twenty times

    assert abs(TASK.score(other[drawn], one[drawn])) <= 1
    repeated = np.arange(60) // 2  # neighbours are one text
    assert abs(TASK.score(other[repeated], one[repeated])) < 0.3


def test_the_text_whose_pairs_are_out_of_place_is_the_worst_mistake() -> None:
    theirs = embeddings(0, 580)
    ours = theirs.copy()
    ours[77] *= -1
    told = TASK.mistakes(ours, theirs)

    assert told is not None
    assert max(range(580), key=lambda number: told[number][0]) == 77
    assert told[77][1] != told[78][1]
    assert {off for off, _, _ in TASK.mistakes(theirs, theirs) or ()} == {0.0}


def test_the_teacher_is_minilm_at_a_length_that_is_learnt_at_usual_rates() -> None:
    torch.manual_seed(0)
    scaled, plain = Scaled(1).eval(), SentenceEncoder(1).eval()
    plain.load_state_dict(scaled.state_dict())
    with torch.inference_mode():
        ours, theirs = scaled(*TASK.example()), plain(*TASK.example())

    assert ours.shape == (2, EMBEDDING)
    assert torch.allclose(ours, theirs * EMBEDDING**0.5)
    assert float(ours.square().mean()) == pytest.approx(1, abs=1e-4)


def test_the_student_answers_in_the_teachers_space_and_is_a_fifth_of_its_size() -> None:
    student, teacher = TASK.student(), TASK.teacher("minilm")
    student.eval()
    with torch.inference_mode():
        assert student(*TASK.example()).shape == (2, EMBEDDING)
    assert parameters_of(teacher) > 5 * parameters_of(student)


def test_augmentation_leaves_words_out_and_gives_no_label() -> None:
    sample = TASK.splits.train[0]
    altered = [TASK.augment(sample, seed) for seed in range(10)]

    assert {target for _, target in altered} == {None}
    assert min(int(mask.sum()) for (_, mask), _ in altered) < int(sample[0][1].sum())


def test_a_table_of_ones_own_makes_the_task(tmp_path: Path) -> None:
    lines = "".join(f"0\ttext number {number} of many\n" for number in range(300))
    (tmp_path / "own.tsv").write_text(lines, encoding="utf-8")
    task = wrap_task(Embeddings(tmp_path, sizes=SMOKE))
    task.rehearse()

    assert len(task.splits.train) == 202
    assert [what for _, what, _ in task.mistakes(embeddings(0, 36), embeddings(1, 36)) or ()][35] == "text 35"


def test_too_few_texts_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "own.tsv").write_text("0\tone\n0\tanother\n", encoding="utf-8")
    with pytest.raises(TaskError, match="embeddings: 2 texts are too few to compare; give at least 286"):
        wrap_task(Embeddings(tmp_path)).splits  # noqa: B018  # reading them is the act


@pytest.mark.slow
def test_the_smoke_form_passes_the_gate_in_about_a_minute(tmp_path: Path) -> None:
    smoke = run_smoke("embeddings-smoke", tmp_path)

    assert smoke.report["fidelity"]["passed"]
    assert (smoke.folder / "tokenizer.json").is_file()
    assert smoke.seconds < 60


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_full_form_ranks_unseen_pairs_much_as_its_teacher_does(tmp_path: Path) -> None:
    full = run_smoke("embeddings", tmp_path)
    scores = {row["stage"]: row["score"]["value"] for row in full.report["rows"]}

    assert full.report["fidelity"]["passed"]
    assert min(scores["int8 onnx"], scores["int8 tflite"]) > 0.65
