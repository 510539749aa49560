"""Keywords: voices that no other split hears, noise at the levels it says, and the whole way to both files in the smoke form."""

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pipeline.architecture import macs_of, parameters_of
from pipeline.task import LoadedTask
from pipeline.task_file import wrap_task
from pipeline.tasks.keywords import OTHER_WORDS, SMOKE, UNKNOWN, VOICES, WORDS, Keywords
from pipeline.tasks.speech_noise import noise, with_noise
from tests.smoke import Smoke, run_smoke


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own: none of them asks the user's."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("EDGEPRESS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def task(cache: Path) -> LoadedTask:
    assert cache.is_dir()
    return wrap_task(Keywords(sizes=SMOKE))


@pytest.fixture(scope="module")
def smoke(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    assert cache.is_dir()
    return run_smoke("keywords-smoke", tmp_path_factory.mktemp("smoke"))


def test_no_split_hears_another_s_voices_or_unknown_words() -> None:
    for one, other in combinations(VOICES, 2):
        assert not set(VOICES[one]) & set(VOICES[other])
        assert not set(OTHER_WORDS[one]) & set(OTHER_WORDS[other])
    assert not {word for words in OTHER_WORDS.values() for word in words} & set(WORDS)


def test_each_split_holds_every_word_equally_often(task: LoadedTask) -> None:
    targets = task.targets("test")

    assert targets is not None
    assert np.bincount(targets).tolist() == [SMOKE.test] * 20 + [2 * SMOKE.test, SMOKE.test]


@pytest.mark.parametrize("level", [20.0, 5.0, 0.0])
def test_noise_stands_at_its_level_under_a_clip(level: float) -> None:
    clip = (3000 * np.sin(np.arange(16_000) / 9)).astype(np.int16)
    under = with_noise(clip, noise(16_000, 3), level).astype(float) - clip
    power = [float(np.mean(np.square(each.astype(float)))) for each in (clip, under)]

    assert 10 * np.log10(power[0] / power[1]) == pytest.approx(level, abs=0.1)


def test_silence_is_never_nothing_at_all(task: LoadedTask) -> None:
    split = task.splits.test
    quiet = [split[index][0] for index in range(len(split)) if split[index][1] == task.labels.index("silence")]

    assert len(quiet) == SMOKE.test
    assert all(wave.any() for wave in quiet)


def test_augmentation_follows_its_seed(task: LoadedTask) -> None:
    sample = task.splits.train[0]
    once, again, other = (task.augment(sample, seed) for seed in (1, 1, 2))

    assert np.array_equal(once[0], again[0])
    assert not np.array_equal(once[0], other[0])
    assert once[1] == other[1] == sample[1]


def test_the_full_student_is_small_beside_its_teacher() -> None:
    full = wrap_task(Keywords())
    student, example = full.student(), (full.collate([(np.zeros(16_000, np.int16), 0)] * 2)[0],)

    assert parameters_of(student) < 20_000
    assert macs_of(full.teacher("resnet"), example) > 10 * macs_of(student, example)


def test_the_smoke_form_passes_the_gate_in_under_a_minute(smoke: Smoke) -> None:
    assert smoke.report["fidelity"]["passed"]
    assert smoke.seconds < 60


def test_the_files_say_that_the_speech_is_synthetic_and_how_its_features_are_made(smoke: Smoke) -> None:
    said = json.loads(smoke.metadata["preprocessing"])

    assert said["trained on"] == "synthetic, eSpeak NG"
    assert said["features"].startswith("log-mel, 40 bands")
    assert json.loads(smoke.metadata["labels"]) == [*WORDS, UNKNOWN, "silence"]
