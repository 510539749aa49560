"""Folders in the layout of Speech Commands: lists, speakers, unknown words, background noise; and files that are none."""

import wave
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from pipeline.errors import TaskError
from pipeline.task_file import wrap_task
from pipeline.tasks.keywords import SMOKE, Keywords
from pipeline.tasks.speech_recordings import RATE, read_recordings, read_wave

LABELS = ("yes", "no", "unknown", "silence")


def record(path: Path, seconds: float = 1.0, *, rate: int = RATE, channels: int = 1, loud: int = 1000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = crc32(str(path).encode())
    samples = np.random.default_rng(seed).integers(-loud, loud, int(seconds * rate) * channels).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setframerate(rate)
        file.setsampwidth(2)
        file.setnchannels(channels)
        file.writeframes(samples.tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty speakers say yes, no and dog; eight seconds of noise."""
    for word in ("yes", "no", "dog"):
        for speaker in range(20):
            record(tmp_path / word / f"{speaker:08x}_nohash_0.wav", 0.7)
    record(tmp_path / "_background_noise_" / "tap.wav", 8.5)
    return tmp_path


def test_lists_say_where_a_file_goes(folder: Path) -> None:
    (folder / "validation_list.txt").write_text("yes/00000001_nohash_0.wav\nno/00000001_nohash_0.wav\n")
    (folder / "testing_list.txt").write_text(
        "yes/00000002_nohash_0.wav\nno/00000003_nohash_0.wav\ndog/00000003_nohash_0.wav\n"
    )
    found = read_recordings(folder, LABELS)
    counts = {split: np.bincount(labels, minlength=4).tolist() for split, (_, labels) in found.items()}

    assert counts == {"train": [18, 18, 19, 4], "validation": [1, 1, 0, 1], "test": [1, 1, 1, 1]}
    np.testing.assert_array_equal(
        found["validation"][0][0][: 7 * RATE // 10], read_wave(folder / "no/00000001_nohash_0.wav")
    )
    assert not found["validation"][0][0][7 * RATE // 10 :].any()


def test_without_lists_one_speaker_stays_in_one_split(folder: Path) -> None:
    found = read_recordings(folder, LABELS)
    first = {split: {bytes(wave_) for wave_ in waves} for split, (waves, _) in found.items()}
    again = read_recordings(folder, LABELS)

    assert min(len(waves) for waves in first.values()) > 0
    assert all(np.array_equal(found[split][0], again[split][0]) for split in found)
    for speaker in range(20):
        said = {
            bytes(np.pad(read_wave(folder / word / f"{speaker:08x}_nohash_0.wav"), (0, RATE - 7 * RATE // 10)))
            for word in ("yes", "no")
        }
        assert len([split for split, waves in first.items() if said & waves]) == 1


def test_the_task_reads_such_a_folder_and_says_that_people_spoke(folder: Path) -> None:
    task = wrap_task(Keywords(folder, sizes=SMOKE))
    task.rehearse()

    assert task.example()[0].shape == (2, 1, 39, 40)
    assert task.preprocessing["trained on"] == "recordings of the user's own"


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"rate": 8000}, r"8000 Hz, 16 bits, 1 channels; give 16000 Hz, 16 bits, one channel"),
        ({"channels": 2}, r"16000 Hz, 16 bits, 2 channels"),
        ({"seconds": 601}, r"601 s long; at most 600 s are read"),
    ],
)
def test_a_recording_of_another_form_is_named(tmp_path: Path, form: dict[str, int], told: str) -> None:
    record(tmp_path / "yes" / "a.wav", **form)

    with pytest.raises(TaskError, match=told):
        read_recordings(tmp_path, LABELS)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0", b"no sound at all"])
def test_a_file_that_is_no_recording_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "yes").mkdir()
    (tmp_path / "yes" / "a.wav").write_bytes(content)

    with pytest.raises(TaskError, match=r"a\.wav: no WAV file"):
        read_recordings(tmp_path, LABELS)


def test_an_empty_folder_and_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"0 \.wav files in folders of words"):
        read_recordings(tmp_path, LABELS)
    with pytest.raises(TaskError, match=r"no folder .*nowhere"):
        read_recordings(tmp_path / "nowhere", LABELS)
