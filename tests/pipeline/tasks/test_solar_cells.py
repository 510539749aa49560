"""Solar cells: whole cells alone are learned from, broken ones are told by AUROC, and the smoke form goes all the way."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import TaskError
from pipeline.task import SPLITS
from pipeline.task_file import load_task, wrap_task
from pipeline.tasks.solar_cells import SIDE, SMOKE, SolarCells
from tests.smoke import Smoke, run_smoke

TASK = load_task("pipeline.tasks.solar_cells:task", relative_to=Path())


def picture(path: Path, seed: int, size: tuple[int, int] = (80, 90)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, size, dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        picture(tmp_path / "normal" / f"{number}.png", number, (60 + number, 70))
    for number in range(6):
        picture(tmp_path / "anomalous" / f"{number}.jpg", 100 + number)
    return tmp_path


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    return run_smoke("solar-cells-smoke", tmp_path_factory.mktemp("smoke"))


def test_broken_cells_are_in_the_splits_that_judge_alone() -> None:
    broken = {split: int(np.asarray(TASK.targets(split))[:, -1].sum()) for split in SPLITS}

    assert broken == {"train": 0, "validation": 273, "test": 548}
    assert [len(TASK.splits.train), len(TASK.splits.validation), len(TASK.splits.test)] == [754, 524, 1051]


def test_what_is_drawn_worse_counts_as_broken() -> None:
    targets = np.zeros((4, SIDE * SIDE + 1), np.float32)
    targets[2:, -1] = 1
    drawn = np.zeros((4, 1, SIDE, SIDE), np.float32)
    drawn[2:, 0, :8] = 1

    assert TASK.score(drawn, targets) == 1
    assert TASK.score(drawn[::-1], targets) == 0
    assert TASK.score(drawn[:2], targets[:2]) == 0.5


def test_a_mistake_is_the_share_of_the_other_kind_on_the_wrong_side_and_their_mean_what_the_auroc_lacks() -> None:
    dice = np.random.default_rng(0)
    targets = np.zeros((1051, SIDE * SIDE + 1), np.float32)
    targets[500:, -1] = 1
    drawn = dice.integers(1, 9, (1051, 1, 1, 1)) * np.ones((1, SIDE, SIDE), np.float32)  # many are alike
    drawn[500:] += 2
    told = TASK.mistakes(drawn, targets)

    assert told is not None
    off, broken = np.array([off for off, _, _ in told]), targets[:, -1] > 0.5
    assert off[broken].mean() == pytest.approx(1 - TASK.score(drawn, targets))
    assert off[~broken].mean() == pytest.approx(1 - TASK.score(drawn, targets))
    worst = np.flatnonzero(broken)[off[broken].argmax()]
    assert told[worst][1:] == ("a broken cell", f"drawn worse than {1 - off[worst]:.1%} of the whole ones")


def test_augmentation_turns_picture_and_target_alike() -> None:
    sample = TASK.splits.train[0]
    turned = [TASK.augment(sample, seed) for seed in range(4)]

    assert len({each.tobytes() for each, _ in turned}) == 4
    assert all(np.array_equal(each.ravel(), target[:-1]) for each, target in turned)
    assert np.array_equal(turned[3][0], sample[0][:, ::-1, ::-1])


def test_pictures_of_one_s_own_make_the_task(folder: Path) -> None:
    task = wrap_task(SolarCells(folder, sizes=SMOKE))
    task.rehearse()

    assert task.example()[0].shape == (2, 1, SIDE, SIDE)
    assert int(np.asarray(task.targets("test"))[:, -1].sum()) == 4


def test_a_file_that_is_no_picture_and_an_empty_folder_are_one_line(folder: Path, tmp_path: Path) -> None:
    (folder / "normal" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")

    with pytest.raises(TaskError, match=r"broken\.png: no picture"):
        SolarCells(folder).data()
    with pytest.raises(TaskError, match=r"0 pictures in normal/ and anomalous/"):
        SolarCells(tmp_path / "nowhere").data()


def test_the_smoke_form_passes_the_gate_in_under_a_minute(smoke: Smoke) -> None:
    assert smoke.report["fidelity"]["passed"], smoke.report["fidelity"]["why_failed"]
    assert smoke.seconds < 60


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_int8_costs_less_than_half_a_hundredth_of_the_auroc(tmp_path: Path) -> None:
    full = run_smoke("solar-cells", tmp_path)
    scores = {row["stage"]: row["score"]["value"] for row in full.report["rows"]}

    assert full.report["fidelity"]["passed"]
    assert min(scores["int8 onnx"], scores["int8 tflite"]) > scores["prune"] - 0.005
