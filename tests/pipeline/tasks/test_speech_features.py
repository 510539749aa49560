"""Log-mel features: the whole clip, the stream, both files and the C routine give the same numbers."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.checks.answers import open_file
from pipeline.tasks.speech_features import (
    C_SOURCE,
    HOP,
    MELS,
    RATE,
    WINDOW,
    Floats,
    FrontEnd,
    Stream,
    frames_of,
    log_mel,
    write_front_end,
)
from pipeline.tasks.speech_noise import noise

SAMPLES = 4000


@pytest.fixture(scope="module")
def clips() -> Floats:
    """Two clips: a tone that rises under noise, and near silence."""
    time = np.arange(SAMPLES) / RATE
    tone = 0.3 * np.sin(2 * np.pi * (300 + 4000 * time) * time) + 0.01 * noise(SAMPLES, 1)
    return np.stack([tone, 1e-4 * noise(SAMPLES, 2)]).astype(np.float32)


def mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def test_a_tone_is_loudest_in_the_band_that_holds_it() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(SAMPLES) / RATE).astype(np.float32)
    loudest = log_mel(tone[None])[0].argmax(1)
    expected = (mel(1000) - mel(60)) / (mel(7600) - mel(60)) * (MELS + 1) - 1

    assert np.abs(loudest - expected).max() <= 1


def test_a_second_holds_39_frames_and_less_than_a_window_none() -> None:
    assert log_mel(np.zeros((1, RATE), np.int16)).shape == (1, 39, MELS)
    assert [frames_of(samples) for samples in (0, WINDOW - 1, WINDOW, WINDOW + HOP)] == [0, 0, 1, 2]


def test_whole_numbers_are_shares_of_full_scale(clips: Floats) -> None:
    whole = np.round(clips * 32768).astype(np.int16)

    np.testing.assert_array_equal(log_mel(whole), log_mel(whole.astype(np.float32) / 32768))


@pytest.mark.parametrize("piece", [1, 160, 400, 999, SAMPLES])
def test_a_stream_gives_the_same_frames_however_it_is_cut(clips: Floats, piece: int) -> None:
    stream, pieces = Stream(), range(0, SAMPLES if piece > 1 else 900, piece)
    frames = np.concatenate([stream.push(clips[0, start : start + piece]) for start in pieces])

    assert len(frames)
    np.testing.assert_array_equal(frames, log_mel(clips)[0, : len(frames)])


def test_the_module_of_plain_products_agrees(clips: Floats) -> None:
    with torch.no_grad():
        found = FrontEnd()(torch.from_numpy(clips))

    assert found.shape == (2, 1, frames_of(SAMPLES), MELS)
    np.testing.assert_allclose(found[:, 0].numpy(), log_mel(clips), atol=2e-3)


def test_both_files_agree_and_say_what_they_compute(clips: Floats, tmp_path: Path) -> None:
    for path in write_front_end(tmp_path, SAMPLES):
        (found,) = open_file(path).answer([clips])

        np.testing.assert_allclose(found.reshape(log_mel(clips).shape), log_mel(clips), atol=2e-3)
        assert b"log-mel, 40 bands of 60 to 7600 Hz" in path.read_bytes()


def test_the_routine_for_a_device_agrees(clips: Floats, tmp_path: Path) -> None:
    library = tmp_path / "log_mel.so"
    compiler = ["cc", "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*compiler, str(C_SOURCE), "-lm", "-o", str(library)], check=True)
    routine = ctypes.CDLL(str(library))
    routine.log_mel_init()
    pointer = ctypes.POINTER(ctypes.c_float)
    expected, row = log_mel(clips), np.zeros(MELS, np.float32)
    for clip, features in zip(clips, expected, strict=True):
        for number, frame in enumerate(features):
            samples = np.ascontiguousarray(clip[number * HOP : number * HOP + WINDOW])
            routine.log_mel_frame(samples.ctypes.data_as(pointer), row.ctypes.data_as(pointer))
            np.testing.assert_allclose(row, frame, atol=2e-3)


def test_the_routine_asks_for_no_other_library() -> None:
    included = [line for line in C_SOURCE.read_text(encoding="utf-8").splitlines() if line.startswith("#include")]

    assert included == ["#include <math.h>"]
