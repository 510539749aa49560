"""Spoken digits: decoding, word errors, a student that hears no future, and the whole way to both files in the smoke form."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.networks.streaming import acoustic
from pipeline.task import LoadedTask
from pipeline.task_file import wrap_task
from pipeline.tasks.digits_ctc import BLANK, DIGITS, MOST, NOTHING, SMOKE, DigitsCtc, decode, edits
from tests.smoke import Smoke, run_smoke


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("EDGEPRESS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def task(cache: Path) -> LoadedTask:
    assert cache.is_dir()
    return wrap_task(DigitsCtc(sizes=SMOKE))


@pytest.fixture(scope="module")
def smoke(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    assert cache.is_dir()
    return run_smoke("digits-ctc-smoke", tmp_path_factory.mktemp("smoke"))


def spelled(letters: list[int]) -> np.ndarray:
    return np.eye(BLANK + 1, dtype=np.float32)[letters]


@pytest.mark.parametrize(
    ("letters", "digits"),
    [
        ([BLANK, 3, 3, BLANK, 3, 1], [3, 3, 1]),
        ([BLANK] * 4, []),
        ([5], [5]),
        ([0, 0, 0], [0]),
        ([7, BLANK, BLANK], [7]),
    ],
)
def test_repeats_and_blanks_are_dropped(letters: list[int], digits: list[int]) -> None:
    assert decode(spelled(letters)) == digits


@pytest.mark.parametrize(
    ("said", "meant", "errors"),
    [
        ([1, 2, 3], [1, 2, 3], 0),
        ([1, 3], [1, 2, 3], 1),
        ([1, 9, 2, 3], [1, 2, 3], 1),
        ([3], [1, 2], 2),
        ([], [1, 2], 2),
    ],
)
def test_errors_are_the_fewest_edits(said: list[int], meant: list[int], errors: int) -> None:
    assert edits(said, meant) == edits(meant, said) == errors


def test_the_score_is_the_word_error_rate(task: LoadedTask) -> None:
    targets = np.array([[1, 2, NOTHING, NOTHING], [3, 4, 5, 6]])
    outputs = np.stack([spelled([1, BLANK, 2, BLANK, BLANK]), spelled([3, 4, BLANK, 5, BLANK])])

    assert task.score(outputs, targets) == pytest.approx(1 / 6)


def test_a_mistake_tells_what_was_spoken_and_what_was_written(task: LoadedTask) -> None:
    targets = np.array([[1, 2, NOTHING, NOTHING], [3, 4, 5, 6]])
    outputs = np.stack([spelled([BLANK] * 5), spelled([3, 4, BLANK, 5, BLANK])])

    assert task.raw.mistakes(outputs, targets) == [
        (2, "one two", "nothing"),
        (1, "three four five six", "three four five"),
    ]


def test_a_causal_network_says_the_same_whatever_comes_later() -> None:
    torch.manual_seed(0)
    one = torch.randn(1, 1, 60, 40)
    other = one.clone()
    other[:, :, 40:] = torch.randn(1, 1, 20, 40)
    causal, whole = (acoustic(bands=40, letters=11, width=16, blocks=2, causal=each).eval() for each in (True, False))

    torch.testing.assert_close(causal(one)[:, :20], causal(other)[:, :20])
    assert not torch.allclose(whole(one)[:, :20], whole(other)[:, :20])


def test_clips_hold_two_to_four_digits(task: LoadedTask) -> None:
    targets = task.targets("train")

    assert isinstance(targets, np.ndarray)
    assert targets.shape == (SMOKE.train, MOST)
    assert set((targets != NOTHING).sum(1).tolist()) == {2, 3, 4}


def test_the_smoke_form_passes_the_gate_in_under_a_minute(smoke: Smoke) -> None:
    assert smoke.report["fidelity"]["passed"], smoke.report["fidelity"]["why_failed"]
    assert smoke.seconds < 60
    assert "decoding" in smoke.metadata["preprocessing"]
    assert smoke.report["mistakes"]["forms"] == ["teacher whole_clip", "prune", "int8 tflite"]
    assert {word for each in smoke.report["mistakes"]["worst"] for word in each["what"].split()} <= set(DIGITS)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_full_form_writes_most_digits_down(tmp_path: Path) -> None:
    full = run_smoke("digits-ctc", tmp_path)
    scores = {row["stage"]: row["score"]["value"] for row in full.report["rows"]}

    assert full.report["fidelity"]["passed"]
    assert max(scores["int8 onnx"], scores["int8 tflite"]) < 0.3
