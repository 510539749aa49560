"""Recordings of one's own, in the layout of Speech Commands (Warden 2018, https://arxiv.org/abs/1804.03209).

    folder/yes/0a7c2a8d_nohash_0.wav      a word's folder, 16 kHz, 16 bits, one channel, up to a second that counts
    folder/_background_noise_/*.wav       of any length: seconds of it are the label "silence"
    folder/validation_list.txt            paths below the folder, one a line; all else is for training
    folder/testing_list.txt

Without the two lists a file goes where a digest of its speaker sends it (what stands before "_nohash_"), as Speech Commands does: all that
one person said lands in one split. A word that is no label counts as "unknown"; of those at most as many files are taken as of two labels.
"""

import wave
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import TaskError

RATE = 16_000
NOISE, UNKNOWN, SILENCE = "_background_noise_", "unknown", "silence"
SPLITS = ("train", "validation", "test")
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
SHARES = {"validation": 10, "test": 20}
"""Percent, where there are no lists."""
MOST_FILES, MOST_SECONDS, MOST_LIST_BYTES = 200_000, 600, 32 * 2**20
UNKNOWN_SHARE = 2

Recorded = tuple[NDArray[np.int16], NDArray[np.int64]]


def read_recordings(folder: Path, labels: Sequence[str]) -> Mapping[str, Recorded]:
    """Return, by split, clips [N, RATE] int16 and labels [N]; TaskError that names the file where one can't be read."""
    listed = _lists(folder)
    found: dict[str, list[tuple[Path, int]]] = {split: [] for split in SPLITS}
    for path, label in _files(folder, labels):
        found[_split_of(path, folder, listed)].append((path, label))
    made = {split: _clips(_bounded(files, labels)) for split, files in found.items()}
    if SILENCE in labels:
        made = _with_silence(made, folder, labels.index(SILENCE))
    for split, (waves, _) in made.items():
        if not len(waves):
            raise TaskError(
                f"{folder}: no recordings for the {split} split; name some in {LISTS.get(split, 'no list')}"
            )
    return made


def read_wave(path: Path) -> NDArray[np.int16]:
    """Return a WAV file's samples [S]; TaskError where it isn't 16 kHz, 16 bits, one channel, or longer than MOST_SECONDS."""
    try:
        with wave.open(str(path), "rb") as file:
            form = (file.getframerate(), 8 * file.getsampwidth(), file.getnchannels())
            if form != (RATE, 16, 1):
                raise TaskError(
                    f"{path}: {form[0]} Hz, {form[1]} bits, {form[2]} channels; give 16000 Hz, 16 bits, one channel"
                )
            if file.getnframes() > MOST_SECONDS * RATE:
                raise TaskError(f"{path}: {file.getnframes() / RATE:.0f} s long; at most {MOST_SECONDS} s are read")
            content = file.readframes(file.getnframes())
    except (wave.Error, EOFError, OSError) as error:
        raise TaskError(f"{path}: no WAV file ({error}); give 16000 Hz, 16 bits, one channel") from error
    return np.frombuffer(content[: len(content) // 2 * 2], "<i2")


def _lists(folder: Path) -> dict[str, frozenset[str]]:
    listed = {}
    for split, name in LISTS.items():
        path = folder / name
        if path.is_file() and path.stat().st_size > MOST_LIST_BYTES:
            raise TaskError(f"{path}: larger than {MOST_LIST_BYTES / 2**20:.0f} MiB; give one path a line")
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        listed[split] = frozenset(line.strip() for line in text.splitlines() if line.strip())
    return listed


def _files(folder: Path, labels: Sequence[str]) -> Iterator[tuple[Path, int]]:
    """Give each recording with its label, in an order that follows from the names."""
    if not folder.is_dir():
        raise TaskError(f"no folder {folder}; give one with a folder of .wav files for each word")
    words = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(("_", ".")))
    paths = [path for word in words for path in sorted(word.glob("*.wav"))]
    if not paths or len(paths) > MOST_FILES:
        raise TaskError(f"{folder}: {len(paths):,} .wav files in folders of words; give 1 to {MOST_FILES:,}")
    for path in paths:
        word = path.parent.name
        if word in labels or UNKNOWN in labels:
            yield path, labels.index(word if word in labels else UNKNOWN)


def _split_of(path: Path, folder: Path, listed: Mapping[str, frozenset[str]]) -> str:
    name = path.relative_to(folder).as_posix()
    if any(listed.values()):
        return next((split for split in LISTS if name in listed[split]), "train")
    speaker = path.stem.partition("_nohash_")[0]
    place = int.from_bytes(sha256(speaker.encode()).digest()[:4], "big") % 100
    if place < SHARES["validation"]:
        return "validation"
    return "test" if place < SHARES["validation"] + SHARES["test"] else "train"


def _bounded(files: list[tuple[Path, int]], labels: Sequence[str]) -> list[tuple[Path, int]]:
    """Leave unknown words out where they would drown the others, by a digest of their names."""
    if UNKNOWN not in labels:
        return files
    unknown = labels.index(UNKNOWN)
    known = [each for each in files if each[1] != unknown]
    others = sorted(
        (each for each in files if each[1] == unknown), key=lambda each: sha256(each[0].name.encode()).digest()
    )
    counts = max(1, len({label for _, label in known}))
    return [*known, *others[: max(1, UNKNOWN_SHARE * len(known) // counts)]]


def _clips(files: Sequence[tuple[Path, int]]) -> Recorded:
    waves = np.zeros((len(files), RATE), np.int16)
    for row, (path, _) in zip(waves, files, strict=True):
        samples = read_wave(path)[:RATE]
        row[: len(samples)] = samples
    return waves, np.array([label for _, label in files], dtype=np.int64)


def _with_silence(made: Mapping[str, Recorded], folder: Path, label: int) -> dict[str, Recorded]:
    """Cut the background noise into seconds and share them out, as many for each split as a word has there, where there are so many."""
    noises = [read_wave(path) for path in sorted((folder / NOISE).glob("*.wav"))]
    seconds = [long[start : start + RATE] for long in noises for start in range(0, len(long) - RATE + 1, RATE)]
    shares = {"train": seconds[0::2], "validation": seconds[1::4], "test": seconds[3::4]}
    full = {}
    for split, (waves, labels) in made.items():
        most = max(1, len(labels) // max(1, len(set(labels.tolist()))))
        quiet = np.array(shares[split][:most], dtype=np.int16).reshape(-1, RATE)
        full[split] = np.concatenate([waves, quiet]), np.concatenate([labels, np.full(len(quiet), label)])
    return full
