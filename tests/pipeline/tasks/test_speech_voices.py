"""Synthetic speech: the same bytes for the same request, made once, and a voice that isn't there is said."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import MissingExtraError, TaskError
from pipeline.tasks import speech_voices
from pipeline.tasks.speech_voices import Utterance, speak

SAID = [Utterance("seven", "en-us+m1"), Utterance("seven", "en-us+f1"), Utterance("stop", "en-gb-scotland+m1", 150, 70)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path))
    return tmp_path / "speech"


def test_voices_differ_and_words_stand_in_the_middle(cache: Path) -> None:
    clips = speak(SAID, samples=16_000)
    heard = [np.flatnonzero(clip) for clip in clips]

    assert clips.shape == (3, 16_000)
    assert all(4000 < len(samples) < 12_000 for samples in heard)
    assert all(abs(samples[0] + samples[-1] - 16_000) < 40 for samples in heard)
    assert not np.array_equal(clips[0], clips[1])
    assert [path.suffix for path in cache.iterdir()] == [".npy"]


def test_speech_made_anew_is_the_same_and_made_once_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = np.array(speak(SAID, samples=8000))
    for path in cache.iterdir():
        path.unlink()
    again = np.array(speak(SAID, samples=8000))
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_named: pytest.fail("made twice"))

    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, speak(SAID, samples=8000))


@pytest.mark.parametrize("voice", ["en-us+nobody", "xx-nowhere+m1", "en-us+../m1"])
def test_a_voice_that_is_not_there_is_one_line_and_leaves_nothing(cache: Path, voice: str) -> None:
    with pytest.raises(TaskError, match=f"speech synthesis failed: no voice '{re.escape(voice)}'") as told:
        speak([*SAID, Utterance("go", voice)], samples=100)

    assert "\n" not in str(told.value)
    assert list(cache.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_named(cache: Path) -> None:
    speak(SAID, samples=100)
    (path,) = cache.iterdir()
    np.save(path, np.zeros((3, 99), np.int16))

    with pytest.raises(TaskError, match=r"isn't what was synthesised; delete it"):
        speak(SAID, samples=100)


def test_too_many_utterances_and_a_missing_package_are_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not cache.exists()
    with pytest.raises(TaskError, match=r"50,001 utterances; at most 50,000"):
        speak([SAID[0]] * 50_001, samples=1)
    monkeypatch.setattr(speech_voices, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgepress\[demo\]'"):
        speak(SAID, samples=1)
